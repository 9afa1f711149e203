"""SQL of the operational metrics. Every statement reads an index from its oldest end, or counts up to a limit."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from varsel.db import ReadConn, fetch, fetch_one
from varsel.domain.notification import Channel
from varsel.status.gauges import MAX_COUNTED, Doubts, Gauges, ProviderGauge, Queues, WebhookGauge

_POSTPONED_AT_MOST: Final = timedelta(minutes=20)  # a due order that could not be processed waits 15 min ± 20 %

# The first due order of each lane and creator (a skip scan over the claim's index), what is being processed, and what
# waits for another try although its time has come.
OLDEST_DUE: Final = """
WITH RECURSIVE g AS (
    (SELECT lane, creator_id, requested_send_time, 1 AS n FROM orders
      WHERE state = 'Registered' AND wake_at IS NULL ORDER BY lane, creator_id, id LIMIT 1)
    UNION ALL
    SELECT x.lane, x.creator_id, x.requested_send_time, g.n + 1 FROM g CROSS JOIN LATERAL (
        SELECT lane, creator_id, requested_send_time FROM orders
         WHERE state = 'Registered' AND wake_at IS NULL AND (lane, creator_id) > (g.lane, g.creator_id)
         ORDER BY lane, creator_id, id LIMIT 1) x
     WHERE g.n < 1000)
SELECT least((SELECT min(requested_send_time) FROM g),
             (SELECT min(requested_send_time)
                FROM (SELECT requested_send_time FROM orders WHERE state = 'Processing' LIMIT %(limit)s) p),
             (SELECT min(requested_send_time)
                FROM (SELECT requested_send_time FROM orders
                       WHERE state = 'Registered' AND wake_at <= %(now)s + %(postponed)s
                       ORDER BY wake_at LIMIT %(limit)s) w
               WHERE requested_send_time <= %(now)s))
"""

# Daytime messages have waited since the window opened. Those that were tried have waited for their next try.
OLDEST_UNCLAIMED: Final = """
WITH RECURSIVE g AS (
    (SELECT channel, lane, creator_id, state_at, daytime, 1 AS n FROM notification
      WHERE state = 'new' AND wake_at IS NULL AND attempts + returns = 0
      ORDER BY channel, lane, creator_id, id LIMIT 1)
    UNION ALL
    SELECT x.channel, x.lane, x.creator_id, x.state_at, x.daytime, g.n + 1 FROM g CROSS JOIN LATERAL (
        SELECT channel, lane, creator_id, state_at, daytime FROM notification
         WHERE state = 'new' AND wake_at IS NULL AND attempts + returns = 0
           AND (channel, lane, creator_id) > (g.channel, g.lane, g.creator_id)
         ORDER BY channel, lane, creator_id, id LIMIT 1) x
     WHERE g.n < 1000)
SELECT channel::text, min(CASE WHEN daytime THEN greatest(state_at, %(opened)s) ELSE state_at END)
  FROM g GROUP BY channel
"""

DEPTHS: Final = """
SELECT (SELECT min(state_at) FROM notification WHERE state = 'unknown' AND unknowns > 0),
       (SELECT count(*) FROM (SELECT FROM orders WHERE state = 'Registered' AND wake_at IS NULL LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM notification WHERE state = 'new' AND wake_at IS NULL AND channel = 'email'
                               LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM notification WHERE state = 'new' AND wake_at IS NULL AND channel = 'sms'
                               LIMIT %(limit)s) q),
       (SELECT coalesce(sum(cardinality(ids)), 0) FROM claim),
       (SELECT count(*) FROM (SELECT FROM notification WHERE state = 'unknown' AND unknowns > 0 LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM notification WHERE state = 'unknown' AND unknowns = 0 LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'pending' LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'parked' LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'dead' LIMIT %(limit)s) q),
       (SELECT count(*) FROM (SELECT FROM feed_pending LIMIT %(limit)s) q)
"""

DOUBTS: Final = """
SELECT count(*), count(*) FILTER (WHERE EXISTS (
           SELECT FROM notification n WHERE n.id = a.notification_id AND n.attempts > a.number) AND NOT EXISTS (
           SELECT FROM attempt b  -- when the provider was asked, it had never come there
            WHERE b.notification_id = a.notification_id AND b.number = a.number AND b.outcome = 'deferred'))
  FROM (SELECT notification_id, number FROM attempt WHERE outcome IN ('unknown', 'abandoned') LIMIT %(limit)s) a
