"""The local directory's own rules: dates, main units, roles, sizes and faults (registries 2.6, 3.6, 4.7, 7.6)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from varsel.db import Database, ReadConn, execute, fetch
from varsel.domain.errors import RegistryUnavailable
from varsel.recipients import store
from varsel.recipients.local import LocalDirectory
from varsel.recipients.ports import OrganisationContact
from varsel.settings import RegistrySettings

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
P1 = "14838510036"
MAIN, SUB, SUB_OF_SUB = "310001007", "310001015", "310001023"


@pytest.fixture
def directory(database: Database) -> LocalDirectory:
    return LocalDirectory(database, RegistrySettings())


async def put(database: Database, table: LiteralString, **row: Any) -> None:
    """One row of a registry table, as a file load would leave it."""
    row |= {"source": "file", "changed_at": NOW}
    async with database.autocommit() as conn:
        await execute(
            conn, f"INSERT INTO registry.{table} ({', '.join(row)}) VALUES ({', '.join(f'%({c})s' for c in row)})", row
        )


async def person(database: Database, **row: Any) -> None:
    await put(database, "person", subject_key=P1, reserved=False, **row)


async def address(database: Database, org_no: str, **row: Any) -> None:
    await put(database, "org_address", registry_id=f"id-{org_no}", org_no=org_no, kind="email", **row)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.assertion("registries", 30, 31, 32)
@pytest.mark.parametrize(
    ("now", "updated", "verified", "stale"),
    [
        ("2026-11-23 10:00", "2025-03-23", "2026-08-23", False),  # the later of the two counts
        ("2026-11-23 10:00", "2026-08-23", "2025-03-23", False),
        ("2026-11-23 10:00", "2025-03-23", None, True),
        ("2026-11-23 10:00", None, "2026-08-23", False),
        ("2026-11-23 10:00", None, None, True),
        ("2026-11-23 10:00", "2025-05-23 10:00:00", None, False),  # exactly 18 months
        ("2026-11-23 10:00", "2025-05-23 09:59:59", None, True),
        ("2024-08-31 12:00", "2023-02-28 12:00:00", None, False),  # the day is clamped to the month
        ("2024-08-31 12:00", "2023-02-28 11:59:59", None, True),
        ("2025-08-31 12:00", "2024-02-29 12:00:00", None, False),
        ("2025-08-31 12:00", "2024-02-29 11:59:59", None, True),
    ],
)
async def test_an_address_is_stale_when_it_is_older_than_18_calendar_months(
    database: Database, directory: LocalDirectory, now: str, updated: str | None, verified: str | None, stale: bool
) -> None:
    dates = {"updated_at": updated and instant(updated), "verified_at": verified and instant(verified)}
    await person(database, email="a@example.com", **{f"email_{name}": date for name, date in dates.items()})
    found = (await directory.persons([P1], allow_stale=False, now=instant(now)))[P1]
    assert found.email_stale == stale
    assert found.email == (None if stale else "a@example.com")


async def test_nothing_is_stale_when_the_age_limit_is_0(database: Database) -> None:
    await person(database, email="a@example.com", mobile="+4799999501")
    directory = LocalDirectory(database, RegistrySettings(stale_after_months=0))
    found = (await directory.persons([P1], allow_stale=False, now=NOW))[P1]
    assert (found.email, found.email_stale) == ("a@example.com", False)
    assert (found.mobile, found.mobile_stale) == ("+4799999501", False)


async def test_an_address_that_is_not_there_is_not_stale(database: Database, directory: LocalDirectory) -> None:
    await person(database)
    found = (await directory.persons([P1], allow_stale=False, now=NOW))[P1]
    assert not found.email_stale
    assert not found.mobile_stale


async def unit(database: Database, org_no: str, parent: str | None = None, *, deleted: bool = False) -> None:
    await put(database, "organisation", org_no=org_no, parent_org_no=parent, deleted=deleted)


async def test_an_organisation_is_known_by_its_addresses_alone(database: Database, directory: LocalDirectory) -> None:
    await address(database, MAIN, address="a@example.com")
    assert await directory.organisations([MAIN]) == {MAIN: OrganisationContact(("a@example.com",), (), MAIN)}


async def test_a_main_unit_without_addresses_is_present_and_empty(
    database: Database, directory: LocalDirectory
) -> None:
    await unit(database, MAIN)
    assert await directory.organisations([MAIN]) == {MAIN: OrganisationContact((), (), MAIN)}


@pytest.mark.assertion("registries", 53, 54)
async def test_deleted_addresses_are_not_given_and_still_prevent_the_fallback(
    database: Database, directory: LocalDirectory
) -> None:
    await unit(database, MAIN)
    await unit(database, SUB, MAIN)
    await address(database, MAIN, address="a@example.com")
    await address(database, SUB, address="b@example.com", deleted=True)
    assert (await directory.organisations([SUB]))[SUB] == OrganisationContact((), (), SUB)


async def test_the_fallback_uses_accepted_addresses_only_and_goes_one_level_up(
    database: Database, directory: LocalDirectory
) -> None:
    await unit(database, MAIN)
    await unit(database, SUB, MAIN)
    await unit(database, SUB_OF_SUB, SUB)
    await address(database, MAIN, address="a@example.com", accepted=False)
    found = await directory.organisations([SUB, SUB_OF_SUB])
    assert found[SUB] == OrganisationContact((), (), MAIN)
    assert found[SUB_OF_SUB] == OrganisationContact((), (), SUB)


async def test_deleted_organisations_are_unknown_and_no_main_unit_for_others(
    database: Database, directory: LocalDirectory
) -> None:
    await unit(database, MAIN, deleted=True)
    await unit(database, SUB, MAIN)
    await address(database, MAIN, address="a@example.com")
    assert await directory.organisations([MAIN, SUB]) == {SUB: OrganisationContact((), (), SUB)}
    assert set(await directory.names([MAIN, SUB])) == {SUB}


@pytest.mark.assertion("registries", 78)
async def test_a_user_without_any_address_is_not_given(database: Database, directory: LocalDirectory) -> None:
    await put(database, "user_org_contact", user_id=101, org_no=MAIN)
    assert await directory.user_addresses([MAIN], "demo-resource") == {}


async def is_permitted(database: Database, *, org_no: str = MAIN, now: datetime = NOW, inherit: bool = True) -> bool:
    directory = LocalDirectory(database, RegistrySettings(inherit_from_main_unit=inherit))
    return bool(await directory.permitted([(org_no, 101)], resource_id="demo-resource", action="read", now=now))


@pytest.mark.assertion("registries", 85)
@pytest.mark.parametrize(
    ("resource", "action", "permitted"),
    [
        ("demo-resource", "read", True),
        ("*", "read", True),
        ("demo-resource", "*", True),
        ("*", "*", True),
        ("demo-resource", "write", False),
        ("Demo-Resource", "read", False),
        ("other", "read", False),
        (None, None, False),
    ],
)
async def test_a_role_permits_what_a_rule_grants_it_and_nothing_without_a_rule(
    database: Database, resource: str | None, action: str | None, permitted: bool
) -> None:
    await put(database, "role_assignment", org_no=MAIN, user_id=101, role="leder")
    if resource:
        await put(database, "resource_rule", resource_id=resource, action=action, role="leder")
        await put(database, "resource_rule", resource_id="demo-resource", action="read", role="another")
    assert await is_permitted(database) == permitted


@pytest.mark.assertion("registries", 85)
@pytest.mark.parametrize(
    ("table", "right"),
    [("role_assignment", {"role": "leder"}), ("delegation", {"resource_id": "demo-resource", "action": "read"})],
)
async def test_a_right_holds_from_its_first_instant_until_before_its_last(
    database: Database, table: LiteralString, right: dict[str, str]
) -> None:
    start, end = NOW, NOW + timedelta(days=1)
    await put(database, "resource_rule", resource_id="*", action="read", role="leder")
    await put(database, table, org_no=MAIN, user_id=101, valid_from=start, valid_to=end, **right)
    moment = timedelta(microseconds=1)
    judged = [await is_permitted(database, now=now) for now in (start - moment, start, end - moment, end)]
    assert judged == [False, True, True, False]


@pytest.mark.assertion("registries", 85)
async def test_a_role_for_the_main_unit_counts_for_its_subunits_unless_that_is_switched_off(
    database: Database,
) -> None:
    await unit(database, MAIN)
    await unit(database, SUB, MAIN)
    await put(database, "resource_rule", resource_id="*", action="read", role="leder")
    await put(database, "role_assignment", org_no=MAIN, user_id=101, role="leder")
    assert await is_permitted(database, org_no=SUB)
    assert not await is_permitted(database, org_no=SUB, inherit=False)


async def test_a_role_for_a_subunit_does_not_count_for_the_main_unit(database: Database) -> None:
    await unit(database, MAIN)
    await unit(database, SUB, MAIN)
    await put(database, "resource_rule", resource_id="*", action="read", role="leder")
    await put(database, "role_assignment", org_no=SUB, user_id=101, role="leder")
    assert not await is_permitted(database)


async def test_a_single_right_is_for_its_organisation_resource_and_action_only(database: Database) -> None:
    await unit(database, MAIN)
    await unit(database, SUB, MAIN)
    await put(database, "delegation", org_no=MAIN, user_id=101, resource_id="demo-resource", action="read")
    directory = LocalDirectory(database, RegistrySettings())
    pairs = [(MAIN, 101), (MAIN, 102), (SUB, 101)]
    assert await directory.permitted(pairs, resource_id="demo-resource", action="read", now=NOW) == {(MAIN, 101)}
    assert not await directory.permitted(pairs, resource_id="demo-resource", action="write", now=NOW)
    assert not await directory.permitted(pairs, resource_id="other", action="read", now=NOW)


async def test_names_follow_the_order_that_is_set_and_nobody_without_a_name_is_missing(database: Database) -> None:
    await person(database, first_name="ROLIG", last_name="FJORD")
    await put(database, "person", subject_key="nameless", reserved=False)
    await unit(database, MAIN)
    short = LocalDirectory(database, RegistrySettings(person_name_order="short"))
    assert await short.names([P1, "nameless", MAIN, "unknown"]) == {P1: "FJORD ROLIG", "nameless": "", MAIN: ""}


async def many_people(database: Database, count: int) -> list[str]:
    async with database.autocommit() as conn:
        await execute(
            conn,
            "INSERT INTO registry.person (subject_key, reserved, email, source, changed_at)"
            " SELECT lpad(n::text, 11, '0'), false, n || '@example.com', 'file', %(now)s"
            " FROM generate_series(1, %(count)s) AS n",
            {"now": NOW, "count": count},
        )
        await execute(conn, "ANALYZE registry.person", {})
    return [f"{n:011}" for n in range(1, count + 1)]


class CountedDatabase(Database):
    """Counts the connections that were taken for reading: a look-up takes one for each statement."""

    readings = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[ReadConn]:
        self.readings += 1
        async with super().reading() as conn:
            yield conn


@pytest.mark.assertion("registries", 40)
@pytest.mark.parametrize(("asked", "expected"), [(10_000, 1), (50_000, 1), (50_001, 2)])
async def test_any_number_of_people_up_to_50_000_is_one_statement(dsn: str, asked: int, expected: int) -> None:
    database = CountedDatabase(dsn, size=1, name="counted")
    await database.open()
    try:
        ids = await many_people(database, asked)
        found = await LocalDirectory(database, RegistrySettings()).persons(ids, allow_stale=True, now=NOW)
        assert database.readings == expected
        assert found.keys() == set(ids)
        assert found[ids[-1]].email == f"{asked}@example.com"
    finally:
        await database.close()


async def test_a_look_up_among_50_000_people_uses_the_key(database: Database) -> None:
    ids = await many_people(database, 50_000)
    params = {"keys": ids[:100], "allow_stale": False, "months": 18, "now": NOW}
    async with database.reading() as conn:
        plan = "\n".join(await fetch(conn, f"EXPLAIN {store.PERSONS}", params, str))
    assert "person_pkey" in plan
    assert "Seq Scan" not in plan


async def test_a_look_up_of_thousands_of_organisations_reads_no_whole_register(database: Database) -> None:
    numbers = [f"{n:09}" for n in range(20_000)]
    async with database.autocommit() as conn:
        for sql in (
            "INSERT INTO registry.organisation (org_no, source, changed_at) SELECT n, 'file', now() FROM {}",
            "INSERT INTO registry.org_address (registry_id, org_no, kind, address, source, changed_at)"
            " SELECT n, n, 'email', 'post@example.com', 'file', now() FROM {}",
        ):
            await execute(conn, sql.format("unnest(%(numbers)s::text[]) AS u (n)"), {"numbers": numbers})
        await execute(conn, "ANALYZE registry.organisation, registry.org_address", {})
    params = {"numbers": numbers[::4], "usable_only": False}
    async with database.reading() as conn:
        plan = "\n".join(await fetch(conn, f"EXPLAIN {store.ORGANISATIONS}", params, str))
    assert "org_address_org" in plan
    assert "organisation_pkey" in plan
    assert "Seq Scan" not in plan


@pytest.mark.assertion("registries", 39, 82)
async def test_nothing_asked_needs_no_database(dsn: str) -> None:
    directory = LocalDirectory(Database(dsn, size=1, name="never opened"), RegistrySettings())
    assert await directory.persons([], allow_stale=False, now=NOW) == {}
    assert await directory.organisations([]) == {}
    assert await directory.user_addresses([], "demo-resource") == {}
    assert await directory.permitted([], resource_id="demo-resource", action="read", now=NOW) == frozenset()
    assert await directory.names([]) == {}


async def test_without_the_database_every_question_is_unavailable(database: Database) -> None:
    await database.close()
    directory = LocalDirectory(database, RegistrySettings())
    with pytest.raises(RegistryUnavailable):
        await directory.persons([P1], allow_stale=False, now=NOW)
    with pytest.raises(RegistryUnavailable):
        await directory.organisations([MAIN])
    with pytest.raises(RegistryUnavailable):
        await directory.user_addresses([MAIN], "demo-resource")
    with pytest.raises(RegistryUnavailable):
        await directory.permitted([(MAIN, 101)], resource_id="demo-resource", action="read", now=NOW)
    with pytest.raises(RegistryUnavailable):
        await directory.names([P1])


async def test_an_answer_that_takes_too_long_is_unavailable_and_the_next_one_comes(
    database: Database, dsn: str
) -> None:
    await person(database)
    directory = LocalDirectory(database, RegistrySettings(), max_wait=timedelta(milliseconds=100))
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE registry.person IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RegistryUnavailable):
            await directory.persons([P1], allow_stale=False, now=NOW)
    patient = LocalDirectory(database, RegistrySettings())
    assert set(await patient.persons([P1], allow_stale=False, now=NOW)) == {P1}
