"""A worker dies where it hurts: nothing is lost, what may have left is declared, and little is sent twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fakes import FakeProvider
from road import LIFETIME, UNKNOWN_WAIT, Road, Worker, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Blame, Deferred, Indeterminate, Verdict
from varsel.domain.order import Lane, Recipient
from varsel.heartbeat import beat
from varsel.status.gauges_store import read_gauges

LAPSED = timedelta(minutes=1)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def kill(worker: Worker) -> None:
    """The worker's tasks end where they stand, without a word to the database."""
    for task in [*worker.mail._claims, *worker.sms._claims]:
        task.cancel()
    await until(lambda: not worker.mail._claims and not worker.sms._claims)


async def resolved(road: Road, recipients: int) -> None:
    await road.place(recipients=tuple(Recipient(email=f"p{i}@example.com") for i in range(recipients)))
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await worker.resolution.resolve_due(Lane.BULK)


async def half_sent(road: Road) -> Worker:
    """A worker that has handed over some of a claim and is stuck with the provider."""
    road.mail = FakeProvider("mail", step=10, gate=asyncio.Event())
    await resolved(road, 200)
    worker = await road.worker()
    await worker.mail.send_due()
    await until(lambda: len(road.mail.sent) == 10)
    return worker


@pytest.mark.assertion("channels", 3)
async def test_what_may_have_left_is_declared_and_the_rest_goes_back_free(road: Road) -> None:
    worker = await half_sent(road)
    left = {m.id for m in road.mail.sent}
    await kill(worker)
    assert await road.sweeper().release_lapsed() == 0  # the lease still runs
    assert await road.sweeper(shift=LAPSED).release_lapsed() >= 1
    rows = await road.rows()
    unknown = {row.id for row in rows if row.state == "unknown"}
    assert left <= unknown
    assert len(unknown) <= 2 * road.mail.step
    assert Counter(row.state for row in rows)["new"] == 200 - len(unknown)
    assert await road.value("SELECT count(*) FROM claim") == 0


@pytest.mark.assertion("channels-faults", 1)
async def test_what_a_dead_worker_had_claimed_and_not_begun_leaves_at_once_and_once(road: Road) -> None:
    worker = await half_sent(road)
    await kill(worker)
    await road.sweeper(shift=LAPSED).release_lapsed()
    begun = {row.address for row in await road.rows() if row.state == "unknown"}
    road.mail.gate = None
    await road.run()
    times = Counter(m.to for m in road.mail.sent)
    assert len(times.keys() - begun) == 200 - len(begun)
    assert {times[address] for address in times.keys() - begun} == {1}
    assert max(times[address] for address in begun) == 1  # whose fate is not known, and waited for


@pytest.mark.assertion("channels-faults", 39)
async def test_a_clock_that_jumps_back_an_hour_on_one_replica_takes_no_live_lease_and_sends_nothing_twice(
    road: Road, database: Database
) -> None:
    worker = await half_sent(road)
    behind = Road(database, ManualClock(road.clock.now() - timedelta(hours=1)), mail=FakeProvider("mail"))
    assert await behind.sweeper().release_lapsed() == 0
    await behind.run()
    assert road.mail.gate
    road.mail.gate.set()
    await until(lambda: worker.mail.idle)
    await behind.run()
    await road.run()
    times = Counter(m.to for m in [*road.mail.sent, *behind.mail.sent])
    assert len(times) == times.total() == 200
    assert {row.state for row in await road.rows()} == {"accepted"}
    await worker.end(road)
    await behind.waker.close()


@pytest.mark.assertion("channels-faults", 39)
async def test_a_clock_that_jumps_back_ends_no_pause_of_a_provider(road: Road, database: Database) -> None:
    road.mail.answers = lambda _: Deferred("429", Blame.PROVIDER, retry_after=timedelta(minutes=5))
    await road.place()
    await road.run()
    for by in (timedelta(hours=-1), timedelta(hours=1)):
        replica = Road(database, ManualClock(road.clock.now() + by), mail=FakeProvider("mail"))
        await replica.place()
        await replica.run()
        assert replica.mail.sent == []
        await replica.waker.close()


