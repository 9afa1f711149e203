"""The listener for mail to bounce addresses, by SMTP or LMTP (channels 2.3, 5.1): 250 only after it is stored.

Reachable from our own mail system alone: a private address. It takes mail for the bounce domain, and never sends any.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from varsel.delivery.ports import Report
from varsel.log import Log
from varsel.providers.dsn import AUTHENTICATION_FAILED, Drop, read_mail
from varsel.providers.verp import Verp
from varsel.settings import BounceSettings

log = Log(__name__)

_MAX_BYTES: Final = 1_048_576
_MAX_CONNECTIONS: Final = 20
_IDLE_TIMEOUT: Final = 60.0  # seconds


class BounceInbox(Protocol):
    """Each returns after its commit; whatever it raises is answered 451, and the sender keeps its mail."""

    async def store(self, reports: Sequence[Report]) -> None: ...
    async def count_dropped(self, kind: str) -> None: ...


class BounceListener:
    """Raises `ValueError` when there is no key: then no address of ours could be told from a forged one."""

    def __init__(self, settings: BounceSettings, inbox: BounceInbox, *, relayed_is_delivered: bool = False) -> None:
        verp = Verp.configured(settings)
        if verp is None:
            raise ValueError("bounces: reports need a VERP key")
        self._settings = settings
        self._intake = _Intake(verp, inbox, relayed_is_delivered=relayed_is_delivered)
        self._connections: set[_Connection] = set()
        self.idle_timeout = _IDLE_TIMEOUT  # seconds, of connections made from now on
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Raises `OSError` when the address is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connect, self._settings.host, self._settings.port or 0)

    async def stop(self) -> None:
        """What is being stored is finished; its sender may not hear of it, and a repeat is one event."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.leave()
        await self._intake.finish()
        await self._server.wait_closed()
        self._server = None

    def _connect(self) -> "_Connection":
        kind = _LmtpConnection if self._settings.protocol == "lmtp" else _Connection
        return kind(self._intake, self._settings.domain, self._connections, self.idle_timeout)


class _Intake:
    """What aiosmtpd calls. The texts of answers are read by machines and by their operators' logs."""

    def __init__(self, verp: Verp, inbox: BounceInbox, *, relayed_is_delivered: bool) -> None:
        self._verp = verp
        self._inbox = inbox
        self._relayed_is_delivered = relayed_is_delivered
        self._storing: set[asyncio.Task[str]] = set()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.rpartition("@")[2].lower() != self._verp.domain:
            return "550 5.1.1 Only bounces of our own mail are taken here"
        if envelope.rcpt_tos:  # LMTP wants an answer for each, and aiosmtpd gives one for all
            return "452 4.5.3 One recipient at a time"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        [recipient] = envelope.rcpt_tos
        found = self._read(envelope.original_content or b"", recipient, envelope)
        storing = asyncio.create_task(self._answer_after_storing(found))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        return await asyncio.shield(storing)  # a sender that hangs up cancels no commit

    async def handle_exception(self, error: Exception) -> str:
        log.error("bounce intake failed", kind=type(error).__name__)  # its text may quote an address
        return "451 4.3.0 Internal error"

    async def finish(self) -> None:
        await asyncio.gather(*self._storing)

    async def _answer_after_storing(self, found: Report | Drop) -> str:
        try:
            if isinstance(found, Drop):
                await self._inbox.count_dropped(found)
            else:
                await self._inbox.store([found])
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing is stored: the sender must keep its mail
            log.error("delivery report not stored", exc=error)
            return "451 4.3.0 Not stored; try again later"
        if isinstance(found, Drop):
            log.info("mail to a bounce address dropped", kind=found)
            return "250 2.0.0 No delivery report; dropped"
        if found.raw_state == AUTHENTICATION_FAILED:
            log.warning("a recipient's system doubts our mail", notification_id=found.notification)
        return "250 2.0.0 Stored"

    def _read(self, raw: bytes, recipient: str, envelope: Envelope) -> Report | Drop:
        return read_mail(
            raw,
            recipient=recipient,
            sender=envelope.mail_from or "",
            verp=self._verp,
            relayed_is_delivered=self._relayed_is_delivered,
        )


class _Connection(SMTP):
    """One sender. One too many is told so and leaves."""

    line_length_limit = 65_536  # other systems' returned headers and texts; the library's 1 001 would refuse them

    def __init__(self, intake: _Intake, domain: str, connections: "set[_Connection]", idle_timeout: float) -> None:
        super().__init__(
            intake,
            data_size_limit=_MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname=domain,
            ident="bounces",
            timeout=idle_timeout,
            loop=asyncio.get_running_loop(),
        )
        self._connections = connections
        self._taken = False

    def leave(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: Any) -> None:
        self._taken = len(self._connections) < _MAX_CONNECTIONS
        if self._taken:
            self._connections.add(self)
            super().connection_made(transport)
        else:
            transport.write(b"421 4.3.2 Too many connections\r\n")
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._taken:
            self._connections.discard(self)
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._taken:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        return bool(super().eof_received()) if self._taken else None


class _LmtpConnection(_Connection, LMTP):
    """The same for one that speaks LMTP: a mail system that hands over what it has queued."""
