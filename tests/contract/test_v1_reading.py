"""v1 orders from the intake to the answers about them, on a real database (http-api 9, 12.4-12.9)."""

import asyncio
import re
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import pytest

from serving import ORDERS, Api, Reply
from varsel.db import execute
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import OrderChannel, OrderKind, Recipient
from varsel.recipients.ports import OrganisationContact, PersonContact

EMAIL: Final = f"{ORDERS}/email"
SMS: Final = f"{ORDERS}/sms"
P_OK: Final = "01817012345"
P_RES: Final = "02817012345"
P_NONE: Final = "03817012345"
O_OK: Final = "910000017"
O_NONE: Final = "910000025"

KARI: Final = {"emailAddress": "kari@example.com"}
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [KARI]}
TEXT: Final = {"body": "Thank you.", "recipients": [{"mobileNumber": "+47 99 99 95 01"}]}


def person(nin: str) -> dict[str, str]:
    return {"nationalIdentityNumber": nin}


@pytest.fixture(autouse=True)
def _people(api: Api) -> None:
    directory = api.road.directory
    directory.people = {
        P_OK: PersonContact(reserved=False, email="per@example.com", mobile="+4799999502"),
        P_RES: PersonContact(reserved=True, email="siri@example.com", mobile="+4799999503"),
    }
    directory.official = {O_OK: OrganisationContact(("post@example.com", "mail@example.com"), (), O_OK)}


async def accepted(api: Api, path: str, body: object, **how: Any) -> str:
    """The id of an order that must be accepted."""
    reply = await api.client.apost(path, body, **how)
    assert reply.status == 202, reply.content
    return str(reply.json["orderId"])


async def got(api: Api, path: str, **how: Any) -> Any:
    reply = await api.client.aget(path, **how)
    assert reply.status == 200, (reply.status, reply.content)
    return reply.json


def at(api: Api, **ahead: float) -> str:
    return (api.road.clock.now() + timedelta(**ahead)).isoformat()


async def change(api: Api, sql: Any, **values: Any) -> None:
    """What later stages would write, where a test needs an outcome that they do not come by here."""
    async with api.road.db.autocommit() as conn:
        await execute(conn, sql, values)


# Registration, with the lookup


@pytest.mark.parametrize(
    ("recipients", "status", "reserved", "missing"),
    [
        pytest.param([person(P_OK)], "Success", [], [], id="30"),
        pytest.param([person(P_OK), person(P_NONE)], "PartialSuccess", [], [P_NONE], id="31"),
        pytest.param([person(P_NONE)], "Failed", [], [P_NONE], id="32"),
        pytest.param([person(P_RES)], "Failed", [P_RES], [], id="33"),
        pytest.param([KARI, person(P_NONE)], "Failed", [], [P_NONE], id="34"),
        pytest.param([{"organizationNumber": O_OK}, {"organizationNumber": O_NONE}], "PartialSuccess", [], [O_NONE]),
    ],
)
@pytest.mark.assertion("http-api", 30, 31, 32, 33, 34)
@pytest.mark.assertion("processing", 3)
async def test_the_answer_says_who_can_be_reached(
    api: Api, recipients: list[Any], status: str, reserved: list[str], missing: list[str]
) -> None:
    reply = await api.client.apost(EMAIL, {**MAIL, "recipients": recipients})
    assert reply.status == 202
    assert reply.json["recipientLookup"] == {"status": status, "isReserved": reserved, "missingContact": missing}


@pytest.mark.assertion("http-api", 29)
@pytest.mark.assertion("processing", 1)
async def test_direct_addresses_need_no_lookup(api: Api) -> None:
    reply = await api.client.apost(EMAIL, MAIL)
    assert reply.json.keys() == {"orderId"}
    assert str(UUID(reply.json["orderId"])) == reply.json["orderId"]


@pytest.mark.assertion("processing", 11)
async def test_a_register_that_is_down_is_answered_503_and_nothing_is_stored(api: Api) -> None:
    api.road.directory.down = True
    reply = await api.client.apost(EMAIL, {**MAIL, "recipients": [person(P_OK)], "sendersReference": "r"})
    assert reply.status == 503
    assert reply.json["code"] == "NOT-00004"
    assert int(reply.headers["Retry-After"]) > 0
    assert (await got(api, f"{ORDERS}?sendersReference=r"))["count"] == 0


