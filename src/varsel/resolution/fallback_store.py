"""SQL of late fallback: orders that reached nobody are taken up, looked up on the other channel, and decided."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_value
from varsel.domain.ids import CreatorId, OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import Lane, OrderChannel, OrderKind
from varsel.resolution.store import Claimed

# The row needs no lease: it is moved ahead, and comes back if we die. Who decides it locks it again.
TAKE: Final = """
UPDATE fallback
   SET attempts = attempts + 1,
       wake_at = %(now)s + make_interval(mins => (ARRAY[1, 2, 5, 10, 15])[least(attempts + 1, 5)])
 WHERE order_id = ANY (ARRAY(SELECT order_id FROM fallback WHERE wake_at <= %(now)s
                              ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING order_id, channel
"""

ORDERS: Final = """
SELECT id, creator_id, kind, lane, recipients, requested_send_time, attempts FROM orders WHERE id = ANY(%(orders)b)
"""

TRIED: Final = "SELECT order_id, channel, address FROM notification WHERE order_id = ANY(%(orders)b)"

LOCK: Final = """
SELECT order_id, late FROM fallback
 WHERE order_id = ANY(%(orders)s) AND wake_at IS NOT NULL ORDER BY order_id FOR UPDATE
"""

DECIDE: Final = """
UPDATE fallback f SET outcome = t.outcome, decided_at = %(now)s, wake_at = NULL
  FROM unnest(%(orders)s::uuid[], %(outcomes)s::text[]) AS t (id, outcome)
 WHERE f.order_id = t.id
"""

# In the place of the fallback, its messages are pending.
REPLACE: Final = """
UPDATE orders o SET pending = o.pending - 1 + t.messages, expires_at = coalesce(t.expires_at, o.expires_at)
  FROM unnest(%(orders)s::uuid[], %(messages)s::int[], %(expiries)s::timestamptz[]) AS t (id, messages, expires_at)
 WHERE o.id = t.id AND o.id = ANY(%(orders)s)
"""

NEXT_DUE: Final = "SELECT min(wake_at) FROM fallback WHERE wake_at IS NOT NULL"


class Outcome(StrEnum):
    SENT = "sent"
    UNREACHABLE = "unreachable"
    RESERVED = "reserved"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Decision:
    """What came of an order's fallback. `messages`: how many there are; `expires_at`: when the first of them does."""

    order: OrderId
    outcome: Outcome
    messages: int = 0
    expires_at: datetime | None = None


Address = tuple[OrderId, Channel, str]


async def take(conn: Conn, *, now: datetime, limit: int) -> dict[OrderId, Channel]:
    """Fallbacks that are due, with the channel to try. They come again after 1, 2, 5, 10, 15 … minutes."""
    rows = await fetch(conn, TAKE, {"now": now, "limit": limit}, lambda id_, channel: (OrderId(id_), Channel(channel)))
    return dict(rows)


async def orders(conn: ReadConn, taken: dict[OrderId, Channel]) -> list[Claimed]:
    """Facts of orders, as if they had asked for the other channel alone."""
    return await fetch(conn, ORDERS, {"orders": list(taken)}, lambda *row: _claimed(taken, *row))


async def tried(conn: ReadConn, orders: Collection[OrderId]) -> frozenset[Address]:
    rows = await fetch(conn, TRIED, {"orders": list(orders)}, lambda id_, *rest: (OrderId(id_), *rest))
    return frozenset((id_, Channel(channel), address) for id_, channel, address in rows)


async def lock_open(conn: Conn, orders: Collection[OrderId]) -> dict[OrderId, bool]:
    """Those that nobody has decided meanwhile, locked; and whether the order was complete before."""
    return dict(await fetch(conn, LOCK, {"orders": sorted(orders)}, lambda id_, late: (OrderId(id_), bool(late))))


async def decide(conn: Conn, decisions: Sequence[Decision], *, now: datetime) -> None:
    """They are locked by `lock_open`."""
    params: dict[str, Any] = {"orders": [d.order for d in decisions], "outcomes": [d.outcome.value for d in decisions]}
    await execute(conn, DECIDE, {**params, "now": now})


async def replace_pending(conn: Conn, decisions: Sequence[Decision]) -> None:
    """Let messages count in the place of their order's fallback. The orders are locked."""
    params: dict[str, Any] = {"orders": [d.order for d in decisions], "messages": [d.messages for d in decisions]}
    await execute(conn, REPLACE, {**params, "expiries": [d.expires_at for d in decisions]})


async def next_due(conn: ReadConn) -> datetime | None:
    """When the next fallback is looked up (business time)."""
    due: datetime | None = await fetch_value(conn, NEXT_DUE, {})
    return due


def _claimed(
    taken: dict[OrderId, Channel],
    id_: UUID,
    creator: int,
    kind: str,
    lane: int,
    recipients: int,
    requested: datetime,
    attempts: int,
) -> Claimed:
    order = OrderId(id_)
    channel = OrderChannel.EMAIL if taken[order] is Channel.EMAIL else OrderChannel.SMS
    return Claimed(order, CreatorId(creator), OrderKind(kind), channel, Lane(lane), recipients, requested, attempts)
