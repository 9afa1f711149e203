"""The story of an order (design 6): from the ledgers, in order of time, by codes that stay."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from fakes import FakeProvider
from road import until
from serving import ORDERS, Api
from varsel.db import execute
from varsel.delivery.ports import Accepted, Blame, Confirms, Deferred, Refused, SendResult, Suppress, Unknown, Verdict
from varsel.domain.notification import Reason
from varsel.domain.order import Lane
from varsel.recipients.ports import PersonContact
from varsel.resolution.ports import Verdict as Condition
from varsel.status.explain import EventKind

CHAINS: Final = "/notifications/api/v1/future/orders"
SHIPMENT: Final = "/notifications/api/v1/future/shipment"
P_RES: Final = "02817012345"
MAIL: Final = {"subject": "Receipt", "body": "Thank you."}


async def placed(api: Api, **changes: Any) -> str:
    body = {**MAIL, "recipients": [{"emailAddress": "kari@example.com"}], **changes}
    body = {name: value for name, value in body.items() if value is not ...}
    reply = await api.client.apost(f"{ORDERS}/{'email' if 'subject' in body else 'sms'}", body)
    assert reply.status == 202, reply.content
    return str(reply.json["orderId"])


async def explained(api: Api, order: str, query: str = "") -> Any:
    reply = await api.client.aget(f"{SHIPMENT}/{order}/explain{query}")
    assert reply.status == 200, reply.content
    story = reply.json["story"]
    assert [event["at"] for event in story] == sorted(event["at"] for event in story)
    assert all(event["text"].endswith(".") for event in (*story, *reply.json["ahead"]))
    return reply.json


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["kind"] for event in events]


def answering(*results: SendResult) -> FakeProvider:
    """A provider that gives each of these answers once, and then takes everything."""
    left = list(results)
    return FakeProvider("mail", answers=lambda _: left.pop(0) if left else Accepted())


async def test_a_delivered_email_has_the_story_of_its_road(api: Api) -> None:
    order = await placed(api, sendersReference="r-1")
    await api.road.run()
    (row,) = await api.road.rows()
    api.road.clock.advance(timedelta(minutes=2))
    await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    told = await explained(api, order)
    notification = {
        "notificationId": str(row.id),
        "type": "Email",
        "destination": "kari@example.com",
        "status": "Email_Delivered",
        "description": told["notifications"][0]["description"],
        "lastUpdate": "2026-11-23T10:02:00Z",
        "attempts": 1,
    }
    assert told == {
        "shipmentId": order,
        "sendersReference": "r-1",
        "type": "Notification",
        "status": "Order_Completed",
        "description": "Order processing is completed. All notifications have a final status.",
        "notificationChannel": "Email",
        "requestedSendTime": "2026-11-23T10:00:00Z",
        "notifications": [notification],
        "story": told["story"],
        "ahead": [],
    }
    assert kinds(told["story"]) == [
        "order.registered",
        "notification.created",
        "attempt.accepted",
        "report.applied",
        "notification.delivered",
        "order.completed",
        "feed.entry",
    ]
    created, accepted, report = told["story"][1:4]
    assert (created["code"], created["text"]) == ("Email", "An email to kari@example.com was created.")
    assert (accepted["provider"], accepted["attempt"], accepted["at"]) == ("mail", 1, "2026-11-23T10:00:00Z")
    assert (report["code"], report["at"], report["detail"]) == ("delivered", "2026-11-23T10:02:00Z", "delivered")


async def test_an_order_that_waits_tells_what_lies_ahead(api: Api) -> None:
    order = await placed(api, requestedSendTime="2026-11-24T10:00:00Z")
    told = await explained(api, order)
    assert kinds(told["story"]) == ["order.registered"]
    assert [(event["kind"], event["at"]) for event in told["ahead"]] == [("order.due", "2026-11-24T10:00:00Z")]
    assert (await api.client.aput(f"{ORDERS}/{order}/cancel")).status == 200
    told = await explained(api, order)
    assert kinds(told["story"]) == ["order.registered", "order.cancelled"]
    assert told["ahead"] == []


async def test_each_try_and_each_wait_is_told(api: Api) -> None:
    api.road.mail = answering(Deferred("greylisted"), Unknown("no answer"))
    order = await placed(api)
    await api.road.run()
    told = await explained(api, order)
    assert kinds(told["story"])[-2:] == ["attempt.deferred", "order.processed"]
    assert [(e["kind"], e.get("code")) for e in told["ahead"]] == [
        ("notification.tried", "retry"),
        ("notification.expires", None),
    ]
    api.road.clock.set(datetime.fromisoformat(told["ahead"][0]["at"]))
    await api.road.run()
    told = await explained(api, order)
    assert kinds(told["ahead"]) == ["notification.decided", "notification.expires"]
    api.road.clock.set(datetime.fromisoformat(told["ahead"][0]["at"]))
    await api.road.run()
    told = await explained(api, order)
    tries = [(e["kind"], e["attempt"], e.get("detail")) for e in told["story"] if "attempt" in e]
    assert tries == [
        ("attempt.deferred", 1, "greylisted"),
        ("attempt.unknown", 2, "no answer"),
        ("attempt.accepted", 3, None),
    ]
    assert kinds(told["ahead"]) == ["notification.expires"]


async def test_a_try_that_the_provider_is_to_blame_for_is_told_before_the_clean_one(api: Api) -> None:
    api.road.mail = answering(Deferred("no route", Blame.PROVIDER))
    order = await placed(api)
    await api.road.run()
    api.road.clock.advance(timedelta(minutes=5))
    await api.road.run()
    told = await explained(api, order)
    assert [e["kind"] for e in told["story"] if "attempt" in e] == ["attempt.deferred", "attempt.accepted"]


async def test_a_refusal_is_told_with_the_providers_words(api: Api) -> None:
    api.road.mail = answering(Refused(Reason.BOUNCED, "550 no such user"))
    told = await explained(api, await _ran(api))
    refused, failed = (e for e in told["story"] if e["kind"] in ("attempt.refused", "notification.failed"))
    assert (refused["detail"], failed["code"]) == ("550 no such user", "Email_Failed_Bounced")


async def _ran(api: Api, **changes: Any) -> str:
    order = await placed(api, **changes)
    await api.road.run()
    return order


async def test_a_recipient_who_cannot_be_reached_is_told_at_once(api: Api) -> None:
    api.road.directory.people = {P_RES: PersonContact(reserved=True, email="siri@example.com")}
    told = await explained(api, await _ran(api, recipients=[{"nationalIdentityNumber": P_RES}]))
    assert kinds(told["story"]) == [
        "order.registered",
        "notification.unreachable",
        "order.completed",
        "feed.entry",
    ]
    assert told["story"][1]["code"] == "Email_Failed_RecipientReserved"


async def test_a_dead_workers_message_is_told_as_abandoned(api: Api) -> None:
    order = await placed(api)
    worker = await api.road.worker(lease=timedelta(seconds=-1))
    await worker.resolution.resolve_due(Lane.ORDINARY)
    api.road.mail.gate = asyncio.Event()
    await worker.mail.send_due()
    await until(lambda: bool(api.road.mail.sent))
    await api.road.sweeper().release_lapsed()
    told = await explained(api, order)
    assert kinds(told["story"])[1:3] == ["notification.created", "attempt.abandoned"]
    api.road.mail.gate.set()
    await worker.end(api.road)


@pytest.mark.assertion("channels", 51)
async def test_a_complaint_leaves_the_outcome_and_is_told(api: Api) -> None:
    order = await placed(api)
    await api.road.run()
    (row,) = await api.road.rows()
    await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.report(row.id, Verdict.COMPLAINT, raw_state="complaint abuse", suppress=Suppress.COMPLAINT)
    await api.road.run()
    told = await explained(api, order)
    assert told["notifications"][0]["status"] == "Email_Delivered"
    reports = [(e["kind"], e["code"], e["detail"]) for e in told["story"] if e["kind"].startswith("report")]
    assert reports == [
        ("report.applied", "delivered", "delivered"),
        ("report.applied", "complaint", "complaint abuse; said of a message that arrived"),
    ]


async def test_a_bounce_after_the_order_settled_is_told_as_a_correction(api: Api) -> None:
    order = await _ran(api)
    (row,) = await api.road.rows()
    await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    api.road.clock.advance(timedelta(days=1))
    await api.road.report(row.id, Verdict.FAILED)
    await api.road.run()
    await api.road.report(row.id, Verdict.DELIVERED)
    await api.road.run()
    told = await explained(api, order)
    assert [e["code"] for e in told["story"] if e["kind"] == "feed.entry"] == ["outcome", "correction"]
    reports = [(e["kind"], e["code"]) for e in told["story"] if e["kind"].startswith("report")]
    assert reports == [("report.applied", "delivered"), ("report.applied", "failed"), ("report.late", "delivered")]
    assert told["notifications"][0]["status"] == "Email_Failed_Bounced"


async def test_a_message_that_nobody_will_confirm_settles_ahead(api: Api) -> None:
    api.road.mail = FakeProvider("mail", confirms=Confirms.NOTHING)
    order = await _ran(api)
    told = await explained(api, order)
    assert kinds(told["ahead"]) == ["notification.settles", "notification.expires"]
    api.road.clock.advance(timedelta(hours=6))
    await api.road.run()
    assert (await explained(api, order))["ahead"] == []


async def test_an_sms_by_night_waits_for_the_window(api: Api) -> None:
    api.road.clock.advance(timedelta(hours=12))
    order = await _ran(api, subject=..., body="Hi", recipients=[{"mobileNumber": "+4799999501"}])
    told = await explained(api, order)
    first = told["ahead"][0]
    assert (first["kind"], first["code"]) == ("notification.tried", "window")
    assert first["at"].startswith("2026-11-24T08:00:00")


async def test_every_evaluation_of_a_send_condition_is_told(api: Api) -> None:
    api.road.conditions.answers = [Condition.INCONCLUSIVE, Condition.NOT_MET]
    order = await _ran(api, conditionEndpoint="https://a.example.no/x")
    told = await explained(api, order)
    assert kinds(told["ahead"]) == ["order.due"]
    api.road.clock.advance(timedelta(minutes=2))
    await api.road.run()
    told = await explained(api, order)
    assert [(e["kind"], e.get("code")) for e in told["story"]] == [
        ("order.registered", "Email"),
        ("condition.checked", "inconclusive"),
        ("condition.checked", "notMet"),
        ("order.stopped", "Order_SendConditionNotMet"),
        ("feed.entry", "outcome"),
    ]
    assert told["story"][1]["detail"] == "HTTP 200"


async def test_a_big_order_is_explained_in_part_and_any_notification_by_its_id(api: Api) -> None:
    recipients = [{"emailAddress": f"person.{n}@example.com"} for n in range(250)]
    order = await placed(api, recipients=recipients)
    worker = await api.road.worker()
    await worker.resolution.resolve_due(Lane.BULK)
    await worker.end(api.road)
    told = await explained(api, order)
    assert (len(told["notifications"]), told["omitted"]) == (200, 50)
    last = max(row.id for row in await api.road.rows())
    told = await explained(api, order, f"?notificationId={last}")
    assert [n["notificationId"] for n in told["notifications"]] == [str(last)]
    assert kinds(told["story"]) == ["order.registered", "notification.created", "order.processed"]
    assert (await explained(api, order, f"?NOTIFICATIONID={uuid4()}"))["notifications"] == []
    reply = await api.client.aget(f"{SHIPMENT}/{order}/explain?notificationId=x")
    assert reply.errors.keys() == {"notificationId"}


async def test_a_reminder_and_a_foreign_order_are_found_as_shipments_are(api: Api) -> None:
    recipient = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": MAIL}}
    body = {"idempotencyId": "i", "recipient": recipient, "reminders": [{"delayDays": 1, "recipient": recipient}]}
    chain = (await api.client.apost(CHAINS, body)).json
    reminder = chain["notification"]["reminders"][0]["shipmentId"]
    assert (await explained(api, reminder))["type"] == "Reminder"
    foreign = await api.client.aget(f"{SHIPMENT}/{reminder}/explain", org="xyz")
    assert (foreign.status, foreign.json["code"]) == (404, "NOT-00003")
    for unknown in (uuid4(), chain["notificationOrderId"]):
        assert (await api.client.aget(f"{SHIPMENT}/{unknown}/explain")).json["code"] == "NOT-00003"
    wrong = await api.client.aget(f"{SHIPMENT}/x/explain")
    assert (wrong.status, wrong.content) == (404, b"")
    assert (await api.client.aget(f"{SHIPMENT}/{reminder}/explain", scopes=("x",))).status == 403


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_is_a_thing_and_what_became_of_it(kind: EventKind) -> None:
    thing, _, became = kind.partition(".")
    assert thing in {"order", "condition", "notification", "attempt", "report", "fallback", "feed"}
    assert became.isalpha()


async def test_every_outcome_that_the_ledger_may_hold_is_told(api: Api) -> None:
    order = await _ran(api)
    allowed = await api.road.value(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conname = 'attempt_outcome_known' AND conparentid = 0"
    )
    outcomes = re.findall(r"'(\w+)'", allowed)
    assert {"accepted", "suppressed", "withheld"} <= set(outcomes)
    (row,) = await api.road.rows()
    sql = "INSERT INTO attempt SELECT %(id)s, 9, 'mail', statement_timestamp(), %(outcome)s, ''"
    async with api.road.db.autocommit() as conn:
        for outcome in outcomes:
            await execute(conn, sql, {"id": row.id, "outcome": outcome})
    told = await explained(api, order)
    assert [e["code"] for e in told["story"] if e.get("attempt") == 9] == sorted(outcomes, key=_told_rank)


def _told_rank(outcome: str) -> int:
    return [kind.value for kind in EventKind].index(f"attempt.{outcome}")
