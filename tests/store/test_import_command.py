"""`varsel import` and `varsel generate`, as a person runs them."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from varsel.cli.main import cli
from varsel.db import Database, fetch_value

P1 = "14838510036"


def varsel(*args: object, dsn: str | None = None) -> Result:
    variables = {"VARSEL_DATABASE_URL": dsn, "VARSEL_CONFIG": None, "VARSEL_ENVIRONMENT": None, "VARSEL_HOME": None}
    return CliRunner().invoke(cli, [str(arg) for arg in args], env=variables, catch_exceptions=False)


def counted(dsn: str, table: str) -> int:
    async def count() -> int:
        database = Database(dsn, size=1, name="test")
        await database.open()
        try:
            async with database.reading() as conn:
                return int(await fetch_value(conn, f"SELECT count(*) FROM registry.{table}", {}))
        finally:
            await database.close()

    return asyncio.run(count())


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.csv"
    file.write_text(f"id,email\n{P1},a@example.com\n")
    return file


def test_what_generate_writes_import_all_loads(tmp_path: Path, dsn: str) -> None:
    folder = tmp_path / "new" / "folder"
    written = varsel("generate", "--persons", 50, "--organisations", 20, "--today", "2026-11-23", folder)
    assert written.exit_code == 0, written.output
    loaded = varsel("import", "all", folder, dsn=dsn)
    assert loaded.exit_code == 0, loaded.output
    assert (counted(dsn, "person"), counted(dsn, "organisation"), counted(dsn, "role_assignment")) == (50, 20, 20)


def test_the_personas_are_loaded_without_a_file(dsn: str) -> None:
    assert varsel("import", "personas", dsn=dsn).exit_code == 0
    assert counted(dsn, "person") == 15


def test_the_result_is_there_for_programs_too(people: Path, dsn: str) -> None:
    result: list[dict[str, Any]] = json.loads(varsel("import", "persons", people, "--json", dsn=dsn).stdout)
    assert [(r["kind"], r["outcome"], r["inserted"]) for r in result] == [("persons", "done", 1)]


def test_bad_lines_are_shown_and_a_refusal_is_a_failure(tmp_path: Path, dsn: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text("id,email\n14838510037,a@example.com\n")
    result = varsel("import", "persons", file, "--errors", tmp_path / "bad.csv", dsn=dsn)
    assert result.exit_code == 1
    assert "people.csv, line 2, id: identity-number" in result.stderr
    assert "Nothing of persons was loaded" in result.stderr
    assert "14838510037" not in result.output
    assert (tmp_path / "bad.csv").read_text().count("\n") == 2
    assert counted(dsn, "person") == 0


def test_validate_runs_without_a_database(people: Path, tmp_path: Path) -> None:
    result = varsel("import", "persons", people, "--mode", "validate", "--home", tmp_path / "empty")
    assert result.exit_code == 0, result.output
    assert "valid" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["persons"], "one or more files"),
        (["all"], "one folder"),
        (["personas", "FILE"], "no files"),
        (["persons", "FILE", "--delimiter", "||"], "one character"),
        (["persons", "FILE", "--delimiter", ";"], "lacks the column id"),
        (["persons", "FILE", "--max-bad", "101"], "101"),
        (["persons", "FILE", "--errors", "/dev/full/none"], "done"),  # not needed, so not opened
        (["people", "FILE"], "people"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(people: Path, dsn: str, arguments: list[str], words: str) -> None:
    result = varsel("import", *(people if a == "FILE" else a for a in arguments), dsn=dsn)
    assert words in result.output
    assert "Traceback" not in result.output
    assert (result.exit_code == 0) == (words == "done")


def test_a_database_without_this_releases_schema_is_told_to_migrate(people: Path, empty_dsn: str) -> None:
    result = varsel("import", "persons", people, dsn=empty_dsn)
    assert result.exit_code == 2
    assert "varsel migrate" in result.stderr


def test_without_a_running_home_the_remedy_is_named(people: Path, tmp_path: Path) -> None:
    result = varsel("import", "persons", people, "--home", tmp_path / "empty")
    assert result.exit_code == 2
    assert "varsel up" in result.stderr


def test_an_error_file_that_cannot_be_written_is_named(tmp_path: Path, dsn: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text("id\n1\n")
    result = varsel("import", "persons", file, "--errors", tmp_path / "missing" / "bad.csv", dsn=dsn)
    assert result.exit_code == 2
    assert "bad.csv: No such file" in result.stderr


def test_on_a_terminal_a_bar_shows_how_far_a_load_is(people: Path) -> None:
    ours, theirs = os.openpty()
    command = (sys.executable, "-m", "varsel", "import", "persons", people, "--mode", "validate")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}
    done = subprocess.run(
        command, stderr=theirs, stdout=subprocess.PIPE, check=True, env=environment | {"TERM": "xterm"}
    )
    os.close(theirs)
    shown = os.read(ours, 100_000)
    os.close(ours)
    assert b"Loading" in shown
    assert f"{people.stat().st_size}".encode() in shown
    assert b"Loading" not in done.stdout
