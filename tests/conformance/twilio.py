"""A REST gateway of Twilio's kind on the conformance suite's bench."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode

from conformance.bench import LOOPBACK, NOW, REFERENCE, Site, SmsBench, Taken
from varsel.delivery.ports import Accepted, Refused, SendResult, Unknown
from varsel.domain.sms_text import clean
from varsel.providers.kind import ReportRequest
from varsel.providers.twilio import PROVIDER
from varsel.providers.twilio_reports import signature
from varsel.simulators.twilio import TwilioSimulator

_ACCOUNT = "AC00000000000000000000000000000001"
_URL = "https://varsel.example/notifications/sms/api/v1/reports/twilio/bench/x"


class TwilioBench(SmsBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = ("riktig-token",)
    insecure: ClassVar[Mapping[str, object]] = {"url": "http://gateway.example/"}
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "+4799999500": Accepted,
        "+4799999101": Refused,
        "+4799999117": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {
            "name": "bench",
            "url": f"{'https' if tls else 'http'}://{LOOPBACK}:{port}/",
            "account_sid": _ACCOUNT,
            "auth_token": "galt-token" if wrong_login else self.secrets[0],
            "status_callbacks": not wrong_login,
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with TwilioSimulator(_ACCOUNT, self.secrets[0], time_factor=0.01) as gateway:
            gateway.send_to = f"http://{LOOPBACK}:1"  # reports lead nowhere
            yield Site(gateway.port, lambda: [Taken(m.form["To"], m.form["Body"]) for m in gateway.journal])

    def arrives(self, text: str) -> str:
        return clean(text)

    def report_request(self, state: str) -> ReportRequest:
        sid = f"SM{REFERENCE.replace('-', '')}"
        return self.authentic(urlencode({"MessageSid": sid, "MessageStatus": state}).encode())

    def authentic(self, body: bytes) -> ReportRequest:
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return self._request(body, {"x-twilio-signature": signature(self.secrets[0].encode(), _URL, form)})

    def stranger(self, request: ReportRequest) -> ReportRequest:
        return replace(request, headers={**request.headers, "x-twilio-signature": json.dumps("none")})

    def _request(self, body: bytes, headers: Mapping[str, str]) -> ReportRequest:
        headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        return ReportRequest("POST", _URL, "x", {}, headers, body, LOOPBACK, NOW)
