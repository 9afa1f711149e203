"""Staging and merging of loaded rows (registries 7.3, 7.5): COPY into a temporary table, then one merge."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

from varsel.db import Conn, ReadConn, UniqueViolation, copy_rows, execute, fetch_one, fetch_value
from varsel.domain.errors import Rejected
from varsel.recipients.load import rows
from varsel.recipients.load.rows import Kind, Row

_LOCK: Final = 8_310_005
_ANALYZE_FROM: Final = 10_000


@dataclass(frozen=True, slots=True)
class Table:
    """Where rows of a kind go. `written_by`: the order in which new rows are numbered; else that of their keys."""

    name: LiteralString
    columns: tuple[LiteralString, ...]
    key: tuple[LiteralString, ...]
    written_by: tuple[LiteralString, ...] = ()


def _table(name: LiteralString, row: type[Row], *key: LiteralString) -> Table:
    return Table(name, row._fields, key)


TABLES: Final[dict[Kind, Table]] = {
    Kind.PERSONS: _table("registry.person", rows.Person, "subject_key"),
    Kind.ORGANISATIONS: _table("registry.organisation", rows.Organisation, "org_no"),
    # an organisation's addresses keep the order of the file; beyond it, in the order of the keys, writing is quicker
    Kind.ORG_ADDRESSES: Table("registry.org_address", rows.OrgAddress._fields, ("registry_id",), ("org_no", "line")),
    Kind.USERS: _table("registry.party_user", rows.User, "user_id"),
    Kind.USER_ADDRESSES: _table("registry.user_org_contact", rows.UserAddress, "org_no", "user_id"),
    Kind.ROLES: _table("registry.role_assignment", rows.Role, "org_no", "user_id", "role", "valid_from"),
    Kind.RULES: _table("registry.resource_rule", rows.Rule, "resource_id", "action", "role"),
    Kind.DELEGATIONS: _table(
        "registry.delegation", rows.Delegation, "org_no", "user_id", "resource_id", "action", "valid_from"
    ),
    Kind.EXTERNAL_IDENTITIES: _table("registry.self_identified_contact", rows.ExternalIdentity, "username"),
}


async def make_stage(conn: Conn, kind: Kind) -> None:
    """A temporary table of this connection, one row for each line."""
    table = TABLES[kind]
    await drop_stage(conn)
    await execute(
        conn,
        f"CREATE TEMP TABLE load_stage AS SELECT 0::bigint AS line, {', '.join(table.columns)} FROM {table.name}"
        " WITH NO DATA",
        {},
    )


async def drop_stage(conn: Conn) -> None:
    await execute(conn, "DROP TABLE IF EXISTS pg_temp.load_stage", {})


async def fill_stage(conn: Conn, staged: Iterable[tuple[object, ...]]) -> int:
    """Each row with its line number before it. Returns how many there were."""
    return await copy_rows(conn, "COPY pg_temp.load_stage FROM STDIN", staged)


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did; `distinct` counts the keys in the file."""

    distinct: int
    inserted: int
    updated: int


async def merge(conn: Conn, kind: Kind, *, now: datetime) -> Merged:
    """Bring the stage into the table; the last line of a key wins, rows of another source stay as they are.

    But the names of people whose contact details a feed brought are taken: no feed has names. Raises `Rejected` when
    two keys share a value that must be unique.
    """
    await execute(conn, "SET LOCAL work_mem = '128MB'", {})
    try:
        merged = await fetch_one(conn, _merge_sql(TABLES[kind], "pg_temp.load_stage"), {"now": now}, Merged)
        if kind is Kind.PERSONS:
            await execute(conn, _names_sql("pg_temp.load_stage"), {"now": now})
    except UniqueViolation as e:
        raise _not_unique(e) from e
    assert merged is not None
    return merged


async def merge_batch(conn: Conn, kind: Kind, batch: Sequence[Row], *, now: datetime) -> Merged:
    """As `merge`, for rows that need no stage."""
    table = TABLES[kind]
    params = {"now": now, "rows": _as_json(table.columns, batch)}
    try:
        merged = await fetch_one(conn, _merge_sql(table, _batch_sql(table)), params, Merged)
        if kind is Kind.PERSONS:
            await execute(conn, _names_sql(_batch_sql(table)), params)
    except UniqueViolation as e:
        raise _not_unique(e) from e
    assert merged is not None
    return merged


async def delete_batch(conn: Conn, kind: Kind, keys: Sequence[tuple[object, ...]]) -> int:
    """Remove rows by their keys, as far as nobody else than files and batches wrote them. Returns how many."""
    table = TABLES[kind]
    same = " AND ".join(f"t.{c} = k.{c}" for c in table.key)
    sql = f"DELETE FROM {table.name} t USING {_batch_sql(table)} k WHERE {same} AND t.source = 'file'"
    return await execute(conn, sql, {"rows": _as_json(table.key, keys)})


async def count_others(conn: ReadConn, kind: Kind, keys: Sequence[tuple[object, ...]]) -> int:
    """How many of these rows somebody else wrote: a feed, or a user."""
    table = TABLES[kind]
    same = " AND ".join(f"t.{c} = k.{c}" for c in table.key)
    chosen = f"SELECT DISTINCT {', '.join(table.key)} FROM {_batch_sql(table)} b"
    sql = f"SELECT count(*) FROM {table.name} t JOIN ({chosen}) k ON {same} WHERE t.source <> 'file'"
    return int(await fetch_value(conn, sql, {"rows": _as_json(table.key, keys)}))


