"""Webhooks when something dies, stalls or lies: nothing is lost, and no shipment's events change places."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Final

import pytest
from aiohttp import web

from cutting import wire_to
from receivers import Got, Hooks, Pusher, Receiver, hang, hooks_on, receiving
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.domain.ids import uuid7
from varsel.webhooks import lease_store
from varsel.webhooks.address import Addresses
from varsel.webhooks.round import Round, Terms

VARSEL: Final = (sys.executable, "-P", "-m", "varsel")


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


@contextmanager
def working(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that pushes, and nothing else."""
    command = [*VARSEL, "worker", "--only", "webhooks"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:
        try:
            yield worker
        finally:
            worker.kill()


async def kill(pusher: Pusher) -> None:
    """Its tasks end where they stand, without a word to the database."""
    await pusher.webhooks.stop(timedelta())


# Deaths


@pytest.mark.assertion("channels", 105)
async def test_what_was_sent_by_a_worker_that_died_before_it_stored_so_is_sent_again_with_the_same_id(
    hooks: Hooks, receiver: Receiver
) -> None:
    """The receiver has it all; we do not know."""
    receiver.answer = hang
    await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(*[None] * 12)
    first = hooks.pusher()
    await first.webhooks.push_due()
    await until(lambda: receiver.now == 5)
    await kill(first)
    sent = {got.seq: got.id for got in receiver.events}
    receiver.answer = lambda _: 204
    second = hooks.pusher()
    assert await second.webhooks.push_due() == 0  # the lease still runs
    await hooks.lapse()
    await second.run()
    assert Counter(receiver.seqs) == Counter([*seqs, *sent])
    assert {got.seq: got.id for got in receiver.events if got.seq in sent} == sent


@pytest.mark.assertion("channels", 105)
async def test_an_event_survives_a_worker_that_is_killed_between_sending_and_storing(
    hooks: Hooks, receiver: Receiver, dsn: str
) -> None:
    receiver.answer = hang
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(None, None, None)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")},
        "VARSEL_DATABASE_URL": dsn,
        "VARSEL_WEBHOOKS__LOOPBACK_HTTP": "true",
    }
    with working(environment) as worker:
        await until(lambda: receiver.now == 3, 60)
        worker.kill()
    assert await hooks.deliveries(id_) == {}
    await hooks.lapse()
    receiver.answer = lambda _: 204
    with working(environment) as worker:
        await until(lambda: len(receiver.events) == 6, 60)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 30) == 0
    assert Counter(receiver.seqs) == Counter(seqs * 2)
    assert len({got.id for got in receiver.events}) == 3
    assert (await hooks.webhook(id_)).position == seqs[-1]


async def test_a_commit_whose_answer_is_lost_loses_nothing_and_blocks_nothing(
    hooks: Hooks, receiver: Receiver, dsn: str
) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(*[None] * 6)
    async with wire_to(dsn) as (wire, through):
        database = Database(through, size=2, name="cut")
        await database.open()
        try:
            pusher = hooks.pusher(db=database)
            wire.armed = True
            await pusher.run()
            await wire.cut.wait()
        finally:
            await kill(pusher)
            await database.close()
    await hooks.lapse()
    await hooks.pusher().run()
    assert set(receiver.seqs) == set(seqs)
    assert max(Counter(receiver.seqs).values()) <= 2
    assert (await hooks.webhook(id_)).position == seqs[-1]


async def test_a_worker_that_is_told_to_stop_lets_its_requests_end_and_gives_the_rest_back(
    hooks: Hooks, receiver: Receiver
) -> None:
    gate = asyncio.Event()

    async def wait(_: Got) -> int:
        await gate.wait()
        return 204

    receiver.answer = wait
    await hooks.subscribe(receiver.url)
    seqs = await hooks.happen(*[None] * 9)
    first = hooks.pusher()
    await first.webhooks.push_due()
    await until(lambda: receiver.now == 5)
    stopping = asyncio.create_task(first.webhooks.stop(timedelta(seconds=20)))
    await asyncio.sleep(0)
    gate.set()
    await stopping
    assert len(receiver.events) == 5
    await hooks.pusher().run()
    assert sorted(receiver.seqs) == seqs  # each once


