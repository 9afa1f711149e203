"""Records that were set aside are tried again, with their old place in the feed, or let go (registries 2.5, 7.5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.feeds import Feed
from varsel.registry_sync import merge_store, quarantine_store
from varsel.registry_sync.addresses import Foreign, Removal, read_entry
from varsel.registry_sync.merge_store import Merged
from varsel.registry_sync.persons import read_person
from varsel.registry_sync.quarantine_store import Quarantined
from varsel.registry_sync.reading import Reader, Unreadable, parse

_BATCH = 500


@dataclass(slots=True)
class Retried:
    """`superseded`: something newer was known already. `unreadable`: still, or the content is not kept any more."""

    applied: int = 0
    superseded: int = 0
    unreadable: int = 0


async def retry(
    db: Database, clock: Clock, *, feed: Feed | None, ids: Sequence[int] | None, synthetic_only: bool
) -> Retried:
    """Read again what is set aside: after a release that can, say. Each record is a transaction of its own.

    Raises `UpstreamError` when a real person is among them where only synthetic ones may be.
    """
    result = Retried()
    after = 0
    while True:
        async with db.reading() as conn:
            batch = await quarantine_store.quarantined(conn, feed, ids, after=after, limit=_BATCH)
        for item in batch:
            await _retry_one(db, clock, item, Reader(datetime.now(UTC), synthetic_only), result)
            after = item.id
        if len(batch) < _BATCH:
            return result


async def discard(db: Database, clock: Clock, ids: Sequence[int]) -> int:
    """Let them go. Returns how many were there."""
    async with db.autocommit() as conn:
        return await quarantine_store.resolve(conn, ids, "discarded", now=clock.now())


async def _retry_one(db: Database, clock: Clock, item: Quarantined, reader: Reader, result: Retried) -> None:
    if item.payload is None:
        result.unreadable += 1
        return
    try:
        async with db.transaction() as conn:
            merged = await _merge(conn, item, parse(item.payload), reader, clock.now())
            changed = merged is not None and merged.inserted + merged.updated + merged.removed > 0
            await quarantine_store.resolve(conn, [item.id], "applied" if changed else "superseded", now=clock.now())
    except Unreadable:
        result.unreadable += 1
        return
    if changed:
        result.applied += 1
    else:
        result.superseded += 1


async def _merge(conn: Conn, item: Quarantined, record: object, reader: Reader, now: datetime) -> Merged | None:
    """None for what concerns nobody here. Raises `Unreadable`."""
    if item.feed == Feed.KRR:
        person = read_person(record, item.ordinal, reader)
        return await merge_store.merge_persons(
            conn, [person], generation=item.generation, position=item.position, now=now
        )
    match read_entry(record, item.ordinal, reader):
        case Foreign():
            return None
        case Removal() as removal:
            return Merged(0, 0, await merge_store.remove_addresses(conn, [removal], now=now))
        case address:
            return await merge_store.merge_addresses(conn, [address], generation=item.generation, now=now)
