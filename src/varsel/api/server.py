"""The HTTP server: uvicorn with our own time-outs for slow clients, and a shutdown that ends (design 8)."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_KEEP_ALIVE_SECONDS: Final = 75
_DRAIN_SECONDS: Final = 5
_TICK_SECONDS: Final = 0.1
_TURNS_TO_CONNECT: Final = 3  # of the loop, until what was accepted is one of the server's connections
_MAX_HEADER_BYTES: Final = 65_536
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """For how long we wait: for all headers of a request, for the next bytes of its body, and, when the server is to
    end, for requests that are under way (whole seconds)."""

    header: timedelta = timedelta(seconds=10)
    body_chunk: timedelta = timedelta(seconds=30)
    shutdown: timedelta = timedelta(seconds=5)


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stop: asyncio.Event | None = None,
    *,
    timeouts: Timeouts = Timeouts(),
    on_ready: Callable[[int], None] | None = None,
    sock: socket.socket | None = None,
) -> None:
    """Serve until `stop` is set, or, without one, until SIGINT or SIGTERM. Requests under way are then answered first.

    Port 0 takes a free one; `on_ready` hears which, once connections are taken. With `sock`, that listens or is bound,
    host and port do not matter; it is closed at the end. Raises `OSError` when the address is not to be had.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(timeouts.shutdown.total_seconds()),
    )
    with nullcontext(stop) if stop else _set_by_signals() as stopped:
        await _Server(config, timeouts, stopped, on_ready).serve(sockets=[sock] if sock else None)


class _Protocol(HttpToolsProtocol):
    """Knows since when the client keeps us waiting. `_Server` looks at all connections ten times a second, so that no
    request pays for a timer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_since: float | None = None
        self._header_bytes = 0
        self._body_since: float | None = None
        self._drained_by: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._header_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_since is not None:
            self._header_bytes += len(data)
            if self._header_bytes > _MAX_HEADER_BYTES:
                self._give_up(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_since = self.loop.time()
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._header_since = None
        self._body_since = self.loop.time()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_since = self.loop.time()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_since = self._drained_by = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._body_since is not None:  # answered before all had come; what follows is thrown away for a while
            self._drained_by = self.loop.time() + _DRAIN_SECONDS
        super().on_response_complete()

    def look_at(self, now: float, timeouts: Timeouts) -> None:
        """Close the connection when the client has kept us waiting for too long."""
        if self._body_since is not None:
            if self._drained_by is not None and now > self._drained_by:
                self.transport.close()
            elif self.flow.read_paused:  # we keep the client waiting
                self._body_since = now
            elif now - self._body_since > timeouts.body_chunk.total_seconds():
                self._give_up(408)
        elif self._header_since is not None and now - self._header_since > timeouts.header.total_seconds():
            self._give_up(408)

    def _give_up(self, status: int) -> None:
        """Say why, unless an answer is under way, and close. A request whose body is missing ends as disconnected."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            head = f"HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head.encode())
        self.transport.close()


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        timeouts: Timeouts,
        stop: asyncio.Event,
        on_ready: Callable[[int], None] | None,
    ) -> None:
        super().__init__(config)
        self._timeouts = timeouts
        self._stop = stop
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `serve`'s affair, or its caller's."""
        yield

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as e:  # uvicorn would end the process
            raise OSError(f"cannot listen on {self.config.host}:{self.config.port}") from e
        if self._on_ready:
            self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stop.wait()

    async def on_tick(self, counter: int) -> bool:
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Protocol):
                connection.look_at(now, self._timeouts)
        return await super().on_tick(counter) or self._stop.is_set()

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn, which waits a tenth of a second also where nobody is connected."""
        under_way = set(self.server_state.tasks)
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for _ in range(_TURNS_TO_CONNECT):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        if under_way:  # those that were cut off still answer so
            await asyncio.wait(under_way, timeout=1)


@contextmanager
def _set_by_signals() -> Iterator[asyncio.Event]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
