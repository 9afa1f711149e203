"""What the conformance suite must know of a type of provider, to drive it against its simulator (channels 1.4).

A new type brings one file beside this one, with a `Bench`, and is named in `tests/conformance/benches.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar
from uuid import UUID

from conformance.peers import Peer
from varsel.clock import ManualClock
from varsel.delivery.ports import Email, EmailProvider, Report, SendResult, Sms, SmsProvider
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.order import ContentType
from varsel.providers.kind import AnyKind, ReportReader, ReportRequest, Tools
from varsel.settings import BounceSettings

Message = TypeVar("Message", Email, Sms)

NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
TEXT: Final = "Du har fått et fortrolig brev"
ORDER: Final = OrderId(UUID("019ab000-0000-7000-8000-0000000000aa"))
LOOPBACK: Final = "127.0.0.1"


async def _nowhere(_reports: Sequence[Report]) -> None: ...


TOOLS: Final = Tools(
    clock=ManualClock(NOW),
    bounces=BounceSettings(),
    production=False,
    base_url="https://varsel.example",
    store=_nowhere,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """A message as its recipient would see it. `subject`: of an email."""

    to: str
    text: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """A running simulator. `taken`: what it took so far, in order, one entry for each message that would arrive."""

    port: int
    taken: Callable[[], Sequence[Taken]]


class Bench(ABC, Generic[Message]):
    """One type. `outcomes`: recipients whose messages may stand in one batch, and what becomes of them.

    What not every type can have or do is said here, and the suite then asserts what holds instead.
    """

    kind: ClassVar[AnyKind]
    outcomes: ClassVar[Mapping[str, type[SendResult]]]
    secrets: ClassVar[Sequence[str]]  # of its settings: nobody may ever see them
    insecure: ClassVar[Mapping[str, object]] = {}  # changes of settings by which secrets would travel in the clear
    remembers: ClassVar[bool] = False  # a message handed over twice leaves once
    greets: ClassVar[bool] = False  # the server is the first to speak
    has_peer: ClassVar[bool] = True  # it talks to somebody, and logs in there; else it has no secrets
    reads_answers: ClassVar[bool] = True  # an answer counts by what it says; else any HTTP status of success is a yes
    lets_go: ClassVar[bool] = True  # a call that is cancelled ends; else it holds its connection until its time is up
    unknown_state: ClassVar[str] = "invented"  # that no report of theirs has
    tools: Tools = TOOLS

    @abstractmethod
    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        """Of an instance at this port of this machine, as they stand in a file."""

    @abstractmethod
    def simulator(self) -> AbstractAsyncContextManager[Site]: ...

    @abstractmethod
    def message(self, to: str | None = None, text: str = TEXT, hostile: str = "") -> Message:
        """A message to an ordinary recipient, unless `to` says otherwise.

        `hostile` is put into every other field that a user fills, as far as it has some.
        """

    def arrives(self, text: str) -> str:
        """How a text looks that has arrived."""
        return text

    def reader(self) -> ReportReader:
        """Of an instance that is set up to be reported to. Only for kinds with reports."""
        assert self.kind.reports
        reader: ReportReader = self.kind.reports(self._made(self.settings(1)), self.tools)
        return reader

    def report_request(self, state: str) -> ReportRequest:
        """A genuine report that a message with the reference `REFERENCE` is in this state."""
        raise NotImplementedError

    def authentic(self, body: bytes) -> ReportRequest:
        """Whatever bytes, from somebody who may report, as far as their protocol can tell."""
        raise NotImplementedError

    def stranger(self, request: ReportRequest) -> ReportRequest:
        """The same from somebody who may not."""
        raise NotImplementedError

    def make(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> EmailProvider | SmsProvider:
        return self.make_from(self.settings(port, tls=tls, wrong_login=wrong_login))

    def make_from(self, settings: Mapping[str, object]) -> EmailProvider | SmsProvider:
        made: EmailProvider | SmsProvider = self.kind.make(self._made(settings), self.tools)
        return made

    @asynccontextmanager
    async def provider(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> AsyncIterator[Any]:
        """An `EmailProvider` or an `SmsProvider`; it takes what `message` makes."""
        made = self.make(port, tls=tls, wrong_login=wrong_login)
        try:
            yield made
        finally:
            await made.close()

    @asynccontextmanager
    async def deserted(self) -> AsyncIterator[Any]:
        """The same, where nobody listens."""
        async with Peer() as peer:
            pass
        async with self.provider(peer.port) as provider:
            yield provider

    def _made(self, settings: Mapping[str, object]) -> Any:
        return self.kind.settings.model_validate({"type": self.type, **settings})

    @property
    def type(self) -> str:
        return str(self.kind.settings.model_fields["type"].default)


REFERENCE: Final = "3f2d7c1e-7f0e-4b1d-8d5e-2a90f0c0ffee"


class EmailBench(Bench[Email]):
    ordinary: ClassVar[str] = "ok@mottaker.example"

    def message(self, to: str | None = None, text: str = TEXT, hostile: str = "") -> Email:
        return Email(
            id=NotificationId(uuid7()),
            order=ORDER,
            creator="ttd",
            sender="Etaten <noreply@etat.example>",
            to=to or self.ordinary,
            subject=f"Ny post{hostile}",
            body=text,
            content_type=ContentType.PLAIN,
            expires_at=NOW + timedelta(days=2),
        )

    def arrives(self, text: str) -> str:
        """Line breaks are the mail's own, NUL is nothing, and the last line ends."""
        lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").encode("utf-8", "replace").decode()
        return lines if lines.endswith("\n") else f"{lines}\n"


class SmsBench(Bench[Sms]):
    ordinary: ClassVar[str] = "+4799999500"

    def message(self, to: str | None = None, text: str = TEXT, hostile: str = "") -> Sms:
        return Sms(
            id=NotificationId(uuid7()),
            order=ORDER,
            creator="ttd",
            sender=f"Etat{hostile}",
            to=to or self.ordinary,
            text=text,
            expires_at=NOW + timedelta(days=2),
        )
