"""SMPP on the conformance suite's bench."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from conformance.bench import LOOPBACK, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Deferred, Refused, SendResult
from varsel.domain.sms_text import clean
from varsel.providers.smpp import PROVIDER
from varsel.simulators.smpp import SmscSimulator


class SmppBench(SmsBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = ("riktig!!",)
    insecure: ClassVar[Mapping[str, object]] = {"tls": "none", "host": "smsc.example"}
    greets: ClassVar[bool] = False
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999020": Refused,
        "+4799999023": Deferred,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {
            "name": "bench",
            "host": LOOPBACK,
            "port": port,
            "tls": "implicit" if tls else "none",
            "system_id": "varsel",
            "password": "galt" if wrong_login else self.secrets[0],
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with SmscSimulator({"varsel": self.secrets[0]}, time_factor=0.01) as smsc:
            yield Site(smsc.port, lambda: [Taken(f"+{m.receiver}", m.text) for m in smsc.arrived])

    def arrives(self, text: str) -> str:
        return clean(text)
