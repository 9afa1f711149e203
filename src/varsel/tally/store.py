"""SQL of the tallies: deltas are appended where messages move, folded by a worker, and read with what is not folded.

No row that two transactions share is ever updated on the road. Whoever reads adds what has not been folded yet, in the
same statement: a tally is never behind.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from varsel.db import Conn, ReadConn, execute, fetch, fetch_value
from varsel.domain.ids import CreatorId
from varsel.domain.notification import Channel
from varsel.domain.tally import NOT_SENT, SENT, Bucket

MINUTES_KEPT: Final = timedelta(hours=48)
HOURS_KEPT: Final = timedelta(days=9)  # last week's day is shown beside today
MOST_READ: Final = 50_000  # deltas that wait to be folded; two seconds' are a few hundred
_FOLD_LOCK: Final = 8_310_032

_NOT_SENT: Final = ", ".join(f"'{reason.value}'" for reason in sorted(NOT_SENT))

# The bucket of a row `n` of notification: `domain.tally.bucket_of`, in SQL.
BUCKET: Final = f"""
    CASE n.state
         WHEN 'new' THEN 'open' WHEN 'claimed' THEN 'open'
         WHEN 'accepted' THEN CASE WHEN n.settled THEN 'settled' ELSE 'accepted' END
         WHEN 'failed' THEN CASE WHEN n.reason IN ({_NOT_SENT}) THEN 'not_sent' ELSE 'failed' END
         WHEN 'expired' THEN CASE WHEN n.accepted_at IS NULL THEN 'failed' ELSE 'expired' END
         ELSE n.state::text END
"""

# Of a statement that has `moved (creator_id, channel, provider, was, bucket)`: a row for each message, counted before
# it is written. A message that nobody has yet counts for no provider.
TALLY_MOVED: Final = """
INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
SELECT m.creator_id, m.channel::text, CASE b.bucket WHEN 'open' THEN '' ELSE coalesce(m.provider, '') END, b.bucket,
       date_trunc('minute', %(now)s::timestamptz), sum(b.n)::int
  FROM (SELECT creator_id, channel, provider, was, bucket, count(*) AS n FROM moved
         WHERE was <> bucket GROUP BY creator_id, channel, provider, was, bucket) m
 CROSS JOIN LATERAL (VALUES (m.was, -m.n), (m.bucket, m.n)) AS b (bucket, n)
 GROUP BY 1, 2, 3, 4
"""

# Of a statement that has `made (creator_id, channel, bucket)`: messages that nobody had before.
TALLY_MADE: Final = """
INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
SELECT creator_id, channel::text, '', bucket, date_trunc('minute', %(now)s::timestamptz), count(*)
  FROM made GROUP BY creator_id, channel, bucket
"""

# Of a statement that has `gone (creator_id, recipients)`: orders that wait no more.
TALLY_GONE: Final = """
INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
SELECT creator_id, '', '', 'scheduled', date_trunc('minute', %(now)s::timestamptz), -sum(recipients)::int
  FROM gone GROUP BY creator_id
"""

ADD: Final = """
INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
SELECT creator_id, channel, '', bucket, date_trunc('minute', %(now)s::timestamptz), n
  FROM unnest(%(creators)s::int[], %(channels)s::text[], %(buckets)s::text[], %(counts)s::int[])
       AS t (creator_id, channel, bucket, n)
