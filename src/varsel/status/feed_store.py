"""SQL of the feed's sequencer (proven 3)."""

from varsel.db import Conn, execute

LOCK = "SELECT pg_advisory_xact_lock(8, 1)"

# Every number is given under one lock that is held past the commit: whoever has read N has read all before it.
NUMBER = """
WITH d AS (DELETE FROM feed_pending
            WHERE id = ANY (ARRAY(SELECT id FROM feed_pending ORDER BY id LIMIT %(limit)s)) RETURNING *),
     o AS MATERIALIZED (SELECT * FROM d ORDER BY id)
INSERT INTO status_feed (seq, creator_id, order_id, created_at, body)
SELECT nextval('feed_seq'), creator_id, order_id, created_at, body FROM o
"""


async def number_pending(conn: Conn, *, limit: int = 5_000) -> int:
    """Move pending entries into the feed; returns how many. In a transaction of its own."""
    await execute(conn, LOCK, {})
    return await execute(conn, NUMBER, {"limit": limit})
