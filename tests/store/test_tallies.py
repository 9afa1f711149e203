"""Tallies: what a message counts for moves with it, in the same transaction, and is read without counting (ADR 12)."""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from pydantic import SecretStr

from road import Road, until
from tallies import LONG_AGO, assert_tallies_agree, recount, tallied
from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch, fetch_value
from varsel.delivery.ports import Accepted, Refused, Verdict
from varsel.domain.ids import CreatorId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Recipient
from varsel.domain.tally import Bucket, bucket_of
from varsel.migrate import known_migrations
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.settings import Settings
from varsel.tally import store
from varsel.tally.fold import fold_tallies, prune_tallies
from varsel.wiring import open_parts
from varsel.worker.run import run_worker

LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Interrupted(Exception):
    """Whatever ends a transaction."""


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


def people(count: int, name: str = "kari") -> tuple[Recipient, ...]:
    return tuple(Recipient(email=f"{name}{n}@example.com") for n in range(count))


async def standing(road: Road) -> dict[Bucket, int]:
    async with road.db.reading() as conn:
        counts = await store.standing(conn)
    return {count.bucket: count.n for count in counts}


async def test_a_message_is_counted_where_it_stands_before_anybody_has_folded_anything(road: Road) -> None:
    await road.place(recipients=people(3))
    assert await standing(road) == {Bucket.SCHEDULED: 3}
    worker = await road.worker()
    await worker.resolution.resolve_due(road.order().lane)
    assert await standing(road) == {Bucket.OPEN: 3}
    await worker.end(road)
    await road.run()
    assert await standing(road) == {Bucket.ACCEPTED: 3}
    first, second, _ = await road.rows()
    await road.report(first.id, Verdict.DELIVERED)
    await road.report(second.id, Verdict.FAILED)
    await road.run()
    assert await standing(road) == {Bucket.ACCEPTED: 1, Bucket.DELIVERED: 1, Bucket.FAILED: 1}
    await road.report(first.id, Verdict.FAILED)  # a correction: it had arrived, and came back
    await road.run()
    assert await standing(road) == {Bucket.ACCEPTED: 1, Bucket.FAILED: 2}


async def test_what_is_cancelled_waits_no_more_and_was_taken_in_all_the_same(road: Road) -> None:
    placed = await road.place(recipients=people(4), requested_send_time=road.clock.now() + timedelta(days=1))
    cancelled = await cancel_order(road.db, "ttd", placed.order_id, now=road.clock.now(), limit=timedelta(minutes=5))
    assert cancelled is Cancellation.CANCELLED
    assert await standing(road) == {}
    async with road.db.reading() as conn:
        assert [(hour.bucket, hour.n) for hour in await store.hours(conn, LONG_AGO, LATER)] == [(Bucket.TAKEN, 4)]


async def test_what_happens_counts_in_its_minute_and_its_hour_of_business_time(road: Road) -> None:
    road.mail.answers = lambda _: Refused(Reason.INVALID_EMAIL_FORMAT)
    start = datetime(2027, 3, 28, 0, 59, tzinfo=UTC)  # a minute before the clocks of Oslo change
    road.clock.set(start)
    await road.place(recipients=people(2))
    road.clock.advance(timedelta(minutes=2, seconds=30))
    await road.run()
    for _ in range(2):
        async with road.db.reading() as conn:
            minutes = {(m.bucket, m.at): m.n for m in await store.minutes(conn, start)}
            hours = {(h.bucket, h.at): h.n for h in await store.hours(conn, start.replace(minute=0), LATER)}
        assert minutes[Bucket.TAKEN, start] == 2
        assert minutes[Bucket.FAILED, start + timedelta(minutes=2)] == 2
        assert hours[Bucket.TAKEN, datetime(2027, 3, 28, 0, tzinfo=UTC)] == 2
        assert hours[Bucket.FAILED, datetime(2027, 3, 28, 1, tzinfo=UTC)] == 2
        await fold_tallies(road.db)


async def test_many_that_fold_at_once_take_everything_up_once(road: Road) -> None:
    for name in ("kari", "ola", "liv"):
        await road.place(recipients=people(5, name), creator=name)
    await road.run()
    await asyncio.gather(*(fold_tallies(road.db) for _ in range(8)))
    async with road.db.reading() as conn:
        assert await fetch_value(conn, "SELECT count(*) FROM tally_delta", {}) == 0
        assert await tallied(conn) == await recount(conn)
        assert [(sender.name, sender.sent) for sender in await store.senders(conn, LONG_AGO, limit=2)] == [
            ("kari", 5),
            ("ola", 5),
        ]


async def test_a_worker_folds_by_itself(road: Road, dsn: str) -> None:
    await road.place(recipients=people(5), requested_send_time=datetime.now(UTC) + timedelta(days=1))
    parts = await open_parts(Settings(database_url=SecretStr(dsn)), dsn, name="test", connections=4)
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(parts, stop, only=("sweep",)))
    try:
        await until(lambda: is_folded(road), seconds=60)
    finally:
        stop.set()
        await working
        await parts.close()
    assert await standing(road) == {Bucket.SCHEDULED: 5}


async def is_folded(road: Road) -> bool:
    return bool(await road.value("SELECT EXISTS (SELECT FROM tally_total) AND NOT EXISTS (SELECT FROM tally_delta)"))


