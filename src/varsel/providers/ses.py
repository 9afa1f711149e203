"""Email through Amazon SES, version 2 of its API (channels 2.5): raw mail of our own building, tagged with our id.

Nobody can ask SES what became of a message. Its events carry our id, so one whose answer was lost is still reported.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from pydantic import Field, SecretStr
from yarl import URL

from varsel.clock import Clock
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Refused,
    SendResult,
)
from varsel.domain.notification import Reason
from varsel.log import Log
from varsel.providers.aws_signature import Credentials, Signature
from varsel.providers.http_gateway import Answer, HttpGateway
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import Mailbox, is_international, parse_mailbox
from varsel.providers.mime import InvalidSender, Letter, Letters
from varsel.providers.ses_answers import Trouble, judged
from varsel.providers.ses_reports import SesReports
from varsel.providers.signed_http import note_refused_login
from varsel.providers.sns import Certificates
from varsel.settings import ProviderSettings, SafeUrl, Words

log = Log(__name__)

_PATH: Final = "/v2/email/outbound-emails"
_SUSPICIOUS: Final = 3  # so many senders that are not verified, without a success: it is the account
_NAME = r"^[A-Za-z0-9_-]{1,64}$"


class SesProviderSettings(ProviderSettings):
    type: Literal["ses"] = "ses"
    channel: Literal["email"] = "email"
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}$")
    access_key_id: str = Field(pattern=r"^[A-Za-z0-9]{4,128}$")
    secret_access_key: SecretStr
    session_token: SecretStr | None = None  # of temporary credentials
    configuration_set: str = Field(pattern=_NAME)  # carries the events
    endpoint: SafeUrl | None = None  # None: the region's own
    topic_arns: Words = ()  # SNS topics that report; none: arrival cannot be confirmed
    auto_confirm: bool = False  # subscriptions of these topics to us
    strong_signatures: bool = False  # of SNS: version 2, with SHA-256, alone
    max_message_bytes: int = Field(default=40_000_000, ge=1)  # of a whole mail
    connections: int = Field(default=10, ge=1, le=100)
    timeout: timedelta = timedelta(seconds=20)


class SesProvider:
    """One account in one region."""

    max_batch = 1

    def __init__(self, settings: SesProviderSettings, clock: Clock) -> None:
        """`clock`: of the Date header."""
        self.name = settings.name
        self.step = settings.connections
        self.confirms = Confirms.ARRIVAL if settings.topic_arns else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._clock = clock
        self._url = URL(_endpoint(settings) + _PATH, encoded=True)
        self._signature = Signature(_credentials(settings), settings.region, "ses")
        self._letters = Letters()
        self._http = HttpGateway(connections=settings.connections, timeout=settings.timeout)
        self._slots = asyncio.Semaphore(settings.connections)
        self._unverified: set[tuple[str, str]] = set()  # creators and senders

    async def send(self, batch: Sequence[Email]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(email)) for email in batch]
        return [task.result() for task in tasks]

    def reaches(self, address: str) -> bool:
        return not is_international(address)

    async def close(self) -> None:
        await self._http.close()

    async def _send(self, email: Email) -> SendResult:
        body = await self._body(email)
        if isinstance(body, Refused):
            return body
        async with self._slots:
            now = datetime.now(UTC)
            headers = self._signature.sign("POST", self._url, {"Content-Type": "application/json"}, body, now)
            answer = await self._http.post(self._url, body, headers)
        return self._result(email, answer) if isinstance(answer, Answer) else answer

    async def _body(self, email: Email) -> bytes | Refused:
        to = parse_mailbox(email.to)
        if to is None or to.international:  # SES takes ASCII before the @ alone
            return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to", unfit=to is not None)
        try:
            letter = self._letters.letter(email)
        except InvalidSender as error:
            return Refused(Reason.UNSPECIFIED, str(error))
        if email.files:  # big ones must not hold up others
            return await asyncio.to_thread(self._request, email, letter, to)
        return self._request(email, letter, to)

    def _request(self, email: Email, letter: Letter, to: Mailbox) -> bytes | Refused:
        mail = letter.fill(email.id, to, self._clock.now(), email.files, email.unsubscribe)
        if len(mail) > self._settings.max_message_bytes:
            limit = self._settings.max_message_bytes
            return Refused(Reason.PAYLOAD_TOO_LARGE, f"{len(mail)} of at most {limit} octets", unfit=True)
        document = {
            "FromEmailAddress": str(letter.sender),
            "Destination": {"ToAddresses": [str(to)]},
            "Content": {"Raw": {"Data": base64.b64encode(mail).decode()}},
            "ConfigurationSetName": self._settings.configuration_set,
            "EmailTags": [{"Name": "nid", "Value": str(email.id)}],
        }
        return json.dumps(document).encode()

    def _result(self, email: Email, answer: Answer) -> SendResult:
        result = judged(answer, datetime.now(UTC))
        match result:
            case Accepted():
                self._unverified.clear()
            case Trouble(deferred, "login"):
                note_refused_login(self.name, answer)
                return deferred
            case Trouble(deferred, "quota"):
                log.warning("ses quota exceeded", provider=self.name)
                return deferred
            case Trouble(deferred):
                return self._suspect(email, deferred)
        return result

    def _suspect(self, email: Email, deferred: Deferred) -> Deferred:
        """One sender cannot stop the others (design 8); three that are not verified mean the account."""
        self._unverified.add((email.creator, email.sender))
        log.warning("sender not verified", provider=self.name, creator=email.creator)
        return Deferred(deferred.detail, Blame.FAULT) if len(self._unverified) >= _SUSPICIOUS else deferred


def _endpoint(settings: SesProviderSettings) -> str:
    if settings.endpoint:
        return settings.endpoint.rstrip("/")
    ending = "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com"
    return f"https://email.{settings.region}.{ending}"


def _credentials(settings: SesProviderSettings) -> Credentials:
    token = settings.session_token.get_secret_value() if settings.session_token else None
    return Credentials(settings.access_key_id, settings.secret_access_key.get_secret_value().encode(), token)


def _make(settings: SesProviderSettings, tools: Tools) -> SesProvider:
    return SesProvider(settings, tools.clock)


def _reports(settings: SesProviderSettings, _tools: Tools) -> SesReports:
    return SesReports(
        settings.name,
        settings.topic_arns,
        Certificates(),
        auto_confirm=settings.auto_confirm,
        require_v2=settings.strong_signatures,
    )


PROVIDER: Final = Kind(SesProviderSettings, _make, _reports)
