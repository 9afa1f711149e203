"""The provider for tests on the conformance suite's bench: its messages go into a table, and no further."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any, ClassVar

from conformance.bench import TOOLS, Bench, EmailBench, Message, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Deferred, Email, Refused, SendResult, Sms, Unknown
from varsel.domain.captured import Captured
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Channel
from varsel.domain.sms_text import clean
from varsel.providers.captured import PROVIDER


class _CapturedBench(Bench[Message]):
    """`port`: no port, but which table."""

    kind = PROVIDER
    has_peer = False
    secrets: ClassVar[Sequence[str]] = ()
    channel: ClassVar[str]

    def __init__(self) -> None:
        self._table: list[Captured] = []
        self._open = True
        self.tools = replace(TOOLS, capture=self._capture)

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {"name": "bench", "channel": self.channel}

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        self._table.clear()
        yield Site(1, lambda: [_taken(message) for message in self._table])

    @asynccontextmanager
    async def deserted(self) -> AsyncIterator[Any]:
        self._open = False
        try:
            async with self.provider(1) as provider:
                yield provider
        finally:
            self._open = True

    async def _capture(self, messages: Sequence[Captured]) -> None:
        if not self._open:
            raise Unavailable("the database")
        self._table += messages


class CapturedEmailBench(_CapturedBench[Email], EmailBench):
    channel = "email"
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Accepted,
        "bounce@mottaker.example": Refused,
        "defer@mottaker.example": Deferred,
        "drop-data@mottaker.example": Unknown,
    }


class CapturedSmsBench(_CapturedBench[Sms], SmsBench):
    channel = "sms"
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999201": Refused,
        "+4799999304": Deferred,
        "+4799999310": Unknown,
    }

    def arrives(self, text: str) -> str:
        return clean(text)


def _taken(message: Captured) -> Taken:
    """An email as its reader would see it, from the mail that would leave."""
    if message.channel is Channel.SMS:
        return Taken(message.recipient, message.text)
    mail = message_from_bytes(message.raw, policy=policy.default)
    return Taken(str(mail["To"]), mail.get_content().replace("\r\n", "\n"), str(mail["Subject"]))
