"""Amazon SES on the conformance suite's bench."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ClassVar

from cryptography.x509 import Certificate, load_pem_x509_certificate
from yarl import URL

from conformance.bench import LOOPBACK, NOW, REFERENCE, EmailBench, Site, Taken
from varsel.delivery.ports import Accepted, Deferred, Refused, SendResult, Unknown
from varsel.providers.kind import ReportReader, ReportRequest
from varsel.providers.ses import PROVIDER
from varsel.providers.ses_reports import SesReports
from varsel.providers.sns import Certificates
from varsel.simulators.ses import SesSimulator
from varsel.simulators.sns import TOPIC, pair, signed

CERT_URL = "https://sns.eu-north-1.amazonaws.com/SimpleNotificationService-0.pem"


async def known(_url: URL) -> Certificate:
    """The simulator's, as if it had been fetched."""
    return load_pem_x509_certificate(pair().pem)


class SesBench(EmailBench):
    kind = PROVIDER
    secrets: ClassVar[Sequence[str]] = ("hemmelig-nokkel",)
    insecure: ClassVar[Mapping[str, object]] = {"endpoint": "http://email.eu-north-1.amazonaws.com"}
    outcomes: ClassVar[Mapping[str, type[SendResult]]] = {
        "ok@mottaker.example": Accepted,
        "refused@mottaker.example": Refused,
        "err500@mottaker.example": Deferred,
        "reset@mottaker.example": Unknown,
    }

    def settings(self, port: int, *, tls: bool = False, wrong_login: bool = False) -> dict[str, object]:
        return {
            "name": "bench",
            "region": "eu-north-1",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "galt" if wrong_login else self.secrets[0],
            "configuration_set": "varsel",
            "endpoint": f"{'https' if tls else 'http'}://{LOOPBACK}:{port}",
            "topic_arns": [TOPIC],
        }

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[Site]:
        async with SesSimulator(time_factor=0.01, login=("AKIDEXAMPLE", self.secrets[0])) as amazon:

            def taken() -> list[Taken]:
                """What was lost has left too, but nobody knows it yet."""
                return [
                    Taken(sent.recipient, _text(sent.mail.get_content()), str(sent.mail["Subject"]))
                    for sent in amazon.sent
                    if not sent.recipient.startswith("reset")
                ]

            yield Site(amazon.port, taken)

    def reader(self) -> ReportReader:
        return SesReports("bench", [TOPIC], Certificates(fetch=known))

    def report_request(self, state: str) -> ReportRequest:
        return self.authentic(json.dumps({"eventType": state, "mail": {"messageId": REFERENCE}}).encode())

    def authentic(self, body: bytes) -> ReportRequest:
        """Inside a message that SNS signed, for only that can be theirs. The same text has the same message."""
        told = signed("Notification", body.decode("utf-8", "replace"), cert_url=CERT_URL, at=NOW, id_=str(hash(body)))
        return ReportRequest(
            method="POST",
            url="https://varsel.example/notifications/email/api/v1/reports/ses/bench",
            rest="",
            query={},
            headers={"content-type": "text/plain; charset=UTF-8"},
            body=json.dumps(told).encode(),
            peer=LOOPBACK,
            now=NOW,
        )

    def stranger(self, request: ReportRequest) -> ReportRequest:
        told = json.loads(request.body)
        return replace(request, body=json.dumps({**told, "Subject": "hei"}).encode())


def _text(content: str) -> str:
    return content.replace("\r\n", "\n")
