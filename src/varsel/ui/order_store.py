"""SQL of the page of one order, beside the facts of its story: texts, siblings, and its recipients by the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from varsel.db import ReadConn, fetch, fetch_one
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderKind, OrderState
from varsel.ui.access_store import About
from varsel.ui.orders_store import FATE, TALLY
from varsel.ui.outcome import Standing
from varsel.ui.verdict import Fate, Tally, fate_of


@dataclass(frozen=True, slots=True)
class Texts:
    """As ordered, with their keywords. None, each, when the channel has no text or it is no longer kept."""

    email_sender: str | None
    email_subject: str | None
    email_body: str | None
    email_is_html: bool
    sms_sender: str | None
    sms_body: str | None

    @property
    def title(self) -> str:
        return self.email_subject or (self.sms_body or "")[:80]


@dataclass(frozen=True, slots=True)
class Sibling:
    """Another order of the same chain."""

    id: OrderId
    kind: OrderKind
    state: OrderState
    reference: str | None
    requested: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """`fallback_until`: until then the other channel is tried for who was not reached. `only`: its one recipient."""

    creator: str
    chain: UUID | None
    texts: Texts
    sending_time: str | None
    fallback_until: datetime | None
    has_condition: bool
    only: About | None


HEAD: Final = """
SELECT c.name, o.chain_id, t.email_sender, t.email_subject, t.email_body, coalesce(t.email_content_type, '') = 'Html',
       t.sms_sender, t.sms_body, t.sending_time, o.fallback_until, t.condition_endpoint IS NOT NULL,
       CASE WHEN o.recipients = 1 THEN t.recipients -> 0 END
  FROM orders o JOIN creator c ON c.id = o.creator_id LEFT JOIN order_content t ON t.order_id = o.id
 WHERE o.id = %(order)s AND (%(creator)s::text IS NULL OR c.name = %(creator)s)
"""


async def find_head(conn: ReadConn, order: OrderId, creator: str | None) -> Head | None:
    """`creator`: the only one whose orders are found; None: all."""
    return await fetch_one(conn, HEAD, {"order": order, "creator": creator}, _head)


SIBLINGS: Final = """
SELECT o.id, o.kind::text, o.state::text, o.senders_reference, o.requested_send_time
  FROM order_chain h
 CROSS JOIN LATERAL jsonb_array_elements(h.shipments) AS s (shipment)
  JOIN orders o ON o.id = (s.shipment ->> 'id')::uuid
 WHERE h.id = %(chain)s AND o.id <> %(order)s
 ORDER BY o.requested_send_time, o.id LIMIT 50
"""


async def find_siblings(conn: ReadConn, chain: UUID, order: OrderId) -> list[Sibling]:
    return await fetch(conn, SIBLINGS, {"chain": chain, "order": order}, _sibling)


TALLIES: Final = f"""
SELECT {TALLY} FROM (
    SELECT min(fate) AS fate FROM (
        SELECT coalesce(n.subject_key, n.address) AS who, {FATE} AS fate
          FROM notification n WHERE n.order_id = %(order)s
    ) n GROUP BY who
) r
"""


async def find_tally(conn: ReadConn, order: OrderId) -> Tally:
    """Over its recipients, of each the best that became of anything sent to them."""
    found = await fetch_one(conn, TALLIES, {"order": order}, Tally)
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Message:
    """A notification as a page lists it. `about`: whom it is for, None when the order named an address alone."""

    id: NotificationId
    standing: Standing
    taken_at: datetime | None
    state_at: datetime
    about: About | None
    address: str
    name: str | None
    provider: str | None

    @property
    def fate(self) -> Fate:
        s = self.standing
        return fate_of(s.state, s.reason, settled=s.settled, taken=self.taken_at is not None)


MESSAGE: Final = """
n.id, n.channel::text, n.state::text, n.reason, n.settled, n.daytime, n.attempts::int, n.wake_at, n.expires_at,
n.accepted_at, n.state_at, n.subject_kind::text, n.subject_key, n.address, n.recipient_name, n.provider
"""

MESSAGES: Final = f"""
SELECT {MESSAGE} FROM notification n
 WHERE n.order_id = %(order)s AND (%(after)s::uuid IS NULL OR n.id > %(after)s)
   AND (%(fate)s::int IS NULL OR {FATE} = %(fate)s)
   AND (%(only)s::uuid IS NULL OR n.id = %(only)s)
 ORDER BY n.id LIMIT %(limit)s
"""


async def find_messages(
    conn: ReadConn,
    order: OrderId,
    *,
    limit: int,
    after: UUID | None = None,
    fate: Fate | None = None,
    only: UUID | None = None,
) -> list[Message]:
    """In the order in which they were made. `only`: that one."""
    params: dict[str, Any] = {"order": order, "after": after, "only": only, "limit": limit}
    return await fetch(conn, MESSAGES, {**params, "fate": None if fate is None else int(fate)}, message)


def message(
    id_: UUID,
    channel: str,
    state: str,
    reason: str | None,
    settled: bool,
    daytime: bool,
    attempts: int,
    wake_at: datetime | None,
    expires_at: datetime,
    taken_at: datetime | None,
    state_at: datetime,
    kind: str | None,
    key: str | None,
    address: str,
    name: str | None,
    provider: str | None,
) -> Message:
    """From the columns of `MESSAGE`."""
    standing = Standing(
        Channel(channel),
        State(state),
        Reason(reason) if reason else None,
        settled,
        daytime,
        attempts,
        wake_at,
        expires_at,
    )
    about = About(kind, key) if kind and key else None
    return Message(NotificationId(id_), standing, taken_at, state_at, about, address, name, provider)


def _head(
    creator: str,
    chain: UUID | None,
    email_sender: str | None,
    email_subject: str | None,
    email_body: str | None,
    email_is_html: bool,
    sms_sender: str | None,
    sms_body: str | None,
    sending_time: str | None,
    fallback_until: datetime | None,
    has_condition: bool,
    only: Mapping[str, str] | None,
) -> Head:
    texts = Texts(email_sender, email_subject, email_body, email_is_html, sms_sender, sms_body)
    return Head(creator, chain, texts, sending_time, fallback_until, has_condition, _only(only or {}))


def _only(document: Mapping[str, str]) -> About | None:
    """From the short keys of `order_content.recipients`. None for an external identity, or one not kept."""
    names = {"nin": "person", "org": "organisation", "email": "address", "mobile": "address"}
    return next((About(kind, document[key]) for key, kind in names.items() if document.get(key)), None)


def _sibling(id_: UUID, kind: str, state: str, reference: str | None, requested: datetime) -> Sibling:
    return Sibling(OrderId(id_), OrderKind(kind), OrderState(state), reference, requested)
