"""SQL of who serves a webhook: one worker at a time, under a lease that the database's clock judges.

The fencing number counts leases, and every write states it: who lost the lease changes nothing. `shift` moves that
clock; only tests set it. All other times are business time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_value
from varsel.domain.ids import CreatorId, WebhookId

NO_SHIFT: Final = timedelta()


@dataclass(frozen=True, slots=True)
class Held:
    """A webhook as the worker that serves it knows it. `secrets`: that sign now, the newest first."""

    id: WebhookId
    creator: str
    creator_id: CreatorId
    url: str
    kinds: frozenset[str]
    destinations: bool
    secrets: tuple[bytes, ...]
    active: bool
    version: int
    position: int
    replay_from: int | None
    failures: int
    fencing: int


# The ends of indexes are looked at: to look whether anything is there would read all when nothing is.
TAKE: Final = """
UPDATE webhook w
   SET lease_until = statement_timestamp() + %(shift)s + %(lease)s, served_at = statement_timestamp(),
       fencing = w.fencing + 1
  FROM creator c
 WHERE c.id = w.creator_id
   AND w.id = ANY (ARRAY(
       SELECT h.id FROM webhook h
        WHERE (h.lease_until IS NULL OR h.lease_until <= statement_timestamp() + %(shift)s)
          AND ((SELECT min(next_at) FROM webhook_delivery
                 WHERE webhook_id = h.id AND state = 'waiting' AND seq IS NULL) <= %(now)s
               OR (h.state = 'active' AND (h.resting_until IS NULL OR h.resting_until <= %(now)s)
                   AND (h.replay_from IS NOT NULL
                        OR (SELECT max(seq) FROM status_feed WHERE creator_id = h.creator_id) > h.position
                        OR (SELECT min(next_at) FROM webhook_delivery
                             WHERE webhook_id = h.id AND state = 'waiting') <= %(now)s)))
        ORDER BY h.served_at NULLS FIRST LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING w.id, c.name, w.creator_id, w.url, w.kinds, w.destinations, w.secret,
          CASE WHEN w.old_secret_until > %(now)s THEN w.old_secret END,
          w.state = 'active' AND (w.resting_until IS NULL OR w.resting_until <= %(now)s),
          w.version, w.position, w.replay_from, w.failures, w.fencing
"""


async def take(conn: Conn, *, now: datetime, lease: timedelta, limit: int, shift: timedelta = NO_SHIFT) -> list[Held]:
    """Webhooks that have something to be sent, and that nobody serves, until the lease ends."""
    return await fetch(conn, TAKE, {"now": now, "lease": lease, "limit": limit, "shift": shift}, _held)


# What waits for business time alone: what is due already is taken, or another's.
NEXT_DUE: Final = """
SELECT least((SELECT min(resting_until) FROM webhook WHERE state = 'active' AND resting_until > %(now)s),
             (SELECT min(next_at) FROM webhook_delivery WHERE state = 'waiting' AND next_at > %(now)s))
"""


async def next_due(conn: ReadConn, *, now: datetime) -> datetime | None:
    due: datetime | None = await fetch_value(conn, NEXT_DUE, {"now": now})
    return due


# Replay

REWIND: Final = """
UPDATE webhook SET position = replay_from - 1, replay_from = NULL WHERE id = %(id)s AND fencing = %(fencing)s
   AND replay_from IS NOT NULL
RETURNING position
"""

FORGET: Final = """
DELETE FROM webhook_delivery
 WHERE webhook_id = %(id)s AND seq IS NOT NULL AND (seq > %(position)s OR state = 'waiting')
"""


async def rewind(conn: Conn, held: Held) -> int | None:
    """Go to where the owner wants all again: the new position. None when the webhook is another's by now.

    What was sent from there on is forgotten; what was not sent of the time before is given up.
    """
    position: int | None = await fetch_value(conn, REWIND, {"id": held.id, "fencing": held.fencing})
    if position is not None:
        await execute(conn, FORGET, {"id": held.id, "position": position})
    return position


RELEASE: Final = "UPDATE webhook SET lease_until = NULL WHERE id = %(id)s AND fencing = %(fencing)s"


async def release(conn: Conn, held: Held) -> None:
    await execute(conn, RELEASE, {"id": held.id, "fencing": held.fencing})


def _held(
    id_: UUID,
    creator: str,
    creator_id: int,
    url: str,
    kinds: Sequence[str],
    destinations: bool,
    secret: bytes,
    old_secret: bytes | None,
    active: bool,
    version: int,
    position: int,
    replay_from: int | None,
    failures: int,
    fencing: int,
) -> Held:
    secrets = (bytes(secret), bytes(old_secret)) if old_secret else (bytes(secret),)
    return Held(
        WebhookId(id_),
        creator,
        CreatorId(creator_id),
        url,
        frozenset(kinds),
        destinations,
        secrets,
        active,
        version,
        position,
        replay_from,
        failures,
        fencing,
    )
