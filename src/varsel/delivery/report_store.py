"""SQL of the inbox of delivery reports: store, read, match, apply, park."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from varsel.db import Conn, execute, fetch
from varsel.delivery.evidence import Standing
from varsel.delivery.part_store import Part
from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import CreatorId, NotificationId, OrderId, ReportId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.tally.store import BUCKET, TALLY_MOVED

# A repeat changes nothing: each leaf has a unique key on (provider, event_key).
INSERT = """
INSERT INTO delivery_report (id, provider, event_key, channel, notification_id, provider_ref, other_refs, verdict,
                             reason, soft, raw_state, detail, payload, suppress, received_at)
SELECT id, provider, event_key, channel, notification_id, provider_ref, other_refs, verdict, reason, soft, raw_state,
       detail, payload, suppress, %(now)s
  FROM jsonb_to_recordset(%(reports)s::jsonb) AS t (
       id uuid, provider text, event_key text, channel channel, notification_id uuid, provider_ref text,
       other_refs text[], verdict text, reason text, soft boolean, raw_state text, detail text, payload jsonb,
       suppress text)
 ORDER BY provider, event_key
ON CONFLICT DO NOTHING
"""

COUNT_DROPPED = """
INSERT INTO dropped_mail (kind, count, last_at) VALUES (%(kind)s, 1, %(now)s)
ON CONFLICT (kind) DO UPDATE SET count = dropped_mail.count + 1, last_at = excluded.last_at
"""

WAKE_PARKED = """
UPDATE delivery_report SET state = 'pending', wake_at = NULL
 WHERE id IN (SELECT id FROM delivery_report WHERE state = 'parked' AND wake_at <= %(now)s
               ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""

TAKE = """
SELECT id, provider, notification_id, provider_ref, coalesce(other_refs, '{}'), verdict, reason, soft, suppress, tries
  FROM delivery_report WHERE state = 'pending' ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

# By our id when the report carries it, else by the provider's reference; never by an address. Locked in order of id.
MATCH = """
SELECT n.id, n.order_id, n.state, n.settled, n.soft, n.reason, n.accepted_at, n.provider, n.provider_ref, n.creator_id,
       n.channel, n.address
  FROM notification n
 WHERE n.id = ANY(%(ids)s) OR n.provider_ref = ANY(%(references)s)
 ORDER BY n.id FOR UPDATE
"""

MOVE = f"""
WITH before AS MATERIALIZED (
    SELECT n.id, {BUCKET} AS bucket FROM notification n
     WHERE n.id = ANY(%(ids)s::uuid[]) AND n.id BETWEEN %(low)s AND %(high)s),
moved (creator_id, channel, provider, was, bucket) AS (
UPDATE notification n
   SET state = r.state, reason = r.reason, soft = r.soft, settled = r.settled, state_at = %(now)s, wake_at = NULL,
       claim_id = NULL, accepted_at = coalesce(n.accepted_at, %(now)s)
  FROM unnest(%(ids)s::uuid[], %(states)s::notification_state[], %(reasons)s::text[], %(softs)s::boolean[],
              %(settled)s::boolean[]) AS r (id, state, reason, soft, settled) JOIN before b ON b.id = r.id
 WHERE n.id = r.id AND n.id BETWEEN %(low)s AND %(high)s
RETURNING n.creator_id, n.channel, n.provider, b.bucket, {BUCKET})
{TALLY_MOVED}
"""

CLOSE = """
UPDATE delivery_report d
   SET state = r.state, state_reason = r.why, tries = d.tries + 1, wake_at = r.wake_at,
       notification_id = coalesce(d.notification_id, r.notification)
  FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(whys)s::text[], %(wakes)s::timestamptz[],
              %(notifications)s::uuid[]) AS r (id, state, why, wake_at, notification)
 WHERE d.id = r.id AND d.id = ANY(%(ids)s)
"""

CREATORS = "SELECT id, name FROM creator WHERE id = ANY(%(creators)s)"

COMPLETED = "SELECT id FROM orders WHERE id = ANY(%(orders)s) AND state = 'Completed'"


@dataclass(frozen=True, slots=True)
class Pending:
    """A report in the inbox. `others`: how its reference may be written too. `tries`: earlier ones to match it."""

    id: ReportId
    provider: str
    notification: NotificationId | None
    reference: str | None
    others: tuple[str, ...]
    verdict: Verdict
    reason: Reason | None
    soft: bool
    suppress: Suppress | None
    tries: int

    @property
    def references(self) -> tuple[str, ...]:
        """The likeliest first."""
        return () if self.reference is None or self.notification else (self.reference, *self.others)


@dataclass(frozen=True, slots=True)
class Matched:
    id: NotificationId
    order: OrderId
    standing: Standing
    provider: str | None
    reference: str | None
    creator: CreatorId
    channel: Channel
    address: str


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of a report. `state`: applied, late, dead, or parked until `wake_at`."""

    id: ReportId
    state: str
    why: str = ""
    wake_at: datetime | None = None
    notification: NotificationId | None = None


