"""Shipments and the status feed of v2, over the whole road (http-api 16; processing 8)."""

import json
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from serving import ORDERS, Api
from varsel.db import execute
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId
from varsel.domain.order import OrderChannel, OrderKind, Recipient
from varsel.recipients.ports import PersonContact
from varsel.resolution.ports import Verdict as Condition
from varsel.status.feed import number_feed

FUTURE: Final = "/notifications/api/v1/future"
SHIPMENT: Final = f"{FUTURE}/shipment"
FEED: Final = f"{SHIPMENT}/feed"
EMAIL: Final = {"subject": "New letter", "body": "You have a new letter."}
TO_EMAIL: Final = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": EMAIL}}
RESERVED: Final = "02817012345"


async def got(api: Api, path: str, **how: Any) -> Any:
    reply = await api.client.aget(path, **how)
    assert reply.status == 200, (reply.status, reply.content)
    return reply.json


async def placed(api: Api, **changes: Any) -> str:
    return str((await api.road.place(**changes)).order_id)


async def completed(api: Api, **changes: Any) -> str:
    """An order that has run its whole road, and whose entry has its number."""
    order = OrderId((await api.road.place(**changes)).order_id)
    await api.road.run()
    for row in await api.road.rows(order):
        if row.state == "accepted":
            await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    assert await api.road.state(order) == "Completed"
    return str(order)


async def finished(api: Api, *orders: str, creator: str = "ttd") -> None:
    """Entries of orders with no road of their own, where only the feed matters."""
    async with api.road.db.transaction() as conn:
        await execute(
            conn, "INSERT INTO creator (name, created_at) VALUES (%(c)s, now()) ON CONFLICT DO NOTHING", {"c": creator}
        )
        for order in orders:
            entry = {
                "shipmentId": order,
                "shipmentType": "Notification",
                "status": "Order_Completed",
                "lastUpdate": "2026-11-23T10:00:00.000000Z",
                "recipients": [],
            }
            await execute(
                conn,
                """INSERT INTO feed_pending (creator_id, order_id, created_at, body)
                   SELECT id, %(order)s, now(), %(body)s::jsonb FROM creator WHERE name = %(creator)s""",
                {"order": order, "body": json.dumps(entry), "creator": creator},
            )
    await number_feed(api.road.db)


def ids(count: int) -> list[str]:
    return [str(uuid4()) for _ in range(count)]


# Shipments


@pytest.mark.assertion("http-api", 130)
async def test_a_new_chain_shows_as_registered_shipments_without_recipients(api: Api) -> None:
    reminder = {"delayDays": 1, "recipient": TO_EMAIL}
    sent = {"idempotencyId": "i", "sendersReference": "r", "recipient": TO_EMAIL, "reminders": [reminder]}
    reply = await api.client.apost(f"{FUTURE}/orders", sent)
    main = reply.json["notification"]
    shown = {"status": "Order_Registered", "lastUpdate": "2026-11-23T10:00:00Z", "recipients": []}
    assert await got(api, f"{SHIPMENT}/{main['shipmentId']}") == {
        "shipmentId": main["shipmentId"],
        "sendersReference": "r",
        "type": "Notification",
        **shown,
    }
    (late,) = main["reminders"]
    assert await got(api, f"{SHIPMENT}/{late['shipmentId']}/") == {
        "shipmentId": late["shipmentId"],
        "type": "Reminder",
        **shown,
    }
    await assert_missing(api, reply.json["notificationOrderId"])


async def assert_missing(api: Api, id_: object, **how: Any) -> None:
    reply = await api.client.aget(f"{SHIPMENT}/{id_}", **how)
    assert reply.status == 404
    problem = reply.json
    assert problem.pop("traceId").startswith("00-")
    assert problem == {
        "type": "urn:altinn:error:NOT-00003",
        "title": "Shipment not found",
        "status": 404,
        "code": "NOT-00003",
        "statusDescription": "Not Found",
    }


