"""What a bulk load stores (registries 7.5)."""

import gzip
import json
from datetime import timedelta
from pathlib import Path

import pytest

from registry_files import NOW, O1, O2, P1, Fields, emails, people, run, versions, write
from varsel.clock import ManualClock
from varsel.db import Database, execute, fetch, fetch_value
from varsel.domain.identifiers import synthetic_organisation_number
from varsel.recipients.load.folder import load_folder, load_personas
from varsel.recipients.load.formats import Form
from varsel.recipients.load.job import Mode, Options, Outcome, load
from varsel.recipients.load.rows import COLUMNS, Kind
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


FULL_LINES: dict[Kind, Fields] = {
    Kind.PERSONS: {
        "id": P1,
        "reserved": "true",
        "email": "a@example.com",
        "email_updated": "2026-01-02",
        "email_verified": "2026-02-03T04:05:06Z",
        "mobile": "99999501",
        "mobile_updated": "2026-01-02T03:04:05+01:00",
        "mobile_verified": "2026-01-02",
        "language": "NB",
        "first_name": "ROLIG",
        "middle_name": "VÅR",
        "last_name": "FJORD",
        "deleted": "false",
    },
    Kind.ORGANISATIONS: {
        "org_no": O2,
        "name": "AVDELING",
        "parent_org_no": O1,
        "party_id": "50001",
        "party_uuid": "7d0f2a66-0000-4000-8000-000000000001",
        "unit_type": "BEDR",
        "deleted": "false",
    },
    Kind.ORG_ADDRESSES: {
        "org_no": O1,
        "kind": "sms",
        "address": "004799999521",
        "registry_id": "abc",
        "label": "Vakt",
        "updated": "2026-01-02",
        "accepted": "true",
        "deleted": "false",
    },
    Kind.USERS: {
        "user_id": "101",
        "user_uuid": "7d0f2a66-0000-4000-8000-000000000002",
        "person_id": P1,
        "username": "rolig",
        "kind": "person",
    },
    Kind.USER_ADDRESSES: {
        "user_id": "101",
        "org_no": O1,
        "email": "b@example.com",
        "phone": "+4799999522",
        "resources": "urn:altinn:resource:demo-resource other_resource",
        "last_changed": "2026-01-02",
    },
    Kind.ROLES: {"user_id": "101", "org_no": O1, "role": "leder", "valid_from": "2026-01-02", "valid_to": "2027-01-02"},
    Kind.RULES: {"resource_id": "*", "action": "read", "role": "leder"},
    Kind.DELEGATIONS: {
        "user_id": "101",
        "org_no": O1,
        "resource_id": "demo-resource",
        "action": "read",
        "valid_from": "2026-01-02",
        "valid_to": "2027-01-02",
    },
    Kind.EXTERNAL_IDENTITIES: {
        "username": "OldUser1",  # or `idporten_email`
        "user_id": "202",
        "email": "gammel.bruker@example.com",
        "phone": "99999542",
    },
}
EITHER = {Kind.USER_ADDRESSES: {"phone"}, Kind.EXTERNAL_IDENTITIES: {"username"}}  # a line needs one of two


@pytest.mark.parametrize("kind", Kind)
async def test_every_column_of_a_kind_is_stored_and_a_second_load_changes_nothing(
    database: Database, file: Path, kind: Kind
) -> None:
    assert set(FULL_LINES[kind]) == COLUMNS[kind].required | COLUMNS[kind].optional - {"idporten_email"}
    write(file, [FULL_LINES[kind]])
    first = await run(database, kind, file)
    again = await run(database, kind, file, force=True, now=NOW + timedelta(days=1))
    assert (first.outcome, first.inserted) == (Outcome.DONE, 1)
    assert (again.outcome, again.inserted, again.updated, again.unchanged) == (Outcome.DONE, 0, 0, 1)


@pytest.mark.parametrize("kind", Kind)
async def test_the_required_columns_alone_are_enough(database: Database, file: Path, kind: Kind) -> None:
    needed = COLUMNS[kind].required | EITHER.get(kind, set())
    write(file, [{name: field for name, field in FULL_LINES[kind].items() if name in needed}])
    assert (await run(database, kind, file)).inserted == 1


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.RULES])
async def test_a_changed_field_updates_the_row(database: Database, file: Path, kind: Kind) -> None:
    changes = {
        Kind.PERSONS: {"last_name": "SKOG"},
        Kind.ORGANISATIONS: {"parent_org_no": ""},
        Kind.ORG_ADDRESSES: {"label": ""},
        Kind.USERS: {"username": "annen"},
        Kind.USER_ADDRESSES: {"resources": ""},
        Kind.ROLES: {"valid_to": ""},
        Kind.DELEGATIONS: {"valid_to": ""},
        Kind.EXTERNAL_IDENTITIES: {"phone": ""},
    }
    await run(database, kind, write(file, [FULL_LINES[kind]]))
    changed = await run(database, kind, write(file, [{**FULL_LINES[kind], **changes[kind]}]))
    assert (changed.inserted, changed.updated, changed.unchanged) == (0, 1, 0)


