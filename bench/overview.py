"""The overview with ten million notifications stored: how long its page takes, alone and while a hundred watch."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import aiohttp

from bench.figures import Bound, Figure, number, percentile
from bench.ground import Ground
from bench.processes import Failed, api, settings_file
from varsel.db import Conn, Database, execute, fetch_value
from varsel.migrate import known_migrations
from varsel.ui.access import Role, issue_ticket

_NOTIFICATIONS: Final = 10_000_000
_PER_ORDER: Final = 10
_CREATORS: Final = 200
_LOOKS: Final = 300
_WARM_UP: Final = 20
_WATCHERS: Final = 100
_MOST_MS: Final = 200

ADD_CREATORS: Final = """
INSERT INTO creator (name, created_at) SELECT 'creator ' || n, now() FROM generate_series(1, %(creators)s) n
"""

# The empty leaf of this month gives way to a table that is filled first and gets its indexes afterwards.
LEAF: Final = """
SELECT inhrelid::regclass::text || '|' || pg_get_expr(c.relpartbound, c.oid)
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE inhparent = %(table)s::regclass AND c.relname = %(leaf)s
"""

# Ids within this month, one for each order, in the order of time.
_ORDER_ID: Final = """
(lpad(to_hex((extract(epoch FROM greatest(date_trunc('month', now()), now() - interval '20 minutes')) * 1000)::bigint
             + {n} / 1000), 12, '0') || '70008000' || lpad(to_hex({n}), 12, '0'))::uuid
"""

FILL_ORDERS: Final = f"""
INSERT INTO filled (id, creator_id, kind, channel, state, lane, recipients, requested_send_time, created_at, state_at,
                    wake_at)
SELECT {_ORDER_ID.format(n="n")}, 1 + n %% %(creators)s, 'Notification', 'Email',
       CASE WHEN n %% 20 = 0 THEN 'Registered'::order_state ELSE 'Completed' END, 1, %(per_order)s,
       now(), now() - interval '9 days' * random(), now(), CASE WHEN n %% 20 = 0 THEN now() + interval '1 day' END
  FROM generate_series(1, %(orders)s) n
"""

FILL_NOTIFICATIONS: Final = f"""
INSERT INTO filled (id, order_id, creator_id, channel, lane, state, settled, reason, attempts, state_at, expires_at,
                    wake_at, accepted_at, address, provider, provider_ref)
SELECT uuidv7(), {_ORDER_ID.format(n="(n / 10)")}, 1 + (n / 10) %% %(creators)s,
       CASE WHEN n %% 5 < 3 THEN 'email'::channel ELSE 'sms' END, 1,
       CASE WHEN kind < 960 THEN 'delivered' WHEN kind < 975 THEN 'accepted' WHEN kind < 990 THEN 'failed'
            WHEN kind < 995 THEN 'expired' WHEN kind < 997 THEN 'accepted' WHEN kind < 998 THEN 'unknown'
            ELSE 'new' END::notification_state,
       kind BETWEEN 960 AND 974,
       CASE WHEN kind BETWEEN 975 AND 984 THEN 'Failed_Bounced' WHEN kind BETWEEN 985 AND 989
            THEN 'Failed_RecipientReserved' END,
       CASE WHEN kind < 998 THEN 1 ELSE 0 END, now() - interval '9 days' * random(), now() + interval '1 day',
       CASE WHEN kind IN (995, 996, 997, 999) THEN now() + interval '1 hour' END,
       CASE WHEN kind < 975 OR kind BETWEEN 990 AND 997 THEN now() END,
       'kari.' || n || '@mottaker.example',
       CASE WHEN kind < 998 THEN CASE WHEN n %% 2 = 0 THEN 'nordpost' ELSE 'kystlink' END END, NULL
  FROM generate_series(1, %(notifications)s) n CROSS JOIN LATERAL (SELECT n * 7919::bigint %% 1000) k (kind)
"""

# As after a busy hour, with what the last seconds left to be folded.
FILL_MINUTES: Final = """
INSERT INTO tally_minute (minute, creator_id, channel, bucket, n)
SELECT m, c, ch, b, 20
  FROM generate_series(date_trunc('minute', now()) - interval '61 minutes', now(), interval '1 minute') m,
       generate_series(1, %(creators)s) c, unnest(ARRAY['email', 'sms']) ch,
       unnest(ARRAY['settled', 'delivered', 'failed']) b
"""

FILL_DELTAS: Final = """
INSERT INTO tally_delta (creator_id, channel, provider, bucket, minute, n)
SELECT 1 + n %% %(creators)s, 'email', 'nordpost', 'delivered', date_trunc('minute', now()), 1
  FROM generate_series(1, 5000) n
