"""SMTP on the conformance suite's bench."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from conformance.bench import LOOPBACK, EmailBench, Site, Taken
from varsel.delivery.ports import Accepted, Deferred, Refused, SendResult, Unknown
from varsel.providers.smtp import PROVIDER
from varsel.simulators.smtp import SmtpSimulator
from varsel.simulators.smtp_mailroom import Stored, captured


class SmtpBench(EmailBench):
    kind = PROVIDER
    greets = True
    secrets: ClassVar[Sequence[str]] = ("riktig-passord",)
    insecure: ClassVar[Mapping[str, object]] = {"host": "relay.example"}
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Accepted,
        "bounce@mottaker.example": Refused,
        "defer@mottaker.example": Deferred,
        "drop@mottaker.example": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {
            "name": "bench",
            "host": LOOPBACK,
            "port": port,
            "tls": "implicit" if tls else "none",
            "username": "sim",
            "password": "galt-passord" if wrong_login else self.secrets[0],
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with SmtpSimulator(time_factor=0.01, login=("sim", self.secrets[0])) as server:
            # one whose connection breaks after its content was stored, but nobody knows it
            yield Site(server.port, lambda: [_taken(m) for m in server.stored if m.script.name != "drop"])


def _taken(message: Stored) -> Taken:
    seen = captured(message)
    return Taken(seen.recipient, seen.text, seen.subject)
