"""Emails that really leave: a worker process sends to a sink in another process over SMTP, and records the answers."""

import asyncio
import time
from typing import Final, cast

from pydantic import SecretStr

from bench.figures import Bound, Figure
from bench.ground import Ground
from bench.processes import Failed, count_of, cpu_seconds, settings_file, sink, worker
from bench.stages import place
from varsel.db import Database, fetch_value
from varsel.settings import Settings
from varsel.wiring import open_parts

_ORDERS: Final = 10
_RECIPIENTS: Final = 4_000
_CONNECTIONS: Final = 10
_BOUND: Final = 60_000
_LETTER: Final = (
    b"From: noreply@varsel.example\r\nTo: somebody@example.com\r\nSubject: Brev til deg\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"Du har et brev. Logg inn for lese det.\r\n" * 10 + b".\r\n"
)


async def run(ground: Ground) -> list[Figure]:
    bound = await _raw(ground.size.of(_BOUND))
    recipients = ground.size.of(_RECIPIENTS)
    count = _ORDERS * recipients
    async with ground.database() as db:
        parts = await open_parts(Settings(database_url=SecretStr(db.dsn)), db.dsn, name="bench", connections=4)
        await place(parts, ground.people, _ORDERS, recipients)
        await parts.close()
        with sink() as (port, receiver), worker(settings_file(ground.home, db.dsn, port)) as sender:
            seconds, ours, server = await _watch(ground, db, sender.pid, count)
            if (came := count_of(receiver)) != count:
                raise Failed(f"{count} emails were to be sent, {came} came")
    return [
        Figure(
            "emails sent over SMTP and recorded, one worker",
            count / seconds,
            "emails/s",
            Bound("raw pipelined SMTP into the same sink", bound),
            2_000,
            details={"CPU µs/email worker": ours / count * 1e6, "database": server / count * 1e6},
        )
    ]


async def _watch(ground: Ground, db: Database, pid: int, count: int) -> tuple[float, float, float]:
    """From the first result to the last: seconds, and CPU seconds of the worker and of the database."""
    while not await _recorded(db):
        await asyncio.sleep(0.005)
    server = ground.server.pid or 0
    began = time.perf_counter(), cpu_seconds(pid), cpu_seconds(server)
    while await _recorded(db) < count:
        await asyncio.sleep(0.05)
    seconds, ours, theirs = (
        end - start
        for end, start in zip((time.perf_counter(), cpu_seconds(pid), cpu_seconds(server)), began, strict=True)
    )
    return seconds, ours, theirs


async def _recorded(db: Database) -> int:
    """By the orders' counters: cheap to read, and right only once all of them are resolved."""
    async with db.reading() as conn:
        return int(
            await fetch_value(
                conn,
                "SELECT coalesce(sum(recipients - pending), 0) FROM orders WHERE state IN ('Processed', 'Completed')",
                {},
            )
        )


async def _raw(count: int) -> float:
    """Messages per second that nothing but sockets can bring to the sink: each in two writes."""
    loop = asyncio.get_running_loop()
    with sink() as (port, receiver):
        senders = [_Sender(count // _CONNECTIONS, loop) for _ in range(_CONNECTIONS)]
        for sender in senders:
            await loop.create_connection(lambda sender=sender: sender, "127.0.0.1", port)  # type: ignore[misc]
        began = time.perf_counter()
        await asyncio.gather(*(sender.done for sender in senders))
        seconds = time.perf_counter() - began
        came = count_of(receiver)
    return came / seconds


class _Sender(asyncio.Protocol):
    """MAIL, RCPT and DATA in one write, and the content in another, when the sink has said 354."""

    _ENVELOPE: Final = b"MAIL FROM:<noreply@varsel.example>\r\nRCPT TO:<somebody@example.com>\r\nDATA\r\n"

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        self._left = count
        self._awaited = b"220 "
        self.done: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not registered as one

    def data_received(self, data: bytes) -> None:
        if self._awaited not in data:
            return
        match self._awaited:
            case b"220 ":
                self._say(b"EHLO [127.0.0.1]\r\n", b"250 ")
            case b"354 ":
                self._say(_LETTER, b"250 ")
            case _ if self._left:
                self._left -= 1
                self._say(self._ENVELOPE, b"354 ")
            case _:
                self._transport.close()
                self.done.set_result(None)

    def _say(self, words: bytes, awaited: bytes) -> None:
        self._awaited = awaited
        self._transport.write(words)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(Failed("the sink closed a connection"))