# Reading


@pytest.mark.assertion("http-api", 5, 26, 27, 28, 61)
async def test_an_order_is_read_back_as_it_was_given(api: Api) -> None:
    template = {"fromAddress": "etat@example.com", "subject": "Hi", "body": "<p>Hi</p>", "contentType": "Html"}
    sms_template = {"senderNumber": "Etaten", "body": "Hi"}
    body = {
        "sendersReference": "case-7781",
        "notificationChannel": "emailpreferred",
        "requestedSendTime": "2030-01-01T12:00:00.5+02:00",
        "ignoreReservation": False,
        "resourceId": "app_ttd_permit",
        "resourceAction": "write",
        "conditionEndpoint": "https://a.example.no/x?y=1",
        "recipients": [person(P_OK), {"organizationNumber": O_OK}, {**KARI, "mobileNumber": "+4799999501"}],
        "emailTemplate": template,
        "smsTemplate": sms_template,
    }
    token = {"PlatformAccessToken": api.client.issuer.mint_platform("ttd", timedelta(hours=1)), "Authorization": None}
    reply = await api.client.apost(ORDERS, body, headers=token)
    url = reply.headers["Location"]
    assert await got(api, url.removeprefix("http://localhost:5090")) == {
        **body,
        "id": reply.json["orderId"],
        "creator": "ttd",
        "created": "2026-11-23T10:00:00Z",
        "requestedSendTime": "2030-01-01T10:00:00.5Z",
        "notificationChannel": "EmailPreferred",
        "links": {"self": url, "status": f"{url}/status"},
    }


@pytest.mark.assertion("http-api", 26, 46)
@pytest.mark.assertion("processing", 7)
async def test_what_was_not_given_is_left_out_or_shown_as_the_default(api: Api) -> None:
    order = await got(api, f"{ORDERS}/{await accepted(api, SMS, TEXT)}")
    assert order.keys() == {
        *("id", "requestedSendTime", "creator", "created", "notificationChannel", "recipients", "smsTemplate", "links")
    }
    assert order["smsTemplate"] == {"senderNumber": "Altinn", "body": "Thank you."}
    mail = await got(api, f"{ORDERS}/{await accepted(api, EMAIL, MAIL)}")
    assert mail["emailTemplate"]["fromAddress"] == "noreply@altinn.cloud"
    assert mail["requestedSendTime"] == mail["created"]


@pytest.mark.assertion("http-api", 42, 43)
async def test_numbers_are_shown_as_sent_and_subjects_in_one_line(api: Api) -> None:
    order = await got(api, f"{ORDERS}/{await accepted(api, SMS, TEXT)}")
    assert order["recipients"] == [{"mobileNumber": "+47 99 99 95 01"}]
    in_lines = await accepted(api, EMAIL, {**MAIL, "subject": "a\r\nb\nc"})
    mail = await got(api, f"{ORDERS}/{in_lines}")
    assert mail["emailTemplate"]["subject"] == "a b c"


@pytest.mark.parametrize("form", [str.upper, lambda id_: id_.replace("-", "")])
async def test_ids_are_read_in_any_case_and_without_hyphens(api: Api, form: Any) -> None:
    order = await accepted(api, EMAIL, MAIL)
    assert (await got(api, f"{ORDERS}/{form(order)}/"))["id"] == order


@pytest.mark.assertion("http-api", 62, 73, 81)
async def test_another_creators_order_does_not_exist(api: Api) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "requestedSendTime": at(api, hours=1)})
    for view in ("", "/status", "/notifications/email", "/notifications/sms"):
        reply = await api.client.aget(f"{ORDERS}/{order}{view}", org="xyz")
        assert (reply.status, reply.content) == (404, b"")
        assert (await api.client.aget(f"{ORDERS}/{order}{view}", org="TTD")).status == 404
    reply = await api.client.aput(f"{ORDERS}/{order}/cancel", org="xyz")
    assert (reply.status, reply.json["status"], reply.json["title"]) == (404, 404, "Not Found")
    assert (await got(api, f"{ORDERS}/{order}/status"))["processingStatus"]["status"] == "Registered"


