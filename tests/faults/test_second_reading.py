"""Interleavings that a second reading found: each lost a message, sent one twice, or left one without an end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import FakeConditions, FakeProvider
from road import GRACE, LIFETIME, UNKNOWN_WAIT, Road, Worker, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Confirms, Verdict
from varsel.delivery.report import Reports
from varsel.domain.errors import Unavailable
from varsel.domain.order import Lane, OrderChannel, Recipient
from varsel.fates import store as fates
from varsel.resolution.ports import Answer
from varsel.resolution.ports import Verdict as Condition

LAPSED = timedelta(minutes=1)
TEXT: dict[str, Any] = {"channel": OrderChannel.SMS, "recipients": (Recipient(mobile="+4799999501"),)}


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def place(road: Road, count: int) -> None:
    for i in range(count):
        await road.place(recipients=(Recipient(email=f"p{i}@example.com"),))


async def test_an_sms_that_expired_before_it_was_resolved_wakes_nobody(road: Road) -> None:
    late = await road.place(**TEXT)
    road.clock.set(datetime(2026, 11, 25, 23, 0, tzinfo=UTC))  # at night, 61 hours later
    await road.run()
    assert await road.state(late.order_id) == "Completed"
    await road.place(**TEXT, creator="other")
    road.clock.set(datetime(2026, 11, 26, 12, 0, tzinfo=UTC))
    await road.run()
    assert len(road.sms.sent) == 1


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_worker_that_stops_while_it_claims_sends_nothing_that_it_gives_back(road: Road, turns: int) -> None:
    await place(road, 5)
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    step = asyncio.create_task(worker.mail.send_due())
    for _ in range(turns):
        await asyncio.sleep(0)
    worker.mail.halt()
    await step
    await worker.end(road)
    await road.run()
    assert Counter(m.to for m in road.mail.sent) == Counter({f"p{i}@example.com": 1 for i in range(5)})


async def test_a_worker_that_was_given_up_sends_no_more_of_its_claim(road: Road) -> None:
    road.mail = FakeProvider("mail", step=10, gate=asyncio.Event())
    await place(road, 60)
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    worker.mail._pool.members[0].pace._rate = 1_000.0  # so that it claims them all
    await worker.mail.send_due()
    await until(lambda: len(road.mail.sent) == 10)
    await road.sweeper(shift=LAPSED).release_lapsed()
    declared = sum(row.state == "unknown" for row in await road.rows())
    assert road.mail.gate is not None
    road.mail.gate.set()
    await until(lambda: worker.mail.idle)
    assert len(road.mail.sent) <= declared
    await road.run()
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    times = Counter(m.to for m in road.mail.sent)
    assert len(times) == 60
    assert sum(times.values()) - 60 <= declared


async def claimed(worker: Worker) -> int:
    """A claim of which the worker does not begin anything."""
    await worker.mail._pool.look()
    shares, *_ = await worker.mail._claim(worker.mail._pool.members)
    return sum(len(share.rows) for _, share in shares)


async def test_what_an_error_left_claimed_is_given_back(road: Road) -> None:
    await place(road, 1)
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    assert await claimed(worker)  # committed, and its answer never came
    await worker.round()
    assert len(road.mail.sent) == 1


async def test_a_claim_that_a_live_worker_forgot_ends_with_the_expiry(road: Road) -> None:
    placed = await road.place()
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await claimed(worker)
    road.clock.advance(LIFETIME + GRACE + timedelta(minutes=15))
    await road.sweeper().expire()
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(placed.order_id) == "Completed"


async def test_what_a_worker_claims_after_it_was_forgotten_goes_on(road: Road) -> None:
    await place(road, 2)
    stalled = await road.worker()
    await road.sweeper(shift=LAPSED).release_lapsed()
    await stalled.resolution._claim(Lane.ORDINARY)
    await road.sweeper().release_lapsed()
    sender = await road.worker()
    await sender.resolution.resolve_due(Lane.ORDINARY)
    await claimed(stalled)
    await road.sweeper().release_lapsed()
    await road.run()
    assert len(road.mail.sent) == 2


async def test_an_email_that_settles_does_so_before_it_would_expire(road: Road) -> None:
    road.mail.confirms = Confirms.NOTHING
    await road.place()
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    road.clock.advance(LIFETIME - timedelta(hours=1))
    await road.run()
    road.clock.advance(timedelta(hours=1))
    await road.run()
    road.clock.advance(GRACE * 2)
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]


async def test_a_correction_beside_the_completion_is_told(road: Road) -> None:
    road.mail.confirms = Confirms.NOTHING
    road.settle_after = timedelta(minutes=1)
    people = (Recipient(email="a@example.com"), Recipient(email="b@example.com"))
    placed = await road.place(recipients=people)
    await road.run()
    first, second = await road.rows()
    road.changed_by_hand = True
    async with road.db.transaction() as conn:
        await conn.execute("UPDATE notification SET settled = true, wake_at = NULL WHERE id = %s", [first.id])
        await fates.count_fates(conn, [placed.order_id], now=road.clock.now())
    await road.report(first.id, Verdict.FAILED)
    async with road.db.transaction() as conn:  # completes the order, and has not committed
        await conn.execute("UPDATE notification SET state = 'delivered', wake_at = NULL WHERE id = %s", [second.id])
        await fates.count_fates(conn, [placed.order_id], now=road.clock.now())
        reports = Reports(road.db, road.clock, road.waker, timedelta(days=14))
        applying = asyncio.create_task(reports.apply_reports())
        await until(lambda: waits_for_a_lock(road))
    await applying
    await road.run()
    assert any(r["status"] == "Email_Failed_Bounced" for entry in await road.feed() for r in entry["recipients"])


async def waits_for_a_lock(road: Road) -> bool:
    return bool(await road.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


async def write_where_nothing_is_written(road: Road) -> None:
    async with road.db.transaction() as conn:
        await conn.execute("SET LOCAL transaction_read_only = on")
        await conn.execute("UPDATE sandbox_clock SET version = version")


async def test_a_server_that_takes_no_writes_is_unavailable(road: Road) -> None:
    with pytest.raises(Unavailable):
        await write_where_nothing_is_written(road)


class SlowConditions(FakeConditions):
    gate: asyncio.Event

    async def check(self, url: str) -> Answer:
        self.asked.append(url)
        await self.gate.wait()
        return Answer(Condition.MET, 200)


async def test_a_slow_condition_delays_nobody_else(road: Road) -> None:
    slow = SlowConditions()
    slow.gate = asyncio.Event()
    road.conditions = slow
    for _ in range(3):
        await road.place(creator="slow", condition_endpoint="https://condition.example/x")
    await road.place(creator="other")
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed'") == 1
    slow.gate.set()
    await until(lambda: worker.resolution.idle)
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed'") == 4


async def test_creators_whose_messages_have_expired_do_not_hide_the_next(road: Road) -> None:
    for i in range(20):
        await road.place(creator=f"old{i:02}")
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    road.clock.advance(LIFETIME)
    await road.place(creator="young")
    await worker.resolution.resolve_due(Lane.ORDINARY)
    assert await worker.mail.send_due() == 1
    await until(lambda: worker.mail.idle)
    assert len(road.mail.sent) == 1
