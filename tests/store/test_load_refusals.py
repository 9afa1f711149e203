"""What a bulk load refuses, how it says so, and that it then leaves the old data (registries 7.5)."""

import csv
from pathlib import Path

import psycopg
import pytest

from registry_files import NOW, O1, P1, P2, Fields, emails, people, run, versions, write
from varsel.clock import ManualClock
from varsel.db import Database, fetch_value
from varsel.domain.errors import Rejected, Unavailable
from varsel.domain.identifiers import check_digits, synthetic_organisation_number
from varsel.recipients.load.job import Mode, Options, Outcome, load
from varsel.recipients.load.rows import Kind

# Without a synthetic offset, yet nobody's: individual numbers 500-749 were never given for a year 40-53.
REAL = next(f"140345{n}{digits}" for n in range(600, 700) if (digits := check_digits(f"140345{n}")))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


@pytest.mark.assertion("registries", 105)
async def test_half_a_percent_of_bad_lines_is_passed_over_and_reported(database: Database, file: Path) -> None:
    loaded = await run(database, Kind.PERSONS, write(file, people(400, bad=2)))
    assert (loaded.outcome, loaded.lines, loaded.bad, loaded.inserted) == (Outcome.DONE, 400, 2, 398)
    assert loaded.errors is not None
    with loaded.errors.open(newline="") as errors:
        reported = [(row["file"], row["line"], row["column"], row["code"]) for row in csv.DictReader(errors)]
    assert reported == [("file.csv", "2", "id", "identity-number"), ("file.csv", "3", "id", "identity-number")]
    assert [problem.line for problem in loaded.problems] == [2, 3]


@pytest.mark.assertion("registries", 105)
async def test_two_percent_of_bad_lines_change_nothing(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, people(10)))
    before = await versions(database)
    refused = await run(database, Kind.PERSONS, write(file, people(400, bad=8)))
    assert (refused.outcome, refused.bad, refused.inserted) == (Outcome.REFUSED, 8, 0)
    assert await versions(database) == before
    assert (await run(database, Kind.PERSONS, file, max_bad=2)).outcome is Outcome.DONE


async def test_a_file_without_bad_lines_leaves_no_error_file(database: Database, file: Path) -> None:
    loaded = await run(database, Kind.PERSONS, write(file, people(3)))
    assert loaded.errors is None
    assert [path.name for path in file.parent.iterdir()] == ["file.csv"]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Kind.PERSONS, {"id": "14838510037"}),
        (Kind.PERSONS, {"id": P1, "email": "hemmelig.navn@@example.com"}),
        (Kind.PERSONS, {"id": P1, "mobile": "+4712345678901"}),
        (Kind.PERSONS, {"id": P1, "reserved": P2}),
        (Kind.PERSONS, {"id": P1, "language": "hemmelig.navn@example.com"}),
        (Kind.PERSONS, {"id": P1, "first_name": "HEMMELIG\x01NAVN"}),
        (Kind.ORG_ADDRESSES, {"org_no": O1, "kind": "sms", "address": "hemmelig.navn@example.com"}),
        (Kind.USERS, {"user_id": P1}),
    ],
)
async def test_an_error_report_shows_no_identity_and_no_address(
    database: Database, file: Path, kind: Kind, wrong: Fields
) -> None:
    refused = await run(database, kind, write(file, [wrong]))
    assert refused.outcome is Outcome.REFUSED
    assert refused.errors is not None
    report = refused.errors.read_text() + repr(refused)
    for secret in (P1, P2, "14838510037", "hemmelig.navn", "HEMMELIG", "12345678901"):
        assert secret not in report


async def test_a_refused_load_is_not_taken_for_the_last_one_done(database: Database, file: Path) -> None:
    write(file, people(10, bad=5))
    assert (await run(database, Kind.PERSONS, file)).outcome is Outcome.REFUSED
    assert (await run(database, Kind.PERSONS, file)).outcome is Outcome.REFUSED


async def test_replace_refuses_to_remove_more_than_it_may(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, people(40)))
    before = await versions(database)
    refused = await run(database, Kind.PERSONS, write(file, people(37)), mode=Mode.REPLACE)
    assert refused.outcome is Outcome.REFUSED
    assert "3 of 40" in refused.why
    assert await versions(database) == before
    assert (await run(database, Kind.PERSONS, file, mode=Mode.REPLACE, max_removed=10)).removed == 3


async def test_two_rows_that_share_a_unique_value_are_refused_by_its_name(database: Database, file: Path) -> None:
    rows = [{"org_no": synthetic_organisation_number(1, n), "party_id": "7"} for n in range(2)]
    with pytest.raises(Rejected, match="organisation_party_id_key"):
        await run(database, Kind.ORGANISATIONS, write(file, rows))
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT count(*) FROM registry.organisation", {}) == 0


@pytest.mark.assertion("registries", 113)
async def test_a_real_identity_number_stops_the_load_outside_production(database: Database, file: Path) -> None:
    write(file, [*people(500), {"id": REAL}])
    with pytest.raises(Rejected, match="production") as caught:
        await run(database, Kind.PERSONS, file, max_bad=100)
    assert REAL not in str(caught.value)
    assert await emails(database) == {}
    assert (await run(database, Kind.PERSONS, file, production=True)).inserted == 501


async def test_numbers_published_with_the_reform_may_be_loaded_anywhere(database: Database, file: Path) -> None:
    assert (await run(database, Kind.PERSONS, write(file, [{"id": "02013299911"}]))).inserted == 1


@pytest.mark.assertion("registries-faults", 26)
async def test_a_load_that_breaks_off_leaves_the_old_data_and_the_next_one_works(
    database: Database, tmp_path: Path
) -> None:
    await run(database, Kind.PERSONS, write(tmp_path / "old.csv", people(10)))
    before = await versions(database)
    new = write(tmp_path / "new.csv", people(5_000, first=10))

    def break_off(_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await load(
            database, Kind.PERSONS, [new], Options(), clock=ManualClock(NOW), production=False, progress=break_off
        )
    assert await versions(database) == before
    assert (await run(database, Kind.PERSONS, new)).inserted == 5_000


async def test_a_database_that_dies_in_the_middle_is_unavailable_and_keeps_the_old_data(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    await run(database, Kind.PERSONS, write(tmp_path / "old.csv", people(10)))
    before = await versions(database)
    new = write(tmp_path / "new.csv", people(20_000, first=10))

    def cut(_bytes: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%'")

    with pytest.raises(Unavailable):
        await load(database, Kind.PERSONS, [new], Options(), clock=ManualClock(NOW), production=False, progress=cut)
    assert await versions(database) == before
