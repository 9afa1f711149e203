"""SQL of due orders: claim, read, lock again, store the notifications, finish or put back."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from varsel.db import Conn, ReadConn, copy_rows, execute, fetch
from varsel.domain.ids import CreatorId, NotificationId, OrderId, WorkerId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import (
    BULK_FROM_RECIPIENTS,
    ContentType,
    EmailTemplate,
    Lane,
    OrderChannel,
    OrderKind,
    Recipient,
    SendingTime,
    SmsTemplate,
)
from varsel.domain.tally import bucket_of
from varsel.tally.store import ADD, BUCKET, TALLY_GONE, TALLY_MADE, Kind, delta_params

# Waiting orders become claimable when their time has come (proven 2: waiting rows stand outside the claim's index).
RELEASE_DUE = """
UPDATE orders SET wake_at = NULL
 WHERE id = ANY (ARRAY(SELECT id FROM orders
                        WHERE state = 'Registered' AND wake_at <= %(now)s
                        ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
"""

# When the next waiting order's time comes, and the next creators with due orders in a lane, beginning after one of
# them: a skip scan over the claim's index.
LOOK = """
WITH RECURSIVE c AS (
    (SELECT creator_id, 1 AS n FROM orders
      WHERE state = 'Registered' AND wake_at IS NULL AND lane = %(lane)s AND creator_id > %(after)s
      ORDER BY lane, creator_id LIMIT 1)
    UNION ALL
    SELECT x.creator_id, c.n + 1 FROM c CROSS JOIN LATERAL (
        SELECT creator_id FROM orders
         WHERE state = 'Registered' AND wake_at IS NULL AND lane = %(lane)s AND creator_id > c.creator_id
         ORDER BY lane, creator_id LIMIT 1) x
     WHERE c.n < %(fan)s)
SELECT (SELECT min(wake_at) FROM orders WHERE state = 'Registered' AND wake_at IS NOT NULL),
       ARRAY(SELECT creator_id FROM c ORDER BY creator_id)
"""

_CONTENT = """order_id, email_sender, email_subject, email_body, email_content_type, sms_sender, sms_body, recipients,
              sending_time, ignore_reservation, allow_stale, resource_id, resource_action, condition_endpoint,
              attachments IS NOT NULL"""

# `= ANY (ARRAY(…))` and not a join: the join flips to a sequential scan (proven 2).
# Of each creator's the first, and the next ones until they have `most` recipients together. With their contents.
CLAIM = f"""
WITH picked AS MATERIALIZED (
    SELECT p.id, q.creator_id, p.recipients FROM unnest(%(creators)s::int[]) AS q (creator_id) CROSS JOIN LATERAL (
        SELECT id, recipients FROM orders
         WHERE state = 'Registered' AND wake_at IS NULL AND lane = %(lane)s AND creator_id = q.creator_id
         ORDER BY id LIMIT %(quota)s FOR UPDATE SKIP LOCKED) p
), taken AS (
    SELECT id FROM (SELECT id, sum(recipients) OVER (PARTITION BY creator_id ORDER BY id) - recipients AS before
                      FROM picked) t
     WHERE before < %(most)s
), claimed AS (
    UPDATE orders SET state = 'Processing', worker_id = %(worker)s, attempts = attempts + 1
     WHERE id = ANY (ARRAY(SELECT id FROM taken))
    RETURNING id, creator_id, kind, channel, lane, recipients, requested_send_time, attempts)
SELECT o.*, c.*
  FROM claimed o LEFT JOIN LATERAL (SELECT {_CONTENT} FROM order_content WHERE order_id = o.id OFFSET 0) c ON true
 ORDER BY o.id
"""

CONTENT = f"SELECT {_CONTENT} FROM order_content WHERE order_id = ANY(%(orders)b)"

LOCK_CLAIMED = """
SELECT id FROM orders
 WHERE id = ANY(%(orders)b::uuid[]) AND state = 'Processing' AND worker_id = %(worker)s
 ORDER BY id FOR UPDATE
"""

_COLUMNS = """id, order_id, creator_id, channel, lane, state, reason, daytime, state_at, expires_at, wake_at,
              subject_kind, subject_key, address, recipient_name"""

# All that a turn of few messages stores, of orders that are still this worker's: what `ours` has locked.
STORE = f"""
WITH ours AS MATERIALIZED (
    SELECT o.id, t.pending, t.expires_at
      FROM orders o JOIN jsonb_to_recordset(%(orders)s::jsonb) AS t (id uuid, pending int, expires_at timestamptz)
           ON t.id = o.id
     WHERE o.id = ANY(%(ids)b::uuid[]) AND o.state = 'Processing' AND o.worker_id = %(worker)s
     ORDER BY o.id FOR UPDATE OF o
), made AS (
    INSERT INTO notification AS n ({_COLUMNS})
    SELECT {_COLUMNS}
      FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
           id uuid, order_id uuid, creator_id int, channel channel, lane smallint, state notification_state,
           reason text, daytime boolean, state_at timestamptz, expires_at timestamptz, wake_at timestamptz,
           subject_kind subject_kind, subject_key text, address text, recipient_name text)
     WHERE order_id IN (SELECT id FROM ours)
    RETURNING n.creator_id, n.channel, {BUCKET} AS bucket
), gone AS (
    UPDATE orders o
       SET pending = t.pending, expires_at = t.expires_at, worker_id = NULL, state_at = %(now)s,
           state = CASE WHEN t.pending = 0 THEN 'Completed'::order_state ELSE 'Processed' END
      FROM ours t WHERE o.id = t.id
    RETURNING o.id, o.creator_id, o.recipients
), tallied AS ({TALLY_MADE}
), ended AS ({TALLY_GONE})
SELECT id FROM gone
"""

COPY_NOTIFICATIONS = f"COPY notification ({_COLUMNS}) FROM STDIN"

CREATE_STAGE = f"CREATE TEMPORARY TABLE staged_notification AS SELECT {_COLUMNS} FROM notification WITH NO DATA"

COPY_STAGE = f"COPY staged_notification ({_COLUMNS}) FROM STDIN"

INSERT_STAGED = f"INSERT INTO notification ({_COLUMNS}) SELECT {_COLUMNS} FROM staged_notification"

DROP_STAGE = "DROP TABLE staged_notification"

CREATOR_NAMES = "SELECT id, name FROM creator WHERE id = ANY(%(creators)s)"

# The messages are counted by whoever made them: they may be many more than the orders.
FINISH = f"""
WITH gone AS (
UPDATE orders o
   SET pending = t.pending, expires_at = t.expires_at, worker_id = NULL, state_at = %(now)s,
       state = CASE WHEN t.pending = 0 THEN 'Completed'::order_state ELSE 'Processed' END
  FROM unnest(%(orders)b::uuid[], %(pending)b::int[], %(expires)b::timestamptz[]) AS t (id, pending, expires_at)
 WHERE o.id = t.id AND o.id = ANY(%(orders)b::uuid[])
RETURNING o.creator_id, o.recipients),
made AS ({ADD})
{TALLY_GONE}
"""

STOP = f"""
WITH gone AS (
    UPDATE orders SET state = 'SendConditionNotMet', worker_id = NULL, state_at = %(now)s WHERE id = ANY(%(orders)s)
    RETURNING creator_id, recipients)
{TALLY_GONE}
"""

PUT_BACK = """
UPDATE orders SET state = 'Registered', worker_id = NULL, wake_at = %(wake_at)s
 WHERE id = ANY(%(orders)s) AND state = 'Processing' AND worker_id = %(worker)s
"""

RELEASE_OWN = """
UPDATE orders SET state = 'Registered', worker_id = NULL
 WHERE state = 'Processing' AND worker_id = %(worker)s AND lane = %(lane)s
"""

RECORD_CHECK = """
INSERT INTO condition_check (order_id, attempt, checked_at, http_status, verdict, detail)
VALUES (%(order)s, %(attempt)s, %(now)s, %(status)s, %(verdict)s, %(detail)s)
ON CONFLICT DO NOTHING
"""

PAST_CHECKS = """
SELECT order_id, count(*) FROM condition_check WHERE order_id = ANY(%(orders)s) AND verdict = 'inconclusive'
 GROUP BY order_id
"""

_NAMES = tuple(_COLUMNS.replace(",", " ").split())
_ORDER_COLUMNS = 8  # of `Claimed`, the first of what CLAIM returns
_FAN = 16
_BULK_RECIPIENTS = 500  # of several bulk orders that are claimed together; one alone may have any number


@dataclass(frozen=True, slots=True)
class Look:
    """Creators with due orders, after whom to begin next (0: with the first), and when the next order is due."""

    creators: list[int]
    after: int
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A due order that this worker holds. `attempt` counts claims, from 1."""

    id: OrderId
    creator: CreatorId
    kind: OrderKind
    channel: OrderChannel
    lane: Lane
    recipients: int
    requested_send_time: datetime
    attempt: int


@dataclass(frozen=True, slots=True)
class Content:
    order: OrderId
    email: EmailTemplate | None
    sms: SmsTemplate | None
    documents: list[dict[str, str]]  # recipients as stored
    sending_time: SendingTime | None
    ignore_reservation: bool
    allow_stale: bool
    resource_id: str | None
    resource_action: str | None
    condition_endpoint: str | None
    attached: bool = False  # files go with the email

    def recipients(self) -> list[Recipient]:
        return [_recipient(document) for document in self.documents]


class NewNotification(NamedTuple):
    """A tuple, for one is made for every message, and a frozen dataclass costs six times as much."""

    id: NotificationId
    order: OrderId
    creator: CreatorId
    channel: Channel
    lane: Lane
    state: State
    reason: Reason | None
    daytime: bool
    expires_at: datetime
    wake_at: datetime | None
    subject_kind: str | None
    subject_key: str | None
    address: str
    recipient_name: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    order: OrderId
    pending: int
    expires_at: datetime | None


async def release_due(conn: Conn, *, now: datetime, limit: int = 5_000) -> int:
    """Make orders claimable whose time has come; returns how many."""
    return await execute(conn, RELEASE_DUE, {"now": now, "limit": limit})


async def look(conn: ReadConn, lane: Lane, *, after: int, limit: int) -> Look:
    """Who has due orders in a lane, beginning after creator `after`.

    In the bulk lane one creator has its turn: with one order, or several small ones.
    """
    fan = 1 if lane is Lane.BULK else min(_FAN, limit)
    params = {"lane": lane, "after": after, "fan": fan}
    [(next_due, found)] = await fetch(conn, LOOK, params, lambda at, creators: (at, creators))
    return Look(found, found[-1] if len(found) >= fan else 0, next_due)


async def claim_orders(
    conn: Conn, worker: WorkerId, lane: Lane, creators: Sequence[int], *, limit: int
) -> list[tuple[Claimed, Content | None]]:
    """Claim at most about `limit` due orders, as many of each creator; in order of id."""
    quota = -(-limit // len(creators))
    most = _BULK_RECIPIENTS if lane is Lane.BULK else limit * BULK_FROM_RECIPIENTS
    params = {"creators": list(creators), "lane": lane, "quota": quota, "worker": worker, "most": most}
    return await fetch(conn, CLAIM, params, _due)


async def contents(conn: ReadConn, orders: Sequence[OrderId]) -> dict[OrderId, Content]:
    return {c.order: c for c in await fetch(conn, CONTENT, {"orders": list(orders)}, _content)}


async def store_few(
    conn: Conn, worker: WorkerId, finished: Sequence[Finished], rows: Sequence[NewNotification], *, now: datetime
) -> frozenset[OrderId]:
    """Store the notifications of orders, and that these are processed, as `finish_orders` does; in one statement.

    Returns the orders that were still this worker's: nothing is stored of the others.
    """
    params = {
        "ids": sorted(f.order for f in finished),
        "orders": json.dumps([_finished_fields(f) for f in finished]),
        "rows": json.dumps([dict(zip(_NAMES, _columns(row, now), strict=True)) for row in rows], default=str),
        "worker": worker,
        "now": now,
    }
    return frozenset(await fetch(conn, STORE, params, OrderId))


async def lock_claimed(conn: Conn, orders: Sequence[OrderId], worker: WorkerId) -> frozenset[OrderId]:
    """Those of the orders that are still this worker's, locked. A worker that lost its lease gets none."""
    rows = await fetch(conn, LOCK_CLAIMED, {"orders": sorted(orders), "worker": worker}, OrderId)
    return frozenset(rows)


async def insert_notifications(conn: Conn, rows: Iterable[NewNotification], *, now: datetime) -> None:
    await copy_rows(conn, COPY_NOTIFICATIONS, (_columns(row, now) for row in rows))


@asynccontextmanager
async def stage(conn: Conn) -> AsyncIterator[None]:
    """A place on this connection, outside any transaction, for the notifications of an order that is asked about long.

    Memory does not grow with the order, and no transaction waits for a register (design 8).
    """
    await execute(conn, CREATE_STAGE, {})
    try:
        yield
    finally:
        await execute(conn, DROP_STAGE, {})


async def stage_notifications(conn: Conn, rows: Iterable[NewNotification], *, now: datetime) -> None:
    await copy_rows(conn, COPY_STAGE, (_columns(row, now) for row in rows))


async def insert_staged(conn: Conn) -> None:
    await execute(conn, INSERT_STAGED, {})


async def creator_names(conn: ReadConn, creators: Collection[CreatorId]) -> dict[CreatorId, str]:
    return dict(await fetch(conn, CREATOR_NAMES, {"creators": list(creators)}, _creator_name))


def counted(rows: Iterable[NewNotification]) -> Counter[Kind]:
    """How many there are of each kind, as the tallies count them. They have not left."""
    counts: Counter[Kind] = Counter()
    alike = Counter((row.creator, row.channel, row.state, row.reason) for row in rows)
    for (creator, channel, state, reason), n in alike.items():
        counts[Kind(creator, channel, bucket_of(state, reason, settled=False, left=False))] += n
    return counts


async def finish_orders(conn: Conn, finished: Sequence[Finished], made: Mapping[Kind, int], *, now: datetime) -> None:
    """Processed, or Completed where nothing is pending. The orders are locked by `lock_claimed`.

    `made`: how many notifications of each kind this transaction has stored for them.
    """
    params = {
        "orders": [f.order for f in finished],
        "pending": [f.pending for f in finished],
        "expires": [f.expires_at for f in finished],
        "now": now,
        **delta_params(made),
    }
    await execute(conn, FINISH, params)


async def stop_orders(conn: Conn, orders: Sequence[OrderId], *, now: datetime) -> None:
    await execute(conn, STOP, {"orders": list(orders), "now": now})


async def put_back(conn: Conn, orders: Iterable[OrderId], worker: WorkerId, *, wake_at: datetime) -> None:
    """Make the orders wait and be claimed again. Those that are no longer this worker's are left alone."""
    await execute(conn, PUT_BACK, {"orders": list(orders), "worker": worker, "wake_at": wake_at})


async def release_own(conn: Conn, worker: WorkerId, lane: Lane) -> int:
    """Put back what this worker holds of a lane: after a failure that left open how far it came."""
    return await execute(conn, RELEASE_OWN, {"worker": worker, "lane": lane})


async def record_check(
    conn: Conn, order: Claimed, *, now: datetime, status: int | None, verdict: str, detail: str
) -> None:
    params: dict[str, Any] = {"order": order.id, "attempt": order.attempt, "now": now}
    await execute(conn, RECORD_CHECK, {**params, "status": status, "verdict": verdict, "detail": detail})


async def inconclusive_checks(conn: ReadConn, orders: Sequence[OrderId]) -> dict[OrderId, int]:
    return dict(await fetch(conn, PAST_CHECKS, {"orders": list(orders)}, lambda id_, n: (OrderId(id_), n)))


def _claimed(
    id_: UUID,
    creator: int,
    kind: str,
    channel: str,
    lane: int,
    recipients: int,
    requested: datetime,
    attempts: int,
) -> Claimed:
    return Claimed(
        OrderId(id_),
        CreatorId(creator),
        OrderKind(kind),
        OrderChannel(channel),
        Lane(lane),
        recipients,
        requested,
        attempts,
    )


def _due(*columns: Any) -> tuple[Claimed, Content | None]:
    order, content = columns[:_ORDER_COLUMNS], columns[_ORDER_COLUMNS:]
    return _claimed(*order), _content(*content) if content[0] is not None else None


def _content(*columns: Any) -> Content:
    order, e_sender, e_subject, e_body, e_type, s_sender, s_body, recipients, time, ignore, *rest = columns
    return Content(
        order,
        EmailTemplate(e_sender, e_subject, e_body, ContentType(e_type)) if e_body is not None else None,
        SmsTemplate(s_sender, s_body) if s_body is not None else None,
        recipients,
        SendingTime(time) if time else None,
        bool(ignore),
        *rest,
    )


def _creator_name(id_: int, name: str) -> tuple[CreatorId, str]:
    return CreatorId(id_), name


def _recipient(document: dict[str, str]) -> Recipient:
    return Recipient(
        document.get("nin"), document.get("org"), document.get("ext"), document.get("email"), document.get("mobile")
    )


def _finished_fields(finished: Finished) -> dict[str, object]:
    expires_at = finished.expires_at.isoformat() if finished.expires_at else None
    return {"id": str(finished.order), "pending": finished.pending, "expires_at": expires_at}


def _columns(row: NewNotification, now: datetime) -> tuple[object, ...]:
    return (
        row.id,
        row.order,
        row.creator,
        row.channel.value,
        int(row.lane),
        row.state.value,
        row.reason.value if row.reason else None,
        row.daytime,
        now,
        row.expires_at,
        row.wake_at,
        row.subject_kind,
        row.subject_key,
        row.address,
        row.recipient_name,
    )


def backoff(attempt: int) -> timedelta:
    """How long an order waits after its `attempt`-th failure: 1, 2, 5, 10, 15 min, then every 15 (design 8)."""
    minutes = (1, 2, 5, 10, 15)
    return timedelta(minutes=minutes[min(attempt, len(minutes)) - 1])
