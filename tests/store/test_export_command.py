"""`varsel export`: what it writes, `varsel import` loads into an installation that answers the same."""

import asyncio
import csv
import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from varsel.cli.main import cli
from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.recipients.load.folder import load_personas
from varsel.recipients.load.rows import COLUMNS, Kind
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import DEMO_RESOURCE, GUEST, OLD_USER, ORGANISATIONS, PERSONS
from varsel.settings import RegistrySettings

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
URNS = [f"urn:altinn:person:idporten-email:{GUEST}", f"urn:altinn:party:username:{OLD_USER}"]


async def varsel(dsn: str, *args: object) -> Result:
    variables = {"VARSEL_DATABASE_URL": dsn, "VARSEL_CONFIG": None, "VARSEL_ENVIRONMENT": None, "VARSEL_HOME": None}
    words = [str(arg) for arg in args]
    return await asyncio.to_thread(CliRunner().invoke, cli, words, env=variables, catch_exceptions=False)


async def answers(database: Database) -> list[Mapping[Any, Any] | frozenset[Any]]:
    """Everything that a directory can be asked about the personas."""
    directory = LocalDirectory(database, RegistrySettings())
    numbers = list(ORGANISATIONS.values())
    pairs = [(number, user) for number in numbers for user in (101, 102, 103)]
    return [
        await directory.persons(PERSONS.values(), allow_stale=False, now=NOW),
        await directory.persons(PERSONS.values(), allow_stale=True, now=NOW),
        await directory.organisations(numbers),
        await directory.external_identities(URNS),
        await directory.user_addresses(numbers, DEMO_RESOURCE),
        await directory.permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW),
        await directory.names([*PERSONS.values(), *numbers]),
    ]


@pytest.mark.assertion("registries", 108)
async def test_what_was_exported_and_loaded_elsewhere_answers_the_same(
    database: Database, dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    await load_personas(database, clock=ManualClock(NOW))
    written = await varsel(dsn, "export", "all", tmp_path / "new" / "folder")
    assert written.exit_code == 0, written.output
    assert "persons: 14 rows" in written.output or "persons: 15 rows" in written.output
    files = list((tmp_path / "new" / "folder").iterdir())
    assert {file.stem for file in files} == {kind.value for kind in Kind}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert (await varsel(empty_dsn, "migrate")).exit_code == 0
    loaded = await varsel(empty_dsn, "import", "all", tmp_path / "new" / "folder", "--as-registered", "--max-bad", 0)
    assert loaded.exit_code == 0, loaded.output
    other = Database(empty_dsn, size=2, name="other")
    await other.open()
    try:
        assert await answers(other) == await answers(database)
        assert any((await answers(other))[0])
    finally:
        await other.close()


async def test_every_column_is_one_that_is_read(database: Database, dsn: str) -> None:
    for kind, columns in COLUMNS.items():
        written = await varsel(dsn, "export", kind, "-")
        header = next(csv.reader(io.StringIO(written.stdout)))
        assert columns.required <= set(header) <= columns.required | columns.optional, kind


async def test_each_export_is_written_down(database: Database, dsn: str, tmp_path: Path) -> None:
    await load_personas(database, clock=ManualClock(NOW))
    assert (await varsel(dsn, "export", "organisations", tmp_path / "o.csv")).exit_code == 0
    async with database.reading() as conn:
        log = await fetch(conn, "SELECT purpose, kind, found, revealed FROM registry.lookup_log", {}, lambda *row: row)
    assert log == [("export", "organisations", 7, True)]


async def test_a_file_that_cannot_be_written_is_named_and_an_old_one_stays(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    refused = await varsel(dsn, "export", "persons", tmp_path / "no" / "folder.csv")
    assert (refused.exit_code, "folder.csv" in refused.output) == (2, True)
    assert (await varsel(dsn, "export", "all", "-")).exit_code == 2
    old = tmp_path / "persons.csv"
    old.write_text("old")
    await database.close()
    nowhere = await varsel("host=127.0.0.1 port=1", "export", "persons", old)
    assert nowhere.exit_code == 2
    assert old.read_text() == "old"
    assert [path.name for path in os.scandir(tmp_path)] == [old.name]
