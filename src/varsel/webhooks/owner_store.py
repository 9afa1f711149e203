"""SQL of what owners do with their webhooks. Each statement names the creator, or follows `lock`, which does: those of
others do not exist for them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value
from varsel.domain.ids import CreatorId, OrderId, WebhookId, uuid7
from varsel.webhooks.event import Kind
from varsel.webhooks.states import DeliveryState, WebhookState, Why

_PINGS_APART: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Wish:
    """What an owner chooses."""

    url: str
    kinds: tuple[Kind, ...]
    description: str | None
    destinations: bool


@dataclass(frozen=True, slots=True)
class Webhook:
    """As its owner sees it. `position`: up to which number of the feed it has been told, but for
    `waiting` events.
    """

    id: WebhookId
    url: str
    kinds: tuple[str, ...]
    description: str | None
    destinations: bool
    state: WebhookState
    reason: Why | None
    state_at: datetime
    created_at: datetime
    position: int
    waiting: int
    failures: int
    resting_until: datetime | None
    succeeded_at: datetime | None
    old_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The last tries of one event. A ping has no number and no order; `status` is missing when no answer came."""

    event_id: UUID
    kind: str
    seq: int | None
    order: OrderId | None
    state: DeliveryState
    attempts: int
    happened: datetime
    last_at: datetime
    next_at: datetime | None
    status: int | None
    detail: str
    took: timedelta | None


SHOWN: Final = """
SELECT w.id, w.url, w.kinds, w.description, w.destinations, w.state, w.reason, w.state_at, w.created_at, w.position,
       (SELECT count(*) FROM webhook_delivery d
         WHERE d.webhook_id = w.id AND d.state = 'waiting' AND d.seq IS NOT NULL),
       w.failures, CASE WHEN w.state = 'active' AND w.resting_until > %(now)s THEN w.resting_until END,
       w.succeeded_at, CASE WHEN w.old_secret_until > %(now)s THEN w.old_secret_until END
  FROM webhook w
 WHERE w.creator_id = (SELECT id FROM creator WHERE name = %(creator)s) AND (%(id)s::uuid IS NULL OR w.id = %(id)s)
 ORDER BY w.id
"""


async def all_of(conn: ReadConn, creator: str, *, now: datetime) -> list[Webhook]:
    """The oldest first."""
    return await fetch(conn, SHOWN, {"creator": creator, "id": None, "now": now}, _webhook)


async def get(conn: ReadConn, creator: str, id_: WebhookId, *, now: datetime) -> Webhook | None:
    return await fetch_one(conn, SHOWN, {"creator": creator, "id": id_, "now": now}, _webhook)


# Making and changing

LOCK_CREATOR: Final = "SELECT id FROM creator WHERE name = %(creator)s FOR UPDATE"
MAKE_CREATOR: Final = """
INSERT INTO creator (name, created_at) VALUES (%(creator)s, %(now)s) ON CONFLICT (name) DO NOTHING
"""


async def lock_creator(conn: Conn, creator: str, *, now: datetime) -> CreatorId:
    """So that nobody makes another webhook meanwhile. The row is made if there is none."""
    await execute(conn, MAKE_CREATOR, {"creator": creator, "now": now})
    return CreatorId(await fetch_value(conn, LOCK_CREATOR, {"creator": creator}))


async def count(conn: Conn, creator: CreatorId) -> int:
    return int(await fetch_value(conn, "SELECT count(*) FROM webhook WHERE creator_id = %(id)s", {"id": creator}))


# It is told of what comes from now on.
INSERT: Final = """
INSERT INTO webhook (id, creator_id, url, kinds, description, destinations, secret, created_at, state, state_at,
                     position)
SELECT %(id)s, %(creator)s, %(url)s, %(kinds)s, %(description)s, %(destinations)s, %(secret)s, %(now)s, 'pending',
       %(now)s, coalesce((SELECT max(seq) FROM status_feed WHERE creator_id = %(creator)s), 0)
"""


async def insert(conn: Conn, creator: CreatorId, id_: WebhookId, wish: Wish, secret: bytes, *, now: datetime) -> None:
    await execute(conn, INSERT, {**_wished(wish), "id": id_, "creator": creator, "secret": secret, "now": now})


