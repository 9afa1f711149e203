"""SQL of the pool: what all processes share about each provider instance. All times are machine time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value

WINDOW: Final = timedelta(seconds=60)  # over which errors are counted

ENLIST = """
INSERT INTO provider (name, channel) SELECT name, %(channel)s FROM unnest(%(names)s::text[]) AS t (name)
ON CONFLICT (name) DO NOTHING
"""

STANDINGS = """
SELECT name, weight, stopped,
       extract(epoch FROM greatest(paused_until, breaker_until) - statement_timestamp())::float8,
       breaker_until IS NOT NULL
  FROM provider WHERE name = ANY(%(names)s)
"""

# One trial at a time, whoever makes it; one that nobody ends is over by itself.
TAKE_TRIAL = """
UPDATE provider SET trial_until = statement_timestamp() + interval '60 s'
 WHERE name = %(name)s AND breaker_until <= statement_timestamp()
   AND (trial_until IS NULL OR trial_until <= statement_timestamp())
"""

RETURN_TRIAL = "UPDATE provider SET trial_until = NULL WHERE name = %(name)s"

TRIED_WELL = """
UPDATE provider
   SET trial_until = NULL,
       successes = CASE WHEN successes + 1 >= %(enough)s THEN 0 ELSE successes + 1 END,
       breaker_until = CASE WHEN successes + 1 >= %(enough)s THEN NULL ELSE breaker_until END,
       failures = CASE WHEN successes + 1 >= %(enough)s THEN 0 ELSE failures END,
       detail = CASE WHEN successes + 1 >= %(enough)s THEN '' ELSE detail END,
       counted_from = statement_timestamp()
 WHERE name = %(name)s AND breaker_until <= statement_timestamp()
RETURNING breaker_until IS NULL
"""

COUNT = """
INSERT INTO provider_window (provider, slot, attempts, errors)
VALUES (%(name)s, date_bin('5 s', statement_timestamp(), 'epoch'), %(attempts)s, %(errors)s)
ON CONFLICT (provider, slot) DO UPDATE
   SET attempts = provider_window.attempts + excluded.attempts, errors = provider_window.errors + excluded.errors
"""

COUNTED = """
SELECT coalesce(sum(w.attempts), 0)::int, coalesce(sum(w.errors), 0)::int
  FROM provider_window w JOIN provider p ON p.name = w.provider
 WHERE w.provider = %(name)s AND w.slot > statement_timestamp() - %(window)s
   AND (p.counted_from IS NULL OR w.slot >= date_bin('5 s', p.counted_from, 'epoch'))
"""

# Only of a breaker that lets something through: who finds it open already changes nothing.
OPEN = """
UPDATE provider
   SET breaker_until = statement_timestamp() + least(%(longest)s, %(first)s * (2 ^ least(failures, 16))::float8),
       failures = failures + 1, successes = 0, trial_until = NULL, detail = %(detail)s
 WHERE name = %(name)s AND (breaker_until IS NULL OR breaker_until <= statement_timestamp())
RETURNING failures
"""

PAUSE = """
UPDATE provider
   SET paused_until = greatest(paused_until, statement_timestamp() + %(pause)s), detail = %(detail)s
 WHERE name = %(name)s
"""

CHANGED = """
INSERT INTO provider_change (provider, kind, weight, detail, author)
VALUES (%(name)s, %(kind)s, %(weight)s, %(detail)s, %(author)s)
"""

# What is granted is gone from the bucket for good, used or not: no process can send more than was granted to it.
# Two that ask at once see the clock of their statements; the bucket's own clock never goes back.
LEASE = """
WITH seen AS (
    SELECT name,
           least(%(burst)s::float8, coalesce(tokens, %(burst)s::float8) + coalesce(%(rate)s::float8, 1e9)
                 * greatest(0, extract(epoch FROM statement_timestamp() - refilled_at)::float8)) AS have,
           CASE WHEN hour_of = date_trunc('hour', statement_timestamp()) THEN hour_used ELSE 0 END AS hour_used,
           CASE WHEN day_of = date_trunc('day', statement_timestamp()) THEN day_used ELSE 0 END AS day_used
      FROM provider WHERE name = %(name)s FOR UPDATE),
judged AS (
    SELECT name, coalesce(have, %(burst)s::float8) AS have, hour_used, day_used,
           CASE WHEN hour_used + %(need)s > coalesce(%(per_hour)s::int8, 1e15)
                THEN date_trunc('hour', statement_timestamp()) + interval '1 hour' - statement_timestamp()
                WHEN day_used + %(need)s > coalesce(%(per_day)s::int8, 1e15)
                THEN date_trunc('day', statement_timestamp()) + interval '1 day' - statement_timestamp() END AS closed
      FROM seen),
