"""Migrations: numbered SQL files, forward only, under an advisory lock; and the monthly partitions."""

import hashlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from varsel.db import Conn, Database, execute, fetch, fetch_value
from varsel.domain.ids import uuid7_floor
from varsel.log import Log

log = Log(__name__)

_LOCK: Final = 8_310_001
_MONTHS_AHEAD: Final = 3

# table → storage options of its leaves (PostgreSQL refuses them on the parent), and a unique key of the leaf
_QUEUE: Final = "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0"
_PARTITIONED: Final[dict[str, tuple[str, str | None]]] = {
    "orders": (_QUEUE, None),
    "order_content": ("autovacuum_vacuum_scale_factor = 0.1", None),
    "notification": (_QUEUE, None),
    "attempt": ("autovacuum_vacuum_scale_factor = 0.1", None),
    "delivery_report": (_QUEUE, "provider, event_key"),
}

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


async def make_partitions(conn: Conn, today: datetime) -> None:
    """Leaves from last month to three months ahead, and a default leaf that health watches. Safe to repeat.

    `today` is machine time: partitions follow the ids, and ids come from the host's clock.
    """
    await execute(conn, "SELECT pg_advisory_xact_lock(%(lock)s)", {"lock": _LOCK})
    months = [_month(today, ahead) for ahead in range(-1, _MONTHS_AHEAD + 2)]
    for table, (options, unique) in _PARTITIONED.items():
        await _make_leaf(conn, table, leaf=f"{table}_default", bounds="DEFAULT", options=options, unique=unique)
        for start, end in itertools.pairwise(months):
            bounds = f"FOR VALUES FROM ('{uuid7_floor(start)}') TO ('{uuid7_floor(end)}')"
            await _make_leaf(conn, table, leaf=f"{table}_{start:%Y_%m}", bounds=bounds, options=options, unique=unique)


async def _make_leaf(conn: Conn, table: str, *, leaf: str, bounds: str, options: str, unique: str | None) -> None:
    if await fetch_value(conn, "SELECT to_regclass(%(leaf)s) IS NOT NULL", {"leaf": leaf}):
        return
    await execute(conn, f"CREATE TABLE {leaf} PARTITION OF {table} {bounds} WITH ({options})", {})
    if unique:
        await execute(conn, f"CREATE UNIQUE INDEX {leaf}_event ON {leaf} ({unique})", {})


def _month(day: datetime, ahead: int) -> datetime:
    index = day.year * 12 + day.month - 1 + ahead
    return datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
