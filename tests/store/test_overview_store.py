"""What the overview reads does not grow with what is stored (ADR 12)."""

from datetime import UTC, datetime

from varsel.clock import ManualClock
from varsel.db import Database, ReadConn, execute, fetch_value
from varsel.domain.schedule import SendWindow
from varsel.ui import overview_store

STORED = 50_000
WAITING = 20

FILL = """
INSERT INTO notification (id, order_id, creator_id, channel, lane, state, state_at, expires_at, address, provider)
SELECT uuidv7(), uuidv7(), 1 + n %% 5, 'email', 1,
       CASE WHEN n <= %(waiting)s THEN 'new' ELSE 'delivered' END::notification_state, %(now)s,
       %(now)s + interval '1 day', 'kari' || n || '@example.com', 'nordpost'
  FROM generate_series(1, %(stored)s) n
"""

# Of this transaction alone.
ROWS_READ = """
SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_xact_user_tables
 WHERE relname LIKE 'notification%%'
"""


async def rows_read(conn: ReadConn) -> int:
    return int(await fetch_value(conn, ROWS_READ, {}))


async def test_the_overview_reads_hardly_any_notification(database: Database, clock: ManualClock) -> None:
    clock.set(datetime.now(UTC))
    now = clock.now()
    async with database.autocommit() as conn:
        await execute(conn, FILL, {"stored": STORED, "waiting": WAITING, "now": now})
        await execute(conn, "ANALYZE notification", {})
    async with database.transaction() as conn:
        assert await fetch_value(conn, "SELECT count(state) FROM notification", {}) == STORED
        counted = await rows_read(conn)
    assert counted >= STORED  # so that the figure below says something
    async with database.transaction() as conn:
        await overview_store.read(conn, [None, "nobody"], now=now, opened=SendWindow().opened(now))
        assert await rows_read(conn) <= WAITING * 5
