"""SQL of orders as they are accepted and cancelled."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from varsel.db import Conn, execute, fetch, fetch_one
from varsel.domain.ids import ChainId, CreatorId, OrderId
from varsel.domain.order import Chain, Order, OrderState, Recipient
from varsel.domain.quota import Share
from varsel.orders.chain_store import Shipment, idempotency_key
from varsel.tally.store import TALLY_GONE

ADD_CREATORS = """
INSERT INTO creator (name, created_at)
SELECT name, %(now)s FROM unnest(%(names)s::text[]) AS t (name) ORDER BY name
ON CONFLICT DO NOTHING
"""

FIND_CREATORS = "SELECT name, id FROM creator WHERE name = ANY(%(names)s)"

# One JSON parameter for all orders: quoting each list element was a fifth of the time (proven 7). The orders of a chain
# are stored only if its idempotency id was free; chains go in sorted, else concurrent batches deadlock.
INSERT = """
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(orders)s::jsonb) AS t (
        id uuid, creator_id int, chain_id uuid, kind order_kind, channel order_channel, lane smallint,
        recipient_count int, senders_reference text, requested_send_time timestamptz, created_at timestamptz,
        wake_at timestamptz, email_sender text, email_subject text, email_body text, email_content_type text,
        email_unsubscribable boolean, sms_sender text, sms_body text, recipients jsonb, sending_time text,
        ignore_reservation boolean, allow_stale boolean, resource_id text, resource_action text,
        condition_endpoint text, attachments jsonb, fallback_until timestamptz, quota jsonb)
), chained AS (
    INSERT INTO order_chain (id, creator_id, idempotency_id, idempotency_key, family, request_hash, created_at,
                             dialog_id, transmission_id, shipments)
    SELECT id, creator_id, idempotency_id, decode(idempotency_key, 'hex'), family, decode(request_hash, 'hex'), %(now)s,
           dialog_id, transmission_id, shipments
      FROM jsonb_to_recordset(%(chains)s::jsonb) AS t (
           id uuid, creator_id int, idempotency_id text, idempotency_key text, family order_family, request_hash text,
           dialog_id text, transmission_id text, shipments jsonb)
     ORDER BY creator_id, idempotency_key, family
    ON CONFLICT ON CONSTRAINT order_chain_key DO NOTHING
    RETURNING id
), accepted AS MATERIALIZED (
    SELECT * FROM given WHERE chain_id IS NULL OR chain_id IN (SELECT id FROM chained)
), stored AS (
    INSERT INTO orders (id, creator_id, chain_id, kind, channel, lane, recipients, senders_reference,
                        requested_send_time, created_at, state_at, wake_at, fallback_until)
    SELECT id, creator_id, chain_id, kind, channel, lane, recipient_count, senders_reference, requested_send_time,
           created_at, created_at, wake_at, fallback_until
      FROM accepted
), filled AS (
    INSERT INTO order_content (order_id, email_sender, email_subject, email_body, email_content_type,
                               email_unsubscribable, sms_sender, sms_body, recipients, sending_time,
                               ignore_reservation, allow_stale, resource_id, resource_action, condition_endpoint,
                               attachments, quota)
    SELECT id, email_sender, email_subject, email_body, email_content_type, email_unsubscribable, sms_sender, sms_body,
           recipients, sending_time, ignore_reservation, allow_stale, resource_id, resource_action, condition_endpoint,
           attachments, quota
      FROM accepted
), tallied AS (
    INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
    SELECT a.creator_id, '', '', b.bucket, date_trunc('minute', %(now)s::timestamptz), a.n
      FROM (SELECT creator_id, sum(recipient_count)::int AS n FROM accepted GROUP BY creator_id) a
     CROSS JOIN (VALUES ('taken'), ('scheduled')) AS b (bucket)
)
SELECT id FROM chained
"""

LOCK_OWN = """
SELECT o.state, o.requested_send_time
  FROM orders o JOIN creator c ON c.id = o.creator_id
 WHERE o.id = %(order)s AND c.name = %(creator)s
   FOR UPDATE OF o
"""

# The first hundred characters are what the index holds.
LOCK_REFERENCED = """
SELECT o.id, o.state, o.requested_send_time
  FROM orders o JOIN creator c ON c.id = o.creator_id
 WHERE c.name = %(creator)s AND o.senders_reference = %(reference)s
   AND left(o.senders_reference, 100) = left(%(reference)s, 100) AND o.id > %(after)s
 ORDER BY o.id LIMIT %(limit)s
   FOR UPDATE OF o
