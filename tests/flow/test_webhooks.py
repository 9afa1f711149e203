"""Events out: what happens to an order reaches who asked for it, signed, in order, and again until it is taken."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from receivers import BASE, Got, Hooks, Receiver, hooks_on, receiving
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict
from varsel.domain.order import OrderChannel, Recipient
from varsel.domain.signatures import shown
from varsel.status.feed_store import read_feed
from varsel.webhooks.event import Kind
from varsel.webhooks.owner_store import Wish

HOUR: Final = timedelta(hours=1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def hooks(database: Database, clock: ManualClock) -> AsyncIterator[Hooks]:
    road = Road(database, clock)
    async with hooks_on(road) as hooks:
        yield hooks
    await road.waker.close()


def verified(got: Got, secret: str) -> Any:
    return Verifier(secret).verify(got.body, got.headers)


async def completed(hooks: Hooks, **changes: Any) -> str:
    """An order that has run its whole road to delivery."""
    placed = await hooks.road.place(**changes)
    await hooks.road.run()
    for row in await hooks.road.rows(placed.order_id):
        if row.state == "accepted":
            await hooks.road.report(row.id, Verdict.DELIVERED)
    await hooks.road.run()
    return str(placed.order_id)


# From an order to its receiver


async def test_a_completed_order_reaches_its_receiver_as_the_feed_tells_of_it(hooks: Hooks, receiver: Receiver) -> None:
    _, secret = await hooks.subscribe(receiver.url)
    order = await completed(hooks, senders_reference="case-17")
    [entry] = await hooks.road.feed()
    await hooks.pusher().run()
    [got] = receiver.events
    assert verified(got, secret) == got.event
    [row] = await hooks.road.rows()
    assert got.event["data"] == {
        "shipmentId": order,
        "sequenceNumber": got.seq,
        "sendersReference": "case-17",
        "shipmentType": "Notification",
        "status": "Order_Completed",
        "lastUpdate": entry["lastUpdate"],
        "recipients": [{"notificationId": str(row.id), "status": "Email_Delivered", "lastUpdate": entry["lastUpdate"]}],
        "recipientCount": 1,
    }


async def test_an_event_is_a_cloud_event_that_others_can_read(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.subscribe(receiver.url)
    order = await completed(hooks)
    await hooks.pusher(prefix="no.agency.").run()
    [got] = receiver.events
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    event = from_http(HTTPMessage(got.headers, got.body), JSONFormat())
    assert event.get_type() == "no.agency.order.completed.v1"
    assert event.get_subject() == order
    assert event.get_source() == f"{BASE}/notifications/creators/ttd"
    assert event.get_time() == hooks.road.clock.now()
    assert event.get_id() == got.id
    assert event.get_datacontenttype() == "application/json"
    assert event.get_extension("sequence") == f"{got.seq:019}"
    assert "." not in got.id


@pytest.mark.assertion("channels", 25)
@pytest.mark.assertion("channels-faults", 16)
async def test_a_repeated_report_tells_nobody_again(hooks: Hooks, receiver: Receiver) -> None:
    """F16."""
    await hooks.subscribe(receiver.url)
    await completed(hooks)
    [row] = await hooks.road.rows()
    for _ in range(5):
        await hooks.road.report(row.id, Verdict.DELIVERED, event_key="the same")
    await hooks.road.run()
    await hooks.pusher().run()
    assert len(receiver.events) == 1


async def test_a_late_bounce_is_told_as_a_correction_of_the_same_shipment(hooks: Hooks, receiver: Receiver) -> None:
    """F18."""
    await hooks.subscribe(receiver.url)
    order = await completed(hooks)
    pusher = hooks.pusher()
    await pusher.run()
    hooks.road.clock.advance(timedelta(minutes=10))
    [row] = await hooks.road.rows()
    await hooks.road.report(row.id, Verdict.FAILED)
    await hooks.road.run()
    await pusher.run()
    assert [(got.kind, got.shipment) for got in receiver.events] == [
        (Kind.ORDER_COMPLETED, order),
        (Kind.CORRECTION, order),
    ]
    correction = receiver.events[1].event
    assert correction["time"] == "2026-11-23T10:10:00.000000Z"
    assert [r["status"] for r in correction["data"]["recipients"]] == ["Email_Failed_Bounced"]


async def test_a_complaint_is_told_to_webhooks_and_not_to_readers_of_the_feed(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.subscribe(receiver.url, [Kind.COMPLAINT])
    recipients = tuple(Recipient(email=f"p{n}@example.com") for n in range(3))
    order = await completed(hooks, recipients=recipients)
    angry = (await hooks.road.rows())[1]
    for _ in range(2):
        await hooks.road.report(angry.id, Verdict.COMPLAINT, event_key="the same")
    await hooks.road.run()
    await hooks.pusher().run()
    [got] = receiver.events
    assert (got.kind, got.shipment) == (Kind.COMPLAINT, order)
    assert [r["notificationId"] for r in got.event["data"]["recipients"]] == [str(angry.id)]
    assert len(await hooks.road.feed()) == 2
    async with hooks.db.reading() as conn:
        told = await read_feed(conn, "ttd", seq=0, limit=10, newest_first=False)
        backwards = await read_feed(conn, "ttd", seq=0, limit=10, newest_first=True)
    assert len(told) == len(backwards) == 1


async def test_each_webhook_is_told_of_what_it_asked_for(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.subscribe(receiver.url + "?corrections", [Kind.CORRECTION])
    await hooks.subscribe(receiver.url + "?completed", [Kind.ORDER_COMPLETED], destinations=True)
    await hooks.subscribe(receiver.url + "?another", creator="nav")
    [first] = await hooks.happen(None)
    [second] = await hooks.happen(None, correction=True)
    [third] = await hooks.happen(None, creator="nav")
    pusher = hooks.pusher()
    await pusher.run()
    assert {(got.path, got.seq) for got in receiver.events} == {
        ("/hook?corrections", second), ("/hook?completed", first), ("/hook?another", third)
    }  # fmt: skip
    told = {got.path: "destination" in got.event["data"]["recipients"][0] for got in receiver.events}
    assert told == {"/hook?corrections": False, "/hook?completed": True, "/hook?another": False}
    assert not await pusher.webhooks.push_due()  # nobody is behind


async def test_an_order_on_both_channels_is_one_event(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.subscribe(receiver.url)
    to = Recipient(email="kari@example.com", mobile="+4799999501")
    await completed(hooks, channel=OrderChannel.EMAIL_AND_SMS, recipients=(to,))
    await hooks.pusher().run()
    [got] = receiver.events
    assert [r["status"] for r in got.event["data"]["recipients"]] == ["Email_Delivered", "SMS_Delivered"]


# Signatures


@pytest.mark.assertion("channels", 102)
async def test_a_try_has_the_same_id_and_a_time_of_its_own_and_the_official_library_verifies_it(
    hooks: Hooks, receiver: Receiver
) -> None:
    statuses = iter([500, 503, 204])
    receiver.answer = lambda _: next(statuses)
    ticks = iter([time.time() - 20, time.time() - 10, time.time()])
    _, secret = await hooks.subscribe(receiver.url)
    await hooks.happen(None)
    pusher = hooks.pusher(machine=lambda: next(ticks))
    for _ in range(3):
        await pusher.run()
        hooks.road.clock.advance(timedelta(minutes=1))
    first, second, third = receiver.events
    assert first.id == second.id == third.id == first.event["id"]
    assert first.body == second.body == third.body
    assert len({got.headers["webhook-timestamp"] for got in receiver.events}) == 3
    for got in receiver.events:
        assert verified(got, secret)["id"] == got.id
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(third.body + b" ", third.headers)


@pytest.mark.assertion("channels", 102)
async def test_for_a_day_after_a_rotation_both_secrets_verify(hooks: Hooks, receiver: Receiver) -> None:
    id_, old = await hooks.subscribe(receiver.url)
    _, secret = await hooks.owners.rotate("ttd", id_)
    pusher = hooks.pusher()
    await hooks.happen(None)
    await pusher.run()
    hooks.road.clock.advance(timedelta(hours=24))
    await hooks.happen(None)
    await pusher.run()
    during, after = receiver.events
    assert verified(during, old) == verified(during, shown(secret)) == during.event
    assert verified(after, shown(secret)) == after.event
    with pytest.raises(WebhookVerificationError):
        verified(after, old)


# Being confirmed


async def test_a_webhook_is_pending_until_its_receiver_takes_a_signed_ping_and_then_hears_what_it_missed(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.pings = 500
    id_, secret = await hooks.subscribe(receiver.url, active=False)
    [seq] = await hooks.happen(None)
    pusher = hooks.pusher()
    await pusher.run()
    assert await hooks.state(id_) == ("pending", None)
    assert [got.kind for got in receiver.got] == [Kind.PING]
    receiver.pings = 204
    hooks.road.clock.advance(timedelta(seconds=6))
    await pusher.run()
    assert await hooks.state(id_) == ("active", None)
    first, second, event = receiver.got
    assert first.id == second.id
    assert verified(second, secret)["data"] == {}
    assert event.seq == seq
    deliveries = await hooks.deliveries(id_)
    assert deliveries[None].state == "delivered"
    assert deliveries[None].attempts == 2
    assert deliveries[seq].status == 204


async def test_a_ping_that_nobody_takes_for_a_day_is_given_up_and_can_be_asked_for(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.pings = 404
    id_, _ = await hooks.subscribe(receiver.url, active=False)
    pusher = hooks.pusher()
    for _ in range(60):
        await pusher.run()
        hooks.road.clock.advance(timedelta(minutes=30))
    tries = len(receiver.got)
    assert 20 <= tries <= 35
    assert (await hooks.deliveries(id_))[None].state == "failed"
    await pusher.run()
    assert len(receiver.got) == tries
    receiver.pings = 200
    await hooks.owners.ping("ttd", id_)
    await pusher.run()
    assert await hooks.state(id_) == ("active", None)
    assert receiver.got[-1].id != receiver.got[0].id


async def test_another_address_is_confirmed_anew(hooks: Hooks, receiver: Receiver) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    pusher = hooks.pusher()
    receiver.pings = 500
    changed = await hooks.owners.change("ttd", id_, Wish(receiver.url + "?new", (Kind.ORDER_COMPLETED,), "d", True))
    assert (changed.state, changed.kinds, changed.description, changed.destinations) == (
        "pending", ("order.completed.v1",), "d", True
    )  # fmt: skip
    await hooks.happen(None)
    await pusher.run()
    assert [(got.path, got.kind) for got in receiver.got] == [("/hook?new", Kind.PING)]
    receiver.pings = 204
    hooks.road.clock.advance(timedelta(minutes=1))
    await pusher.run()
    assert [got.path for got in receiver.events] == ["/hook?new"]
    same = await hooks.owners.change("ttd", id_, Wish(receiver.url + "?new", (Kind.CORRECTION,), None, False))
    assert same.state == "active"


# Trying again


@pytest.mark.assertion("channels", 103)
async def test_a_receiver_that_is_gone_is_told_nothing_more_until_its_owner_says_so(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 410
    id_, _ = await hooks.subscribe(receiver.url)
    [seq] = await hooks.happen(None)
    pusher = hooks.pusher()
    await pusher.run()
    assert await hooks.state(id_) == ("disabled", "gone")
    hooks.road.clock.advance(48 * HOUR)
    await pusher.run()
    assert len(receiver.got) == 1
    receiver.answer = lambda _: 204
    assert (await hooks.owners.resume("ttd", id_)).state == "pending"
    await pusher.run()
    assert receiver.got[1].kind == Kind.PING
    assert receiver.seqs == [seq, seq]


@pytest.mark.assertion("channels", 103)
@pytest.mark.parametrize("wish", ["3600", "86400", "900000"])
async def test_a_receiver_that_asks_for_time_gets_it_at_most_a_day(hooks: Hooks, receiver: Receiver, wish: str) -> None:
    receiver.answer = lambda _: web.Response(status=429, headers={"Retry-After": wish})
    await hooks.subscribe(receiver.url)
    await hooks.happen(None, None)
    pusher = hooks.pusher()
    await pusher.run()
    begun = len(receiver.events)
    hooks.road.clock.advance(timedelta(seconds=min(int(wish), 86_400) - 1))
    await pusher.run()
    assert len(receiver.events) == begun
    receiver.answer = lambda _: 204
    hooks.road.clock.advance(timedelta(seconds=1))
    await pusher.run()
    assert len(receiver.events) == begun + 2


async def test_a_receiver_that_fails_for_a_day_is_paused_with_everything_kept(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(None, None, None)
    pusher = hooks.pusher()
    began = hooks.road.clock.now()
    while (await hooks.state(id_))[0] == "active":
        await pusher.run()
        due = await pusher.webhooks.next_due()
        if due:
            hooks.road.clock.set(due)
    assert await hooks.state(id_) == ("paused", "failing")
    assert timedelta(hours=24) <= hooks.road.clock.now() - began < timedelta(hours=26)
    assert set(receiver.seqs) == set(seqs)  # all three were under way at first
    tries = len(receiver.events)
    assert tries < 100
    hooks.road.clock.advance(48 * HOUR)
    later = await hooks.happen(None)
    await pusher.run()
    assert len(receiver.events) == tries
    receiver.answer = lambda _: 204
    await hooks.owners.resume("ttd", id_)
    await pusher.run()
    assert sorted(receiver.seqs[tries:]) == [*seqs, *later]


async def test_an_event_that_its_receiver_refuses_holds_up_its_own_shipment_alone(
    hooks: Hooks, receiver: Receiver
) -> None:
    order = (await hooks.road.place()).order_id
    id_, _ = await hooks.subscribe(receiver.url)
    [bad, *others, behind] = [
        *(await hooks.happen(order)), *(await hooks.happen(*[None] * 20)), *(await hooks.happen(order, correction=True))
    ]  # fmt: skip
    pusher = hooks.pusher()
    receiver.answer = lambda _: 500
    await pusher.run()  # what is tried after this is tried alone
    hooks.road.clock.advance(timedelta(minutes=6))
    receiver.answer = lambda got: 500 if got.seq == bad else 204
    before = len(receiver.events)
    for turn in range(100):  # as many as a slow machine needs; ten hours, of the day that is waited for
        await pusher.run()
        hooks.road.clock.advance(timedelta(minutes=6))
        taken = [seq for seq in receiver.seqs[before:] if seq != bad]
        if turn >= 7 and sorted(taken) == others:
            break
    assert sorted(taken) == others
    assert behind not in receiver.seqs
    receiver.answer = lambda _: 204
    for _ in range(20):
        hooks.road.clock.advance(HOUR / 2)
        await pusher.run()
        if (await hooks.webhook(id_)).waiting == 0:
            break
    assert receiver.seqs[-2:] == [bad, behind]
    assert (await hooks.webhook(id_)).waiting == 0


# What owners do


async def test_while_it_is_paused_nothing_is_sent_and_afterwards_everything(hooks: Hooks, receiver: Receiver) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    pusher = hooks.pusher()
    assert (await hooks.owners.pause("ttd", id_)).reason == "owner"
    seqs = await hooks.happen(None, None)
    await pusher.run()
    assert receiver.got == []
    assert (await hooks.owners.resume("ttd", id_)).state == "active"
    await pusher.run()
    assert sorted(receiver.seqs) == seqs


async def test_a_replay_sends_everything_from_a_number_on_again_with_the_same_ids(
    hooks: Hooks, receiver: Receiver
) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(*[None] * 8)
    pusher = hooks.pusher()
    await pusher.run()
    ids = {got.seq: got.id for got in receiver.events}
    receiver.got.clear()
    await hooks.owners.replay("ttd", id_, seqs[3])
    await pusher.run()
    assert sorted(receiver.seqs) == seqs[3:]
    assert {got.seq: got.id for got in receiver.events} == {seq: ids[seq] for seq in seqs[3:]}
    await pusher.run()
    assert len(receiver.events) == 5


async def test_a_replay_from_behind_a_bad_event_leaves_it_out(hooks: Hooks, receiver: Receiver) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    [bad] = await hooks.happen(None)
    receiver.answer = lambda got: 500 if got.seq == bad else 204
    pusher = hooks.pusher()
    await pusher.run()
    [good] = await hooks.happen(None)
    await hooks.owners.replay("ttd", id_, bad + 1)
    hooks.road.clock.advance(timedelta(minutes=1))
    await pusher.run()
    hooks.road.clock.advance(48 * HOUR)
    await pusher.run()
    assert receiver.seqs == [bad, good]
    assert await hooks.state(id_) == ("active", None)


async def test_at_most_five_requests_are_under_way_and_one_for_each_shipment(hooks: Hooks, receiver: Receiver) -> None:
    gate = asyncio.Event()
    flying: dict[str | None, int] = {}

    async def wait(got: Got) -> int:
        flying[got.shipment] = flying.get(got.shipment, 0) + 1
        assert flying[got.shipment] == 1
        await gate.wait()
        flying[got.shipment] -= 1
        return 204

    receiver.answer = wait
    await hooks.subscribe(receiver.url)
    orders = [(await hooks.road.place()).order_id for _ in range(7)]
    for _ in range(3):
        await hooks.happen(*orders)
    pushing = asyncio.create_task(hooks.pusher().run())
    await until(lambda: receiver.now == 5)
    gate.set()
    await pushing
    assert receiver.most == 5
    assert len(receiver.events) == 21
    for order in orders:
        seqs = [got.seq for got in receiver.events if got.shipment == str(order)]
        assert seqs == sorted(seqs)


async def test_addresses_urls_and_secrets_are_in_no_log(
    hooks: Hooks, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer = lambda _: 500
    id_, secret = await hooks.subscribe(receiver.url + "?token=hush", destinations=True)
    await hooks.happen(None)
    pusher = hooks.pusher()
    for _ in range(30):
        await pusher.run()
        hooks.road.clock.advance(HOUR)
    assert await hooks.state(id_) == ("paused", "failing")
    ours = [str(vars(record)) for record in caplog.records if record.name != "aiohttp.access"]  # the receiver's
    assert any("webhook stopped" in text for text in ours)
    for private in ("kari@example.com", "hush", secret, "case-17"):
        assert not [text for text in ours if private in text]
