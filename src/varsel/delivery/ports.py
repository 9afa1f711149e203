"""What the delivery stage needs from a provider (channels 1.2, 1.3) and what a provider reports back (5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Attachment, ContentType


@dataclass(frozen=True, slots=True)
class File:
    """An attachment as it is sent. `mime_type` is one of those that are allowed; the name may hold anything."""

    name: str
    mime_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Email:
    """One email, complete: keywords are filled in. `order` is the same for all who get the same template.

    `unsubscribe`: where its reader may ask for no more of the kind (RFC 8058); None: it is not of such a kind.
    `failures`: earlier tries of which it is known that they failed, for providers that remember them.
    """

    id: NotificationId
    order: OrderId
    creator: str
    sender: str
    to: str  # as stored: may have surrounding blanks, or letters beyond ASCII
    subject: str
    body: str
    content_type: ContentType
    expires_at: datetime
    files: tuple[File, ...] = ()
    unsubscribe: str | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Sms:
    id: NotificationId
    order: OrderId
    creator: str
    sender: str
    to: str  # as stored, e.g. "+47 99 99 99 99" or "0047…": E.164 is the provider's business
    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a message that a provider has taken: the first `references` of `count`."""

    references: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message. `reference` is what it will name the message by, if not by our id.

    `silent`: no report can come about this message, whatever the provider can do for others. `parts`: instead of
    `reference`, what it names the parts by, in order, when it reports on each: the message arrives when all of them do.
    """

    reference: str | None = None
    detail: str = ""
    segments: int | None = None
    silent: bool = False
    parts: Parts | None = None


class Suppress(StrEnum):
    """Why the address of a message should be left alone from now on (channels 6.5)."""

    HARD_BOUNCE = "hard_bounce"  # nobody is there
    DISABLED = "disabled"
    PROVIDER_LIST = "provider_list"  # the provider itself no longer sends there
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    BARRED = "barred"


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider said no to this message, for good. `parts`: what it had taken of it before.

    `unfit`: it cannot carry such a message, and another provider may. Surely nothing of it left.
    """

    reason: Reason
    detail: str = ""
    suppress: Suppress | None = None
    parts: Parts | None = None
    unfit: bool = False


class Blame(StrEnum):
    """Whom a deferral is charged to (design 8: a message cannot open a breaker)."""

    MESSAGE = "message"
    PROVIDER = "provider"  # connect, time-outs, 5xx: counted by its breaker; with `retry_after` (throttling) it rests
    FAULT = "fault"  # login, configuration, suspended account: the breaker opens at once
    NOBODY = "nobody"  # it cannot carry the message, and another may


@dataclass(frozen=True, slots=True)
class Deferred:
    """Surely nothing left us, or the provider asked us to come back."""

    detail: str = ""
    blame: Blame = Blame.MESSAGE
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Bytes left us and no answer came: sending again could send twice. `parts`: what is known to be taken."""

    detail: str = ""
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The provider works on it and must be asked what came of it (`Asking`), not before `ask_after` from now.

    Its status is `Sending`; a report that comes first decides it.
    """

    reference: str | None = None
    detail: str = ""
    ask_after: timedelta = timedelta(seconds=8)


SendResult = Accepted | Refused | Deferred | Unknown | Pending
"""`detail` is short, redacted of addresses and content, and safe to store and show."""


class Files(Protocol):
    """Where attachments are fetched from, right before their email leaves (processing 10.2)."""

    async def fetch(self, attachments: Sequence[Attachment], *, now: datetime) -> tuple[File, ...] | Refused | Deferred:
        """All of them in their order, or why the email cannot have them. Never raises for an attachment."""
        ...

    async def close(self) -> None: ...


class Indeterminate(StrEnum):
    """What becomes of an unknown message whose waiting time is over (channels 1.5)."""

    RESEND = "resend"
    HOLD = "hold"


class Confirms(StrEnum):
    """What a provider can ever report about a message that it took."""

    NOTHING = "nothing"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Asked:
    """A message whose outcome is asked for. `tries`: how often it was handed over; `since`: the last time.

    `failures`: as that try had them (`Email.failures`). `reference`: what the answer to that try called it.
    """

    id: NotificationId
    reference: str | None
    tries: int
    since: datetime
    failures: int = 0


@runtime_checkable
class Asking(Protocol):
    """A provider that can be asked what became of a message, also after a loss of the connection (channels 1.5)."""

    async def ask(self, batch: Sequence[Asked]) -> list[SendResult]:
        """One result per message, in order. `Pending`: ask again, not before `ask_after`.

        `Deferred`: it never came there, so it is sent again. `Unknown`: there was no answer, so ask again later. Never
        raises for a message.
        """
        ...


@runtime_checkable
class Staying(Protocol):
    """A provider that stays connected, so that reports come although nothing is sent."""

    def start(self) -> None:
        """Connect, and connect anew whenever the connection is lost, until it is closed. On the running loop."""
        ...


@runtime_checkable
class Particular(Protocol):
    """A provider that does not carry emails to every address, and may know so before it is asked."""

    def reaches(self, address: str) -> bool:
        """False: it surely does not, as far as is known. Asked of addresses that are not all ASCII."""
        ...


class EmailProvider(Protocol):
    """Conformance: channels 1.4. `send` answers one result per message, in order, and never raises for a message."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int:
        """How many messages one `send` may get. Several `send`s run at once, up to `step` messages together."""
        ...

    @property
    def step(self) -> int:
        """How many messages it takes at once (concurrency × max_batch): the bound on messages in flight."""
        ...

    @property
    def confirms(self) -> Confirms: ...
    @property
    def on_indeterminate(self) -> Indeterminate: ...

    async def send(self, batch: Sequence[Email]) -> list[SendResult]: ...
    async def close(self) -> None: ...


class SmsProvider(Protocol):
    """As `EmailProvider`, for SMS."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def confirms(self) -> Confirms: ...
    @property
    def on_indeterminate(self) -> Indeterminate: ...

    async def send(self, batch: Sequence[Sms]) -> list[SendResult]: ...
    async def close(self) -> None: ...


class Verdict(StrEnum):
    """What a report says, before it meets the stored state."""

    DELIVERED = "delivered"
    FAILED = "failed"
    RELAYED = "relayed"  # left for a system that will not report: settles at once
    DELAYED = "delayed"  # they have it and still try: ends a doubt whether they have, and changes nothing else
    COMPLAINT = "complaint"  # it arrived, and its reader minded: kept, changes nothing
    UNRECOGNISED = "unrecognised"  # a state we do not know: no guess, a dead report


@dataclass(frozen=True, slots=True)
class Report:
    """One statement of a provider about one message.

    `event_key` is unique for the event at that provider: a repeat is stored once. The message is found by
    `notification` when given, else by (`provider`, `reference`), never by an address. `other_references`: how else the
    provider may have written it. `soft`: a failure that later
    evidence may overrule (LINK NULL, UNKNOWN). `payload` is kept as is, for explanation. `suppress` concerns the next
    message to that address, whatever the report does to this one.
    """

    provider: str
    event_key: str
    channel: Channel
    verdict: Verdict
    raw_state: str
    notification: NotificationId | None = None
    reference: str | None = None
    reason: Reason | None = None
    soft: bool = False
    detail: str = ""
    payload: dict[str, str] = field(default_factory=dict)
    suppress: Suppress | None = None
    other_references: tuple[str, ...] = ()
