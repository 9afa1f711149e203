"""SQL that keeps everything moving: rows whose waiting is over, workers that died, and notifications that expire."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_value
from varsel.domain.ids import NotificationId, OrderId, WorkerId
from varsel.domain.notification import State
from varsel.tally.store import BUCKET, TALLY_MOVED

# Rows whose waiting is over, locked in order of id. Of those that are `asked` about, an asker ends the waiting.
DUE = """
SELECT id, state, expires_at, order_id, provider FROM notification
 WHERE id = ANY (ARRAY(SELECT id FROM notification
                        WHERE wake_at <= %(now)s AND NOT (state = 'unknown' AND provider = ANY(%(asked)s))
                        ORDER BY wake_at LIMIT %(limit)s))
   AND wake_at <= %(now)s
 ORDER BY id FOR UPDATE SKIP LOCKED
"""

POSTPONE_OLDEST = """
UPDATE notification SET wake_at = %(now)s + interval '1 hour'
 WHERE id = ANY (ARRAY(SELECT id FROM notification
                        WHERE wake_at <= %(now)s AND NOT (state = 'unknown' AND provider = ANY(%(asked)s))
                        ORDER BY wake_at LIMIT 1))
"""

NEXT_DUE = """
SELECT min(wake_at) FROM notification
 WHERE wake_at IS NOT NULL AND NOT (state = 'unknown' AND provider = ANY(%(asked)s))
"""

WAKE = f"""
WITH before AS MATERIALIZED (
    SELECT n.id, {BUCKET} AS bucket FROM notification n
     WHERE n.id = ANY(%(ids)s::uuid[]) AND n.id BETWEEN %(low)s AND %(high)s),
moved (creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = r.state, settled = r.settled, wake_at = NULL,
       state_at = CASE WHEN r.moved THEN %(now)s ELSE n.state_at END
  FROM unnest(%(ids)s::uuid[], %(states)s::notification_state[], %(settled)s::boolean[], %(moved)s::boolean[])
       AS r (id, state, settled, moved) JOIN before b ON b.id = r.id
 WHERE n.id = r.id AND n.id BETWEEN %(low)s AND %(high)s
RETURNING n.creator_id, n.channel, n.provider, b.bucket, {BUCKET})
{TALLY_MOVED}
"""

# Machine time alone decides: skew of a host's clock cannot end a live lease. %(shift)s is set by tests only.
LAPSED = """
SELECT id FROM worker WHERE lease_until < statement_timestamp() + %(shift)s ORDER BY id FOR UPDATE SKIP LOCKED
"""

CLAIMS_OF = "SELECT id, worker_id, provider, ids, handed_over FROM claim WHERE worker_id = %(worker)s ORDER BY id"

# A process that lives has long decided about these: it does not know of them (a commit whose outcome it never learnt).
FORGOTTEN = """
SELECT id, worker_id, provider, ids, handed_over FROM claim
 WHERE undecided AND claimed_at < statement_timestamp() + %(shift)s - interval '60 seconds'
 ORDER BY id
"""

# A worker that was away for longer than its lease, claimed when it came back, and died before it noticed.
ORPHANED = """
SELECT id, worker_id, provider, ids, handed_over FROM claim c
 WHERE NOT EXISTS (SELECT FROM worker w WHERE w.id = c.worker_id)
 ORDER BY id
"""

RELEASE_ORPHANED_ORDERS = """
UPDATE orders o SET state = 'Registered', worker_id = NULL
 WHERE o.state = 'Processing' AND NOT EXISTS (SELECT FROM worker w WHERE w.id = o.worker_id)
"""

# What stands behind the mark has not left and goes back free; what stands before it may have left.
RELEASE = f"""
WITH moved (id, number, declared, creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = CASE WHEN r.declared THEN 'unknown'::notification_state ELSE 'new' END,
       wake_at = CASE WHEN r.declared AND n.unknowns < %(resends)s THEN r.wake_at END,
       unknowns = n.unknowns + r.declared::int,
       attempts = CASE WHEN r.declared THEN n.attempts ELSE n.attempts - 1 END,
       accepted_at = CASE WHEN r.declared THEN %(now)s ELSE n.accepted_at END,
       state_at = %(now)s, claim_id = NULL
  FROM unnest(%(ids)s::uuid[], %(declared)s::boolean[], %(wakes)s::timestamptz[]) AS r (id, declared, wake_at)
 WHERE n.id = r.id AND n.id BETWEEN %(low)s AND %(high)s AND n.claim_id = %(claim)s AND n.state = 'claimed'
RETURNING n.id, n.attempts, r.declared, n.creator_id, n.channel, n.provider, 'open', {BUCKET}),
tallied AS ({TALLY_MOVED})
SELECT id, number, declared FROM moved
"""

ABANDONED = """
INSERT INTO attempt (notification_id, number, provider, ended_at, outcome, detail)
SELECT id, number, %(provider)s, %(now)s, 'abandoned', 'the worker died'
  FROM unnest(%(ids)s::uuid[], %(numbers)s::int[]) AS t (id, number)
