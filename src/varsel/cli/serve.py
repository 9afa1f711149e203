"""One API process: everything that comes in from outside, over HTTP and (delivery status notifications) over SMTP."""

import asyncio
import os
import signal
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.routing import BaseRoute

from varsel.api.app import create_app
from varsel.api.auth import Authenticator
from varsel.api.bounces import BounceListener
from varsel.api.event_grid import event_grid_routes
from varsel.api.parts import ApiParts
from varsel.api.provider_reports import instances_of, provider_report_routes
from varsel.api.report_intake import Limits
from varsel.api.reports import report_routes
from varsel.api.requests import Intake
from varsel.api.server import Timeouts, serve
from varsel.cli.startup import database_url, home_of
from varsel.delivery.report import Inbox
from varsel.domain.errors import Unavailable
from varsel.domain.ids import WorkerId
from varsel.heartbeat import beat as heartbeat
from varsel.issuer import DevelopmentIssuer
from varsel.log import Log
from varsel.orders.register import Register
from varsel.preview.preview import Previewer
from varsel.providers.kind import tools_of
from varsel.recipients.schemes import identifiers_of
from varsel.settings import LinkProviderSettings, Settings
from varsel.status.feed import FeedReader
from varsel.timeshift.advance import ClockControl
from varsel.timeshift.follow import follow_clock, require_unmoved, take_clock
from varsel.ui.access import Access
from varsel.ui.pages import Pages
from varsel.ui.parts import UiParts
from varsel.ui.sandbox import sandbox_routes
from varsel.ui.site import areas, site_routes
from varsel.wiring import Parts, open_parts

log = Log(__name__)

_PATIENCE: Final = timedelta(seconds=5)  # with registers that throttle us: somebody waits for our answer
_LAST_MESSAGES: Final = timedelta(seconds=2)  # for instant messages that are on their way when we stop


async def serve_api(settings: Settings, sock: socket.socket) -> None:
    """Answer requests on a listening socket until SIGTERM or SIGINT; what was accepted is stored before it ends."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    parts = await open_parts(
        settings,
        database_url(settings),
        name="varsel api",
        connections=settings.database.api_connections,
        patience=_PATIENCE,
    )
    try:
        await _serve(parts, sock, stop)
    finally:
        await parts.close()


async def _serve(parts: Parts, sock: socket.socket, stop: asyncio.Event) -> None:
    settings = parts.settings
    await (take_clock if settings.sandbox.enabled else require_unmoved)(parts.db, parts.clock)
    presence = _Presence(parts, await _begin(parts))
    tasks = [asyncio.create_task(presence.keep())]
    inbox, register, instants = parts.inbox(), parts.register(), parts.instants(lambda: presence.worker)
    bounces = await _listen_for_bounces(settings, inbox)
    feed = FeedReader(parts.db, max_waiting=settings.feed.max_waiting)
    tasks.append(asyncio.create_task(_answer_readers(feed, stop)))
    previewer = parts.previewer()
    site = _site(parts, register, previewer, stop)
    issuer = DevelopmentIssuer(home_of(settings)) if settings.auth.development_issuer else None
    app = create_app(
        ApiParts(
            settings=settings,
            clock=parts.clock,
            database=parts.db,
            authenticator=Authenticator.from_settings(settings.auth, issuer),
            intake=Intake(
                parts.clock,
                max_body_bytes=settings.server.max_body_bytes,
                max_waiting_bytes=settings.server.max_waiting_body_bytes,
                identifiers=identifiers_of(settings.registry),
                contents=parts.guard.contents,
            ),
            register=register.register_order,
            register_chain=register.register_chain,
            place_instant=instants.place,
            feed=feed,
            previewer=previewer,
            directory=parts.directory,
            guard=parts.guard,
            wake=parts.waker.wake,
            issuer=issuer,
            reception=parts.registry_feeds().reception(),
        ),
        extra_routes=_extra_routes(parts, inbox, site),
    )
    try:
        server = settings.server
        timeouts = Timeouts(server.header_timeout, server.body_chunk_timeout)
        await serve(app, server.host, server.port, stop, timeouts=timeouts, sock=sock)
    finally:
        if bounces:
            await bounces.stop()
        if site:
            await site.access.close()
        await instants.close(_LAST_MESSAGES)
        await parts.registers.close()
        await register.close()
        await feed.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await parts.sweeper().release_own(presence.worker)


async def _begin(parts: Parts) -> WorkerId:
    lease = parts.settings.delivery.lease
    return await heartbeat.begin(parts.db, kind="api", lease=lease, clock_version=parts.clock.version)


@dataclass(slots=True)
class _Presence:
    """The row of this process: a new one when others have taken it away, because nothing was heard of us for too long.

    What was sent under the old one has been given up as unknown by then.
    """

    parts: Parts
    worker: WorkerId

    async def keep(self) -> None:
        """For ever."""
        parts = self.parts
        while True:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(heartbeat.beat(parts.db, self.worker, lease=parts.settings.delivery.lease))
                    if parts.settings.sandbox.enabled:
                        tasks.create_task(follow_clock(parts.db, parts.clock, self.worker))
            except* heartbeat.LeaseLost:
                log.warning("lease lost", worker_id=self.worker)
            except* Exception as errors:  # noqa: BLE001 - without a row no instant message can be sent
                log.error("presence failed", exc=errors)
            await self._begin_anew()

    async def _begin_anew(self) -> None:
        while True:
            try:
                self.worker = await _begin(self.parts)
            except Unavailable:
                await asyncio.sleep(1)
            else:
                return


async def _answer_readers(feed: FeedReader, stop: asyncio.Event) -> None:
    """So that those who wait do not keep the process from ending."""
    await stop.wait()
    feed.end_waiting()


async def _listen_for_bounces(settings: Settings, inbox: Inbox) -> BounceListener | None:
    if settings.bounces.port is None:
        return None
    listener = BounceListener(settings.bounces, inbox, relayed_is_delivered=settings.delivery.relayed_is_delivered)
    await listener.start()
    return listener


def _site(parts: Parts, register: Register, previewer: Previewer, stop: asyncio.Event) -> UiParts | None:
    """What the pages are made of; None: there are none."""
    settings = parts.settings
    if not settings.pages.enabled:
        return None
    pages = Pages(areas(settings), sandbox=settings.sandbox.enabled)
    return UiParts(
        settings=settings,
        db=parts.db,
        clock=parts.clock,
        pages=pages,
        access=Access(settings, parts.db, parts.clock, pages),
        directory=parts.directory,
        previewer=previewer,
        contents=parts.guard.contents,
        register_chain=register.register_chain,
        wake=parts.waker.wake,
        variables=frozenset(os.environ),
        stopping=stop,
    )


def _extra_routes(parts: Parts, inbox: Inbox, site: UiParts | None) -> list[BaseRoute]:
    settings = parts.settings
    limits = Limits(settings.server.max_reports_per_second)
    gateways = [p for p in settings.providers if isinstance(p, LinkProviderSettings)]
    instances = instances_of(settings.providers, tools_of(settings, parts.clock, inbox.store))
    routes: list[BaseRoute] = [
        *report_routes(gateways, inbox.store, limits),
        *provider_report_routes(instances, inbox.store, limits, settings.server.base_url),
        *event_grid_routes(instances, inbox.store, limits, settings.server.base_url),
    ]
    if site:
        routes += site_routes(site)
    if settings.sandbox.enabled:
        pages = site.pages if site else Pages(sandbox=True)
        routes += sandbox_routes(parts.db, ClockControl(parts.db, parts.clock), pages)
    return routes
