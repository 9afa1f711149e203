"""A synchronisation dies anywhere: nothing is lost, nothing applied twice, and no deletion undone by an older snapshot.

A kill leaves no word to the database, so the next run waits for the lease to lapse; the tests move that clock.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final, LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds import NOW, Feeds, address, gone, person, running_feeds
from varsel.db import Database, execute
from varsel.domain.errors import Unavailable
from varsel.domain.feeds import Feed
from varsel.domain.identifiers import synthetic_person_id
from varsel.recipients.load.rows import OrgAddress, Organisation, Person
from varsel.registry_sync import store
from varsel.registry_sync.sync import Report, Sync

PEOPLE: Final = 4
IDS: Final = "abcd"
ORGANISATIONS: Final = ("310001007", "310001015")
LAPSED: Final = timedelta(hours=1)

EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# Every write of a row, in order: what a reader could have seen.
WATCH: LiteralString = """
CREATE TABLE watched (n bigint GENERATED ALWAYS AS IDENTITY, key text, was jsonb);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO watched (key, was) VALUES (to_jsonb(OLD)->>TG_ARGV[0], NULL);
    ELSE
        INSERT INTO watched (key, was) VALUES (to_jsonb(NEW)->>TG_ARGV[0], to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON registry.person FOR EACH ROW EXECUTE FUNCTION watch('subject_key');
CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON registry.org_address
    FOR EACH ROW EXECUTE FUNCTION watch('registry_id');
"""
EMPTY: LiteralString = """
TRUNCATE watched, registry.person, registry.org_address, registry.org_address_removed, registry.sync_run,
         registry.quarantine, registry.sync_cursor;
INSERT INTO registry.sync_cursor (feed) VALUES ('krr'), ('business-addresses');
"""


@dataclass
class Deadly:
    """A stream whose run dies at a call, before or after it, or while its page is in an open transaction."""

    stream: Any
    call: int
    place: str
    calls: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    async def read(self, cursor: Any) -> Any:
        self.calls += 1
        self._die("before reading")
        reading = await self.stream.read(cursor)
        self._die("after reading")
        return reading

    async def merge(self, conn: Any, cursor: Any, reading: Any, *, now: Any) -> Any:
        counts = await self.stream.merge(conn, cursor, reading, now=now)
        self._die("before the commit")
        return counts

    def _die(self, place: str) -> None:
        if (self.calls, place) == (self.call, self.place):
            raise asyncio.CancelledError


PLACES: Final = ("before reading", "after reading", "before the commit")
# A place in the code, or so many turns of the event loop: that is in the middle of a request, a statement or a commit.
kills = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(PLACES)) | st.integers(0, 1500), min_size=1, max_size=5)


@dataclass
class Runs:
    """Runs of one feed, each by another worker."""

    feeds: Feeds
    make: Callable[..., Sync[Any]]
    shift: timedelta = field(default_factory=timedelta)

    async def killed(self, kill: tuple[int, str] | int) -> None:
        """A run that dies, unless it is through before."""
        self.shift += LAPSED
        sync = self.make(shift=self.shift)
        if isinstance(kill, int):
            running = asyncio.ensure_future(sync.run())
            for _ in range(kill):
                await asyncio.sleep(0)
            running.cancel()
        else:
            sync._stream = Deadly(sync._stream, *kill)
            running = asyncio.ensure_future(sync.run())
        with suppress(asyncio.CancelledError):
            await running

    async def whole(self) -> Report:
        self.shift += LAPSED
        report = await self.make(shift=self.shift).run()
        assert report is not None
        assert report.outcome == "done", report
        return report


@pytest.fixture
async def feeds(database: Database) -> Any:
    async with running_feeds(database) as feeds:
        for number in ORGANISATIONS:
            feeds.business.world.put(Organisation(number, None, None, None, None, None, deleted=False))
        await run_sql(feeds, WATCH)
        yield feeds


async def run_sql(feeds: Feeds, sql: LiteralString) -> None:
    async with feeds.db.autocommit() as conn:
        for statement in sql.split(";\n") if "$$" not in sql else [sql]:
            if statement.strip():
                await execute(conn, statement, None)  # type: ignore[arg-type]  # so that several may stand in one


# People

person_changes = st.lists(
    st.lists(st.tuples(st.integers(0, PEOPLE - 1), st.sampled_from(["set", "set", "reserve", "delete"])), max_size=8),
    min_size=1,
    max_size=4,
)


@given(
    batches=person_changes,
    deaths=kills,
    page_size=st.integers(1, 5),
    history=st.booleans(),
    include_from=st.booleans(),
    bent=st.lists(st.tuples(st.sampled_from(["repeat", "reorder", "drop", "truncate"]), st.integers(1, 6)), max_size=3),
)
@EXAMPLES
def test_people_are_followed_whatever_dies(
    feeds: Feeds,
    runner: asyncio.Runner,
    batches: Sequence[Sequence[tuple[int, str]]],
    deaths: Sequence[Any],
    page_size: int,
    history: bool,
    include_from: bool,
    bent: Sequence[tuple[str, int]],
) -> None:
    async def follow() -> None:
        await begin(feeds)
        feeds.krr.page_size, feeds.krr.history, feeds.krr.include_from = page_size, history, include_from
        for kind, first in bent:
            if not (history and kind == "reorder"):  # which snapshot is older cannot always be told then
                feeds.krr.fail(kind, first=first)
        runs = Runs(feeds, feeds.persons)
        version = 0
        for n, batch in enumerate(batches):
            for index, what in batch:
                version += 1
                feeds.krr.change(changed(index, what, version))
            await runs.killed(deaths[n % len(deaths)])
        for death in deaths:
            await runs.killed(death)
        await runs.whole()
        await check_people(feeds)

    runner.run(follow())


def changed(index: int, what: str, version: int) -> Person:
    match what:
        case "delete":
            return gone(index)
        case "reserve":
            return person(index, version=version, reserved=True)
        case _:
            return person(index, version=version)


async def check_people(feeds: Feeds) -> None:
    truth = {p.subject_key: (p.email, p.reserved, p.deleted) for p in feeds.krr.log}  # the last of each
    assert await feeds.people() == truth
    assert await feeds.cursor("krr", "position") == feeds.krr.latest
    written = await watched(feeds, "email", "reserved", "deleted", "version_at")
    for key, states in written.items():
        told = [(p.email, p.reserved, p.deleted) for p in feeds.krr.log if p.subject_key == key]
        assert is_in_order([state[:3] for state in states], told), "never back to an older snapshot"
        assert all(one != other for one, other in pairwise(states)), "nor twice to the same"
    writes = sum(len(states) for states in written.values())
    assert await counted(feeds) == writes, "what was rolled back is not counted, and nothing else was written"


def is_in_order(states: Sequence[Any], told: Sequence[Any]) -> bool:
    """Whether `states` is `told` with some left out."""
    rest = iter(told)
    return all(any(state == candidate for candidate in rest) for state in states)


@given(batches=person_changes, deaths=kills, page_size=st.integers(1, 5), history=st.booleans())
@EXAMPLES
def test_a_full_synchronisation_that_dies_ends_where_the_register_stands(
    feeds: Feeds,
    runner: asyncio.Runner,
    batches: Sequence[Sequence[tuple[int, str]]],
    deaths: Sequence[Any],
    page_size: int,
    history: bool,
) -> None:
    async def follow() -> None:
        await begin(feeds)
        feeds.krr.page_size, feeds.krr.history = page_size, history
        runs = Runs(feeds, feeds.persons)
        version = 0
        for batch in batches:
            for index, what in batch:
                version += 1
                feeds.krr.change(changed(index, what, version))
            await runs.whole()
        before = await feeds.people()
        await run_sql(feeds, "TRUNCATE watched")
        forgotten = synthetic_person_id(1, 0)
        feeds.krr.log = [p for p in feeds.krr.log if p.subject_key != forgotten]
        async with feeds.db.autocommit() as conn:
            await store.begin_reload(conn, Feed.KRR, allow_large_removal=True)
        for death in deaths:
            await runs.killed(death)
        await runs.whole()
        truth = {p.subject_key: (p.email, p.reserved, p.deleted) for p in feeds.krr.log}
        found = await feeds.people()
        assert found.pop(forgotten, (None, False, True)) == (None, False, True)
        assert found == truth
        assert await feeds.cursor("krr", "reloading") is False
        for key, states in (await watched(feeds, "deleted")).items():
            was_gone_and_is = before.get(key, (None, False, False))[2] and truth.get(key, (None, False, True))[2]
            assert not was_gone_and_is or all(deleted for (deleted,) in states), "not even in between"

    runner.run(follow())


# Businesses' addresses

address_changes = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(IDS),
            st.sampled_from(["put", "put", "move", "remove"]),
            st.sampled_from([0, 1, 40]),  # seconds since the change before it
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=4,
)


@given(
    batches=address_changes,
    deaths=kills,
    page_size=st.integers(1, 4),
    history=st.booleans(),
    inclusive=st.booleans(),
    bent=st.lists(st.tuples(st.sampled_from(["repeat", "reorder", "drop", "truncate"]), st.integers(1, 6)), max_size=3),
)
@EXAMPLES
def test_addresses_are_followed_whatever_dies(
    feeds: Feeds,
    runner: asyncio.Runner,
    batches: Sequence[Sequence[tuple[str, str, int]]],
    deaths: Sequence[Any],
    page_size: int,
    history: bool,
    inclusive: bool,
    bent: Sequence[tuple[str, int]],
) -> None:
    async def follow() -> None:
        await begin(feeds)
        feeds.business.history, feeds.business.since_inclusive = history, inclusive
        for kind, first in bent:
            feeds.business.fail(kind, first=first)
        runs = Runs(feeds, lambda **options: feeds.addresses(page_size=page_size, **options))
        at = NOW - timedelta(days=1)
        feeds.business.set_clock(lambda: at)
        latest: dict[str, Any] = {}
        for n, batch in enumerate(batches):
            for registry_id, what, seconds in batch:
                at += timedelta(seconds=seconds)
                own = max(at, latest.get(registry_id, at) + timedelta(seconds=1)) if registry_id in latest else at
                latest[registry_id] = at = own
                feeds.business.change(changed_address(registry_id, what, f"{at:%H%M%S}"), at=at)
            await runs.killed(deaths[n % len(deaths)])
        for death in deaths:
            await runs.killed(death)
        await runs.whole()
        await check_addresses(feeds)

    runner.run(follow())


def changed_address(registry_id: str, what: str, version: str) -> OrgAddress:
    row = address(registry_id, ORGANISATIONS[what == "move"], f"{registry_id}.{version}@example.com")
    return row._replace(deleted=what == "remove")


async def check_addresses(feeds: Feeds) -> None:
    last = {change.registry_id: change for change in feeds.business.log}
    assert await feeds.emails() == {(id_, c.row.org_no, c.row.address) for id_, c in last.items() if c.row}
    removals = {(c.registry_id, c.updated) for c in feeds.business.log if c.row is None}
    for key, states in (await watched(feeds, "updated_at", "address")).items():
        present = [state for state in states if state]
        assert present == sorted(present), "never back to an older one"
        assert len(set(present)) == len(present), "nothing twice: not even a removed one comes back"
        removed_at = [time.isoformat() for id_, time in removals if id_ == key]
        assert states[-1] is not None or removed_at
    assert await counted(feeds) == sum(map(len, (await watched(feeds, "address")).values()))


# Deaths at known places


@pytest.mark.assertion("registries-faults", 3)
@pytest.mark.assertion("registries", 25)
@pytest.mark.parametrize("place", PLACES)
async def test_a_page_that_was_not_committed_leaves_no_trace_and_comes_again(feeds: Feeds, place: str) -> None:
    for index in range(3):
        feeds.krr.change(person(index))
    runs = Runs(feeds, feeds.persons)
    await runs.killed((1, place))
    assert await feeds.people() == {}
    assert await feeds.cursor("krr", "position") == 0
    assert await feeds.cursor("krr", "state") == "running"
    assert await feeds.persons(interval=timedelta()).run() is None, "the dead run's lease still holds"
    assert (await runs.whole()).counts.inserted == 3
    outcomes = await feeds.rows("SELECT outcome, inserted FROM registry.sync_run ORDER BY id")
    assert outcomes == [("abandoned", 0), ("done", 3)]


@pytest.mark.assertion("registries-faults", 4)
async def test_a_run_that_dies_between_pages_goes_on_behind_the_last_one(feeds: Feeds) -> None:
    feeds.krr.page_size = 2
    for index in range(5):
        feeds.krr.change(person(index))
    runs = Runs(feeds, feeds.persons)
    await runs.killed((3, "before reading"))
    assert len(await feeds.people()) == 4
    assert (await runs.whole()).counts == store.Counts(inserted=1)


@pytest.mark.assertion("registries-faults", 24)
async def test_without_the_database_the_run_counts_as_abandoned_and_the_page_comes_again(feeds: Feeds) -> None:
    """F24: every connection is cut while a page is merged."""
    feeds.krr.change(person(1))
    runs = Runs(feeds, feeds.persons)
    runs.shift += LAPSED
    sync = feeds.persons(shift=runs.shift)
    sync._stream = Cut(sync._stream)
    with pytest.raises(Unavailable):
        await sync.run()
    assert (await runs.whole()).counts.inserted == 1
    assert await feeds.rows("SELECT outcome FROM registry.sync_run ORDER BY id") == [("abandoned",), ("done",)]


@dataclass
class Cut:
    """The connection is gone before the page is merged."""

    stream: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    async def merge(self, conn: Any, *args: Any, **options: Any) -> Any:
        await execute(conn, "SELECT pg_terminate_backend(pg_backend_pid())", {})
        return await self.stream.merge(conn, *args, **options)


async def begin(feeds: Feeds) -> None:
    """Empty registers, empty copies."""
    await run_sql(feeds, EMPTY)
    for simulator in (feeds.krr, feeds.business):
        simulator._faults.clear()
        simulator.log.clear()
        simulator._told.clear()
    feeds.krr.world.persons.clear()
    feeds.business.world._addresses.clear()
    feeds.business.world._owners.clear()


async def watched(feeds: Feeds, *members: str) -> dict[str, list[Any]]:
    """What each row was, one write after another; None for its removal."""
    found: dict[str, list[Any]] = {}
    for key, was in await feeds.rows("SELECT key, was FROM watched ORDER BY n"):
        found.setdefault(key, []).append(was and tuple(was[member] for member in members))
    return found


async def counted(feeds: Feeds) -> int:
    value: int = await feeds.value(
        "SELECT coalesce(sum(inserted + updated + removed), 0)::bigint FROM registry.sync_run"
    )
    return value
