"""Email over SMTP submission (channels 1.4, 2.1): a pool of connections, one recipient per transaction."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from varsel.clock import Clock, SystemClock
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Refused,
    SendResult,
    Unknown,
)
from varsel.domain.notification import Reason
from varsel.log import Log
from varsel.providers.dkim import Signer, signers_of
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import is_international, parse_mailbox
from varsel.providers.mime import InvalidSender, Letters
from varsel.providers.smtp_replies import Ruling, result
from varsel.providers.smtp_session import Fault, Limits, Parcel, Ruled, Session, connect, is_loopback, own_name
from varsel.providers.verp import Verp
from varsel.settings import BounceSettings, SmtpProviderSettings

log = Log(__name__)

_OPTIONAL: Final = frozenset({"dsn", "size"})  # what a server may refuse after offering it, and we can do without
_SUSPICIOUS: Final = 3  # so many recipient domains denied relay, or senders refused, without a success: it is us
_CROWDED_FOR: Final = 300.0  # seconds with fewer connections after the server complained of too many


@dataclass(slots=True)
class _Task:
    """One member of a batch on its way to a result."""

    index: int
    email: Email
    parcel: Parcel
    again: bool = False  # it has had its second try


class SmtpProvider:
    """One account at a submission server.

    Raises `ValueError` when the settings would send secrets or mail in clear, or a key to sign with cannot be used.
    """

    def __init__(
        self,
        settings: SmtpProviderSettings,
        bounces: BounceSettings,
        clock: Clock | None = None,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        _refuse_clear_text(settings)
        self._settings = settings
        self._clock = clock or SystemClock()  # of the Date header
        self._verp = Verp.configured(bounces)
        self._letters = Letters(_signers(settings))
        self._pool = _Pool(settings, limits or Limits(), tls or _tls_context(settings))
        self._without: frozenset[str] = frozenset()  # extensions that the server offered and then refused
        self._suspects: dict[Ruling, set[str]] = {Ruling.RELAY_DENIED: set(), Ruling.SENDER_REFUSED: set()}
        self._told_of_dsn = False
        self._international = True  # until a server says otherwise, the last one that was met

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def max_batch(self) -> int:
        """One recipient per transaction, so that nothing that happens to one concerns another (channels 2.1)."""
        return 1

    @property
    def step(self) -> int:
        return self._settings.connections

    @property
    def confirms(self) -> Confirms:
        """What we ask for. Whether the server can do it shows only in the dialogue; the log warns when it cannot."""
        return Confirms.ARRIVAL if self._verp and self._settings.success_dsn else Confirms.NOTHING

    @property
    def on_indeterminate(self) -> Indeterminate:
        return Indeterminate(self._settings.on_indeterminate)

    async def send(self, batch: Sequence[Email]) -> list[SendResult]:
        """Cancelled, it closes the connections in use: what had begun to leave is then unknown to the caller."""
        results: list[SendResult | None] = [None] * len(batch)
        waiting: deque[_Task] = deque()
        for index, email in enumerate(batch):
            prepared = await self._prepare(email)
            if isinstance(prepared, Parcel):
                waiting.append(_Task(index, email, prepared))
            else:
                results[index] = prepared
        faults: list[Deferred] = []
        if len(waiting) == 1:
            await self._work(waiting, results, faults)
        else:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._pool.size, len(waiting))):
                    group.create_task(self._work(waiting, results, faults))
        if faults:
            log.warning("smtp connection failed", provider=self.name, times=len(faults), detail=faults[0].detail)
        # who got no connection gave up; only where all did is anything left without a result
        return [faults[0] if found is None else found for found in results]

    def reaches(self, address: str) -> bool:
        return self._international or not is_international(address)

    async def close(self) -> None:
        """Take leave on idle connections. For when nothing is being sent."""
        await self._pool.close()

    async def _prepare(self, email: Email) -> Parcel | SendResult:
        to = parse_mailbox(email.to)
        if to is None:
            return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to")
        try:
            letter = self._letters.letter(email)
        except InvalidSender as error:
            return Refused(Reason.UNSPECIFIED, str(error))
        notify = None
        if self._verp:  # without an address for bounces, success reports would flood the sender's own mailbox
            notify = "SUCCESS,FAILURE,DELAY" if self._settings.success_dsn else "FAILURE,DELAY"
        date = self._clock.now()
        # one-click needs a signature over its headers (RFC 8058)
        unsubscribe = email.unsubscribe if letter.signer or self._settings.relay_signs else None
        if email.files:  # big ones must not hold up others
            content = await asyncio.to_thread(letter.fill, email.id, to, date, email.files, unsubscribe)
        else:
            content = letter.fill(email.id, to, date, unsubscribe=unsubscribe)
        return Parcel(
            id=email.id,
            sender=self._verp.make(email.id) if self._verp else str(letter.sender),
            to=to,
            content=content,
            notify=notify,
            international=to.international or letter.sender.international,
        )

    async def _work(self, waiting: deque[_Task], results: list[SendResult | None], faults: list[Deferred]) -> None:
        """Send what waits over one connection at a time, until nothing waits or no connection can be had."""
        try:
            while waiting:
                async with self._pool.session() as session:
                    self._note_offers(session)
                    while waiting:
                        task = waiting.popleft()
                        answer = await self._deliver(session, task)
                        if answer is None:
                            waiting.appendleft(task)
                        results[task.index] = answer
                        if not session.usable:  # asked after a message, so that each connection moves one on
                            break
        except Fault as fault:
            faults.append(fault.deferred)
        except Exception as error:  # noqa: BLE001 - a bug while connecting: nothing has left (channels 1.4 G3)
            log.error("smtp connection failed", exc=error, provider=self.name)
            faults.append(Deferred("bug"))

    async def _deliver(self, session: Session, task: _Task) -> SendResult | None:
        """None: it wants its second try."""
        try:
            answer = await session.deliver(task.parcel, self._without)
        except Exception as error:  # noqa: BLE001 - a bug met by one message must not cost the others their results
            log.error("smtp delivery failed", exc=error, provider=self.name, notification_id=task.parcel.id)
            return Unknown("bug") if session.committed else Deferred("bug")
        if isinstance(answer, Ruled):
            return self._reconsider(task, answer)
        if isinstance(answer, Accepted):
            for suspects in self._suspects.values():
                suspects.clear()
        return answer

    def _reconsider(self, task: _Task, answer: Ruled) -> SendResult | None:
        """What one message cannot decide, or what is worth one more try at once (channels 2.1)."""
        match answer.ruling:
            case Ruling.RELAY_DENIED:
                return self._suspect(answer, task.parcel.to.domain)
            case Ruling.SENDER_REFUSED:
                return self._suspect(answer, f"{task.email.creator} {task.email.sender}")
            case _ if task.again:
                return result(answer.ruling, answer.detail)
            case Ruling.OPTION_REFUSED if not self._without:
                log.warning("smtp extension refused", provider=self.name, detail=answer.detail)
                self._without = _OPTIONAL
        task.again = True
        return None

    def _suspect(self, answer: Ruled, witness: str) -> SendResult:
        suspects = self._suspects[answer.ruling]
        suspects.add(witness)
        if len(suspects) < _SUSPICIOUS:
            return result(answer.ruling, answer.detail)
        log.warning("smtp account refused", provider=self.name, detail=answer.detail)
        return Deferred(answer.detail, Blame.PROVIDER)

    def _note_offers(self, session: Session) -> None:
        self._international = "smtputf8" in session.offers
        if self._verp and not self._told_of_dsn and "dsn" not in session.offers:
            self._told_of_dsn = True
            log.warning("smtp server offers no delivery reports", provider=self.name)


class _Pool:
    """At most `connections` sessions at once; those not in use are kept, the youngest use first.

    When the server says that it has too many, we use as few as we have got, for five minutes.
    """

    def __init__(self, settings: SmtpProviderSettings, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._limits = limits
        self._tls = tls
        self._idle: list[Session] = []
        self._in_use = 0
        self._left = asyncio.Event()
        self._size = settings.connections
        self._crowded_until = 0.0
        self._own_name: str | None = None

    @property
    def size(self) -> int:
        """How many connections are worth trying now."""
        if self._size < self._settings.connections and asyncio.get_running_loop().time() >= self._crowded_until:
            self._size = self._settings.connections
        return self._size

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Waits for a free one. Raises `Fault`."""
        session = await self._enter()
        try:
            yield session
            if session.usable:
                self._idle.append(session)
            else:
                await session.quit()
        except BaseException:
            session.abort()
            raise
        finally:
            self._leave()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        await asyncio.gather(*(session.quit() for session in idle))

    async def _enter(self) -> Session:
        while True:
            while self._in_use >= self.size:
                self._left.clear()
                await self._left.wait()
            self._in_use += 1
            try:
                return await self._take()
            except BaseException as error:
                self._leave()
                if not isinstance(error, Fault) or not error.crowded or not self._in_use:
                    raise
                # others of us are being served: wait for one of theirs
                self._size = self._in_use
                self._crowded_until = asyncio.get_running_loop().time() + _CROWDED_FOR

    def _leave(self) -> None:
        self._in_use -= 1
        self._left.set()

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            try:
                if await session.alive():
                    return session
                await session.quit()
            except BaseException:
                session.abort()
                raise
        self._own_name = self._own_name or await own_name(self._settings.host)
        return await connect(self._settings, self._limits, self._tls, self._own_name)


def _refuse_clear_text(settings: SmtpProviderSettings) -> None:
    if settings.tls != "none" or is_loopback(settings.host):
        return
    if not settings.trusted_network:
        raise ValueError(f"provider {settings.name}: tls = none needs a loopback host or trusted_network")
    if settings.username is not None:
        raise ValueError(f"provider {settings.name}: a password never leaves this host without TLS")


def _signers(settings: SmtpProviderSettings) -> dict[str, Signer]:
    try:
        return signers_of(settings.dkim)
    except ValueError as error:
        raise ValueError(f"provider {settings.name}: {error}") from error


def _tls_context(settings: SmtpProviderSettings) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    context = ssl.create_default_context()
    if not settings.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _make(settings: SmtpProviderSettings, tools: Tools) -> SmtpProvider:
    return SmtpProvider(settings, tools.bounces, tools.clock)


PROVIDER: Final = Kind(SmtpProviderSettings, _make)
