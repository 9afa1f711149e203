"""One bind to an SMSC (channels 3.4): requests within a window, keeping alive, and messages that come in.

What is lost is told apart: a request that was never written, and one that was written and not answered.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from varsel.log import Log
from varsel.smpp.pdu import (
    MAX_SEQUENCE,
    RESPONSE,
    Bind,
    Command,
    Malformed,
    Message,
    Pdu,
    Status,
    message_id,
    read_data,
    read_message,
    read_message_id,
)
from varsel.smpp.stream import Ended, read_pdu

log = Log(__name__)

OnMessage = Callable[[Message], Awaitable[int]]
"""Takes what the SMSC delivers; returns the status to answer with, once it is stored. Does not raise."""

_AT_ONCE: Final = 100  # deliveries that are being stored; no more is read meanwhile
_SENSELESS: Final = frozenset({Status.INVALID_COMMAND_LENGTH, Status.INVALID_COMMAND})  # after which nothing is sure
_UNANSWERED: Final = 2  # enquiries; then the session is given up


class BindRefused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"bind refused with status {status:#x}")
        self.status = status


class NotSent(Exception):
    """The session was gone before anything of the request was written."""


class NoAnswer(Exception):
    """The request was written, and no answer came before the session was lost or the time was over."""


@dataclass(frozen=True, slots=True)
class Timing:
    connect: timedelta = timedelta(seconds=10)
    bind: timedelta = timedelta(seconds=10)
    answer: timedelta = timedelta(seconds=30)
    silence: timedelta = timedelta(seconds=30)  # then we ask whether the other side is there
    enquiry: timedelta = timedelta(seconds=10)
    leave: timedelta = timedelta(seconds=2)


class Session:
    """Made by `open_session`. `closed` is set when it has ended, for whatever reason."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_message: OnMessage,
        timing: Timing,
        window: int,
    ) -> None:
        self.closed = asyncio.Event()
        self.unanswered = 0
        self._reader = reader
        self._writer = writer
        self._on_message = on_message
        self._timing = timing
        self._window = asyncio.Semaphore(window)
        self._waiting: dict[int, asyncio.Future[Pdu]] = {}
        self._sequence = 0
        self._heard_at = 0.0
        self._deliveries = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._run(self._read())

    async def bind(self, bind: Bind) -> None:
        """Raises `BindRefused`, `NoAnswer` or `NotSent`."""
        answer = await self.request(Command.BIND_TRANSCEIVER, bind.to_bytes(), self._timing.bind)
        if answer.status != Status.OK:
            raise BindRefused(answer.status)
        self._run(self._keep_alive())

    async def submit(self, body: bytes) -> tuple[int, str]:
        """Status and message id of the answer. At most `window` wait at once. Raises `NotSent` or `NoAnswer`."""
        self.unanswered += 1
        try:
            async with self._window:
                answer = await self.request(Command.SUBMIT_SM, body, self._timing.answer)
        finally:
            self.unanswered -= 1
        if answer.command == Command.GENERIC_NACK:
            return answer.status or Status.SYSTEM_ERROR, ""
        try:
            return answer.status, read_message_id(answer.body)
        except Malformed:
            return answer.status, ""

    async def request(self, command: Command, body: bytes, timeout: timedelta) -> Pdu:
        """The answer, which may be a generic_nack. Raises `NotSent` or `NoAnswer`."""
        if self.closed.is_set() or self._writer.is_closing():
            raise NotSent
        sequence = self._next_sequence()
        answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
        self._waiting[sequence] = answer
        try:
            self._write(Pdu(command, sequence, body=body))
            async with asyncio.timeout(timeout.total_seconds()):
                return await answer
        except TimeoutError:
            raise NoAnswer from None
        finally:
            self._waiting.pop(sequence, None)

    async def leave(self) -> None:
        """Say goodbye, and close."""
        with suppress(NotSent, NoAnswer):
            await self.request(Command.UNBIND, b"", self._timing.leave)
        await self.close()

    async def close(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        self._end()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._timing.leave.total_seconds()):
                await self._writer.wait_closed()

    def _end(self) -> None:
        """Whoever waits for an answer gets none."""
        self.closed.set()
        self._writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NoAnswer())

    async def _read(self) -> None:
        try:
            while not self.closed.is_set():
                pdu = await read_pdu(self._reader)
                self._heard_at = asyncio.get_running_loop().time()
                if pdu.is_response:
                    self._answered(pdu)
                else:
                    await self._asked(pdu)
        except Ended:
            pass
        except Malformed as problem:
            log.warning("smsc sent what is no pdu", problem=str(problem))
        finally:
            self._end()

    def _answered(self, pdu: Pdu) -> None:
        waiting = self._waiting.get(pdu.sequence)
        if waiting is not None and not waiting.done():
            waiting.set_result(pdu)
        if pdu.command == Command.GENERIC_NACK and pdu.status in _SENSELESS:
            self._end()

    async def _asked(self, pdu: Pdu) -> None:
        match pdu.command:
            case Command.ENQUIRE_LINK:
                self._respond(pdu)
            case Command.DELIVER_SM | Command.DATA_SM:
                await self._deliveries.acquire()
                self._run(self._deliver(pdu))
            case Command.UNBIND:
                self._respond(pdu)
                self._end()
            case Command.ALERT_NOTIFICATION:
                pass
            case _:
                self._write(Pdu(Command.GENERIC_NACK, pdu.sequence, Status.INVALID_COMMAND))

    async def _deliver(self, pdu: Pdu) -> None:
        try:
            message = read_data(pdu.body) if pdu.command == Command.DATA_SM else read_message(pdu.body)
        except Malformed as problem:
            log.warning("smsc sent what is no message", problem=str(problem))
            status: int = Status.PERMANENT_APPLICATION_ERROR  # it would never become one
        else:
            status = await self._on_message(message)
        finally:
            self._deliveries.release()
        self._respond(pdu, status, message_id(""))

    async def _keep_alive(self) -> None:
        """Ask after a silence; give up after enquiries that nobody answers."""
        loop, silence, missed = asyncio.get_running_loop(), self._timing.silence.total_seconds(), 0
        while not self.closed.is_set():
            left = self._heard_at + silence - loop.time()
            if left > 0:
                await asyncio.sleep(left)
                continue
            try:
                await self.request(Command.ENQUIRE_LINK, b"", self._timing.enquiry)
                missed = 0
            except NotSent:
                return
            except NoAnswer:
                missed += 1
                if missed == _UNANSWERED:
                    log.warning("smsc is silent")
                    self._end()

    def _respond(self, pdu: Pdu, status: int = Status.OK, body: bytes = b"") -> None:
        self._write(Pdu(pdu.command | RESPONSE, pdu.sequence, status, body))

    def _write(self, pdu: Pdu) -> None:
        """Small, and at most a window of them: whatever the socket does not take waits in memory."""
        if not self._writer.is_closing():
            self._writer.write(pdu.to_bytes())

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        return self._sequence

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def open_session(
    host: str,
    port: int,
    bind: Bind,
    on_message: OnMessage,
    *,
    tls: ssl.SSLContext | None,
    timing: Timing,
    window: int,
) -> Session:
    """Connect and bind. Raises `OSError`, `TimeoutError`, `BindRefused`, `NoAnswer` or `NotSent`."""
    async with asyncio.timeout(timing.connect.total_seconds()):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=host if tls else None)
    session = Session(reader, writer, on_message, timing, window)
    session.start()
    try:
        await session.bind(bind)
    except BaseException:
        await session.close()
        raise
    return session
