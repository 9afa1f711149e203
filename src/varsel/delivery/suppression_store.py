"""SQL of the suppression list: look up by hash, put on, lift, count what was stopped, read, and forget."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one
from varsel.delivery.suppression import LONGEST, RULES, Entry, Ground, NewEntry
from varsel.domain.ids import uuid7
from varsel.domain.notification import Channel

FIND = """
SELECT id, address_hash, reason, creator, provider, expires_at FROM suppression
 WHERE address_hash = ANY(%(hashes)b) AND removed_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)
"""

# What is found out again while it holds changes nothing; after its end it holds anew, longer where its reason doubles.
# What somebody asks for replaces what was asked for before. In order of the key, else two batches deadlock.
ADD = """
INSERT INTO suppression AS s (id, channel, address_hash, masked, creator, provider, reason, source, created_at,
                              expires_at)
SELECT * FROM unnest(%(ids)s::uuid[], %(channels)s::channel[], %(hashes)s::bytea[], %(masked)s::text[],
                     %(creators)s::text[], %(providers)s::text[], %(reasons)s::text[], %(sources)s::text[],
                     %(created)s::timestamptz[], %(expires)s::timestamptz[])
    ON CONFLICT (address_hash, channel, reason, creator, provider) WHERE removed_at IS NULL DO UPDATE
   SET times = least(s.times + 1, 100), source = excluded.source, masked = excluded.masked,
       expires_at = excluded.created_at + CASE
           WHEN s.reason = ANY(%(doubling)s)
           THEN least((excluded.expires_at - excluded.created_at) * 2 ^ least(s.times, 10), %(longest)s)
           ELSE excluded.expires_at - excluded.created_at END
 WHERE s.expires_at <= excluded.created_at OR s.reason = 'manual'
RETURNING id, channel::text, masked, creator, provider, reason, source, created_at, expires_at, hits, last_hit_at,
          removed_at, removed_by
"""

LIFT = """
UPDATE suppression SET removed_at = %(now)s, removed_by = %(by)s
 WHERE id = ANY (ARRAY(SELECT id FROM suppression
                        WHERE address_hash = ANY(%(hashes)s) AND reason = ANY(%(reasons)s) AND removed_at IS NULL
                        ORDER BY address_hash, id FOR UPDATE))
"""

HIT = """
UPDATE suppression s SET hits = s.hits + h.count, last_hit_at = %(now)s
  FROM (SELECT s.id, c.count FROM suppression s JOIN unnest(%(ids)s::uuid[], %(counts)s::int[]) AS c (id, count)
            ON c.id = s.id ORDER BY s.id FOR UPDATE OF s) AS h
 WHERE s.id = h.id
"""

LIST = """
SELECT id, channel::text, masked, creator, provider, reason, source, created_at, expires_at, hits, last_hit_at,
       removed_at, removed_by
  FROM suppression
 WHERE (%(creator)s::text IS NULL OR creator = %(creator)s OR (creator IS NULL AND %(hash)s::bytea IS NOT NULL))
   AND (%(hash)s::bytea IS NULL OR address_hash = %(hash)s)
   AND (%(before)s::uuid IS NULL OR id < %(before)s)
   AND (%(ended)s OR (removed_at IS NULL AND (expires_at IS NULL OR expires_at > %(now)s)))
 ORDER BY id DESC LIMIT %(limit)s
"""

REMOVE = """
UPDATE suppression SET removed_at = %(now)s, removed_by = %(by)s
 WHERE id = %(id)s AND removed_at IS NULL AND (%(creator)s::text IS NULL OR creator = %(creator)s)
RETURNING id, channel::text, masked, creator, provider, reason, source, created_at, expires_at, hits, last_hit_at,
          removed_at, removed_by