"""

FOLD_LOCK: Final = "SELECT pg_try_advisory_xact_lock(%(key)s)"

# What came and went in an hour is of interest where messages have left; in a minute, where they ended or began.
_BY_HOUR: Final = "bucket NOT IN ('open', 'scheduled')"
_BY_MINUTE: Final = "bucket NOT IN ('open', 'scheduled', 'unknown', 'accepted')"

FOLD: Final = f"""
WITH gone AS (
    DELETE FROM tally_delta WHERE ctid = ANY (ARRAY(SELECT ctid FROM tally_delta LIMIT %(limit)s)) RETURNING *
), totals AS (
    INSERT INTO tally_total AS t (creator_id, channel, provider, bucket, n)
    SELECT creator_id, channel, provider, bucket, sum(n) FROM gone WHERE bucket <> 'taken' GROUP BY 1, 2, 3, 4
    ON CONFLICT (creator_id, bucket, channel, provider) DO UPDATE SET n = t.n + excluded.n
), minutes AS (
    INSERT INTO tally_minute AS t (minute, creator_id, channel, bucket, n)
    SELECT minute, creator_id, channel, bucket, sum(n) FROM gone WHERE {_BY_MINUTE} GROUP BY 1, 2, 3, 4
    ON CONFLICT (minute, creator_id, bucket, channel) DO UPDATE SET n = t.n + excluded.n
), hours AS (
    INSERT INTO tally_hour AS t (hour, creator_id, channel, bucket, n)
    SELECT date_trunc('hour', minute, 'UTC'), creator_id, channel, bucket, sum(n)
      FROM gone WHERE {_BY_HOUR} GROUP BY 1, 2, 3, 4
    ON CONFLICT (hour, creator_id, bucket, channel) DO UPDATE SET n = t.n + excluded.n
)
SELECT count(*) FROM gone
"""

PRUNE_MINUTES: Final = """
DELETE FROM tally_minute
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM tally_minute WHERE minute < %(before)s LIMIT %(limit)s))
"""

PRUNE_HOURS: Final = """
DELETE FROM tally_hour
 WHERE ctid = ANY (ARRAY(SELECT ctid FROM tally_hour WHERE hour < %(before)s LIMIT %(limit)s))
"""

_UNFOLDED: Final = "(SELECT * FROM tally_delta LIMIT %(most)s) d"

_SCOPE: Final = "(%(creators)s::int[] IS NULL OR creator_id = ANY (%(creators)s::int[]))"

STANDING: Final = f"""
SELECT channel, bucket, sum(n)::bigint
  FROM (SELECT creator_id, channel, bucket, n FROM tally_total
        UNION ALL SELECT creator_id, channel, bucket, n FROM {_UNFOLDED} WHERE bucket <> 'taken') t
 WHERE {_SCOPE}
 GROUP BY 1, 2 HAVING sum(n) <> 0
"""

# Who has sent something in the period, or has something waiting; who sent most comes first.
SENDERS: Final = f"""
WITH unfolded AS MATERIALIZED (SELECT * FROM {_UNFOLDED}),
period AS (
    SELECT creator_id, sum(n) FILTER (WHERE bucket = ANY(%(sent)s))::bigint AS sent,
           sum(n) FILTER (WHERE bucket = 'failed')::bigint AS failed,
           sum(n) FILTER (WHERE bucket IN ('settled', 'delivered', 'failed', 'expired'))::bigint AS finished
      FROM (SELECT creator_id, bucket, n FROM tally_hour WHERE hour >= %(since)s
            UNION ALL SELECT creator_id, bucket, n FROM unfolded WHERE minute >= %(since)s) t
     WHERE {_SCOPE}
     GROUP BY creator_id),
waiting AS (
    SELECT creator_id, sum(n)::bigint AS queued
      FROM (SELECT creator_id, n FROM tally_total WHERE bucket IN ('open', 'scheduled')
            UNION ALL SELECT creator_id, n FROM unfolded WHERE bucket IN ('open', 'scheduled')) t
     WHERE {_SCOPE}
     GROUP BY creator_id)
SELECT c.name, greatest(coalesce(p.sent, 0), 0), greatest(coalesce(w.queued, 0), 0), greatest(coalesce(p.failed, 0), 0),
       greatest(coalesce(p.finished, 0), 0), count(*) OVER ()
  FROM period p FULL JOIN waiting w USING (creator_id) JOIN creator c ON c.id = creator_id
 WHERE p.sent > 0 OR w.queued > 0
 ORDER BY coalesce(p.sent, 0) DESC, coalesce(w.queued, 0) DESC, c.id LIMIT %(limit)s
"""

HOURS: Final = f"""
SELECT hour, channel, bucket, sum(n)::bigint
  FROM (SELECT hour, creator_id, channel, bucket, n FROM tally_hour WHERE hour >= %(since)s AND hour < %(until)s
        UNION ALL
        SELECT date_trunc('hour', minute, 'UTC'), creator_id, channel, bucket, n
          FROM {_UNFOLDED} WHERE {_BY_HOUR} AND minute >= %(since)s AND minute < %(until)s) t
 WHERE {_SCOPE}
 GROUP BY 1, 2, 3 HAVING sum(n) <> 0