# Two workers


async def test_two_workers_never_send_events_of_one_shipment_side_by_side_or_in_another_order(
    hooks: Hooks, receiver: Receiver
) -> None:
    flying: Counter[tuple[str, str | None]] = Counter()

    async def slowly(got: Got) -> int:
        key = (got.path, got.shipment)
        flying[key] += 1
        assert flying[key] == 1
        await asyncio.sleep(0.001)
        flying[key] -= 1
        return 503 if hash(got.id) % 7 == 0 and tries[got.path, got.seq] == 0 else 204

    tries: Counter[tuple[str, int]] = Counter()

    async def counted(got: Got) -> int:
        status = await slowly(got)
        tries[got.path, got.seq] += 1
        return status

    receiver.answer = counted
    for number in range(3):
        await hooks.subscribe(f"{receiver.url}?{number}")
    orders = [uuid7() for _ in range(8)]
    seqs = [seq for _ in range(5) for seq in await hooks.happen(*orders)]
    workers = [hooks.pusher(page=7) for _ in range(3)]
    for _ in range(40):
        await asyncio.gather(*(worker.run() for worker in workers))
        hooks.road.clock.advance(timedelta(minutes=10))
    taken: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for got in receiver.events:
        taken[got.path, got.shipment].append(got.seq)
    assert len(taken) == 3 * 8
    for sent in taken.values():
        assert all(later >= earlier for earlier, later in pairwise(sent))
        assert len(set(sent)) == 5
    assert set(receiver.seqs) == set(seqs)


