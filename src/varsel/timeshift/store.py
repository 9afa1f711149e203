"""SQL of the sandbox's movable clock: one row holds the offset, and each live process says which version it took.

The mechanism: design 8 (two clocks), proven 6.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value
from varsel.domain.ids import WorkerId

CHANNEL: Final = "sandbox_clock"
_REPORTS_OWED: Final = 8_310_002  # advisory lock


@dataclass(frozen=True, slots=True)
class Shift:
    """What is added to machine time. `version` counts the moves."""

    offset: timedelta
    version: int


async def read(conn: ReadConn) -> Shift:
    shift = await fetch_one(conn, "SELECT shift, version FROM sandbox_clock", {}, Shift)
    assert shift is not None  # the migration made the row
    return shift


_MOVE: Final = """
UPDATE sandbox_clock SET shift = %(offset)s, version = version + 1 WHERE version = %(version)s RETURNING version
"""


async def move(conn: Conn, offset: timedelta, *, version: int) -> int | None:
    """Set the offset and tell every process. None when somebody else moved the clock after `version`."""
    moved = await fetch_value(conn, _MOVE, {"offset": offset, "version": version})
    if moved is None:
        return None
    await execute(conn, "SELECT pg_notify(%(channel)s, %(version)s::text)", {"channel": CHANNEL, "version": moved})
    return int(moved)


_NOTE_CLOCK: Final = """
UPDATE worker SET clock_version = %(version)s, idle = false WHERE id = %(worker)s AND clock_version <> %(version)s
"""


async def note_clock(conn: Conn, worker: WorkerId, version: int) -> bool:
    """The process goes by this version from now on; whether there is anything to do, it has yet to find out.

    False when that had been noted before.
    """
    return await execute(conn, _NOTE_CLOCK, {"worker": worker, "version": version}) > 0


_NOTE_IDLE: Final = """
UPDATE worker SET idle = %(idle)s WHERE id = %(worker)s AND clock_version = %(version)s AND idle <> %(idle)s
"""


async def note_idle(conn: Conn, worker: WorkerId, version: int, *, idle: bool) -> None:
    """The worker found nothing (or something) to do in a round that it began with this version of the clock.

    Changes nothing when it has taken a newer version since: that round did not look with the new time.
    """
    await execute(conn, _NOTE_IDLE, {"worker": worker, "version": version, "idle": idle})


_STRAGGLERS: Final = """
SELECT format('%%s %%s %%s', kind, id,
              CASE WHEN clock_version < %(version)s THEN 'has not taken the time' ELSE 'is not idle' END)
  FROM worker
 WHERE lease_until > statement_timestamp()
   AND (clock_version < %(version)s OR (kind = 'worker' AND NOT idle))
 UNION ALL SELECT 'orders are being processed' WHERE EXISTS (SELECT FROM orders WHERE state = 'Processing')
 UNION ALL SELECT 'messages are being sent' WHERE EXISTS (SELECT FROM claim)
 UNION ALL SELECT 'delivery reports wait' WHERE EXISTS (SELECT FROM delivery_report WHERE state = 'pending')
 UNION ALL SELECT 'a simulator owes reports' WHERE NOT pg_try_advisory_xact_lock(%(reports_owed)s)
"""


async def stragglers(conn: ReadConn, version: int) -> list[str]:
    """What has to be waited for, in words: live processes that are behind this version, workers that are not idle, and
    work that is under way, whatever a worker said a moment ago. API processes only follow.
    """
    return await fetch(conn, _STRAGGLERS, {"version": version, "reports_owed": _REPORTS_OWED}, str)


async def hold(conn: ReadConn) -> None:
    """Let nobody move the clock until `let_go` or the end of the connection: a report is on its way to us."""
    await execute(conn, "SELECT pg_advisory_lock_shared(%(key)s)", {"key": _REPORTS_OWED})


async def let_go(conn: ReadConn) -> None:
    await execute(conn, "SELECT pg_advisory_unlock_shared(%(key)s)", {"key": _REPORTS_OWED})


# Only what waits for business time. In each: open > after, so that what is due already is left to the workers.
_WAITING: Final = """
    SELECT wake_at AS due FROM orders WHERE state = 'Registered' AND wake_at > %(after)s AND wake_at <= %(until)s
    UNION ALL
    SELECT wake_at FROM notification WHERE wake_at > %(after)s AND wake_at <= %(until)s
    UNION ALL
    SELECT expires_at FROM orders WHERE state = 'Processed' AND expires_at > %(after)s AND expires_at <= %(until)s
    UNION ALL
    SELECT resting_until FROM webhook
     WHERE state = 'active' AND resting_until > %(after)s AND resting_until <= %(until)s
    UNION ALL
    SELECT d.next_at FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id
     WHERE d.state = 'waiting' AND d.next_at > %(after)s AND d.next_at <= %(until)s
       AND (w.state = 'active' OR d.seq IS NULL)
    UNION ALL
    SELECT expires_at FROM orders
     WHERE state = 'Completed' AND pending > 0 AND expires_at > %(after)s AND expires_at <= %(until)s
    UNION ALL
    SELECT wake_at FROM fallback WHERE wake_at > %(after)s AND wake_at <= %(until)s
"""
_NEXT_DUE: Final = f"""
WITH waiting AS ({_WAITING}), first AS (SELECT min(due) AS due FROM waiting)
SELECT max(w.due) FROM waiting w, first f WHERE w.due <= f.due + %(grain)s
"""


async def next_due(conn: ReadConn, *, after: datetime, until: datetime, grain: timedelta) -> datetime | None:
    """The next instant at which something becomes due, not before `after`, or None up to `until`.

    Instants within `grain` of the first count as one, the last of them.
    """
    params = {"after": after, "until": until, "grain": grain}
    due: datetime | None = await fetch_value(conn, _NEXT_DUE, params)
    return due


_NEXT_SENDING: Final = """
SELECT least(
    (SELECT min(wake_at) FROM orders WHERE state = 'Registered' AND wake_at > %(after)s),
    (SELECT min(wake_at) FROM notification WHERE state = 'new' AND wake_at > %(after)s)
)
"""


async def next_sending(conn: ReadConn, *, after: datetime) -> datetime | None:
    """When the next waiting order or notification may leave."""
    due: datetime | None = await fetch_value(conn, _NEXT_SENDING, {"after": after})
    return due
