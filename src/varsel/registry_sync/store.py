"""SQL of the feeds' cursors, leases and runs (registries 7.2, 7.4).

A run holds its feed by a lease that the database's clock judges, and by a fencing number that every write of the cursor
states: whoever lost the lease changes nothing. `shift` moves that clock; only tests set it.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value
from varsel.domain.feeds import Feed

NO_SHIFT: Final = timedelta()


@dataclass(frozen=True, slots=True)
class Position:
    """Where one stands in a feed. KRR counts changes (`number`); business addresses have times, and pages in a run.

    `made_at`: when the register made the first of the pages that `next_page` goes on with.
    """

    number: int = 0
    at: datetime | None = None
    next_page: str | None = None
    made_at: datetime | None = None

    def __str__(self) -> str:
        return self.at.isoformat() if self.at else str(self.number)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A feed as the run that holds it knows it."""

    feed: Feed
    run_id: int
    fencing: int
    position: Position
    generation: int
    reloading: bool
    allow_large_removal: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records of a page, or of a run. `removed`: deletions; `ignored`: about something else."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    ignored: int = 0
    quarantined: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        mine, theirs = asdict(self), asdict(other)
        return Counts(**{name: mine[name] + theirs[name] for name in mine})

    @property
    def changed(self) -> int:
        return self.inserted + self.updated + self.removed


# Leases

ACQUIRE: Final = """
WITH free AS (
    SELECT feed FROM registry.sync_cursor
     WHERE feed = %(feed)s AND state <> 'needs_resync'
       AND (lease_until IS NULL OR lease_until <= statement_timestamp() + %(shift)s)
       AND (released_at IS NULL OR released_at <= statement_timestamp() + %(shift)s - %(interval)s::interval)
       AND (not_before IS NULL OR not_before <= statement_timestamp() + %(shift)s)
       FOR UPDATE SKIP LOCKED
), held AS (
    UPDATE registry.sync_cursor c
       SET fencing = c.fencing + 1, lease_until = statement_timestamp() + %(shift)s + %(lease)s, state = 'running',
           last_started_at = statement_timestamp(), not_before = NULL
      FROM free WHERE c.feed = free.feed
    RETURNING c.*
), ended AS (
    UPDATE registry.sync_run r SET outcome = 'abandoned', ended_at = statement_timestamp()
      FROM held WHERE r.feed = held.feed AND r.ended_at IS NULL
), run AS (
    INSERT INTO registry.sync_run (feed, started_at, from_position, to_position)
    SELECT feed, statement_timestamp(), p, p
      FROM held CROSS JOIN LATERAL (VALUES (coalesce(position_at::text, position::text))) AS v (p)
    RETURNING id
)
SELECT run.id, fencing, position, position_at, next_page, run_made_at, generation, reloading, allow_large_removal
  FROM held, run
"""


async def acquire(
    conn: Conn, feed: Feed, *, lease: timedelta, interval: timedelta, shift: timedelta = NO_SHIFT
) -> Cursor | None:
    """Begin a run; None when another holds the feed, when it is not yet time, or when a person must act first.

    What earlier runs left open died: it is marked so.
    """

    def row(
        run_id: int,
        fencing: int,
        number: int,
        at: datetime | None,
        page: str | None,
        made_at: datetime | None,
        generation: int,
        reloading: bool,
        allow_large_removal: bool,
    ) -> Cursor:
        position = Position(number, at, page, made_at)
        return Cursor(feed, run_id, fencing, position, generation, reloading, allow_large_removal)

    params = {"feed": feed, "lease": lease, "interval": interval, "shift": shift}
    return await fetch_one(conn, ACQUIRE, params, row)


RENEW: Final = """
UPDATE registry.sync_cursor SET lease_until = statement_timestamp() + %(shift)s + %(lease)s
 WHERE feed = %(feed)s AND fencing = %(fencing)s AND lease_until IS NOT NULL
"""


async def renew(conn: Conn, cursor: Cursor, *, lease: timedelta, shift: timedelta = NO_SHIFT) -> bool:
    """False when the feed is another's by now."""
    params = {"feed": cursor.feed, "fencing": cursor.fencing, "lease": lease, "shift": shift}
    return await execute(conn, RENEW, params) == 1