async def test_a_fold_that_is_undone_leaves_what_it_had_taken_up(road: Road) -> None:
    await road.place(recipients=people(5))
    await road.run()
    with contextlib.suppress(Interrupted):
        async with road.db.transaction() as conn:
            assert await store.fold(conn) > 0
            raise Interrupted
    await assert_tallies_agree(road.db)


async def test_minutes_and_hours_that_nobody_shows_are_forgotten_and_totals_are_not(road: Road) -> None:
    await road.place(recipients=people(2))
    await road.run()
    await fold_tallies(road.db)
    before = await standing(road)
    assert await prune_tallies(road.db, road.clock) == 0
    road.clock.advance(store.MINUTES_KEPT + timedelta(minutes=1))
    assert await prune_tallies(road.db, road.clock) > 0
    road.clock.advance(store.HOURS_KEPT)
    assert await prune_tallies(road.db, road.clock) > 0
    async with road.db.reading() as conn:
        assert await store.hours(conn, LONG_AGO, LATER) == []
        assert await store.minutes(conn, LONG_AGO) == []
    assert await standing(road) == before
    road.changed_by_hand = True  # the hours are gone


async def test_a_database_from_before_is_counted_once_by_the_migration(road: Road) -> None:
    road.clock.set(datetime.now(UTC))  # the migration looks at the last days
    road.mail.answers = lambda address: Refused(Reason.BOUNCED) if address.startswith("ola") else Accepted()
    for name in ("kari", "ola"):
        await road.place(recipients=people(5, name), creator=name)
    await road.place(requested_send_time=road.clock.now() + timedelta(days=1))
    await road.run()
    rows = await road.rows()
    await road.report(rows[0].id, Verdict.DELIVERED)
    await road.run()
    (migration,) = [m for m in known_migrations() if m.name == "0032_tally"]
    async with road.db.transaction() as conn:
        for table in ("delta", "total", "minute", "hour"):
            await execute(conn, f"DROP TABLE tally_{table}", {})
        await execute(conn, migration.sql, {})
    async with road.db.reading() as conn:
        assert await tallied(conn) == await recount(conn)
        hours = await store.hours(conn, LONG_AGO, LATER)
        assert sum(hour.n for hour in hours if hour.bucket is Bucket.TAKEN) == 11
    road.changed_by_hand = True  # no hour knows of what is open


async def test_what_was_not_counted_is_set_right_by_the_statement_that_operators_are_given(
    database: Database, clock: ManualClock
) -> None:
    road = Road(database, clock)
    await road.place(recipients=people(3))
    await road.place(requested_send_time=road.clock.now() + timedelta(days=1))
    await road.run()
    async with road.db.autocommit() as conn:
        await execute(conn, "UPDATE notification SET state = 'delivered'", {})  # by a release that counts nothing
    guide = Path(__file__).parents[2].joinpath("docs/operations.md").read_text(encoding="utf-8")
    [statement] = re.findall(r"^INSERT INTO tally_delta[^;]+;", guide, re.MULTILINE)
    for expected in (2, 0):
        async with road.db.autocommit() as conn:
            assert await execute(conn, statement, {}) == expected
    assert await standing(road) == {Bucket.SCHEDULED: 1, Bucket.DELIVERED: 3}
    await road.waker.close()


async def test_the_database_puts_a_message_into_the_same_bucket_as_the_pure_rule(database: Database) -> None:
    states = [state for state in State if state is not State.SENDING]  # never stored
    cases = [
        (state, reason, settled, left)
        for state, settled, left in product(states, (False, True), (False, True))
        for reason in (Reason if state is State.FAILED else (None,))
    ]
    sql = f"""SELECT {store.BUCKET}
                FROM (SELECT state, reason, settled, CASE WHEN l THEN now() END AS accepted_at
                        FROM unnest(%(states)s::notification_state[], %(reasons)s::text[], %(settled)s::boolean[],
                                    %(left)s::boolean[]) WITH ORDINALITY AS t (state, reason, settled, l, place)
                       ORDER BY place) n"""
    names = ("states", "reasons", "settled", "left")
    params = dict(zip(names, map(list, zip(*cases, strict=True)), strict=True))
    async with database.reading() as conn:
        found = await fetch(conn, sql, params, Bucket)
    assert found == [bucket_of(state, reason, settled=settled, left=left) for state, reason, settled, left in cases]


async def test_channels_and_creators_are_told_apart(road: Road) -> None:
    await road.place(recipients=people(2), creator="kari")
    await road.place(recipients=people(3, "ola"), creator="ola")
    await road.run()
    async with road.db.reading() as conn:
        ids = await fetch(conn, "SELECT id FROM creator ORDER BY name", {}, CreatorId)
        for creators, n in ((ids[:1], 2), (ids[1:], 3), (ids, 5), ([], 0), (None, 5)):
            counts = await store.standing(conn, creators)
            assert [(count.channel, count.bucket, count.n) for count in counts] == [
                (channel, Bucket.ACCEPTED, n) for channel in (Channel.EMAIL,) if n
            ]
        first, second = await store.senders(conn, LONG_AGO, limit=5)
        assert [first.name, first.sent, first.all] == ["ola", 3, 2]
        assert await store.senders(conn, LONG_AGO, ids[:1], limit=5) == [dataclasses.replace(second, all=1)]