async def test_numbers_are_stored_in_one_form_and_names_of_resources_without_prefix(
    database: Database, tmp_path: Path
) -> None:
    for kind in (Kind.PERSONS, Kind.ORG_ADDRESSES, Kind.USER_ADDRESSES):
        await run(database, kind, write(tmp_path / f"{kind}.csv", [FULL_LINES[kind]]))
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT mobile FROM registry.person", {}) == "+4799999501"
        assert await fetch_value(conn, "SELECT address FROM registry.org_address", {}) == "+4799999521"
        resources = await fetch_value(conn, "SELECT resources FROM registry.user_org_contact", {})
    assert resources == ["demo-resource", "other_resource"]


@pytest.mark.assertion("registries", 106)
async def test_the_same_file_is_skipped_and_force_writes_no_row(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, people(10)))
    before = await versions(database)
    assert (await run(database, Kind.PERSONS, file)).outcome is Outcome.SKIPPED
    forced = await run(database, Kind.PERSONS, file, force=True, now=NOW + timedelta(days=1))
    assert (forced.outcome, forced.unchanged) == (Outcome.DONE, 10)
    assert await versions(database) == before


async def test_another_load_in_between_makes_the_first_file_news_again(database: Database, tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", [{"id": P1, "email": "one@example.com"}])
    two = write(tmp_path / "two.csv", [{"id": P1, "email": "two@example.com"}])
    for file in (one, two, one):
        assert (await run(database, Kind.PERSONS, file)).outcome is Outcome.DONE
    assert await emails(database) == {P1: "one@example.com"}


async def test_the_last_line_of_a_repeated_key_wins_over_all_files(database: Database, tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{n}.csv", [{"id": P1, "email": f"{n}.{m}@example.com"} for m in range(3)]) for n in range(2)
    ]
    loaded = await run(database, Kind.PERSONS, *files)
    assert (loaded.lines, loaded.repeated, loaded.inserted) == (6, 5, 1)
    assert await emails(database) == {P1: "1.2@example.com"}


@pytest.mark.assertion("registries", 107)
async def test_replace_removes_what_the_file_lacks_but_never_rows_of_a_feed(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, people(40)))
    async with database.autocommit() as conn:
        await execute(
            conn,
            "INSERT INTO registry.person (subject_key, reserved, email, source, changed_at)"
            " VALUES (%(id)s, false, 'feed@example.com', 'krr', %(now)s)",
            {"id": P1, "now": NOW},
        )
    replaced = await run(database, Kind.PERSONS, write(file, people(39)), mode=Mode.REPLACE)
    assert (replaced.outcome, replaced.removed, replaced.unchanged) == (Outcome.DONE, 1, 39)
    assert set(await emails(database)) == {row["id"] for row in people(39)} | {P1}


async def test_a_file_does_not_change_rows_of_a_feed(database: Database, file: Path) -> None:
    async with database.autocommit() as conn:
        await execute(
            conn,
            "INSERT INTO registry.person (subject_key, reserved, email, source, changed_at)"
            " VALUES (%(id)s, false, 'feed@example.com', 'krr', %(now)s)",
            {"id": P1, "now": NOW},
        )
    await run(database, Kind.PERSONS, write(file, [{"id": P1, "email": "file@example.com"}]))
    assert await emails(database) == {P1: "feed@example.com"}


async def test_a_value_that_must_be_unique_can_move_from_a_removed_row(database: Database, file: Path) -> None:
    one, two = (synthetic_organisation_number(1, n) for n in range(2))
    await run(database, Kind.ORGANISATIONS, write(file, [{"org_no": one, "party_id": "7"}]))
    write(file, [{"org_no": two, "party_id": "7"}])
    moved = await run(database, Kind.ORGANISATIONS, file, mode=Mode.REPLACE, max_removed=100)
    assert (moved.inserted, moved.removed) == (1, 1)


async def test_validate_reads_every_line_and_needs_no_database(file: Path) -> None:
    write(file, people(400, bad=2))
    options = Options(mode=Mode.VALIDATE)
    loaded = await load(None, Kind.PERSONS, [file], options, clock=ManualClock(NOW), production=False)
    assert (loaded.outcome, loaded.lines, loaded.bad) == (Outcome.VALID, 400, 2)