"""

MINUTES: Final = f"""
SELECT minute, channel, bucket, sum(n)::bigint
  FROM (SELECT minute, creator_id, channel, bucket, n FROM tally_minute WHERE minute >= %(since)s
        UNION ALL
        SELECT minute, creator_id, channel, bucket, n FROM {_UNFOLDED} WHERE {_BY_MINUTE} AND minute >= %(since)s) t
 WHERE {_SCOPE}
 GROUP BY 1, 2, 3 HAVING sum(n) <> 0
"""


class Kind(NamedTuple):
    """Of whom, on which channel, and where they stand: what messages are counted by."""

    creator: CreatorId
    channel: Channel
    bucket: Bucket


@dataclass(frozen=True, slots=True)
class Count:
    """`channel` is None where orders count."""

    channel: Channel | None
    bucket: Bucket
    n: int


@dataclass(frozen=True, slots=True)
class Sender:
    """`sent`: what left us in the period, or was tried. `failed` of the `finished` did not arrive.

    `all`: how many senders there are.
    """

    name: str
    sent: int
    queued: int
    failed: int
    finished: int
    all: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What was added in an hour, or a minute, that begins `at`; less than 0 where more left the bucket than came."""

    at: datetime
    channel: Channel | None
    bucket: Bucket
    n: int


async def add(conn: Conn, made: Mapping[Kind, int], *, now: datetime) -> None:
    """Count messages that this transaction has made."""
    if made:
        await execute(conn, ADD, {**delta_params(made), "now": now})


def delta_params(made: Mapping[Kind, int]) -> dict[str, list[object]]:
    """As parallel arrays, for `ADD` and for statements that do the same."""
    return {
        "creators": [kind.creator for kind in made],
        "channels": [kind.channel.value for kind in made],
        "buckets": [kind.bucket.value for kind in made],
        "counts": list(made.values()),
    }


async def fold(conn: Conn, *, limit: int = 20_000) -> int:
    """Take up deltas, at most `limit`; returns how many. 0 also when somebody else does it at this moment.

    In a transaction.
    """
    if not await fetch_value(conn, FOLD_LOCK, {"key": _FOLD_LOCK}):
        return 0
    return int(await fetch_value(conn, FOLD, {"limit": limit}))


async def prune(conn: Conn, *, now: datetime, limit: int = 10_000) -> int:
    """Forget minutes and hours that nobody shows any more; returns how many rows."""
    minutes = await execute(conn, PRUNE_MINUTES, {"before": now - MINUTES_KEPT, "limit": limit})
    return minutes + await execute(conn, PRUNE_HOURS, {"before": now - HOURS_KEPT, "limit": limit})


async def standing(conn: ReadConn, creators: Collection[CreatorId] | None = None) -> list[Count]:
    """How many there are now, of these creators or all."""
    return await fetch(conn, STANDING, _scope(creators), _count)


async def senders(
    conn: ReadConn, since: datetime, creators: Collection[CreatorId] | None = None, *, limit: int
) -> list[Sender]:
    """The first of them. `since`: the beginning of an hour, at most nine days ago."""
    params = {**_scope(creators), "since": since, "sent": [bucket.value for bucket in SENT], "limit": limit}
    return await fetch(conn, SENDERS, params, Sender)


async def hours(
    conn: ReadConn, start: datetime, end: datetime, creators: Collection[CreatorId] | None = None
) -> list[Moment]:
    """What was added in each hour of [start, end), both at the beginning of an hour; not to what has not left."""
    return await fetch(conn, HOURS, {**_scope(creators), "since": start, "until": end}, _moment)


async def minutes(conn: ReadConn, start: datetime, creators: Collection[CreatorId] | None = None) -> list[Moment]:
    """How many were taken in, and came to their end, in each minute since then, at most 48 hours ago."""
    return await fetch(conn, MINUTES, {**_scope(creators), "since": start}, _moment)


def _scope(creators: Collection[CreatorId] | None) -> dict[str, object]:
    return {"creators": None if creators is None else list(creators), "most": MOST_READ}


def _count(channel: str, bucket: str, n: int) -> Count:
    return Count(Channel(channel) if channel else None, Bucket(bucket), n)


def _moment(at: datetime, channel: str, bucket: str, n: int) -> Moment:
    return Moment(at, Channel(channel) if channel else None, Bucket(bucket), n)
