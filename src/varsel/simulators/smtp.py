"""A mail server, simulated (channels 8.1): the local part of an address chooses what becomes of its message.

It speaks real SMTP with DSN, SIZE, 8BITMIME, SMTPUTF8 and, where asked, STARTTLS and AUTH, and sends its reports by
real SMTP to the return path, at one configured listener. Waiting times are the specification's times `time_factor`.
"""

import asyncio
import itertools
import re
import ssl
from types import TracebackType
from typing import Any, Final, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from varsel.log import Log
from varsel.simulators.smtp_mailroom import Capture, Command, Mailroom, Stored
from varsel.simulators.smtp_script import Fault, Script

log = Log(__name__)

ALL_EXTENSIONS: Final = frozenset({"PIPELINING", "DSN", "SIZE", "8BITMIME", "SMTPUTF8"})
_MAX_BYTES: Final = 10_485_760
_PATH: Final = re.compile(r"(?:FROM|TO):\s*<([^<>]*)>\s*(.*)", re.IGNORECASE)
_MAIL_OPTIONS: Final = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
_RCPT_OPTIONS: Final = {"NOTIFY": "DSN", "ORCPT": "DSN"}


class SmtpSimulator(Mailroom):
    """`async with SmtpSimulator(…) as server` serves on `server.port`.

    `dsn_to`: where reports go, None for none. `login`: the only pair that AUTH takes; with `tls` it wants TLS first.
    `implicit`: TLS from the first octet.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        dsn_to: tuple[str, int] | None = None,
        seed: int = 0,
        time_factor: float = 1.0,
        capture: Capture | None = None,
        offer: frozenset[str] = ALL_EXTENSIONS,
        max_bytes: int = _MAX_BYTES,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
        max_connections: int | None = None,
    ) -> None:
        super().__init__(dsn_to=dsn_to, seed=seed, time_factor=time_factor, capture=capture)
        self.host = host
        self.port = port
        self.offer = offer
        self.max_bytes = max_bytes
        self.tls = tls
        self.implicit = implicit
        self.login = login
        self.max_connections = max_connections
        self.refuse_options = False  # offer extensions, and then answer 555 to them
        self.turned_away = 0  # connections over `max_connections`
        self.connections: set[_Connection] = set()
        self.numbers = itertools.count(1)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises `OSError` when the port is taken."""
        loop = asyncio.get_running_loop()
        context = self.tls if self.implicit else None
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.hang_up()
            await self._server.wait_closed()
            self._server = None
        await self.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _Handler:
    """aiosmtpd's hooks that need no dialogue of our own."""

    def __init__(self, simulator: SmtpSimulator) -> None:
        self._simulator = simulator

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: "_Connection", session: Session, _envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        hidden = ALL_EXTENSIONS - self._simulator.offer
        offered = [line for line in responses[:-1] if line[4:].partition(" ")[0] not in hidden]
        offered += [f"250-{name}" for name in ("PIPELINING", "DSN") if name in self._simulator.offer]
        server.note("EHLO", hostname, "250")
        return [*offered, "250 HELP"]

    async def handle_DATA(self, server: "_Connection", *_: object) -> str | bytes:  # noqa: N802
        return await server.take()

    async def handle_RSET(self, server: "_Connection", *_: object) -> str:  # noqa: N802
        return server.note("RSET", "", "250 2.0.0 Ok")

    async def handle_NOOP(self, server: "_Connection", *_: object) -> str:  # noqa: N802
        return server.note("NOOP", "", "250 2.0.0 Ok")

    async def handle_QUIT(self, server: "_Connection", *_: object) -> str:  # noqa: N802
        return server.note("QUIT", "", "221 2.0.0 Bye")

    async def handle_exception(self, error: Exception) -> str:
        log.error("mail simulator failed", exc=error)
        return "451 4.3.0 Internal error"