# Where it is sent to may be somebody else's: that has to be confirmed again, unless its owner has it paused.
CHANGE: Final = """
UPDATE webhook w
   SET url = %(url)s, kinds = %(kinds)s, description = %(description)s, destinations = %(destinations)s,
       version = w.version + 1, confirmed = w.confirmed AND NOT c.moves,
       state = CASE WHEN c.restarts THEN 'pending' ELSE w.state END,
       reason = CASE WHEN c.restarts THEN NULL ELSE w.reason END,
       state_at = CASE WHEN c.restarts THEN %(now)s ELSE w.state_at END,
       failures = CASE WHEN c.moves THEN 0 ELSE w.failures END,
       resting_until = CASE WHEN c.moves THEN NULL ELSE w.resting_until END
  FROM (SELECT url <> %(url)s AS moves,
               url <> %(url)s AND (state, reason) IS DISTINCT FROM ('paused', 'owner') AS restarts
          FROM webhook WHERE id = %(id)s) AS c
 WHERE w.id = %(id)s
RETURNING c.moves
"""


async def change(conn: Conn, id_: WebhookId, wish: Wish, *, now: datetime) -> bool:
    """Whether it is another address now. The row is locked by `lock`."""
    return bool(await fetch_value(conn, CHANGE, {**_wished(wish), "id": id_, "now": now}))


LOCK: Final = """
SELECT id FROM webhook
 WHERE id = %(id)s AND creator_id = (SELECT id FROM creator WHERE name = %(creator)s) FOR UPDATE
"""


async def lock(conn: Conn, creator: str, id_: WebhookId) -> bool:
    """Until the transaction ends. False: there is no such webhook."""
    return await fetch_value(conn, LOCK, {"id": id_, "creator": creator}) is not None


DELETE: Final = """
DELETE FROM webhook WHERE id = %(id)s AND creator_id = (SELECT id FROM creator WHERE name = %(creator)s)
"""


async def delete(conn: Conn, creator: str, id_: WebhookId) -> bool:
    return await execute(conn, DELETE, {"id": id_, "creator": creator}) == 1


ROTATE: Final = """
UPDATE webhook SET old_secret = secret, old_secret_until = %(until)s, secret = %(secret)s, version = version + 1
 WHERE id = %(id)s
"""


async def rotate(conn: Conn, id_: WebhookId, secret: bytes, *, until: datetime) -> None:
    """The secret before signs too, `until` then. The row is locked by `lock`."""
    await execute(conn, ROTATE, {"id": id_, "secret": secret, "until": until})


# States. The rows are locked by `lock`.

LAST_PING: Final = """
SELECT max(last_at) FROM webhook_delivery WHERE webhook_id = %(id)s AND seq IS NULL AND attempts > 0
"""

WAKE_PING: Final = """
UPDATE webhook_delivery SET next_at = least(next_at, %(at)s)
 WHERE webhook_id = %(id)s AND state = 'waiting' AND seq IS NULL
"""

PING: Final = """
INSERT INTO webhook_delivery (webhook_id, event_id, kind, happened, state, attempts, last_at, next_at)
VALUES (%(id)s, %(event)s, %(kind)s, %(now)s, 'waiting', 0, %(now)s, %(at)s)
"""


async def ping(conn: Conn, id_: WebhookId, *, now: datetime) -> None:
    """Let a ping be sent, or one that waits already: now, but not right after another."""
    last: datetime | None = await fetch_value(conn, LAST_PING, {"id": id_})
    at = max(now, last + _PINGS_APART) if last else now
    if not await execute(conn, WAKE_PING, {"id": id_, "at": at}):
        await execute(conn, PING, {"id": id_, "event": uuid7(), "kind": Kind.PING, "now": now, "at": at})


FORGET_PINGS: Final = "DELETE FROM webhook_delivery WHERE webhook_id = %(id)s AND state = 'waiting' AND seq IS NULL"


async def forget_pings(conn: Conn, id_: WebhookId) -> None:
    await execute(conn, FORGET_PINGS, {"id": id_})