@pytest.mark.assertion("http-api", 63, 81)
async def test_an_unknown_id_is_404_and_none_at_all_is_400(api: Api) -> None:
    for view in ("", "/status", "/notifications/email", "/notifications/sms"):
        reply = await api.client.aget(f"{ORDERS}/{uuid4()}{view}")
        assert (reply.status, reply.content) == (404, b"")
        for wrong in ("not-a-uuid", "0" * 31, "%7B" + str(uuid4()) + "%7D", "urn:uuid:" + str(uuid4()), "a%00b"):
            assert list((await api.client.aget(f"{ORDERS}/{wrong}{view}")).errors) == ["id"]
    assert (await api.client.aput(f"{ORDERS}/{uuid4()}/cancel")).json["status"] == 404
    assert list((await api.client.aput(f"{ORDERS}/x/cancel")).errors) == ["id"]


@pytest.mark.assertion("http-api", 64)
async def test_keywords_stay_in_the_text_that_is_read_back(api: Api) -> None:
    body = {**MAIL, "subject": "To $recipientName$", "recipients": [{"organizationNumber": O_OK}]}
    api.road.directory.known_names = {O_OK: "Øya AS"}
    order = await accepted(api, EMAIL, body)
    assert (await got(api, f"{ORDERS}/{order}"))["emailTemplate"]["subject"] == "To $recipientName$"
    await api.road.run()
    assert (await got(api, f"{ORDERS}/{order}"))["emailTemplate"]["subject"] == "To $recipientName$"


@pytest.mark.assertion("http-api", 65, 66)
async def test_orders_are_found_by_reference_oldest_first(api: Api) -> None:
    first = await accepted(api, EMAIL, {**MAIL, "sendersReference": "case/7 æ+1"})
    second = await accepted(api, SMS, {**TEXT, "sendersReference": "case/7 æ+1"})
    await accepted(api, EMAIL, {**MAIL, "sendersReference": "CASE/7 æ+1"})
    found = await got(api, f"{ORDERS}?SendersReference=case%2F7%20%C3%A6%2B1&subscription-key=k")
    assert found["count"] == 2
    assert [order["id"] for order in found["orders"]] == [first, second]
    assert found["orders"][0] == await got(api, f"{ORDERS}/{first}")
    assert await got(api, f"{ORDERS}?sendersReference=other") == {"count": 0, "orders": []}
    assert await got(api, f"{ORDERS}?sendersReference=case%2F7%20%C3%A6%2B1", org="xyz") == {"count": 0, "orders": []}


@pytest.mark.parametrize("query", ["", "?sendersReference=", "?reference=x", "?sendersReference=a%00b"])
@pytest.mark.assertion("http-api", 67)
async def test_a_reference_is_required(api: Api, query: str) -> None:
    assert list((await api.client.aget(ORDERS + query)).errors) == ["sendersReference"]


# Status


@pytest.mark.assertion("http-api", 68)
async def test_a_new_order_is_registered(api: Api) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "sendersReference": "r"})
    assert await got(api, f"{ORDERS}/{order}/status") == {
        "id": order,
        "sendersReference": "r",
        "requestedSendTime": "2026-11-23T10:00:00Z",
        "creator": "ttd",
        "created": "2026-11-23T10:00:00Z",
        "notificationChannel": "Email",
        "processingStatus": {
            "status": "Registered",
            "description": "Order has been registered and is awaiting requested send time before processing.",
            "lastUpdate": "2026-11-23T10:00:00Z",
        },
    }


@pytest.mark.assertion("http-api", 69, 70)
async def test_a_processed_order_shows_as_completed_with_its_own_description(api: Api) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "recipients": [{"organizationNumber": O_OK}, person(P_NONE)]})
    api.road.clock.advance(timedelta(seconds=1.5))
    await api.road.run()
    status = await got(api, f"{ORDERS}/{order}/status")
    assert status["processingStatus"] == {
        "status": "Completed",
        "description": "Order processing is done. Notifications have been successfully generated.",
        "lastUpdate": "2026-11-23T10:00:01.5Z",
    }
    link = f"http://localhost:5090{ORDERS}/{order}/notifications/email"
    assert status["notificationsStatusSummary"] == {"email": {"links": {"self": link}, "generated": 3, "succeeded": 2}}


