"""SQL of what is next for a webhook, and what became of it.

Every write states the fencing number of the webhook's lease (`lease_store.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, columns, execute, fetch, fetch_one
from varsel.domain.ids import OrderId
from varsel.webhooks.event import MAX_RECIPIENTS, Event, Kind, Recipient, Shipment, event_id
from varsel.webhooks.lease_store import NO_SHIFT, Held
from varsel.webhooks.states import DeliveryState, WebhookState, Why

# What is next


@dataclass(frozen=True, slots=True)
class Next:
    """Something that is due. `event` is None where nothing is sent: not wanted, or sent before its turn.

    `behind`: an earlier event of the order waits, so this one does too. `tried`, `first`: tries so far.
    """

    seq: int | None
    event: Event | None = None
    behind: bool = False
    tried: int = 0
    first: datetime | None = None
    lost: bool = False

    @property
    def order(self) -> OrderId | None:
        return self.event.shipment.order if self.event and self.event.shipment else None


_TOLD: Final = f"""
       f.order_id, f.body ->> 'sendersReference', f.body ->> 'shipmentType', f.body ->> 'status',
       f.body ->> 'lastUpdate', jsonb_path_query_array(f.body, '$.recipients[0 to {MAX_RECIPIENTS - 1}]'),
       CASE jsonb_typeof(f.body -> 'recipients') WHEN 'array' THEN jsonb_array_length(f.body -> 'recipients') ELSE 0 END
"""

PINGS: Final = """
SELECT event_id, happened, attempts, first_at FROM webhook_delivery
 WHERE webhook_id = %(id)s AND state = 'waiting' AND next_at <= %(now)s AND seq IS NULL
"""

WAITING: Final = f"""
SELECT d.seq, d.kind, d.happened, d.attempts, d.first_at, {_TOLD}
  FROM (SELECT * FROM webhook_delivery
         WHERE webhook_id = %(id)s AND state = 'waiting' AND next_at <= %(now)s AND seq IS NOT NULL
         ORDER BY seq LIMIT %(limit)s) d
  LEFT JOIN status_feed f ON f.creator_id = %(creator)s AND f.seq = d.seq
 ORDER BY d.seq
"""

# Bodies of what is not wanted, or was sent already, stay where they are.
NEW: Final = f"""
SELECT e.seq, e.kind, e.created_at, e.wanted,
       e.wanted AND EXISTS (SELECT FROM webhook_delivery d
                             WHERE d.webhook_id = %(id)s AND d.state = 'waiting' AND d.order_id = e.order_id),
       {_TOLD}
  FROM (SELECT p.*, p.kind = ANY (%(kinds)s::text[])
               AND NOT EXISTS (SELECT FROM webhook_delivery d WHERE d.webhook_id = %(id)s AND d.seq = p.seq) AS wanted
          FROM (SELECT seq, order_id, created_at,
                       CASE WHEN kind = 'complaint' THEN '{Kind.COMPLAINT}'
                            WHEN body -> 'correction' = 'true' THEN '{Kind.CORRECTION}'
                            ELSE '{Kind.ORDER_COMPLETED}' END AS kind
                  FROM status_feed
                 WHERE creator_id = %(creator)s AND seq > %(position)s ORDER BY seq LIMIT %(limit)s) p) e
  LEFT JOIN status_feed f ON e.wanted AND f.creator_id = %(creator)s AND f.seq = e.seq
 ORDER BY e.seq
"""


async def pings(conn: ReadConn, held: Held, *, now: datetime) -> list[Next]:
    def row(id_: UUID, happened: datetime, attempts: int, first: datetime | None) -> Next:
        return Next(None, Event(id_, Kind.PING, happened, None), tried=attempts, first=first)

    return await fetch(conn, PINGS, {"id": held.id, "now": now}, row)


async def waiting(conn: ReadConn, held: Held, *, now: datetime, limit: int) -> list[Next]:
    """Events that are due for another try, the first of each order alone, in order of the feed."""

    def row(
        seq: int, kind: str, happened: datetime, attempts: int, first: datetime | None, order: UUID | None, *told: Any
    ) -> Next:
        event = _event(seq, Kind(kind), happened, order, *told) if order else None
        return Next(seq, event, tried=attempts, first=first, lost=event is None)

    params = {"id": held.id, "creator": held.creator_id, "now": now, "limit": limit}
    return await fetch(conn, WAITING, params, row)


async def new(conn: ReadConn, held: Held, *, limit: int) -> list[Next]:
    """The next entries of the feed behind the position, wanted or not."""

    def row(
        seq: int, kind: str, happened: datetime, wanted: bool, behind: bool, order: UUID | None, *told: Any
    ) -> Next:
        event = _event(seq, Kind(kind), happened, order, *told) if wanted and order else None
        return Next(seq, event, behind=behind)

    params: dict[str, Any] = {"id": held.id, "creator": held.creator_id, "position": held.position, "limit": limit}
    return await fetch(conn, NEW, {**params, "kinds": sorted(held.kinds)}, row)


FORGET_OLD: Final = """
DELETE FROM webhook_delivery WHERE webhook_id = %(id)s AND state = 'waiting' AND seq = ANY(%(seqs)s) RETURNING order_id
"""


async def forget(conn: Conn, held: Held, seqs: Sequence[int | None], *, now: datetime) -> None:
    """Give up events that the feed does not have any more."""
    orders = await fetch(conn, FORGET_OLD, {"id": held.id, "seqs": seqs}, OrderId)
    await execute(conn, UNBLOCK, {"id": held.id, "now": now, "orders": orders})


# What became of it


@dataclass(frozen=True, slots=True)
class Tried:
    """The outcome of a try, or (attempts 0) that an event waits for an earlier one of its order."""

    event_id: UUID
    seq: int | None
    order_id: OrderId | None
    kind: str
    happened: datetime
    state: DeliveryState
    attempts: int
    first_at: datetime | None
    last_at: datetime
    next_at: datetime | None
    status: int | None = None
    detail: str = ""
    took: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How the webhook stands after a batch of tries. `becomes`: a new state, and `reason` why.

    `confirmed`: a ping was taken. `rest`: nothing is sent before then.
    """

    position: int
    failures: int
    rest: datetime | None = None
    succeeded: datetime | None = None
    becomes: WebhookState | None = None
    reason: Why | None = None
    confirmed: bool = False


