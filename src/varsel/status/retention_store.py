"""SQL of retention: batches, oldest first, that any number of workers may delete at once."""

from datetime import datetime

from varsel.db import Conn, execute

DELETE_FEED = """
DELETE FROM status_feed
 WHERE (creator_id, seq) IN (SELECT creator_id, seq FROM status_feed WHERE created_at <= %(before)s
                              ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""


async def delete_feed_entries(conn: Conn, *, before: datetime, limit: int = 5_000) -> int:
    """Returns how many of the oldest entries were deleted."""
    return await execute(conn, DELETE_FEED, {"before": before, "limit": limit})