@pytest.mark.parametrize(
    ("state", "status", "fragment"),
    [
        ("Processing", "Processing", "Notifications are being generated."),
        ("Completed", "Completed", "All notifications have a final status."),
        ("SendConditionNotMet", "SendConditionNotMet", "due to send condition not being met."),
    ],
)
async def test_every_state_has_its_name(api: Api, state: str, status: str, fragment: str) -> None:
    order = await accepted(api, EMAIL, MAIL)
    await change(api, "UPDATE orders SET state = %(state)s::order_state", state=state)
    shown = (await got(api, f"{ORDERS}/{order}/status"))["processingStatus"]
    assert shown["status"] == status
    assert fragment in shown["description"]


@pytest.mark.assertion("http-api", 71, 76)
async def test_delivered_and_accepted_count_as_succeeded(api: Api) -> None:
    recipients = [{"mobileNumber": "+4799999501"}, {"mobileNumber": "+4799999502"}, {"mobileNumber": "+4799999503"}]
    order = await accepted(api, SMS, {**TEXT, "recipients": recipients})
    await api.road.run()
    await change(api, "UPDATE notification SET state = 'delivered' WHERE address = '+4799999501'")
    await change(
        api, "UPDATE notification SET state = 'failed', reason = 'Failed_Rejected' WHERE address = '+4799999502'"
    )
    summary = (await got(api, f"{ORDERS}/{order}/status"))["notificationsStatusSummary"]
    link = f"http://localhost:5090{ORDERS}/{order}/notifications/sms"
    assert summary == {"sms": {"links": {"self": link}, "generated": 3, "succeeded": 2}}
    found = await got(api, f"{ORDERS}/{order}/notifications/sms")
    assert (found["generated"], found["succeeded"]) == (3, 2)
    assert [(n["sendStatus"]["status"], n["succeeded"]) for n in found["notifications"]] == [
        ("Delivered", True),
        ("Failed_Rejected", False),
        ("Accepted", True),
    ]


@pytest.mark.assertion("http-api", 72)
async def test_an_order_without_notifications_has_empty_lists(api: Api) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "sendersReference": "r"})
    empty = {"orderId": order, "sendersReference": "r", "generated": 0, "succeeded": 0, "notifications": []}
    assert await got(api, f"{ORDERS}/{order}/notifications/email") == empty
    assert await got(api, f"{ORDERS}/{order}/notifications/sms") == empty


@pytest.mark.assertion("http-api", 74, 75, 76)
async def test_each_notification_tells_whom_it_went_to_and_how_it_stands(api: Api) -> None:
    recipients = [person(P_RES), person(P_OK), {"organizationNumber": O_NONE}, KARI]
    order = await accepted(api, EMAIL, {**MAIL, "recipients": recipients, "ignoreReservation": False})
    await api.road.run()
    await change(api, "UPDATE notification SET state = 'expired' WHERE address = 'kari@example.com'")
    found = await got(api, f"{ORDERS}/{order}/notifications/email")
    shown = [(n["recipient"], n["sendStatus"]["status"], n["succeeded"]) for n in found["notifications"]]
    assert sorted(shown, key=str) == sorted(
        [
            ({"emailAddress": "", **person(P_RES)}, "Failed_RecipientReserved", False),
            ({"emailAddress": "per@example.com", **person(P_OK)}, "Succeeded", True),
            ({"emailAddress": "", "organizationNumber": O_NONE}, "Failed_RecipientNotIdentified", False),
            ({"emailAddress": "kari@example.com"}, "Failed", False),
        ],
        key=str,
    )
    (expired,) = (n for n in found["notifications"] if n["recipient"] == {"emailAddress": "kari@example.com"})
    assert expired["sendStatus"]["description"] == (
        "The email was in indefinite state Succeeded for too long (TTL), and was subsequently set to failed."
    )
    assert re.fullmatch(r"2026-11-23T10:00:00Z", expired["sendStatus"]["lastUpdate"])


async def test_thousands_of_notifications_are_one_answer(api: Api) -> None:
    recipients = tuple(Recipient(email=f"p{i}@example.com") for i in range(2_500))
    order = (await api.road.place(recipients=recipients)).order_id
    await api.road.run()
    found = await got(api, f"{ORDERS}/{order}/notifications/email")
    assert found["generated"] == found["succeeded"] == len(found["notifications"]) == 2_500
    assert {n["recipient"]["emailAddress"] for n in found["notifications"]} == {r.email for r in recipients}


