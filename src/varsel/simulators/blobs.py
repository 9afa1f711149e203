"""A store of files, simulated: the first part of a path chooses what becomes of a request.

`/ok/…` is a file that was put there, or `content_of` its path; `/status/403/…` that status; `/once/503/…` that status
the first time; `/slow/…` after a while; `/large/…` says that it is very large; `/endless/…` is, and does not say so;
`/broken/…` less than was promised; `/elsewhere/…` a redirect.
"""

import asyncio
import hashlib
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

_STATUS: Final = re.compile(r"([2-5][0-9]{2})/")
_UNREAD: Final = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment"}  # no page of ours
_SLOW: Final = 60.0  # s
_MAX_FILE: Final = 32 * 1024 * 1024
_MAX_FILES: Final = 100
_JOURNAL: Final = 10_000
_LARGE: Final = 1024 * 1024 * 1024  # octets that it claims, and never finishes


def content_of(path: str) -> bytes:
    """What lies at a path where nobody put anything: some octets of every value, always the same."""
    seed = hashlib.sha256(path.encode()).digest()
    return bytes(range(256)) * 4 + b"\r\n.\r\n..\r\n\n\r" + seed


class BlobStore:
    """Its routes may be mounted anywhere; `app` has them at the root. `time_factor` scales its waiting."""

    def __init__(self, *, time_factor: float = 1.0) -> None:
        self.requests: deque[str] = deque(maxlen=_JOURNAL)  # paths with their queries, as they came
        self.most_at_once = 0
        self._time_factor = time_factor
        self._files: dict[str, bytes] = {}
        self._seen: Counter[str] = Counter()
        self._at_once = 0
        self._special: dict[str, Callable[[str], Awaitable[Response]]] = {
            "slow": self._slow,
            "large": partial(self._without_end, length=_LARGE),
            "endless": partial(self._without_end, length=None),
            "broken": self._broken,
            "elsewhere": self._elsewhere,
        }

    @property
    def app(self) -> Starlette:
        return Starlette(routes=self.routes())

    def routes(self, prefix: str = "") -> list[Route]:
        return [
            Route(f"{prefix}/{{behaviour}}/{{path:path}}", self._get, methods=["GET"]),
            Route(f"{prefix}/{{behaviour}}/{{path:path}}", self._put, methods=["PUT"]),
        ]

    async def _put(self, request: Request) -> Response:
        """Keep a file; the oldest is forgotten when there are too many."""
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > _MAX_FILE:
                return Response(status_code=413, headers={"Connection": "close"})
        self._files[request.path_params["path"]] = bytes(content)
        while len(self._files) > _MAX_FILES:
            del self._files[next(iter(self._files))]
        return Response(status_code=201)

    async def _get(self, request: Request) -> Response:
        query = request.scope["query_string"]
        self.requests.append((request.scope["raw_path"] + (b"?" + query if query else b"")).decode())
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request.path_params["behaviour"], request.path_params["path"])
        finally:
            self._at_once -= 1

    async def _answer(self, behaviour: str, path: str) -> Response:
        self._seen[f"{behaviour}/{path}"] += 1
        fails = behaviour == "status" or (behaviour == "once" and self._seen[f"{behaviour}/{path}"] == 1)
        if fails and (status := _STATUS.match(path)):
            return Response(status_code=int(status[1]))
        if special := self._special.get(behaviour):
            return await special(path)
        return self._file(path)

    def _file(self, path: str) -> Response:
        content = self._files.get(path) or content_of(path)
        return Response(content, headers=_UNREAD, media_type="application/octet-stream")

    async def _slow(self, path: str) -> Response:
        await asyncio.sleep(_SLOW * self._time_factor)
        return self._file(path)

    async def _elsewhere(self, path: str) -> Response:
        return Response(status_code=302, headers={"Location": f"/ok/{path}"})

    async def _without_end(self, _path: str, *, length: int | None) -> Response:
        async def zeros() -> AsyncIterator[bytes]:
            while True:
                yield bytes(65_536)
                await asyncio.sleep(0)  # so that somebody can notice that the client has left

        headers = {"Content-Length": str(length)} if length else {}
        return StreamingResponse(zeros(), headers=headers)

    async def _broken(self, _path: str) -> Response:
        async def beginning() -> AsyncIterator[bytes]:
            yield b"a beginning"

        return StreamingResponse(beginning(), headers={"Content-Length": "1000"})
