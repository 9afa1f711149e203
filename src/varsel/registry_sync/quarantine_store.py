"""SQL of the quarantine: records that could not be read, set aside until a person or a better record comes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import Conn, ReadConn, columns, execute, fetch
from varsel.domain.feeds import Feed
from varsel.registry_sync.reading import Poison
from varsel.registry_sync.store import Cursor, Position

SET_ASIDE: Final = """
INSERT INTO registry.quarantine AS q
       (feed, upstream_id, reason, payload, generation, position, ordinal, first_seen_at, last_seen_at)
SELECT %(feed)s, upstream_id, reason, payload, %(generation)s, %(position)s, ordinal, %(now)s, %(now)s
  FROM unnest(%(upstream_id)s::text[], %(reason)s::text[], %(payload)s::text[], %(ordinal)s::int[])
       AS p (upstream_id, reason, payload, ordinal)
 ORDER BY upstream_id, reason
    ON CONFLICT (feed, upstream_id, reason) WHERE resolved_at IS NULL
    DO UPDATE SET seen_count = q.seen_count + 1, last_seen_at = excluded.last_seen_at, payload = excluded.payload,
                  generation = excluded.generation, position = excluded.position, ordinal = excluded.ordinal
"""


async def set_aside(conn: Conn, cursor: Cursor, to: Position, poison: Sequence[Poison], *, now: datetime) -> None:
    """A repeat raises the count of its row. Of one page, the last record of an id and reason is kept."""
    distinct = list({(p.upstream_id, p.reason): p for p in poison}.values())
    params = {
        "feed": cursor.feed,
        "generation": cursor.generation,
        "position": to.number,
        "now": now,
        **columns(distinct, "upstream_id", "reason", "payload", "ordinal"),
    }
    if distinct:
        await execute(conn, SET_ASIDE, params)


SUPERSEDE: Final = """
UPDATE registry.quarantine SET resolved_at = %(now)s, resolution = 'superseded'
 WHERE feed = %(feed)s AND upstream_id = ANY(%(ids)s) AND resolved_at IS NULL
"""


async def supersede(conn: Conn, feed: Feed, ids: Collection[str], *, now: datetime) -> None:
    """A readable record of the same person or address has come."""
    await execute(conn, SUPERSEDE, {"feed": feed, "ids": list(ids), "now": now})


@dataclass(frozen=True, slots=True)
class Quarantined:
    id: int
    feed: str
    upstream_id: str
    reason: str
    payload: str | None
    generation: int
    position: int
    ordinal: int
    first_seen_at: datetime
    last_seen_at: datetime
    seen_count: int


OPEN: Final = """
SELECT id, feed, upstream_id, reason, payload, generation, position, ordinal, first_seen_at, last_seen_at, seen_count
  FROM registry.quarantine
 WHERE resolved_at IS NULL AND (%(feed)s::text IS NULL OR feed = %(feed)s)
   AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s)) AND id > %(after)s
 ORDER BY id LIMIT %(limit)s
"""


async def quarantined(
    conn: ReadConn, feed: Feed | None = None, ids: Sequence[int] | None = None, *, after: int = 0, limit: int = 1_000
) -> list[Quarantined]:
    """What is set aside, oldest first."""
    params = {"feed": feed, "ids": None if ids is None else list(ids), "after": after, "limit": limit}
    return await fetch(conn, OPEN, params, Quarantined)


RESOLVE: Final = """
UPDATE registry.quarantine SET resolved_at = %(now)s, resolution = %(resolution)s, payload = NULL
 WHERE id = ANY(%(ids)s) AND resolved_at IS NULL
"""


async def resolve(conn: Conn, ids: Sequence[int], resolution: str, *, now: datetime) -> int:
    """How many were still open. Their content is not kept."""
    return await execute(conn, RESOLVE, {"ids": list(ids), "resolution": resolution, "now": now})