class _Connection(SMTP):
    """One client. MAIL, RCPT and DATA are our own: aiosmtpd refuses DSN's options and folds all to upper case."""

    def __init__(self, simulator: SmtpSimulator) -> None:
        self._simulator = simulator
        self._number = next(simulator.numbers)
        self._sender_options: dict[str, str] = {}
        self._recipients: list[tuple[str, dict[str, str], Script]] = []
        super().__init__(
            _Handler(simulator),
            data_size_limit=simulator.max_bytes,
            enable_SMTPUTF8="SMTPUTF8" in simulator.offer,
            hostname="simulator.varsel.example",
            ident="ESMTP",
            tls_context=None if simulator.implicit else simulator.tls,
            auth_require_tls=simulator.login is None or (simulator.tls is not None and not simulator.implicit),
            authenticator=self._log_in,
            loop=asyncio.get_running_loop(),
        )
        self.command_size_limits["MAIL"] = self.command_size_limits["RCPT"] = 2_048

    def connection_made(self, transport: Any) -> None:
        most = self._simulator.max_connections
        if most is not None and self not in self._simulator.connections and len(self._simulator.connections) >= most:
            self._simulator.turned_away += 1
            transport.write(b"421 4.7.0 Too many connections\r\n")
            transport.close()
            return
        self._simulator.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._simulator.connections:
            self._simulator.connections.discard(self)
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        return bool(super().eof_received()) if self in self._simulator.connections else None

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def note(self, verb: str, argument: str, reply: str) -> str:
        self._simulator.journal.append(Command(self._number, verb, argument, reply))
        return reply

    def _set_post_data_state(self) -> None:
        super()._set_post_data_state()  # type: ignore[no-untyped-call]
        self._sender_options, self._recipients = {}, []

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        if await self.check_helo_needed() or await self.check_auth_needed("MAIL"):
            return
        await self.push(self.note("MAIL", arg or "", self._mail(arg or "")))

    def _mail(self, argument: str) -> str:
        assert self.envelope is not None
        path = _PATH.fullmatch(argument)
        if path is None:
            return "501 5.5.4 Syntax: MAIL FROM:<address>"
        if self.envelope.mail_from is not None:
            return "503 5.5.1 Nested MAIL command"
        options = self._options(path[2], _MAIL_OPTIONS)
        if options is None:
            return "555 5.5.4 Unsupported option"
        if int(options.get("SIZE") or 0) > self._simulator.max_bytes:
            return "552 5.3.4 Message too big"
        self.envelope.mail_from, self._sender_options = path[1], options
        return "250 2.1.0 Ok"

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        assert self.envelope is not None
        path = _PATH.fullmatch(arg or "")
        options = self._options(path[2], _RCPT_OPTIONS) if path else None
        if self.envelope.mail_from is None:
            await self.push(self.note("RCPT", arg or "", "503 5.5.1 MAIL first"))
        elif path is None:
            await self.push(self.note("RCPT", arg or "", "501 5.5.4 Syntax: RCPT TO:<address>"))
        elif options is None:
            await self.push(self.note("RCPT", arg or "", "555 5.5.4 Unsupported option"))
        else:
            await self._rcpt(arg or "", path[1], options)

    async def _rcpt(self, argument: str, recipient: str, options: dict[str, str]) -> None:
        assert self.envelope is not None
        script = self._simulator.script(recipient)
        reply = "250 2.1.5 Ok"
        if self._simulator.refuses(script, self.envelope.mail_from or "", recipient):
            reply = script.refusal or ""
        elif script.fault is Fault.JUNK:
            reply = "this is not SMTP"
        elif script.fault is Fault.CLOSE_AT_RCPT:
            reply = ""
        else:
            self.envelope.rcpt_tos.append(recipient)
            self._recipients.append((recipient, options, script))
        self.note("RCPT", argument, reply)
        if reply:
            await self.push(reply)
        if script.fault is Fault.CLOSE_AT_RCPT:
            await self._vanish()

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        if any(script.fault is Fault.CLOSE_IN_CONTENT for *_, script in self._recipients):
            await self.push(self.note("DATA", "", "354 Go on"))
            await self._reader.readuntil(b"\r\n")
            await self._vanish()
        await super().smtp_DATA(arg)

    async def take(self) -> str | bytes:
        """The answer to the content."""
        assert self.envelope is not None
        sender, content = self.envelope.mail_from or "", self.envelope.original_content or b""
        messages = [
            Stored(self._number, sender, self._sender_options, recipient, options, content, script)
            for recipient, options, script in self._recipients
        ]
        refusing = next(
            (message.script.answer for message in messages if message.script.answer[:1] in (b"4", b"5")), None
        )
        if refusing:
            self.note("DATA", "", refusing.decode())
            return refusing
        await self._simulator.keep(messages)
        for message in messages:
            await self._simulator.report(message)
        return await self._taken(messages[0].script)

    async def _taken(self, script: Script) -> str | bytes:
        if script.fault is Fault.CLOSE_AFTER_CONTENT:
            await self._vanish()
        if script.fault is Fault.HANG:
            await asyncio.Event().wait()  # until the client leaves: that cancels it
        await self._simulator.wait(script)
        answer = script.answer or f"250 2.0.0 Ok: queued as {self._simulator.queue_id()}".encode()
        self.note("DATA", "", answer.decode("latin-1"))
        return answer

    async def _vanish(self) -> None:
        """Close, and let the loss of the connection cancel this very coroutine."""
        self.hang_up()
        await asyncio.Event().wait()

    def _options(self, text: str, known: dict[str, str]) -> dict[str, str] | None:
        options: dict[str, str] = {}
        if text and self._simulator.refuse_options:
            return None
        for option in text.split():
            name, _, value = option.partition("=")
            if known.get(name.upper()) not in self._simulator.offer:
                return None
            options[name.upper()] = value
        return options

    def _log_in(self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        user, password = self._simulator.login or ("", "")
        right = data.login == user.encode() and data.password == password.encode() and user != ""
        self.note("AUTH", mechanism, "235" if right else "535")
        return AuthResult(success=right, handled=False)
