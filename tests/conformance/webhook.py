"""The generic webhook on the conformance suite's bench, as a gateway for SMS and for email."""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

from conformance.bench import LOOPBACK, NOW, REFERENCE, EmailBench, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Refused, SendResult, Unknown
from varsel.domain.signatures import headers_of, secret_of
from varsel.domain.sms_text import clean
from varsel.providers.kind import ReportRequest
from varsel.providers.webhook import PROVIDER
from varsel.simulators.webhook import WebhookSimulator

_SECRET = "whsec_" + base64.b64encode(b"riktig hemmelighet av god lengde").decode()
_WRONG = "whsec_" + base64.b64encode(b"helt gal hemmelighet av god lengde").decode()
_INSECURE: Mapping[str, object] = {"url": "http://gateway.example/"}


def _settings(port: int, channel: str, *, tls: bool, wrong_login: bool) -> dict[str, object]:
    return {
        "name": "bench",
        "channel": channel,
        "url": f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/",
        "secret": _WRONG if wrong_login else _SECRET,
    }


@asynccontextmanager
async def _simulator(text: str) -> AsyncIterator[Site]:
    async with WebhookSimulator(_SECRET, time_factor=0.01) as gateway:
        gateway.send_to = f"http://{LOOPBACK}:1"  # reports lead nowhere

        def taken() -> Sequence[Taken]:
            return [Taken(m.message["to"], m.message[text], m.message.get("subject")) for m in gateway.journal]

        yield Site(gateway.port, taken)


def _authentic(body: bytes, channel: str) -> ReportRequest:
    headers = headers_of("msg_1", body, [secret_of(_SECRET)], at=int(NOW.timestamp()))
    url = f"https://varsel.example/notifications/{channel}/api/v1/reports/webhook/bench"
    return ReportRequest("POST", url, "", {}, headers, body, LOOPBACK, NOW)


def _report(state: str) -> bytes:
    return json.dumps({"reference": REFERENCE, "state": state}).encode()


def _unsigned(request: ReportRequest) -> ReportRequest:
    return replace(request, headers={**request.headers, "webhook-signature": "v1,none"})


class WebhookSmsBench(SmsBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = (_SECRET, _SECRET.removeprefix("whsec_"))
    insecure = _INSECURE
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999101": Refused,
        "+4799999212": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return _settings(port, "sms", tls=tls, wrong_login=wrong_login)

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with _simulator("text") as site:
            yield site

    def arrives(self, text: str) -> str:
        return clean(text)

    def report_request(self, state: str) -> ReportRequest:
        return self.authentic(_report(state))

    def authentic(self, body: bytes) -> ReportRequest:
        return _authentic(body, "sms")

    def stranger(self, request: ReportRequest) -> ReportRequest:
        return _unsigned(request)


class WebhookEmailBench(EmailBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = WebhookSmsBench.secrets
    insecure = _INSECURE
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Accepted,
        "101@mottaker.example": Refused,
        "212@mottaker.example": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return _settings(port, "email", tls=tls, wrong_login=wrong_login)

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with _simulator("body") as site:
            yield site

    def arrives(self, text: str) -> str:
        return text

    def report_request(self, state: str) -> ReportRequest:
        return self.authentic(_report(state))

    def authentic(self, body: bytes) -> ReportRequest:
        return _authentic(body, "email")

    def stranger(self, request: ReportRequest) -> ReportRequest:
        return _unsigned(request)