"""


async def run(ground: Ground) -> list[Figure]:
    async with ground.empty_database() as db:
        empty, _ = await _look(ground, db, watchers=0)
    notifications = ground.size.of(_NOTIFICATIONS)
    async with ground.empty_database() as db:
        began = time.perf_counter()
        await _fill(db, notifications)
        filled = time.perf_counter() - began
        counted = await _count(db)
        alone, kilobytes = await _look(ground, db, watchers=0)
        watched, _ = await _look(ground, db, watchers=_WATCHERS)
    details = {"seconds to fill": filled, "seconds to count once": counted}
    return [
        _figure(f"overview with {number(notifications)} notifications", alone, empty, kilobytes, details),
        _figure(f"the same while {_WATCHERS} watch it live", watched, empty, kilobytes, {}),
    ]


def _figure(name: str, looks: list[float], empty: list[float], kilobytes: float, details: dict[str, float]) -> Figure:
    """The 95th of a hundred, which must be below 200 ms."""
    median = {"median ms": percentile(looks, 0.5), "KB of HTML": kilobytes}
    bound = Bound("the page of an empty database", percentile(empty, 0.95))
    return Figure(name, percentile(looks, 0.95), "ms", bound, _MOST_MS, falls=True, details={**median, **details})


async def _fill(db: Database, notifications: int) -> None:
    counts = {"creators": _CREATORS, "per_order": _PER_ORDER, "notifications": notifications}
    counts["orders"] = notifications // _PER_ORDER
    async with db.autocommit() as conn:
        await execute(conn, "SET maintenance_work_mem = '512MB'", {})
        await execute(conn, ADD_CREATORS, counts)
        await _fill_leaf(conn, "orders", FILL_ORDERS, counts)
        await _fill_leaf(conn, "notification", FILL_NOTIFICATIONS, counts)
        await execute(conn, "ANALYZE", {})
        await execute(conn, "CHECKPOINT", {})


async def _fill_leaf(conn: Conn, table: str, fill: str, counts: dict[str, int]) -> None:
    leaf = f"{table}_{datetime.now(UTC):%Y_%m}"
    _, _, bounds = str(await fetch_value(conn, LEAF, {"table": table, "leaf": leaf})).partition("|")
    await execute(conn, f"ALTER TABLE {table} DETACH PARTITION {leaf}", {})
    await execute(conn, f"DROP TABLE {leaf}", {})
    await execute(conn, f"CREATE TABLE filled (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)", {})
    await execute(conn, fill, counts)
    await execute(conn, f"ALTER TABLE filled RENAME TO {leaf}", {})
    await execute(conn, f"ALTER TABLE {table} ATTACH PARTITION {leaf} {bounds}", {})


async def _count(db: Database) -> float:
    """As the migration that brings the tallies does with a database that was there before. Returns the seconds."""
    (migration,) = [each for each in known_migrations() if each.name == "0032_tally"]
    async with db.transaction() as conn:
        for table in ("delta", "total", "minute", "hour"):
            await execute(conn, f"DROP TABLE tally_{table}", {})
        began = time.perf_counter()
        await execute(conn, migration.sql, {})
        seconds = time.perf_counter() - began
        await execute(conn, FILL_MINUTES, {"creators": _CREATORS})
        await execute(conn, FILL_DELTAS, {"creators": _CREATORS})
    return seconds


async def _look(ground: Ground, db: Database, *, watchers: int) -> tuple[list[float], float]:
    """How long the page takes for an operator, in milliseconds, sorted; and its size."""
    ticket = await issue_ticket(db, "Bench", frozenset({Role.OPERATOR}), None)
    with api(settings_file(ground.home, db.dsn)) as (port, _):
        jar = aiohttp.CookieJar(unsafe=True)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar, connector=connector) as http:
            async with http.post(ticket, allow_redirects=False) as answer:
                if answer.status != 303:
                    raise Failed(f"signing in was answered {answer.status}")
            async with _watching(http, watchers):
                for _ in range(_WARM_UP):
                    await _page(http)
                looks = [await _page(http) for _ in range(_LOOKS)]
    return sorted(seconds * 1_000 for seconds, _ in looks), looks[0][1] / 1_000


async def _page(http: aiohttp.ClientSession) -> tuple[float, int]:
    began = time.perf_counter()
    async with http.get("/ui/", allow_redirects=False) as answer:
        html = await answer.read()
        if answer.status != 200 or b"data-live" not in html:
            raise Failed(f"the overview was answered {answer.status}")
    return time.perf_counter() - began, len(html)


@asynccontextmanager
async def _watching(http: aiohttp.ClientSession, watchers: int) -> AsyncIterator[None]:
    """All of them have been told something before the block begins."""
    told = asyncio.Semaphore(0)
    streams = [asyncio.create_task(_watch(http, told)) for _ in range(watchers)]
    try:
        for _ in streams:
            await told.acquire()
        yield
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def _watch(http: aiohttp.ClientSession, told: asyncio.Semaphore) -> None:
    async with http.get("/ui/events", timeout=aiohttp.ClientTimeout(total=None)) as answer:
        if answer.status != 200:
            raise Failed(f"the stream was answered {answer.status}")
        first = True
        async for line in answer.content:
            if first and line.startswith(b"event"):
                told.release()
                first = False
