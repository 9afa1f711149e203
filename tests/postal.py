"""Mail in tests: a message, our SMTP provider at some port, and a server that answers as told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import SecretStr

from varsel.clock import ManualClock
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Deferred,
    Email,
    EmailProvider,
    Pending,
    Refused,
    SendResult,
    Unknown,
)
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.order import ContentType
from varsel.providers.smtp import SmtpProvider
from varsel.providers.smtp_session import Limits
from varsel.settings import BounceSettings, SmtpProviderSettings
from varsel.simulators.smtp import SmtpSimulator

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ORDER = OrderId(UUID("019ab000-0000-7000-8000-0000000000aa"))
BOUNCES = BounceSettings(domain="bounce.varsel.example", keys=(SecretStr("key"),))
NO_BOUNCES = BounceSettings()
QUICK = Limits(connect=5, command=0.3, final=0.3)


def email(
    to: str = "ok@mottaker.example", *, sender: str = "noreply@etat.example", body: str = "Hei", creator: str = "ttd"
) -> Email:
    return Email(
        id=NotificationId(uuid7()),
        order=ORDER,
        creator=creator,
        sender=sender,
        to=to,
        subject="Ny post",
        body=body,
        content_type=ContentType.PLAIN,
        expires_at=NOW + timedelta(days=2),
    )


@asynccontextmanager
async def provider_at(
    port: int,
    *,
    bounces: BounceSettings = BOUNCES,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    tls_mode: str = "none",
    **settings: object,
) -> AsyncIterator[SmtpProvider]:
    made = SmtpProviderSettings.model_validate(
        {"name": "smtp-main", "host": "127.0.0.1", "port": port, "tls": tls_mode, **settings}
    )
    provider = SmtpProvider(made, bounces, ManualClock(NOW), limits=limits, tls=tls)
    yield provider
    await provider.close()


@asynccontextmanager
async def pair(**settings: object) -> AsyncIterator[tuple[SmtpProvider, SmtpSimulator]]:
    async with SmtpSimulator(time_factor=0.01) as server, provider_at(server.port, **settings) as provider:  # type: ignore[arg-type]
        yield provider, server


async def one(provider: EmailProvider, message: Email) -> SendResult:
    [result] = await provider.send([message])
    return result


class Canned:
    """A server that answers each verb as told, `250 Ok` otherwise; `None` closes, `""` falls silent.

    It closes at the MAIL after so many on one connection. `piped`: it offers PIPELINING.
    """

    def __init__(
        self, answers: Mapping[str, str | None] | None = None, *, mails: int = 1_000, piped: bool = False
    ) -> None:
        self._mails = mails
        self._answers: Mapping[str, str | None] = {
            "BANNER": "220 canned",
            "EHLO": "\r\n".join(["250-canned", "250-SIZE 1000000", *(["250-PIPELINING"] if piped else []), "250 DSN"]),
            "DATA": "354 Go on",
            **(answers or {}),
        }
        self.seen: list[str] = []
        self.content: list[bytes] = []
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Canned":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        mails = self._mails
        going = self._answer(writer, "BANNER")
        while going and (line := (await reader.readline()).decode().strip()):
            self.seen.append(line)
            verb = line[:4].upper()
            mails -= verb == "MAIL"
            going = mails >= 0 and self._answer(writer, verb)
            if verb == "DATA" and (self._answers["DATA"] or "").startswith("354"):
                received = [b""]
                while going and received[-1] != b".\r\n":
                    received.append(await reader.readline())
                    going = received[-1] != b""
                self.content.append(b"".join(received))
                going = going and self._answer(writer, "DOT")
        self._writers.discard(writer)
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, verb: str) -> bool:
        answer = self._answers.get(verb, "250 Ok")
        if answer == "":
            self._silent.add(writer)
        if answer and writer not in self._silent:
            writer.write(f"{answer}\r\n".encode("latin-1"))
        return answer is not None and verb != "QUIT"


RETRY = Deferred(blame=Blame.MESSAGE)
FAULT = Deferred(blame=Blame.PROVIDER)
THROTTLED = Deferred(blame=Blame.PROVIDER, retry_after=timedelta(seconds=60))


def shape(result: SendResult) -> SendResult:
    """Without its words."""
    match result:
        case Accepted():
            return Accepted()
        case Refused(reason, _, suppress):
            return Refused(reason, suppress=suppress)
        case Deferred(_, blame, retry_after):
            return Deferred("", blame, retry_after)
        case Unknown() | Pending():
            return type(result)()
