"""SQL of the rows of bulk jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from varsel.bulk.job import Flaw, JobId, Progress, RowProblem, RowState
from varsel.bulk.rows import Checked
from varsel.bulk.table import Row
from varsel.db import Conn, ReadConn, copy_rows, execute, fetch, fetch_value
from varsel.domain.ids import OrderId

COPY = "COPY bulk_row (job_id, line, fields) FROM STDIN"

ROWS = """
SELECT line, fields FROM bulk_row WHERE job_id = %(job)s AND line > %(after)s ORDER BY line LIMIT %(limit)s
"""

MARK = """
UPDATE bulk_row r SET state = t.state, key = t.key, problems = string_to_array(t.problems, chr(10)), order_id = NULL
  FROM unnest(%(lines)s::int[], %(states)s::text[], %(keys)s::bytea[], %(problems)s::text[])
       AS t (line, state, key, problems)
 WHERE r.job_id = %(job)s AND r.line = ANY(%(lines)s::int[]) AND r.line = t.line
"""

# Keys of an earlier wish stand on lines after the check's own: only lines before a row's own count.
REPEATED = """
SELECT r.line FROM bulk_row r
 WHERE r.job_id = %(job)s AND r.line = ANY(%(lines)s) AND r.state = 'ready'
   AND EXISTS (SELECT FROM bulk_row e WHERE e.job_id = r.job_id AND e.key = r.key AND e.line < r.line)
"""

SKIP = "UPDATE bulk_row SET state = 'duplicate' WHERE job_id = %(job)s AND line = ANY(%(lines)s)"

READY = """
SELECT line, fields FROM bulk_row
 WHERE job_id = %(job)s AND state = 'ready' AND (%(upto)s::int IS NULL OR line <= %(upto)s)
 ORDER BY line LIMIT %(limit)s
"""

ORDERED = """
UPDATE bulk_row r SET state = t.state, order_id = t.order_id
  FROM unnest(%(lines)s::int[], %(states)s::text[], %(orders)s::uuid[]) AS t (line, state, order_id)
 WHERE r.job_id = %(job)s AND r.line = ANY(%(lines)s::int[]) AND r.line = t.line AND r.state = 'ready'
"""

STOP = "UPDATE bulk_row SET state = 'stopped' WHERE job_id = %(job)s AND state = 'ready'"

COUNT = "SELECT state, count(*)::int FROM bulk_row WHERE job_id = %(job)s GROUP BY state"

IN_FLIGHT = "SELECT count(*) FROM bulk_row WHERE job_id = %(job)s AND state = 'ordered'"

OPEN = """
SELECT EXISTS (SELECT FROM bulk_row WHERE job_id = %(job)s AND state = 'ready')
    OR EXISTS (SELECT FROM bulk_row WHERE job_id = %(job)s AND state IN ('ordered', 'handed'))
"""

# An order has the fate of the best of its messages.
_FATE: LiteralString = """CASE
       WHEN o.state IN ('Registered', 'Processing') THEN 'ordered'
       WHEN o.state = 'Processed' THEN CASE WHEN n.leaving THEN 'ordered' ELSE 'handed' END
       WHEN n.delivered THEN 'delivered'
       WHEN n.accepted THEN 'unconfirmed'
       WHEN n.failed THEN 'failed'
       ELSE 'notSent' END"""
_MESSAGES: LiteralString = """LATERAL (
       SELECT bool_or(state IN ('new', 'claimed', 'unknown')) AS leaving, bool_or(state = 'delivered') AS delivered,
              bool_or(state = 'accepted') AS accepted,
              bool_or(state = 'expired' OR state = 'failed' AND reason <> ALL(%(stopped)s)) AS failed,
              array_agg(channel::text || ' ' || state::text || ' ' || coalesce(reason, '') ORDER BY id) AS told
         FROM notification WHERE order_id = r.order_id) n"""

LOOK = f"""
SELECT r.line, {_FATE}
  FROM (SELECT line, order_id FROM bulk_row
         WHERE job_id = %(job)s AND state = %(state)s AND order_id IS NOT NULL AND line > %(after)s
         ORDER BY line LIMIT %(limit)s) r
  JOIN orders o ON o.id = r.order_id CROSS JOIN {_MESSAGES}
"""

# The lines stand there twice: nobody knows how many rows a young job has, and a join by them alone can be any pair.
CHANGE = """
UPDATE bulk_row r SET state = t.state
  FROM unnest(%(lines)s::int[], %(states)s::text[]) AS t (line, state)
 WHERE r.job_id = %(job)s AND r.line = ANY(%(lines)s::int[]) AND r.line = t.line AND r.state = %(state)s
"""

PROBLEMS = """
SELECT line, problems FROM bulk_row WHERE job_id = %(job)s AND state = 'bad' ORDER BY line LIMIT %(limit)s
"""

LINES = """
SELECT line FROM bulk_row WHERE job_id = %(job)s AND state = %(state)s ORDER BY line LIMIT %(limit)s
"""

# As it is at this moment: the rows' own states may be a look behind.
RESULTS = f"""
SELECT r.line, CASE WHEN o.id IS NULL THEN r.state ELSE {_FATE} END, r.fields, r.problems, r.order_id, n.told
  FROM (SELECT line, state, fields, problems, order_id FROM bulk_row
         WHERE job_id = %(job)s AND line > %(after)s ORDER BY line LIMIT %(limit)s) r
  LEFT JOIN orders o ON o.id = r.order_id CROSS JOIN {_MESSAGES}
 ORDER BY r.line
