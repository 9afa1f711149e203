"""A proxy between a client and the service that loses what it is told to lose. Each client has a path of its own."""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp import web


class Fault(StrEnum):
    CUT = "the connection breaks before the service hears of it"
    LOST = "the service does it, and the answer is lost"
    TORN = "the service does it, and half of the answer comes"
    AWAY = "503, and the service does not hear of it"
    GATEWAY = "502 of somebody in between, after the service did it"
    GONE = "503 for an hour, and the service does not hear of it"
    PAGE = "200 and a page of somebody else's"
    LATER = "429, and the service does not hear of it"


# status, Retry-After and text of what the service never hears of
_SAID = {
    Fault.AWAY: (503, "0", ""),
    Fault.GONE: (503, "3600", ""),
    Fault.LATER: (429, "0", ""),
    Fault.PAGE: (200, "0", "<html>Log in</html>"),
}


@dataclass
class Proxy:
    url: str
    scripts: dict[str, deque[Fault]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)

    def client(self, name: str, faults: Sequence[Fault]) -> str:
        """The address for a client whose first requests meet these faults, one each."""
        self.scripts[name] = deque(faults)
        self.requests[name] = 0
        return f"{self.url}/{name}"


Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that answers everything so; its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server: Any = site._server
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as service:

        async def handle(request: web.Request) -> web.StreamResponse:
            _, name, rest = request.raw_path.split("/", 2)
            proxy.requests[name] += 1
            script = proxy.scripts[name]
            return await _answer(request, service, f"/{rest}", script.popleft() if script else None)

        async with listening(handle) as own:
            proxy = Proxy(f"http://127.0.0.1:{own}")
            yield proxy


async def _answer(
    request: web.Request, service: aiohttp.ClientSession, path: str, fault: Fault | None
) -> web.StreamResponse:
    if fault is Fault.CUT:
        return _hang_up(request)
    if fault in _SAID:
        status, wait, text = _SAID[fault]
        return web.Response(status=status, headers={"Retry-After": wait}, text=text)
    headers = {n: v for n, v in request.headers.items() if n in ("Authorization", "Content-Type")}
    async with service.request(request.method, path, data=await request.read() or None, headers=headers) as answer:
        content = await answer.read()
    match fault:
        case Fault.LOST:
            return _hang_up(request)
        case Fault.TORN:
            torn = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(content))})
            await torn.prepare(request)
            await torn.write(content[: len(content) // 2])
            return _hang_up(request)
        case Fault.GATEWAY:
            return web.Response(status=502, text="<html>Bad gateway</html>")
    told = {n: v for n, v in answer.headers.items() if n in ("Content-Type", "Retry-After")}
    return web.Response(status=answer.status, body=content, headers=told)


def _hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()
