"""Azure Communication Services on the conformance suite's bench."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

from conformance.bench import LOOPBACK, NOW, REFERENCE, EmailBench, Site, Taken
from varsel.delivery.ports import Deferred, Pending, Refused, SendResult, Unknown
from varsel.providers.acs import PROVIDER
from varsel.providers.kind import ReportRequest
from varsel.simulators.acs import AcsSimulator

KEY = "bsO4bGVsaWdoZXQ="


class AcsBench(EmailBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = (KEY, "rapport-passord")
    insecure: ClassVar[Mapping[str, object]] = {"connection_string": f"endpoint=http://acs.example/;accesskey={KEY}"}
    remembers = True
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Pending,
        "badformat@mottaker.example": Refused,
        "err500@mottaker.example": Deferred,
        "reset@mottaker.example": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        key = "Z2FsdA==" if wrong_login else KEY
        return {
            "name": "bench",
            "connection_string": f"endpoint={'https' if tls else 'http'}://{LOOPBACK}:{port}/;accesskey={key}",
            "report_secret": self.secrets[1],
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with AcsSimulator(time_factor=0.01) as azure:
            azure.key = KEY
            # what was lost has left too, but nobody knows it yet
            taken = lambda: [  # noqa: E731
                Taken(sent.recipient, sent.plain_text, sent.subject)
                for sent in azure.sent
                if not sent.recipient.startswith("reset")
            ]
            yield Site(azure.port, taken)

    def arrives(self, text: str) -> str:
        return text.replace("\0", "").encode("utf-8", "replace").decode()

    def report_request(self, state: str) -> ReportRequest:
        event = {
            "id": f"event-{state}",
            "eventType": "Microsoft.Communication.EmailDeliveryReportReceived",
            "data": {"messageId": REFERENCE, "status": state, "recipient": "ok@mottaker.example"},
        }
        return self.authentic(json.dumps([event]).encode())

    def authentic(self, body: bytes) -> ReportRequest:
        return ReportRequest(
            method="POST",
            url="https://varsel.example/notifications/email/api/v1/reports/acs/bench",
            rest="",
            query={"accesskey": self.secrets[1]},
            headers={"content-type": "application/json"},
            body=body,
            peer=LOOPBACK,
            now=NOW,
        )

    def stranger(self, request: ReportRequest) -> ReportRequest:
        return replace(request, query={"accesskey": "gjettet"})
