"""SQL of late fallback: the last failure of an order opens it, in the same transaction, and no order has two.

The order stays open for it: an undecided fallback counts as pending. What the stage of resolution makes of it stands in
`resolution/fallback_store.py`.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.domain.ids import OrderId

_OF_THEIR_OWN_WILL: Final = ["unsubscribe", "complaint", "manual"]
"""Grounds of suppression with which somebody said that he wants no message: then the other channel is none either."""

# The orders are locked. Nobody was reached when every message failed for good; a soft failure may yet be overruled.
OPEN: Final = """
INSERT INTO fallback (order_id, channel, late, opened_at, wake_at)
SELECT o.id, CASE WHEN t.tried THEN c.second ELSE c.first END, o.state = 'Completed', %(now)s, %(now)s
  FROM orders o
 CROSS JOIN LATERAL (SELECT CASE o.channel WHEN 'SmsPreferred' THEN 'sms' ELSE 'email' END::channel AS first,
                            CASE o.channel WHEN 'SmsPreferred' THEN 'email' ELSE 'sms' END::channel AS second) AS c
 CROSS JOIN LATERAL (
       SELECT bool_or(n.channel = c.first) AS tried,
              bool_and(n.state = 'failed' AND NOT n.soft AND split_part(n.detail, ':', 1) <> ALL (%(wills)s))
                  AS hopeless
         FROM notification n
        WHERE n.order_id = o.id) AS t
 WHERE o.id = ANY(%(ids)b) AND o.fallback_until >= %(now)s AND t.hopeless
ON CONFLICT DO NOTHING
RETURNING order_id
"""

KEEP_OPEN: Final = "UPDATE orders SET pending = pending + 1 WHERE id = ANY(%(ids)b) AND state = 'Completed'"

LATE: Final = "SELECT order_id FROM fallback WHERE order_id = ANY(%(ids)b) AND late"


async def open_fallbacks(conn: Conn, orders: Collection[OrderId], *, now: datetime) -> frozenset[OrderId]:
    """Those of the orders, all of them locked, that try the other channel now. Each counts as pending from now on.

    The caller counts for orders that are not complete; for complete ones it is done here.
    """
    ids = sorted(orders)
    opened = await fetch(conn, OPEN, {"ids": ids, "now": now, "wills": _OF_THEIR_OWN_WILL}, OrderId)
    if opened:
        await execute(conn, KEEP_OPEN, {"ids": opened})
    return frozenset(opened)


async def begun_late(conn: ReadConn, orders: Collection[OrderId]) -> frozenset[OrderId]:
    """Those of the orders that were complete before their fallback began."""
    return frozenset(await fetch(conn, LATE, {"ids": sorted(orders)}, OrderId))
