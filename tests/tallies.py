"""A recount of everything, to hold the tallies against: in Python, by the pure rule."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from varsel.db import Database, ReadConn, fetch
from varsel.domain.notification import Reason, State
from varsel.domain.tally import SENT, Bucket, bucket_of
from varsel.tally import store

Key = tuple[int, str, str, str]  # creator, channel, provider, bucket
LONG_AGO = datetime.fromisoformat("2020-01-01T00:00:00Z")
NEVER = datetime.max.replace(tzinfo=UTC)

NOTIFICATIONS = """
SELECT creator_id, channel::text, coalesce(provider, ''), state::text, reason, settled, accepted_at IS NOT NULL
  FROM notification
"""
WAITING = "SELECT creator_id, recipients FROM orders WHERE state IN ('Registered', 'Processing')"
TALLIED = """
SELECT creator_id, channel, provider, bucket, sum(n)::int
  FROM (SELECT creator_id, channel, provider, bucket, n FROM tally_total
        UNION ALL SELECT creator_id, channel, provider, bucket, n FROM tally_delta WHERE bucket <> 'taken') t
 GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0
"""


async def recount(conn: ReadConn) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for creator, channel, provider, state, reason, settled, left in await fetch(conn, NOTIFICATIONS, {}, _row):
        bucket = bucket_of(State(state), Reason(reason) if reason else None, settled=settled, left=left)
        counts[creator, channel, "" if bucket is Bucket.OPEN else provider, bucket.value] += 1
    for creator, recipients in await fetch(conn, WAITING, {}, _row):
        counts[creator, "", "", "scheduled"] += recipients
    return counts


async def tallied(conn: ReadConn) -> Counter[Key]:
    counts: Counter[Key] = Counter()
    for *key, n in await fetch(conn, TALLIED, {}, _row):
        creator, channel, provider, bucket = key
        counts[creator, channel, provider, bucket] = n
    return counts


async def assert_tallies_agree(database: Database) -> None:
    """Totals, and the sums of all minutes and hours, are what a recount says; before they are folded and afterwards."""
    async with database.transaction() as conn:
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        expected = await recount(conn)
        assert await tallied(conn) == expected
        await _assert_reading_agrees(conn, expected)
    async with database.transaction() as conn:
        await store.fold(conn, limit=7)
    async with database.transaction() as conn:
        await store.fold(conn)
        assert await tallied(conn) == expected
        await _assert_reading_agrees(conn, expected)


async def _assert_reading_agrees(conn: ReadConn, expected: Counter[Key]) -> None:
    """For everybody together, which is enough: the statements differ in what they group by."""
    by_bucket: Counter[str] = Counter()
    for (_, _, _, bucket), n in expected.items():
        by_bucket[bucket] += n
    kept = set(by_bucket)
    for read, left_out in (
        (await store.standing(conn), set()),
        (await store.hours(conn, LONG_AGO, NEVER), {"open", "scheduled"}),
        (await store.minutes(conn, LONG_AGO), {"open", "scheduled", "unknown", "accepted"}),
    ):
        counts: Counter[str] = Counter()
        for count in read:
            counts[count.bucket.value] += count.n
        counts.pop("taken", None)
        assert +counts == Counter({bucket: by_bucket[bucket] for bucket in kept - left_out})
    senders = await store.senders(conn, LONG_AGO, limit=1_000)
    assert sum(sender.queued for sender in senders) == by_bucket["open"] + by_bucket["scheduled"]
    assert sum(sender.sent for sender in senders) == sum(by_bucket[bucket] for bucket in SENT)


def _row(*columns: Any) -> tuple[Any, ...]:
    return columns
