"""SQL of the feed: its sequencer (proven 3), its readers, and how the one tells the others."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.domain.ids import CreatorId, OrderId
from varsel.domain.order import OrderKind
from varsel.log import Log
from varsel.wakeup import Work

log = Log(__name__)

# Every number is given under one lock that is held past the commit: whoever has read N has read all before it. The
# lock is taken before anything is looked for; what a former holder has numbered meanwhile is gone, and left out.
NUMBER = """
WITH held AS MATERIALIZED (SELECT true AS held FROM (SELECT pg_advisory_xact_lock(8, 1)) AS l),
     d AS (DELETE FROM feed_pending
            WHERE id = ANY (ARRAY(SELECT id FROM feed_pending
                                   WHERE (SELECT held FROM held) ORDER BY id LIMIT %(limit)s)) RETURNING *),
     o AS MATERIALIZED (SELECT * FROM d ORDER BY id)
INSERT INTO status_feed (seq, creator_id, order_id, created_at, kind, body)
SELECT nextval('feed_seq'), creator_id, order_id, created_at, kind, body FROM o
RETURNING creator_id
"""


async def number_pending(conn: Conn, *, limit: int = 5_000) -> list[CreatorId]:
    """Move pending entries into the feed; returns the creator of each. Not in a transaction that goes on."""
    return await fetch(conn, NUMBER, {"limit": limit}, CreatorId)


NUMBERED: Final = Work.NUMBERED.value
"""The channel on which readers hear that feeds have grown."""

# A payload of NOTIFY stays below 8 000 bytes: of very many creators nothing is said but that they are.
ANNOUNCE = """
SELECT pg_notify(%(channel)s, CASE WHEN octet_length(t.names) <= 7000 THEN t.names ELSE '' END)
  FROM (SELECT coalesce(json_agg(name)::text, '') AS names FROM creator WHERE id = ANY(%(creators)s)) AS t
"""


async def announce(conn: Conn, creators: Collection[CreatorId]) -> None:
    """Tell readers whose feed has grown, after the commit."""
    await execute(conn, ANNOUNCE, {"creators": sorted(set(creators)), "channel": NUMBERED})


def announced(heard: str) -> frozenset[str] | None:
    """The names of creators in an announcement as `Database.listen` gives it; None: it may be anybody."""
    _, _, names = heard.partition(":")
    return frozenset(json.loads(names)) if names else None


@dataclass(frozen=True, slots=True)
class FeedRecipient:
    """`status` is the v2 name of the outcome."""

    destination: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An order as it stood when it was completed, or corrected; `status` is the v2 name of its state."""

    seq: int
    order: OrderId
    senders_reference: str | None
    kind: OrderKind
    status: str
    at: datetime
    correction: bool
    recipients: tuple[FeedRecipient, ...]


# A page ends early when its entries are big, but one always comes. Sizes are as stored, which needs no reading.
FORWARD: Final = """
SELECT seq, body FROM (
    SELECT seq, body, sum(pg_column_size(body)) OVER (ORDER BY seq) - pg_column_size(body) AS before
      FROM (SELECT seq, body FROM status_feed
             WHERE creator_id = (SELECT id FROM creator WHERE name = %(creator)s) AND seq > %(seq)s
               AND kind = 'order'
             ORDER BY seq LIMIT %(limit)s) AS e) AS p
 WHERE before < %(max_bytes)s
 ORDER BY seq
"""

BACKWARD: Final = """
SELECT seq, body FROM (
    SELECT seq, body, sum(pg_column_size(body)) OVER (ORDER BY seq DESC) - pg_column_size(body) AS before
      FROM (SELECT seq, body FROM status_feed
             WHERE creator_id = (SELECT id FROM creator WHERE name = %(creator)s) AND seq < %(seq)s
               AND kind = 'order'
             ORDER BY seq DESC LIMIT %(limit)s) AS e) AS p
 WHERE before < %(max_bytes)s
 ORDER BY seq DESC
"""

_MAX_BYTES: Final = 4_000_000
_NEWEST: Final = 2**63 - 1


async def read_feed(
    conn: ReadConn, creator: str, *, seq: int, limit: int, newest_first: bool, max_bytes: int = _MAX_BYTES
) -> list[FeedEntry]:
    """Entries after `seq`, oldest first; or before it, newest first, where 0 is no bound (http-api 16.2).

    An entry that cannot be read is left out, with an alarm (processing 8.3).
    """
    params = {"creator": creator, "limit": limit, "max_bytes": max_bytes}
    if newest_first:
        rows = await fetch(conn, BACKWARD, {**params, "seq": seq or _NEWEST}, _entry)
    else:
        rows = await fetch(conn, FORWARD, {**params, "seq": seq}, _entry)
    return [entry for entry in rows if entry]


def _entry(seq: int, body: Any) -> FeedEntry | None:
    try:
        return FeedEntry(
            seq,
            OrderId(UUID(body["shipmentId"])),
            body.get("sendersReference"),
            OrderKind(body["shipmentType"]),
            body["status"],
            datetime.fromisoformat(body["lastUpdate"]),
            body.get("correction", False),
            tuple(
                FeedRecipient(r["destination"], r["status"], datetime.fromisoformat(r["lastUpdate"]))
                for r in body["recipients"]
            ),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        log.error("feed entry unreadable", seq=seq)
        return None
