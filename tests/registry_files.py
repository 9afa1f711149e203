"""Files of people, and loads of them, for tests of the bulk load."""

import csv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.domain.identifiers import synthetic_person_id
from varsel.recipients.load.job import Loaded, Options, load
from varsel.recipients.load.rows import Kind
from varsel.recipients.personas import ORGANISATIONS, PERSONS

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
P1, P2 = PERSONS["P1"], PERSONS["P2"]
O1, O2 = ORGANISATIONS["O1"], ORGANISATIONS["O2"]

Fields = Mapping[str, str]


def write(path: Path, rows: Iterable[Fields], delimiter: str = ",") -> Path:
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def people(count: int, *, bad: int = 0, first: int = 0) -> list[Fields]:
    """Synthetic people; the first `bad` of them without a right identity number."""
    return [
        {"id": "123" if n < bad else synthetic_person_id(1, first + n), "email": f"person.{n}@example.com"}
        for n in range(count)
    ]


async def run(
    database: Database, kind: Kind, *files: Path, production: bool = False, now: datetime = NOW, **options: Any
) -> Loaded:
    return await load(database, kind, files, Options(**options), clock=ManualClock(now), production=production)


async def emails(database: Database) -> dict[str, str | None]:
    """Of persons, by identity number: all that the table holds."""
    async with database.reading() as conn:
        return dict(await fetch(conn, "SELECT subject_key, email FROM registry.person", {}, lambda *row: row))


async def versions(database: Database) -> set[str]:
    """The physical place and age of each person's row: another one after any write."""
    async with database.reading() as conn:
        return set(await fetch(conn, "SELECT ctid::text || xmin::text FROM registry.person", {}, str))
