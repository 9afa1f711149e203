"""One connection to a submission server: opened, secured, logged in, used for one recipient at a time (channels 2.1).

aiosmtplib opens the connection; the dialogue is our own (`smtp_wire.py`). Where the server offers PIPELINING, all
commands of a message go at once. From the first octet of content on, a loss is `Unknown` (design 8).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import aiosmtplib
from aiosmtplib import SMTPAuthenticationError, SMTPException, SMTPResponseException

from varsel.delivery.ports import Accepted, Blame, Deferred, Refused, SendResult, Unknown
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Reason
from varsel.providers.mailbox import Mailbox, redact
from varsel.providers.smtp_replies import Ruling, Stage, describe, result, rule
from varsel.providers.smtp_wire import Reply, Wire
from varsel.providers.verp import envelope_id, utf8_address_xtext, xtext
from varsel.settings import SmtpProviderSettings

_MECHANISMS: Final = ("plain", "login")  # in this order; never CRAM-MD5, which the library would prefer


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and counts (channels 1.6, 2.1). `connect` covers name, TCP, TLS and banner, each for itself."""

    connect: float = 30
    command: float = 30
    final: float = 300  # to the answer to the content: a short value here makes duplicates
    idle: float = 15  # then a NOOP before the next use
    age: float = 300
    messages: int = 100


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message, ready for the wire. `notify` and the envelope id are sent only where DSN is offered."""

    id: NotificationId
    sender: str
    to: Mailbox
    content: bytes
    notify: str | None
    international: bool

    @property
    def stuffed(self) -> bytes:
        """The content as DATA sends it: no line is a lone dot but the last (RFC 5321 4.5.2)."""
        return self.content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


@dataclass(frozen=True, slots=True)
class Ruled:
    """A reply that only the provider as a whole can judge: it may want another try, or a look at other messages."""

    ruling: Ruling
    detail: str


class Fault(Exception):
    """No connection could be had. Nothing left us."""

    def __init__(self, deferred: Deferred, *, crowded: bool = False) -> None:
        super().__init__(deferred.detail)
        self.deferred = deferred
        self.crowded = crowded  # the server has too many connections of ours


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


async def own_name(host: str) -> str:
    """What we say in EHLO: our full name, or an address literal where there is none or nobody needs it."""
    if is_loopback(host):
        return "[127.0.0.1]"
    name = await asyncio.to_thread(socket.getfqdn)
    return name if "." in name and name.isascii() else "[127.0.0.1]"


async def connect(settings: SmtpProviderSettings, limits: Limits, tls: ssl.SSLContext | None, name: str) -> "Session":
    """A session that can take messages. Raises `Fault`. `name` is ours, for EHLO."""
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        timeout=limits.connect,
        use_tls=settings.tls == "implicit",
        start_tls=settings.tls == "starttls",  # never "when offered": that can be stripped
        tls_context=tls,
        local_hostname=name,
    )
    stage = Stage.GREETING
    try:
        await client.connect()
        await client.ehlo()  # again after STARTTLS: what was said in clear does not count
        stage = Stage.LOGIN
        await _login(client, settings)
    except SMTPResponseException as error:
        client.close()
        raise _refused(stage, error) from error
    except (SMTPException, OSError, ValueError) as error:
        client.close()
        raise Fault(Deferred(redact(f"{stage}: {error}"), Blame.PROVIDER)) from error
    except BaseException:
        client.close()
        raise
    return Session(client, limits)


def _refused(stage: Stage, error: SMTPResponseException) -> Fault:
    if isinstance(error, SMTPAuthenticationError):
        stage = Stage.LOGIN
    verdict = result(rule(stage, error.code, error.message), describe(stage, error.code, error.message))
    if not isinstance(verdict, Deferred):  # a fault of ours or theirs is never a message's (channels 1.4 G5)
        verdict = Deferred(verdict.detail, Blame.PROVIDER)
    return Fault(verdict, crowded=error.code == 421 and "too many" in error.message.lower())


async def _login(client: aiosmtplib.SMTP, settings: SmtpProviderSettings) -> None:
    if settings.username is None or settings.password is None:
        return
    mechanism = next((name for name in _MECHANISMS if name in client.server_auth_methods), None)
    if mechanism is None:
        raise SMTPException("the server offers neither PLAIN nor LOGIN")
    login = client.auth_plain if mechanism == "plain" else client.auth_login
    await login(settings.username, settings.password.get_secret_value())


class Session:
    """An open connection. After anything unexpected it is closed, and never used again."""

    def __init__(self, client: aiosmtplib.SMTP, limits: Limits) -> None:
        self._wire = Wire(client)
        self._limits = limits
        self._time: Callable[[], float] = asyncio.get_running_loop().time
        self._opened = self._used = self._time()
        self._dirty = False  # between the start of a message and its end: whoever leaves there leaves it unusable
        self._stage = Stage.MAIL
        self.served = 0
        self.offers = frozenset(client.esmtp_extensions)
        size = client.esmtp_extensions.get("size", "")
        self.max_size = int(size) if size.isdecimal() and len(size) < 20 else 0  # 0: no limit is known

    @property
    def usable(self) -> bool:
        young = self.served < self._limits.messages and self._time() - self._opened < self._limits.age
        return young and not self._dirty and self._wire.open

    async def alive(self) -> bool:
        """Whether it can take a message now; asks the server when it has been idle."""
        if not self.usable:
            return False
        if self._time() - self._used < self._limits.idle:
            return True
        return await self._simple(b"NOOP")

    def abort(self) -> None:
        self._wire.close()

    async def quit(self) -> None:
        """Take leave, as far as the server lets us."""
        try:
            if self._wire.open and not self._dirty:
                await self._simple(b"QUIT")
        finally:
            self.abort()

    async def deliver(self, parcel: Parcel, without: frozenset[str] = frozenset()) -> SendResult | Ruled:
        """One transaction. `without`: extensions that the server offers and then refuses."""
        self._dirty, self._stage = True, Stage.MAIL
        try:
            answer = await self._transaction(parcel, self.offers - without)
        except (SMTPException, OSError) as error:
            self.abort()
            return self._lost(error)
        except BaseException:  # cancelled, or a bug
            self.abort()
            raise
        self._dirty = False
        self._used = self._time()
        self.served += 1
        return answer

    @property
    def committed(self) -> bool:
        """Whether content of the last message may have left."""
        return self._stage is Stage.DOT

    def _lost(self, error: Exception) -> SendResult | Ruled:
        if isinstance(error, SMTPResponseException):
            reason = "an answer that is not SMTP"
        elif isinstance(error, TimeoutError):
            reason = "no answer in time"
        else:
            reason = "connection lost"
        detail = f"{self._stage}: {reason}"
        if self._stage is Stage.DOT:
            return Unknown(detail)
        if self._stage is Stage.MAIL and self.served and not isinstance(error, TimeoutError):
            return Ruled(Ruling.CLOSED, detail)
        theirs = self._stage is Stage.MAIL or isinstance(error, TimeoutError)
        return Deferred(detail, Blame.PROVIDER if theirs else Blame.MESSAGE)

    async def _transaction(self, parcel: Parcel, offers: frozenset[str]) -> SendResult | Ruled:
        if parcel.international and "smtputf8" not in offers:
            return Refused(Reason.INVALID_EMAIL_FORMAT, "the server takes only ASCII addresses", unfit=True)
        if 0 < self.max_size < len(parcel.content):
            detail = f"{len(parcel.content)} of at most {self.max_size} octets"
            return Refused(Reason.PAYLOAD_TOO_LARGE, detail, unfit=True)
        commands = {Stage.MAIL: _mail(parcel, offers), Stage.RCPT: _rcpt(parcel, offers), Stage.DATA: b"DATA\r\n"}
        piped = "pipelining" in offers
        if piped:
            self._wire.write(b"".join(commands.values()), answers=len(commands))
        for place, (self._stage, command) in enumerate(commands.items(), start=1):
            if not piped:
                self._wire.write(command)
            reply = await self._wire.reply(self._limits.command)
            if reply.kind != (3 if self._stage is Stage.DATA else 2):
                return await self._refusal(self._stage, reply, left=len(commands) - place if piped else 0)
        return await self._content(parcel.stuffed, silent="dsn" not in offers)

    async def _content(self, content: bytes, *, silent: bool) -> SendResult | Ruled:
        if not self._wire.open:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self._stage = Stage.DOT
        self._wire.write(content)
        reply = await self._wire.reply(self._limits.final)
        if reply.kind == 2:
            return Accepted(detail=redact(reply.text), silent=silent)
        if reply.kind not in (4, 5):
            self.abort()
            return Unknown(describe(Stage.DOT, reply.code, reply.text))
        if reply.code == 421:
            self.abort()
        return _judged(Stage.DOT, reply.code, reply.text)

    async def _refusal(self, stage: Stage, reply: Reply, *, left: int) -> SendResult | Ruled:
        """The transaction is undone. RSET only here: it costs a round trip (design 8). `left`: answers to come yet."""
        if reply.kind not in (4, 5):
            raise SMTPResponseException(reply.code, "unexpected")
        if reply.code == 421 or not await self._passed(left) or not await self._simple(b"RSET"):
            self.abort()
        return _judged(stage, reply.code, reply.text)

    async def _passed(self, left: int) -> bool:
        """Read the answers to what went with the refused command; content without a recipient is a lone dot."""
        try:
            for _ in range(left):
                if (await self._wire.reply(self._limits.command)).kind == 3:
                    self._wire.write(b".\r\n")
                    await self._wire.reply(self._limits.command)
        except SMTPException:
            return False
        return True

    async def _simple(self, command: bytes) -> bool:
        try:
            self._wire.write(command + b"\r\n")
            reply = await self._wire.reply(self._limits.command)
        except (SMTPException, OSError):
            self.abort()
            return False
        return reply.kind == 2


def _judged(stage: Stage, code: int, text: str) -> SendResult | Ruled:
    ruling, detail = rule(stage, code, text), describe(stage, code, text)
    match ruling:
        case Ruling.AGAIN | Ruling.OPTION_REFUSED | Ruling.RELAY_DENIED | Ruling.SENDER_REFUSED:
            return Ruled(ruling, detail)
        case _:
            return result(ruling, detail)


def _mail(parcel: Parcel, offers: frozenset[str]) -> bytes:
    command = [b"MAIL FROM:<" + parcel.sender.encode() + b">"]
    if "size" in offers:
        command.append(b"SIZE=%d" % len(parcel.content))
    if parcel.international:
        command += [b"SMTPUTF8"] + ([b"BODY=8BITMIME"] if "8bitmime" in offers else [])
    if parcel.notify and "dsn" in offers:
        command += [b"RET=HDRS", b"ENVID=" + xtext(envelope_id(parcel.id)).encode()]
    return _line(command)


def _rcpt(parcel: Parcel, offers: frozenset[str]) -> bytes:
    command = [b"RCPT TO:<" + str(parcel.to).encode() + b">"]
    if parcel.notify and "dsn" in offers:
        address = str(parcel.to)
        original = f"utf-8;{utf8_address_xtext(address)}" if parcel.to.international else f"rfc822;{xtext(address)}"
        command += [b"NOTIFY=" + parcel.notify.encode(), b"ORCPT=" + original.encode()]
    return _line(command)


def _line(words: Sequence[bytes]) -> bytes:
    """Raises `ValueError` where a word would end the command before its end."""
    line = b" ".join(words)
    if b"\r" in line or b"\n" in line:
        raise ValueError("a command of more than one line")
    return line + b"\r\n"
