"""The statements of asking and sweeping read what they are about, however much waits for something else."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from road import Road
from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.delivery import asking_store, sweep_store
from varsel.domain.order import Lane, Recipient


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    """With 20 000 messages that settle later, and 20 that a provider works on."""
    road = Road(database, clock)
    await road.place(recipients=tuple(Recipient(email=f"p{i}@example.com") for i in range(20_020)))
    worker = await road.worker()
    while await worker.resolution.resolve_due(Lane.ORDINARY) + await worker.resolution.resolve_due(Lane.BULK):
        pass
    async with database.transaction() as conn:
        await conn.execute("UPDATE notification SET state = 'accepted', provider = 'smtp', wake_at = now() + '6 h'")
        await conn.execute(
            """UPDATE notification SET state = 'unknown', provider = 'azure', wake_at = now()
                WHERE id IN (SELECT id FROM notification ORDER BY id DESC LIMIT 20)"""
        )
        await conn.execute("ANALYZE notification")
    yield road
    await worker.end(road)
    await road.waker.close()


async def plan(conn: Any, sql: str, params: dict[str, Any]) -> str:
    return "\n".join(await fetch(conn, f"EXPLAIN (COSTS OFF) {sql}", params, str))


async def test_what_is_asked_about_is_found_by_its_own_index(road: Road) -> None:
    now = datetime.now(UTC)
    month = f"notification_{now:%Y_%m}"
    held = {"provider": "azure", "now": now, "until": now + timedelta(minutes=2), "limit": 100}
    swept = {"now": now, "limit": 1_000, "asked": ["azure"]}
    async with road.db.transaction() as conn:
        for sql, params in (
            (asking_store.HOLD, held),
            (asking_store.NEXT_DUE, {"provider": "azure"}),
            (sweep_store.DUE, swept),
            (sweep_store.NEXT_DUE, {"asked": ["azure"]}),
        ):
            assert f"Seq Scan on {month}" not in await plan(conn, sql, params)
        for sql, params in ((asking_store.HOLD, held), (asking_store.NEXT_DUE, {"provider": "azure"})):
            assert f"{month}_provider_wake_at_idx" in await plan(conn, sql, params)


async def test_a_sweeper_passes_over_what_is_asked_about_and_an_asker_over_the_rest(road: Road) -> None:
    now = datetime.now(UTC) + timedelta(seconds=1)
    async with road.db.transaction() as conn:
        assert await sweep_store.due(conn, ["azure"], now=now, limit=100) == []
        next_due = await sweep_store.next_due(conn, ["azure"])
        assert next_due is not None
        assert next_due > now
        assert len(await sweep_store.due(conn, [], now=now, limit=100)) == 20
        assert await asking_store.next_due(conn, "smtp") is None
        held = await asking_store.hold_due(conn, "azure", now=now, until=now + timedelta(minutes=2), limit=100)
        assert len(held) == 20
        assert await asking_store.hold_due(conn, "azure", now=now, until=now + timedelta(minutes=2), limit=100) == []
