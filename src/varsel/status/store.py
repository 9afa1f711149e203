"""SQL of what senders and operators read about orders. Only the creator's own rows are ever found (http-api 3.3)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from varsel.db import ReadConn, fetch, fetch_one, fetch_value
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State, result_name
from varsel.domain.order import ContentType, EmailTemplate, OrderChannel, OrderState, Recipient, SmsTemplate
from varsel.status.summary import Count, Facts, OrderDetails, OrderHead, OrderStatus, Outcome, Outcomes

_HEAD: Final = """
o.id, o.senders_reference, o.requested_send_time, c.name, o.created_at, o.channel::text,
t.ignore_reservation, t.resource_id, t.resource_action, t.condition_endpoint
"""

# The content may be gone before the order: retention blanks it first.
_OWN: Final = """
orders o JOIN creator c ON c.id = o.creator_id LEFT JOIN order_content t ON t.order_id = o.id
"""

_DETAILS: Final = f"""
SELECT {_HEAD}, t.recipients, t.email_sender, t.email_subject, t.email_body, t.email_content_type,
       t.sms_sender, t.sms_body
  FROM {_OWN}
"""

FIND_BY_ID: Final = f"{_DETAILS} WHERE o.id = %(order)s AND c.name = %(creator)s"
FIND_BY_REFERENCE: Final = (
    f"{_DETAILS} WHERE o.senders_reference = %(reference)s AND c.name = %(creator)s"
    " AND left(o.senders_reference, 100) = left(%(reference)s, 100) ORDER BY o.id"  # what the index holds
)


async def find_order(conn: ReadConn, creator: str, order: OrderId) -> OrderDetails | None:
    return await fetch_one(conn, FIND_BY_ID, {"order": order, "creator": creator}, _details)


async def find_orders(conn: ReadConn, creator: str, reference: str) -> list[OrderDetails]:
    """The creator's orders with exactly this reference, oldest first."""
    return await fetch(conn, FIND_BY_REFERENCE, {"reference": reference, "creator": creator}, _details)


# Succeeded: accepted or delivered on either channel (http-api 8.4, 8.5, O-3).
STATUS: Final = f"""
SELECT {_HEAD}, o.state::text, o.state_at, n.emails, n.emails_succeeded, n.sms, n.sms_succeeded
  FROM {_OWN}
 CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE channel = 'email') AS emails,
           count(*) FILTER (WHERE channel = 'email' AND state IN ('accepted', 'delivered')) AS emails_succeeded,
           count(*) FILTER (WHERE channel = 'sms') AS sms,
           count(*) FILTER (WHERE channel = 'sms' AND state IN ('accepted', 'delivered')) AS sms_succeeded
      FROM notification WHERE order_id = %(order)s
 ) n
 WHERE o.id = %(order)s AND c.name = %(creator)s
"""


async def find_status(conn: ReadConn, creator: str, order: OrderId) -> OrderStatus | None:
    def status(*row: Any) -> OrderStatus:
        head, (state, at, emails, emails_succeeded, sms, sms_succeeded) = row[:10], row[10:]
        return OrderStatus(
            _head(*head), OrderState(state), at, Count(emails, emails_succeeded), Count(sms, sms_succeeded)
        )

    return await fetch_one(conn, STATUS, {"order": order, "creator": creator}, status)


OUTCOMES: Final = """
SELECT o.id, o.senders_reference, n.id, n.address, n.subject_kind::text, n.subject_key, n.state::text, n.reason,
       n.state_at
  FROM orders o JOIN creator c ON c.id = o.creator_id
  LEFT JOIN notification n ON n.order_id = %(order)s AND n.channel = %(channel)s
 WHERE o.id = %(order)s AND c.name = %(creator)s
 ORDER BY n.id
"""


async def find_outcomes(conn: ReadConn, creator: str, order: OrderId, channel: Channel) -> Outcomes | None:
    """All notifications of the order on one channel, oldest first; None when the creator has no such order."""
    rows = await fetch(conn, OUTCOMES, {"order": order, "creator": creator, "channel": channel}, lambda *row: row)
    if not rows:
        return None
    id_, reference = rows[0][:2]
    outcomes = [_outcome(channel, *row[2:]) for row in rows if row[2] is not None]
    return Outcomes(OrderId(id_), reference, outcomes)


# A health answer's facts in one round trip. Rows in a default leaf mean that partitions were not made in time.
FACTS: Final = """
SELECT statement_timestamp(),
       (SELECT count(*) FROM worker WHERE kind = 'worker' AND lease_until > statement_timestamp()),
       EXISTS (SELECT FROM orders_default) OR EXISTS (SELECT FROM notification_default),
       current_setting('synchronous_standby_names') <> ''
"""


async def ping(conn: ReadConn) -> None:
    """Whether the database answers; it may be empty."""
    await fetch_value(conn, "SELECT 1", {})


async def facts(conn: ReadConn) -> Facts:
    found = await fetch_one(conn, FACTS, {}, Facts)
    assert found is not None
    return found


def _head(
    id_: Any,
    reference: str | None,
    send_time: datetime,
    creator: str,
    created: datetime,
    channel: str,
    ignore_reservation: bool | None,
    resource_id: str | None,
    resource_action: str | None,
    condition_endpoint: str | None,
) -> OrderHead:
    return OrderHead(
        OrderId(id_),
        reference,
        send_time,
        creator,
        created,
        OrderChannel(channel),
        ignore_reservation,
        resource_id,
        resource_action,
        condition_endpoint,
    )


def _details(*row: Any) -> OrderDetails:
    head, (recipients, sender, subject, body, content_type, sms_sender, sms_body) = row[:10], row[10:]
    return OrderDetails(
        _head(*head),
        tuple(_recipient(document) for document in recipients or ()),
        EmailTemplate(sender, subject, body, ContentType(content_type or ContentType.PLAIN))
        if sender is not None
        else None,
        SmsTemplate(sms_sender, sms_body) if sms_sender is not None else None,
    )


def _recipient(document: Mapping[str, str]) -> Recipient:
    """The short keys of `order_content.recipients`."""
    return Recipient(
        national_identity_number=document.get("nin"),
        organisation_number=document.get("org"),
        external_identity=document.get("ext"),
        email=document.get("email"),
        mobile=document.get("mobile"),
    )


def _outcome(
    channel: Channel,
    id_: Any,
    address: str,
    kind: str | None,
    key: str | None,
    state: str,
    reason: str | None,
    at: datetime,
) -> Outcome:
    return Outcome(
        NotificationId(id_),
        address,
        key if kind == "person" else None,
        key if kind == "organisation" else None,
        result_name(channel, State(state), Reason(reason) if reason else None),
        at,
    )
