"""SQL of the search for an id: an order's (a shipment's is the same), a notification's, or a chain's."""

from typing import Final
from uuid import UUID

from varsel.db import ReadConn, fetch_one
from varsel.domain.ids import NotificationId, OrderId

FIND: Final = """
SELECT order_id, notification_id FROM (
    SELECT id AS order_id, creator_id, NULL::uuid AS notification_id FROM orders WHERE id = %(id)s
    UNION ALL
    SELECT order_id, creator_id, id FROM notification WHERE id = %(id)s
    UNION ALL
    SELECT (shipments -> 0 ->> 'id')::uuid, creator_id, NULL FROM order_chain WHERE id = %(id)s
) f
  JOIN creator c ON c.id = f.creator_id
 WHERE %(creator)s::text IS NULL OR c.name = %(creator)s
 LIMIT 1
"""


async def find_id(conn: ReadConn, id_: UUID, creator: str | None) -> tuple[OrderId, NotificationId | None] | None:
    """The order, and the notification when the id is that of one. `creator`: the only one whose are found."""
    return await fetch_one(conn, FIND, {"id": id_, "creator": creator}, _found)


def _found(order: UUID, notification: UUID | None) -> tuple[OrderId, NotificationId | None]:
    return OrderId(order), NotificationId(notification) if notification else None
