"""SQL of pages: what they read beside a captured message."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from varsel.db import ReadConn, fetch
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State
from varsel.ui.outcome import Standing


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification as a page shows it. `subject`: the identifier it was ordered for, None for a direct address."""

    id: NotificationId
    order: OrderId
    standing: Standing
    state_at: datetime
    subject: str | None
    provider: str | None
    reference: str | None
    creator: str


_SENT: Final = """
SELECT n.id, n.order_id, n.channel::text, n.state::text, n.reason, n.settled, n.daytime, n.attempts::int, n.wake_at,
       n.expires_at, n.state_at, n.subject_key, n.provider, o.senders_reference, c.name
  FROM notification n
  JOIN orders o ON o.id = n.order_id
  JOIN creator c ON c.id = n.creator_id
 WHERE n.id = ANY(%(ids)s::uuid[])
"""


async def sent(conn: ReadConn, ids: Iterable[NotificationId | None]) -> dict[NotificationId, Sent]:
    """The notifications among `ids` that exist."""
    wanted = sorted({id_ for id_ in ids if id_ is not None})
    return {s.id: s for s in await fetch(conn, _SENT, {"ids": wanted}, _sent)}


def _sent(
    id_: UUID,
    order: UUID,
    channel: str,
    state: str,
    reason: str | None,
    settled: bool,
    daytime: bool,
    attempts: int,
    wake_at: datetime | None,
    expires_at: datetime,
    state_at: datetime,
    subject: str | None,
    provider: str | None,
    reference: str | None,
    creator: str,
) -> Sent:
    standing = Standing(
        Channel(channel),
        State(state),
        Reason(reason) if reason else None,
        settled,
        daytime,
        attempts,
        wake_at,
        expires_at,
    )
    return Sent(NotificationId(id_), OrderId(order), standing, state_at, subject, provider, reference, creator)
