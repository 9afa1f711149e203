"""KRR's change feed becomes the local copy: over real HTTP, from a simulated register (registries 2.3-2.5, 7.3, 9)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feeds import NOW, Feeds, gone, person, running_feeds
from registry_files import run, write
from road import until
from varsel.db import Database, execute
from varsel.domain.feeds import Feed
from varsel.domain.identifiers import check_digits, synthetic_person_id
from varsel.recipients.load.job import Mode
from varsel.recipients.load.rows import Kind, Person
from varsel.registry_sync import store
from varsel.registry_sync.quarantine import Retried, discard, retry
from varsel.registry_sync.sync import Report
from varsel.simulators.krr import CHANGES
from varsel.simulators.maskinporten import TOKEN

KRR = "krr"
# Without a synthetic offset, yet nobody's: individual numbers 500-749 were never given for a year 40-53.
REAL = next(f"140345{n}{digits}" for n in range(600, 700) if (digits := check_digits(f"140345{n}")))


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[Feeds]:
    async with running_feeds(database) as feeds:
        yield feeds


async def sync(feeds: Feeds, **options: Any) -> Report:
    report = await feeds.persons(**options).run()
    assert report is not None
    return report


def key(index: int) -> str:
    return synthetic_person_id(1, index)


@pytest.mark.assertion("registries", 14, 16)
async def test_the_first_run_asks_from_the_beginning_with_a_token(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    assert (await sync(feeds)).outcome == "done"
    [asked] = feeds.krr.asked(CHANGES)
    assert asked.body == {"fraEndringsId": 0}
    assert asked.headers["authorization"] == "***"
    assert asked.headers["content-type"] == "application/json"
    assert await feeds.people() == {key(1): ("p1.v0@example.com", False, False)}


@pytest.mark.assertion("registries", 15)
async def test_pages_are_followed_until_the_newest_change(feeds: Feeds) -> None:
    for number in range(38):
        feeds.krr.change(person(number))
    feeds.krr.page_size = 23
    assert (await sync(feeds)).pages == 2
    assert await feeds.cursor(KRR, "position") == 38
    assert len(await feeds.people()) == 38
    assert [request.body["fraEndringsId"] for request in feeds.krr.asked(CHANGES)] == [0, 23]


@pytest.mark.assertion("registries", 17)
@pytest.mark.parametrize(
    ("told", "reserved"), [("JA", True), ("NEI", False), ("ja", False), ("", False), (None, False)]
)
async def test_only_the_exact_word_reserves(feeds: Feeds, told: str | None, reserved: bool) -> None:
    await feed_raw(feeds, {"personidentifikator": key(1), "status": "AKTIV", "reservasjon": told})
    assert (await feeds.people())[key(1)] == (None, reserved, False)


@pytest.mark.assertion("registries", 18)
async def test_times_are_stored_in_utc_whatever_their_spelling(feeds: Feeds) -> None:
    contact = {"epostadresse": "a@example.com", "epostadresse_oppdatert": "2023-06-10T21:00:01+02"}
    await feed_raw(feeds, {"personidentifikator": key(1), "status": "AKTIV", "kontaktinformasjon": contact})
    found = await feeds.value("SELECT email_updated_at FROM registry.person")
    assert found == datetime(2023, 6, 10, 19, 0, 1, tzinfo=UTC)


@pytest.mark.assertion("registries", 19)
async def test_a_snapshot_without_contact_details_clears_them(feeds: Feeds) -> None:
    feeds.krr.change(person(1, mobile="+4799999501"))
    await sync(feeds)
    feeds.krr.change(Person(key(1), language="nn"))
    await sync(feeds)
    [(email, mobile, language)] = await feeds.rows("SELECT email, mobile, language FROM registry.person")
    assert (email, mobile, language) == (None, None, "nn")


@pytest.mark.assertion("registries", 20)
async def test_a_change_of_the_reservation_alone_is_taken(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    await sync(feeds)
    feeds.krr.change(person(1, reserved=True))
    report = await sync(feeds)
    assert report.counts == store.Counts(updated=1)
    assert (await feeds.people())[key(1)][1] is True


@pytest.mark.assertion("registries", 21)
async def test_who_is_deleted_last_in_a_page_ends_deleted(feeds: Feeds) -> None:
    feeds.krr.history = True
    feeds.krr.change(person(1))
    feeds.krr.change(gone(1))
    await sync(feeds)
    assert await feeds.people() == {key(1): (None, False, True)}


@pytest.mark.assertion("registries-faults", 28)
async def test_who_registers_again_is_back_with_nothing_of_the_old(feeds: Feeds) -> None:
    feeds.krr.history = True
    feeds.krr.page_size = 1
    for change in (person(1, mobile="+4799999501"), gone(1), person(1, version=9)):
        feeds.krr.change(change)
    await sync(feeds)
    [(email, mobile, deleted)] = await feeds.rows("SELECT email, mobile, deleted FROM registry.person")
    assert (email, mobile, deleted) == ("p1.v9@example.com", None, False)


async def test_an_older_snapshot_on_a_later_page_does_not_undo_a_deletion(feeds: Feeds) -> None:
    feeds.krr.history = True
    feeds.krr.page_size = 1
    for change in (person(1, version=5), gone(1), person(1, version=5), person(1, version=4)):
        feeds.krr.change(change)
    await sync(feeds)
    assert (await feeds.people())[key(1)] == (None, False, True)


@pytest.mark.assertion("registries-faults", 5)
@pytest.mark.assertion("registries", 22)
async def test_pages_that_come_again_write_nothing(feeds: Feeds) -> None:
    for number in range(5):
        feeds.krr.change(person(number))
    feeds.krr.change(gone(4))
    feeds.krr.page_size = 2
    await sync(feeds)
    before = await feeds.rows("SELECT ctid::text, xmin::text, changed_at FROM registry.person ORDER BY 1")
    async with feeds.db.autocommit() as conn:
        await execute(conn, "UPDATE registry.sync_cursor SET position = 0", {})
    feeds.clock.advance(timedelta(hours=1))
    report = await sync(feeds)
    assert (report.pages, report.counts) == (3, store.Counts(unchanged=5))
    assert await feeds.rows("SELECT ctid::text, xmin::text, changed_at FROM registry.person ORDER BY 1") == before


@pytest.mark.assertion("registries-faults", 12)
@pytest.mark.assertion("registries", 23)
async def test_an_empty_page_moves_the_cursor_and_the_run_goes_on(feeds: Feeds) -> None:
    for number in range(4):
        feeds.krr.change(person(number))
    feeds.krr.page_size = 2
    feeds.krr.fail("empty-page")
    report = await sync(feeds)
    assert (report.outcome, report.pages, report.counts.inserted) == ("done", 2, 2)
    assert await feeds.cursor(KRR, "position") == 4


@pytest.mark.assertion("registries-faults", 2)
@pytest.mark.assertion("registries", 24)
async def test_a_register_that_fails_between_pages_leaves_what_was_read(feeds: Feeds) -> None:
    for number in range(4):
        feeds.krr.change(person(number))
    feeds.krr.page_size = 2
    feeds.krr.fail("status", first=2, times=5, status=500)
    report = await sync(feeds)
    assert (report.outcome, report.error, report.pages) == ("error", "http_500", 1)
    assert len(await feeds.people()) == 2
    assert await feeds.cursor(KRR, "position") == 2
    assert await feeds.cursor(KRR, "consecutive_failures") == 1
    assert (await sync(feeds)).counts.inserted == 2
    assert await feeds.cursor(KRR, "consecutive_failures") == 0


@pytest.mark.assertion("registries-faults", 1)
async def test_a_page_is_tried_five_times_with_longer_and_longer_waits(feeds: Feeds) -> None:
    feeds.krr.fail("status", times=9, status=503)
    assert (await sync(feeds)).error == "http_503"
    assert len(feeds.krr.asked(CHANGES)) == 5
    assert [round(pause / expected) for pause, expected in zip(feeds.pauses, (1, 2, 4, 8), strict=True)] == [1] * 4


@pytest.mark.assertion("registries-faults", 10)
@pytest.mark.parametrize("kind", ["drop", "truncate", "not-json"])
async def test_what_may_pass_is_tried_again(feeds: Feeds, kind: str) -> None:
    feeds.krr.change(person(1))
    feeds.krr.fail(kind)
    assert (await sync(feeds)).outcome == "done"
    assert len(feeds.pauses) == 1


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_what_a_person_must_mend_is_not_tried_again(feeds: Feeds, status: int) -> None:
    feeds.krr.fail("status", status=status)
    assert (await sync(feeds)).error == f"http_{status}"
    assert feeds.pauses == []


@pytest.mark.assertion("registries-faults", 11)
async def test_an_answer_of_another_shape_ends_the_run(feeds: Feeds) -> None:
    feeds.krr.fail("malformed")
    assert (await sync(feeds)).error == "protocol"
    assert feeds.pauses == []
    assert await feeds.cursor(KRR, "position") == 0


@pytest.mark.assertion("registries-faults", 19)
async def test_we_wait_as_long_as_the_register_asks_us_to(feeds: Feeds) -> None:
    feeds.krr.fail("status", status=429, headers={"Retry-After": "120"})
    assert (await sync(feeds)).outcome == "done"
    assert feeds.pauses == [120.0]


@pytest.mark.assertion("registries-faults", 20)
async def test_a_register_that_throttles_without_a_word_is_asked_more_and_more_rarely(feeds: Feeds) -> None:
    feeds.krr.fail("status", times=9, status=429)
    assert (await sync(feeds)).error == "throttled"
    assert [round(pause / expected) for pause, expected in zip(feeds.pauses, (1, 2, 4, 8), strict=True)] == [1] * 4


@pytest.mark.assertion("registries-faults", 21)
async def test_a_register_that_wants_a_day_is_left_alone_for_a_day(feeds: Feeds) -> None:
    feeds.krr.fail("status", status=429, headers={"Retry-After": "86400"})
    assert (await sync(feeds)).error == "throttled"
    assert feeds.pauses == []
    assert await feeds.persons(shift=timedelta(hours=23)).run() is None
    assert await feeds.persons(shift=timedelta(hours=25)).run() is not None


@pytest.mark.assertion("registries-faults", 13)
async def test_a_position_that_stands_still_is_asked_once_more_and_then_told(feeds: Feeds) -> None:
    feeds.krr.fail("standstill", times=1)
    assert (await sync(feeds)).outcome == "done"
    assert feeds.pauses == [5.0]
    feeds.krr.fail("standstill", times=2)
    assert (await sync(feeds)).error == "upstream_stalled"


@pytest.mark.assertion("registries-faults", 14)
@pytest.mark.assertion("registries", 26)
async def test_a_register_that_begins_anew_stops_us_until_a_person_acts(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    await sync(feeds)
    feeds.krr.fail("reset-log")
    assert (await sync(feeds)).error == "needs_resync"
    assert await feeds.cursor(KRR, "state") == "needs_resync"
    assert await feeds.persons().run() is None
    assert len(await feeds.people()) == 1
    async with feeds.db.autocommit() as conn:
        await store.begin_reload(conn, Feed.KRR, allow_large_removal=False)
    assert (await sync(feeds)).outcome == "done"
    assert feeds.krr.asked(CHANGES)[-1].body == {"fraEndringsId": 0}


@pytest.mark.assertion("registries-faults", 16)
@pytest.mark.assertion("registries", 99)
async def test_a_token_that_is_refused_is_renewed_once(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    await sync(feeds)
    feeds.maskinporten.expire_tokens()
    assert (await sync(feeds)).outcome == "done"
    assert [request.status for request in feeds.krr.asked(CHANGES)] == [200, 401, 200]
    assert len(feeds.maskinporten.asked(TOKEN)) == 2
    feeds.krr.fail("status", status=401, times=2)
    assert (await sync(feeds)).error == "http_401"
    assert len(feeds.maskinporten.asked(TOKEN)) == 3


async def test_without_the_scope_of_the_feed_nothing_is_read(feeds: Feeds) -> None:
    feeds.maskinporten.clients["varsel-test"].scopes = ["something:else"]
    report = await sync(feeds)
    assert (report.error, report.transient) == ("token_invalid_scope", False)


# What cannot be read


@pytest.mark.assertion("registries-faults", 8)
@pytest.mark.assertion("registries", 27)
async def test_a_record_without_a_number_is_set_aside_and_its_neighbours_are_taken(feeds: Feeds) -> None:
    for number in range(4):
        feeds.krr.change(person(number))
    feeds.krr.fail("bad-row")
    report = await sync(feeds)
    assert (report.counts.inserted, report.counts.quarantined) == (3, 1)
    [(feed, reason, payload)] = await feeds.rows("SELECT feed, reason, payload FROM registry.quarantine")
    assert (feed, reason, payload) == (KRR, "missing_id", "{}")


async def test_poison_is_counted_each_time_and_kept_once(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    feeds.krr.fail("bad-row", times=3)
    for _ in range(3):
        await sync(feeds)
        feeds.krr.change(person(1))
    assert await feeds.rows("SELECT seen_count, resolved_at FROM registry.quarantine") == [(3, None)]


@pytest.mark.assertion("registries-faults", 9)
async def test_a_page_that_is_mostly_unreadable_is_a_change_of_format(feeds: Feeds) -> None:
    await feed_raw(feeds, *[{"personidentifikator": key(n), "status": "NY"} for n in range(20)])
    assert await feeds.cursor(KRR, "last_error") == "format_changed"
    assert await feeds.cursor(KRR, "position") == 0
    assert await feeds.value("SELECT count(*) FROM registry.quarantine") == 0


async def test_poison_that_can_be_read_by_now_is_applied_by_command(feeds: Feeds) -> None:
    record = {"personidentifikator": key(1), "status": "AKTIV", "reservasjon": "JA"}
    await feed_raw(feeds, {**record, "status": "NY"})
    assert (await retry_all(feeds)).unreadable == 1
    await mend_payloads(feeds)
    result = await retry_all(feeds)
    assert (result.applied, result.superseded, result.unreadable) == (1, 0, 0)
    assert (await feeds.people())[key(1)] == (None, True, False)
    assert await feeds.rows("SELECT resolution, payload FROM registry.quarantine") == [("applied", None)]


async def test_poison_never_overrides_what_came_after_it(feeds: Feeds) -> None:
    await feed_raw(feeds, {"personidentifikator": key(1), "status": "NY", "reservasjon": "JA"})
    feeds.krr.change(person(2))
    feeds.krr.change(person(1))
    await sync(feeds)
    assert await feeds.rows("SELECT resolution FROM registry.quarantine") == [("superseded",)]
    async with feeds.db.autocommit() as conn:  # as if it had not been noticed
        await execute(conn, "UPDATE registry.quarantine SET resolved_at = NULL, resolution = NULL", {})
    await mend_payloads(feeds)
    assert (await retry_all(feeds)).superseded == 1
    assert (await feeds.people())[key(1)] == ("p1.v0@example.com", False, False)


async def test_poison_can_be_let_go(feeds: Feeds) -> None:
    await feed_raw(feeds, {"personidentifikator": key(1), "status": "NY"})
    [(id_,)] = await feeds.rows("SELECT id FROM registry.quarantine")
    assert await discard(feeds.db, feeds.clock, [id_]) == 1
    assert await discard(feeds.db, feeds.clock, [id_]) == 0


@pytest.mark.assertion("registries", 113)
async def test_outside_production_a_real_person_stops_the_run(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    feeds.krr.change(Person(REAL))
    assert (await sync(feeds)).error == "real_identity"
    assert await feeds.people() == {}
    assert (await sync(feeds, synthetic_only=False)).counts.inserted == 2


# Full synchronisation


@pytest.mark.assertion("registries", 28)
async def test_a_full_synchronisation_removes_who_is_not_met_again(feeds: Feeds) -> None:
    for number in range(30):
        feeds.krr.change(person(number))
    await sync(feeds)
    forget(feeds, 29)
    feeds.krr.change(person(3, version=7))
    async with feeds.db.autocommit() as conn:
        await store.begin_reload(conn, Feed.KRR, allow_large_removal=False)
    report = await sync(feeds)
    assert (report.counts.removed, report.counts.updated, report.held_back) == (1, 1, 0)
    people = await feeds.people()
    assert people[key(29)] == (None, False, True)
    assert people[key(3)] == ("p3.v7@example.com", False, False)
    assert await feeds.cursor(KRR, "reloading") is False


@pytest.mark.assertion("registries", 28)
async def test_a_full_synchronisation_that_would_remove_too_much_waits_for_a_person(feeds: Feeds) -> None:
    for number in range(10):
        feeds.krr.change(person(number))
    await sync(feeds)
    forget(feeds, 9)
    async with feeds.db.autocommit() as conn:
        await store.begin_reload(conn, Feed.KRR, allow_large_removal=False)
    assert (await sync(feeds)).held_back == 1
    assert (await feeds.people())[key(9)][2] is False
    async with feeds.db.autocommit() as conn:
        await store.begin_reload(conn, Feed.KRR, allow_large_removal=True)
    report = await sync(feeds)
    assert (report.counts.removed, report.held_back) == (1, 0)
    assert feeds.krr.asked(CHANGES)[-1].body == {"fraEndringsId": 9}, "what has been read is not read again"
    assert (await feeds.people())[key(9)][2] is True


async def test_a_full_synchronisation_applies_later_changes_whose_numbers_are_lower(feeds: Feeds) -> None:
    feeds.krr.page_size = 1
    for number in range(5):
        feeds.krr.change(person(number))
    feeds.krr.change(person(0, version=1))
    await sync(feeds)
    feeds.krr.log.clear()
    feeds.krr.change(person(0, version=1))  # unchanged; then the register counts anew
    feeds.krr.change(person(0, version=2))
    async with feeds.db.autocommit() as conn:
        await store.begin_reload(conn, Feed.KRR, allow_large_removal=True)
    feeds.krr.history = True
    await sync(feeds)
    assert (await feeds.people())[key(0)][0] == "p0.v2@example.com"


# Files beside the feed


async def test_what_a_file_brought_is_the_feeds_from_then_on_but_for_names(feeds: Feeds, tmp_path: Path) -> None:
    names = {"first_name": "ROLIG", "last_name": "FJORD"}
    file = write(
        tmp_path / "people.csv", [{"id": key(1), "email": "old@example.com", **names}, {"id": key(9), **names}]
    )
    await run(feeds.db, Kind.PERSONS, file)
    feeds.krr.change(person(1))
    feeds.krr.change(person(2))
    assert (await sync(feeds)).counts == store.Counts(inserted=1, updated=1)
    file = write(
        tmp_path / "people.csv",
        [
            {"id": key(1), "email": "newer@example.com", "first_name": "STILLE", "last_name": "SKOG"},
            {"id": key(2), **names},
        ],
    )
    loaded = await run(feeds.db, Kind.PERSONS, file, mode=Mode.REPLACE, max_removed=100)
    assert (loaded.inserted, loaded.updated, loaded.removed) == (0, 0, 1), "only what files brought is theirs to remove"
    stored = await feeds.rows("SELECT subject_key, email, first_name, source FROM registry.person ORDER BY email")
    assert stored == [(key(1), "p1.v0@example.com", "STILLE", "krr"), (key(2), "p2.v0@example.com", "ROLIG", "krr")]
    feeds.krr.change(gone(1))
    await sync(feeds)
    await run(feeds.db, Kind.PERSONS, file, force=True)
    assert await feeds.rows("SELECT first_name, deleted FROM registry.person WHERE subject_key = %(k)s", k=key(1)) == [
        (None, True)
    ]


# Leases


@pytest.mark.assertion("registries-faults", 22)
@pytest.mark.assertion("registries", 29)
async def test_workers_that_start_together_make_one_run_in_an_interval(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    hourly = timedelta(hours=1)
    reports = await asyncio.gather(*(feeds.persons(interval=hourly).run() for _ in range(6)))
    assert len([report for report in reports if report]) == 1
    assert await feeds.persons(interval=hourly, shift=timedelta(minutes=59)).run() is None
    assert await feeds.persons(interval=hourly, shift=timedelta(minutes=61)).run() is not None


@pytest.mark.assertion("registries-faults", 23)
async def test_a_worker_that_lost_its_feed_stores_nothing(feeds: Feeds) -> None:
    """F23: another has taken the feed while the first waited for its page."""
    feeds.krr.change(person(1))
    feeds.krr.fail("delay", seconds=0.3)
    slow = asyncio.create_task(feeds.persons().run())
    await until_asked(feeds)
    quick = await feeds.persons(shift=timedelta(minutes=3)).run()  # by its clock the lease has run out
    assert quick is not None
    report = await slow
    assert report is not None
    assert (report.outcome, report.pages) == ("lost", 0)
    assert await feeds.rows("SELECT outcome, pages FROM registry.sync_run ORDER BY id") == [
        ("abandoned", 0),
        ("done", 1),
    ]


async def test_a_lease_is_kept_while_a_page_takes_longer_than_it(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    feeds.krr.fail("delay", seconds=0.5)
    slow = asyncio.create_task(feeds.persons(lease=timedelta(seconds=0.2)).run())
    await until_asked(feeds)
    others = []
    while not slow.done():
        others.append(await feeds.persons(lease=timedelta(seconds=0.2)).run())
        await asyncio.sleep(0.05)
    report = slow.result()
    assert report is not None
    assert report.outcome == "done"
    assert len(others) > 3
    assert set(others[:3]) == {None}


async def test_who_is_stopped_ends_at_once_and_the_next_goes_on_at_once(feeds: Feeds) -> None:
    feeds.krr.change(person(1))
    feeds.krr.fail("stall")
    hourly = feeds.persons(interval=timedelta(hours=1))
    running = asyncio.create_task(hourly.run())
    await until_asked(feeds)
    hourly.stop()
    report = await asyncio.wait_for(running, 2)
    assert report is not None
    assert report.outcome == "stopped"
    assert await hourly.run() is None
    assert (await sync(feeds, interval=timedelta(hours=1))).counts.inserted == 1


async def test_old_records_are_dropped_in_time(feeds: Feeds) -> None:
    feeds.krr.change(gone(1))
    feeds.krr.change(person(2))
    await sync(feeds)
    for days, left in ((29, 2), (31, 1)):
        async with feeds.db.autocommit() as conn:
            await store.prune(conn, now=NOW + timedelta(days=days))
        assert len(await feeds.people()) == left


async def feed_raw(feeds: Feeds, *records: object) -> Report:
    """Let the register tell just these records, as one page."""
    for _ in records:
        feeds.krr.change(person(0))
    feeds.krr.instead = list(records)
    report = await sync(feeds)
    feeds.krr.instead = None
    return report


async def retry_all(feeds: Feeds) -> Retried:
    return await retry(feeds.db, feeds.clock, feed=None, ids=None, synthetic_only=True)


async def mend_payloads(feeds: Feeds) -> None:
    async with feeds.db.autocommit() as conn:
        await execute(conn, "UPDATE registry.quarantine SET payload = replace(payload, 'NY', 'AKTIV')", {})


def forget(feeds: Feeds, index: int) -> None:
    """The register knows nothing of them any more."""
    feeds.krr.log = [change for change in feeds.krr.log if change.subject_key != key(index)]


async def until_asked(feeds: Feeds) -> None:
    await until(lambda: bool(feeds.krr.asked(CHANGES)))