@pytest.mark.assertion("http-api", 83)
@pytest.mark.parametrize("kind", [OrderKind.REMINDER, OrderKind.INSTANT, OrderKind.COMPOSED])
async def test_orders_of_every_origin_are_read_here(api: Api, kind: OrderKind) -> None:
    external = Recipient(external_identity="urn:altinn:party:username:kari")
    order = (await api.road.place(kind=kind, channel=OrderChannel.EMAIL, recipients=(external,))).order_id
    assert (await got(api, f"{ORDERS}/{order}"))["recipients"] == [{}]


async def test_an_order_outlives_its_content(api: Api) -> None:
    order = await accepted(api, EMAIL, MAIL)
    await change(api, "DELETE FROM order_content")
    assert (await got(api, f"{ORDERS}/{order}/status"))["processingStatus"]["status"] == "Registered"
    assert (await got(api, f"{ORDERS}/{order}"))["recipients"] == []


# Cancelling


@pytest.mark.assertion("http-api", 77, 78)
async def test_an_order_that_is_not_near_can_be_cancelled_again_and_again(api: Api) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "requestedSendTime": at(api, hours=1)})
    api.road.clock.advance(timedelta(seconds=30))
    for _ in range(2):
        reply = await api.client.aput(f"{ORDERS}/{order}/cancel")
        assert reply.status == 200
        assert reply.json["processingStatus"] == {
            "status": "Cancelled",
            "description": "Order processing was stopped due to order being cancelled.",
            "lastUpdate": "2026-11-23T10:00:30Z",
        }
        assert reply.json == await got(api, f"{ORDERS}/{order}/status")
    api.road.clock.advance(timedelta(hours=2))
    await api.road.run()
    assert api.road.mail.sent == []


def assert_conflict(reply: Reply) -> None:
    assert reply.status == 409
    assert (reply.json["status"], reply.json["title"]) == (409, "Conflict")
    assert reply.json["type"] == "https://tools.ietf.org/html/rfc9110#section-15.5.10"


@pytest.mark.assertion("http-api", 79)
@pytest.mark.parametrize("minutes", [0, 4, 5])
async def test_an_order_that_is_near_cannot_be_cancelled(api: Api, minutes: int) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "requestedSendTime": at(api, minutes=minutes)})
    assert_conflict(await api.client.aput(f"{ORDERS}/{order}/cancel"))
    assert (await got(api, f"{ORDERS}/{order}/status"))["processingStatus"]["status"] == "Registered"


@pytest.mark.assertion("http-api", 80)
@pytest.mark.parametrize("state", ["Processing", "Processed", "Completed", "SendConditionNotMet"])
async def test_an_order_that_is_under_way_cannot_be_cancelled(api: Api, state: str) -> None:
    order = await accepted(api, EMAIL, {**MAIL, "requestedSendTime": at(api, hours=1)})
    await change(api, "UPDATE orders SET state = %(state)s::order_state", state=state)
    assert_conflict(await api.client.aput(f"{ORDERS}/{order}/cancel"))


@pytest.mark.assertion("http-api", 82)
async def test_cancelling_leaves_other_orders_alone(api: Api) -> None:
    later = api.road.clock.now() + timedelta(days=1)
    main = (await api.road.place(requested_send_time=later)).order_id
    reminder = (await api.road.place(requested_send_time=later, kind=OrderKind.REMINDER)).order_id
    assert (await api.client.aput(f"{ORDERS}/{main}/cancel")).status == 200
    assert (await got(api, f"{ORDERS}/{reminder}/status"))["processingStatus"]["status"] == "Registered"


async def test_many_at_once_are_each_answered_with_their_own_order(api: Api) -> None:
    bodies = [{**MAIL, "sendersReference": f"r{i}"} for i in range(40)]
    ids = await asyncio.gather(*(accepted(api, EMAIL, body) for body in bodies))
    assert len(set(ids)) == 40
    for id_, body in zip(ids, bodies, strict=True):
        assert (await got(api, f"{ORDERS}/{id_}"))["sendersReference"] == body["sendersReference"]


async def test_an_id_that_no_process_made_is_only_unknown(api: Api) -> None:
    for id_ in (OrderId(UUID(int=0)), OrderId(UUID(int=2**128 - 1)), OrderId(uuid7())):
        assert (await api.client.aget(f"{ORDERS}/{id_}")).status == 404
