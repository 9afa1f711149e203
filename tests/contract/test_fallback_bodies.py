"""`fallbackOnFailure` of a v2 order: who may ask for it, what it becomes, and how it is explained (design 6)."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from serving import Api, Client, Front, Orders, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict
from varsel.domain.order import Order
from varsel.recipients.ports import PersonContact
from varsel.settings import DeliverySettings, ProcessingSettings, Settings

CHAINS: Final = "/notifications/api/v1/future/orders"
SHIPMENT: Final = "/notifications/api/v1/future/shipment"
KARI: Final = "01817012345"
SETTINGS: Final = {
    "emailSettings": {"subject": "Subject", "body": "Body"},
    "smsSettings": {"body": "Text", "sendingTimePolicy": "Anytime"},
}
KINDS: Final = {
    "recipientPerson": {"nationalIdentityNumber": KARI},
    "recipientOrganization": {"orgNumber": "910000017"},
    "recipientExternalIdentity": {"externalIdentity": "urn:altinn:party:username:olduser1"},
}


def body(kind: str = "recipientPerson", channel: object = "EmailPreferred", **changes: Any) -> dict[str, Any]:
    recipient = {**KINDS[kind], **SETTINGS, "channelSchema": channel, **changes}
    return {"idempotencyId": str(uuid4()), "recipient": {kind: recipient}}


def order_of(front: Front, sent: object) -> Order:
    reply = front.client.post(CHAINS, sent)
    assert reply.status == 201, reply.content
    _, orders = front.orders.chains[-1]
    return orders[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channel", ["EmailPreferred", "SmsPreferred", 2])
def test_everybody_who_is_looked_up_may_be_tried_on_the_other_channel(front: Front, kind: str, channel: object) -> None:
    order = order_of(front, body(kind, channel, fallbackOnFailure=True))
    assert order.fallback_until == order.requested_send_time + timedelta(hours=48)


@pytest.mark.parametrize("changes", [{}, {"fallbackOnFailure": None}, {"fallbackOnFailure": False}])
def test_it_is_off_unless_it_is_asked_for(front: Front, changes: dict[str, Any]) -> None:
    assert order_of(front, body(**changes)).fallback_until is None


@pytest.mark.parametrize("channel", ["Email", "Sms", "EmailAndSms"])
def test_a_channel_without_another_refuses_it(front: Front, channel: str) -> None:
    errors = front.client.post(CHAINS, body(channel=channel, fallbackOnFailure=True)).errors
    assert set(errors) == {"Recipient.RecipientPerson.FallbackOnFailure"}
    assert order_of(front, body(channel=channel, fallbackOnFailure=False)).fallback_until is None


async def test_a_creator_may_have_it_always_and_an_order_may_say_no(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    settings = Settings(
        delivery=DeliverySettings(late_fallback_creators=("ttd",), late_fallback_within=timedelta(days=9)),
        processing=ProcessingSettings(lifetime=timedelta(days=5)),
    )
    orders = Orders()
    parts = make_parts(
        tmp_path, clock, database, orders.register, settings=settings, register_chain=orders.register_chain
    )
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        client = Client(port, parts.issuer)
        for sent, org in [
            (body(), "ttd"),
            (body(fallbackOnFailure=False), "ttd"),
            (body(channel="Email"), "ttd"),
            (body(), "skd"),
        ]:
            assert (await client.apost(CHAINS, sent, org=org)).status == 201
    found = [order.fallback_until for _, (order,) in orders.chains]
    assert found == [clock.now() + timedelta(days=5), None, None, None]  # never longer than its messages live


async def test_the_shipment_shows_both_messages_and_the_explanation_tells_why(api: Api) -> None:
    road = api.road
    road.directory.people = {KARI: PersonContact(False, "kari@example.com", "+4799999501")}
    placed = await api.client.apost(CHAINS, body(fallbackOnFailure=True))
    shipment = placed.json["notification"]["shipmentId"]
    await road.run()
    [email] = await road.rows()
    road.directory.down = True
    await road.report(email.id, Verdict.FAILED)
    await road.run()
    told = (await api.client.aget(f"{SHIPMENT}/{shipment}/explain")).json
    assert [(event["kind"], event["code"]) for event in told["ahead"]] == [("fallback.tried", "SMS")]
    road.directory.down = False
    assert isinstance(road.clock, ManualClock)
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    found = (await api.client.aget(f"{SHIPMENT}/{shipment}")).json
    assert [(r["type"], r["status"]) for r in found["recipients"]] == [
        ("Email", "Email_Failed_Bounced"),
        ("SMS", "SMS_Accepted"),
    ]
    assert found["status"] == "Order_Processed"
    told = (await api.client.aget(f"{SHIPMENT}/{shipment}/explain")).json
    story = [(event["kind"], event.get("code")) for event in told["story"]]
    assert ("fallback.opened", "SMS") in story
    assert ("fallback.decided", "sent") in story
    assert story.index(("notification.failed", "Email_Failed_Bounced")) < story.index(("fallback.opened", "SMS"))