"""

_CHANGED_AT_ONCE: Final = 1_000
_STOPPED_REASONS: Final = ("Failed_RecipientReserved", "Failed_RecipientNotIdentified", "Failed_SupressedRecipient")


@dataclass(frozen=True, slots=True)
class Look:
    """How many rows were looked at, the last of them, and how many are in another state now."""

    rows: int
    last: int | None
    changed: int


@dataclass(frozen=True, slots=True)
class Result:
    """`messages`: channel, state and reason of each, apart by blanks."""

    line: int
    state: RowState
    fields: tuple[str, ...]
    problems: tuple[RowProblem, ...]
    order: OrderId | None
    messages: tuple[str, ...]


async def add(conn: Conn, job: JobId, rows: Sequence[Row]) -> None:
    await copy_rows(conn, COPY, ((job, row.line, list(row.fields)) for row in rows))


async def rows_after(conn: ReadConn, job: JobId, after: int, *, limit: int) -> list[Row]:
    return await fetch(conn, ROWS, {"job": job, "after": after, "limit": limit}, _row)


async def mark(conn: Conn, job: JobId, rows: Sequence[Checked], *, skip: bool) -> frozenset[int]:
    """Store what the check found. Returns the lines of rows that repeat an earlier one; they are left out if `skip`."""
    params = {
        "job": job,
        "lines": [row.line for row in rows],
        "states": [(RowState.BAD if row.problems else RowState.READY).value for row in rows],
        "keys": [row.key for row in rows],
        "problems": [_packed(row.problems) for row in rows],
    }
    await execute(conn, MARK, params)
    lines = await fetch(conn, REPEATED, {"job": job, "lines": params["lines"]}, int)
    if skip and lines:
        await execute(conn, SKIP, {"job": job, "lines": lines})
    return frozenset(lines)


async def ready(conn: ReadConn, job: JobId, *, limit: int, upto: int | None = None) -> list[Row]:
    """Rows that are to be ordered, in order of their lines."""
    return await fetch(conn, READY, {"job": job, "limit": limit, "upto": upto}, _row)


async def ordered(conn: Conn, job: JobId, outcomes: Iterable[tuple[int, RowState, OrderId | None]]) -> None:
    lines, states, orders = zip(*outcomes, strict=True)
    params = {"job": job, "lines": list(lines), "states": [s.value for s in states], "orders": list(orders)}
    await execute(conn, ORDERED, params)


async def stop(conn: Conn, job: JobId) -> int:
    return await execute(conn, STOP, {"job": job})


async def count(conn: ReadConn, job: JobId) -> Progress:
    found = await fetch(conn, COUNT, {"job": job}, lambda state, n: (RowState(state), n))
    return Progress(dict(found))


async def in_flight(conn: ReadConn, job: JobId) -> int:
    """Rows that are ordered and that no provider has yet."""
    return int(await fetch_value(conn, IN_FLIGHT, {"job": job}))


async def any_open(conn: ReadConn, job: JobId) -> bool:
    """Whether a row waits to be ordered, or for its fate."""
    return bool(await fetch_value(conn, OPEN, {"job": job}))


async def look(conn: Conn, job: JobId, state: RowState, *, after: int, limit: int) -> Look:
    """See what has become of rows in this state that were ordered."""
    params = {"job": job, "state": state.value, "after": after, "limit": limit, "stopped": list(_STOPPED_REASONS)}
    found = await fetch(conn, LOOK, params, lambda line, now: (line, now))
    changed = [each for each in found if each[1] != state]
    for start in range(0, len(changed), _CHANGED_AT_ONCE):
        lines, states = zip(*changed[start : start + _CHANGED_AT_ONCE], strict=True)
        await execute(conn, CHANGE, {"job": job, "state": state.value, "lines": list(lines), "states": list(states)})
    return Look(len(found), max((line for line, _ in found), default=None), len(changed))


async def problems(conn: ReadConn, job: JobId, *, limit: int) -> list[RowProblem]:
    """Those of the first so many bad rows."""
    found = await fetch(conn, PROBLEMS, {"job": job, "limit": limit}, _unpacked)
    return [problem for row in found for problem in row]


async def lines_in(conn: ReadConn, job: JobId, state: RowState, *, limit: int) -> list[int]:
    return await fetch(conn, LINES, {"job": job, "state": state.value, "limit": limit}, int)


async def results(conn: ReadConn, job: JobId, after: int, *, limit: int) -> list[Result]:
    params = {"job": job, "after": after, "limit": limit, "stopped": list(_STOPPED_REASONS)}
    return await fetch(conn, RESULTS, params, _result)


def _row(line: int, fields: list[str]) -> Row:
    return Row(line, tuple(fields))


def _packed(problems: Sequence[RowProblem]) -> str | None:
    """Flaw and column in turn; neither has a line break."""
    return "\n".join(f"{p.problem}\n{p.column}" for p in problems) or None


def _unpacked(line: int, packed: list[str] | None) -> tuple[RowProblem, ...]:
    words = packed or []
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple(RowProblem(line, column, Flaw(problem)) for problem, column in pairs)


def _result(line: int, state: str, fields: list[str], packed: list[str] | None, order: Any, messages: Any) -> Result:
    return Result(
        line, RowState(state), tuple(fields), _unpacked(line, packed), order and OrderId(order), tuple(messages or ())
    )
