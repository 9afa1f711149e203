"""SQL of unsubscribing: whose message a link stood in."""

from dataclasses import dataclass

from varsel.db import ReadConn, fetch_one
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel

FIND = """
SELECT n.channel::text, n.address, c.name
  FROM notification n JOIN creator c ON c.id = n.creator_id WHERE n.id = %(id)s
"""


@dataclass(frozen=True, slots=True)
class Addressee:
    """Who got a message, and from whom."""

    channel: Channel
    address: str
    creator: str


async def find(conn: ReadConn, notification: NotificationId) -> Addressee | None:
    return await fetch_one(conn, FIND, {"id": notification}, lambda channel, *rest: Addressee(Channel(channel), *rest))