"""

PROVIDERS: Final = """
SELECT name, channel,
       stopped OR coalesce(greatest(paused_until, breaker_until) > statement_timestamp(), false), failures
  FROM provider ORDER BY name
"""

WORKERS: Final = "SELECT kind, count(*)::int FROM worker WHERE lease_until > statement_timestamp() GROUP BY kind"

DROPPED_MAIL: Final = "SELECT kind, count FROM dropped_mail ORDER BY kind"

WEBHOOKS: Final = "SELECT state, count(*)::int FROM webhook GROUP BY state"

# What stands in the feed behind the position of an active webhook, and what waits for another try.
BEHIND: Final = """
SELECT (SELECT count(*)
          FROM (SELECT FROM webhook w CROSS JOIN LATERAL (
                       SELECT FROM status_feed
                        WHERE creator_id = w.creator_id AND seq > w.position ORDER BY seq LIMIT %(limit)s) f
                 WHERE w.state = 'active' LIMIT %(limit)s) q)
       + (SELECT count(*)
            FROM (SELECT FROM webhook w JOIN webhook_delivery d ON d.webhook_id = w.id
                   WHERE w.state = 'active' AND d.state = 'waiting' AND d.seq IS NOT NULL LIMIT %(limit)s) q),
       least((SELECT min(f.created_at) FROM webhook w CROSS JOIN LATERAL (
                     SELECT created_at FROM status_feed
                      WHERE creator_id = w.creator_id AND seq > w.position ORDER BY seq LIMIT 1) f
               WHERE w.state = 'active'),
             (SELECT min(d.happened) FROM webhook w JOIN webhook_delivery d ON d.webhook_id = w.id
               WHERE w.state = 'active' AND d.state = 'waiting' AND d.seq IS NOT NULL))
"""


async def read_ages(
    conn: ReadConn, *, now: datetime, opened: datetime
) -> tuple[datetime | None, dict[Channel, datetime]]:
    """`oldest_due` and `oldest_unclaimed` of `Queues`. `opened`: when the send window opened last."""
    params = {"now": now, "limit": MAX_COUNTED, "postponed": _POSTPONED_AT_MOST, "opened": opened}
    oldest_due = await fetch_one(conn, OLDEST_DUE, params, lambda at: at)
    return oldest_due, dict(await fetch(conn, OLDEST_UNCLAIMED, params, lambda channel, at: (Channel(channel), at)))


async def live_processes(conn: ReadConn) -> dict[str, int]:
    """How many, by kind."""
    return dict(await fetch(conn, WORKERS, {}, lambda kind, n: (str(kind), int(n))))


async def webhook_states(conn: ReadConn) -> dict[str, int]:
    """How many webhooks are in each."""
    return dict(await fetch(conn, WEBHOOKS, {}, lambda state, n: (str(state), int(n))))


async def read_gauges(conn: ReadConn, *, now: datetime, opened: datetime) -> Gauges:
    """`opened`: when the send window opened last."""
    params: dict[str, Any] = {"now": now, "limit": MAX_COUNTED}
    oldest_due, unclaimed = await read_ages(conn, now=now, opened=opened)
    queues = await fetch_one(conn, DEPTHS, params, lambda *row: _queues(oldest_due, unclaimed, *row))
    doubts = await fetch_one(conn, DOUBTS, params, Doubts)
    assert queues is not None
    assert doubts is not None
    providers = await fetch(conn, PROVIDERS, {}, ProviderGauge)
    workers = await live_processes(conn)
    dropped = dict(await fetch(conn, DROPPED_MAIL, {}, lambda kind, n: (str(kind), int(n))))
    states = await webhook_states(conn)
    webhooks = await fetch_one(conn, BEHIND, params, partial(WebhookGauge, states))
    assert webhooks is not None
    return Gauges(now, queues, doubts, tuple(providers), workers, dropped, webhooks)


def _queues(
    oldest_due: datetime | None,
    oldest_unclaimed: dict[Channel, datetime],
    oldest_unknown: datetime | None,
    due: int,
    emails: int,
    sms: int,
    claimed: int,
    unknown: int,
    working: int,
    pending: int,
    parked: int,
    dead: int,
    feed: int,
) -> Queues:
    return Queues(
        oldest_due,
        oldest_unknown,
        oldest_unclaimed,
        due,
        {Channel.EMAIL: emails, Channel.SMS: sms},
        int(claimed),
        unknown,
        working,
        pending,
        parked,
        dead,
        feed,
    )
