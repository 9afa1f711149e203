"""When an order is complete, and the feed entry that says so. Shared by the stages that give notifications their fate.

Three separate statements in the caller's transaction, after its update of notifications: lock the orders in order of
id, then subtract, then write the feed. One-statement forms looked right and lost counts (proven 4).
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import Conn, execute, fetch
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import NAMES, Channel, Reason, State
from varsel.domain.order import ORDER_STATE_NAMES, OrderState
from varsel.fates.fallback_store import begun_late, open_fallbacks

LOCK = "SELECT 1 FROM orders WHERE id = ANY(%(ids)b) ORDER BY id FOR UPDATE"

# Locks all of them, and tells those that may try another channel when nobody was reached.
LOCK_AND_LOOK = """
WITH held AS MATERIALIZED (
    SELECT id, pending, fallback_until FROM orders WHERE id = ANY(%(ids)b) ORDER BY id FOR UPDATE)
SELECT id, pending FROM held WHERE fallback_until >= %(now)s
"""

# An order that is complete already counts the messages of its late fallback, and stays complete since when it was.
SUBTRACT = """
UPDATE orders o
   SET pending = o.pending - t.fates,
       state = CASE WHEN o.pending = t.fates THEN 'Completed' ELSE o.state END,
       state_at = CASE WHEN o.pending = t.fates AND o.state <> 'Completed' THEN %(now)s ELSE o.state_at END
  FROM unnest(%(ids)b::uuid[], %(fates)b::int[]) AS t (id, fates)
 WHERE o.id = t.id AND o.id = ANY(%(ids)b)
RETURNING o.id, o.pending = 0, o.fallback_until IS NOT NULL
"""

FEED = """
INSERT INTO feed_pending (creator_id, order_id, created_at, body)
SELECT o.creator_id, o.id, %(now)s, jsonb_strip_nulls(jsonb_build_object(
           'shipmentId', o.id,
           'sendersReference', o.senders_reference,
           'shipmentType', o.kind,
           'status', %(orders)s::jsonb ->> o.state::text,
           'lastUpdate', to_char(greatest(o.created_at, o.state_at) AT TIME ZONE 'UTC', %(form)s),
           'correction', CASE WHEN %(correction)s THEN true END,
           'recipients', coalesce(r.recipients, '[]')))
  FROM orders o
  LEFT JOIN LATERAL (
       SELECT jsonb_agg(jsonb_build_object(
                    'notificationId', n.id,
                    'destination', n.address,
                    'status', %(outcomes)s::jsonb -> n.channel::text ->> coalesce(n.reason, n.state::text),
                    'lastUpdate', to_char(n.state_at AT TIME ZONE 'UTC', %(form)s))
                ORDER BY n.channel, n.id) AS recipients
         FROM notification n
        WHERE n.order_id = o.id) r ON true
 WHERE o.id = ANY(%(ids)b)
 ORDER BY o.id
"""

# Not for readers of the feed: it tells of a reader's anger, not of an outcome. Webhooks are told.
COMPLAINTS = """
INSERT INTO feed_pending (creator_id, order_id, created_at, kind, body)
SELECT o.creator_id, o.id, %(now)s, 'complaint', jsonb_strip_nulls(jsonb_build_object(
           'shipmentId', o.id,
           'sendersReference', o.senders_reference,
           'shipmentType', o.kind,
           'status', %(orders)s::jsonb ->> o.state::text,
           'lastUpdate', to_char(greatest(o.created_at, o.state_at) AT TIME ZONE 'UTC', %(form)s),
           'recipients', jsonb_build_array(jsonb_build_object(
               'notificationId', n.id,
               'destination', n.address,
               'status', %(outcomes)s::jsonb -> n.channel::text ->> coalesce(n.reason, n.state::text),
               'lastUpdate', to_char(n.state_at AT TIME ZONE 'UTC', %(form)s)))))
  FROM notification n JOIN orders o ON o.id = n.order_id
 WHERE n.id = ANY(%(ids)s)
 ORDER BY n.id
