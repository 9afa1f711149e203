"""v2 composed email over HTTP (http-api 7, 11, 15; processing 10.1): taken, or refused without telling a secret."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from serving import ORDERS, Api, Client, Front, Orders, Reply, make_parts, served
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.attachments import MIME_TYPES
from varsel.domain.order import Attachment, Chain, ContentType, Order, OrderChannel, OrderFamily, OrderKind, Recipient
from varsel.issuer import COMPOSED_SCOPE, CREATE_SCOPE
from varsel.settings import ComposedSettings, Settings

FUTURE: Final = "/notifications/api/v1/future"
COMPOSED: Final = f"{FUTURE}/orders/composed-email"
TC: Final = {"scopes": (COMPOSED_SCOPE,)}
SIGNATURE: Final = "c2VjcmV0LXNpZ25hdHVyZQ=="
AT: Final = "Recipient.EmailSettings.Attachments[0]"


def sas(valid_for: timedelta = timedelta(hours=1), base: str | None = None, **changes: str) -> str:
    """Good for so long after the time of `front`."""
    until = datetime(2026, 11, 23, 10, tzinfo=UTC) + valid_for
    query = {"se": f"{until:%Y-%m-%dT%H:%M:%SZ}", "sp": "r", "sr": "b", "sig": SIGNATURE, **changes}
    return f"{base or 'https://ttdfiles.blob.core.windows.net/out/decision-558.pdf'}?{urlencode(query)}"


def pdf(**changes: Any) -> dict[str, Any]:
    return {"filename": "decision-558.pdf", "mimeType": "application/pdf", "sasUrl": sas(), **changes}


def composed(*attachments: object, id_: str | None = None, **changes: Any) -> dict[str, Any]:
    """`changes` of the settings."""
    settings = {"subject": "Decision 558", "body": "The decision is attached.", "attachments": list(attachments)}
    recipient = {"emailAddress": "kari@example.com", "emailSettings": settings | changes}
    return {"idempotencyId": id_ or str(uuid4()), "recipient": recipient}


def post(front: Front, body: object, **how: Any) -> Reply:
    return front.client.post(COMPOSED, body, **(TC | how))


def taken(front: Front, body: object) -> tuple[Chain, Order]:
    reply = post(front, body)
    assert reply.status == 201, reply.content
    chain, (order,) = front.orders.chains[-1]
    return chain, order


def errors(front: Front, body: object) -> dict[str, list[str]]:
    reply = post(front, body)
    assert SIGNATURE not in reply.content.decode()
    assert "c2VjcmV0" not in reply.content.decode()
    assert "ttdfiles" not in reply.content.decode()
    return reply.errors


@pytest.mark.assertion("http-api", 123)
async def test_an_email_with_a_file_is_taken_and_its_repeat_hears_the_same_ids(api: Api) -> None:
    body = {**composed(pdf()), "sendersReference": "decision-558"}
    reply = await api.client.apost(COMPOSED, body, **TC)
    assert reply.status == 201
    chain, notification = reply.json["notificationOrderId"], reply.json["notification"]
    assert reply.headers["Location"] == f"http://localhost:5090{ORDERS}/chain/{chain}"
    assert notification.keys() == {"shipmentId", "sendersReference"}
    again = await api.client.apost(COMPOSED, {**body, **composed(id_=body["idempotencyId"])}, **TC)
    assert again.status == 200
    assert again.json == reply.json
    assert again.headers["Location"] is None
    shipment = await api.client.aget(f"{FUTURE}/shipment/{notification['shipmentId']}")
    assert (shipment.json["type"], shipment.json["status"]) == ("Composed", "Order_Registered")
    details = await api.client.aget(f"{ORDERS}/{notification['shipmentId']}")
    assert details.json["recipients"] == [{"emailAddress": "kari@example.com"}]
    for shown in (reply, again, shipment, details):
        assert b"sig" not in shown.content


@pytest.mark.parametrize("attachments", [[], None, ...])
@pytest.mark.assertion("http-api", 124)
def test_files_are_optional(front: Front, attachments: object) -> None:
    body = composed()
    settings = body["recipient"]["emailSettings"]
    settings["attachments"] = attachments
    if attachments is ...:
        del settings["attachments"]
    assert taken(front, body)[1].attachments == ()


def test_an_order_keeps_all_that_was_asked_for(front: Front) -> None:
    body = composed(pdf(), pdf(filename="år.txt", mimeType="TEXT/plain"), contentType="html", subject="a\nb")
    body |= {
        "requestedSendTime": "2026-11-23T10:30:00Z",
        "conditionEndpoint": "http://localhost:1/x",
        "dialogportenAssociation": {"dialogId": "d", "transmissionId": "t"},
        "reminders": [{}],  # is none here
    }
    chain, order = taken(front, body)
    assert (chain.family, chain.dialog_id, chain.transmission_id) == (OrderFamily.COMPOSED, "d", "t")
    assert (order.kind, order.channel, order.chain) == (OrderKind.COMPOSED, OrderChannel.EMAIL, chain.id)
    assert order.requested_send_time == front.clock.now() + timedelta(minutes=30)
    assert order.condition_endpoint == "http://localhost:1/x"
    assert order.recipients == (Recipient(email="kari@example.com"),)
    assert order.email is not None
    assert (order.email.sender, order.email.subject) == ("noreply@altinn.cloud", "a b")
    assert order.email.content_type is ContentType.HTML
    assert order.attachments == (
        Attachment("decision-558.pdf", "application/pdf", sas()),
        Attachment("år.txt", "text/plain", sas()),
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (sas(base="http://ttdfiles.blob.core.windows.net/a.pdf"), "https"),
        (sas(base="/out/a.pdf"), "https"),
        (sas(base="https://ttdfiles.evil.example/a.pdf"), "store"),
        ("https://ttdfiles.blob.core.windows.net/a.pdf", "query"),
        (sas(sp="w"), "reading"),
        (sas(se="never"), "se"),
        ("", "https"),
    ],
)
@pytest.mark.assertion("http-api", 125, 129)
def test_a_file_must_lie_where_we_may_fetch_it_and_the_refusal_does_not_say_where(
    front: Front, url: str, said: str
) -> None:
    found = errors(front, composed(pdf(sasUrl=url)))
    assert list(found) == [f"{AT}.SasUrl"]
    assert said in found[f"{AT}.SasUrl"][0]


@pytest.mark.parametrize(("minutes", "status"), [(10, 400), (14, 400), (15, 201), (20, 201)])
@pytest.mark.parametrize("ahead", [0, 60])
@pytest.mark.assertion("http-api", 126, 129)
@pytest.mark.assertion("processing", 132)
def test_its_address_must_be_good_for_a_quarter_of_an_hour_after_the_send_time(
    front: Front, minutes: int, status: int, ahead: int
) -> None:
    body = composed(pdf(sasUrl=sas(timedelta(minutes=ahead + minutes))))
    if ahead:
        body["requestedSendTime"] = f"{front.clock.now() + timedelta(minutes=ahead):%Y-%m-%dT%H:%M:%SZ}"
    if status == 400:
        [told] = errors(front, body)[f"{AT}.SasUrl"]
        assert "sasUrl must be valid for at least 15 minutes" in told
    else:
        assert post(front, body).status == status


@pytest.mark.parametrize("name", ["a/b.pdf", "a\\b.pdf", "noext", "dot.", "", " ", None])
@pytest.mark.assertion("http-api", 128)
def test_a_file_has_a_name_with_an_extension(front: Front, name: object) -> None:
    assert list(errors(front, composed(pdf(filename=name)))) == [f"{AT}.Filename"]


@pytest.mark.parametrize("type_", [*MIME_TYPES.values(), "APPLICATION/PDF"])
@pytest.mark.assertion("http-api", 127)
def test_files_of_sixty_types_may_be_attached(front: Front, type_: str) -> None:
    _, order = taken(front, composed(pdf(mimeType=type_)))
    assert order.attachments[0].mime_type == MIME_TYPES[type_.lower()]


@pytest.mark.parametrize(
    "type_",
    [
        "application/x-msdownload",
        "image/jpg",
        "text/html",
        "application/octet-stream",
        "text/plain; charset=x",
        "",
        None,
    ],
)
@pytest.mark.assertion("http-api", 127)
def test_files_of_other_types_may_not(front: Front, type_: object) -> None:
    assert list(errors(front, composed(pdf(mimeType=type_)))) == [f"{AT}.MimeType"]


def test_every_file_is_checked_and_every_fault_is_told_at_once(front: Front) -> None:
    body = composed(
        pdf(), pdf(filename="x", mimeType="x", sasUrl="x"), senderEmailAddress="x", sendingTimePolicy="Daytime"
    )
    body |= {"requestedSendTime": "2026-11-23T09:59:59Z", "conditionEndpoint": "ftp://a.example"}
    body["recipient"]["emailAddress"] = "nobody"
    at = "Recipient.EmailSettings"
    assert errors(front, body).keys() == {
        "RequestedSendTime",
        "ConditionEndpoint",
        "Recipient.EmailAddress",
        f"{at}.SenderEmailAddress",
        f"{at}.SendingTimePolicy",
        f"{at}.Attachments[1].Filename",
        f"{at}.Attachments[1].MimeType",
        f"{at}.Attachments[1].SasUrl",
    }


@pytest.mark.parametrize("attachments", [[None], {}, "x", [["x"]]])
def test_what_is_no_list_of_files_is_refused(front: Front, attachments: object) -> None:
    assert errors(front, composed(attachments=attachments))


@pytest.mark.parametrize("path", ["idempotencyId", "recipient", "emailAddress", "emailSettings", "subject", "body"])
def test_what_is_required_must_be_there(front: Front, path: str) -> None:
    def drop(value: Any) -> Any:
        return {k: drop(v) for k, v in value.items() if k != path} if isinstance(value, dict) else value

    assert [key for key in errors(front, drop(composed(pdf()))) if key.lower().endswith(path.lower())]


async def test_a_time_without_a_zone_is_refused(front: Front) -> None:
    assert "RequestedSendTime" in errors(front, {**composed(pdf()), "requestedSendTime": "2027-01-01T10:00:00"})


@pytest.mark.assertion("http-api", 7, 8)
def test_its_own_scope_opens_it_and_nothing_else(front: Front) -> None:
    assert post(front, composed(), scopes=(CREATE_SCOPE,)).status == 403
    assert post(front, composed(), headers={"Authorization": None}).status == 401
    platform = front.client.issuer.mint_platform("ttd", timedelta(hours=1))
    alone = {"Authorization": None, "PlatformAccessToken": platform}
    assert post(front, composed(), headers=alone).status == 401
    assert post(front, {}, org=None).status == 400
    assert post(front, composed(), org=None).status == 403


@pytest.mark.assertion("http-api", 92)
async def test_ids_of_chains_and_instant_messages_are_free_for_composed_emails(api: Api) -> None:
    email = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": {"subject": "a", "body": "b"}}}
    assert (await api.client.apost(f"{FUTURE}/orders", {"idempotencyId": "1", "recipient": email})).status == 201
    assert (await api.client.apost(f"{FUTURE}/orders/instant/email", {"idempotencyId": "1", **email})).status == 201
    assert (await api.client.apost(COMPOSED, composed(id_="1"), **TC)).status == 201


@pytest.fixture(scope="module")
def open_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Where stores of other kinds are open."""
    stores = ComposedSettings(
        azure_hosts=(), presigned_hosts=(".s3.example",), plain_hosts=("files.example:8443",), loopback_http=True
    )
    clock, orders = ManualClock(datetime(2026, 11, 23, 10, tzinfo=UTC)), Orders()
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    home: Path = tmp_path_factory.mktemp("home")
    settings = Settings(composed=stores)
    parts = make_parts(home, clock, nowhere, orders.register, settings, register_chain=orders.register_chain)
    with served(create_app(parts)) as port:
        assert parts.issuer
        yield Front(Client(port, parts.issuer), orders, clock)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://127.0.0.1:1234/a.pdf", 201),
        ("http://10.0.0.1/a.pdf", 400),
        ("https://files.example:8443/a.pdf", 201),
        ("https://files.example/a.pdf", 400),
        (
            "https://b.s3.example/a.pdf?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=s"
            "&X-Amz-Date=20261123T100000Z&X-Amz-Expires=900",
            201,
        ),
        ("https://b.s3.example/a.pdf", 400),
        (sas(), 400),
    ],
)
def test_other_stores_are_open_where_the_settings_say_so(open_front: Front, url: str, status: int) -> None:
    assert post(open_front, composed(pdf(sasUrl=url))).status == status


def test_the_document_describes_the_body(front: Front) -> None:
    document = json.loads(front.client.get("/swagger/v1/swagger.json").content)
    body = document["paths"][COMPOSED]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/ComposedEmailBody"}
    assert "AttachmentBody" in document["components"]["schemas"]
