"""The sandbox's pages and API on a socket of loopback, as tests visit them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from starlette.applications import Starlette

from serving import serving
from site_parts import ui_parts
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.settings import SandboxSettings, Settings
from varsel.timeshift.advance import ClockControl
from varsel.ui.sandbox import sandbox_routes
from varsel.ui.site import site_routes


@dataclass(frozen=True, slots=True)
class Site:
    url: str
    database: Database
    clock: SystemClock


@asynccontextmanager
async def sandbox_site(database: Database) -> AsyncIterator[Site]:
    clock = SystemClock()
    control = ClockControl(database, clock, patience=timedelta(seconds=0.3))
    parts = ui_parts(database, clock, Settings(sandbox=SandboxSettings(enabled=True)))
    routes = [*site_routes(parts), *sandbox_routes(database, control, parts.pages)]
    async with serving(Starlette(routes=routes)) as port:
        yield Site(f"http://127.0.0.1:{port}", database, clock)