@pytest.mark.assertion("http-api", 131, 132)
@pytest.mark.assertion("processing", 130)
async def test_what_is_not_the_creators_own_shipment_is_not_found(api: Api) -> None:
    order = await placed(api)
    await assert_missing(api, uuid4())
    await assert_missing(api, order, org="xyz")
    await assert_missing(api, order, org="TTD")
    for wrong in ("not-a-uuid", "0" * 31, f"{order}/x", "%7B" + order + "%7D"):
        for headers in ({}, {"Authorization": None}):
            reply = await api.client.aget(f"{SHIPMENT}/{wrong}", headers=headers)
            assert (reply.status, reply.content) == (404, b"")


@pytest.mark.assertion("http-api", 6)
async def test_a_shipment_asks_who_calls(api: Api) -> None:
    order = await placed(api)
    assert (await api.client.aget(f"{SHIPMENT}/{order}", headers={"Authorization": None})).status == 401
    assert (await api.client.aget(f"{SHIPMENT}/{order}", scopes=["altinn:other"])).status == 403
    assert (await api.client.aget(f"{SHIPMENT}/{order}", org=None)).status == 403
    token = {"PlatformAccessToken": api.client.issuer.mint_platform("ttd", timedelta(hours=1)), "Authorization": None}
    assert (await got(api, f"{SHIPMENT}/{order.upper()}", headers=token))["shipmentId"] == order
    assert (await got(api, f"{SHIPMENT}/{order.replace('-', '')}"))["shipmentId"] == order


@pytest.mark.assertion("http-api", 133, 134)
@pytest.mark.assertion("processing", 127, 128, 129)
async def test_a_shipment_tells_how_each_message_stands_emails_first(api: Api) -> None:
    recipients = tuple(Recipient(email=f"a{n}@example.com", mobile=f"+479999950{n}") for n in range(1, 5))
    order = await placed(api, channel=OrderChannel.EMAIL_AND_SMS, recipients=recipients, kind=OrderKind.NOTIFICATION)
    api.road.clock.advance(timedelta(seconds=1.5))
    await api.road.run()
    async with api.road.db.autocommit() as conn:
        changes = {
            "a1@example.com": ("failed", "Failed_InvalidEmailFormat"),
            "a2@example.com": ("failed", "Failed_SupressedRecipient"),
            "a3@example.com": ("expired", None),
            "+4799999501": ("delivered", None),
            "+4799999502": ("expired", None),
            "+4799999503": ("unknown", None),
        }
        for address, (state, reason) in changes.items():
            await execute(
                conn,
                """UPDATE notification SET state = %(state)s::notification_state, reason = %(reason)s
                    WHERE address = %(address)s""",
                {"address": address, "state": state, "reason": reason},
            )
    shipment = await got(api, f"{SHIPMENT}/{order}")
    assert (shipment["status"], shipment["lastUpdate"]) == ("Order_Processed", "2026-11-23T10:00:01.5Z")
    assert (await got(api, f"{ORDERS}/{order}/status"))["processingStatus"]["status"] == "Completed"
    assert {r["lastUpdate"] for r in shipment["recipients"]} == {"2026-11-23T10:00:01.5Z"}
    assert [(r["type"], r["destination"], r["status"]) for r in shipment["recipients"]] == [
        ("Email", "a1@example.com", "Email_Failed_InvalidFormat"),
        ("Email", "a2@example.com", "Email_Failed_SuppressedRecipient"),
        ("Email", "a3@example.com", "Email_Failed_TTL"),
        ("Email", "a4@example.com", "Email_Succeeded"),
        ("SMS", "+4799999501", "SMS_Delivered"),
        ("SMS", "+4799999502", "SMS_Failed_TTL"),
        ("SMS", "+4799999503", "SMS_Sending"),
        ("SMS", "+4799999504", "SMS_Accepted"),
    ]


