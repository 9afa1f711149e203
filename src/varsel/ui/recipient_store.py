"""SQL of the page of one recipient: everything that was sent there, newest first, and whom a notification is for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

from varsel.db import ReadConn, fetch, fetch_one
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.order import OrderChannel, OrderKind
from varsel.ui.access_store import About
from varsel.ui.order_store import MESSAGE, Message, message

MAX_SHOWN: Final = 500
"""Notifications of one page: the newest before a given one."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification to the recipient. `title`: how its order's text begins."""

    message: Message
    order: OrderId
    creator: str
    reference: str | None
    kind: OrderKind
    channel: OrderChannel
    requested: datetime
    title: str


_COLUMNS: Final = f"""
SELECT o.id, c.name, o.senders_reference, o.kind::text, o.channel::text, o.requested_send_time,
       coalesce(left(t.email_subject, 200), left(t.sms_body, 200), ''), {MESSAGE}
  FROM (SELECT * FROM notification n
"""
_REST: Final = """
           AND (%(before)s::uuid IS NULL OR n.id < %(before)s)
         ORDER BY n.id DESC LIMIT %(limit)s) n
  JOIN orders o ON o.id = n.order_id
  JOIN creator c ON c.id = n.creator_id
  LEFT JOIN order_content t ON t.order_id = n.order_id
 ORDER BY n.id DESC
"""
_OWN: Final = "AND (%(creator)s::text IS NULL OR n.creator_id = (SELECT id FROM creator WHERE name = %(creator)s))"

TO_SUBJECT: Final = (
    f"{_COLUMNS} WHERE n.subject_key = %(key)s AND n.subject_kind = %(kind)s::subject_kind {_OWN} {_REST}"
)
# The index holds addresses that an order named itself; what was sent to a person is found by their number.
TO_ADDRESS: Final = f"{_COLUMNS} WHERE n.subject_key IS NULL AND lower(n.address) = lower(%(key)s) {_OWN} {_REST}"


async def find_sent(
    conn: ReadConn, about: About, creator: str | None, *, before: UUID | None, limit: int = MAX_SHOWN
) -> list[Sent]:
    """`creator`: the only one whose notifications are found; None: all."""
    sql: LiteralString = TO_ADDRESS if about.kind == "address" else TO_SUBJECT
    params: dict[str, Any] = {"key": about.key, "kind": about.kind, "creator": creator, "before": before}
    if about.kind == "address":
        del params["kind"]
    return await fetch(conn, sql, {**params, "limit": limit}, _sent)


WHOM: Final = """
SELECT n.subject_kind::text, n.subject_key, n.address
  FROM notification n JOIN creator c ON c.id = n.creator_id
 WHERE n.id = %(id)s AND (%(creator)s::text IS NULL OR c.name = %(creator)s)
"""


async def whom(conn: ReadConn, notification: NotificationId, creator: str | None) -> About | None:
    """Whom it is for; None when there is none, or none of that creator."""
    return await fetch_one(conn, WHOM, {"id": notification, "creator": creator}, _about)


def _about(kind: str | None, key: str | None, address: str) -> About:
    return About(kind, key) if kind and key else About("address", address.lower())


def _sent(
    order: UUID,
    creator: str,
    reference: str | None,
    kind: str,
    channel: str,
    requested: datetime,
    title: str,
    *rest: Any,
) -> Sent:
    return Sent(
        message(*rest), OrderId(order), creator, reference, OrderKind(kind), OrderChannel(channel), requested, title
    )
