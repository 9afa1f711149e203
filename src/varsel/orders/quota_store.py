"""SQL of creators' counters: one statement takes for a whole batch, and what was not used is given back.

Whoever holds a counter waits for nothing else, and counters are locked in order, so that nobody waits in a circle.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from varsel.db import Conn, execute, fetch
from varsel.domain.ids import CreatorId, OrderId
from varsel.domain.quota import Counter, Limit

# Check and increment: each counter gives what is wanted; else what there is or, where that does not help, nothing. A
# day begins with nothing used, and a bucket has leaked since it was asked last. The commit need not wait for the disk:
# the order that stands on it is written to the same log afterwards, and its own commit waits for both.
TAKE: Final = """
INSERT INTO quota AS q (creator_id, counter, most, refill, used, taken, at)
SELECT creator_id, counter, most, refill, given, given,
       CASE WHEN refill IS NULL THEN %(now)s ELSE statement_timestamp() END
  FROM unnest(%(creators)s::int[], %(counters)s::text[], %(mosts)s::float8[], %(refills)s::float8[],
              %(wanted)s::float8[]) AS t (creator_id, counter, most, refill, wanted)
 CROSS JOIN LATERAL (SELECT CASE WHEN wanted <= most THEN wanted WHEN %(whole)s THEN 0 ELSE most END AS given) AS g
 ORDER BY creator_id, counter
ON CONFLICT (creator_id, counter) DO UPDATE
   SET most = excluded.most, refill = excluded.refill, at = greatest(q.at, excluded.at),
       (taken, used) = (
           SELECT g.given, g.used + g.given
             FROM (SELECT CASE WHEN excluded.refill IS NOT NULL THEN greatest(q.used - excluded.refill
                                    * greatest(extract(epoch FROM excluded.at - q.at), 0), 0)
                               WHEN q.at >= %(day)s THEN q.used
                               ELSE 0 END AS used) AS n
            CROSS JOIN LATERAL (
                  SELECT n.used, CASE WHEN excluded.taken <= excluded.most - n.used THEN excluded.taken
                                      WHEN %(whole)s THEN 0
                                      ELSE greatest(excluded.most - n.used, 0) END AS given) AS g)
RETURNING creator_id, counter, taken, set_config('synchronous_commit', 'off', true)
"""

GIVE_BACK: Final = """
WITH held AS MATERIALIZED (
    SELECT q.creator_id, q.counter, t.amount
      FROM quota q
      JOIN unnest(%(creators)s::int[], %(counters)s::text[], %(amounts)s::float8[]) AS t (creator_id, counter, amount)
           USING (creator_id, counter)
     ORDER BY q.creator_id, q.counter FOR UPDATE OF q)
UPDATE quota q SET used = greatest(q.used - h.amount, 0)
  FROM held h
 WHERE q.creator_id = h.creator_id AND q.counter = h.counter AND (q.refill IS NOT NULL OR q.at >= %(day)s)
"""

SHARES: Final = """
SELECT o.creator_id, s.key, sum(s.value::float8)
  FROM orders o
  JOIN order_content c ON c.order_id = o.id
 CROSS JOIN LATERAL jsonb_each_text(c.quota) AS s
 WHERE o.id = ANY(%(orders)s) AND c.order_id = ANY(%(orders)s) AND o.created_at >= %(day)s
 GROUP BY o.creator_id, s.key
"""


class Key(NamedTuple):
    creator: CreatorId
    counter: Counter


async def take(
    conn: Conn,
    wanted: Mapping[Key, float],
    limits: Mapping[Key, Limit],
    *,
    now: datetime,
    day: datetime,
    whole: bool,
) -> dict[Key, float]:
    """Take of each counter what is wanted, or what there is; `whole`: or nothing. `day`: when Oslo's day began.

    Within a transaction the counters are held until it ends, also those of which 0 is wanted.
    """
    keys = sorted(wanted)
    params: dict[str, Any] = {"now": now, "day": day, "whole": whole, "wanted": [float(wanted[key]) for key in keys]}
    params |= {"creators": [key.creator for key in keys], "counters": [key.counter.value for key in keys]}
    params |= {"mosts": [limits[key].most for key in keys], "refills": [limits[key].refill for key in keys]}
    return dict(await fetch(conn, TAKE, params, _taken))


async def give_back(conn: Conn, amounts: Mapping[Key, float], *, day: datetime) -> None:
    """What was taken today, and of buckets."""
    keys = sorted(amounts)
    params: dict[str, Any] = {"day": day, "amounts": [amounts[key] for key in keys]}
    params |= {"creators": [key.creator for key in keys], "counters": [key.counter.value for key in keys]}
    await execute(conn, GIVE_BACK, params)


async def release(conn: Conn, orders: Sequence[OrderId], *, day: datetime) -> None:
    """Give back what cancelled orders took, if that was today."""
    shares = dict(await fetch(conn, SHARES, {"orders": list(orders), "day": day}, _share))
    if shares:
        await give_back(conn, shares, day=day)


def _taken(creator: int, counter: str, taken: float, _setting: str) -> tuple[Key, float]:
    return Key(CreatorId(creator), Counter(counter)), taken


def _share(creator: int, counter: str, amount: float) -> tuple[Key, float]:
    return Key(CreatorId(creator), Counter(counter)), amount