"""

CANCEL = f"""
WITH gone AS (
    UPDATE orders SET state = 'Cancelled', state_at = %(now)s, wake_at = NULL WHERE id = ANY(%(orders)s)
    RETURNING creator_id, recipients)
{TALLY_GONE}
"""

_NOTHING: Final[Mapping[OrderId, Share]] = MappingProxyType({})
_RECIPIENT_KEYS: Final = {
    "national_identity_number": "nin",
    "organisation_number": "org",
    "external_identity": "ext",
    "email": "email",
    "mobile": "mobile",
}


async def creator_ids(conn: Conn, names: Sequence[str], *, now: datetime) -> dict[str, CreatorId]:
    """The ids of creators; a creator's row is made with its first order (design 8)."""
    await execute(conn, ADD_CREATORS, {"names": names, "now": now})
    return dict(await fetch(conn, FIND_CREATORS, {"names": names}, lambda name, id_: (name, CreatorId(id_))))


async def insert_orders(
    conn: Conn,
    orders: Iterable[tuple[Order, CreatorId]],
    chains: Iterable[tuple[Chain, Sequence[Order]]],
    creators: Mapping[str, CreatorId],
    *,
    now: datetime,
    shares: Mapping[OrderId, Share] = _NOTHING,
) -> frozenset[ChainId]:
    """Store orders with their content; those that are due later wait outside the claim's index.

    `shares`: what they took of their creators' daily limits. Returns the chains that were stored. The others lost the
    race for their idempotency id, and none of their orders is.
    """
    params = {
        "orders": json.dumps([_row(order, creator, now, shares.get(order.id)) for order, creator in orders]),
        "chains": json.dumps([_chain_row(chain, members, creators[chain.creator]) for chain, members in chains]),
        "now": now,
    }
    return frozenset(await fetch(conn, INSERT, params, ChainId))


async def lock_own(conn: Conn, order: OrderId, creator: str) -> tuple[OrderState, datetime] | None:
    """State and requested send time of the creator's order, locked; None when there is none."""
    return await fetch_one(
        conn, LOCK_OWN, {"order": order, "creator": creator}, lambda state, at: (OrderState(state), at)
    )


@dataclass(frozen=True, slots=True)
class Locked:
    """An order that this transaction holds."""

    id: OrderId
    state: OrderState
    requested_send_time: datetime


async def lock_referenced(conn: Conn, creator: str, reference: str, *, after: OrderId, limit: int) -> list[Locked]:
    """The creator's orders with exactly this reference and an id after `after`, at most `limit`, in order of id."""
    params = {"creator": creator, "reference": reference, "after": after, "limit": limit}
    return await fetch(
        conn, LOCK_REFERENCED, params, lambda id_, state, at: Locked(OrderId(id_), OrderState(state), at)
    )


async def mark_cancelled(conn: Conn, orders: Sequence[OrderId], *, now: datetime) -> None:
    """The caller has locked them."""
    await execute(conn, CANCEL, {"orders": orders, "now": now})


def recipient_document(recipient: Recipient) -> dict[str, str]:
    """A recipient as it stands in `order_content.recipients`: short keys, only what was given."""
    given = ((key, getattr(recipient, name)) for name, key in _RECIPIENT_KEYS.items())
    return {key: value for key, value in given if value}


def _row(order: Order, creator: CreatorId, now: datetime, share: Share | None) -> dict[str, Any]:
    email, sms = order.email, order.sms
    return {
        "id": str(order.id),
        "creator_id": creator,
        "chain_id": str(order.chain) if order.chain else None,
        "kind": order.kind,
        "channel": order.channel,
        "lane": order.lane,
        "recipient_count": len(order.recipients),
        "senders_reference": order.senders_reference,
        "requested_send_time": order.requested_send_time.isoformat(),
        "created_at": order.created.isoformat(),
        "wake_at": order.requested_send_time.isoformat() if order.requested_send_time > now else None,
        "email_sender": email and email.sender,
        "email_subject": email and email.subject,
        "email_body": email and email.body,
        "email_content_type": email and email.content_type,
        "email_unsubscribable": bool(email and email.unsubscribable),
        "sms_sender": sms and sms.sender,
        "sms_body": sms and sms.body,
        "recipients": [recipient_document(r) for r in order.recipients],
        "sending_time": order.sending_time,
        "ignore_reservation": order.ignore_reservation,
        "allow_stale": order.allow_stale,
        "resource_id": order.resource_id,
        "resource_action": order.resource_action,
        "condition_endpoint": order.condition_endpoint,
        "attachments": [dataclasses.asdict(a) for a in order.attachments] or None,
        "fallback_until": order.fallback_until.isoformat() if order.fallback_until else None,
        "quota": share,
    }


def _chain_row(chain: Chain, orders: Sequence[Order], creator: CreatorId) -> dict[str, Any]:
    return {
        "id": str(chain.id),
        "creator_id": creator,
        "idempotency_id": chain.idempotency_id,
        "idempotency_key": idempotency_key(chain.idempotency_id).hex(),
        "family": chain.family,
        "request_hash": chain.request_hash.hex(),
        "dialog_id": chain.dialog_id,
        "transmission_id": chain.transmission_id,
        "shipments": [Shipment.of(order).document() for order in orders],
    }
