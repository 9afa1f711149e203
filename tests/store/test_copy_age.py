"""A copy that follows its register answers only while it is whole and recent (registries 2.7, 9)."""

from datetime import timedelta
from typing import Any

import pytest

from feeds import NOW, Feeds, address, person, running_feeds
from varsel.db import Database, execute
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.identifiers import synthetic_person_id
from varsel.recipients.load.rows import Organisation
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings

P1, O1, O2 = synthetic_person_id(1, 1), "310001007", "310001015"
URLS = {
    "krr_changes_url": "https://krr.example/",
    "business_feed_url": "https://business.example/",
    "maskinporten_issuer": "https://maskinporten.example/",
    "maskinporten_token_url": "https://maskinporten.example/token",
    "maskinporten_client_id": "varsel",
    "maskinporten_jwk": "secret",
}
ON = {**URLS, "krr_sync_enabled": True, "business_sync_enabled": True}


async def known(database: Database, **settings: Any) -> tuple[bool | None, bool | None]:
    """Whether the person and the organisation are known; None for no answer."""
    directory = LocalDirectory(database, RegistrySettings(**settings))
    found: list[bool | None] = []
    for ask in (directory.persons([P1], allow_stale=True, now=NOW), directory.organisations([O1])):
        try:
            found.append(bool(await ask))
        except RegistryUnavailable:
            found.append(None)
    return found[0], found[1]


async def grow_old(feeds: Feeds, age: timedelta) -> None:
    async with feeds.db.autocommit() as conn:
        sql = "UPDATE registry.sync_cursor SET last_success_at = statement_timestamp() - %(age)s"
        await execute(conn, sql, {"age": age})


@pytest.mark.assertion("registries-faults", 1)
@pytest.mark.assertion("registries", 41)
async def test_a_copy_answers_once_it_is_whole_and_while_it_is_recent(database: Database) -> None:
    async with running_feeds(database) as feeds:
        assert await known(database) == (False, False), "without a feed the table is the truth"
        assert await known(database, **ON) == (None, None), "never whole yet"
        feeds.krr.change(person(1))
        feeds.business.world.put(Organisation(O1, None, None, None, None, None, deleted=False))
        feeds.business.change(address("a", O1, "post@example.com"))
        feeds.krr.page_size = 1
        for sync in (feeds.persons(), feeds.addresses()):
            await sync.run()
        assert await known(database, **ON) == (True, True)
        await grow_old(feeds, timedelta(hours=23))
        assert await known(database, **ON) == (True, True)
        await grow_old(feeds, timedelta(hours=25))
        assert await known(database, **ON) == (None, None)
        assert await known(database, **{**ON, "krr_sync_enabled": False}) == (True, None)
        assert await known(database, **ON, max_copy_age=timedelta()) == (True, True)
        assert await known(database) == (True, True)


async def test_half_of_an_initial_load_answers_nothing(database: Database) -> None:
    async with running_feeds(database) as feeds:
        for index in range(4):
            feeds.krr.change(person(index))
        feeds.krr.page_size = 2
        feeds.krr.fail("status", first=2, times=9, status=503)
        await feeds.persons().run()
        assert len(await feeds.people()) == 2
        assert (await known(database, **ON))[0] is None


@pytest.mark.assertion("registries", 54)
@pytest.mark.parametrize(("setting", "origin"), [(False, O2), (True, O1)])
async def test_a_subunit_with_unusable_addresses_only_is_reached_through_its_main_unit_if_that_is_wanted(
    database: Database, setting: bool, origin: str
) -> None:
    async with database.autocommit() as conn:
        for sql in (
            "INSERT INTO registry.organisation (org_no, parent_org_no, source, changed_at) VALUES"
            f" ('{O1}', NULL, 'file', now()), ('{O2}', '{O1}', 'file', now())",
            "INSERT INTO registry.org_address (registry_id, org_no, kind, address, accepted, source, changed_at) VALUES"
            f" ('1', '{O1}', 'email', 'main@example.com', true, 'file', now()),"
            f" ('2', '{O2}', 'email', 'new@example.com', false, 'file', now())",
        ):
            await execute(conn, sql, {})
    directory = LocalDirectory(database, RegistrySettings(fallback_when_no_usable_address=setting))
    found = (await directory.organisations([O2]))[O2]
    assert (found.origin, bool(found.emails)) == (origin, setting)
