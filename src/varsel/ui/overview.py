"""The start page: did she get it, what is happening now, and what needs somebody (the pages' brief, 2, 4 and 7).

It moves by itself: one stream of events with finished fragments, and nothing is counted for it (ADR 12).
"""

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from varsel.domain.schedule import OSLO, SendWindow
from varsel.status.gauges import LATE
from varsel.ui import overview_store as store
from varsel.ui.access import Role, Who
from varsel.ui.live import EventStream, Live, event
from varsel.ui.overview_chart import chart_of, line_of
from varsel.ui.overview_store import Reading, Service
from varsel.ui.parts import UiParts
from varsel.ui.pulse import Pulse, pulse_of
from varsel.ui.words import Language

PATH: Final = "/ui/"
EVENTS: Final = "/ui/events"

_PARTS: Final = ("clock", "road", "needs", "chart", "tiles", "providers", "senders")
_BUSY: Final = {"Retry-After": "10", "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that wants somebody: `overview.<key>` is its bold fact, `overview.<key>_hint` cause and consequence."""

    family: str
    key: str
    path: str
    says: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """`key` finds `providers.state.<key>`."""

    name: str
    channel: str
    family: str
    icon: str
    key: str
    until: datetime | None
    pulse: Pulse

    @property
    def failed(self) -> float | None:
        return self.pulse.errors / self.pulse.attempts if self.pulse.attempts else None


@dataclass(frozen=True, slots=True)
class _View:
    """Who sees the same: everybody with these rights, in one language."""

    creator: str | None
    operator: bool
    language: Language


class Overview:
    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        processing = parts.settings.processing
        self._window = SendWindow(
            processing.sms_window_start_hour, processing.sms_window_end_hour, processing.sms_window_always_open
        )
        self._live = Live(self._read, parts.stopping)
        self._rendered: tuple[Reading | None, dict[_View, Mapping[str, str]]] = (None, {})

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.show, Role.VIEWER), access.page(EVENTS, self.stream, Role.VIEWER)]

    async def show(self, request: Request, who: Who) -> Response:
        reading = self._live.latest
        if reading is None or who.creator not in reading.of:
            reading = await self._read([who.creator])
        values = self._values(reading, _view(request, self._parts, who), live=False)
        return self._parts.pages.render(request, "overview.html", now=reading.at, who=who, **values)

    async def stream(self, request: Request, who: Who) -> Response:
        """What has changed, at most once a second. All of it first."""
        if self._live.is_full:
            return PlainTextResponse("Too many watch at this moment.", 503, _BUSY)
        return EventStream(self._events(_view(request, self._parts, who)))

    async def _events(self, view: _View) -> AsyncGenerator[str, None]:
        sent: dict[str, str] = {}
        number = 0
        async with aclosing(self._live.watch(view.creator)) as readings:
            async for reading in readings:
                if view.creator not in reading.of:
                    continue
                for name, html in self._fragments(reading, view).items():
                    if sent.get(name) != html:
                        number += 1
                        sent[name] = html
                        yield event(name, number, html)

    async def _read(self, scopes: Collection[str | None]) -> Reading:
        now = self._parts.clock.now()
        async with self._parts.db.reading() as conn:
            return await store.read(conn, scopes, now=now, opened=self._window.opened(now))

    def _fragments(self, reading: Reading, view: _View) -> Mapping[str, str]:
        """Made once for all who see the same."""
        if self._rendered[0] is not reading:
            self._rendered = (reading, {})
        made = self._rendered[1]
        if view not in made:
            values = self._values(reading, view, live=True)
            made[view] = {
                part: self._parts.pages.fragment(f"overview_{part}.html", view.language, now=reading.at, **values)
                for part in _PARTS
            }
        return made[view]

    def _values(self, reading: Reading, view: _View, *, live: bool) -> dict[str, Any]:
        figures = reading.of[view.creator]
        service = reading.service if view.creator is None else None
        shown = service if view.operator else None
        return {
            "at": reading.at,
            "live": live,
            "f": figures,
            "today": reading.at.astimezone(OSLO).date().isoformat(),
            "chart": chart_of(figures.hours),
            "line_of": line_of,
            "next_due": service.next_due if service else None,
            "ready_since": service.oldest_unclaimed if service else None,
            "waiting": _longest(service, reading.at),
            "everybody": service is not None,
            "notices": list(_notices(shown, reading.at)) if shown else None,
            "lines": _provider_lines(shown) if shown else None,
        }


def _view(request: Request, parts: UiParts, who: Who) -> _View:
    return _View(who.creator, who.may(Role.OPERATOR) and who.creator is None, parts.pages.language(request))


def _longest(service: Service | None, now: datetime) -> tuple[str, datetime] | None:
    """What has waited longest although it could go on: an order or a message, and since when."""
    if service is None:
        return None
    found = (("order", service.oldest_due), ("message", service.oldest_unclaimed))
    waiting = [(at, kind) for kind, at in found if at is not None and at <= now]
    return (min(waiting)[1], min(waiting)[0]) if waiting else None


def _notices(service: Service, now: datetime) -> Iterator[Notice]:
    for provider in service.providers:
        if not provider.takes:
            family = "stopped" if provider.stopped else "failed"
            says: dict[str, object] = {"name": provider.name, "why": provider.detail or "–"}
            yield Notice(family, "provider", f"/ui/ops/providers#p-{provider.name}", says)
    if not service.workers:
        yield Notice("failed", "no_worker", PATH)
    if service.oldest_due and now - service.oldest_due > LATE:
        yield Notice("attention", "late", "/ui/orders", {})
    if service.dead:
        yield Notice("attention", "dead", "/ui/ops/deadletters", {"n": service.dead})
    for register in service.registers:
        if register.state in {"error", "needs_resync"}:
            yield Notice("attention", "register", "/ui/ops/registries", {"name": register.feed})
    if service.paused_webhooks:
        yield Notice("attention", "webhooks", "/ui/ops/webhooks", {"n": service.paused_webhooks})


def _provider_lines(service: Service) -> Sequence[ProviderLine]:
    """As on the page of providers, without what only the settings know."""
    lines = []
    for state in service.providers:
        family, icon, key = "delivered", "health", "takes"
        if state.stopped:
            family, icon, key = "stopped", "pause", "stopped"
        elif state.has_breaker:
            family, icon, key = ("failed", "failed", "open") if state.is_open else ("attention", "attention", "trial")
        elif state.paused:
            family, icon, key = "attention", "pause", "paused"
        pulse = pulse_of([minute for minute in service.minutes if minute.provider == state.name])
        lines.append(ProviderLine(state.name, state.channel, family, icon, key, state.until, pulse))
    return lines