async def test_all_forms_of_a_file_say_the_same(database: Database, tmp_path: Path) -> None:
    rows: list[Fields] = [
        {"user_id": "101", "org_no": O1, "email": 'a"b@example.com', "phone": "", "resources": "demo-resource other"},
        {"user_id": "102", "org_no": O1, "email": "b@blåbær.example", "phone": "+4799999502", "resources": ""},
    ]
    rows[0] = {**rows[0], "email": "a@example.com"}
    plain = write(tmp_path / "a.csv", rows)
    semicolons = write(tmp_path / "b.csv", rows, delimiter=";")
    marked = tmp_path / "c.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    packed = tmp_path / "d.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    lines = tmp_path / "e.jsonl"
    lines.write_text(
        "".join(
            json.dumps({**row, "user_id": int(row["user_id"]), "resources": row["resources"].split() or None}) + "\n"
            for row in rows
        )
    )
    assert (await run(database, Kind.USER_ADDRESSES, plain)).inserted == 2
    for file in (marked, packed, lines):
        assert (await run(database, Kind.USER_ADDRESSES, file)).unchanged == 2, file.name
    assert (await run(database, Kind.USER_ADDRESSES, semicolons, form=Form(delimiter=";"))).unchanged == 2


async def test_assume_fresh_dates_addresses_that_have_no_date(database: Database, file: Path) -> None:
    directory = LocalDirectory(database, RegistrySettings())
    rows = [{"id": P1, "email": "a@example.com", "mobile": "+4799999501", "mobile_updated": "2020-01-01"}]
    await run(database, Kind.PERSONS, write(file, rows))
    assert (await directory.persons([P1], allow_stale=False, now=NOW))[P1].email is None
    await run(database, Kind.PERSONS, file, assume_fresh=True)
    person = (await directory.persons([P1], allow_stale=False, now=NOW))[P1]
    assert (person.email, person.mobile) == ("a@example.com", None)


async def test_of_a_deleted_person_nothing_is_kept(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, [FULL_LINES[Kind.PERSONS]]))
    await run(database, Kind.PERSONS, write(file, [{**FULL_LINES[Kind.PERSONS], "deleted": "true"}]))
    async with database.reading() as conn:
        kept = await fetch_value(
            conn, "SELECT concat(email, mobile, first_name, last_name, email_fresh_at) FROM registry.person", {}
        )
    assert kept == ""


async def test_addresses_of_an_organisation_keep_the_order_of_the_file(database: Database, file: Path) -> None:
    addresses = [f"{name}@example.com" for name in ("zeta", "alfa", "midt")]
    rows = [{"org_no": O1, "kind": "email", "address": address} for address in addresses]
    await run(database, Kind.ORG_ADDRESSES, write(file, rows))
    found = await LocalDirectory(database, RegistrySettings()).organisations([O1])
    assert found[O1].emails == tuple(addresses)


async def test_every_load_leaves_a_record_of_what_it_did(database: Database, file: Path) -> None:
    await run(database, Kind.PERSONS, write(file, people(200, bad=1)))
    await run(database, Kind.PERSONS, write(file, people(2, bad=1)))
    async with database.reading() as conn:
        jobs = await fetch(
            conn,
            "SELECT kind, file_name, state, rows, bad_rows, inserted FROM registry.import_job ORDER BY id",
            {},
            lambda *row: row,
        )
    assert jobs == [("persons", "file.csv", "done", 200, 1, 199), ("persons", "file.csv", "refused", 2, 1, 0)]


async def test_a_folder_is_loaded_until_a_file_is_refused(database: Database, tmp_path: Path) -> None:
    write(tmp_path / "organisations.csv", [FULL_LINES[Kind.ORGANISATIONS]])
    write(tmp_path / "persons.csv", [{"id": "1"}])
    write(tmp_path / "roles.csv", [FULL_LINES[Kind.ROLES]])
    results = await load_folder(database, tmp_path, Options(), clock=ManualClock(NOW), production=False)
    assert [(r.kind, r.outcome) for r in results] == [
        (Kind.ORGANISATIONS, Outcome.DONE),
        (Kind.PERSONS, Outcome.REFUSED),
    ]


async def test_the_personas_can_be_loaded_again_later(database: Database) -> None:
    clock = ManualClock(NOW)
    first = await load_personas(database, clock=clock)
    clock.advance(timedelta(days=1))
    again = await load_personas(database, clock=clock)
    assert {r.outcome for r in (*first, *again)} == {Outcome.DONE}
    assert sum(r.inserted for r in first) == sum(r.updated + r.unchanged for r in again)
    assert sum(r.bad for r in first) == 0


@pytest.mark.assertion("registries", 109, 110, 112)
@pytest.mark.assertion("registries-faults", 44)
async def test_the_copies_are_kept_as_they_came_by_one_role(database: Database, tmp_path: Path) -> None:
    """The opposite of pseudonyms, encryption and roles, which wait until somebody asks for them (design 8)."""
    await run(database, Kind.PERSONS, write(tmp_path / "people.csv", [{"id": P1, "email": "a@example.com"}]))
    assert await emails(database) == {P1: "a@example.com"}
    async with database.reading() as conn:
        ours = "SELECT bool_and(grantee = current_user) FROM information_schema.table_privileges"
        assert await fetch_value(conn, f"{ours} WHERE table_schema = 'registry'", {}) is True
