"""What reports teach about addresses (channels 6.5): who is to be left alone, and who is there after all."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from varsel.db import Conn
from varsel.delivery import report_store, suppression_store
from varsel.delivery.ports import Verdict
from varsel.delivery.report_store import Matched, Pending
from varsel.delivery.suppression import RULES, NewEntry, SuppressionKey, ground_of
from varsel.domain.ids import CreatorId

_ARRIVAL: Final = "a delivery that was confirmed"
_LIFTED: Final = frozenset(suppression_store.LIFTED_BY_ARRIVAL)

Lesson = tuple[Pending, Matched]
"""A report, and the one message that it is about."""


async def learn(conn: Conn, key: SuppressionKey, lessons: Sequence[Lesson], *, now: datetime) -> None:
    """Put addresses on the suppression list and take them off, in the order of the reports.

    Of several about one address the last counts: it may have bounced for a while, or begun to.
    """
    told = [lesson for lesson in lessons if lesson[0].suppress or lesson[0].verdict is Verdict.DELIVERED]
    if not told:
        return
    names = await _creators(conn, told)
    entries: list[NewEntry] = []
    arrived: set[bytes] = set()
    for report, message in told:
        if report.suppress:
            entry = _entry(key, report, message, names.get(message.creator), now)
            if entry:
                entries.append(entry)
                if entry.ground in _LIFTED:
                    arrived.discard(entry.address_hash)
        elif found := key.hash_of(message.channel, message.address):
            arrived.add(found)
            entries = [e for e in entries if e.address_hash != found or e.ground not in _LIFTED]
    if arrived:
        await suppression_store.lift_by_arrival(conn, arrived, by=_ARRIVAL, now=now)
    if entries:
        await suppression_store.add(conn, entries, now=now)


async def _creators(conn: Conn, lessons: Sequence[Lesson]) -> dict[CreatorId, str]:
    """Names of the creators whom something concerns alone."""
    concerned = {m.creator for r, m in lessons if r.suppress and RULES[ground_of(r.suppress)].creators}
    return await report_store.names_of(conn, concerned) if concerned else {}


def _entry(
    key: SuppressionKey, report: Pending, message: Matched, creator: str | None, now: datetime
) -> NewEntry | None:
    assert report.suppress
    return key.entry(
        ground_of(report.suppress),
        message.channel,
        message.address,
        creator=creator,
        provider=message.provider or report.provider,
        source=f"report of {report.provider}, event {report.id}",
        now=now,
    )
