"""What simulated gateways over HTTP have in common (channels 8): a server, a journal, scripts, calls to our routes."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import aiohttp
from aiohttp import web

from varsel.domain.captured import Captured
from varsel.domain.sms_text import alphabet_of, segment

Capture = Callable[[Sequence[Captured]], Awaitable[None]]
"""Stores what came, before it is answered."""

S = TypeVar("S")
T = TypeVar("T")

RETRIES: Final = (1.0, 2.0, 4.0)
"""Seconds after which a call that was not answered 2xx is repeated."""

ANSWERED_WITH: Final = {429: {"Retry-After": "7"}, 302: {"Location": "https://elsewhere.example/"}}
"""By status, headers of an answer."""

_JOURNAL: Final = 10_000
_MAX_BODY: Final = 1024 * 1024
_CALL_TIMEOUT: Final = 10


@dataclass(frozen=True, slots=True)
class Called:
    """One call to our routes. `status` is None when no answer came."""

    state: str
    attempt: int
    status: int | None


class GatewaySimulator(ABC, Generic[T, S]):
    """`async with …Simulator(…) as gateway` serves on `gateway.port`. T: what it took. S: a script."""

    def __init__(
        self, scripts: Mapping[str, S], time_factor: float, capture: Capture | None, host: str, port: int
    ) -> None:
        """`port` 0: any free one. Waiting times are those of the scripts times `time_factor`."""
        self.port = port
        self.journal: deque[T] = deque(maxlen=_JOURNAL)
        self.calls: deque[Called] = deque(maxlen=_JOURNAL)
        self.send_to: str | None = None
        """Origin that reports really go to, when it is not that of the address we are told: as behind a proxy."""
        self._host = host
        self._scripts = scripts
        self._time_factor = time_factor
        self._capture = capture
        self._next: deque[S] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    @abstractmethod
    async def receive(self, request: web.Request) -> web.StreamResponse:
        """Answer a submission."""

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_post("/{path:.*}", self.receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` messages follow this script, whatever their numbers."""
        self._next.extend([self._scripts[behaviour]] * n)

    async def idle(self) -> None:
        """Wait until no report is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def script(self, number: str, ordinary: S) -> S:
        """By the last three digits of a number, unless another was set."""
        return self._next.popleft() if self._next else self._scripts.get(number[-3:], ordinary)

    async def keep(self, taken: T, captured: Captured) -> None:
        self.journal.append(taken)
        if self._capture is not None:
            await self._capture([captured])

    def run(self, work: Coroutine[None, None, None]) -> None:
        """In the background; `idle` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._time_factor)

    def real(self, address: str) -> str:
        """Where a report to this address goes."""
        return address if self.send_to is None else f"{self.send_to}/{address.split('/', 3)[3]}"

    async def call_until_taken(
        self, state: str, url: str, body: bytes, headers: Callable[[], Mapping[str, str]]
    ) -> bool:
        """`headers` are made for each try. Whether one was answered 2xx."""
        for attempt, wait in enumerate((0.0, *RETRIES), 1):
            await self.pause(wait)
            if await self.call(state, url, body, headers(), attempt):
                return True
        return False

    async def call(self, state: str, url: str, body: bytes, headers: Mapping[str, str], attempt: int = 1) -> bool:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_TIMEOUT), trust_env=False)
        status = None
        try:
            async with self._session.post(url, data=body, headers=headers) as response:
                status = response.status
                await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            status = None
        self.calls.append(Called(state, attempt, status))
        return status is not None and 200 <= status < 300


def parts_and_alphabet(text: str) -> tuple[int, str]:
    return len(segment(text).parts), alphabet_of(text).value