MOVE: Final = """
WITH moved AS (
    UPDATE registry.sync_cursor
       SET position = %(to_number)s, position_at = %(to_at)s, next_page = %(to_page)s, run_made_at = %(made_at)s,
           upstream_latest = %(latest)s, lease_until = statement_timestamp() + %(shift)s + %(lease)s,
           pages_total = pages_total + 1, rows_total = rows_total + %(received)s
     WHERE feed = %(feed)s AND fencing = %(fencing)s AND lease_until IS NOT NULL AND position = %(number)s
       AND (position_at, next_page) IS NOT DISTINCT FROM (%(at)s::timestamptz, %(page)s::text)
    RETURNING feed
)
UPDATE registry.sync_run SET pages = pages + 1, to_position = %(to)s FROM moved WHERE id = %(run_id)s
"""


async def move(
    conn: Conn,
    cursor: Cursor,
    to: Position,
    *,
    latest: int | None,
    received: int,
    lease: timedelta,
    shift: timedelta = NO_SHIFT,
) -> bool:
    """Move the cursor over a page of `received` records; False when the feed is another's by now.

    Locks the cursor until the caller's transaction ends, so nobody takes the feed while a page is merged.
    """
    params = {
        "feed": cursor.feed,
        "run_id": cursor.run_id,
        "fencing": cursor.fencing,
        "number": cursor.position.number,
        "at": cursor.position.at,
        "page": cursor.position.next_page,
        "to": str(to),
        "to_number": to.number,
        "to_at": to.at,
        "to_page": to.next_page,
        "made_at": to.made_at,
        "latest": latest,
        "received": received,
        "lease": lease,
        "shift": shift,
    }
    return await execute(conn, MOVE, params) == 1


COUNT: Final = """
UPDATE registry.sync_run
   SET inserted = inserted + %(inserted)s, updated = updated + %(updated)s, unchanged = unchanged + %(unchanged)s,
       removed = removed + %(removed)s, ignored = ignored + %(ignored)s, quarantined = quarantined + %(quarantined)s
 WHERE id = %(run_id)s
"""


async def count(conn: Conn, cursor: Cursor, counts: Counts) -> None:
    await execute(conn, COUNT, {"run_id": cursor.run_id, **asdict(counts)})


FINISH: Final = """
WITH released AS (
    UPDATE registry.sync_cursor
       SET state = %(state)s, lease_until = NULL,
           released_at = CASE WHEN %(outcome)s = 'stopped' THEN released_at
                              ELSE statement_timestamp() + %(shift)s END,
           not_before = statement_timestamp() + %(shift)s + %(wait)s::interval,
           last_success_at = CASE WHEN %(outcome)s = 'done' THEN statement_timestamp() ELSE last_success_at END,
           last_error_at = CASE WHEN %(outcome)s = 'error' THEN statement_timestamp() ELSE last_error_at END,
           last_error = CASE WHEN %(outcome)s = 'error' THEN %(error)s ELSE last_error END,
           consecutive_failures = CASE %(outcome)s WHEN 'done' THEN 0 WHEN 'error' THEN consecutive_failures + 1
                                                   ELSE consecutive_failures END
     WHERE feed = %(feed)s AND fencing = %(fencing)s AND lease_until IS NOT NULL
    RETURNING feed
)
UPDATE registry.sync_run SET outcome = %(outcome)s, error = %(error)s, ended_at = statement_timestamp()
  FROM released WHERE id = %(run_id)s
"""


async def finish(
    conn: Conn,
    cursor: Cursor,
    outcome: str,
    *,
    error: str | None = None,
    wait: timedelta | None = None,
    shift: timedelta = NO_SHIFT,
) -> bool:
    """End the run and give the feed back; False when it was another's already.

    `wait`: nobody asks the register again before. A run that was stopped is followed by the next one at once.
    """
    states = {"done": "idle", "stopped": "idle"}
    state = "needs_resync" if error == "needs_resync" else states.get(outcome, "error")
    params = {
        "feed": cursor.feed,
        "run_id": cursor.run_id,
        "fencing": cursor.fencing,
        "outcome": outcome,
        "state": state,
        "error": error,
        "wait": wait,
        "shift": shift,
    }
    return await execute(conn, FINISH, params) == 1


# Full synchronisation

