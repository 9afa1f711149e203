"""Whether the process and its database are well (http-api 22, design 8)."""

from collections.abc import Sequence
from datetime import UTC, datetime
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
from varsel.registry_sync.standing import followed, warnings
from varsel.registry_sync.store import Status, statuses
from varsel.settings import RegistrySettings
from varsel.status import store
from varsel.status.summary import Facts

_UNCACHED: Final = {"Cache-Control": "no-store, no-cache"}


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
    found = [*_warnings(facts, datetime.now(UTC)), *_of_registers(registers, parts.settings.registry)]
    return Readiness(ready=True, workers=facts.live_workers, warnings=tuple(found))


def _warnings(facts: Facts, host: datetime) -> list[str]:
    """`host`: this machine's clock."""
    found = []
    if not facts.live_workers:
        found.append("no worker is alive: orders are accepted, but nothing is sent")
    if facts.clocks_differ(host):
        found.append("the clocks of this machine and of the database differ by more than 2 s")
    if facts.stray_rows:
        found.append("rows lie in a default partition: run varsel migrate")
    if not facts.synchronous_standby:
        found.append("no synchronous standby: a fail-over could lose what was accepted last")
    return found


def _of_registers(registers: Sequence[Status], settings: RegistrySettings) -> list[str]:
    intervals = followed(settings)
    return [
        warning
        for status in registers
        if (interval := intervals.get(Feed(status.feed)))
        for warning in warnings(status, interval)
    ]
