"""SQL of the page of providers: the pulse of the last hour, what waits, and what changed. Machine time throughout."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import ReadConn, fetch

MOST_COUNTED: Final = 10_000

PULSE: Final = """
SELECT provider, floor(extract(epoch FROM statement_timestamp() - slot) / 60)::int AS ago,
       sum(attempts)::int, sum(errors)::int
  FROM provider_window
 WHERE slot > statement_timestamp() - interval '1 hour'
 GROUP BY provider, ago
"""

# Neither look is longer than the limit, however many there are.
WAITING: Final = """
WITH again AS (
    SELECT channel FROM (SELECT channel, state, daytime, attempts, returns FROM notification
                          WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT %(limit)s) n
     WHERE state = 'new' AND NOT (daytime AND attempts = 0 AND returns = 0)
)
SELECT c.channel::text,
       (SELECT count(*) FROM (SELECT FROM notification WHERE state = 'new' AND wake_at IS NULL AND channel = c.channel
                               LIMIT %(limit)s) q)::int,
       (SELECT count(*) FROM again WHERE again.channel = c.channel)::int
  FROM unnest(enum_range(NULL::channel)) c (channel)
"""

HELD: Final = "SELECT provider, sum(cardinality(ids))::int FROM claim GROUP BY provider"

NEWEST_CHANGES: Final = """
SELECT provider, at, kind, weight, detail, author FROM provider_change ORDER BY id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Minute:
    """What one provider was given in a minute that ended `ago` minutes ago."""

    provider: str
    ago: int
    attempts: int
    errors: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of a channel, each counted up to `MOST_COUNTED`. `again`: tried, or taken by nobody, and to be tried soon."""

    channel: str
    ready: int
    again: int


@dataclass(frozen=True, slots=True)
class Change:
    provider: str
    at: datetime
    kind: str
    weight: int | None
    detail: str
    author: str


async def pulse(conn: ReadConn) -> list[Minute]:
    """The minutes of the last hour in which anything was tried."""
    return await fetch(conn, PULSE, {}, Minute)


async def waiting(conn: ReadConn) -> dict[str, Waiting]:
    return {w.channel: w for w in await fetch(conn, WAITING, {"limit": MOST_COUNTED}, Waiting)}


async def held(conn: ReadConn) -> dict[str, int]:
    """How many messages workers hold for each provider."""
    return dict(await fetch(conn, HELD, {}, lambda provider, n: (provider, n)))


async def newest_changes(conn: ReadConn, *, limit: int) -> list[Change]:
    return await fetch(conn, NEWEST_CHANGES, {"limit": limit}, Change)
