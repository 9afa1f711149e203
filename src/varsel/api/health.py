"""Whether the process and its database are well (http-api 22, design 8)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.api.parts import ApiParts
from varsel.api.schemas import Answer
from varsel.db import DatabaseError
from varsel.domain.errors import Unavailable
from varsel.domain.feeds import Feed
from varsel.migrate import pending_migrations
from varsel.registry_sync.standing import is_late, remedies
from varsel.registry_sync.store import Status, statuses
from varsel.settings import RegistrySettings
from varsel.status import store
from varsel.status.summary import Facts

_UNCACHED: Final = {"Cache-Control": "no-store, no-cache"}
_MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=2)


class Readiness(Answer):
    """The answer of /health/ready. Warnings want a person's eye, but the process can serve."""

    ready: bool
    workers: int = 0  # that are alive
    problems: tuple[str, ...] = Field(default=())
    warnings: tuple[str, ...] = Field(default=())


def health_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    async def health(_request: Request) -> Response:
        try:
            async with parts.database.reading() as conn:
                await store.ping(conn)
        except (Unavailable, DatabaseError):
            return PlainTextResponse("Unhealthy", 503, _UNCACHED)
        return PlainTextResponse("Healthy", 200, _UNCACHED)

    async def live(_request: Request) -> Response:
        return PlainTextResponse("Healthy", 200, _UNCACHED)

    async def ready(_request: Request) -> Response:
        answer = await _readiness(parts)
        return answer.response(200 if answer.ready else 503, _UNCACHED)

    return [Route("/health", health), Route("/health/live", live), Route("/health/ready", ready)]


async def _readiness(parts: ApiParts) -> Readiness:
    try:
        if pending := await pending_migrations(parts.database):
            return Readiness(ready=False, problems=(f"migrations are missing: {', '.join(pending)}",))
        async with parts.database.reading() as conn:
            facts = await store.facts(conn)
            registers = await statuses(conn)
    except (Unavailable, DatabaseError):
        return Readiness(ready=False, problems=("the database does not answer",))
    warnings = [*_warnings(facts, datetime.now(UTC)), *_of_registers(registers, parts.settings.registry)]
    return Readiness(ready=True, workers=facts.live_workers, warnings=tuple(warnings))


def _warnings(facts: Facts, host: datetime) -> list[str]:
    """`host`: this machine's clock."""
    found = []
    if not facts.live_workers:
        found.append("no worker is alive: orders are accepted, but nothing is sent")
    if abs(facts.now - host) > _MAX_CLOCK_DIFFERENCE:
        found.append("the clocks of this machine and of the database differ by more than 2 s")
    if facts.stray_rows:
        found.append("rows lie in a default partition: run varsel migrate")
    if not facts.synchronous_standby:
        found.append("no synchronous standby: a fail-over could lose what was accepted last")
    return found


def _of_registers(registers: Sequence[Status], settings: RegistrySettings) -> list[str]:
    """Of those that the settings let us follow."""
    intervals = {}
    if settings.krr_sync_enabled:
        intervals[Feed.KRR] = settings.krr_sync_interval
    if settings.business_sync_enabled:
        intervals[Feed.BUSINESS_ADDRESSES] = settings.business_sync_interval
    found = []
    for feed, interval in intervals.items():
        status = next(status for status in registers if status.feed == feed)
        if status.age is None:
            found.append(f"the copy of {feed} was never whole: it answers nothing")
        elif is_late(status, interval):
            found.append(f"the copy of {feed} was last as its register {status.age.total_seconds() / 3600:.1f} h ago")
        found += [f"{feed}: {remedy}" for remedy in remedies(status)]
    return found
