"""Migrations: numbered SQL files, forward only, under an advisory lock; and the monthly partitions."""

import hashlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from varsel.db import Conn, Database, ReadConn, execute, fetch, fetch_value
from varsel.domain.ids import uuid7_floor
from varsel.log import Log

log = Log(__name__)

_LOCK: Final = 8_310_001
_MONTHS_AHEAD: Final = 3

_QUEUE: Final = "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0"
_STORE: Final = "autovacuum_vacuum_scale_factor = 0.1"


@dataclass(frozen=True, slots=True)
class _Parent:
    """A table that is partitioned by `key`. PostgreSQL refuses the rest on the parent, so each leaf gets it."""

    table: str
    key: str
    options: str
    unique: str | None = None


_PARTITIONED: Final = (
    _Parent("orders", "id", _QUEUE),
    _Parent("order_content", "order_id", _STORE),
    _Parent("notification", "id", _QUEUE),
    _Parent("attempt", "notification_id", _STORE),
    _Parent("message_part", "notification_id", _STORE),
    _Parent("delivery_report", "id", _QUEUE, unique="provider, event_key"),
)

_TRIED = "SELECT to_regclass('schema_migration') IS NOT NULL"
_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number     int PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT statement_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class SchemaMismatch(Exception):
    """The database's schema is not the one this release knows; the message says what to do."""


def known_migrations() -> list[Migration]:
    files = (f for f in resources.files("varsel.migrations").iterdir() if f.name.endswith(".sql"))
    return sorted(
        (Migration(int(f.name.split("_")[0]), f.name.removesuffix(".sql"), f.read_text()) for f in files),
        key=lambda m: m.number,
    )


async def migrate(db: Database) -> list[str]:
    """Apply what is missing, one transaction each, and make the partitions. Returns the names applied.

    Any number of processes may call it at once. Raises `SchemaMismatch` when an applied file was changed since.
    """
    applied = []
    for migration in known_migrations():
        async with db.transaction() as conn:
            await execute(conn, "SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
            await execute(conn, "SET LOCAL lock_timeout = '10s'", {})
            await execute(conn, _LEDGER, {})
            checksum = await fetch_value(
                conn, "SELECT checksum FROM schema_migration WHERE number = %(n)s", {"n": migration.number}
            )
            if checksum is None:
                await execute(conn, migration.sql.replace("%", "%%"), {})
                await execute(
                    conn,
                    "INSERT INTO schema_migration (number, name, checksum) VALUES (%(n)s, %(name)s, %(sum)s)",
                    {"n": migration.number, "name": migration.name, "sum": migration.checksum},
                )
                applied.append(migration.name)
                log.info("migration applied", migration=migration.name)
            elif checksum != migration.checksum:
                raise SchemaMismatch(f"migration {migration.name} was changed after it had been applied")
    async with db.transaction() as conn:
        await make_partitions(conn, datetime.now(UTC))
    return applied


async def pending_migrations(db: Database) -> list[str]:
    """Names of the migrations that the database lacks; empty when this release can run on it."""
    async with db.reading() as conn:
        if not await fetch_value(conn, _TRIED, {}):
            return [m.name for m in known_migrations()]
        have = set(await fetch(conn, "SELECT number FROM schema_migration", {}, int))
    return [m.name for m in known_migrations() if m.number not in have]


async def strange_migrations(db: Database) -> list[str]:
    """Names of the migrations that the database has, and this release does not know, or knows with another text."""
    known = {(m.number, m.checksum) for m in known_migrations()}
    async with db.reading() as conn:
        rows = await fetch(conn, "SELECT number, checksum, name FROM schema_migration ORDER BY number", {}, _applied)
    return [name for number, checksum, name in rows if (number, checksum) not in known]


def _applied(number: int, checksum: str, name: str) -> tuple[int, str, str]:
    return number, checksum, name


async def missing_partitions(conn: ReadConn, today: datetime) -> list[str]:
    """Leaves of this month and the next two that nobody has made: a worker makes them daily, and one month more."""
    months = [_month(today, ahead) for ahead in range(_MONTHS_AHEAD)]
    leaves = [f"{parent.table}_{month:%Y_%m}" for parent in _PARTITIONED for month in months]
    sql = "SELECT leaf FROM unnest(%(leaves)s::text[]) AS l (leaf) WHERE to_regclass(leaf) IS NULL"
    return await fetch(conn, sql, {"leaves": leaves}, str)


async def make_partitions(conn: Conn, today: datetime) -> None:
    """Leaves from last month to three months ahead, and a default leaf that health watches. Safe to repeat.

    `today` is machine time: partitions follow the ids, and ids come from the host's clock.
    """
    await execute(conn, "SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
    await execute(conn, "SET LOCAL lock_timeout = '10s'", {})
    months = [_month(today, ahead) for ahead in range(-1, _MONTHS_AHEAD + 2)]
    for parent in _PARTITIONED:
        if await _lacks(conn, default := f"{parent.table}_default"):
            await _create_leaf(conn, parent, default)
            await execute(conn, f"ALTER TABLE {parent.table} ATTACH PARTITION {default} DEFAULT", {})
        for start, end in itertools.pairwise(months):
            if await _lacks(conn, leaf := f"{parent.table}_{start:%Y_%m}"):
                await _create_leaf(conn, parent, leaf)
                await _attach_month(conn, parent, leaf, f"'{uuid7_floor(start)}'", f"'{uuid7_floor(end)}'")


async def _lacks(conn: Conn, leaf: str) -> bool:
    return bool(await fetch_value(conn, "SELECT to_regclass(%(leaf)s) IS NULL", {"leaf": leaf}))


async def _create_leaf(conn: Conn, parent: _Parent, leaf: str) -> None:
    like = f"LIKE {parent.table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    await execute(conn, f"CREATE TABLE {leaf} ({like}) WITH ({parent.options})", {})
    if parent.unique:
        await execute(conn, f"CREATE UNIQUE INDEX {leaf}_event ON {leaf} ({parent.unique})", {})


async def _attach_month(conn: Conn, parent: _Parent, leaf: str, low: str, high: str) -> None:
    """Attach a month's leaf. Rows that came while it was missing lie in the default leaf, and would refuse it."""
    default = f"{parent.table}_default"
    await execute(conn, f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE", {})
    late = f"DELETE FROM {default} WHERE {parent.key} >= {low} AND {parent.key} < {high} RETURNING *"  # noqa: S608 - ours
    await execute(conn, f"WITH late AS ({late}) INSERT INTO {leaf} SELECT * FROM late", {})  # noqa: S608 - names are ours
    await execute(conn, f"ALTER TABLE {parent.table} ATTACH PARTITION {leaf} FOR VALUES FROM ({low}) TO ({high})", {})


def _month(day: datetime, ahead: int) -> datetime:
    index = day.year * 12 + day.month - 1 + ahead
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
