"""Synthetic people and organisations as files (registries 1.6, 8): repeatable, valid, nobody's."""

import asyncio
import csv
import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from varsel.clock import ManualClock
from varsel.domain.address import valid_email, valid_mobile
from varsel.domain.identifiers import is_d_number, month_offset, valid_organisation_number, valid_person_id
from varsel.recipients import personas
from varsel.recipients.generate import Population, count_lines, write
from varsel.recipients.load.folder import load_folder
from varsel.recipients.load.job import Mode, Options
from varsel.recipients.load.rows import Kind

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def generate(folder: Path, *, persons: int = 3_000, organisations: int = 1_000, seed: int = 1) -> dict[str, str]:
    """The text of each file by its name."""
    folder.mkdir(exist_ok=True)
    write(Population(persons, organisations, seed, TODAY), folder, lambda _lines: None)
    return {path.name: path.read_text() for path in folder.iterdir()}


def read(folder: Path, kind: Kind) -> list[dict[str, str]]:
    with (folder / f"{kind}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    generate(folder)
    return folder


def test_the_same_seed_and_day_give_the_same_files_and_another_seed_gives_others(tmp_path: Path) -> None:
    first = generate(tmp_path / "a", persons=200, organisations=100)
    assert generate(tmp_path / "b", persons=200, organisations=100) == first
    other = generate(tmp_path / "c", persons=200, organisations=100, seed=2)
    assert [name for name in first if first[name] == other[name]] == ["rules.csv"]


def test_a_smaller_population_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    small = generate(tmp_path / "a", persons=10, organisations=10)
    large = generate(tmp_path / "b", persons=100, organisations=100)
    assert all(large[name].startswith(text) for name, text in small.items())


def test_everything_that_is_generated_can_be_loaded(folder: Path) -> None:
    options = Options(mode=Mode.VALIDATE)
    results = asyncio.run(load_folder(None, folder, options, clock=ManualClock(NOW), production=False))
    assert {r.kind for r in results} == set(Kind) - {Kind.DELEGATIONS, Kind.EXTERNAL_IDENTITIES}
    assert sum(r.bad for r in results) == 0


def test_people_are_distinct_synthetic_and_none_of_the_personas(folder: Path) -> None:
    numbers = [row["id"] for row in read(folder, Kind.PERSONS)]
    assert len(set(numbers)) == len(numbers) == 3_000
    assert all(valid_person_id(number) and month_offset(number) == 80 for number in numbers)
    assert not set(numbers) & set(personas.PERSONS.values())
    assert 0.02 < sum(map(is_d_number, numbers)) / len(numbers) < 0.06


def test_organisations_are_distinct_valid_and_none_of_the_personas(folder: Path) -> None:
    rows = read(folder, Kind.ORGANISATIONS)
    numbers = [row["org_no"] for row in rows]
    assert len(set(numbers)) == len(numbers) == 1_000
    assert all(map(valid_organisation_number, numbers))
    assert not set(numbers) & set(personas.ORGANISATIONS.values())
    parent_of = {row["org_no"]: row["parent_org_no"] for row in rows}
    parents = {parent for parent in parent_of.values() if parent}
    assert sum(map(bool, parent_of.values())) == 300
    assert not any(parent_of[parent] for parent in parents)  # a main unit has none itself


def test_people_fall_into_every_situation_in_the_expected_shares(folder: Path) -> None:
    limit = (TODAY - timedelta(days=600)).isoformat()

    def situation(row: dict[str, str]) -> tuple[str, str]:
        return tuple(  # type: ignore[return-value]  # two columns, two states
            "none" if not row[name] else "stale" if row[f"{name}_updated"] <= limit else "fresh"
            for name in ("email", "mobile")
        )

    rows = read(folder, Kind.PERSONS)
    share = {which: count / len(rows) * 100 for which, count in Counter(map(situation, rows)).items()}
    expected = {
        ("none", "none"): 3,
        ("fresh", "none"): 6,
        ("none", "fresh"): 8,
        ("stale", "fresh"): 10,
        ("stale", "stale"): 7,
        ("fresh", "fresh"): 66,
    }
    assert share.keys() == expected.keys()
    assert all(abs(share[which] - expected[which]) < 3 for which in expected)
    assert 3 < sum(row["reserved"] == "true" for row in rows) / len(rows) * 100 < 7


def test_every_address_is_valid_nobodys_and_no_script_of_a_simulator(folder: Path) -> None:
    addresses = [
        field
        for kind in (Kind.PERSONS, Kind.ORG_ADDRESSES, Kind.USER_ADDRESSES)
        for row in read(folder, kind)
        for column, field in row.items()
        if column in {"email", "mobile", "phone", "address"} and field
    ]
    emails = [address for address in addresses if "@" in address]
    numbers = [address for address in addresses if "@" not in address]
    assert len(emails) > 3_000
    assert len(numbers) > 3_000
    assert all(valid_email(email) for email in emails)
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)?\.[0-9]+@example\.com", email) for email in emails)
    assert all(valid_mobile(number) for number in numbers)
    assert all("+4799999500" <= number <= "+4799999999" and len(number) == 11 for number in numbers)


def test_users_are_people_with_a_role_in_their_organisation(folder: Path) -> None:
    users = {row["user_id"]: row["person_id"] for row in read(folder, Kind.USERS)}
    assert len(users) == 1_000
    assert set(users.values()) <= {row["id"] for row in read(folder, Kind.PERSONS)}
    roles = {(row["user_id"], row["org_no"]) for row in read(folder, Kind.ROLES)}
    addresses = {(row["user_id"], row["org_no"]) for row in read(folder, Kind.USER_ADDRESSES)}
    assert 400 < len(addresses) < 600
    assert addresses <= roles


def test_ten_people_alone_can_be_generated(tmp_path: Path) -> None:
    files = generate(tmp_path, persons=10, organisations=0)
    assert files["persons.csv"].count("\n") == 11
    assert files["users.csv"].count("\n") == 1


@pytest.mark.parametrize(("persons", "organisations"), [(0, 1), (6_000_001, 1), (1, -1), (1, 1_200_001)])
def test_a_population_out_of_bounds_is_refused(persons: int, organisations: int) -> None:
    with pytest.raises(ValueError, match="from"):
        Population(persons, organisations, 1, TODAY)


def test_progress_counts_every_line(tmp_path: Path) -> None:
    population = Population(2_000, 500, 1, TODAY)
    steps: list[int] = []
    write(population, tmp_path, steps.append)
    written = sum(path.read_text().count("\n") for path in tmp_path.iterdir())
    assert sum(steps) == written
    assert 0.8 < count_lines(population) / written < 1.2


def test_addresses_of_the_personas_are_no_script_either(tmp_path: Path) -> None:
    personas.write(tmp_path, NOW)
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    numbers = set(re.findall(r"\+47\d{8}", text))
    assert len(numbers) > 10
    assert all("+4799999500" <= number <= "+4799999999" for number in numbers)
    local_parts = {email.split("@")[0].lower() for email in re.findall(r"[\w.]+@[\w.]+", text)}
    assert {part for part in local_parts if "." not in part} == {"guest"}