async def test_a_worker_that_lost_its_lease_changes_nothing(hooks: Hooks, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def fail_late(_: Got) -> int:
        await gate.wait()
        return 410

    receiver.answer = fail_late
    id_, _ = await hooks.subscribe(receiver.url)
    [seq] = await hooks.happen(None)
    slow = hooks.pusher()
    await slow.webhooks.push_due()
    await until(lambda: receiver.now == 1)
    await hooks.lapse()
    receiver.answer = lambda _: 204
    await hooks.pusher().run()
    gate.set()
    await until(lambda: slow.webhooks.idle)
    assert await hooks.state(id_) == ("active", None)
    assert (await hooks.deliveries(id_))[seq].status == 204


async def test_a_worker_that_stood_still_begins_nothing_that_would_outlast_its_lease(
    hooks: Hooks, receiver: Receiver
) -> None:
    await hooks.subscribe(receiver.url)
    await hooks.happen(None)
    pusher = hooks.pusher()
    loop = asyncio.get_running_loop()
    async with hooks.db.autocommit() as conn:
        [held] = await lease_store.take(conn, now=hooks.road.clock.now(), lease=timedelta(minutes=1), limit=10)
    terms = Terms("https://varsel.example")
    long_ago = loop.time() - (terms.lease - terms.timeout).total_seconds()
    stale = Round(
        hooks.db,
        pusher.client,
        hooks.road.clock,
        terms,
        held,
        asyncio.Semaphore(1),
        leased=long_ago,
        machine=lambda: 0.0,
    )
    await stale.run()
    assert receiver.got == []


# Receivers that misbehave


@pytest.mark.assertion("channels-faults", 35)
async def test_a_receiver_that_hangs_delays_nobody_else(hooks: Hooks, receiver: Receiver) -> None:
    """F35."""

    async def half(got: Got) -> web.StreamResponse | int:
        return await hang(got) if "slow" in got.path else 204

    receiver.answer = half
    slow, _ = await hooks.subscribe(receiver.url + "?slow")
    await hooks.subscribe(receiver.url + "?quick", creator="nav")
    await hooks.happen(*[None] * 10)
    seqs = await hooks.happen(*[None] * 10, creator="nav")
    pusher = hooks.pusher(timeout=timedelta(seconds=2))
    pushing = asyncio.create_task(pusher.run())
    await until(lambda: sum("quick" in got.path for got in receiver.events) == 10, 30)
    assert receiver.now >= 1  # and the slow one still hangs
    await pushing
    webhook = await hooks.webhook(slow)
    assert webhook.failures == 1
    deliveries = await hooks.deliveries(slow)
    assert {d.detail for d in deliveries.values()} == {"no answer in time"}
    assert sorted(got.seq for got in receiver.events if "quick" in got.path) == seqs


async def test_more_than_fifty_requests_never_go_to_one_host_at_once(hooks: Hooks, receiver: Receiver) -> None:
    gate = asyncio.Event()

    async def wait(_: Got) -> int:
        await gate.wait()
        return 204

    receiver.answer = wait
    for number in range(14):
        await hooks.subscribe(f"{receiver.url}?{number}", creator=f"c{number}")
        await hooks.happen(*[None] * 5, creator=f"c{number}")
    pushing = asyncio.create_task(hooks.pusher().run())
    await until(lambda: receiver.now == 50, 60)
    gate.set()
    await pushing
    assert receiver.most == 50
    assert len(receiver.events) == 70


@pytest.mark.assertion("channels-faults", 33)
async def test_an_answer_that_redirects_into_the_network_is_recorded_and_not_followed(
    hooks: Hooks, receiver: Receiver
) -> None:
    """F33."""
    inside = {"Location": f"http://localhost:{receiver.port}/inside"}
    receiver.answer = lambda _: web.Response(status=302, headers=inside)
    id_, _ = await hooks.subscribe(receiver.url)
    [seq] = await hooks.happen(None)
    await hooks.pusher().run()
    assert [got.path for got in receiver.got] == ["/hook"]
    delivery = (await hooks.deliveries(id_))[seq]
    assert (delivery.state, delivery.status) == ("waiting", 302)


async def test_an_address_that_is_not_allowed_any_more_is_not_spoken_to_and_said_so(
    hooks: Hooks, receiver: Receiver
) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    [seq] = await hooks.happen(None)
    await hooks.pusher(addresses=Addresses()).run()
    assert receiver.got == []
    assert (await hooks.deliveries(id_))[seq].detail == "the address may not be spoken to"


async def test_a_webhook_that_is_deleted_or_paused_while_it_is_served_is_left_at_once(
    hooks: Hooks, receiver: Receiver
) -> None:
    gate = asyncio.Event()

    async def wait(_: Got) -> int:
        await gate.wait()
        return 204

    receiver.answer = wait
    deleted, _ = await hooks.subscribe(receiver.url + "?deleted")
    paused, _ = await hooks.subscribe(receiver.url + "?paused")
    seqs = await hooks.happen(*[None] * 20)
    pusher = hooks.pusher()
    pushing = asyncio.create_task(pusher.run())
    await until(lambda: receiver.now == 10)
    await hooks.owners.delete("ttd", deleted)
    await hooks.owners.pause("ttd", paused)
    gate.set()
    await pushing
    assert Counter(got.path for got in receiver.events) == {"/hook?deleted": 5, "/hook?paused": 5}
    await hooks.owners.resume("ttd", paused)
    await pusher.run()
    assert sorted(got.seq for got in receiver.events if "paused" in got.path) == seqs


async def test_a_feed_entry_that_is_odd_is_told_as_it_is_and_one_that_is_gone_is_given_up(
    hooks: Hooks, receiver: Receiver
) -> None:
    id_, _ = await hooks.subscribe(receiver.url)
    receiver.answer = lambda _: 500
    [odd] = await hooks.happen(None, recipients=None, status=None)
    order = uuid7()
    [gone] = await hooks.happen(order)
    pusher = hooks.pusher()
    await pusher.run()
    [behind] = await hooks.happen(order)
    hooks.road.clock.advance(timedelta(minutes=10))
    await pusher.run()
    async with hooks.db.autocommit() as conn:
        await execute(conn, "DELETE FROM status_feed WHERE seq = %(seq)s", {"seq": gone})
    receiver.answer = lambda _: 204
    for _ in range(4):
        hooks.road.clock.advance(timedelta(hours=2))
        await pusher.run()
    told = {got.seq: json.loads(got.body)["data"] for got in receiver.events}
    assert told[odd]["recipients"] == []
    assert receiver.seqs[-1] == behind
    assert (await hooks.webhook(id_)).waiting == 0
