"""What every benchmark stands on: a private, durable database with people in it, and real processes of Varsel."""

import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from varsel.clock import SystemClock
from varsel.db import Database
from varsel.embedded import Embedded
from varsel.issuer import CREATOR_SCOPES, DevelopmentIssuer
from varsel.migrate import migrate
from varsel.recipients.generate import MAX_ORGANISATIONS, MAX_PERSONS, Population, write
from varsel.recipients.load.folder import load_folder
from varsel.recipients.load.job import Options

_SEED: Final = 2026
_FRESH: Final = timedelta(days=500)
_PEOPLE: Final = "people"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Size:
    """How much each benchmark does. `quick` shows that it works, and says little about speed.

    `full`: registers as large as a country's, not a tenth of them.
    """

    quick: bool = False
    full: bool = False

    def of(self, full: int) -> int:
        return max(1, full // 10) if self.quick else full

    @property
    def country(self) -> tuple[int, int]:
        """Persons and organisations."""
        share = 1 if self.full else 100 if self.quick else 10
        return MAX_PERSONS // share, MAX_ORGANISATIONS // share


class Ground:
    """The server, its template database, and the identity numbers of the people in it."""

    def __init__(self, home: Path, server: Embedded, size: Size) -> None:
        self.home = home
        self.server = server
        self.size = size
        self.people: list[str] = []
        self.issuer = DevelopmentIssuer(home)

    async def prepare(self, persons: int) -> None:
        """Fill the template."""
        async with self._administering() as conn:
            await conn.execute(f"CREATE DATABASE {_PEOPLE}")
        folder = self.home / "registers"
        folder.mkdir()
        today = datetime.now(UTC).date()
        write(Population(persons, 0, _SEED, today), folder, lambda _: None)
        self.people = _reachable(folder / "persons.csv", today)
        db = Database(self._dsn(_PEOPLE), size=2, name="bench")
        await db.open()
        try:
            await migrate(db)
            await load_folder(db, folder, Options(), clock=SystemClock(), production=False)
        finally:
            await db.close()

    @asynccontextmanager
    async def empty_database(self) -> AsyncIterator[Database]:
        """A database of one's own, with our tables and nothing in them."""
        async with self.database("template1") as db:
            await migrate(db)
            yield db

    @asynccontextmanager
    async def database(self, template: str = _PEOPLE) -> AsyncIterator[Database]:
        """A database of one's own, with the people in it. `Database.dsn` is for processes."""
        name = f"bench_{next(_numbers)}"
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        async with self._administering() as conn:
            await conn.execute(made)
        db = Database(self._dsn(name), size=8, name="bench")
        await db.open()
        try:
            yield db
        finally:
            await db.close()
            async with self._administering() as conn:
                await conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
                await conn.execute("CHECKPOINT")  # so that nobody pays for who came before

    def token(self, org: str = "ttd") -> str:
        return self.issuer.mint(org, CREATOR_SCOPES, timedelta(hours=2))

    def _dsn(self, name: str) -> str:
        return make_conninfo(self.server.dsn, dbname=name)

    @asynccontextmanager
    async def _administering(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(self.server.dsn, autocommit=True) as conn:
            yield conn


def _reachable(file: Path, today: date) -> list[str]:
    """Identity numbers by which an email reaches somebody: not reserved, and with an address that is fresh."""
    oldest = (today - _FRESH).isoformat()
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            row["id"] for row in csv.DictReader(lines) if row["reserved"] == "false" and row["email_updated"] >= oldest
        ]