RELOAD: Final = """
UPDATE registry.sync_cursor
   SET generation = generation + fresh, position = CASE fresh WHEN 1 THEN 0 ELSE position END,
       position_at = CASE fresh WHEN 1 THEN NULL ELSE position_at END,
       next_page = CASE fresh WHEN 1 THEN NULL ELSE next_page END,
       reloading = true, allow_large_removal = %(allow)s, fencing = fencing + 1, lease_until = NULL,
       released_at = NULL, state = CASE WHEN state = 'needs_resync' THEN 'idle' ELSE state END
  FROM (SELECT CASE WHEN reloading AND state <> 'needs_resync' THEN 0 ELSE 1 END AS fresh
          FROM registry.sync_cursor WHERE feed = %(feed)s FOR UPDATE) AS n
 WHERE feed = %(feed)s
"""


async def begin_reload(conn: Conn, feed: Feed, *, allow_large_removal: bool) -> None:
    """Let the feed be read from its beginning; one that is under way goes on. A run that holds the feed loses it."""
    await execute(conn, RELOAD, {"feed": feed, "allow": allow_large_removal})


RELOADED: Final = """
UPDATE registry.sync_cursor
   SET reloading = %(held_back)s > 0, allow_large_removal = false, held_back = %(held_back)s
 WHERE feed = %(feed)s AND fencing = %(fencing)s AND lease_until IS NOT NULL
"""


async def end_reload(conn: Conn, cursor: Cursor, *, held_back: int) -> bool:
    """All of the feed has been read. `held_back`: rows to be removed that a person must allow first.

    False when the feed is another's by now.
    """
    params = {"feed": cursor.feed, "fencing": cursor.fencing, "held_back": held_back}
    return await execute(conn, RELOADED, params) == 1


# What people look at, and what is thrown away


@dataclass(frozen=True, slots=True)
class Status:
    """A feed as an operator sees it. `behind`: changes that are not here yet, where the register counts them."""

    feed: str
    state: str
    position: str
    behind: int | None
    generation: int
    reloading: bool
    held_back: int
    quarantined: int
    held: bool
    not_before: datetime | None
    last_started_at: datetime | None
    last_success_at: datetime | None
    age: timedelta | None
    last_error_at: datetime | None
    last_error: str | None
    consecutive_failures: int
    pages_total: int
    rows_total: int


STATUS: Final = """
SELECT feed, state, coalesce(position_at::text, position::text), upstream_latest - position, generation, reloading,
       held_back, (SELECT count(*) FROM registry.quarantine q WHERE q.feed = c.feed AND q.resolved_at IS NULL),
       coalesce(lease_until > statement_timestamp(), false),
       CASE WHEN not_before > statement_timestamp() THEN not_before END,
       last_started_at, last_success_at, statement_timestamp() - last_success_at, last_error_at, last_error,
       consecutive_failures, pages_total, rows_total
  FROM registry.sync_cursor c ORDER BY feed DESC
"""


async def statuses(conn: ReadConn) -> list[Status]:
    return await fetch(conn, STATUS, {}, Status)


PRUNE: Final = """
WITH people AS (
    DELETE FROM registry.person WHERE deleted AND source = 'krr' AND changed_at < %(now)s - interval '30 days'
    RETURNING 1
), addresses AS (
    DELETE FROM registry.org_address_removed WHERE removed_at < %(now)s - interval '30 days' RETURNING 1
), payloads AS (
    UPDATE registry.quarantine SET payload = NULL
     WHERE payload IS NOT NULL AND last_seen_at < %(now)s - interval '30 days' RETURNING 1
), resolved AS (
    DELETE FROM registry.quarantine WHERE resolved_at < %(now)s - interval '400 days' RETURNING 1
), runs AS (
    DELETE FROM registry.sync_run WHERE started_at < statement_timestamp() - interval '400 days' RETURNING 1
)
SELECT (SELECT count(*) FROM people) + (SELECT count(*) FROM addresses) + (SELECT count(*) FROM payloads)
     + (SELECT count(*) FROM resolved) + (SELECT count(*) FROM runs)
"""


async def prune(conn: Conn, *, now: datetime) -> int:
    """Drop what has been kept long enough (registries 7.7)."""
    return int(await fetch_value(conn, PRUNE, {"now": now}))
