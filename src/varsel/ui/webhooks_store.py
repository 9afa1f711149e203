"""SQL of the pages of webhooks: all of them, whoever owns them, and how far behind each is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from varsel.db import ReadConn, fetch, fetch_one
from varsel.domain.ids import WebhookId
from varsel.webhooks.states import WebhookState, Why

MOST_COUNTED: Final = 10_000

_LIST: Final = """
SELECT w.id, c.name, w.url, w.state, w.reason, w.state_at, w.failures,
       w.state = 'active' AND w.resting_until > %(now)s, w.succeeded_at,
       (SELECT count(*)::int FROM (SELECT FROM webhook_delivery d
                                    WHERE d.webhook_id = w.id AND d.state = 'waiting' AND d.seq IS NOT NULL
                                    LIMIT %(most)s) AS waiting)
  FROM webhook w JOIN creator c ON c.id = w.creator_id
 WHERE (%(id)s::uuid IS NULL OR w.id = %(id)s)
 ORDER BY (w.state = 'active' AND w.failures = 0), w.state = 'pending', lower(c.name), w.id
 LIMIT %(limit)s
"""

_NEWEST: Final = """
SELECT coalesce((SELECT max(f.seq) FROM status_feed f WHERE f.creator_id = w.creator_id), 0)
  FROM webhook w WHERE w.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Hook:
    """`waiting`: events that were tried and wait for another try, at most `MOST_COUNTED`."""

    id: WebhookId
    creator: str
    url: str
    state: WebhookState
    reason: Why | None
    state_at: datetime
    failures: int
    resting: bool
    succeeded_at: datetime | None
    waiting: int


async def hooks(conn: ReadConn, *, now: datetime, limit: int) -> list[Hook]:
    """Those that need somebody first."""
    return await fetch(conn, _LIST, {"id": None, "now": now, "limit": limit, "most": MOST_COUNTED}, _hook)


async def hook(conn: ReadConn, id_: WebhookId, *, now: datetime) -> Hook | None:
    return await fetch_one(conn, _LIST, {"id": id_, "now": now, "limit": 1, "most": MOST_COUNTED}, _hook)


async def newest(conn: ReadConn, id_: WebhookId) -> int:
    """The newest number of its owner's feed; 0: there is none."""
    return await fetch_one(conn, _NEWEST, {"id": id_}, int) or 0


def _hook(*columns: Any) -> Hook:
    id_, creator, url, state, reason, *rest = columns
    return Hook(WebhookId(id_), creator, url, WebhookState(state), Why(reason) if reason else None, *rest)