# A new state is the result of a try, and says nothing of a webhook that its owner has changed since.
_BECOMES: Final = """
(w.version = %(version)s AND ((%(becomes)s::text = 'disabled' AND w.state <> 'disabled')
                              OR (%(becomes)s = 'active' AND w.state = 'pending')
                              OR (%(becomes)s = 'paused' AND w.state = 'active')))
"""

STAND: Final = f"""
UPDATE webhook w
   SET position = greatest(w.position, %(position)s), failures = %(failures)s,
       resting_until = coalesce(%(rest)s, w.resting_until), succeeded_at = coalesce(%(succeeded)s, w.succeeded_at),
       confirmed = w.confirmed OR (w.version = %(version)s AND %(confirmed)s),
       state = CASE WHEN {_BECOMES} THEN %(becomes)s ELSE w.state END,
       reason = CASE WHEN {_BECOMES} THEN %(reason)s ELSE w.reason END,
       state_at = CASE WHEN {_BECOMES} THEN %(now)s ELSE w.state_at END,
       lease_until = statement_timestamp() + %(shift)s + %(lease)s
 WHERE w.id = %(id)s AND w.fencing = %(fencing)s
RETURNING w.state = 'active', w.version, w.replay_from IS NOT NULL
"""

KEEP: Final = """
INSERT INTO webhook_delivery (webhook_id, event_id, seq, order_id, kind, happened, state, attempts, first_at, last_at,
                              next_at, status, detail, took)
SELECT %(id)s, * FROM unnest(
       %(event_id)s::uuid[], %(seq)s::bigint[], %(order_id)s::uuid[], %(kind)s::text[], %(happened)s::timestamptz[],
       %(state)s::text[], %(attempts)s::int[], %(first_at)s::timestamptz[], %(last_at)s::timestamptz[],
       %(next_at)s::timestamptz[], %(status)s::smallint[], %(detail)s::text[], %(took)s::interval[])
ON CONFLICT (webhook_id, event_id) DO UPDATE
   SET state = excluded.state, attempts = excluded.attempts, first_at = excluded.first_at, last_at = excluded.last_at,
       next_at = excluded.next_at, status = excluded.status, detail = excluded.detail, took = excluded.took
"""

# Of each order whose event was delivered or given up, the next that waits behind it.
UNBLOCK: Final = """
UPDATE webhook_delivery SET next_at = %(now)s
 WHERE webhook_id = %(id)s AND state = 'waiting' AND next_at IS NULL
   AND (order_id, seq) IN (SELECT order_id, min(seq) FROM webhook_delivery
                            WHERE webhook_id = %(id)s AND state = 'waiting' AND order_id = ANY(%(orders)s)
                            GROUP BY order_id)
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """The webhook as it is now. `replay`: its owner wants another position."""

    active: bool
    version: int
    replay: bool


async def record(
    conn: Conn,
    held: Held,
    tried: Sequence[Tried],
    standing: Standing,
    *,
    now: datetime,
    lease: timedelta,
    shift: timedelta = NO_SHIFT,
) -> Kept | None:
    """Store tries and how the webhook stands, and renew the lease; None when the webhook is another's by now, or gone.

    In a transaction of its own.
    """
    params = {
        "id": held.id,
        "fencing": held.fencing,
        "version": held.version,
        "now": now,
        "lease": lease,
        "shift": shift,
        "position": standing.position,
        "failures": standing.failures,
        "rest": standing.rest,
        "succeeded": standing.succeeded,
        "becomes": standing.becomes,
        "reason": standing.reason,
        "confirmed": standing.confirmed,
    }
    kept = await fetch_one(conn, STAND, params, Kept)
    if kept is None or not tried:
        return kept
    names = Tried.__dataclass_fields__
    await execute(conn, KEEP, {"id": held.id, **columns(tried, *names)})
    if ended := [t.order_id for t in tried if t.state is not DeliveryState.WAITING and t.order_id]:
        await execute(conn, UNBLOCK, {"id": held.id, "now": now, "orders": ended})
    return kept


def _event(
    seq: int,
    kind: Kind,
    happened: datetime,
    order: UUID,
    reference: str | None,
    type_: str | None,
    status: str | None,
    last_update: str | None,
    recipients: Sequence[Any],
    recipient_count: int,
) -> Event:
    """An entry that is odd is told as it is: it must not hold up those behind it."""
    shipment = Shipment(
        OrderId(order),
        seq,
        reference,
        type_ or "",
        status or "",
        last_update or "",
        tuple(
            Recipient(r.get("notificationId"), r.get("destination", ""), r.get("status", ""), r.get("lastUpdate", ""))
            for r in recipients
            if isinstance(r, dict)
        ),
        recipient_count,
    )
    return Event(event_id(OrderId(order), seq), kind, happened, shipment)
