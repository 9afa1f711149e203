"""SQL of retention: batches, that any number of workers may delete at once."""

from datetime import datetime
from typing import Final

from varsel.db import Conn, execute

# What was sent before its turn is remembered until the position is past it.
PRUNE: Final = """
DELETE FROM webhook_delivery
 WHERE (webhook_id, event_id) IN (
       SELECT w.id, d.event_id
         FROM webhook w
        CROSS JOIN LATERAL (
              SELECT event_id FROM webhook_delivery
               WHERE webhook_id = w.id AND last_at <= %(before)s AND state <> 'waiting'
                 AND (seq IS NULL OR seq <= w.position)
               ORDER BY last_at LIMIT %(limit)s) d
        LIMIT %(limit)s)
"""


async def prune(conn: Conn, *, before: datetime, limit: int = 5_000) -> int:
    """Returns how many were deleted."""
    return await execute(conn, PRUNE, {"before": before, "limit": limit})