"""

END_CLAIM = "DELETE FROM claim WHERE id = %(claim)s"

RELEASE_ORDERS = """
UPDATE orders SET state = 'Registered', worker_id = NULL WHERE state = 'Processing' AND worker_id = %(worker)s
"""

END_WORKER = "DELETE FROM worker WHERE id = %(worker)s"

# Orders with a notification whose time is over (expires_at is the earliest of them). Complete ones have one that came
# of their fallback.
EXPIRED_ORDERS = """
(SELECT id FROM orders WHERE state = 'Processed' AND expires_at <= %(now)s ORDER BY expires_at LIMIT %(limit)s)
UNION ALL
(SELECT id FROM orders WHERE state = 'Completed' AND pending > 0 AND expires_at <= %(now)s
  ORDER BY expires_at LIMIT %(limit)s)
"""

# New at expiry; what may have left, or waits for a confirmation, after the grace. A claimed row is its worker's for a
# while longer, if anybody holds its claim: a late result then finds the row decided, and changes nothing.
EXPIRE = f"""
WITH over AS MATERIALIZED (
    SELECT n.id, {BUCKET} AS bucket FROM notification n
     WHERE n.order_id = ANY(%(orders)s)
       AND CASE n.state WHEN 'new' THEN n.expires_at <= %(now)s
                        WHEN 'unknown' THEN n.expires_at + %(grace)s <= %(now)s
                        WHEN 'accepted' THEN NOT n.settled AND n.expires_at + %(grace)s <= %(now)s
                        WHEN 'claimed' THEN n.expires_at + %(grace)s <= %(now)s
                             AND (NOT EXISTS (SELECT FROM claim c WHERE c.id = n.claim_id)
                                  OR n.expires_at + %(grace)s + interval '15 minutes' <= %(now)s)
                        ELSE false END
     ORDER BY n.id FOR UPDATE),
moved (creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = 'expired', state_at = %(now)s, wake_at = NULL, claim_id = NULL
  FROM over o WHERE n.id = o.id
RETURNING n.creator_id, n.channel, n.provider, o.bucket, {BUCKET})
{TALLY_MOVED}
"""

LOCK_ORDERS = "SELECT 1 FROM orders WHERE id = ANY(%(orders)s) ORDER BY id FOR UPDATE"

# A recount, not a subtraction: what reaches expiry is set right whatever happened to its counter. An undecided fallback
# counts, and has a deadline of its own.
RECOUNT = """
UPDATE orders o
   SET pending = p.pending, expires_at = p.again,
       state = CASE WHEN p.pending = 0 THEN 'Completed'::order_state ELSE o.state END,
       state_at = CASE WHEN p.pending = 0 AND o.state <> 'Completed' THEN %(now)s ELSE o.state_at END
  FROM unnest(%(orders)s::uuid[]) AS t (id)
  CROSS JOIN LATERAL (
       SELECT count(*)::int + (SELECT count(*)::int FROM fallback f
                                WHERE f.order_id = t.id AND f.wake_at IS NOT NULL) AS pending,
              min(CASE WHEN n.state = 'new' THEN n.expires_at
                       ELSE greatest(n.expires_at + %(grace)s, %(now)s + interval '30 seconds') END) AS again
         FROM notification n
        WHERE n.order_id = t.id AND NOT n.settled AND n.state IN ('new', 'claimed', 'unknown', 'accepted')) p
 WHERE o.id = t.id AND o.id = ANY(%(orders)s)
   AND (o.state = 'Processed' OR (o.state = 'Completed' AND o.pending > 0))
RETURNING o.id, o.state = 'Completed', o.pending
"""


# Addresses of attachments are secrets, and of no use once nothing more will be sent. The names of files stay.
FORGET_ADDRESSES = """
UPDATE order_content c
   SET attachments = (SELECT jsonb_agg(a - 'url' ORDER BY place)
                        FROM jsonb_array_elements(c.attachments) WITH ORDINALITY AS t (a, place))
 WHERE c.order_id = ANY (ARRAY(
       SELECT s.order_id FROM order_content s JOIN orders o ON o.id = s.order_id
        WHERE s.attachments -> 0 ? 'url' AND o.state IN ('Completed', 'SendConditionNotMet', 'Cancelled')
        LIMIT %(limit)s))
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    id: NotificationId
    state: State
    expires_at: datetime
    order: OrderId
    provider: str | None