async def test_a_recipient_without_an_address_has_an_empty_destination(api: Api) -> None:
    api.road.directory.people = {RESERVED: PersonContact(reserved=True)}
    order = await placed(api, recipients=(Recipient(national_identity_number=RESERVED),))
    await api.road.run()
    shipment = await got(api, f"{SHIPMENT}/{order}")
    assert shipment["status"] == "Order_Completed"
    assert [(r["destination"], r["status"]) for r in shipment["recipients"]] == [("", "Email_Failed_RecipientReserved")]


async def test_a_shipment_of_thousands_is_one_answer(api: Api) -> None:
    order = await placed(api, recipients=tuple(Recipient(email=f"p{n}@example.com") for n in range(3_000)))
    await api.road.run()
    assert len((await got(api, f"{SHIPMENT}/{order}"))["recipients"]) == 3_000


# The feed


@pytest.mark.assertion("http-api", 135, 140)
async def test_a_completed_order_has_one_entry_that_tells_how_it_ended(api: Api) -> None:
    assert await got(api, FEED) == []
    api.road.clock.advance(timedelta(seconds=0.25))
    order = await completed(api, senders_reference="r", kind=OrderKind.REMINDER)
    (entry,) = await got(api, FEED)
    assert entry.pop("sequenceNumber") > 0
    assert entry == {
        "shipmentId": order,
        "sendersReference": "r",
        "recipients": [
            {"destination": "kari@example.com", "status": "Email_Delivered", "lastUpdate": "2026-11-23T10:00:00.25Z"}
        ],
        "status": "Order_Completed",
        "lastUpdate": "2026-11-23T10:00:00.25Z",
        "shipmentType": "Reminder",
    }


@pytest.mark.assertion("http-api", 141)  # overridden: there is no delay
@pytest.mark.assertion("processing", 122)
async def test_an_entry_comes_once_and_without_delay_numbered_after_all_before_it(api: Api) -> None:
    orders = [await completed(api) for _ in range(3)]
    await api.road.run()
    entries = await got(api, FEED)
    assert [entry["shipmentId"] for entry in entries] == orders
    numbers = [entry["sequenceNumber"] for entry in entries]
    assert numbers == sorted(set(numbers))
    assert "sendersReference" not in entries[0]


@pytest.mark.assertion("http-api", 142, 143)
async def test_a_stopped_order_has_an_entry_without_recipients_and_a_cancelled_one_has_none(api: Api) -> None:
    api.road.conditions.answers = [Condition.NOT_MET]
    stopped = await placed(api, condition_endpoint="https://a.example/")
    later = await placed(api, requested_send_time=api.road.clock.now() + timedelta(hours=1))
    assert (await api.client.aput(f"{ORDERS}/{later}/cancel")).status == 200
    api.road.clock.advance(timedelta(days=1))
    await api.road.run()
    (entry,) = await got(api, FEED)
    assert (entry["shipmentId"], entry["status"], entry["recipients"]) == (stopped, "Order_SendConditionNotMet", [])


async def test_a_correction_is_a_further_entry_that_says_so(api: Api) -> None:
    order = await completed(api)
    (row,) = await api.road.rows()
    await api.road.report(row.id, Verdict.FAILED)
    await api.road.run()
    first, second = await got(api, FEED)
    assert "correction" not in first
    assert (second["shipmentId"], second["correction"]) == (order, True)
    statuses = [entry["recipients"][0]["status"] for entry in (first, second)]
    assert statuses == ["Email_Delivered", "Email_Failed_Bounced"]


