"""The movable clock: everybody follows, and no due instant is jumped over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import pytest

from inbox_data import waiting_order
from varsel.clock import SystemClock
from varsel.db import Database, execute, fetch_value
from varsel.domain.errors import Rejected
from varsel.domain.ids import WorkerId
from varsel.heartbeat import beat
from varsel.simulators.reports_owed import ReportsOwed
from varsel.timeshift import store
from varsel.timeshift.advance import ClockControl, StillBusy
from varsel.timeshift.follow import follow_clock, take_clock

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=30)
SLACK = timedelta(seconds=20)  # machine time that may pass in a test


class Worker:
    """A live process that looks for due orders whenever the clock has moved, and notes each at its own time."""

    def __init__(self, database: Database, id_: WorkerId, *, ever_idle: bool = True) -> None:
        self.id = id_
        self.clock = SystemClock()
        self.took: list[datetime] = []
        self.orders_next: list[datetime] = []  # with each that it takes, it orders one more
        self._database = database
        self._ever_idle = ever_idle
        self._moved = asyncio.Event()
        self._moved.set()

    async def work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow_clock(self._database, self.clock, self.id, self._moved.set))
            while True:
                await self._moved.wait()
                self._moved.clear()
                version = self.clock.version
                while await self._take():
                    self.took.append(self.clock.now())
                    if self.orders_next:
                        await waiting_order(self._database, self.orders_next.pop())
                async with self._database.autocommit() as conn:
                    await store.note_idle(conn, self.id, version, idle=self._ever_idle)

    async def _take(self) -> int:
        take = """UPDATE orders SET wake_at = NULL WHERE id = (
                      SELECT id FROM orders WHERE wake_at <= %(now)s LIMIT 1 FOR UPDATE SKIP LOCKED)"""
        async with self._database.autocommit() as conn:
            return await execute(conn, take, {"now": self.clock.now()})


@asynccontextmanager
async def working(database: Database, *, ever_idle: bool = True) -> AsyncIterator[Worker]:
    worker = Worker(database, await beat.begin(database, kind="worker", lease=LEASE), ever_idle=ever_idle)
    task = asyncio.create_task(worker.work())
    try:
        yield worker
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def control(database: Database) -> ClockControl:
    return ClockControl(database, SystemClock(), patience=timedelta(seconds=5))


async def test_a_move_is_exact_and_everybody_has_it(database: Database, control: ClockControl) -> None:
    async with working(database) as one, working(database) as other:
        await control.advance(timedelta(days=1, seconds=1))
        await control.advance(HOUR)
        offsets = {one.clock.offset, other.clock.offset, (await control.shift()).offset}
        assert offsets == {timedelta(days=1, hours=1, seconds=1)}
    assert abs(datetime.now(UTC) + timedelta(days=1, hours=1, seconds=1) - control.now()) < SLACK


async def test_a_move_stops_at_every_instant_that_is_due(database: Database, control: ClockControl) -> None:
    start = control.now()
    due = [start + n * HOUR for n in (5, 1, 3)]
    for instant in due:
        await waiting_order(database, instant)
    async with working(database) as worker:
        await control.advance(4 * HOUR)
        assert len(worker.took) == 2
        for instant, taken in zip(sorted(due), worker.took, strict=False):
            assert instant <= taken < instant + SLACK
        assert await control.next_sending() == max(due)


async def test_what_a_step_leads_to_is_done_in_the_same_move(database: Database, control: ClockControl) -> None:
    first = control.now() + HOUR
    await waiting_order(database, first)
    async with working(database) as worker:
        worker.orders_next = [first + HOUR]
        await control.advance(3 * HOUR)
        assert [(taken - first) // HOUR for taken in worker.took] == [0, 1]


async def test_thousands_of_due_instants_are_taken_together(database: Database, control: ClockControl) -> None:
    start = control.now()
    async with database.autocommit() as conn:
        spread = """INSERT INTO orders (id, creator_id, kind, channel, lane, recipients, requested_send_time,
                                        created_at, state_at, wake_at)
                    SELECT gen_random_uuid(), 1, 'Notification', 'Sms', 1, 1, due, due, due, due
                      FROM generate_series(%(start)s, %(start)s + interval '1 day', '10 s') due"""
        await execute(conn, spread, {"start": start + HOUR})
    await control.advance(timedelta(days=2))  # 8 641 instants; nobody works, so that only the steps cost
    assert (await control.shift()).version <= 501


@pytest.mark.parametrize("by", [timedelta(), -HOUR, timedelta(days=367)])
async def test_the_clock_only_moves_forward_and_not_too_far(control: ClockControl, by: timedelta) -> None:
    with pytest.raises(Rejected):
        await control.advance(by)
    assert (await control.shift()).offset == timedelta()


async def test_all_moves_together_have_an_end(control: ClockControl) -> None:
    for _ in range(10):
        await control.advance(timedelta(days=366))
    with pytest.raises(Rejected):
        await control.advance(timedelta(days=1))


async def test_a_worker_that_is_never_idle_stops_the_clock_and_is_named(database: Database) -> None:
    control = ClockControl(database, SystemClock(), patience=timedelta(seconds=0.1))
    async with working(database, ever_idle=False) as worker:
        with pytest.raises(StillBusy, match=f"worker {worker.id} is not idle"):
            await control.advance(HOUR)
    assert (await control.shift()).offset == timedelta()


async def test_a_process_that_does_not_take_the_time_is_named(database: Database) -> None:
    control = ClockControl(database, SystemClock(), patience=timedelta(seconds=0.1))
    api = await beat.begin(database, kind="api", lease=LEASE)
    with pytest.raises(StillBusy, match=f"api {api} has not taken the time"):
        await control.advance(HOUR)


@pytest.mark.parametrize(
    ("doing", "named"),
    [
        (
            """INSERT INTO orders (id, creator_id, kind, channel, state, lane, recipients, requested_send_time,
                                   created_at, state_at)
               SELECT gen_random_uuid(), 1, 'Notification', 'Sms', 'Processing', 1, 1, now(), now(), now()""",
            "orders are being processed",
        ),
        (
            """INSERT INTO claim (id, worker_id, provider, ids, claimed_at)
               SELECT gen_random_uuid(), 1, 'mail', '{}', now()""",
            "messages are being sent",
        ),
        (
            """INSERT INTO delivery_report (id, provider, event_key, channel, verdict, raw_state, payload, received_at)
               SELECT gen_random_uuid(), 'sms', 'a', 'sms', 'delivered', 'DELIVRD', '{}', now()""",
            "delivery reports wait",
        ),
    ],
)
async def test_work_that_is_under_way_holds_the_clock(database: Database, doing: LiteralString, named: str) -> None:
    control = ClockControl(database, SystemClock(), patience=timedelta())
    async with database.autocommit() as conn:
        await execute(conn, doing, {})
    with pytest.raises(StillBusy, match=named):
        await control.advance(HOUR)


async def test_a_report_that_is_on_its_way_holds_the_clock(database: Database, control: ClockControl) -> None:
    arrived, asked = asyncio.Event(), asyncio.Event()

    async def idle() -> None:
        asked.set()
        await arrived.wait()

    async with ReportsOwed(database) as owed:
        owed.until(idle)
        await owed.note()
        hasty = ClockControl(database, SystemClock(), patience=timedelta(seconds=0.1))
        await _within(asked.wait)
        with pytest.raises(StillBusy, match="a simulator owes reports"):
            await hasty.advance(HOUR)
        arrived.set()
        await control.advance(HOUR)


async def test_a_simulator_that_ends_holds_nothing(database: Database, control: ClockControl) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async with ReportsOwed(database) as owed:
        owed.until(never)
        await owed.note()
    await control.advance(HOUR)


async def test_a_dead_process_is_not_waited_for(database: Database, control: ClockControl) -> None:
    await beat.begin(database, kind="worker", lease=timedelta(seconds=-1))
    await control.advance(HOUR)


async def test_a_round_that_began_before_the_move_does_not_count_as_idle(database: Database) -> None:
    worker = await beat.begin(database, kind="worker", lease=LEASE)
    clock = SystemClock()
    async with database.transaction() as conn:
        assert await store.move(conn, HOUR, version=0) == 1
    await take_clock(database, clock, worker)
    async with database.autocommit() as conn:
        await store.note_idle(conn, worker, 0, idle=True)
        assert await store.stragglers(conn, 1) == [f"worker {worker} is not idle"]
        await store.note_idle(conn, worker, 1, idle=True)
        assert await store.stragglers(conn, 1) == []


async def test_taking_the_same_version_again_wakes_nobody(database: Database) -> None:
    worker = await beat.begin(database, kind="worker", lease=LEASE)
    async with database.transaction() as conn:
        await store.move(conn, HOUR, version=0)
    clock, woken = SystemClock(), 0

    def wake() -> None:
        nonlocal woken
        woken += 1

    for _ in range(3):
        await take_clock(database, clock, worker, wake)
    assert woken == 1


async def test_of_two_moves_from_the_same_place_one_is_told(database: Database) -> None:
    async with database.transaction() as conn:
        assert await store.move(conn, HOUR, version=0) == 1
        assert await store.move(conn, 2 * HOUR, version=0) is None


async def test_moves_that_cross_in_one_process_come_one_after_the_other(
    database: Database, control: ClockControl
) -> None:
    await asyncio.gather(*(control.advance(HOUR) for _ in range(5)))
    assert (await control.shift()).offset == 5 * HOUR


async def test_the_process_that_moves_the_clock_is_one_of_those_that_follow(database: Database) -> None:
    clock = SystemClock()
    control = ClockControl(database, clock, patience=timedelta(seconds=5))
    api = await beat.begin(database, kind="api", lease=LEASE)
    following = asyncio.create_task(follow_clock(database, clock, api))
    await control.advance(HOUR)
    await control.advance(HOUR)
    following.cancel()


async def test_a_process_that_starts_late_begins_with_the_time_of_the_others(
    database: Database, control: ClockControl
) -> None:
    await control.advance(HOUR)
    clock, taken = SystemClock(), asyncio.Event()
    following = asyncio.create_task(follow_clock(database, clock, wake=taken.set))
    await _within(taken.wait)
    assert clock.offset == HOUR
    following.cancel()


async def test_the_offset_is_followed_without_any_word_of_it(database: Database) -> None:
    clock, taken = SystemClock(), asyncio.Event()
    following = asyncio.create_task(follow_clock(database, clock, wake=taken.set))
    silently = "UPDATE sandbox_clock SET shift = '1 hour', version = version + 1"
    async with database.autocommit() as conn:
        await execute(conn, silently, {})
    await _within(taken.wait)
    assert clock.offset == HOUR
    following.cancel()


async def test_the_row_stays_one(database: Database, control: ClockControl) -> None:
    await control.advance(HOUR)
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT count(*) FROM sandbox_clock", {}) == 1


async def _within(wait: Callable[[], Awaitable[object]], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        await wait()
