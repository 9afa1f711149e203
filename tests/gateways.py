"""What tests of SMS gateways share: messages, tools, and our routes for their reports on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.applications import Starlette

from serving import serving
from varsel.api.frame import Frame
from varsel.api.provider_reports import instances_of, provider_report_routes
from varsel.api.report_intake import Limits
from varsel.clock import ManualClock
from varsel.delivery.ports import Report, Sms
from varsel.delivery.report import Inbox as RealInbox
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.providers.kind import Capture, Tools
from varsel.settings import BounceSettings, ProviderSettings

NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
BASE: Final = "https://varsel.example"
TEXT: Final = "Du har fått et nytt brev"
NUMBER: Final = "+4799999500"
_ORDER: Final = OrderId(uuid7())


def sms(to: str = NUMBER, text: str = TEXT, sender: str = "Altinn", left: float = 172_800) -> Sms:
    """`left`: seconds until it expires."""
    expires = NOW + timedelta(seconds=left)
    return Sms(NotificationId(uuid7()), _ORDER, creator="ttd", sender=sender, to=to, text=text, expires_at=expires)


def scripted(*digits: str) -> list[Sms]:
    return [sms(f"+4799999{script}") for script in digits]


@dataclass
class Inbox:
    """What was stored. `failures`: how many times it is out of order first."""

    reports: list[Report] = field(default_factory=list)
    failures: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def store(self, reports: Sequence[Report]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database", retry_after=timedelta(seconds=7))
        async with self.changed:
            self.reports.extend(reports)
            self.changed.notify_all()

    async def wait_for(self, count: int) -> list[Report]:
        """All reports, once there are so many."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: len(self.reports) >= count)
        return self.reports

    def states(self, reference: str | None) -> list[str]:
        return [report.raw_state for report in self.reports if report.reference == reference]


def tools(inbox: Inbox | RealInbox, *, production: bool = False, capture: Capture | None = None) -> Tools:
    return Tools(ManualClock(NOW), BounceSettings(), production, BASE, inbox.store, capture)


@asynccontextmanager
async def reporting(inbox: Inbox | RealInbox, *providers: ProviderSettings, base: str = BASE) -> AsyncIterator[str]:
    """Our routes for these providers, as behind a proxy: yields their origin, which is not `base`."""
    routes = provider_report_routes(instances_of(providers, tools(inbox)), inbox.store, Limits(10_000), base)
    async with serving(Frame(Starlette(routes=routes))) as port:
        yield f"http://127.0.0.1:{port}"