async def insert_reports(conn: Conn, reports: Sequence[Report], *, now: datetime) -> int:
    """Store reports; returns how many were new."""
    return await execute(conn, INSERT, {"reports": json.dumps([_row(r) for r in reports]), "now": now})


async def count_dropped(conn: Conn, kind: str, *, now: datetime) -> None:
    await execute(conn, COUNT_DROPPED, {"kind": kind, "now": now})


async def wake_parked(conn: Conn, *, now: datetime, limit: int = 1_000) -> int:
    return await execute(conn, WAKE_PARKED, {"now": now, "limit": limit})


async def take_pending(conn: Conn, *, limit: int) -> list[Pending]:
    """Reports to apply, in order of arrival, locked until the transaction ends."""
    return await fetch(conn, TAKE, {"limit": limit}, _pending)


async def match(conn: Conn, reports: Sequence[Pending], parts: Sequence[Part]) -> list[Matched]:
    """The notifications that the reports may be about, locked. `parts`: those that the references may mean."""
    params = {
        "ids": [*(r.notification for r in reports if r.notification), *(part.notification for part in parts)],
        "references": [reference for r in reports for reference in r.references],
    }
    return await fetch(conn, MATCH, params, _matched)


async def move(conn: Conn, moves: dict[NotificationId, Standing], *, now: datetime) -> None:
    """Write the new standings. The rows are locked by `match`."""
    ids = sorted(moves)
    after = [moves[id_] for id_ in ids]
    params: dict[str, Any] = {"now": now, "low": ids[0], "high": ids[-1], "ids": ids}
    params |= {
        "states": [s.state.value for s in after],
        "reasons": [s.reason.value if s.reason else None for s in after],
        "softs": [s.soft for s in after],
        "settled": [s.settled for s in after],
    }
    await execute(conn, MOVE, params)


async def close(conn: Conn, closed: Sequence[Closed]) -> None:
    params = {
        "ids": [c.id for c in closed],
        "states": [c.state for c in closed],
        "whys": [c.why for c in closed],
        "wakes": [c.wake_at for c in closed],
        "notifications": [c.notification for c in closed],
    }
    await execute(conn, CLOSE, params)


async def names_of(conn: Conn, creators: Collection[CreatorId]) -> dict[CreatorId, str]:
    rows = await fetch(conn, CREATORS, {"creators": list(creators)}, lambda id_, name: (CreatorId(id_), str(name)))
    return dict(rows)


async def completed_of(conn: Conn, orders: Sequence[OrderId]) -> frozenset[OrderId]:
    return frozenset(await fetch(conn, COMPLETED, {"orders": list(orders)}, OrderId))


def _row(report: Report) -> dict[str, Any]:
    return {
        "id": str(uuid7()),
        "provider": report.provider,
        "event_key": report.event_key,
        "channel": report.channel,
        "notification_id": str(report.notification) if report.notification else None,
        "provider_ref": report.reference,
        "other_refs": report.other_references or None,
        "verdict": report.verdict,
        "reason": report.reason,
        "soft": report.soft,
        "raw_state": report.raw_state,
        "detail": report.detail,
        "payload": report.payload,
        "suppress": report.suppress,
    }


def _pending(
    id_: UUID,
    provider: str,
    notification: UUID | None,
    reference: str | None,
    others: Sequence[str],
    verdict: str,
    reason: str | None,
    soft: bool,
    suppress: str | None,
    tries: int,
) -> Pending:
    return Pending(
        ReportId(id_),
        provider,
        NotificationId(notification) if notification else None,
        reference,
        tuple(others),
        Verdict(verdict),
        Reason(reason) if reason else None,
        soft,
        Suppress(suppress) if suppress else None,
        tries,
    )


def _matched(*columns: Any) -> Matched:
    id_, order, state, settled, soft, reason, accepted_at, provider, reference, creator, channel, address = columns
    standing = Standing(State(state), settled, soft, Reason(reason) if reason else None, accepted_at)
    return Matched(id_, order, standing, provider, reference, CreatorId(creator), Channel(channel), address)
