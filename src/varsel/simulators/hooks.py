"""A receiver of webhooks, simulated: it answers as its path says, and shows what came and if its signature is good.

`/204/anything` answers 204; so does every other status. What came is kept for a while, the newest first.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from varsel.domain.signatures import verified

_KEPT: Final = 100
_MAX_BODY: Final = 64 * 1024
_MOST_WAIT_SECONDS: Final = 60.0
_STATUSES: Final = range(200, 600)

Secrets = Callable[[str], Awaitable[Sequence[bytes]]]
"""The secrets that sign for webhooks whose URL ends like this."""


class HookInbox:
    """Its routes may be mounted anywhere."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._got: deque[Mapping[str, Any]] = deque(maxlen=_KEPT)
        self._came = asyncio.Event()

    def routes(self, prefix: str) -> list[Route]:
        return [
            Route(prefix, self._list, methods=["GET"]),
            Route(f"{prefix}/{{status:int}}/{{name}}", self._take, methods=["POST"]),
        ]

    async def _take(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return Response(status_code=413, headers={"Connection": "close"})
        status = request.path_params["status"]
        if status not in _STATUSES:
            return Response(status_code=404)
        self._got.appendleft(await self._seen(request, bytes(body)))
        self._came.set()
        return Response(status_code=status)

    async def _seen(self, request: Request, body: bytes) -> Mapping[str, Any]:
        keys = await self._secrets(request.scope["raw_path"].decode())
        try:
            event = json.loads(body)
        except ValueError:
            event = None
        now = datetime.now(UTC)  # of signatures, whatever the sandbox's clock says
        return {
            "path": request.scope["raw_path"].decode(),
            "webhookId": request.headers.get("webhook-id"),
            "verified": verified(request.headers, body, keys, now=now),
            "event": event,
        }

    async def _list(self, request: Request) -> Response:
        """Newest first. `type`: of these events alone; `wait`: seconds to wait for one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _seconds(request.query_params.get("wait", "0"))
        while True:
            self._came.clear()
            found = [got for got in self._got if _matches(got, request.query_params.get("type"))]
            if found or loop.time() >= deadline:
                return JSONResponse(found)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._came.wait()
            except TimeoutError:
                return JSONResponse([])


def _matches(got: Mapping[str, Any], type_: str | None) -> bool:
    return type_ is None or (isinstance(got["event"], dict) and got["event"].get("type") == type_)


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), _MOST_WAIT_SECONDS))
    except ValueError:
        return 0.0
