"""The inbox page of the sandbox: what would have gone out, and the clock (channels 2.7, 3.7).

Three panes: the list with its filter, the message as its recipient would see it, and what we know about it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import policy
from email.parser import BytesHeaderParser
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.domain.schedule import OSLO
from varsel.domain.sms_text import Alphabet, Segments, alphabet_of, segment
from varsel.simulators import store as captured
from varsel.simulators.recipient import sought_words
from varsel.simulators.store import Counts, Message, Search
from varsel.timeshift.advance import ClockControl, StillBusy
from varsel.timeshift.store import Shift
from varsel.ui.outcome import Outcome, outcome_of
from varsel.ui.pages import Pages, back, from_elsewhere, read_form, switched_language
from varsel.ui.store import Sent, sent

_PAGE: Final = 50
_MOST_SHOWN: Final = 500
_RAW_SHOWN: Final = 200_000  # characters
_EARLIER_SHOWN: Final = 2
_FORCED_SHOWN: Final = 5
_MOVES: Final = {"PT1H": timedelta(hours=1), "P1D": timedelta(days=1)}
_VIEWS: Final = {Channel.SMS: ("phone", "text", "raw"), Channel.EMAIL: ("mail", "text", "raw")}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page asks for; what it cannot mean is as if it were not there."""

    message: UUID | None
    channel: Channel | None
    words: str
    view: str
    shown: int

    @property
    def search(self) -> Search:
        return Search(channel=self.channel, words=sought_words(self.words) or None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list. `outcome` is None for a message of no notification we know."""

    message: Message
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The message in the pane."""

    message: Message
    sent: Sent | None
    outcome: Outcome | None
    view: str
    views: tuple[str, ...]
    thread: tuple[Message, ...]  # it, and what the same recipient got just before, oldest first
    segments: Segments  # the text of an SMS, cut as the network cuts it
    forced: tuple[str, ...]  # the first characters that GSM-7 lacks
    headers: tuple[tuple[str, str], ...]
    raw: str
    raw_cut: bool


@dataclass(frozen=True, slots=True)
class Contents:
    rows: list[Row]
    opened: Opened | None
    total: Counts
    found: Counts  # by the words alone, whatever the channel
    next_sending: datetime | None
    shift: Shift


class Inbox:
    """The page, and the forms on it."""

    def __init__(self, db: Database, clock: ClockControl, pages: Pages) -> None:
        self._db = db
        self._clock = clock
        self._pages = pages

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/sandbox", self.show, methods=["GET"]),
            Route("/sandbox/clear", self.clear, methods=["POST"]),
            Route("/sandbox/move", self.move, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        return switched_language(request) or await self._page(request)

    async def clear(self, request: Request) -> Response:
        if from_elsewhere(request):
            return Response(status_code=403)
        async with self._db.autocommit() as conn:
            await captured.delete(conn, Search())
        return back("/sandbox")

    async def move(self, request: Request) -> Response:
        """Move the clock by a button's step, or to the next sending; the page again, with a notice if it failed."""
        if from_elsewhere(request):
            return Response(status_code=403)
        form = await read_form(request)
        try:
            await self._clock.advance(await self._step(form.get("advance", ""), form.get("at", "")))
        except StillBusy:
            return await self._page(request, trouble="stuck", status=503)
        except Rejected:
            return await self._page(request, trouble="refused", status=409)
        return back(form.get("to", "/sandbox"))

    async def _step(self, wanted: str, at: str) -> timedelta:
        """`at`: a time on Norwegian clocks. What means nothing moves nothing, and is refused."""
        if wanted == "at":
            return _local(at) - self._clock.now()
        if wanted == "next" and (due := await self._clock.next_sending()):
            return due - self._clock.now()
        return _MOVES.get(wanted, timedelta())

    async def _page(self, request: Request, *, trouble: str = "", status: int = 200) -> HTMLResponse:
        asked = _asked(request)
        contents = await self._contents(asked)
        return self._pages.render(
            request,
            "inbox.html",
            now=self._clock.now(),
            status=status,
            asked=asked,
            contents=contents,
            now_here=self._clock.now(),
            clearing=request.query_params.get("confirm") == "clear",
            trouble=trouble,
            page_size=_PAGE,
        )

    async def _contents(self, asked: Asked) -> Contents:
        async with self._db.reading() as conn:
            total = await captured.count(conn, Search())
            found = await captured.count(conn, Search(words=asked.search.words)) if asked.search.words else total
            messages = await captured.find(conn, asked.search, limit=asked.shown)
            chosen = await captured.get(conn, asked.message) if asked.message else None
            chosen = chosen or next(iter(messages), None)
            known = await sent(conn, [m.notification_id for m in (*messages, *([chosen] if chosen else []))])
        opened = await self._open(chosen, known, asked.view) if chosen else None
        rows = [Row(m, _outcome(known, m)) for m in messages]
        return Contents(rows, opened, total, found, await self._clock.next_sending(), await self._clock.shift())

    async def _open(self, message: Message, known: dict[NotificationId, Sent], view: str) -> Opened:
        views = _views(message)
        view = view if view in views else views[0]
        async with self._db.reading() as conn:
            raw = await captured.raw_message(conn, message.id) or b""
            earlier = await captured.earlier(conn, message, limit=_EARLIER_SHOWN) if view == "phone" else []
        text = raw.decode("utf-8", "replace")
        return Opened(
            message=message,
            sent=known.get(message.notification_id) if message.notification_id else None,
            outcome=_outcome(known, message),
            view=view,
            views=views,
            thread=(*earlier, message),
            segments=segment(message.text),
            forced=_beyond_gsm_7(message.text),
            headers=_headers(raw) if message.channel is Channel.EMAIL else (),
            raw=text[:_RAW_SHOWN],
            raw_cut=len(text) > _RAW_SHOWN,
        )


def _local(text: str) -> datetime:
    """Long ago when it is no date and time."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=OSLO)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _asked(request: Request) -> Asked:
    query = request.query_params
    shown = query.get("n", "")
    return Asked(
        message=uuid_or_none(query.get("id", "")),
        channel={c.value: c for c in Channel}.get(query.get("kind", "")),
        words=query.get("q", "").strip()[:200],
        view=query.get("view", ""),
        shown=min(int(shown), _MOST_SHOWN) if shown.isascii() and shown.isdigit() and int(shown) else _PAGE,
    )


def uuid_or_none(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _outcome(known: dict[NotificationId, Sent], message: Message) -> Outcome | None:
    notification = known.get(message.notification_id) if message.notification_id else None
    return outcome_of(notification.standing) if notification else None


def _views(message: Message) -> tuple[str, ...]:
    """A mail in plain text alone looks the same as its text; one in HTML alone has none."""
    views = _VIEWS[message.channel]
    both = message.html is not None and message.text.strip()
    return views if message.channel is Channel.SMS or both else ("mail", "raw")


def _beyond_gsm_7(text: str) -> tuple[str, ...]:
    return tuple(c for c in dict.fromkeys(text) if alphabet_of(c) is not Alphabet.GSM_7)[:_FORCED_SHOWN]


def _headers(raw: bytes) -> tuple[tuple[str, str], ...]:
    """As they came over the wire, but each on one line."""
    parsed = BytesHeaderParser(policy=policy.compat32).parsebytes(raw)
    return tuple((name, " ".join(str(value).split())) for name, value in parsed.items())
