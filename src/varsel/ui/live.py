"""One reading a second for all who watch a page, however many they are; and the stream that tells them."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Final, Generic, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from varsel.domain.errors import Unavailable
from varsel.log import Log

log = Log(__name__)

T = TypeVar("T")

MOST_STREAMS: Final = 200
LONGEST: Final = timedelta(minutes=10)  # of a stream; then the browser comes again, and shows who it is
_CUT: Final = timedelta(minutes=11)  # when nobody reads what is sent
_PACE: Final = 1.0  # s
_RETRY_MS: Final = 3_000


class Live(Generic[T]):
    """`read` is asked for the scopes that somebody watches, and never while nobody does.

    `stopping`: set when the process ends; whoever watches is let go.
    """

    def __init__(self, read: Callable[[Collection[str | None]], Awaitable[T]], stopping: asyncio.Event) -> None:
        self._read = read
        self._stopping = stopping
        self._watching: Counter[str | None] = Counter()
        self._latest: T | None = None
        self._fresh = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return self._watching.total() >= MOST_STREAMS or self._stopping.is_set()

    @property
    def latest(self) -> T | None:
        """About a second old at most; None when nobody watches."""
        return self._latest if self._reading and not self._reading.done() else None

    async def watch(self, scope: str | None) -> AsyncGenerator[T, None]:
        """Readings, each newer than the one before, for `LONGEST` or until the process ends; the first may lack it."""
        self._watching[scope] += 1
        end = asyncio.get_running_loop().time() + LONGEST.total_seconds()
        try:
            while not self._stopping.is_set() and asyncio.get_running_loop().time() < end:
                fresh = self._fresh
                if self._reading is None or self._reading.done():
                    self._reading = asyncio.get_running_loop().create_task(self._keep_reading())
                await fresh.wait()
                if self._latest is not None and not self._stopping.is_set():
                    yield self._latest
        finally:
            self._watching[scope] -= 1
            if not self._watching[scope]:
                del self._watching[scope]

    async def _keep_reading(self) -> None:
        loop = asyncio.get_running_loop()
        while self._watching and not self._stopping.is_set():
            next_look = loop.time() + _PACE
            try:
                self._latest = await self._read(list(self._watching))
            except Unavailable as error:
                log.warning("live page waits", what=error.what)
                self._latest = None
            except Exception as error:  # noqa: BLE001 - a bug: those who watch see that nothing comes, and it is tried again
                log.error("live page failed", exc=error)
                self._latest = None
            self._tell()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), max(next_look - loop.time(), 0.01))
        self._latest = None
        self._tell()

    def _tell(self) -> None:
        told, self._fresh = self._fresh, asyncio.Event()
        told.set()


class EventStream(StreamingResponse):
    """Server-sent events, until `events` end; cut off when nobody reads them."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
        super().__init__(_with_retry(events), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CUT.total_seconds()):
                await super().__call__(scope, receive, send)


async def _with_retry(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    yield f"retry: {_RETRY_MS}\n\n"
    async with aclosing(events):
        async for each in events:
            yield each


def event(name: str, id_: int, html: str) -> str:
    """A finished fragment, as one event."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {id_}\nevent: {name}\n{lines}\n"
