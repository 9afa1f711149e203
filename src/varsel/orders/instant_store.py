"""SQL of instant orders: begun in one transaction before anything leaves, and undone when surely nothing left."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch_one, fetch_value
from varsel.domain.ids import WorkerId
from varsel.domain.instant import Instant
from varsel.domain.order import Lane
from varsel.orders.chain_store import Key, StoredChain, idempotency_key, stored_chain

# The order is past its resolution, and its message counts as having left. Only for a process that still has its row:
# a claim of one that lost its lease would be nobody's.
BEGIN = """
WITH alive AS MATERIALIZED (
    SELECT id FROM worker WHERE id = %(worker)s FOR KEY SHARE
), begun AS (
    UPDATE orders SET state = 'Processed', pending = 1, expires_at = %(expires_at)s
     WHERE id = %(order)s AND EXISTS (SELECT FROM alive)
), tallied AS (
    INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
    SELECT %(creator)s, b.channel, '', b.bucket, date_trunc('minute', %(now)s::timestamptz), b.n
      FROM alive
     CROSS JOIN (VALUES (%(channel)s::channel::text, 'open', 1), ('', 'scheduled', -1)) AS b (channel, bucket, n)
), made AS (
    INSERT INTO notification (id, order_id, creator_id, channel, lane, state, attempts, state_at, expires_at, claim_id,
                              address, provider)
    SELECT %(notification)s, %(order)s, %(creator)s, %(channel)s, %(lane)s, 'claimed', 1, %(now)s, %(expires_at)s,
           %(claim)s, %(address)s, %(provider)s
      FROM alive
)
INSERT INTO claim (id, worker_id, provider, ids, handed_over, claimed_at, undecided)
SELECT %(claim)s, id, %(provider)s, ARRAY[%(notification)s]::uuid[], 1, statement_timestamp(), true FROM alive
"""

# Another provider gets it, for surely nothing left by the first. Only while the message is still ours.
REROUTE = """
WITH message AS (
    UPDATE notification SET provider = %(provider)s
     WHERE id = %(notification)s AND claim_id = %(claim)s AND state = 'claimed' RETURNING claim_id
)
UPDATE claim SET provider = %(provider)s WHERE id = (SELECT claim_id FROM message)
"""

DECIDE = "UPDATE claim SET undecided = false WHERE id = %(claim)s"

# All or nothing, and only while the message is still ours: somebody else may have given it up as unknown.
REMOVE = """
WITH message AS (
    DELETE FROM notification WHERE id = %(notification)s AND claim_id = %(claim)s AND state = 'claimed'
    RETURNING order_id, creator_id, channel, state_at
), tallied AS (
    INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
    SELECT m.creator_id, b.channel, '', b.bucket, date_trunc('minute', m.state_at), -1
      FROM message m CROSS JOIN LATERAL (VALUES (m.channel::text, 'open'), ('', 'taken')) AS b (channel, bucket)
), held AS (
    DELETE FROM claim WHERE id = %(claim)s AND EXISTS (SELECT FROM message)
), filled AS (
    DELETE FROM order_content WHERE order_id IN (SELECT order_id FROM message)
), stored AS (
    DELETE FROM orders WHERE id IN (SELECT order_id FROM message)
), chained AS (
    DELETE FROM order_chain WHERE id = %(claim)s AND EXISTS (SELECT FROM message)
)
SELECT EXISTS (SELECT FROM message) OR NOT EXISTS (SELECT FROM order_chain WHERE id = %(claim)s)
"""

# In one statement, for the order may be removed at any moment: then there is neither chain nor claim.
FIND = """
SELECT c.id, c.request_hash, c.shipments, NOT EXISTS (SELECT FROM claim WHERE id = c.id AND undecided)
  FROM order_chain c
 WHERE c.creator_id = %(creator)s AND c.idempotency_key = %(key)s AND c.family = %(family)s
"""


@dataclass(frozen=True, slots=True)
class First:
    """An order that is stored under an idempotency id. `decided`: its sender may be told that it stands."""

    chain: StoredChain
    decided: bool


async def find(conn: ReadConn, key: Key) -> First | None:
    creator, idempotency_id, family = key
    params = {"creator": creator, "key": idempotency_key(idempotency_id), "family": family.value}
    return await fetch_one(conn, FIND, params, _first)


async def begin(conn: Conn, instant: Instant, worker: WorkerId, provider: str, *, now: datetime) -> bool:
    """Hold the message of an order that this transaction has stored, as one that may have left.

    False when the process has lost its row: then roll back.
    """
    params: dict[str, Any] = {"order": instant.order.id, "creator": instant.creator, "worker": worker}
    params |= {"notification": instant.notification, "claim": instant.claim, "provider": provider}
    params |= {"channel": instant.channel.value, "lane": int(Lane.INSTANT), "address": instant.address}
    return await execute(conn, BEGIN, {**params, "expires_at": instant.expires_at, "now": now}) == 1


async def reroute(conn: Conn, instant: Instant, provider: str) -> bool:
    """False when somebody else has decided about the message."""
    params = {"notification": instant.notification, "claim": instant.claim, "provider": provider}
    return await execute(conn, REROUTE, params) == 1


async def decide(conn: Conn, instant: Instant) -> None:
    """The order stands, though the provider has not answered yet: its repeats are told so from now on."""
    await execute(conn, DECIDE, {"claim": instant.claim})


async def remove(conn: Conn, instant: Instant) -> bool:
    """Take every trace of the order away. False when it stands: somebody else has decided about its message."""
    return bool(await fetch_value(conn, REMOVE, {"notification": instant.notification, "claim": instant.claim}))


def _first(id_: UUID, request_hash: bytes, shipments: list[dict[str, Any]], decided: bool) -> First:
    return First(stored_chain(id_, request_hash, shipments), decided)
