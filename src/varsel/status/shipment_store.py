"""SQL of shipments. Only the creator's own are ever found (http-api 3.3)."""

from datetime import datetime
from typing import Final

from varsel.db import ReadConn, fetch
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason, State, result_name
from varsel.domain.order import OrderKind, OrderState
from varsel.status.shipment import Part, Shipment

# Enumerations sort as they were declared: emails come first.
SHIPMENT: Final = """
SELECT o.senders_reference, o.kind::text, o.state::text, greatest(o.created_at, o.state_at),
       n.channel::text, n.address, n.state::text, n.reason, n.state_at
  FROM orders o JOIN creator c ON c.id = o.creator_id
  LEFT JOIN notification n ON n.order_id = %(order)s
 WHERE o.id = %(order)s AND c.name = %(creator)s
 ORDER BY n.channel, n.id
"""


async def find_shipment(conn: ReadConn, creator: str, order: OrderId) -> Shipment | None:
    """Any order of the creator, with all its notifications; None when there is no such order."""
    rows = await fetch(conn, SHIPMENT, {"order": order, "creator": creator}, lambda *row: row)
    if not rows:
        return None
    reference, kind, state, at = rows[0][:4]
    parts = [_part(*row[4:]) for row in rows if row[4] is not None]
    return Shipment(order, reference, OrderKind(kind), OrderState(state), at, parts)


def _part(channel: str, address: str, state: str, reason: str | None, at: datetime) -> Part:
    name = result_name(Channel(channel), State(state), Reason(reason) if reason else None)
    return Part(Channel(channel), address, name.v2, at)