granted AS (
    SELECT *, CASE WHEN closed IS NOT NULL OR have < least(%(need)s, %(burst)s::float8) THEN 0
                   ELSE greatest(%(need)s, floor(least(
                            %(want)s, have, coalesce(%(per_hour)s::int8, 1e15) - hour_used,
                            coalesce(%(per_day)s::int8, 1e15) - day_used))) END::int AS tokens
      FROM judged)
UPDATE provider p
   SET tokens = g.have - g.tokens, refilled_at = greatest(p.refilled_at, statement_timestamp()),
       hour_of = date_trunc('hour', statement_timestamp()), hour_used = g.hour_used + g.tokens,
       day_of = date_trunc('day', statement_timestamp()), day_used = g.day_used + g.tokens
  FROM granted g WHERE p.name = g.name
RETURNING g.tokens, coalesce(extract(epoch FROM g.closed)::float8,
          (least(%(need)s, %(burst)s::float8) - g.have) / coalesce(%(rate)s::float8, 1e9)), g.closed IS NOT NULL
"""

FORGET_WINDOWS = "DELETE FROM provider_window WHERE slot < statement_timestamp() - interval '1 hour'"


@dataclass(frozen=True, slots=True)
class Standing:
    """Of one instance, as all processes see it. `ready_in`: s until its pause is over, if it has one."""

    name: str
    weight: int | None
    stopped: bool
    ready_in: float | None
    on_trial: bool  # when it is ready: only one message at a time

    @property
    def ready(self) -> bool:
        return not self.stopped and (self.ready_in is None or self.ready_in <= 0)


@dataclass(frozen=True, slots=True)
class Lease:
    """`granted` may leave. 0: come back in `wait` s; `closed`: the hour's or the day's are used up."""

    granted: int
    wait: float
    closed: bool


async def enlist(conn: Conn, names: Sequence[str], channel: str) -> None:
    await execute(conn, ENLIST, {"names": sorted(names), "channel": channel})


async def standings(conn: ReadConn, names: Sequence[str]) -> list[Standing]:
    return await fetch(conn, STANDINGS, {"names": list(names)}, Standing)


async def take_trial(conn: Conn, name: str) -> bool:
    """Whether we may send one message to a provider whose breaker's time is over."""
    return await execute(conn, TAKE_TRIAL, {"name": name}) == 1


async def return_trial(conn: Conn, name: str) -> None:
    await execute(conn, RETURN_TRIAL, {"name": name})


async def tried_well(conn: Conn, name: str, *, enough: int) -> bool:
    """A trial went well; returns whether that closed the breaker."""
    closed = bool(await fetch_value(conn, TRIED_WELL, {"name": name, "enough": enough}))
    if closed:
        await note_change(conn, name, "closed")
    return closed


async def count(conn: Conn, name: str, attempts: int, errors: int) -> None:
    await execute(conn, COUNT, {"name": name, "attempts": attempts, "errors": errors})


async def counted(conn: ReadConn, name: str) -> tuple[int, int]:
    """Attempts and errors of the last minute, since the breaker closed."""
    found = await fetch_one(
        conn, COUNTED, {"name": name, "window": WINDOW}, lambda attempts, errors: (attempts, errors)
    )
    return found or (0, 0)


async def open_breaker(conn: Conn, name: str, *, first: timedelta, longest: timedelta, detail: str) -> int:
    """Returns how often it opened in a row; 0: somebody else has opened it."""
    params = {"name": name, "first": first, "longest": longest, "detail": detail}
    failures = int(await fetch_value(conn, OPEN, params) or 0)
    if failures:
        await note_change(conn, name, "opened", detail=detail)
    return failures


async def pause(conn: Conn, name: str, pause: timedelta, *, detail: str) -> None:
    """Let it rest, because it asked for it. The longer of two pauses holds."""
    await execute(conn, PAUSE, {"name": name, "pause": pause, "detail": detail})
    await note_change(conn, name, "paused", detail=detail)


async def note_change(
    conn: Conn, name: str, kind: str, *, weight: int | None = None, detail: str = "", author: str = "varsel"
) -> None:
    params = {"name": name, "kind": kind, "weight": weight, "detail": detail, "author": author}
    await execute(conn, CHANGED, params)


async def lease(conn: Conn, name: str, limits: Mapping[str, Any], *, need: int, want: int) -> Lease:
    """Take `need` tokens or more, at most `want`, or none. `limits`: rate, burst, per_hour and per_day."""
    found = await fetch_one(conn, LEASE, {"name": name, **limits, "need": need, "want": max(need, want)}, Lease)
    return found or Lease(0, 1.0, closed=False)


async def forget_windows(conn: Conn) -> int:
    return await execute(conn, FORGET_WINDOWS, {})
