"""Claims and results over many connections: disjoint, fair, fenced, and counted once (proven 2, 4, 5)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import FakeProvider
from road import Road, Worker, until
from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.delivery import store
from varsel.delivery.ports import Refused, SendResult
from varsel.delivery.store import Recorded, Share
from varsel.domain.ids import ClaimId, CreatorId, NotificationId, WorkerId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Lane, Recipient
from varsel.resolution import store as resolution
from varsel.status.feed import number_feed


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def fill(road: Road, creators: dict[str, int], each: int = 1) -> None:
    """Resolved orders: for each creator so many orders, of `each` recipients."""
    for creator, count in creators.items():
        for _ in range(count):
            people = tuple(Recipient(email=f"p{i}@example.com") for i in range(each))
            await road.place(creator=creator, recipients=people)
    worker = await road.worker()
    while await worker.resolution.resolve_due(Lane.ORDINARY) + await worker.resolution.resolve_due(Lane.BULK):
        pass


async def claim(road: Road, worker: int, *, limit: int = 500, after: int = 0, lane: Lane = Lane.ORDINARY) -> list[Any]:
    async with road.db.transaction() as conn:
        waiting = await store.creators(conn, channel=Channel.EMAIL, after={lane: CreatorId(after)}, fan=16)
        if lane not in waiting:
            return []
        rows = await store.pick(
            conn, channel=Channel.EMAIL, lane=lane, creators=waiting[lane], limit=limit, now=road.clock.now()
        )
        if rows:
            await store.take(conn, Share(ClaimId(uuid7()), "mail", rows), WorkerId(worker))
    return rows


@pytest.mark.assertion("processing", 88)
@pytest.mark.assertion("channels", 8)
async def test_claims_made_at_once_are_disjoint_and_leave_nothing(road: Road) -> None:
    await fill(road, {"ttd": 30}, each=10)
    claims = await asyncio.gather(*(claim(road, worker, limit=50) for worker in range(8)))
    ids = [row.id for rows in claims for row in rows]
    assert len(ids) == len(set(ids)) == 300


async def test_a_creator_with_little_work_is_not_kept_waiting_by_one_with_much(road: Road) -> None:
    await fill(road, {"big": 40, "small": 1, "tiny": 1}, each=10)
    first = Counter(row.creator_name for row in await claim(road, 1, limit=30))
    assert first == {"big": 10, "small": 10, "tiny": 10}


async def test_a_row_that_waits_or_has_expired_is_not_claimed(road: Road) -> None:
    await fill(road, {"ttd": 3})
    async with road.db.autocommit() as conn:
        await conn.execute(
            "UPDATE notification SET wake_at = now() WHERE id = (SELECT min(id::text)::uuid FROM notification)"
        )
    assert len(await claim(road, 1)) == 2
    await fill(road, {"ttd": 3})
    road.clock.advance(timedelta(hours=48))
    assert await claim(road, 1) == []


async def test_a_result_from_a_claim_that_was_lost_changes_nothing(road: Road) -> None:
    await fill(road, {"ttd": 1})
    (row,) = await claim(road, 1)
    old = Recorded(NotificationId(row.id), ClaimId(uuid7()), "mail", 1, State.FAILED, reason=Reason.BOUNCED)
    async with road.db.transaction() as conn:
        assert await store.record(conn, [old], [], now=road.clock.now()) == frozenset()
    assert await road.outcomes() == [("email", "claimed")]


@pytest.mark.assertion("processing", 121)
async def test_four_workers_at_once_complete_every_order_exactly_once(road: Road) -> None:
    road.mail = FakeProvider("mail", max_batch=25, step=100)
    results: list[SendResult] = [Refused(Reason.BOUNCED)]
    road.mail.answers = lambda _: results[0]
    await fill(road, {"a": 60, "b": 60, "c": 60}, each=7)
    await fill(road, {"a": 1}, each=400)
    workers = [await road.worker() for _ in range(4)]

    async def drain(worker: Worker) -> None:
        while await worker.mail.send_due():
            pass
        await until(lambda: worker.mail.idle)

    await asyncio.gather(*(drain(worker) for worker in workers))
    assert len(road.mail.sent) == len({m.id for m in road.mail.sent}) == 180 * 7 + 400
    assert await road.value("SELECT count(*) FROM orders WHERE state <> 'Completed'") == 0
    assert await road.value("SELECT count(*) FROM feed_pending") == 181
    assert await road.value("SELECT count(*) FROM claim") == 0


async def plan(conn: Any, sql: str, params: dict[str, Any]) -> str:
    return "\n".join(await fetch(conn, f"EXPLAIN (COSTS OFF) {sql}", params, str))


async def test_with_many_rows_the_queues_are_read_through_their_own_indexes(road: Road) -> None:
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(10_000))
    for creator in ("a", "b", "c", "d", "e"):
        await road.place(creator=creator, recipients=people)
    await fill(road, {"ttd": 300})
    await asyncio.gather(*(road.place(creator="later") for _ in range(3_000)))
    async with road.db.transaction() as conn:
        await conn.execute("ANALYZE notification, orders")
        lanes: dict[str, Any] = {"channel": "email", "lanes": [0, 1, 2], "after": [0, 0, 0], "fan": 16}
        creators = await plan(conn, store.CREATORS, lanes)
        picking = {"channel": "email", "lane": 2, "creators": [1, 2], "quota": 250, "now": road.clock.now()}
        picked = await plan(conn, store.PICK, picking)
        ids = [uuid7() for _ in range(500)]
        taking = {"ids": ids, "low": ids[0], "high": ids[-1], "claim": uuid7(), "provider": "mail", "worker": 1}
        taking["orders"] = [uuid7()]
        taken = await plan(conn, store.TAKE, taking)
        claiming = {"creators": [1], "lane": 1, "quota": 100, "worker": 1, "most": 10_000}
        due = await plan(conn, resolution.CLAIM, claiming)
    assert "creator_id_id_idx" in creators
    month = f"{datetime.now(UTC):%Y_%m}"  # the other leaves are empty
    assert f"Seq Scan on notification_{month}" not in creators + picked + taken
    assert f"Seq Scan on orders_{month}" not in due


async def test_plans_made_while_a_queue_was_empty_do_not_read_it_from_end_to_end_when_it_is_long(
    road: Road, dsn: str
) -> None:
    """Nothing has told the planner that the tables have grown, and most has run often enough to be planned for good."""
    own = Database(dsn, size=2, name="worker")
    await own.open()
    busy = Road(own, road.clock, mail=FakeProvider("mail", max_batch=100, step=1_000))
    worker = await busy.worker()

    async def work(orders: int) -> None:
        for _ in range(orders):
            await busy.place(creator="small")
            await worker.round()
            await number_feed(own)

    await work(20)
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(10_000))
    for _ in range(3):
        await road.place(creator="big", recipients=people)
    await fill(road, {})
    before = await read_from_end_to_end(road)
    await work(20)
    for _ in range(4):  # and big claims
        await worker.round()
    await worker.end(busy)
    await own.close()  # what a connection has counted is seen at its end
    assert await read_from_end_to_end(road) - before < 30_000
    assert await road.value("SELECT count(*) FROM notification WHERE state <> 'new'") > 1_500


async def read_from_end_to_end(road: Road) -> int:
    """Rows that were read by scans of whole tables, of those that are long."""
    return int(
        await road.value(
            "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables"
            " WHERE relname ~ '^(notification|orders|order_content)_'"
        )
    )