PAUSE: Final = """
UPDATE webhook SET state = 'paused', reason = 'owner', state_at = %(now)s
 WHERE id = %(id)s AND state IN ('pending', 'active')
"""


async def pause(conn: Conn, id_: WebhookId, *, now: datetime) -> None:
    await execute(conn, PAUSE, {"id": id_, "now": now})


RESUME: Final = """
UPDATE webhook w
   SET state = n.state, reason = NULL, state_at = CASE WHEN n.state <> w.state THEN %(now)s ELSE w.state_at END,
       failures = 0, resting_until = NULL
  FROM (SELECT id, CASE WHEN confirmed AND state <> 'disabled' THEN 'active' ELSE 'pending' END AS state
          FROM webhook) AS n
 WHERE w.id = %(id)s AND n.id = w.id
RETURNING w.state = 'active'
"""

TRY_AGAIN: Final = """
UPDATE webhook_delivery SET next_at = %(now)s, attempts = 0, first_at = NULL
 WHERE webhook_id = %(id)s AND state = 'waiting' AND next_at IS NOT NULL AND seq IS NOT NULL
"""


async def resume(conn: Conn, id_: WebhookId, *, now: datetime) -> bool:
    """Begin again, at once and with all the time there is. False: its address has to be confirmed first."""
    active = bool(await fetch_value(conn, RESUME, {"id": id_, "now": now}))
    await execute(conn, TRY_AGAIN, {"id": id_, "now": now})
    return active


NEWEST: Final = """
SELECT greatest(w.position, (SELECT max(seq) FROM status_feed f WHERE f.creator_id = w.creator_id))
  FROM webhook w WHERE w.id = %(id)s
"""
REPLAY: Final = "UPDATE webhook SET replay_from = %(seq)s WHERE id = %(id)s"


async def replay(conn: Conn, id_: WebhookId, seq: int) -> bool:
    """Let it be told of everything from that number on. False: the feed has not come so far."""
    newest = int(await fetch_value(conn, NEWEST, {"id": id_}))
    if seq > newest + 1:
        return False
    await execute(conn, REPLAY, {"id": id_, "seq": seq})
    return True


DELIVERIES: Final = """
SELECT d.event_id, d.kind, d.seq, d.order_id, d.state, d.attempts, d.happened, d.last_at, d.next_at, d.status,
       d.detail, d.took
  FROM webhook w JOIN webhook_delivery d ON d.webhook_id = w.id
 WHERE w.id = %(id)s AND w.creator_id = (SELECT id FROM creator WHERE name = %(creator)s)
 ORDER BY d.last_at DESC, d.seq DESC LIMIT %(limit)s
"""


async def deliveries(conn: ReadConn, creator: str, id_: WebhookId, *, limit: int) -> list[Delivery]:
    """The newest first."""
    return await fetch(conn, DELIVERIES, {"id": id_, "creator": creator, "limit": limit}, _delivery)


IN_TROUBLE: Final = "SELECT reason, count(*)::int FROM webhook WHERE reason IN ('failing', 'gone') GROUP BY reason"


async def in_trouble(conn: ReadConn) -> dict[Why, int]:
    """How many webhooks, of all creators, get nothing because of their receiver."""
    return dict(await fetch(conn, IN_TROUBLE, {}, lambda reason, n: (Why(reason), int(n))))


def _wished(wish: Wish) -> dict[str, Any]:
    return {
        "url": wish.url,
        "kinds": [kind.value for kind in wish.kinds],
        "description": wish.description,
        "destinations": wish.destinations,
    }


def _webhook(*columns: Any) -> Webhook:
    id_, url, kinds, description, destinations, state, reason, *rest = columns
    why = Why(reason) if reason else None
    return Webhook(WebhookId(id_), url, tuple(kinds), description, destinations, WebhookState(state), why, *rest)


def _delivery(
    event_id: UUID, kind: str, seq: int | None, order: UUID | None, state: str, attempts: int, *rest: Any
) -> Delivery:
    return Delivery(event_id, kind, seq, OrderId(order) if order else None, DeliveryState(state), attempts, *rest)
