"""SQL of `varsel doctor`: the server itself, and what nobody seems to be at. Each look is short."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.db import ReadConn, fetch_one
from varsel.status.gauges import MAX_COUNTED

LONG_DEAD: Final = timedelta(minutes=2)
"""After its lease has lapsed, a process is swept away within half a minute, if anybody sweeps."""


@dataclass(frozen=True, slots=True)
class Server:
    """`version`: as 150004. `read_only`: a standby, or one that was demoted."""

    version: int
    read_only: bool


SERVER: Final = """
SELECT current_setting('server_version_num')::int,
       pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean
"""


async def server(conn: ReadConn) -> Server:
    """Of any database, without our tables too."""
    found = await fetch_one(conn, SERVER, {}, Server)
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Left:
    """`messages` and `orders` of processes that have long been dead; orders are counted up to `MAX_COUNTED`.

    Since when the oldest report waits to be applied, and the oldest entry of the feed to be numbered; business time.
    """

    messages: int
    orders: int
    oldest_report: datetime | None
    oldest_entry: datetime | None


# Leases are machine time, and the database alone judges them.
LEFT: Final = """
WITH living AS (SELECT id FROM worker WHERE lease_until > statement_timestamp() - %(dead)s)
SELECT (SELECT coalesce(sum(cardinality(ids)), 0) FROM claim
         WHERE claimed_at < statement_timestamp() - %(dead)s AND worker_id NOT IN (SELECT id FROM living))::int,
       (SELECT count(*) FROM (SELECT worker_id FROM orders WHERE state = 'Processing' LIMIT %(limit)s) o
         WHERE worker_id NOT IN (SELECT id FROM living))::int,
       (SELECT received_at FROM delivery_report WHERE state = 'pending' ORDER BY id LIMIT 1),
       (SELECT created_at FROM feed_pending ORDER BY id LIMIT 1)
"""


async def left(conn: ReadConn) -> Left:
    found = await fetch_one(conn, LEFT, {"dead": LONG_DEAD, "limit": MAX_COUNTED}, Left)
    assert found is not None
    return found
