"""What is too old is deleted, in batches, and nothing else is (processing 9.6)."""

import asyncio
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch
from varsel.domain.ids import uuid7
from varsel.status.retention import prune_feed
from varsel.status.retention_store import DELETE_FEED

KEPT = timedelta(days=90)
INSERT = """
INSERT INTO status_feed (seq, creator_id, order_id, created_at, body)
SELECT n, n %% 3, %(order)s, at, '{}' FROM unnest(%(times)s::timestamptz[]) WITH ORDINALITY AS t (at, n)
"""


async def fill(database: Database, times: list[datetime]) -> None:
    async with database.autocommit() as conn:
        await execute(conn, "DELETE FROM status_feed", {})
        await execute(conn, INSERT, {"order": uuid7(), "times": times})


async def ages(database: Database, now: datetime) -> list[timedelta]:
    async with database.reading() as conn:
        times = await fetch(conn, "SELECT created_at FROM status_feed ORDER BY seq", {}, lambda at: at)
    return [now - at for at in times]


@pytest.mark.assertion("processing", 126)
def test_entries_of_ninety_days_are_deleted_and_younger_ones_stay(
    database: Database, clock: ManualClock, runner: asyncio.Runner
) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(given_ages=st.lists(st.timedeltas(timedelta(days=89), timedelta(days=91)) | st.just(KEPT), max_size=20))
    def check(given_ages: list[timedelta]) -> None:
        runner.run(fill(database, [clock.now() - age for age in given_ages]))
        deleted = runner.run(prune_feed(database, clock, KEPT))
        assert runner.run(ages(database, clock.now())) == [age for age in given_ages if age < KEPT]
        assert deleted == sum(age >= KEPT for age in given_ages)
        assert runner.run(prune_feed(database, clock, KEPT)) == 0

    check()


async def test_very_many_are_deleted_in_batches_by_any_number_of_workers(
    database: Database, clock: ManualClock
) -> None:
    await fill(database, [clock.now() - KEPT] * 12_000)
    deleted = await asyncio.gather(*(prune_feed(database, clock, KEPT) for _ in range(3)))
    assert max(deleted) <= 5_000
    while await prune_feed(database, clock, KEPT):
        pass
    assert await ages(database, clock.now()) == []


async def test_old_entries_are_found_by_their_age(database: Database, clock: ManualClock) -> None:
    await fill(database, [clock.now()] * 5_000)
    async with database.autocommit() as conn:
        await execute(conn, "ANALYZE status_feed", {})
        plan = await fetch(conn, "EXPLAIN " + DELETE_FEED, {"before": clock.now() - KEPT, "limit": 5_000}, str)
    assert any("status_feed_created" in line for line in plan)
