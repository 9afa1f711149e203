"""SQL of dead letters: reports that matched nothing, to look at, to try again, and to put away."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one

MOST_COUNTED: Final = 1_000


@dataclass(frozen=True, slots=True)
class Letter:
    """A report. `at`: what its list is ordered by: when it came, or when it is tried next. `order`: if it is known."""

    id: UUID
    at: datetime
    received: datetime
    wake: datetime | None
    provider: str
    channel: str
    verdict: str
    raw_state: str
    why: str
    tries: int
    reference: str | None
    notification: UUID | None
    order: UUID | None
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """Each up to `MOST_COUNTED`."""

    dead: int
    parked: int


_COLUMNS: Final = """
d.received_at, d.wake_at, d.provider, d.channel::text, d.verdict, d.raw_state, d.state_reason, d.tries::int,
d.provider_ref, d.notification_id, n.order_id, d.payload
"""

# Each in the order of its own partial index.
DEAD: Final = f"""
SELECT d.id, d.received_at, {_COLUMNS}
  FROM (SELECT * FROM delivery_report
         WHERE state = 'dead' AND (%(at)s::timestamptz IS NULL OR (received_at, id) < (%(at)s, %(id)s::uuid))
         ORDER BY received_at DESC, id DESC LIMIT %(limit)s) d
  LEFT JOIN notification n ON n.id = d.notification_id
 ORDER BY d.received_at DESC, d.id DESC
"""

PARKED: Final = f"""
SELECT d.id, d.wake_at, {_COLUMNS}
  FROM (SELECT * FROM delivery_report
         WHERE state = 'parked' AND (%(at)s::timestamptz IS NULL OR (wake_at, id) > (%(at)s, %(id)s::uuid))
         ORDER BY wake_at, id LIMIT %(limit)s) d
  LEFT JOIN notification n ON n.id = d.notification_id
 ORDER BY d.wake_at, d.id
"""

ONE: Final = f"""
SELECT d.id, d.received_at, {_COLUMNS}
  FROM delivery_report d
  LEFT JOIN notification n ON n.id = d.notification_id
 WHERE d.id = %(id)s AND d.state IN ('dead', 'parked')
"""

COUNT: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'dead' LIMIT %(limit)s) q)::int,
       (SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'parked' LIMIT %(limit)s) q)::int
"""

# Only what is still dead or parked: a second press finds nothing to do.
REPLAY: Final = """
UPDATE delivery_report SET state = 'pending', wake_at = NULL
 WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('dead', 'parked')
"""

PUT_AWAY: Final = """
UPDATE delivery_report SET state = 'rejected', state_reason = 'put away by hand', wake_at = NULL
 WHERE id = ANY(%(ids)s::uuid[]) AND state = 'dead'
"""


async def letters(
    conn: ReadConn, *, parked: bool, limit: int, after: tuple[datetime, UUID] | None = None
) -> list[Letter]:
    """The dead ones that came last first; of the parked ones those that are tried next. `after`: the last one seen."""
    at, id_ = after or (None, None)
    return await fetch(conn, PARKED if parked else DEAD, {"at": at, "id": id_, "limit": limit}, Letter)


async def letter(conn: ReadConn, id_: UUID) -> Letter | None:
    """One that is dead or parked."""
    return await fetch_one(conn, ONE, {"id": id_}, Letter)


async def count(conn: ReadConn) -> Counts:
    found = await fetch_one(conn, COUNT, {"limit": MOST_COUNTED}, Counts)
    assert found is not None
    return found


async def replay(conn: Conn, ids: Sequence[UUID]) -> int:
    """Put them back into the inbox, where they are applied like any other; returns how many."""
    return await execute(conn, REPLAY, {"ids": list(ids)})


async def put_away(conn: Conn, ids: Sequence[UUID]) -> int:
    return await execute(conn, PUT_AWAY, {"ids": list(ids)})
