"""SQL of the page of registries: how much our copies hold, and when they last changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import ReadConn, fetch, fetch_one

_EXACT_BELOW: Final = 50_000
_TABLES: Final = (
    "person",
    "organisation",
    "org_address",
    "party_user",
    "user_org_contact",
    "self_identified_contact",
    "role_assignment",
)


@dataclass(frozen=True, slots=True)
class Copy:
    """A table of ours. `exact`: whether `rows` was counted, which takes too long for a large one."""

    table: str
    rows: int
    exact: bool


# reltuples is -1 for a table that was never analysed; such a one is small, or has just been filled
ESTIMATES: Final = """
SELECT relname, reltuples::bigint FROM pg_class
 WHERE relnamespace = 'registry'::regnamespace AND relname = ANY(%(tables)s)
"""

COUNTS: Final = """
SELECT (SELECT count(*) FROM (SELECT FROM registry.person LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.organisation LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.org_address LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.party_user LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.user_org_contact LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.self_identified_contact LIMIT %(limit)s) t),
       (SELECT count(*) FROM (SELECT FROM registry.role_assignment LIMIT %(limit)s) t)
"""


async def copies(conn: ReadConn) -> list[Copy]:
    """In a fixed order. Of a table with very many rows the planner's estimate."""
    estimated = dict(await fetch(conn, ESTIMATES, {"tables": list(_TABLES)}, _pair))
    counted = await fetch_one(conn, COUNTS, {"limit": _EXACT_BELOW}, _all)
    assert counted is not None
    found = []
    for table, rows in zip(_TABLES, counted, strict=True):
        exact = rows < _EXACT_BELOW
        found.append(Copy(table, rows if exact else max(rows, estimated[table]), exact))
    return found


@dataclass(frozen=True, slots=True)
class Load:
    kind: str
    refused: bool
    rows: int
    bad_rows: int
    ended_at: datetime


LOADS: Final = """
SELECT DISTINCT ON (kind) kind, state = 'refused', rows, bad_rows, ended_at
  FROM registry.import_job ORDER BY kind, id DESC
"""


async def last_loads(conn: ReadConn) -> list[Load]:
    """The last load of each kind of file, newest first."""
    return sorted(await fetch(conn, LOADS, {}, Load), key=lambda load: load.ended_at, reverse=True)


def _pair(name: str, rows: int) -> tuple[str, int]:
    return name, rows


def _all(*counted: int) -> tuple[int, ...]:
    return counted
