"""SQL that reads the ledgers of one order. Only the creator's own orders are ever found (http-api 3.3)."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from varsel.db import ReadConn, fetch, fetch_one
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderChannel, OrderKind, OrderState
from varsel.status.explain import (
    AttemptFacts,
    CheckFacts,
    Facts,
    FallbackFacts,
    FeedFacts,
    NotificationFacts,
    OrderFacts,
    ReportFacts,
)

MAX_EXPLAINED: Final = 200
"""Notifications of one answer: the first. Any other can be asked for by its id."""

ORDER: Final = """
SELECT o.kind::text, o.channel::text, o.state::text, o.senders_reference, o.requested_send_time, o.created_at,
       o.state_at, o.wake_at, o.recipients, (SELECT count(*) FROM notification n WHERE n.order_id = %(order)s)::int
  FROM orders o JOIN creator c ON c.id = o.creator_id
 WHERE o.id = %(order)s AND c.name = %(creator)s
"""

CHECKS: Final = """
SELECT checked_at, http_status, verdict, detail FROM condition_check WHERE order_id = %(order)s ORDER BY checked_at
"""

NOTIFICATIONS: Final = """
SELECT id, channel::text, state::text, reason, settled, daytime, attempts, attempts + returns, address, state_at,
       expires_at, wake_at, accepted_at, provider, detail
  FROM notification
 WHERE order_id = %(order)s AND (%(notification)s::uuid IS NULL OR id = %(notification)s)
 ORDER BY id LIMIT %(limit)s
"""

ATTEMPTS: Final = """
SELECT notification_id, number, provider, ended_at, outcome, detail
  FROM attempt WHERE notification_id = ANY(%(ids)s) ORDER BY ended_at, number
"""

REPORTS: Final = """
SELECT notification_id, provider, received_at, verdict, raw_state, detail, state, state_reason
  FROM delivery_report WHERE notification_id = ANY(%(ids)s) ORDER BY received_at, id
"""

# An entry is written with the move that it tells of, and at the same instant: no index of its own is needed.
FEED: Final = """
SELECT f.seq, f.created_at, coalesce((f.body ->> 'correction')::boolean, false)
  FROM status_feed f JOIN creator c ON c.id = f.creator_id
 WHERE c.name = %(creator)s AND f.order_id = %(order)s AND f.created_at = ANY(%(moments)s) AND f.kind = 'order'
 ORDER BY f.seq
"""

FALLBACK: Final = """
SELECT channel::text, opened_at, wake_at, outcome, decided_at FROM fallback WHERE order_id = %(order)s
"""


async def find_facts(
    conn: ReadConn, creator: str, order: OrderId, notification: NotificationId | None = None
) -> Facts | None:
    """All that is known of the creator's order, or of one of its notifications; None when there is no such order."""
    params: dict[str, Any] = {"creator": creator, "order": order}
    found = await fetch_one(conn, ORDER, params, lambda *row: _order(order, *row))
    if found is None:
        return None
    wanted = {"order": order, "notification": notification, "limit": MAX_EXPLAINED}
    notifications = await fetch(conn, NOTIFICATIONS, wanted, _notification)
    ids = {"ids": [n.id for n in notifications]}
    moments = sorted({found.state_at, *(n.state_at for n in notifications)})
    return Facts(
        found,
        await fetch(conn, CHECKS, params, CheckFacts),
        notifications,
        await fetch(conn, ATTEMPTS, ids, AttemptFacts),
        await fetch(conn, REPORTS, ids, ReportFacts),
        await fetch(conn, FEED, {**params, "moments": moments}, FeedFacts),
        await fetch_one(conn, FALLBACK, params, _fallback),
    )


def _fallback(channel: str, *rest: Any) -> FallbackFacts:
    return FallbackFacts(Channel(channel), *rest)


def _order(
    id_: OrderId,
    kind: str,
    channel: str,
    state: str,
    reference: str | None,
    requested: datetime,
    created: datetime,
    state_at: datetime,
    wake_at: datetime | None,
    recipients: int,
    notifications: int,
) -> OrderFacts:
    return OrderFacts(
        id_,
        OrderKind(kind),
        OrderChannel(channel),
        OrderState(state),
        reference,
        requested,
        created,
        state_at,
        wake_at,
        recipients,
        notifications,
    )


def _notification(id_: UUID, channel: str, state: str, reason: str | None, *rest: Any) -> NotificationFacts:
    return NotificationFacts(
        NotificationId(id_), Channel(channel), State(state), Reason(reason) if reason else None, *rest
    )