def _batch_sql(table: Table) -> LiteralString:
    """The rows of a batch, with the types of the table, and their places as `line`."""
    records = f"jsonb_populate_recordset(NULL::{table.name}, %(rows)s::jsonb) WITH ORDINALITY"
    return f"(SELECT r.*, r.ordinality AS line FROM {records} AS r)"


def _as_json(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], default=str)


def _not_unique(error: UniqueViolation) -> Rejected:
    return Rejected("not-unique", f"two rows share a value that must be unique: {error.diag.constraint_name}")


def _names_sql(staged: LiteralString) -> LiteralString:
    return f"""
WITH last AS (
    SELECT DISTINCT ON (subject_key) subject_key, first_name, middle_name, last_name
      FROM {staged} s ORDER BY subject_key, line DESC
)
UPDATE registry.person t
   SET first_name = l.first_name, middle_name = l.middle_name, last_name = l.last_name, changed_at = %(now)s
  FROM last l
 WHERE t.subject_key = l.subject_key AND t.source = 'krr' AND NOT t.deleted
   AND coalesce(l.first_name, l.middle_name, l.last_name) IS NOT NULL
   AND (t.first_name, t.middle_name, t.last_name) IS DISTINCT FROM (l.first_name, l.middle_name, l.last_name)
"""


def _merge_sql(table: Table, staged: LiteralString) -> LiteralString:
    key, columns = ", ".join(table.key), ", ".join(table.columns)
    rest = [c for c in table.columns if c not in table.key]
    if rest:
        change = (
            f"UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in rest)}, changed_at = excluded.changed_at"
            f" WHERE t.source = 'file' AND ({', '.join(f't.{c}' for c in rest)})"
            f" IS DISTINCT FROM ({', '.join(f'excluded.{c}' for c in rest)})"
        )
    else:
        change = "NOTHING"
    order = f" ORDER BY {', '.join(table.written_by)}" if table.written_by else ""
    return f"""
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON ({key}) * FROM {staged} s ORDER BY {key}, line DESC
), merged AS (
    INSERT INTO {table.name} AS t ({columns}, source, changed_at)
    SELECT {columns}, 'file', %(now)s FROM last{order}
        ON CONFLICT ({key}) DO {change}
    RETURNING xmax = 0 AS inserted
)
SELECT (SELECT count(*) FROM last), count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows of source 'file': how many there are, and how many of them the stage lacks."""

    present: int
    missing: int


async def count_missing(conn: ReadConn, kind: Kind) -> Missing:
    table = TABLES[kind]
    ours = f"(SELECT count(*) FROM {table.name} t WHERE t.source = 'file'"
    found = await fetch_one(conn, f"SELECT {ours}), {ours} AND {_not_staged(table)})", {}, Missing)
    assert found is not None
    return found


async def remove_missing(conn: Conn, kind: Kind) -> int:
    table = TABLES[kind]
    return await execute(
        conn,
        f"DELETE FROM {table.name} t WHERE t.source = 'file' AND {_not_staged(table)}",
        {},
    )


def _not_staged(table: Table) -> LiteralString:
    return f"NOT EXISTS (SELECT FROM pg_temp.load_stage s WHERE {' AND '.join(f's.{c} = t.{c}' for c in table.key)})"


async def lock(conn: Conn) -> None:
    """Until the end of the transaction: merges never overlap, so they cannot deadlock."""
    await execute(conn, "SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})


async def lock_soon(conn: Conn) -> None:
    """As `lock`, but not for long: raises `Unavailable` (through the transaction) while a large merge runs."""
    await execute(conn, "SET LOCAL lock_timeout = '5s'", {})
    await lock(conn)


async def analyze_stage(conn: Conn) -> None:
    await execute(conn, "ANALYZE pg_temp.load_stage", {})


async def analyze(conn: Conn, kind: Kind, changed: int) -> None:
    """Renew the planner's statistics when enough rows changed."""
    if changed >= _ANALYZE_FROM:
        await execute(conn, f"ANALYZE {TABLES[kind].name}", {})


async def last_checksum(conn: ReadConn, kind: Kind) -> str | None:
    """Of the last load of this kind that was done."""
    value = await fetch_value(
        conn,
        "SELECT checksum FROM registry.import_job WHERE kind = %(kind)s AND state = 'done' ORDER BY id DESC LIMIT 1",
        {"kind": kind},
    )
    return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Job:
    id: UUID
    kind: Kind
    file_name: str
    checksum: str
    state: str
    rows: int
    bad_rows: int
    inserted: int
    updated: int
    unchanged: int
    removed: int
    started_at: datetime
    ended_at: datetime


async def record(conn: Conn, job: Job) -> None:
    await execute(
        conn,
        """
        INSERT INTO registry.import_job (id, kind, file_name, checksum, state, rows, bad_rows, inserted, updated,
               unchanged, removed, started_at, ended_at)
        VALUES (%(id)s, %(kind)s, %(file_name)s, %(checksum)s, %(state)s, %(rows)s, %(bad_rows)s, %(inserted)s,
               %(updated)s, %(unchanged)s, %(removed)s, %(started_at)s, %(ended_at)s)
        """,
        asdict(job),
    )