@pytest.mark.assertion("processing", 100)
@pytest.mark.assertion("channels-faults", 2)
async def test_after_a_death_everything_is_sent_and_only_what_was_in_flight_may_come_twice(road: Road) -> None:
    worker = await half_sent(road)
    await kill(worker)
    await road.sweeper(shift=LAPSED).release_lapsed()
    unknown = Counter(row.state for row in await road.rows())["unknown"]
    road.mail.gate = None
    await road.run()
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    times = Counter(m.to for m in road.mail.sent)
    async with road.db.reading() as conn:
        told = await read_gauges(conn, now=road.clock.now(), opened=road.clock.now())
    assert told.doubts.possible_duplicates == unknown
    assert len(times) == 200
    assert sum(times.values()) - 200 <= road.mail.step
    assert {row.state for row in await road.rows()} == {"accepted"}


@pytest.mark.assertion("channels-faults", 2)
async def test_under_hold_nothing_is_ever_sent_twice(road: Road) -> None:
    worker = await half_sent(road)
    road.mail.on_indeterminate = Indeterminate.HOLD
    await kill(worker)
    await road.sweeper(shift=LAPSED).release_lapsed()
    road.mail.gate = None
    for _ in range(3):
        await road.run()
        road.clock.advance(UNKNOWN_WAIT)
    assert max(Counter(m.to for m in road.mail.sent).values()) == 1
    road.clock.advance(LIFETIME + timedelta(hours=1))
    await road.run()
    assert await road.value("SELECT count(*) FROM orders WHERE state <> 'Completed'") == 0


async def test_a_report_about_a_message_of_a_dead_worker_prevents_the_second_sending(road: Road) -> None:
    worker = await half_sent(road)
    left = [m.id for m in road.mail.sent]
    await kill(worker)
    await road.sweeper(shift=LAPSED).release_lapsed()
    for id_ in left:
        await road.report(id_, Verdict.DELIVERED)
    road.mail.gate = None
    await road.run()
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    assert max(Counter(m.to for m in road.mail.sent).values()) == 1


@pytest.mark.assertion("channels", 8)
async def test_a_worker_that_wakes_after_it_was_given_up_changes_nothing(road: Road) -> None:
    worker = await half_sent(road)
    await road.sweeper(shift=LAPSED).release_lapsed()
    before = await road.rows()
    assert road.mail.gate is not None
    road.mail.gate.set()
    await until(lambda: worker.mail.idle)
    after = {row.id: row.state for row in await road.rows()}
    assert {row.id: row.state for row in before} == after


@pytest.mark.assertion("processing", 99)
async def test_a_gentle_stop_gives_back_what_has_not_been_started(road: Road) -> None:
    worker = await half_sent(road)
    assert road.mail.gate is not None
    stopping = asyncio.create_task(worker.end(road))
    await asyncio.sleep(0)
    road.mail.gate.set()
    await stopping
    states = Counter(row.state for row in await road.rows())
    assert states["accepted"] == len(road.mail.sent)
    assert states["new"] == 200 - len(road.mail.sent)
    assert await road.value("SELECT count(*) FROM claim") == 0


@pytest.mark.assertion("processing", 38)
async def test_an_order_whose_worker_died_is_resolved_by_another_exactly_once(road: Road) -> None:
    await road.place()
    dead = await road.worker()
    await dead.resolution._claim(Lane.ORDINARY)
    await road.run()
    assert road.mail.sent == []
    await road.sweeper(shift=LAPSED).release_lapsed()
    await road.run()
    assert len(road.mail.sent) == 1


async def test_a_lease_that_was_taken_away_is_noticed(road: Road) -> None:
    lease = timedelta(milliseconds=30)
    worker = await beat.begin(road.db, kind="worker", lease=lease)
    await beat.end(road.db, worker)
    with pytest.raises(beat.LeaseLost):
        await asyncio.wait_for(beat.beat(road.db, worker, lease=lease), 5)
