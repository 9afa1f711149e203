"""SQL of the rows that say which processes live. Leases are machine time, judged by the database alone (design 8)."""

from datetime import datetime, timedelta
from typing import LiteralString

from varsel.db import Conn, execute, fetch_value
from varsel.domain.ids import WorkerId

REGISTER: LiteralString = """
INSERT INTO worker (kind, host, pid, started_at, lease_until, clock_version)
VALUES (%(kind)s, %(host)s, %(pid)s, %(now)s, statement_timestamp() + %(lease)s, %(version)s) RETURNING id
"""

RENEW: LiteralString = """
UPDATE worker SET lease_until = statement_timestamp() + %(lease)s WHERE id = %(worker)s
"""

CLOCKS_DIFFER: LiteralString = "SELECT statement_timestamp() - %(now)s"


async def register(
    conn: Conn, *, kind: str, host: str, pid: int, now: datetime, lease: timedelta, version: int
) -> WorkerId:
    params = {"kind": kind, "host": host, "pid": pid, "now": now, "lease": lease, "version": version}
    return WorkerId(await fetch_value(conn, REGISTER, params))


async def renew(conn: Conn, worker: WorkerId, lease: timedelta) -> bool:
    """False when the row is gone: somebody found the lease lapsed and gave back what the process held."""
    return await execute(conn, RENEW, {"worker": worker, "lease": lease}) == 1


async def end(conn: Conn, worker: WorkerId) -> None:
    await execute(conn, "DELETE FROM worker WHERE id = %(worker)s", {"worker": worker})
