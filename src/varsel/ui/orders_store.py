"""SQL of the list of orders: a page of fifty by keyset, or all of them for a file, over one creator or all."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from varsel.db import Database, ReadConn, fetch
from varsel.domain.ids import OrderId, uuid7_floor
from varsel.domain.order import OrderChannel, OrderKind, OrderState
from varsel.ui.verdict import Tally

_COUNTED: Final = 2_000
_FILE_STEP: Final = 500
_CLOCKS: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Filter:
    """`since`, `until`: when they were ordered. `shifted`: the clock of the sandbox may be ahead of that of ids."""

    state: OrderState | None = None
    creator: str | None = None
    channel: OrderChannel | None = None
    since: datetime | None = None
    until: datetime | None = None
    reference: str | None = None
    before: UUID | None = None
    shifted: bool = False


@dataclass(frozen=True, slots=True)
class OrderRow:
    """`title`: how its text begins. `tally`: None when there are too many recipients to count in passing."""

    id: OrderId
    creator: str
    reference: str | None
    kind: OrderKind
    channel: OrderChannel
    state: OrderState
    recipients: int
    requested: datetime
    created: datetime
    title: str
    tally: Tally | None


# The rank of verdict.Fate; a test holds the two together.
FATE: Final = """
CASE WHEN n.state = 'delivered' THEN 0
     WHEN n.state IN ('new', 'claimed', 'unknown') THEN 1
     WHEN n.state = 'accepted' AND NOT n.settled THEN 2
     WHEN n.state = 'accepted' OR (n.state = 'expired' AND n.accepted_at IS NOT NULL) THEN 3
     WHEN n.reason IN ('Failed_RecipientReserved', 'Failed_RecipientNotIdentified', 'Failed_SupressedRecipient') THEN 5
     ELSE 4 END
"""

TALLY: Final = """
count(*) FILTER (WHERE fate = 0)::int, count(*) FILTER (WHERE fate = 1)::int, count(*) FILTER (WHERE fate = 2)::int,
count(*) FILTER (WHERE fate = 3)::int, count(*) FILTER (WHERE fate = 4)::int, count(*) FILTER (WHERE fate = 5)::int
"""

_WANTED: Final = """
(%(state)s::order_state IS NULL OR o.state = %(state)s::order_state)
AND (%(channel)s::order_channel IS NULL OR o.channel = %(channel)s::order_channel)
AND (%(since)s::timestamptz IS NULL OR o.created_at >= %(since)s)
AND (%(until)s::timestamptz IS NULL OR o.created_at < %(until)s)
AND (%(low)s::uuid IS NULL OR o.id >= %(low)s)
AND (%(high)s::uuid IS NULL OR o.id < %(high)s)
"""

# Too many are not counted: the page of an order does that.
_SHOW: Final = f"""
SELECT o.id, c.name, o.senders_reference, o.kind::text, o.channel::text, o.state::text, o.recipients,
       o.requested_send_time, o.created_at, coalesce(left(t.email_subject, 200), left(t.sms_body, 200), ''), f.*
  FROM wanted o
  JOIN creator c ON c.id = o.creator_id
  LEFT JOIN order_content t ON t.order_id = o.id
 CROSS JOIN LATERAL (
    SELECT {TALLY} FROM (
        SELECT min(fate) AS fate FROM (
            SELECT coalesce(n.subject_key, n.address) AS who, {FATE} AS fate
              FROM notification n WHERE n.order_id = o.id LIMIT %(counted)s
        ) n GROUP BY who
    ) r
 ) f
 ORDER BY o.id DESC
"""

ALL: Final = f"""
WITH wanted AS (
    SELECT o.* FROM orders o
     WHERE {_WANTED} AND (%(creator)s::int IS NULL OR o.creator_id = %(creator)s)
     ORDER BY o.id DESC LIMIT %(limit)s
) {_SHOW}
"""

# One look into the index for each creator: it begins with the creator, and with what it holds of a reference.
REFERENCED: Final = f"""
WITH wanted AS (
    SELECT o.* FROM creator c CROSS JOIN LATERAL (
        SELECT * FROM orders o
         WHERE o.creator_id = c.id AND left(o.senders_reference, 100) = left(%(reference)s, 100)
           AND o.senders_reference = %(reference)s AND {_WANTED}
         ORDER BY o.id DESC LIMIT %(limit)s
    ) o
     WHERE %(creator)s::int IS NULL OR c.id = %(creator)s
     ORDER BY o.id DESC LIMIT %(limit)s
) {_SHOW}
"""

CREATORS: Final = "SELECT name, id FROM creator ORDER BY lower(name)"


async def creators(conn: ReadConn) -> dict[str, int]:
    """All that have ordered anything, by name."""
    return dict(await fetch(conn, CREATORS, {}, lambda name, id_: (name, id_)))


async def find(conn: ReadConn, wanted: Filter, *, limit: int) -> list[OrderRow]:
    """The newest ones first."""
    creator = (await creators(conn)).get(wanted.creator) if wanted.creator else None
    if wanted.creator and creator is None:
        return []
    low = uuid7_floor(wanted.since - _CLOCKS) if wanted.since and not wanted.shifted else None
    high = uuid7_floor(wanted.until + _CLOCKS) if wanted.until and not wanted.shifted else None
    params: dict[str, Any] = {
        "state": wanted.state,
        "channel": wanted.channel,
        "since": wanted.since,
        "until": wanted.until,
        "creator": creator,
        "reference": wanted.reference,
        "low": low,
        "high": min(filter(None, (high, wanted.before)), default=None),
        "limit": limit,
        "counted": _COUNTED,
    }
    return await fetch(conn, REFERENCED if wanted.reference else ALL, params, _row)


async def find_all(db: Database, wanted: Filter) -> AsyncIterator[OrderRow]:
    """All of them, a step at a time: no connection is held between the steps."""
    while True:
        async with db.reading() as conn:
            rows = await find(conn, wanted, limit=_FILE_STEP)
        for row in rows:
            yield row
        if len(rows) < _FILE_STEP:
            return
        wanted = replace(wanted, before=rows[-1].id)


def _row(
    id_: UUID,
    creator: str,
    reference: str | None,
    kind: str,
    channel: str,
    state: str,
    recipients: int,
    requested: datetime,
    created: datetime,
    title: str,
    *counts: int,
) -> OrderRow:
    tally = Tally(*counts)
    return OrderRow(
        OrderId(id_),
        creator,
        reference,
        OrderKind(kind),
        OrderChannel(channel),
        OrderState(state),
        recipients,
        requested,
        created,
        title,
        tally if tally.all < _COUNTED and recipients < _COUNTED else None,
    )
