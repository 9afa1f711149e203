"""A server that answers HTTP requests as a test says, one answer after the other, the last one for ever."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from aiohttp import web


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: str | bytes = ""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass
class Heard:
    """What came. `port`: where to ask."""

    port: int = 0
    requests: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)


@asynccontextmanager
async def answering(*replies: Reply) -> AsyncIterator[Heard]:
    heard = Heard()

    async def receive(request: web.Request) -> web.StreamResponse:
        heard.requests.append((request.method, request.raw_path, request.headers, await request.read()))
        reply = replies[min(len(heard.requests), len(replies)) - 1]
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        return web.Response(status=reply.status, body=body, headers=dict(reply.headers))

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        heard.port = runner.addresses[0][1]
        yield heard
    finally:
        await runner.cleanup()
