"""An SMSC, simulated (channels 8.4): the last three digits of a number choose what becomes of its message.

It answers and reports over real SMPP. Its waiting times are those of the scripts times `time_factor`.
"""

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from varsel.domain.captured import Captured
from varsel.domain.notification import Channel
from varsel.domain.sms_text import alphabet_of, segment
from varsel.simulators.gateway import Capture
from varsel.simulators.smpp_receipt import Notation, TextStyle, receipt, written
from varsel.simulators.smpp_script import ORDINARY, SCRIPTS, Habit, Script
from varsel.simulators.smpp_server import SENDS, Session, SmscServer
from varsel.simulators.smpp_text import Piece, Telephone, piece_of
from varsel.smpp.pdu import Command, Malformed, Message, Pdu, Status, message_id, read_message

_WAIT: Final = 0.2  # seconds before each receipt
_AGAIN: Final = 1.0  # seconds before a receipt that was not taken comes again
_FIRST_ID: Final = 1_000_001
_NOBODY: Final = 999_999_999
_HUGE: Final = 10 * 1024 * 1024
_JOURNAL: Final = 10_000


@dataclass(frozen=True, slots=True)
class Habits:
    """Of the SMSC as a whole. `rate`: submits a second, by `monotonic`; more are throttled. `window`: submits of one
    session that may wait for their answers, which come after `latency` seconds. `one_by_one`: every byte is written by
    itself. `enquire_every`: seconds between questions whether the other side is there.
    """

    tlvs: bool = True
    style: TextStyle = "standard"
    submit_ids: Notation = "dec"
    receipt_ids: Notation = "dec"
    rate: int | None = None
    window: int = 100
    latency: float = 0
    one_by_one: bool = False
    enquire_every: float | None = None
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class Submitted:
    """One part as it was taken. `id`: the number that its references are written from."""

    id: int
    message: Message
    piece: Piece
    script: Script


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as a telephone shows it."""

    sender: str
    receiver: str
    text: str


class SmscSimulator(SmscServer):
    """`async with SmscSimulator(…) as smsc` serves on `smsc.port`."""

    def __init__(
        self,
        accounts: Mapping[str, str],
        time_factor: float = 1.0,
        capture: Capture | None = None,
        *,
        habits: Habits | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`accounts`: system id → password. `port` 0: any free one."""
        habits = habits or Habits()
        super().__init__(
            accounts, one_by_one=habits.one_by_one, enquire_every=habits.enquire_every, host=host, port=port
        )
        self.submitted: deque[Submitted] = deque(maxlen=_JOURNAL)
        self.arrived: deque[Arrived] = deque(maxlen=_JOURNAL)
        self.receipts: deque[tuple[str, int]] = deque(maxlen=_JOURNAL)  # state, and the status that answered it
        self._time_factor = time_factor
        self._capture = capture
        self._habits = habits
        self._ids = itertools.count(_FIRST_ID)
        self._telephone = Telephone()
        self._free = asyncio.Event()  # receipts may leave
        self._free.set()
        self._refusals: Counter[str] = Counter()  # by destination
        self._next: deque[Script] = deque()
        self._second: tuple[float, int] = (0.0, 0)  # since when, and how many submits
        self._backwards: list[tuple[Submitted, str]] = []

    def hold(self) -> None:
        """Let no receipt leave."""
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` parts follow this script, whatever their numbers."""
        self._next.extend([SCRIPTS[behaviour]] * n)

    async def submit(self, session: Session, pdu: Pdu) -> None:
        session.unanswered += 1
        refused = self._refusal(session)
        try:
            message = read_message(pdu.body)
            piece = piece_of(message)
        except (Malformed, ValueError, IndexError, KeyError):
            refused = refused or Status.INVALID_LENGTH
        if refused:
            await self._finish(session, pdu, refused)
            return
        script = self._next.popleft() if self._next else SCRIPTS.get(message.destination.value[-3:], ORDINARY)
        status = self._status(message, piece, script)
        if status == Status.OK:
            await self._take(session, pdu, Submitted(next(self._ids), message, piece, script))
        elif script.habit is Habit.NACK:
            session.unanswered -= 1
            await self.write(session, Pdu(Command.GENERIC_NACK, pdu.sequence, Status.SYSTEM_ERROR))
        else:
            await self._finish(session, pdu, status)

    def _refusal(self, session: Session) -> int:
        """Whatever the message is."""
        if session.mode not in SENDS:
            return Status.WRONG_BIND_STATE
        if session.unanswered > self._habits.window or not self._within_rate():
            return Status.THROTTLED
        return Status.OK

    def _within_rate(self) -> bool:
        if self._habits.rate is None:
            return True
        now, (since, count) = self._habits.monotonic(), self._second
        since, count = (since, count) if now - since < 1 else (now, 0)
        self._second = (since, count + 1)
        return count < self._habits.rate

    def _status(self, message: Message, piece: Piece, script: Script) -> int:
        if not piece.fits:
            return Status.INVALID_LENGTH
        if script.habit is Habit.NACK:
            return Status.SYSTEM_ERROR
        if script.habit is Habit.SECOND_REFUSED and piece.number == 2:
            return Status.PERMANENT_APPLICATION_ERROR
        if script.status and (script.times is None or self._refusals[message.destination.value] < script.times):
            self._refusals[message.destination.value] += 1
            return script.status
        return Status.OK

    async def _take(self, session: Session, pdu: Pdu, taken: Submitted) -> None:
        self.submitted.append(taken)
        text = self._telephone.receive(taken.piece)
        if text is not None:
            await self._arrive(taken, text)
        habit = taken.script.habit
        if habit is Habit.EARLY:
            self.run(self._report_and_finish(session, pdu, taken))
            return
        if taken.message.registered_delivery & 3:
            self.run(self._report_later(taken))
        if habit is Habit.DROP:
            session.writer.transport.abort()
        elif habit is Habit.OVERSIZED:
            session.writer.write(_HUGE.to_bytes(4) + bytes(12))
        elif habit is not Habit.NO_ANSWER:
            await self._finish(session, pdu, Status.OK, written(taken.id, self._habits.submit_ids))

    async def _report_and_finish(self, session: Session, pdu: Pdu, taken: Submitted) -> None:
        """Not in the midst of reading: the answer to the receipt must be read before."""
        await self._report(taken)
        await self._finish(session, pdu, Status.OK, written(taken.id, self._habits.submit_ids))

    async def _arrive(self, taken: Submitted, text: str) -> None:
        message = taken.message
        self.arrived.append(Arrived(message.source.value, message.destination.value, text))
        if self._capture is not None:
            await self._capture([_captured(taken, text, written(taken.id, self._habits.submit_ids))])

    async def _finish(self, session: Session, pdu: Pdu, status: int, id_: str = "") -> None:
        """Answer a submit, after the SMSC's latency; others may come meanwhile."""
        body = message_id(id_) if status == Status.OK else b""
        if not self._habits.latency:
            session.unanswered -= 1
            await self.respond(session, pdu, status, body)
        else:
            self.run(self._finish_later(session, pdu, status, body))

    async def _finish_later(self, session: Session, pdu: Pdu, status: int, body: bytes) -> None:
        await asyncio.sleep(self._habits.latency)
        session.unanswered -= 1
        await self.respond(session, pdu, status, body)

    # Receipts

    async def _report_later(self, taken: Submitted) -> None:
        if taken.script.habit is Habit.BACKWARDS:
            await self._report_backwards(taken)
            return
        await self._report(taken)

    async def _report_backwards(self, taken: Submitted) -> None:
        """Once all parts are there, the last one first."""
        self._backwards.append((taken, taken.script.states[0]))
        if len(self._backwards) == taken.piece.total:
            together, self._backwards = self._backwards[::-1], []
            for part, state in together:
                await self._pause(_WAIT)
                await self._deliver(part, state)

    async def _report(self, taken: Submitted) -> None:
        script = taken.script
        for state in script.states:
            if script.habit is not Habit.EARLY:
                await self._pause(_WAIT)
            if script.habit is Habit.UNKNOWN_FIRST:
                await self._deliver(taken, state, number=_NOBODY)
            await self._deliver(taken, state)
            if script.habit is Habit.TWICE:
                await self._deliver(taken, state)

    async def _deliver(self, taken: Submitted, state: str, *, number: int | None = None) -> None:
        """Until it is taken, on whichever session is there to receive."""
        habits = self._habits
        message = receipt(
            taken.message,
            written(number or taken.id, habits.receipt_ids),
            state,
            style=habits.style,
            tlvs=habits.tlvs,
            malformed=taken.script.habit is Habit.MALFORMED,
        )
        while True:
            await self._free.wait()
            session = await self.receiver()
            status = await self.hand_over(session, message.to_bytes())
            if status is not None:
                self.receipts.append((state, status))
            if status == Status.OK:
                return
            await self._pause(_AGAIN)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._time_factor)


def _captured(taken: Submitted, text: str, reference: str) -> Captured:
    return Captured(
        channel=Channel.SMS,
        sender=taken.message.source.value,
        recipient=f"+{taken.message.destination.value}",
        subject=None,
        text=text,
        html=None,
        raw=taken.message.to_bytes(),
        parts=len(segment(text).parts),
        alphabet=alphabet_of(text).value,
        notification_id=None,  # an SMSC knows a message by its own reference only
        outcome=taken.script.name,
        received_at=datetime.now(UTC),
        reference=reference,
    )
