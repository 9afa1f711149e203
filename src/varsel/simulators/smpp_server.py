"""The sessions of a simulated SMSC (channels 8.4): binds in all three modes, enquiries both ways, and deliveries."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from varsel.smpp.pdu import BINDS, RESPONSE, Command, Malformed, Pdu, Status, read_bind
from varsel.smpp.stream import Ended, read_pdu

_ANSWER_WITHIN: Final = 30.0  # seconds for a delivery
SENDS: Final = frozenset({Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER})
_RECEIVES: Final = frozenset({Command.BIND_RECEIVER, Command.BIND_TRANSCEIVER})


@dataclass(eq=False, slots=True)
class Session:
    """`mode`: the command that bound it; 0: none yet. `unanswered`: submits. `waiting`: deliveries, by sequence."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    mode: int = 0
    unanswered: int = 0
    sequence: int = 0
    waiting: dict[int, asyncio.Future[int]] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class SmscServer(ABC):
    """`async with …` serves on `port`. `one_by_one`: every byte is written by itself.

    `enquire_every`: seconds between questions whether the other side is there; None: never.
    """

    def __init__(
        self,
        accounts: Mapping[str, str],
        *,
        one_by_one: bool,
        enquire_every: float | None,
        host: str,
        port: int,
    ) -> None:
        self.port = port
        self.binds = 0
        self.unbinds = 0
        self.enquiries = 0  # that we were asked
        self.enquiries_answered = 0
        self.deaf = False  # to enquiries
        self._accounts = accounts
        self._one_by_one = one_by_one
        self._enquire_every = enquire_every
        self._host = host
        self._sessions: set[Session] = set()
        self._bound = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @abstractmethod
    async def submit(self, session: Session, pdu: Pdu) -> None:
        """Take a submit_sm, and answer it some time."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in (*self._tasks, *self._serving):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._serving, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    async def idle(self) -> None:
        """Wait until no receipt is on its way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """End all sessions without a word."""
        for session in self._sessions:
            session.writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session, task = Session(reader, writer), asyncio.current_task()
        assert task
        self._serving.add(task)
        self._sessions.add(session)
        asking = asyncio.create_task(self._enquire(session))
        try:
            while await self._handle(session, await read_pdu(reader)):
                pass
        except (Ended, Malformed, asyncio.CancelledError):
            pass
        finally:
            asking.cancel()
            self._sessions.discard(session)
            self._serving.discard(task)
            for answer in session.waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError())
            writer.close()

    async def _handle(self, session: Session, pdu: Pdu) -> bool:
        """False: the session ends."""
        match pdu.command:
            case command if command in BINDS:
                return await self._bind(session, pdu)
            case Command.SUBMIT_SM:
                await self.submit(session, pdu)
            case Command.ENQUIRE_LINK:
                self.enquiries += 1
                if not self.deaf:
                    await self.respond(session, pdu)
            case Command.UNBIND:
                self.unbinds += 1
                await self.respond(session, pdu)
                return False
            case _ if pdu.is_response:
                self._answered(session, pdu)
            case _:
                await self.write(session, Pdu(Command.GENERIC_NACK, pdu.sequence, Status.INVALID_COMMAND))
        return True

    def _answered(self, session: Session, pdu: Pdu) -> None:
        if pdu.command == Command.ENQUIRE_LINK | RESPONSE:
            self.enquiries_answered += 1
        if (answer := session.waiting.pop(pdu.sequence, None)) and not answer.done():
            answer.set_result(pdu.status)

    async def _bind(self, session: Session, pdu: Pdu) -> bool:
        bind = read_bind(pdu.body)
        status = Status.OK
        if session.mode:
            status = Status.ALREADY_BOUND
        elif bind.system_id not in self._accounts:
            status = Status.INVALID_SYSTEM_ID
        elif self._accounts[bind.system_id] != bind.password:
            status = Status.INVALID_PASSWORD
        body = b"smsc\0" if status == Status.OK else b""
        await self.write(session, Pdu(pdu.command | RESPONSE, pdu.sequence, status, body))
        if status == Status.OK:
            async with self._bound:
                session.mode = pdu.command
                self.binds += 1
                self._bound.notify_all()
        return status in {Status.OK, Status.ALREADY_BOUND}

    async def respond(self, session: Session, pdu: Pdu, status: int = Status.OK, body: bytes = b"") -> None:
        await self.write(session, Pdu(pdu.command | RESPONSE, pdu.sequence, status, body))

    async def write(self, session: Session, pdu: Pdu) -> None:
        octets = pdu.to_bytes()
        pieces = [bytes([octet]) for octet in octets] if self._one_by_one else [octets]
        async with session.writing:
            with suppress(OSError):
                for piece in pieces:
                    session.writer.write(piece)
                    await session.writer.drain()
                    if len(pieces) > 1:
                        await asyncio.sleep(0)  # so that each is sent by itself

    async def _enquire(self, session: Session) -> None:
        while every := self._enquire_every:
            await asyncio.sleep(every)
            session.sequence += 1
            await self.write(session, Pdu(Command.ENQUIRE_LINK, session.sequence))

    async def send_in(self, body: bytes, command: int = Command.DELIVER_SM) -> int | None:
        """Deliver any body at all; the status that answers it, or None."""
        return await self.hand_over(await self.receiver(), body, command)

    async def hand_over(self, session: Session, body: bytes, command: int = Command.DELIVER_SM) -> int | None:
        session.sequence += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        session.waiting[session.sequence] = answer
        await self.write(session, Pdu(command, session.sequence, body=body))
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                return await answer
        except (TimeoutError, ConnectionError):
            return None

    async def receiver(self) -> Session:
        def ready() -> Session | None:
            return next((s for s in self._sessions if s.mode in _RECEIVES and not s.writer.is_closing()), None)

        async with self._bound:
            while (session := ready()) is None:
                await self._bound.wait()
        return session

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
