"""LINK's gateway on the conformance suite's bench."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from conformance.bench import LOOPBACK, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Refused, SendResult, Unknown
from varsel.domain.sms_text import clean
from varsel.providers.link import PROVIDER
from varsel.simulators.link import LinkSimulator
from varsel.simulators.link_script import Answer


class LinkBench(SmsBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = ("riktig-passord", "rapport-passord")
    insecure: ClassVar[Mapping[str, object]] = {"url": "http://gateway.example/"}
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999201": Refused,
        "+4799999203": Unknown,
        "+4799999205": Accepted,  # turns the order of the answers round
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {
            "name": "bench",
            "url": f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/",
            "username": "varsel",
            "password": "galt-passord" if wrong_login else self.secrets[0],
            "report_username": "gateway",
            "report_password": self.secrets[1],
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with LinkSimulator({"varsel": self.secrets[0]}, None, time_factor=0.01) as gateway:
            yield Site(
                gateway.port,
                lambda: [
                    Taken(f"+{m.receiver}", m.text) for m in gateway.submitted if m.script.answer is not Answer.MISSING
                ],
            )

    def arrives(self, text: str) -> str:
        return clean(text)
