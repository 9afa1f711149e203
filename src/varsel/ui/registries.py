"""The page of registries: how fresh is what we know about people, and what could not be read (registries 2.5, 7.2)."""

import re
from dataclasses import asdict, dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from varsel.domain.feeds import Feed
from varsel.domain.schemes import mask_identifier
from varsel.registry_sync.ports import UpstreamError
from varsel.registry_sync.quarantine import Retried, retry
from varsel.registry_sync.quarantine_store import Quarantined, quarantined
from varsel.registry_sync.store import Status, statuses
from varsel.ui.access import Role, Who
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.registry_store import Copy, Load, copies, last_loads

PATH: Final = "/ui/ops/registries"

_SHOWN: Final = 50
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_NAMELESS: Final = "sha256:"  # of a record that names nobody, in the place of a number
_REASONS: Final = frozenset(
    {
        "missing_id",
        "bad_id",
        "unknown_status",
        "bad_time",
        "missing_time",
        "bad_shape",
        "too_long",
        "characters",
        "not_json",
        "no_content",
        "content_not_json",
        "bad_organisation_number",
        "no_address",
    }
)


@dataclass(frozen=True, slots=True)
class FeedState:
    """A feed, and its state as a family of colours, an icon and a key of its words."""

    status: Status
    family: str
    icon: str
    key: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that could not be read. `name` hides a person's number; `reason` is the key of a sentence."""

    record: Quarantined
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    copies: list[Copy]
    loads: list[Load]
    feeds: list[FeedState]
    set_aside: list[SetAside]
    set_aside_in_all: int

    @property
    def key(self) -> str:
        """Of the sentence that the page opens with."""
        states = {feed.key for feed in self.feeds}
        if "resync" in states:
            return "lead_resync"
        if "error" in states:
            return "lead_error"
        if self.set_aside_in_all:
            return "lead_set_aside"
        if states == {"unused"}:
            return "lead_files" if any(copy.rows for copy in self.copies) else "lead_empty"
        return "lead_fresh"


class Registries:
    """The page, and the forms on it. `synthetic_only`: real people are not taken from what was set aside."""

    def __init__(self, parts: UiParts, *, synthetic_only: bool) -> None:
        self._db = parts.db
        self._clock = parts.clock
        self._pages = parts.pages
        self._access = parts.access
        self._synthetic_only = synthetic_only

    def routes(self) -> list[BaseRoute]:
        return [
            self._access.page(PATH, self.show, Role.OPERATOR),
            self._access.act(f"{PATH}/retry", self.retry, Role.OPERATOR),
        ]

    async def show(self, request: Request, who: Who) -> Response:
        return await self._page(request, who)

    async def retry(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Read a record, or all of them, once more; then the page says what became of them."""
        ids = _ids(form.get("id", ""))
        if ids == []:
            return back(PATH)
        try:
            retried = await retry(self._db, self._clock, feed=None, ids=ids, synthetic_only=self._synthetic_only)
        except UpstreamError:
            return await self._page(request, who, trouble="real", status=409)
        return back(f"{PATH}?{urlencode(asdict(retried))}")

    async def _page(self, request: Request, who: Who, *, trouble: str = "", status: int = 200) -> HTMLResponse:
        return self._pages.render(
            request,
            "registries.html",
            now=self._clock.now(),
            status=status,
            who=who,
            contents=await self._contents(),
            retried=_retried(request),
            trouble=trouble,
            here=PATH,
        )

    async def _contents(self) -> Contents:
        async with self._db.reading() as conn:
            feeds = await statuses(conn)
            records = await quarantined(conn, limit=_SHOWN)
            return Contents(
                copies=await copies(conn),
                loads=await last_loads(conn),
                feeds=[_state(status) for status in feeds],
                set_aside=[_set_aside(record) for record in records],
                set_aside_in_all=sum(status.quarantined for status in feeds),
            )


def _state(status: Status) -> FeedState:
    if status.state == "needs_resync":
        return FeedState(status, "failed", "failed", "resync")
    if status.last_started_at is None:
        return FeedState(status, "waiting", "waiting", "unused")
    if status.held:
        return FeedState(status, "working", "working", "running")
    if status.state == "error":
        return FeedState(status, "attention", "attention", "error")
    return FeedState(status, "delivered", "health", "fresh")


def _set_aside(record: Quarantined) -> SetAside:
    name = record.upstream_id
    if name.startswith(_NAMELESS):  # it says nothing that a person could use
        name = f"{name[:15]}…"
    elif record.feed == Feed.KRR:
        name = mask_identifier(name)
    return SetAside(record, name, record.reason if record.reason in _REASONS else "other")


def _retried(request: Request) -> Retried | None:
    """What the address of the page says became of records that were tried again."""
    counts = [request.query_params.get(name, "") for name in ("applied", "superseded", "unreadable")]
    if not all(_COUNT.fullmatch(count) for count in counts):
        return None
    return Retried(*map(int, counts))


def _ids(text: str) -> list[int] | None:
    """None for all of them; empty for what is no id."""
    if text == "all":
        return None
    return [int(text)] if text.isascii() and text.isdigit() and len(text) <= 18 else []