"""

FORGET = """
DELETE FROM suppression
 WHERE id = ANY (ARRAY(SELECT id FROM suppression WHERE coalesce(removed_at, expires_at) <= %(before)s
                        LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
"""

LIFTED_BY_ARRIVAL = (Ground.HARD_BOUNCE, Ground.BARRED)


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry as it is shown. The address is masked; `removed_at`, `removed_by`: when and by whom it was removed."""

    id: UUID
    channel: Channel
    masked: str
    creator: str | None
    provider: str | None
    ground: Ground
    source: str
    created_at: datetime
    expires_at: datetime | None
    hits: int
    last_hit_at: datetime | None
    removed_at: datetime | None
    removed_by: str | None


async def find(conn: ReadConn, hashes: Collection[bytes], *, now: datetime) -> list[Entry]:
    """The entries for these addresses that hold."""
    return await fetch(conn, FIND, {"hashes": list(hashes), "now": now}, _entry)


async def add(conn: Conn, entries: Iterable[NewEntry], *, now: datetime) -> list[Listed]:
    """Put them on the list; returns those that this changed. Of several for the same thing the last counts."""
    keyed = {_key(entry): entry for entry in entries}
    rows = [keyed[key] for key in sorted(keyed)]
    params: dict[str, Any] = {
        "ids": [uuid7() for _ in rows],
        "channels": [r.channel.value for r in rows],
        "hashes": [r.address_hash for r in rows],
        "masked": [r.masked for r in rows],
        "creators": [r.creator for r in rows],
        "providers": [r.provider for r in rows],
        "reasons": [r.ground.value for r in rows],
        "sources": [r.source for r in rows],
        "created": [now] * len(rows),
        "expires": [r.expires_at for r in rows],
        "doubling": [ground.value for ground, rule in RULES.items() if rule.doubles],
        "longest": LONGEST,
    }
    return await fetch(conn, ADD, params, _listed)


async def lift_by_arrival(conn: Conn, hashes: Collection[bytes], *, by: str, now: datetime) -> int:
    """A message has arrived at these addresses: somebody is there. Returns how many entries that removed."""
    reasons = [ground.value for ground in LIFTED_BY_ARRIVAL]
    return await execute(conn, LIFT, {"hashes": list(hashes), "reasons": reasons, "by": by, "now": now})


async def count_hits(conn: Conn, hit: Iterable[UUID], *, now: datetime) -> None:
    """Each of these entries has stopped a message, as often as it is named."""
    counted = Counter(hit)
    await execute(conn, HIT, {"ids": list(counted), "counts": list(counted.values()), "now": now})


async def listed(
    conn: ReadConn,
    creator: str | None,
    *,
    now: datetime,
    address_hash: bytes | None = None,
    before: UUID | None = None,
    ended: bool = False,
    limit: int = 1_000,
) -> list[Listed]:
    """The creator's own entries, or all when none is named; the newest first. `ended`: also those that hold no more.

    `address_hash`: those for one address, and then also the ones that are everybody's.
    """
    params = {"creator": creator, "hash": address_hash, "before": before, "ended": ended, "limit": limit, "now": now}
    return await fetch(conn, LIST, params, _listed)


async def remove(conn: Conn, id_: UUID, creator: str | None, *, by: str, now: datetime) -> Listed | None:
    """The entry as it then stands. `creator`: whose it must be, None: anybody's. None: there is none to remove."""
    return await fetch_one(conn, REMOVE, {"id": id_, "creator": creator, "by": by, "now": now}, _listed)


async def forget(conn: Conn, *, before: datetime, limit: int = 5_000) -> int:
    """Delete a batch of entries that have not held since; returns how many."""
    return await execute(conn, FORGET, {"before": before, "limit": limit})


def _key(entry: NewEntry) -> tuple[bytes, str, str, str, str]:
    return entry.address_hash, entry.channel, entry.ground, entry.creator or "", entry.provider or ""


def _entry(id_: UUID, address_hash: bytes, reason: str, *rest: Any) -> Entry:
    return Entry(id_, bytes(address_hash), Ground(reason), *rest)


def _listed(id_: UUID, channel: str, masked: str, creator: str, provider: str, reason: str, *rest: Any) -> Listed:
    return Listed(id_, Channel(channel), masked, creator, provider, Ground(reason), *rest)
