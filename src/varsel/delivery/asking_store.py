"""SQL of asking providers what became of messages: those that are due are held for a while, asked about, and moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from varsel.db import Conn, ReadConn, fetch, fetch_value
from varsel.delivery.store import Claimed, Recorded, conclude
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.order import Lane
from varsel.tally.store import BUCKET, TALLY_MOVED

# Held by when they wake next: nobody else asks meanwhile, and if we die, somebody asks then.
HOLD = """
WITH picked AS MATERIALIZED (
    SELECT id FROM notification
     WHERE state = 'unknown' AND provider = %(provider)s AND wake_at <= %(now)s
     ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
held AS (
    UPDATE notification n SET wake_at = %(until)s WHERE n.id = ANY (ARRAY(SELECT id FROM picked))
    RETURNING n.id, n.provider_ref, coalesce(n.accepted_at, n.state_at) AS since, n.order_id, n.creator_id, n.lane,
              n.attempts, n.daytime, n.expires_at, n.subject_kind, n.subject_key, n.address, n.recipient_name,
              n.returns, n.unknowns, n.tried)
SELECT h.provider_ref, h.since, h.id, h.order_id, h.creator_id, h.lane, h.attempts, h.daytime, h.expires_at,
       h.subject_kind, h.subject_key, h.address, h.recipient_name, c.name, h.returns, h.unknowns, h.tried
  FROM held h JOIN creator c ON c.id = h.creator_id ORDER BY h.id
"""

# Only rows that we still hold change: a report, or whoever came after us, has decided about the others.
MOVE = f"""
WITH moved (id, order_id, fated, creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = r.state, state_at = CASE WHEN r.state = 'unknown' THEN n.state_at ELSE %(now)s END, reason = r.reason,
       wake_at = r.wake_at, settled = r.settled,
       provider_ref = CASE WHEN r.state = 'new' THEN NULL ELSE coalesce(r.reference, n.provider_ref) END,
       detail = CASE WHEN r.state = 'unknown' AND r.detail = '' THEN n.detail ELSE r.detail END
  FROM unnest(%(ids)s::uuid[], %(states)s::notification_state[], %(reasons)s::text[], %(wakes)s::timestamptz[],
              %(settled)s::boolean[], %(references)s::text[], %(details)s::text[])
       AS r (id, state, reason, wake_at, settled, reference, detail)
 WHERE n.id = r.id AND n.id BETWEEN %(low)s AND %(high)s AND n.state = 'unknown' AND n.wake_at = %(until)s
RETURNING n.id, n.order_id, n.state = 'failed' OR n.settled, n.creator_id, n.channel, n.provider, 'unknown', {BUCKET}),
tallied AS ({TALLY_MOVED})
SELECT id, order_id, fated FROM moved
"""

NEXT_DUE = """
SELECT min(wake_at) FROM notification WHERE state = 'unknown' AND provider = %(provider)s AND wake_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A message to ask about. `reference`: the provider's, if it gave one; `since`: when it was handed over."""

    reference: str | None
    since: datetime
    row: Claimed


async def hold_due(conn: Conn, provider: str, *, now: datetime, until: datetime, limit: int) -> list[Held]:
    """The messages whose provider is to be asked now, ours until `until` (business time). In order of id."""
    params = {"provider": provider, "now": now, "until": until, "limit": limit}
    return await fetch(conn, HOLD, params, _held)


async def move(
    conn: Conn, results: Sequence[Recorded], *, until: datetime, now: datetime
) -> tuple[frozenset[NotificationId], frozenset[OrderId]]:
    """Store what was answered about messages held until `until`.

    Returns which of them it changed, and the orders that completed by it.
    """
    rows = sorted(results, key=lambda r: r.id.int)
    changed = await fetch(conn, MOVE, {**_params(rows), "until": until, "now": now}, _changed)
    fated: dict[OrderId, int] = {}
    for _, order, has_fate in changed:
        if has_fate:
            fated[order] = fated.get(order, 0) + 1
    ids = frozenset(id_ for id_, _, _ in changed)
    return ids, await conclude(conn, [row for row in rows if row.id in ids], fated, now=now)


async def next_due(conn: ReadConn, provider: str) -> datetime | None:
    """When it is to be asked next (business time)."""
    value: datetime | None = await fetch_value(conn, NEXT_DUE, {"provider": provider})
    return value


def _params(rows: Sequence[Recorded]) -> dict[str, Any]:
    return {
        "low": rows[0].id,
        "high": rows[-1].id,
        "ids": [r.id for r in rows],
        "states": [r.state.value for r in rows],
        "reasons": [r.reason.value if r.reason else None for r in rows],
        "wakes": [r.wake_at for r in rows],
        "settled": [r.settled for r in rows],
        "references": [r.reference for r in rows],
        "details": [r.detail for r in rows],
    }


def _held(reference: str | None, since: datetime, *columns: Any) -> Held:
    id_, order, creator, lane, *rest = columns
    return Held(reference, since, Claimed(id_, order, creator, Lane(lane), *rest))


def _changed(id_: Any, order: Any, has_fate: bool) -> tuple[NotificationId, OrderId, bool]:
    return NotificationId(id_), OrderId(order), has_fate
