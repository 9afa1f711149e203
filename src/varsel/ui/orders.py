"""The list of orders: which ones match? Fifty at a time, and as a file for a spreadsheet."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from varsel.domain.order import OrderChannel, OrderState
from varsel.ui import orders_store as store
from varsel.ui.access import Role, Who, audit
from varsel.ui.inbox import uuid_or_none
from varsel.ui.orders_store import Filter, OrderRow
from varsel.ui.pages import here
from varsel.ui.parts import UiParts
from varsel.ui.verdict import Fate, Word, word_of
from varsel.ui.words import Language, negotiate

PATH: Final = "/ui/orders"
FILE: Final = "/ui/orders.csv"

_SHOWN: Final = 50
_MOST_SHOWN: Final = 500
_OSLO: Final = ZoneInfo("Europe/Oslo")
_MARK: Final = "\ufeff"
_HEADER: Final = (
    *("id", "sender", "reference", "kind", "channel", "state", "recipients", "ordered", "requested"),
    *(fate.key for fate in Fate),
)


@dataclass(frozen=True, slots=True)
class Listed:
    row: OrderRow
    word: Word


class Orders:
    """The page and the file."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._shifted = parts.settings.sandbox.enabled

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.show, Role.VIEWER), access.page(FILE, self.save, Role.VIEWER)]

    async def show(self, request: Request, who: Who) -> Response:
        wanted = self._wanted(request, who)
        shown = _number(request.query_params.get("n", ""))
        async with self._parts.db.reading() as conn:
            names = list(await store.creators(conn)) if who.creator is None else [who.creator]
            rows = await store.find(conn, wanted, limit=shown + 1)
        next_id = rows[shown - 1].id if len(rows) > shown else None
        return self._parts.pages.render(
            request,
            "orders.html",
            now=self._parts.clock.now(),
            who=who,
            listed=[Listed(row, word_of(row.state, row.tally)) for row in rows[:shown]],
            wanted=wanted,
            creators=names,
            more=_more(request, shown, str(next_id) if next_id else None),
            file=f"{FILE}?{urlencode({k: v for k, v in request.query_params.items() if k not in {'n', 'before'}})}",
            last_day=(wanted.until - timedelta(days=1)).date().isoformat() if wanted.until else "",
            titles=who.may(Role.CASEWORKER),
        )

    async def save(self, request: Request, who: Who) -> Response:
        """All of them as CSV. Written down before the first line leaves."""
        wanted = replace(self._wanted(request, who), before=None)
        async with self._parts.db.autocommit() as conn:
            await audit(conn, who, "export", creator=wanted.creator, detail=_described(wanted))
        norwegian = negotiate(request.headers.get("accept-language", "")) is Language.NB
        name = f"varsel-{_described(wanted)}-{self._parts.clock.now().astimezone(_OSLO):%Y%m%dT%H%M}.csv"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        lines = self._lines(wanted, ";" if norwegian else ",")
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)

    async def _lines(self, wanted: Filter, delimiter: str) -> AsyncIterator[str]:
        yield _MARK + _line(_HEADER, delimiter)
        async for row in store.find_all(self._parts.db, wanted):
            yield _line(_cells(row), delimiter)

    def _wanted(self, request: Request, who: Who) -> Filter:
        query = request.query_params
        return Filter(
            state={state.value: state for state in OrderState}.get(query.get("state", "")),
            creator=who.creator or query.get("creator") or None,
            channel={channel.value: channel for channel in OrderChannel}.get(query.get("channel", "")),
            since=_midnight(query.get("from", "")),
            until=_midnight(query.get("to", ""), days=1),
            reference=query.get("ref", "").strip() or None,
            before=uuid_or_none(query.get("before", "")),
            shifted=self._shifted,
        )


def _more(request: Request, shown: int, next_id: str | None) -> str | None:
    """The address of a list that is fifty longer; of one that starts later when this one is long."""
    if next_id is None:
        return None
    if shown + _SHOWN <= _MOST_SHOWN:
        return here(request, n=str(shown + _SHOWN))
    return here(request, n=None, before=next_id)


def _number(text: str) -> int:
    return min(max(int(text), _SHOWN), _MOST_SHOWN) if text.isascii() and text.isdigit() and len(text) < 5 else _SHOWN


def _midnight(text: str, *, days: int = 0) -> datetime | None:
    """In Norway. What is no date is as if it were not there."""
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return datetime.combine(day, time(), _OSLO)


def _described(wanted: Filter) -> str:
    """The filter in a few plain letters, for the file's name and the log: never a reference, which can be anything."""
    parts = [
        *([wanted.state.lower()] if wanted.state else []),
        *([wanted.channel.lower()] if wanted.channel else []),
        *([f"from-{wanted.since:%Y%m%d}"] if wanted.since else []),
        *([f"to-{wanted.until - timedelta(days=1):%Y%m%d}"] if wanted.until else []),
        *(["one-sender"] if wanted.creator else []),
        *(["one-reference"] if wanted.reference else []),
    ]
    return "-".join(parts) or "all"


def _cells(row: OrderRow) -> tuple[str, ...]:
    counts = [str(n) for n in row.tally.counts] if row.tally else [""] * len(Fate)
    times = [at.astimezone(_OSLO).isoformat(timespec="seconds") for at in (row.created, row.requested)]
    said = (str(row.id), row.creator, row.reference or "", row.kind, row.channel, row.state, str(row.recipients))
    return (*(_harmless(cell) for cell in said), *times, *counts)


def _harmless(cell: str) -> str:
    """A spreadsheet takes what begins like this for a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def _line(cells: tuple[str, ...], delimiter: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter).writerow(cells)
    return line.getvalue()