@dataclass(frozen=True, slots=True)
class Woken:
    id: NotificationId
    state: State
    settled: bool
    moved: bool


@dataclass(frozen=True, slots=True)
class Claim:
    id: UUID
    worker: WorkerId
    provider: str
    ids: list[UUID]
    handed_over: int


async def due(conn: Conn, asked: Collection[str], *, now: datetime, limit: int) -> list[Waiting]:
    """`asked`: providers that are asked what became of a message whose outcome is unknown."""
    return await fetch(
        conn,
        DUE,
        {"now": now, "limit": limit, "asked": list(asked)},
        lambda id_, state, expires, order, provider: Waiting(id_, State(state), expires, order, provider),
    )


async def wake(conn: Conn, rows: Sequence[Woken], *, now: datetime) -> None:
    """Write what the waiting rows become. `rows` in order of id, locked by `due`."""
    params: dict[str, Any] = {"now": now, "low": rows[0].id, "high": rows[-1].id, "ids": [r.id for r in rows]}
    params |= {
        "states": [r.state.value for r in rows],
        "settled": [r.settled for r in rows],
        "moved": [r.moved for r in rows],
    }
    await execute(conn, WAKE, params)


async def next_due(conn: ReadConn, asked: Collection[str]) -> datetime | None:
    """When the next row's waiting is over (business time)."""
    value: datetime | None = await fetch_value(conn, NEXT_DUE, {"asked": list(asked)})
    return value


async def lapsed_workers(conn: Conn, *, shift: timedelta) -> list[WorkerId]:
    """Workers whose lease is over, locked."""
    return await fetch(conn, LAPSED, {"shift": shift}, WorkerId)


async def claims_of(conn: Conn, worker: WorkerId) -> list[Claim]:
    return await fetch(conn, CLAIMS_OF, {"worker": worker}, Claim)


async def forgotten_claims(conn: Conn, *, shift: timedelta) -> list[Claim]:
    return await fetch(conn, FORGOTTEN, {"shift": shift}, Claim)


async def orphaned_claims(conn: Conn) -> list[Claim]:
    return await fetch(conn, ORPHANED, {}, Claim)


async def release_orphaned_orders(conn: Conn) -> int:
    return await execute(conn, RELEASE_ORPHANED_ORDERS, {})


async def postpone_oldest(conn: Conn, asked: Collection[str], *, now: datetime) -> int:
    """Let the row wait that would be the next to wake."""
    return await execute(conn, POSTPONE_OLDEST, {"now": now, "asked": list(asked)})


async def release_claim(conn: Conn, claim: Claim, *, now: datetime, wake_at: datetime | None, resends: int) -> int:
    """Give back what a dead worker held; returns how many are unknown.

    Those wait until `wake_at`; None, or `resends` unknown tries before: for a report.
    """
    declared = [place < claim.handed_over for place in range(len(claim.ids))]
    params: dict[str, Any] = {"now": now, "claim": claim.id, "ids": claim.ids, "declared": declared}
    params |= {"low": claim.ids[0], "high": claim.ids[-1], "wakes": [wake_at] * len(claim.ids), "resends": resends}
    rows = await fetch(conn, RELEASE, params, lambda id_, number, unknown: (id_, number, unknown))
    unknown = [(id_, number) for id_, number, is_unknown in rows if is_unknown]
    if unknown:
        ledger = {"ids": [i for i, _ in unknown], "numbers": [n for _, n in unknown]}
        await execute(conn, ABANDONED, {**ledger, "provider": claim.provider, "now": now})
    await execute(conn, END_CLAIM, {"claim": claim.id})
    return len(unknown)


async def end_worker(conn: Conn, worker: WorkerId) -> None:
    """Put back the orders that the worker was processing, and forget it. Its claims are released before."""
    await execute(conn, RELEASE_ORDERS, {"worker": worker})
    await execute(conn, END_WORKER, {"worker": worker})


async def forget_addresses(conn: Conn, *, limit: int) -> int:
    return await execute(conn, FORGET_ADDRESSES, {"limit": limit})


async def expired_orders(conn: ReadConn, *, now: datetime, limit: int) -> list[OrderId]:
    return await fetch(conn, EXPIRED_ORDERS, {"now": now, "limit": limit}, OrderId)


async def expire(conn: Conn, orders: Sequence[OrderId], *, now: datetime, grace: timedelta) -> list[OrderId]:
    """Expire what has to expire in these orders, and recount them. Returns the orders that completed by it."""
    params = {"orders": sorted(orders), "now": now, "grace": grace}
    await execute(conn, EXPIRE, params)
    await execute(conn, LOCK_ORDERS, params)
    rows = await fetch(conn, RECOUNT, params, lambda id_, complete, pending: (OrderId(id_), complete, pending))
    return [id_ for id_, complete, _ in rows if complete]
