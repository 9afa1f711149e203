"""SQL of the statistics. Long readings: each has a time limit of its own."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from varsel.db import Database, execute, fetch
from varsel.domain.ids import NotificationId, OrderId, uuid7_floor
from varsel.domain.keywords import fill
from varsel.domain.notification import Channel, Reason, State
from varsel.status.metrics import MonthRow, ResultRow
from varsel.status.support import raw_result

_OLDEST: Final = timedelta(days=31)  # a result comes within the lifetime and the period of corrections

TIME_LIMIT = "SET LOCAL statement_timeout = '300s'"

MONTH: Final = """
WITH month AS MATERIALIZED (
    SELECT id, creator_id FROM orders WHERE requested_send_time >= %(start)s AND requested_send_time < %(end)s
), sent AS (
    SELECT m.creator_id, n.channel, count(*) AS made, coalesce(sum(n.segments), 0) AS parts,
           count(*) FILTER (WHERE n.state IN ('accepted', 'delivered')) AS succeeded
      FROM month m JOIN notification n ON n.order_id = m.id
     GROUP BY m.creator_id, n.channel
)
SELECT c.name, o.orders, coalesce(e.made, 0), coalesce(e.succeeded, 0), coalesce(s.made, 0), coalesce(s.parts, 0),
       coalesce(s.succeeded, 0)
  FROM (SELECT creator_id, count(*) AS orders FROM month GROUP BY creator_id) o
  JOIN creator c ON c.id = o.creator_id
  LEFT JOIN sent e ON e.creator_id = o.creator_id AND e.channel = 'email'
  LEFT JOIN sent s ON s.creator_id = o.creator_id AND s.channel = 'sms'
 ORDER BY c.name
"""


async def month(db: Database, *, start: datetime, end: datetime) -> list[MonthRow]:
    """Creators with orders to be sent in [start, end), by name."""
    async with db.transaction() as conn:
        await execute(conn, TIME_LIMIT, {})
        return await fetch(conn, MONTH, {"start": start, "end": end}, _month_row)


# When a message that was only accepted settled is not stored: it follows from when it was accepted. Ids are made by
# the machine's clock, which business time never lies behind.
RESULTS: Final = """
SELECT n.id, o.id, o.senders_reference, o.requested_send_time, c.name, t.resource_id, n.state::text, n.reason,
       n.provider_ref, n.address, t.sms_body, n.recipient_name,
       CASE WHEN n.subject_kind = 'organisation' THEN n.subject_key ELSE '' END
  FROM notification n
  JOIN orders o ON o.id = n.order_id
  JOIN creator c ON c.id = n.creator_id
  LEFT JOIN order_content t ON t.order_id = n.order_id
 CROSS JOIN LATERAL (
       SELECT CASE WHEN n.settled THEN coalesce(n.state_at + %(settle)s::interval, n.expires_at)
                   ELSE n.state_at END AS at) f
 WHERE n.channel = %(channel)s AND n.id > %(after)s
   AND (n.state IN ('delivered', 'failed', 'expired') OR n.settled)
   AND f.at >= %(start)s AND f.at < %(end)s
 ORDER BY n.id LIMIT %(limit)s
"""


async def results(
    db: Database,
    channel: Channel,
    *,
    start: datetime,
    end: datetime,
    settle_after: timedelta | None,
    after: NotificationId | None,
    limit: int,
) -> list[ResultRow]:
    """A page of the notifications that reached their final result in [start, end), in order of id.

    `after`: the last id of the page before. `settle_after`: of the channel; None: at expiry.
    """
    params = {
        "channel": channel,
        "after": after or uuid7_floor(datetime.now(UTC) - _OLDEST),
        "start": start,
        "end": end,
        "settle": settle_after,
        "limit": limit,
    }
    async with db.transaction() as conn:
        await execute(conn, TIME_LIMIT, {})
        return await fetch(conn, RESULTS, params, lambda *row: _result(channel, *row))


def _month_row(name: str, orders: int, emails: int, emailed: int, sms: int, parts: int, texted: int) -> MonthRow:
    return MonthRow(name, orders, emails, emailed, sms, int(parts), texted)


def _result(
    channel: Channel,
    id_: UUID,
    order: UUID,
    reference: str | None,
    requested: datetime,
    creator: str,
    resource: str | None,
    state: str,
    reason: str | None,
    provider_ref: str | None,
    address: str,
    body: str | None,
    name: str | None,
    number: str,
) -> ResultRow:
    filled = fill(body, name=name, number=number) if body is not None and name is not None else None
    return ResultRow(
        NotificationId(id_),
        OrderId(order),
        reference,
        requested,
        creator,
        resource,
        raw_result(channel, State(state), Reason(reason) if reason else None),
        provider_ref,
        address,
        body,
        filled,
    )