@pytest.mark.assertion("http-api", 135, 136, 137)
@pytest.mark.assertion("processing", 124)
async def test_a_reader_goes_forward_and_back_in_its_own_entries_only(api: Api) -> None:
    mine, others = ids(5), ids(5)
    for own, other in zip(mine, others, strict=True):
        await finished(api, own)
        await finished(api, other, creator="xyz")
    entries = await got(api, FEED)
    numbers = [entry["sequenceNumber"] for entry in entries]
    assert [entry["shipmentId"] for entry in entries] == mine
    assert [entry["shipmentId"] for entry in await got(api, FEED, org="xyz")] == others
    assert await got(api, FEED, org="nobody") == []
    assert await got(api, f"{FEED}?seq={numbers[1]}") == entries[2:]
    assert await got(api, f"{FEED}?seq={numbers[-1]}") == []
    for query in ("orderBy=DESC", "ORDERBY=desc&SEQ=0", "orderBy=1"):
        assert await got(api, f"{FEED}?{query}") == entries[::-1]
    assert await got(api, f"{FEED}/?orderBy=desc&seq={numbers[3]}&subscription-key=k") == entries[2::-1]
    assert await got(api, f"{FEED}?orderBy=desc&seq={numbers[0]}") == []
    assert await got(api, f"{FEED}?seq={2**63 - 1}") == []


@pytest.mark.assertion("http-api", 138)
@pytest.mark.assertion("processing", 125)
async def test_a_page_has_at_least_one_entry_and_at_most_500(api: Api) -> None:
    await finished(api, *ids(502))
    for size, count in (
        ("3", 3),
        ("0", 1),
        ("-7", 1),
        ("+2", 2),
        ("%2B2", 2),
        ("500", 500),
        ("100000", 500),
        ("9" * 5_000, 500),
    ):
        assert len(await got(api, f"{FEED}?pagesize={size}")) == count
    entries = await got(api, f"{FEED}?pageSize={'-' + '9' * 5_000}&orderBy=desc")
    assert len(entries) == 1
    assert len(await got(api, FEED)) == 500
    assert [entry["shipmentId"] for entry in await got(api, f"{FEED}?seq={entries[0]['sequenceNumber'] - 1}")] == [
        entries[0]["shipmentId"]
    ]


@pytest.mark.assertion("http-api", 138, 139)
@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("seq=-1", {"Seq"}),
        ("seq=x", {"Seq"}),
        ("seq=", {"Seq"}),
        ("seq=1.5", {"Seq"}),
        (f"seq={2**63}", {"Seq"}),
        ("seq=" + "9" * 5_000, {"Seq"}),
        ("pageSize=x", {"PageSize"}),
        ("pagesize=", {"PageSize"}),
        ("pageSize=%D9%A1", {"PageSize"}),  # a digit, but none of ours
        ("orderBy=up", {"OrderBy"}),
        ("orderBy=", {"OrderBy"}),
        ("wait=x", {"Wait"}),
        ("seq=-1&pageSize=x&orderBy=up&wait=x", {"Seq", "PageSize", "OrderBy", "Wait"}),
    ],
)
async def test_a_parameter_that_cannot_be_read_is_named(api: Api, query: str, keys: set[str]) -> None:
    assert (await api.client.aget(f"{FEED}?{query}")).errors.keys() == keys


async def test_the_feed_asks_for_content_type_policy_parameters_and_creator_in_this_order(api: Api) -> None:
    async def status(query: str = "", **how: Any) -> int:
        return (await api.client.aget(f"{FEED}{query}", **how)).status

    assert await status(headers={"Content-Type": "application/json"}) == 200
    assert await status(headers={"Content-Type": "text/plain", "Authorization": None}) == 415
    assert await status("?seq=x", headers={"Authorization": None}) == 401
    assert await status("?seq=x", scopes=["altinn:other"]) == 403
    assert await status("?seq=x", org=None) == 400
    assert await status(org=None) == 403
    assert (await api.client.apost(FEED, {})).status == 405


async def test_an_entry_that_cannot_be_read_is_left_out(api: Api) -> None:
    first, broken, last = ids(3)
    await finished(api, first, broken, last)
    async with api.road.db.autocommit() as conn:
        await execute(
            conn, """UPDATE status_feed SET body = '{"shipmentId": 1}' WHERE order_id = %(id)s""", {"id": broken}
        )
    assert [entry["shipmentId"] for entry in await got(api, FEED)] == [first, last]
