"""Webhooks on PostgreSQL: leases, positions, what is looked at and what is forgotten (design 8)."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

import pytest

from receivers import Got, Hooks, Receiver, hang, hooks_on, receiving
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch
from varsel.domain.ids import uuid7
from varsel.status.gauges_store import BEHIND, read_gauges
from varsel.timeshift import store as clock_store
from varsel.webhooks import lease_store, retention
from varsel.webhooks.event import Kind
from varsel.webhooks.lease_store import Held
from varsel.webhooks.store import NEW

LEASE: Final = timedelta(seconds=45)


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


async def take(hooks: Hooks, limit: int = 100, shift: timedelta = timedelta()) -> list[Held]:
    async with hooks.db.autocommit() as conn:
        return await lease_store.take(conn, now=hooks.road.clock.now(), lease=LEASE, limit=limit, shift=shift)


# Leases


async def test_each_webhook_that_is_due_is_taken_by_one_of_many(hooks: Hooks) -> None:
    ids = []
    for number in range(30):
        ids.append((await hooks.subscribe("https://a.example/", creator=f"c{number}"))[0])
        if number % 3:
            await hooks.happen(None, creator=f"c{number}")
    due = {id_ for number, id_ in enumerate(ids) if number % 3}
    taken = [held.id for some in await asyncio.gather(*(take(hooks, limit=4) for _ in range(8))) for held in some]
    assert max(Counter(taken).values()) == 1
    assert set(taken) == due
    assert await take(hooks) == []


async def test_a_lease_ends_by_the_clock_of_the_database_and_its_number_with_it(hooks: Hooks) -> None:
    await hooks.subscribe("https://a.example/")
    await hooks.happen(None)
    [first] = await take(hooks)
    hooks.road.clock.advance(timedelta(days=2))  # business time ends no lease
    assert await take(hooks) == []
    [second] = await take(hooks, shift=LEASE + timedelta(seconds=1))
    assert second.fencing == first.fencing + 1
    async with hooks.db.autocommit() as conn:
        await lease_store.release(conn, first)
    assert await take(hooks) == []
    async with hooks.db.autocommit() as conn:
        await lease_store.release(conn, second)
    assert len(await take(hooks, shift=LEASE * 3)) == 1


async def test_those_that_were_served_least_lately_are_taken_first(hooks: Hooks) -> None:
    ids = [(await hooks.subscribe("https://a.example/"))[0] for _ in range(3)]
    await hooks.happen(None)
    order = []
    for _ in range(6):
        [held] = await take(hooks, limit=1)
        order.append(held.id)
        async with hooks.db.autocommit() as conn:
            await lease_store.release(conn, held)
    assert sorted(order[:3]) == sorted(ids)
    assert order[3:] == order[:3]


@pytest.mark.parametrize("state", ["pending", "paused", "disabled"])
async def test_one_that_is_not_active_is_not_due_but_for_pings(hooks: Hooks, state: str) -> None:
    id_, _ = await hooks.subscribe("https://a.example/")
    await hooks.happen(None)
    async with hooks.db.autocommit() as conn:
        await execute(conn, "UPDATE webhook SET state = %(state)s", {"state": state})
    assert await take(hooks) == []
    await hooks.owners.ping("ttd", id_)
    [held] = await take(hooks)
    assert not held.active


async def test_a_look_at_many_webhooks_and_a_long_feed_reads_by_index(hooks: Hooks) -> None:
    for number in range(20):
        await hooks.subscribe("https://a.example/", creator=f"c{number}")
    async with hooks.db.transaction() as conn:
        await execute(
            conn,
            """INSERT INTO status_feed (seq, creator_id, order_id, created_at, body)
               SELECT nextval('feed_seq'), 1 + n %% 20, gen_random_uuid(), now(), '{"shipmentId": "x"}'
                 FROM generate_series(1, 50000) n""",
            {},
        )
        await execute(
            conn,
            """INSERT INTO webhook_delivery
                      (webhook_id, event_id, seq, order_id, kind, happened, state, attempts, last_at)
               SELECT w.id, gen_random_uuid(), f.seq, f.order_id, 'k', now(), 'delivered', 1, now()
                 FROM webhook w JOIN status_feed f USING (creator_id)""",
            {},
        )
        await execute(conn, "UPDATE webhook SET position = 49990", {})
        await execute(conn, "ANALYZE status_feed, webhook_delivery, webhook", {})
    now = hooks.road.clock.now()
    looks: list[tuple[Any, dict[str, Any]]] = [
        (BEHIND, {"limit": 10_000}),
        (lease_store.TAKE, {"now": now, "lease": LEASE, "limit": 100, "shift": timedelta()}),
        (NEW, {"id": uuid7(), "creator": 3, "position": 40_000, "limit": 100, "kinds": ["order.completed.v1"]}),
    ]
    for sql, params in looks:
        async with hooks.db.autocommit() as conn:
            plan = await fetch(conn, "EXPLAIN " + sql, params, str)
        assert any("status_feed_pkey" in line for line in plan), plan
        assert not any(re.search("Seq Scan on (status_feed|webhook_delivery)", line) for line in plan), plan


# Positions


async def test_what_was_sent_before_its_turn_is_not_sent_again_after_a_death(hooks: Hooks, receiver: Receiver) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(*[None] * 30)

    async def first_hangs(got: Got) -> Any:
        return await hang(got) if got.seq == seqs[0] else 204

    receiver.answer = first_hangs
    dying = hooks.pusher()
    await dying.webhooks.push_due()
    await until(lambda: len(receiver.events) == 30)
    await until(lambda: _delivered(hooks, 29))
    await dying.webhooks.stop(timedelta())
    assert (await hooks.webhook(id_)).position == 0
    await hooks.lapse()
    receiver.answer = lambda _: 204
    await hooks.pusher().run()
    assert receiver.seqs[30:] == [seqs[0]]
    assert (await hooks.webhook(id_)).position == seqs[-1]


async def _delivered(hooks: Hooks, count: int) -> bool:
    sql = "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'"
    return int(await hooks.road.value(sql)) == count


async def test_what_is_not_wanted_is_passed_over_in_pages(hooks: Hooks, receiver: Receiver) -> None:
    id_, _ = await hooks.subscribe(receiver.url, [Kind.CORRECTION])
    seqs = await hooks.happen(*[None] * 25)
    [wanted] = await hooks.happen(None, correction=True)
    assert await hooks.pusher(page=10).run() == 3
    assert receiver.seqs == [wanted]
    assert (await hooks.webhook(id_)).position == wanted > seqs[-1]


async def test_a_webhook_is_told_of_what_comes_after_it(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.happen(None, None)
    await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(None)
    await hooks.pusher().run()
    assert receiver.seqs == seqs


# What others look at, and what is forgotten


async def test_deliveries_are_forgotten_in_time_but_not_what_waits_or_guards_the_position(
    hooks: Hooks, receiver: Receiver
) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(None, None, None)
    receiver.answer = lambda got: 500 if got.seq == seqs[1] else 204
    await hooks.pusher().run()
    hooks.road.clock.advance(timedelta(days=6))
    assert await retention.prune_deliveries(hooks.db, hooks.road.clock, timedelta(days=7)) == 0
    hooks.road.clock.advance(timedelta(days=1))
    async with hooks.db.autocommit() as conn:
        await execute(conn, "UPDATE webhook SET position = %(at)s", {"at": seqs[1]})
    assert await retention.prune_deliveries(hooks.db, hooks.road.clock, timedelta(days=7)) == 1
    assert set(await hooks.deliveries(id_)) == {seqs[1], seqs[2]}


async def test_the_gauges_tell_states_and_the_oldest_that_was_not_told(hooks: Hooks, receiver: Receiver) -> None:
    now = hooks.road.clock.now()

    async def gauges() -> tuple[dict[str, int], int, Any]:
        async with hooks.db.reading() as conn:
            found = (await read_gauges(conn, now=hooks.road.clock.now(), opened=now)).webhooks
        return found.states, found.behind, found.oldest

    assert await gauges() == ({}, 0, None)
    active, _ = await hooks.subscribe(receiver.url)
    await hooks.subscribe(receiver.url, active=False)
    assert await gauges() == ({"active": 1, "pending": 1}, 0, None)
    receiver.pings = 500
    receiver.answer = lambda _: 500
    await hooks.happen(None, None)
    assert await gauges() == ({"active": 1, "pending": 1}, 2, now)
    await hooks.pusher().run()
    hooks.road.clock.advance(timedelta(minutes=1))
    await hooks.happen(None)
    assert await gauges() == ({"active": 1, "pending": 1}, 3, now)
    await hooks.owners.pause("ttd", active)
    assert await gauges() == ({"paused": 1, "pending": 1}, 0, None)


async def test_the_sandboxs_clock_stops_at_the_next_try(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.subscribe(receiver.url)
    receiver.answer = lambda _: 500
    await hooks.happen(None)
    pusher = hooks.pusher()
    await pusher.run()
    due = await pusher.webhooks.next_due()
    now = hooks.road.clock.now()
    assert due is not None
    assert timedelta(seconds=4) < due - now < timedelta(seconds=6)
    async with hooks.db.reading() as conn:
        step = await clock_store.next_due(conn, after=now, until=now + timedelta(days=1), grain=timedelta())
    assert step == due
