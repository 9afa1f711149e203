"""What a simulated mail server knows: scripts, what it took, what it was told, the reports it owes (channels 8.1)."""

import asyncio
import random
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final
from uuid import UUID

from varsel.domain.captured import Captured
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel
from varsel.simulators.smtp_notices import Notices, NoticeSent, Original
from varsel.simulators.smtp_script import Notice, Script, script_for, script_named

Capture = Callable[[Captured], Awaitable[None]]
"""Stores a message before it is answered; when it raises, the answer is 451."""

_JOURNAL: Final = 10_000
_STORED: Final = 2_000
_REMEMBERED: Final = 10_000  # (sender, recipient) pairs that wait for another try
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Command:
    """What a client said on which connection, and what it was answered. Of AUTH, only that it came."""

    connection: int
    verb: str
    argument: str
    reply: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A message taken. Options by upper-case name, values as they came."""

    connection: int
    sender: str
    sender_options: dict[str, str]
    recipient: str
    recipient_options: dict[str, str]
    content: bytes
    script: Script


class Mailroom:
    """`dsn_to`: where reports go, None for none. `journal` and `stored` forget the oldest."""

    def __init__(
        self, *, dsn_to: tuple[str, int] | None, seed: int, time_factor: float, capture: Capture | None
    ) -> None:
        self.journal: deque[Command | NoticeSent] = deque(maxlen=_JOURNAL)
        self.stored: deque[Stored] = deque(maxlen=_STORED)
        self._time_factor = time_factor
        self._capture = capture
        self._random = random.Random(seed)  # noqa: S311 - queue ids
        self._tries: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._next: deque[Script] = deque()
        self._notices = Notices(dsn_to, time_factor, self.journal.append)

    @property
    def commands(self) -> list[Command]:
        return [entry for entry in self.journal if isinstance(entry, Command)]

    @property
    def notices(self) -> list[NoticeSent]:
        return [entry for entry in self.journal if isinstance(entry, NoticeSent)]

    def next(self, n: int, behaviour: str) -> None:
        """The next `n` recipients meet `behaviour`, whatever their addresses. Raises `KeyError` for an unknown one."""
        script = script_named(behaviour)
        if script is None:
            raise KeyError(behaviour)
        self._next.extend([script] * n)

    async def idle(self) -> None:
        """Wait until no report is on its way."""
        await self._notices.idle()

    def script(self, recipient: str) -> Script:
        return self._next.popleft() if self._next else script_for(recipient)

    def refuses(self, script: Script, sender: str, recipient: str) -> bool:
        """Whether this try is still too early, or one too few."""
        if script.refusal is None:
            return False
        if script.times is None and script.seconds is None:
            return True
        now = asyncio.get_running_loop().time()
        tries, since = self._tries.get((sender, recipient), (0, now))
        self._tries[sender, recipient] = tries + 1, since
        if len(self._tries) > _REMEMBERED:
            self._tries.popitem(last=False)
        if script.times is not None:
            return tries < script.times
        assert script.seconds is not None
        return tries == 0 or now - since < script.seconds * self._time_factor

    async def wait(self, script: Script) -> None:
        """Before the answer to its content."""
        await asyncio.sleep(script.wait * self._time_factor)

    async def close(self) -> None:
        await self._notices.close()

    def queue_id(self) -> str:
        return f"{self._random.getrandbits(40):010X}"

    async def keep(self, messages: list[Stored]) -> None:
        """Store what one transaction brought. Raises what `capture` raises."""
        for message in messages:
            if self._capture is not None:
                await self._capture(captured(message))
            self.stored.append(message)

    async def report(self, message: Stored) -> None:
        """Set its notices going; early ones arrive before this returns."""
        wanted = message.recipient_options.get("NOTIFY", "").upper().split(",")
        delivered = () if message.script.silent or "SUCCESS" not in wanted else (Notice(),)
        notices = delivered + message.script.notices
        if notices:
            envelope_id = _HEX.sub(lambda found: chr(int(found[1], 16)), message.sender_options.get("ENVID", ""))
            original = Original(message.sender, message.recipient, envelope_id, message.content)
            self._notices.send_later(notices, original)
        if message.script.early:
            await self._notices.idle()


def captured(message: Stored) -> Captured:
    """What people see of it."""
    mail = message_from_bytes(message.content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    try:
        notification = NotificationId(UUID(str(mail["X-Notification-Id"])))
    except ValueError:
        notification = None
    from_ = getattr(mail["From"], "addresses", ())
    return Captured(
        channel=Channel.EMAIL,
        sender=from_[0].addr_spec if from_ else message.sender,
        recipient=message.recipient,
        subject=str(mail["Subject"] or ""),
        text=_text(mail, "plain") or "",
        html=_text(mail, "html"),
        raw=message.content,
        parts=1,
        alphabet=None,
        notification_id=notification,
        outcome="" if message.script.name == "ok" else message.script.name,
        received_at=datetime.now(UTC),
    )


def _text(mail: EmailMessage, subtype: str) -> str | None:
    body = mail.get_body((subtype,))
    content = None if body is None else body.get_content()
    return content.replace("\r\n", "\n").replace("\0", "") if isinstance(content, str) else None