"""


def _outcomes() -> str:
    """As JSON: by channel, the v2 name of every stored state or reason."""
    names: dict[str, dict[str, str]] = {}
    for channel in Channel:
        known = NAMES[channel]
        unnamed = {reason.value: known[Reason.UNSPECIFIED].v2 for reason in Reason}
        held = {state.value: known[State.SENDING].v2 for state in (State.CLAIMED, State.UNKNOWN)}
        names[channel.value] = {**unnamed, **held, **{outcome.value: name.v2 for outcome, name in known.items()}}
    return json.dumps(names)


_INSTANT: Final = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
_OUTCOMES: Final = _outcomes()
_ORDERS: Final = json.dumps({state.value: ORDER_STATE_NAMES[state].v2 for state in OrderState})


async def lock_orders(conn: Conn, orders: Collection[OrderId]) -> None:
    """Lock orders, in order of id: all that a transaction will look at or change, at once."""
    await execute(conn, LOCK, {"ids": sorted(orders)})


async def count_fates(
    conn: Conn, orders: Iterable[OrderId] | Mapping[OrderId, int], *, now: datetime
) -> frozenset[OrderId]:
    """Subtract one pending notification for each entry of `orders`, or as many as a mapping says.

    Returns the orders that are complete by it. One that would be, and may try the other channel because nobody was
    reached, is not: it waits for that.

    Call it after the update that gave the fates, in the same transaction, for moves into a fate only: never for a
    correction. Complete orders get their feed entry here.
    """
    counts = dict(sorted(Counter(orders).items()))
    if not counts:
        return frozenset()
    ids = list(counts)
    hopeful = await fetch(conn, LOCK_AND_LOOK, {"ids": ids, "now": now}, lambda id_, pending: (OrderId(id_), pending))
    if ending := [order for order, pending in hopeful if pending == counts[order]]:
        for order in await open_fallbacks(conn, ending, now=now):
            counts[order] -= 1
    rows = await fetch(conn, SUBTRACT, {"ids": ids, "fates": list(counts.values()), "now": now}, _Counted)
    complete = [row for row in rows if row.complete]
    await _tell(conn, [row.id for row in complete], [row.id for row in complete if row.falls_back], now)
    return frozenset(row.id for row in complete)


async def tell_completion(conn: Conn, orders: Collection[OrderId], *, now: datetime) -> None:
    """The feed's entries of orders whose last message has its fate by other means than `count_fates`."""
    await _tell(conn, orders, orders, now)


async def _tell(conn: Conn, complete: Collection[OrderId], doubtful: Collection[OrderId], now: datetime) -> None:
    """One ordinary entry for each order; what comes of a fallback that began after it is a correction."""
    late = await begun_late(conn, doubtful) if doubtful else frozenset()
    await add_to_feed(conn, frozenset(complete) - late, now=now)
    await add_to_feed(conn, late, now=now, correction=True)


async def fall_back_late(conn: Conn, orders: Collection[OrderId], *, now: datetime) -> None:
    """Of orders that are locked, and complete: let those try the other channel that may, and reached nobody after all.

    For corrections, after the update that made them.
    """
    if orders:
        await open_fallbacks(conn, orders, now=now)


async def add_to_feed(conn: Conn, orders: Collection[OrderId], *, now: datetime, correction: bool = False) -> None:
    """A feed entry for each order, as it stands in this transaction (processing 8.2)."""
    if orders:
        await execute(
            conn,
            FEED,
            {
                "ids": sorted(orders),
                "now": now,
                "correction": correction,
                "form": _INSTANT,
                "outcomes": _OUTCOMES,
                "orders": _ORDERS,
            },
        )


async def add_complaints(conn: Conn, notifications: Collection[NotificationId], *, now: datetime) -> None:
    """An entry for webhooks about each message that its reader complained of (channels 7.2)."""
    if notifications:
        params = {"ids": sorted(notifications), "now": now, "form": _INSTANT, "outcomes": _OUTCOMES, "orders": _ORDERS}
        await execute(conn, COMPLAINTS, params)


@dataclass(frozen=True, slots=True)
class _Counted:
    id: OrderId
    complete: bool
    falls_back: bool
