"""SQL for those who look at the pool, and change it by hand. All times are machine time."""

from dataclasses import dataclass
from datetime import datetime

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.delivery import pool_store

STATES = """
SELECT p.name, p.channel, p.weight, p.stopped,
       p.breaker_until IS NOT NULL, coalesce(p.breaker_until > statement_timestamp(), false),
       coalesce(p.paused_until > statement_timestamp(), false),
       greatest(p.breaker_until, p.paused_until), p.detail,
       coalesce(w.attempts, 0)::int, coalesce(w.errors, 0)::int
  FROM provider p
  LEFT JOIN (SELECT provider, sum(attempts) AS attempts, sum(errors) AS errors FROM provider_window
              WHERE slot > statement_timestamp() - interval '60 s' GROUP BY provider) w ON w.provider = p.name
 ORDER BY p.channel, p.name
"""

CHANGES = """
SELECT at, kind, weight, detail, author FROM provider_change
 WHERE provider = %(name)s ORDER BY id DESC LIMIT %(limit)s
"""

STOP = "UPDATE provider SET stopped = true, detail = %(why)s WHERE name = %(name)s"

START = """
UPDATE provider
   SET stopped = false, paused_until = NULL, breaker_until = NULL, trial_until = NULL, failures = 0, successes = 0,
       counted_from = statement_timestamp(), detail = ''
 WHERE name = %(name)s
"""

WEIGHT = "UPDATE provider SET weight = %(weight)s, weight_at = statement_timestamp() WHERE name = %(name)s"


@dataclass(frozen=True, slots=True)
class State:
    """How an instance stands. `attempts` and `errors`: of the last minute."""

    name: str
    channel: str
    weight: int | None
    stopped: bool
    has_breaker: bool
    is_open: bool
    paused: bool
    until: datetime | None
    detail: str
    attempts: int
    errors: int

    @property
    def takes(self) -> bool:
        return not (self.stopped or self.has_breaker or self.paused)

    @property
    def standing(self) -> str:
        if self.stopped:
            return "stopped"
        if self.is_open:
            return f"breaker open until {self.until:%H:%M:%S}Z"
        if self.has_breaker:
            return "on trial"
        return f"paused until {self.until:%H:%M:%S}Z" if self.paused else "takes messages"


@dataclass(frozen=True, slots=True)
class Change:
    at: datetime
    kind: str
    weight: int | None
    detail: str
    author: str


async def states(conn: ReadConn) -> list[State]:
    return await fetch(conn, STATES, {}, State)


async def changes(conn: ReadConn, name: str, *, limit: int) -> list[Change]:
    """The newest first."""
    return await fetch(conn, CHANGES, {"name": name, "limit": limit}, Change)


async def enlist(conn: Conn, name: str, channel: str) -> None:
    await pool_store.enlist(conn, [name], channel)


async def stop(conn: Conn, name: str, *, why: str, author: str) -> None:
    await execute(conn, STOP, {"name": name, "why": why})
    await pool_store.note_change(conn, name, "stopped", detail=why, author=author)


async def start(conn: Conn, name: str, *, why: str, author: str) -> None:
    """End a stop, a pause and an open breaker."""
    await execute(conn, START, {"name": name})
    await pool_store.note_change(conn, name, "started", detail=why, author=author)


async def set_weight(conn: Conn, name: str, weight: int, *, why: str, author: str) -> None:
    await execute(conn, WEIGHT, {"name": name, "weight": weight})
    await pool_store.note_change(conn, name, "weight", weight=weight, detail=why, author=author)
