"""The two feeds as the synchronisation sees them: the next page, read; and how it is brought into the local copy.

Sources: registries 2.5, 3.4, 7.3 and 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from varsel.db import Conn
from varsel.domain.feeds import Feed
from varsel.registry_sync import merge_store
from varsel.registry_sync.addresses import AddressRecord, Entry, Removal, read_entries
from varsel.registry_sync.merge_store import Unseen
from varsel.registry_sync.persons import PersonRecord, read_persons
from varsel.registry_sync.ports import AddressFeed, EntryPage, PersonFeed, UpstreamError
from varsel.registry_sync.reading import Poison, Reader
from varsel.registry_sync.store import Counts, Cursor, Position

R = TypeVar("R")

_REFUSES_A_PAGE: Final = frozenset({400, 404, 410})


@dataclass(frozen=True, slots=True)
class Reading(Generic[R]):
    """A page, read. `to`: where the cursor stands behind it; `latest`: the newest change, where the register counts.

    `more`: whether another page follows; `oddities`: what was taken although it looked strange, counted.
    """

    records: Sequence[R]
    poison: Sequence[Poison]
    received: int
    ignored: int
    to: Position
    latest: int | None
    more: bool
    oddities: Mapping[str, int] = field(default_factory=dict)


class Stream(Protocol[R]):
    @property
    def feed(self) -> Feed: ...

    async def read(self, cursor: Cursor) -> Reading[R]:
        """The page behind the cursor. Raises `UpstreamError`."""
        ...

    async def merge(self, conn: Conn, cursor: Cursor, reading: Reading[R], *, now: datetime) -> Counts: ...

    def ids(self, records: Sequence[R]) -> list[str]:
        """As the quarantine knows them."""
        ...

    async def unseen(self, conn: Conn, cursor: Cursor) -> Unseen:
        """At the end of a full synchronisation: what it has not met."""
        ...

    async def remove_unseen(self, conn: Conn, cursor: Cursor, *, now: datetime) -> int: ...


class PersonStream:
    """KRR's changes. `synthetic_only`: a real person stops the run."""

    feed: ClassVar = Feed.KRR

    def __init__(self, upstream: PersonFeed, *, synthetic_only: bool) -> None:
        self._upstream = upstream
        self._synthetic_only = synthetic_only

    async def read(self, cursor: Cursor) -> Reading[PersonRecord]:
        since = cursor.position.number
        page = await self._upstream.changes(since)
        if page.latest < since:
            raise UpstreamError("needs_resync", detail="the register counts fewer changes than we have read")
        if page.to < since:
            raise UpstreamError("protocol", detail="the page ends before it begins")
        reader = Reader(datetime.now(UTC), self._synthetic_only)
        records, poison = read_persons(page.records, reader)
        return Reading(
            records,
            poison,
            received=len(page.records),
            ignored=0,
            to=Position(page.to),
            latest=page.latest,
            more=page.to < page.latest,
            oddities=reader.oddities,
        )

    async def merge(self, conn: Conn, cursor: Cursor, reading: Reading[PersonRecord], *, now: datetime) -> Counts:
        place = {"generation": cursor.generation, "position": reading.to.number}
        merged = await merge_store.merge_persons(conn, reading.records, **place, now=now)
        if cursor.reloading:
            await merge_store.mark_persons_seen(conn, reading.records, **place)
        return Counts(
            merged.inserted,
            merged.updated,
            len(reading.records) - merged.inserted - merged.updated - merged.removed,
            merged.removed,
            quarantined=len(reading.poison),
        )

    def ids(self, records: Sequence[PersonRecord]) -> list[str]:
        return [record.subject_key for record in records]

    async def unseen(self, conn: Conn, cursor: Cursor) -> Unseen:
        return await merge_store.unseen_persons(conn, cursor.generation)

    async def remove_unseen(self, conn: Conn, cursor: Cursor, *, now: datetime) -> int:
        return await merge_store.remove_unseen_persons(conn, cursor.generation, now=now)


class AddressStream:
    """Changes of businesses' notification addresses. `overlap`: so much is read again by each run."""

    feed: ClassVar = Feed.BUSINESS_ADDRESSES

    def __init__(self, upstream: AddressFeed, *, overlap: timedelta) -> None:
        self._upstream = upstream
        self._overlap = overlap

    async def read(self, cursor: Cursor) -> Reading[Entry]:
        page, made_at = await self._page(cursor.position)
        reader = Reader(datetime.now(UTC), synthetic_only=False)
        entries = read_entries(page.entries, reader)
        following = page.next_page if page.entries else None
        at = _later(cursor.position.at, entries.newest, made_at)
        return Reading(
            entries.chosen,
            entries.poison,
            received=len(page.entries),
            ignored=entries.ignored,
            to=Position(at=at, next_page=following, made_at=made_at if following else None),
            latest=None,
            more=following is not None,
            oddities=reader.oddities,
        )

    async def _page(self, position: Position) -> tuple[EntryPage, datetime | None]:
        """The page, and when the first of its row was made."""
        if position.next_page is not None:
            try:
                return await self._upstream.page(position.next_page), position.made_at
            except UpstreamError as e:
                if e.status not in _REFUSES_A_PAGE:
                    raise
        page = await self._upstream.first_page(position.at and position.at - self._overlap)
        return page, page.updated

    async def merge(self, conn: Conn, cursor: Cursor, reading: Reading[Entry], *, now: datetime) -> Counts:
        addresses = [entry for entry in reading.records if isinstance(entry, AddressRecord)]
        removals = [entry for entry in reading.records if isinstance(entry, Removal)]
        removed = await merge_store.remove_addresses(conn, removals, now=now)
        merged = await merge_store.merge_addresses(conn, addresses, generation=cursor.generation, now=now)
        if cursor.reloading:
            await merge_store.mark_addresses_seen(conn, addresses, generation=cursor.generation)
        return Counts(
            merged.inserted,
            merged.updated,
            len(reading.records) - merged.inserted - merged.updated - removed,
            removed,
            reading.ignored,
            len(reading.poison),
        )

    def ids(self, records: Sequence[Entry]) -> list[str]:
        return [record.registry_id for record in records]

    async def unseen(self, conn: Conn, cursor: Cursor) -> Unseen:
        return await merge_store.unseen_addresses(conn, cursor.generation)

    async def remove_unseen(self, conn: Conn, cursor: Cursor, *, now: datetime) -> int:  # noqa: ARG002 - the port's
        return await merge_store.remove_unseen_addresses(conn, cursor.generation)


def _later(before: datetime | None, newest: datetime | None, made_at: datetime | None) -> datetime | None:
    """Time goes forward only, and not past when the first page of a row was made.

    What changes while we read on may never be told on the later pages; and a time ahead must not carry us past changes
    that are still to come.
    """
    if newest is not None and made_at is not None:
        newest = min(newest, made_at)
    return max((time for time in (before, newest) if time is not None), default=None)
