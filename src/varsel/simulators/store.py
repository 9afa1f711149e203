"""SQL of captured messages (channels 2.7). The newest 10 000 are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from varsel.db import Conn, ReadConn, columns, execute, fetch, fetch_one, fetch_value
from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId, uuid7
from varsel.domain.notification import Channel

KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Message:
    """A captured message as it is looked at; `raw_message` reads the rest. `received_at` is business time.

    Where only the gateway's `reference` leads to the notification, its id is known once the sender has stored that.
    """

    id: UUID
    channel: Channel
    reference: str | None
    notification_id: NotificationId | None
    sender: str
    recipient: str
    subject: str | None
    text: str
    html: str | None
    parts: int
    alphabet: str | None
    outcome: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Search:
    """Conditions that all hold; None asks for nothing.

    `to`: spellings of one recipient, in lower case. `words`: somewhere in the addresses, subject or text, in any case.
    `after`: newer than this message.
    """

    to: tuple[str, ...] | None = None
    channel: Channel | None = None
    words: str | None = None
    after: UUID | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    email: int = 0
    sms: int = 0

    @property
    def all(self) -> int:
        return self.email + self.sms


_COLUMNS: Final = """
       id, channel::text, reference, coalesce(notification_id, (
           SELECT n.id FROM notification n WHERE n.provider_ref = m.reference AND n.channel = m.channel LIMIT 1
       )), sender, recipient, subject, text, html, parts, alphabet, outcome, received_at
"""
_MATCHES: Final = """
       (%(to)s::text[] IS NULL OR lower(recipient) = ANY(%(to)s))
   AND (%(channel)s::text IS NULL OR channel = %(channel)s::channel)
   AND (%(like)s::text IS NULL OR recipient ILIKE %(like)s OR sender ILIKE %(like)s
        OR subject ILIKE %(like)s OR text ILIKE %(like)s)
   AND (%(after)s::uuid IS NULL OR id > %(after)s)
"""

_INSERT: Final = """
INSERT INTO captured_message (id, channel, notification_id, reference, sender, recipient, subject, text, html, raw,
                              parts, alphabet, outcome, received_at)
SELECT m.id, m.channel::channel, m.notification_id, m.reference, m.sender, m.recipient, m.subject, m.text, m.html,
       m.raw, m.parts, m.alphabet, m.outcome, m.received_at + c.shift
  FROM unnest(%(id)s::uuid[], %(channel)s::text[], %(notification_id)s::uuid[], %(reference)s::text[],
              %(sender)s::text[], %(recipient)s::text[], %(subject)s::text[], %(text)s::text[], %(html)s::text[],
              %(raw)s::bytea[], %(parts)s::int[], %(alphabet)s::text[], %(outcome)s::text[],
              %(received_at)s::timestamptz[])
       AS m (id, channel, notification_id, reference, sender, recipient, subject, text, html, raw, parts, alphabet,
             outcome, received_at),
       sandbox_clock c
"""


async def insert(conn: Conn, messages: Sequence[Captured]) -> list[UUID]:
    """Store them; returns their ids, in order. The sandbox's offset is added to `received_at`."""
    ids = [uuid7() for _ in messages]
    texts = {
        name: [_storable(value) for value in values]
        for name, values in columns(messages, "sender", "recipient", "subject", "text", "html", "outcome").items()
    }
    others = columns(messages, "channel", "notification_id", "reference", "raw", "parts", "alphabet", "received_at")
    await execute(conn, _INSERT, {"id": ids, **texts, **others})
    return ids


def _storable(text: str | None) -> str | None:
    """Text that PostgreSQL takes: foreign mail may hold NUL, or bytes that were no characters."""
    return None if text is None else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


_PRUNE: Final = """
DELETE FROM captured_message
 WHERE id <= (SELECT id FROM captured_message ORDER BY id DESC OFFSET %(keep)s LIMIT 1)
"""


async def prune(conn: Conn, keep: int = KEPT) -> int:
    """Delete all but the newest `keep`; returns how many went."""
    return await execute(conn, _PRUNE, {"keep": keep})


_FIND: Final = f"SELECT {_COLUMNS} FROM captured_message m WHERE {_MATCHES} ORDER BY id DESC LIMIT %(limit)s"


async def find(conn: ReadConn, search: Search, *, limit: int) -> list[Message]:
    """Newest first."""
    return await fetch(conn, _FIND, {**_conditions(search), "limit": limit}, _message)


_COUNT: Final = f"""
SELECT count(*) FILTER (WHERE channel = 'email'), count(*) FILTER (WHERE channel = 'sms')
  FROM captured_message WHERE {_MATCHES}
"""


async def count(conn: ReadConn, search: Search) -> Counts:
    return await fetch_one(conn, _COUNT, _conditions(search), Counts) or Counts()


async def get(conn: ReadConn, message_id: UUID) -> Message | None:
    sql = f"SELECT {_COLUMNS} FROM captured_message m WHERE id = %(id)s"
    return await fetch_one(conn, sql, {"id": message_id}, _message)


async def raw_message(conn: ReadConn, message_id: UUID) -> bytes | None:
    raw = await fetch_value(conn, "SELECT raw FROM captured_message WHERE id = %(id)s", {"id": message_id})
    return None if raw is None else bytes(raw)


_EARLIER: Final = f"""
SELECT {_COLUMNS} FROM captured_message m
 WHERE lower(recipient) = lower(%(recipient)s) AND id < %(id)s
   AND channel = %(channel)s::channel AND sender = %(sender)s
 ORDER BY id DESC LIMIT %(limit)s
"""


async def earlier(conn: ReadConn, message: Message, *, limit: int) -> list[Message]:
    """What the same recipient got from the same sender just before, oldest first."""
    params = {
        "id": message.id,
        "recipient": message.recipient,
        "sender": message.sender,
        "channel": message.channel.value,
        "limit": limit,
    }
    return (await fetch(conn, _EARLIER, params, _message))[::-1]


async def delete(conn: Conn, search: Search) -> int:
    """Delete what matches, or all of it; returns how many went."""
    return await execute(conn, f"DELETE FROM captured_message WHERE {_MATCHES}", _conditions(search))


async def delete_one(conn: Conn, message_id: UUID) -> bool:
    return await execute(conn, "DELETE FROM captured_message WHERE id = %(id)s", {"id": message_id}) > 0


def _conditions(search: Search) -> dict[str, object]:
    return {
        "to": None if search.to is None else list(search.to),
        "channel": search.channel and search.channel.value,
        "like": None if search.words is None else f"%{_literal(search.words)}%",
        "after": search.after,
    }


def _literal(words: str) -> str:
    """Words that stand for themselves in a LIKE pattern."""
    return _storable(words.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")) or ""


def _message(message_id: UUID, channel: str, *others: Any) -> Message:
    return Message(message_id, Channel(channel), *others)


_HOOK_SECRETS: Final = """
SELECT secret, old_secret FROM webhook WHERE right(url, length(%(end)s)) = %(end)s
"""


async def hook_secrets(conn: ReadConn, end: str) -> list[bytes]:
    """The secrets of webhooks whose URL ends like this."""
    rows = await fetch(conn, _HOOK_SECRETS, {"end": end}, lambda *secrets: secrets)
    return [bytes(secret) for secrets in rows for secret in secrets if secret]
