"""SQL of messages in parts (channels 1.10): what the provider calls each part, and which of them have arrived."""

from collections.abc import Collection, Sequence
from typing import NamedTuple
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.delivery.ports import Parts
from varsel.domain.ids import NotificationId, uuid7

KEEP = """
INSERT INTO message_part (notification_id, provider, submission, part, parts, reference)
SELECT * FROM unnest(%(ids)s::uuid[], %(providers)s::text[], %(submissions)s::uuid[], %(numbers)s::smallint[],
                     %(counts)s::smallint[], %(references)s::text[])
"""

FIND = """
SELECT notification_id, provider, submission, part, parts, reference
  FROM message_part WHERE reference = ANY(%(references)s)
"""

DELIVER = """
UPDATE message_part p SET delivered = true
  FROM unnest(%(submissions)s::uuid[], %(numbers)s::smallint[]) AS d (submission, part)
 WHERE p.notification_id = ANY(%(ids)s) AND p.submission = d.submission AND p.part = d.part AND NOT p.delivered
"""

WHOLE = """
SELECT submission FROM message_part WHERE notification_id = ANY(%(ids)s)
 GROUP BY submission, parts HAVING count(*) FILTER (WHERE delivered) = parts
"""


class Taken(NamedTuple):
    """The parts of a notification that a provider took at one try."""

    notification: NotificationId
    provider: str
    parts: Parts


class Part(NamedTuple):
    """`submission`: one try, whose `total` parts arrive together. `number`: from 1."""

    notification: NotificationId
    provider: str
    submission: UUID
    number: int
    total: int
    reference: str


async def keep(conn: Conn, taken: Sequence[Taken]) -> None:
    """Store what reports on the parts will name them by."""
    rows = [
        (one, submission, number, reference)
        for one in taken
        for submission in (uuid7(),)
        for number, reference in enumerate(one.parts.references, 1)
    ]
    if rows:
        params = {
            "ids": [one.notification for one, *_ in rows],
            "providers": [one.provider for one, *_ in rows],
            "submissions": [submission for _, submission, *_ in rows],
            "numbers": [number for *_, number, _ in rows],
            "counts": [one.parts.count for one, *_ in rows],
            "references": [reference for *_, reference in rows],
        }
        await execute(conn, KEEP, params)


async def find(conn: ReadConn, references: Collection[str]) -> list[Part]:
    return await fetch(conn, FIND, {"references": list(references)}, Part) if references else []


async def deliver(conn: Conn, parts: Sequence[Part]) -> frozenset[UUID]:
    """Note that these have arrived; returns the submissions of their notifications that have arrived as a whole.

    Their notifications must be locked: whoever notes the last part sees the others.
    """
    if not parts:
        return frozenset()
    ids = sorted({part.notification for part in parts})
    params = {"submissions": [p.submission for p in parts], "numbers": [p.number for p in parts], "ids": ids}
    await execute(conn, DELIVER, params)
    return frozenset(await fetch(conn, WHOLE, {"ids": ids}, _submission))


def _submission(value: UUID) -> UUID:
    return value
