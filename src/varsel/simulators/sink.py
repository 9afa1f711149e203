"""An SMTP server that takes everything at little cost, for benchmarks and for counting what really left.

`python -m varsel.simulators.sink [--port N] [--ids FILE]` prints its port, and on SIGTERM the number of messages. FILE
gets the `X-Notification-Id` of each, one a line, before it is acknowledged: it outlives a kill.
"""

import argparse
import asyncio
import re
import signal
from pathlib import Path
from typing import Final, cast

import uvloop

_END: Final = b"\r\n.\r\n"
_ID: Final = re.compile(rb"^X-Notification-Id: *([0-9a-fA-F-]{36})\r$", re.MULTILINE | re.IGNORECASE)
_GREETING: Final = b"220 sink.varsel.example ESMTP\r\n"
_EHLO: Final = (
    b"250-sink.varsel.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"
)
_OK: Final = b"250 2.0.0 Ok\r\n"
_GO_ON: Final = b"354 Go on\r\n"
_BYE: Final = b"221 2.0.0 Bye\r\n"
_MAX_LINE: Final = 100_000


class Sink:
    """`ids`: a file that is appended to."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, ids: Path | None = None) -> None:
        self._address = (host, port)
        self._ids = ids.open("ab", buffering=0) if ids else None
        self.count = 0
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        host, port = self._address
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()
        if self._ids:
            self._ids.close()

    def take(self, content: bytes) -> None:
        self.count += 1
        if self._ids:
            found = _ID.search(content)
            self._ids.write((found[1] if found else b"none") + b"\n")


class _Connection(asyncio.Protocol):
    """Commands may come in one write (pipelining); nothing is checked."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not registered as one
        self._sink.connections.add(self._transport)
        self._transport.write(_GREETING)

    def connection_lost(self, _: Exception | None) -> None:
        self._sink.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        answers = []
        while (answer := self._content() if self._in_content else self._command()) is not None:
            answers.append(answer)
        if answers:
            self._transport.write(b"".join(answers))
        if _BYE in answers:
            self._transport.close()

    def _content(self) -> bytes | None:
        content, end, rest = self._buffer.partition(_END)
        if not end:
            return None
        self._buffer, self._in_content = rest, False
        self._sink.take(content)
        return _OK

    def _command(self) -> bytes | None:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            if len(line) > _MAX_LINE:
                self._transport.abort()
            return None
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_content = True
            # an empty message is the dot alone: the line break before it is DATA's own
            self._buffer = b"\r\n" + rest
            return _GO_ON
        return {b"EHLO": _EHLO, b"QUIT": _BYE}.get(verb, _OK)


async def _serve(port: int, ids: Path | None) -> Sink:
    sink = Sink(port=port, ids=ids)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await sink.start()
    print(sink.port, flush=True)
    await stop.wait()
    await sink.stop()
    return sink


def main() -> None:
    parser = argparse.ArgumentParser(description="Take all mail, count it, keep none.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ids", type=Path, help="append the notification ids here")
    arguments = parser.parse_args()
    sink = uvloop.run(_serve(arguments.port, arguments.ids))
    print(sink.count, flush=True)


if __name__ == "__main__":
    main()
