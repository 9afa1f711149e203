"""A store of files, simulated: the first part of a path chooses what becomes of a request.

`/ok/…` is a file that was put there, or `content_of` its path; `/status/403/…` that status; `/once/503/…` that status
the first time; `/slow/…` after a while; `/large/…` says that it is very large; `/endless/…` is, and does not say so;
`/broken/…` less than was promised; `/elsewhere/…` a redirect. It serves by http, and keeps a journal.
"""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Final, Self

from aiohttp import web

_SLOW: Final = 60.0  # s
_MAX_FILE: Final = 32 * 1024 * 1024
_MAX_FILES: Final = 100
_JOURNAL: Final = 10_000
_LARGE: Final = 1024 * 1024 * 1024  # octets that it claims, and never finishes


def content_of(path: str) -> bytes:
    """What lies at a path where nobody put anything: some octets of every value, always the same."""
    seed = hashlib.sha256(path.encode()).digest()
    return bytes(range(256)) * 4 + b"\r\n.\r\n..\r\n\n\r" + seed


class BlobSimulator:
    """`async with BlobSimulator() as blobs` serves on `blobs.url`. `time_factor` scales its waiting."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, time_factor: float = 1.0) -> None:
        self.port = port
        self.requests: deque[str] = deque(maxlen=_JOURNAL)  # paths with their queries, as they came
        self.most_at_once = 0
        self._host = host
        self._time_factor = time_factor
        self._files: dict[str, bytes] = {}
        self._seen: Counter[str] = Counter()
        self._at_once = 0
        self._runner: web.AppRunner | None = None
        self._special: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "slow": self._slow,
            "large": partial(self._without_end, length=_LARGE),
            "endless": partial(self._without_end, length=None),
            "broken": self._broken,
            "elsewhere": self._elsewhere,
        }

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_FILE)
        app.router.add_get("/{behaviour}/{path:.*}", self._get)
        app.router.add_put("/ok/{path:.*}", self._put)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _put(self, request: web.Request) -> web.Response:
        """Keep a file; the oldest is forgotten when there are too many."""
        self._files[request.path] = await request.read()
        while len(self._files) > _MAX_FILES:
            del self._files[next(iter(self._files))]
        return web.Response(status=201)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.raw_path)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request)
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self._seen[path] += 1
        behaviour, what = request.match_info["behaviour"], request.match_info["path"].partition("/")[0]
        if behaviour == "status" or (behaviour == "once" and self._seen[path] == 1):
            return web.Response(status=int(what))
        if special := self._special.get(behaviour):
            return await special(request)
        return self._file(request)

    def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self._files.get(request.path) or content_of(request.path))

    async def _slow(self, request: web.Request) -> web.Response:
        await asyncio.sleep(_SLOW * self._time_factor)
        return self._file(request)

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{self.url}/ok/a.pdf"})

    async def _without_end(self, request: web.Request, length: int | None) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        while True:
            await response.write(bytes(65_536))

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1_000
        await response.prepare(request)
        await response.write(b"a beginning")
        assert request.transport is not None
        request.transport.close()
        return response
