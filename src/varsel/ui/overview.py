"""The start page: did she get it, what waits now, and what needs somebody (the pages' brief, 2 and 4)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.delivery.pool_admin_store import State, states
from varsel.domain.schedule import SendWindow
from varsel.registry_sync.store import Status, statuses
from varsel.status.gauges import MAX_COUNTED, Gauges
from varsel.status.gauges_store import read_gauges
from varsel.ui.access import Role, Who
from varsel.ui.parts import UiParts

PATH: Final = "/ui/"

_LATE: Final = timedelta(minutes=5)  # an order or a message that waits for longer than it should


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that wants somebody: `overview.<key>` is its bold fact, `overview.<key>_hint` cause and consequence."""

    family: str
    key: str
    path: str
    says: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many of something there are now. `many`: at least as many. `since`: of the oldest."""

    key: str
    count: int
    since: datetime | None = None

    @property
    def many(self) -> bool:
        return self.count >= MAX_COUNTED


class Overview:
    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        processing = parts.settings.processing
        self._window = SendWindow(
            processing.sms_window_start_hour, processing.sms_window_end_hour, processing.sms_window_always_open
        )

    def routes(self) -> list[BaseRoute]:
        return [self._parts.access.page(PATH, self.show, Role.VIEWER)]

    async def show(self, request: Request, who: Who) -> Response:
        """Figures are of all creators: somebody of one creator gets the search alone."""
        parts, now = self._parts, self._parts.clock.now()
        notices: list[Notice] = []
        waiting: list[Waiting] = []
        if who.creator is None:
            async with parts.db.reading() as conn:
                gauges = await read_gauges(conn, now=now, opened=self._window.opened(now))
                providers = await states(conn) if who.may(Role.OPERATOR) else []
                registers = await statuses(conn) if who.may(Role.OPERATOR) else []
            waiting = list(_waiting(gauges))
            notices = list(_notices(gauges, providers, registers, now)) if who.may(Role.OPERATOR) else []
        return parts.pages.render(
            request,
            "overview.html",
            now=now,
            who=who,
            waiting=waiting,
            notices=notices,
            operator=who.may(Role.OPERATOR),
            everybody=who.creator is None,
        )


def _waiting(gauges: Gauges) -> Iterator[Waiting]:
    queues = gauges.queues
    oldest = min((at for at in queues.oldest_unclaimed.values() if at), default=None)
    yield Waiting("due", queues.orders_due, queues.oldest_due)
    yield Waiting("ready", sum(queues.unclaimed.values()), oldest)
    yield Waiting("leaving", queues.claimed + queues.working)
    yield Waiting("unsure", queues.unknown, queues.oldest_unknown)


def _notices(gauges: Gauges, providers: list[State], registers: list[Status], now: datetime) -> Iterator[Notice]:
    for provider in providers:
        if not provider.takes:
            family = "stopped" if provider.stopped else "failed"
            yield Notice(
                family, "provider", "/ui/ops/providers", {"name": provider.name, "why": provider.detail or "–"}
            )
    if not gauges.workers.get("worker"):
        yield Notice("failed", "no_worker", PATH)
    oldest = gauges.queues.oldest_due
    if oldest and now - oldest > _LATE:
        yield Notice("attention", "late", "/ui/orders", {})
    if gauges.queues.reports_dead:
        yield Notice("attention", "dead", PATH, {"n": gauges.queues.reports_dead})
    for register in registers:
        if register.state in {"error", "needs_resync"}:
            yield Notice("attention", "register", "/ui/ops/registries", {"name": register.feed})
    if paused := gauges.webhooks.states.get("paused"):
        yield Notice("attention", "webhooks", PATH, {"n": paused})
