"""The copies of the registers: how fast a country is loaded, and looked up while its register changes (registries 7.6).

`--full` takes six million persons, and some ten minutes; otherwise a tenth of that.
"""

import json
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, LiteralString

from bench.figures import Bound, Figure, percentile
from bench.ground import Ground
from bench.processes import count_of, finished, line, running
from varsel.db import Database, ReadConn, execute, fetch, fetch_value
from varsel.recipients.generate import Population, write
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings

_ROOT: Final = Path(__file__).parents[1]
_SEED: Final = 6
_LOADED: Final = ("organisations", "org_addresses", "persons")
_ROWS_IN_FIVE_MINUTES: Final = (6_000_000 + 1_200_000) / 300  # rows/s; addresses come on top
_AT_ONCE: Final = 10_000
_LOOK_UPS: Final = 40
_SAMPLE: Final = 400_000  # of whom people are looked up, and changed

_TABLES: Final[tuple[LiteralString, ...]] = ("person", "organisation", "org_address")
_COLUMNS: Final = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
_PERSONS_ALONE: Final = """
SELECT count(*), sum(length(email)), count(mobile_fresh_at) FROM registry.person WHERE subject_key = ANY(%(keys)s)
"""
_ADDRESSES_ALONE: Final = "SELECT count(*), sum(length(address)) FROM registry.org_address WHERE org_no = ANY(%(keys)s)"


async def run(ground: Ground) -> list[Figure]:
    persons, organisations = ground.size.country
    folder = ground.home / "country"
    _write(folder, persons, organisations)
    async with ground.empty_database() as db:
        loading = await _load(db, folder)
        return [loading, *await _look_up(db, ground.home / "changing")]


def _write(folder: Path, persons: int, organisations: int) -> None:
    """The three kinds that make the country."""
    folder.mkdir()
    write(Population(persons, organisations, _SEED, datetime.now(UTC).date()), folder, lambda _: None)
    for file in folder.iterdir():
        if file.stem not in _LOADED:
            file.unlink()


async def _load(db: Database, folder: Path) -> Figure:
    """By the command, from its start to its end."""
    began = time.perf_counter()
    done = json.loads(finished("varsel", "import", "all", folder, "--json", VARSEL_DATABASE_URL=db.dsn))
    seconds = time.perf_counter() - began
    counts = {each["kind"]: each["inserted"] for each in done}
    rows = sum(counts.values())
    return Figure(
        "registers loaded from files",
        rows / seconds,
        "rows/s",
        Bound("the same rows, written again in the server", rows / await _written_again(db)),
        rows / sum(counts[kind] for kind in ("persons", "organisations")) * _ROWS_IN_FIVE_MINUTES,
        details={"seconds": seconds, **counts},
    )


async def _written_again(db: Database) -> float:
    """Seconds that the server takes to copy the tables, with all indexes."""
    seconds = 0.0
    async with db.autocommit() as conn:
        for table in _TABLES:
            columns = await fetch_value(conn, _COLUMNS, {"table": f"registry.{table}"})
            await execute(conn, f"CREATE TABLE copy_of_{table} (LIKE registry.{table} INCLUDING ALL)", {})
            began = time.perf_counter()
            sql: Any = f"""INSERT INTO copy_of_{table} ({columns}) OVERRIDING SYSTEM VALUE
                           SELECT {columns} FROM registry.{table}"""  # columns of the catalogue
            await execute(conn, sql, {})
            seconds += time.perf_counter() - began
            await execute(conn, f"DROP TABLE copy_of_{table}", {})
        await execute(conn, "CHECKPOINT", {})
    return seconds


async def _look_up(db: Database, changing_people: Path) -> list[Figure]:
    """10 000 at a time, each time others, while the synchronisation changes people."""
    directory = LocalDirectory(db, RegistrySettings())
    now = datetime.now(UTC)
    people, numbers = await _some(db, "person", "subject_key"), await _some(db, "organisation", "org_no")
    _list(people, changing_people)
    with running("bench.changes", db.dsn, changing_people, PYTHONPATH=_ROOT) as changing:
        line(changing)
        persons = await _timed(people, lambda keys: directory.persons(keys, allow_stale=False, now=now))
        organisations = await _timed(numbers, directory.organisations)
        written = count_of(changing)
    return [
        _figure("persons", persons, await _alone(db, people, _PERSONS_ALONE), written),
        _figure("organisations", organisations, await _alone(db, numbers, _ADDRESSES_ALONE), written),
    ]


def _list(numbers: list[str], file: Path) -> None:
    file.write_text("\n".join(numbers))


def _figure(whom: str, milliseconds: list[float], alone: float, written: int) -> Figure:
    return Figure(
        f"{whom} looked up, 10 000 at a time, while the sync writes",
        percentile(milliseconds, 0.5),
        "ms",
        Bound("reading the same rows in the server, nothing written", alone),
        250,
        falls=True,
        details={"p95 ms": percentile(milliseconds, 0.95), "rows written meanwhile": written},
    )


async def _some(db: Database, table: LiteralString, key: LiteralString) -> list[str]:
    """Keys of rows from all over the table, in no order."""
    async with db.reading() as conn:
        share = min(100.0, 100 * _SAMPLE / int(await fetch_value(conn, f"SELECT count(*) FROM registry.{table}", {})))
        sql: LiteralString = f"SELECT {key} FROM registry.{table} TABLESAMPLE BERNOULLI (%(share)s) ORDER BY random()"
        return await fetch(conn, sql, {"share": share}, str)


async def _timed(keys: list[str], ask: Callable[[list[str]], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each look-up, sorted."""
    draws, took = random.Random(_SEED), []  # noqa: S311 - must be repeatable
    for _ in range(_LOOK_UPS):
        some = draws.sample(keys, min(_AT_ONCE, len(keys)))
        began = time.perf_counter()
        await ask(some)
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)


async def _alone(db: Database, keys: list[str], sql: LiteralString) -> float:
    async def ask(some: list[str]) -> None:
        async with db.reading() as conn:
            await _read(conn, sql, some)

    return percentile(await _timed(keys, ask), 0.5)


async def _read(conn: ReadConn, sql: LiteralString, keys: list[str]) -> None:
    await fetch(conn, sql, {"keys": keys}, lambda *row: row)
