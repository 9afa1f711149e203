"""The feed of businesses' addresses becomes the local copy, over real HTTP (registries 3.1-3.5, 7.3, 9)."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from feeds import NOW, Feeds, address, running_feeds
from varsel.db import Database, execute
from varsel.domain.feeds import Feed
from varsel.recipients.load.rows import Organisation
from varsel.recipients.local import LocalDirectory
from varsel.recipients.ports import OrganisationContact
from varsel.registry_sync import store
from varsel.registry_sync.sync import Report
from varsel.settings import RegistrySettings
from varsel.simulators.business_addresses import FEED

ADDRESSES = "business-addresses"
O1, O2, O3 = "310001007", "310001015", "310001023"
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[Feeds]:
    async with running_feeds(database) as feeds:
        for number in (O1, O2, O3):
            feeds.business.world.put(Organisation(number, None, None, None, None, None, deleted=False))
        yield feeds


async def sync(feeds: Feeds, **options: Any) -> Report:
    report = await feeds.addresses(**options).run()
    assert report is not None
    return report


def tell(feeds: Feeds, registry_id: str, org_no: str, value: str, minute: float, **members: Any) -> None:
    """The register changes an address, so many minutes before now."""
    feeds.business.change(address(registry_id, org_no, value, **members), at=NOW - minute * MINUTE)


def remove(feeds: Feeds, registry_id: str, org_no: str, minute: int) -> None:
    tell(feeds, registry_id, org_no, "gone@example.com", minute, deleted=True)


def asked(feeds: Feeds) -> list[Any]:
    return [request.query for request in feeds.business.asked(FEED)]


@pytest.mark.assertion("registries", 43)
async def test_the_first_run_asks_for_everything_and_later_ones_for_changes(feeds: Feeds) -> None:
    tell(feeds, "a", O1, "post@example.com", 10)
    assert (await sync(feeds, page_size=500)).counts.inserted == 1
    await sync(feeds, page_size=500)
    first, second = asked(feeds)
    assert first == {"pageSize": "500"}
    since = NOW - 10 * MINUTE - timedelta(seconds=60)
    assert second == {"pageSize": "500", "since": f"{since:%Y-%m-%dT%H:%M:%S}.0000000Z"}


@pytest.mark.assertion("registries", 44, 45)
async def test_kinds_and_numbers_are_stored_as_the_register_tells_them(feeds: Feeds) -> None:
    for prefix, registry_id in (("47", "a"), ("+47", "b"), ("0047", "c"), (None, "d")):
        await tell_raw(feeds, registry_id, {"mobiltelefon": _phone(prefix, "99999501")})
    await tell_raw(feeds, "e", {"epostadresse": {"brukernavn": "post", "domenenavn": "example.com"}})
    stored = await feeds.rows("SELECT registry_id, kind, address FROM registry.org_address ORDER BY registry_id")
    assert stored == [
        *((id_, "sms", "+4799999501") for id_ in ("a", "b", "c")),
        ("d", "sms", "99999501"),
        ("e", "email", "post@example.com"),
    ]


async def test_an_email_address_wins_over_a_number(feeds: Feeds) -> None:
    email = {"brukernavn": "post", "domenenavn": "example.com"}
    await tell_raw(feeds, "a", {"epostadresse": email, "mobiltelefon": _phone("47", "99999501")})
    assert await feeds.emails() == {("a", O1, "post@example.com")}


@pytest.mark.assertion("registries-faults", 27)
@pytest.mark.assertion("registries", 46)
async def test_a_removed_address_is_gone_and_an_unknown_one_is_no_error(feeds: Feeds) -> None:
    tell(feeds, "a", O1, "post@example.com", 10)
    await sync(feeds)
    remove(feeds, "a", O1, 9)
    remove(feeds, "unknown", O1, 8)
    report = await sync(feeds)
    assert (report.outcome, report.counts.removed) == ("done", 1)
    assert await feeds.value("SELECT count(*) FROM registry.org_address") == 0
    assert await feeds.cursor(ADDRESSES, "position_at") == NOW - 8 * MINUTE


@pytest.mark.assertion("registries", 47)
async def test_what_is_no_organisations_is_passed_over_and_the_cursor_moves(feeds: Feeds) -> None:
    unit = {"verdi": "14838510036", "type": "FOEDSELSNUMMER"}
    report = await tell_raw(feeds, "a", {"epostadresse": {"brukernavn": "x", "domenenavn": "example.com"}}, unit=unit)
    assert (report.outcome, report.counts) == ("done", store.Counts(ignored=1))
    assert await feeds.cursor(ADDRESSES, "position_at") == NOW


@pytest.mark.assertion("registries-faults", 8)
@pytest.mark.assertion("registries", 48)
@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"content": '{"Kontaktinformasjon": {"kontaktinformasjonForEnhet": %s}}'}, "no_address"),
        ({"content": "{"}, "content_not_json"),
        ({"content": None}, "no_content"),
        ({"content": "[]"}, "bad_shape"),
        ({"updated": None}, "missing_time"),
        ({"updated": "yesterday"}, "bad_time"),
        ({"id": ""}, "missing_id"),
        ({"isdeleted": "no"}, "bad_shape"),
        ({"title": "\0"}, "characters"),
        ({"id": "\ud800"}, "characters"),
    ],
)
async def test_a_malformed_entry_is_set_aside_and_its_neighbours_are_taken(
    feeds: Feeds, entry: dict[str, Any], reason: str
) -> None:
    unit = '{"enhetsidentifikator": {"verdi": "310001007", "type": "ORGANISASJONSNUMMER"}}'
    plain = _entry("bad", {"epostadresse": {"brukernavn": "bad", "domenenavn": "example.com"}})
    bad = {**plain, **entry}
    if isinstance(bad["content"], str) and "%s" in bad["content"]:
        bad["content"] = bad["content"] % unit
    good = [_entry(name, {"epostadresse": {"brukernavn": name, "domenenavn": "example.com"}}) for name in ("a", "z")]
    feeds.business.instead = [good[0], bad, good[1]]
    report = await sync(feeds)
    assert (report.outcome, report.counts.inserted, report.counts.quarantined) == ("done", 2, 1)
    assert await feeds.rows("SELECT reason FROM registry.quarantine") == [(reason,)]
    assert await feeds.cursor(ADDRESSES, "position_at") == NOW


@pytest.mark.assertion("registries-faults", 15)
@pytest.mark.assertion("registries", 49)
async def test_pages_are_followed_to_the_last_and_never_to_another_host(feeds: Feeds) -> None:
    for n in range(5):
        tell(feeds, f"id{n}", O1, f"p{n}@example.com", 10 - n)
    assert (await sync(feeds, page_size=2)).pages == 3
    assert len(await feeds.emails()) == 5
    feeds.business.fail("foreign-page")
    assert (await sync(feeds, page_size=2)).error == "foreign_page"
    assert len(asked(feeds)) == 4


@pytest.mark.assertion("registries-faults", 15)
async def test_pages_that_lead_in_a_circle_end_the_run(feeds: Feeds) -> None:
    for n in range(5):
        tell(feeds, f"id{n}", O1, f"p{n}@example.com", 10 - n)
    feeds.business.fail("page-loop", times=9)
    assert (await sync(feeds, page_size=2)).error == "page_loop"
    assert len(asked(feeds)) <= 3


@pytest.mark.assertion("registries-faults", 11)
async def test_an_answer_without_entries_is_no_answer(feeds: Feeds) -> None:
    feeds.business.fail("malformed")
    assert (await sync(feeds)).error == "protocol"


async def test_a_page_that_is_no_longer_known_is_replaced_by_a_new_beginning(feeds: Feeds) -> None:
    for n in range(4):
        tell(feeds, f"id{n}", O1, f"p{n}@example.com", 10 - n)
    feeds.business.fail("status", first=2, times=5, status=503)
    assert (await sync(feeds, page_size=2)).error == "http_503"
    assert await feeds.cursor(ADDRESSES, "next_page") is not None
    feeds.business.fail("status", status=410)
    assert (await sync(feeds, page_size=2)).outcome == "done"
    assert len(await feeds.emails()) == 4
    assert await feeds.cursor(ADDRESSES, "next_page") is None


@pytest.mark.assertion("registries", 50)
async def test_an_address_that_moves_to_another_organisation_is_found_there(feeds: Feeds) -> None:
    tell(feeds, "a", O1, "post@example.com", 10)
    await sync(feeds)
    tell(feeds, "a", O2, "post@example.com", 9)
    await sync(feeds)
    found = await LocalDirectory(feeds.db, RegistrySettings()).organisations([O1, O2])
    assert found == {O2: OrganisationContact(("post@example.com",), (), O2)}


@pytest.mark.assertion("registries", 51)
async def test_an_address_deleted_here_that_the_register_sends_again_is_active(feeds: Feeds) -> None:
    tell(feeds, "a", O1, "post@example.com", 10)
    await sync(feeds)
    async with feeds.db.autocommit() as conn:
        await execute(conn, "UPDATE registry.org_address SET deleted = true, accepted = false", {})
    tell(feeds, "a", O1, "post@example.com", 5)
    await sync(feeds)
    assert await feeds.emails() == {("a", O1, "post@example.com")}


@pytest.mark.assertion("registries-faults", 7)
@pytest.mark.assertion("registries", 52)
async def test_an_older_change_of_an_address_changes_nothing(feeds: Feeds) -> None:
    tell(feeds, "a", O1, "new@example.com", 5)
    await sync(feeds)
    feeds.business.history = True
    tell(feeds, "a", O1, "old@example.com", 5.5)  # within what is read again
    report = await sync(feeds)
    assert report.counts.unchanged == 1
    assert await feeds.emails() == {("a", O1, "new@example.com")}


async def test_an_older_snapshot_does_not_undo_a_removal(feeds: Feeds) -> None:
    feeds.business.history = True
    tell(feeds, "a", O1, "post@example.com", 5)
    remove(feeds, "a", O1, 5)  # of the same time: the removal counts
    await sync(feeds, page_size=1)
    assert await feeds.emails() == set()
    await sync(feeds, page_size=1)  # reads both again
    assert len(asked(feeds)) == 4
    assert await feeds.emails() == set()
    assert list(await feeds.rows("SELECT inserted, removed FROM registry.sync_run")) == [(1, 1), (0, 0)]


async def test_a_full_synchronisation_removes_what_is_not_met_and_keeps_what_waits_for_acceptance(feeds: Feeds) -> None:
    for n in range(30):
        tell(feeds, f"id{n}", O1, f"p{n}@example.com", 40 - n)
    await sync(feeds)
    feeds.business.log = [change for change in feeds.business.log if change.registry_id != "id7"]
    async with feeds.db.transaction() as conn:
        await execute(
            conn,
            "INSERT INTO registry.org_address (registry_id, org_no, kind, address, accepted, source, changed_at)"
            " VALUES ('new', %(o1)s, 'email', 'new@example.com', false, 'user', %(now)s)",
            {"o1": O1, "now": NOW},
        )
        await store.begin_reload(conn, Feed.BUSINESS_ADDRESSES, allow_large_removal=False)
    report = await sync(feeds, page_size=7)
    assert (report.counts.removed, report.held_back) == (1, 0)
    assert "since" not in asked(feeds)[-5]
    assert len(await feeds.emails()) == 29
    assert await feeds.value("SELECT count(*) FROM registry.org_address WHERE registry_id IN ('new', 'id7')") == 1


async def test_a_time_ahead_does_not_carry_us_past_changes_that_are_still_to_come(feeds: Feeds) -> None:
    entry = _entry("ahead", {"epostadresse": {"brukernavn": "a", "domenenavn": "example.com"}})
    feeds.business.instead = [{**entry, "updated": "9999-01-01T00:00:00Z"}]
    await sync(feeds)
    feeds.business.instead = None
    assert await feeds.cursor(ADDRESSES, "position_at") == NOW
    tell(feeds, "b", O1, "later@example.com", 0)
    await sync(feeds)
    assert ("b", O1, "later@example.com") in await feeds.emails()


async def tell_raw(
    feeds: Feeds, registry_id: str, digital: dict[str, Any], unit: dict[str, str] | None = None
) -> Report:
    feeds.business.instead = [_entry(registry_id, digital, unit)]
    report = await sync(feeds)
    feeds.business.instead = None
    return report


def _entry(registry_id: str, digital: dict[str, Any], unit: dict[str, str] | None = None) -> dict[str, Any]:
    number = unit or {"verdi": O1, "type": "ORGANISASJONSNUMMER"}
    contact = {"digitalVarslingsinformasjon": digital, "kontaktinformasjonForEnhet": {"enhetsidentifikator": number}}
    content = json.dumps({"Kontaktinformasjon": contact})
    return {"id": registry_id, "title": "t", "updated": _at(NOW), "isdeleted": False, "content": content}


def _phone(prefix: str | None, number: str) -> dict[str, Any]:
    return {"internasjonaltPrefiks": prefix, "nasjonaltNummer": number}


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}000Z"
