"""SQL of support: one recipient's notifications over all creators, and a creator's notification log."""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from varsel.db import ReadConn, fetch
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderChannel, OrderKind
from varsel.status.support import MAX_NOTIFICATIONS, Attempt, LogEntry, SubjectKind, SupportOrder, raw_result

# Every notification to the subject is looked at, whatever its age: its order's time decides.
BY_SUBJECT: Final = """
SELECT o.id, c.name, t.resource_id, o.senders_reference, o.requested_send_time, o.channel::text, o.kind::text,
       n.channel::text, n.address, n.state::text, n.reason, n.state_at
  FROM notification n
  JOIN orders o ON o.id = n.order_id
  JOIN creator c ON c.id = o.creator_id
  LEFT JOIN order_content t ON t.order_id = o.id
 WHERE n.subject_key = %(key)s AND n.subject_kind = %(kind)s
   AND o.requested_send_time >= %(start)s AND o.requested_send_time < %(end)s
 ORDER BY o.requested_send_time DESC, o.id DESC, n.channel, n.id
 LIMIT %(limit)s
"""


async def find_by_subject(
    conn: ReadConn, kind: SubjectKind, key: str, *, start: datetime, end: datetime
) -> list[SupportOrder]:
    """Orders with notifications to the subject whose requested send time lies in [start, end), newest first."""
    params = {"key": key, "kind": kind, "start": start, "end": end, "limit": MAX_NOTIFICATIONS}
    rows = await fetch(conn, BY_SUBJECT, params, lambda *row: row)
    return [_order(list(group)) for _, group in groupby(rows, key=lambda row: row[0])]


# Orders that a condition stopped, or that were cancelled, leave no entries (processing 9.3).
LOG: Final = """
SELECT h.id, o.id, n.id, o.senders_reference, h.dialog_id, h.transmission_id, n.provider_ref, n.subject_key,
       o.kind::text, n.channel::text, n.address, t.resource_id, n.state::text, n.reason, o.requested_send_time,
       n.state_at
  FROM creator c
  JOIN order_chain h ON h.creator_id = c.id
 CROSS JOIN LATERAL jsonb_array_elements(h.shipments) AS s (shipment)
  JOIN orders o ON o.id = (s.shipment ->> 'id')::uuid AND o.state = 'Completed'
  JOIN notification n ON n.order_id = o.id
  LEFT JOIN order_content t ON t.order_id = o.id
 WHERE c.name = %(creator)s
   AND (%(dialog)s::text IS NULL
        OR (left(h.dialog_id, 100) = left(%(dialog)s, 100) AND h.dialog_id = %(dialog)s))
   AND (%(transmission)s::text IS NULL
        OR (left(h.transmission_id, 100) = left(%(transmission)s, 100) AND h.transmission_id = %(transmission)s))
 ORDER BY o.requested_send_time DESC, o.id DESC, n.channel, n.id
 LIMIT %(limit)s
"""


async def find_log(
    conn: ReadConn, creator: str, *, dialog_id: str | None, transmission_id: str | None
) -> list[LogEntry]:
    """What the creator's completed orders made for a dialog, a transmission or both; newest order first.

    At least one of the two ids is given.
    """
    params = {
        "creator": creator,
        "dialog": dialog_id,
        "transmission": transmission_id,
        "limit": MAX_NOTIFICATIONS,
    }
    return await fetch(conn, LOG, params, _entry)


def _order(rows: list[Any]) -> SupportOrder:
    id_, creator, resource, reference, requested, channel, kind = rows[0][:7]
    attempts = tuple(_attempts(row[7:] for row in rows))
    return SupportOrder(
        OrderId(id_), creator, resource, reference, requested, OrderChannel(channel), OrderKind(kind), attempts
    )


def _attempts(rows: Iterable[Any]) -> Iterable[Attempt]:
    for name, address, state, reason, at in rows:
        channel = Channel(name)
        yield Attempt(channel, address, raw_result(channel, State(state), Reason(reason) if reason else None), at)


def _entry(
    chain: UUID,
    order: UUID,
    notification: UUID,
    reference: str | None,
    dialog_id: str | None,
    transmission_id: str | None,
    delivery_reference: str | None,
    recipient: str | None,
    kind: str,
    channel: str,
    destination: str,
    resource_id: str | None,
    state: str,
    reason: str | None,
    requested: datetime,
    at: datetime,
) -> LogEntry:
    by = Channel(channel)
    return LogEntry(
        chain,
        OrderId(order),
        NotificationId(notification),
        reference,
        dialog_id,
        transmission_id,
        delivery_reference,
        recipient,
        OrderKind(kind),
        by,
        destination,
        resource_id,
        raw_result(by, State(state), Reason(reason) if reason else None),
        requested,
        at,
    )
