"""The page of quotas: who may order how much, and how much of it is used (channels 6.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.quota import Counter
from varsel.domain.schedule import oslo_day
from varsel.orders.quotas import limits_of
from varsel.ui import quotas_store as store
from varsel.ui.access import Role, Who
from varsel.ui.parts import UiParts
from varsel.ui.quotas_store import Used

PATH: Final = "/ui/ops/quotas"

_MOST: Final = 2_000  # counters
_NEAR: Final = 90  # per cent


@dataclass(frozen=True, slots=True)
class Gauge:
    """A limit of a creator. `limit`: as configured; 0: none. `percent` of what the counter may reach, at most 100."""

    counter: Counter
    limit: int
    used: int
    percent: int

    @property
    def family(self) -> str:
        return "failed" if self.percent >= 100 else "attention" if self.percent >= _NEAR else "reachable"


@dataclass(frozen=True, slots=True)
class Holder:
    """A creator. `own`: has limits of their own in the settings."""

    creator: str
    own: bool
    gauges: tuple[Gauge, ...]

    @property
    def near(self) -> bool:
        return any(gauge.percent >= _NEAR for gauge in self.gauges)


class Quotas:
    """The page."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._settings = parts.settings.quotas
        self._limits = limits_of(parts.settings.quotas)

    def routes(self) -> list[BaseRoute]:
        return [self._parts.access.page(PATH, self.show, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        now = self._parts.clock.now()
        sought = request.query_params.get("q", "").strip()[:100]
        holders = await self._holders(now)
        shown = [holder for holder in holders if sought.casefold() in holder.creator.casefold()]
        return self._parts.pages.render(
            request,
            "quotas.html",
            now=now,
            who=who,
            everybody=self._everybody(),
            holders=sorted(shown, key=lambda holder: not holder.near),
            near=sum(holder.near for holder in holders),
            any=bool(holders),
            sought=sought,
            begins_again=oslo_day(now)[1],
            path=PATH,
        )

    async def _holders(self, now: datetime) -> list[Holder]:
        """Who has ordered something that is counted, and who has limits of their own."""
        async with self._parts.db.reading() as conn:
            rows = await store.used(conn, day=oslo_day(now)[0], limit=_MOST)
        used = {name: {row.counter: row for row in group} for name, group in groupby(rows, key=lambda row: row.creator)}
        known = {name.casefold() for name in used}
        unused = [name for name in self._settings.creators if name.casefold() not in known]
        return [self._holder(name, used.get(name, {})) for name in sorted({*used, *unused}, key=str.casefold)]

    def _holder(self, creator: str, used: Mapping[Counter, Used]) -> Holder:
        limits = self._limits(creator)
        gauges = []
        for counter in Counter:
            limit, row = limits.get(counter), used.get(counter)
            if limit is None:
                continue
            amount = row.amount if row else 0.0
            percent = min(round(100 * amount / limit.most), 100) if limit.most else 100
            gauges.append(Gauge(counter, limit.told, round(amount), percent))
        own = any(name.casefold() == creator.casefold() for name in self._settings.creators)
        return Holder(creator, own, tuple(gauges))

    def _everybody(self) -> list[Gauge]:
        """The limits of whoever has none of their own."""
        limits = self._limits("")
        return [Gauge(counter, limits[counter].told if counter in limits else 0, 0, 0) for counter in Counter]
