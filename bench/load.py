"""A lean HTTP load generator: connections that are kept open, each with one request under way at a time."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from bench.figures import percentile
from bench.processes import Failed

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
CONNECTIONS: Final = 64


@dataclass(slots=True)
class Outcome:
    """`began`, `ended` by the monotonic clock. `latencies` in seconds; `bodies` of the answers when they are kept."""

    began: float = 0.0
    ended: float = 0.0
    latencies: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.latencies) / (self.ended - self.began)

    def milliseconds(self, share: float) -> float:
        return percentile(sorted(self.latencies), share) * 1000


def post(path: str, token: str, body: object) -> bytes:
    """A complete request."""
    content = json.dumps(body, ensure_ascii=False).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def get(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


async def fire(
    port: int,
    requests: Iterator[bytes],
    *,
    status: int,
    connections: int = CONNECTIONS,
    keep_bodies: bool = False,
) -> Outcome:
    """Send all requests, a connection's next one when its last was answered. Raises `Failed` on another status."""
    loop = asyncio.get_running_loop()
    outcome = Outcome()
    lines = [_Line(requests, str(status).encode(), outcome, keep_bodies, loop) for _ in range(connections)]
    for one in lines:
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)  # type: ignore[misc]  # B023's own remedy
    outcome.began = time.perf_counter()
    for one in lines:
        one.next()
    await asyncio.gather(*(one.done for one in lines))
    outcome.ended = time.perf_counter()
    return outcome


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        requests: Iterator[bytes],
        status: bytes,
        outcome: Outcome,
        keep_bodies: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._requests = requests
        self._status = status
        self._outcome = outcome
        self._keep_bodies = keep_bodies
        self._buffer = b""
        self._sent = 0.0
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not registered as one

    def next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].partition(b"\r\n")[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        self._outcome.latencies.append(time.perf_counter() - self._sent)
        body, self._buffer = self._buffer[end + 4 :], b""
        if head[9:12] != self._status:
            self._fail(f"a request was answered {head[9:12].decode()}: {body[:300].decode(errors='replace')}")
            return
        if self._keep_bodies:
            self._outcome.bodies.append(body)
        self.next()

    def connection_lost(self, _: Exception | None) -> None:
        self._fail("a connection was closed")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(Failed(why))
            self._transport.close()


def email_orders(people: Sequence[str], count: int, token: str) -> Iterator[bytes]:
    """Orders for one person each, by identity number; the same people again after the last."""
    text = "Du har fått et brev fra Fjordvik kommune. Logg inn på fjordvik.example for å lese det."
    for number in range(count):
        body = {
            "subject": "Du har fått et brev",
            "body": text,
            "contentType": "Plain",
            "sendersReference": f"bench-{number}",
            "recipients": [{"nationalIdentityNumber": people[number % len(people)]}],
        }
        yield post("/notifications/api/v1/orders/email", token, body)


class Every(Iterator[bytes]):
    """Requests until a time is over."""

    def __init__(self, make: Callable[[], bytes], seconds: float) -> None:
        self._make = make
        self._until = time.perf_counter() + seconds

    def __next__(self) -> bytes:
        if time.perf_counter() > self._until:
            raise StopIteration
        return self._make()
