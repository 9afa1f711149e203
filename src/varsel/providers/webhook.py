"""Email or SMS through a gateway without an adapter of its own: signed JSON both ways (channels 3.6, 7.3).

Every try of a message has the same `Idempotency-Key` and `webhook-id`: the notification's id.
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from varsel.delivery.ports import (
    Accepted,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
    Unknown,
)
from varsel.domain.address import e164
from varsel.domain.notification import Channel, Reason
from varsel.domain.signatures import headers_of, secret_of
from varsel.domain.sms_text import clean, segment
from varsel.log import Log
from varsel.providers.causes import CAUSES, OTHER, SENDER_REFUSED
from varsel.providers.client_credentials import ClientCredentials
from varsel.providers.http_gateway import Answer, HttpGateway, concerns_us, fault, json_object
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import parse_mailbox
from varsel.providers.webhook_reports import STATES, WebhookReports, found_at
from varsel.settings import ProviderSettings, SafeUrl

log = Log(__name__)

_MAX_ANSWER_BYTES: Final = 64 * 1024
_MAX_REFERENCE: Final = 200


def _secret(value: SecretStr) -> SecretStr:
    secret_of(value.get_secret_value())
    return value


def _printable(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("a header's value is printable ASCII")
    return value


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[SecretStr, AfterValidator(_printable)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_secret)]
Named = Literal["reference", "status", "cause", "attemptId", "state", "time", "detail"]


class WebhookProviderSettings(ProviderSettings):
    """`fields`: where a gateway puts what we look for: dotted paths, by our name. `states`: its words for ours."""

    type: Literal["webhook"] = "webhook"
    url: SafeUrl
    secret: WebhookSecret  # whsec_…: signs what we send, and the reports
    previous_secret: WebhookSecret | None = None  # of reports only
    headers: dict[HeaderName, HeaderValue] = Field(default={})  # sent with every message
    token_url: SafeUrl | None = None  # OAuth client credentials
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scope: str | None = None
    reports: bool = True  # false: the gateway does not report, and no arrival is confirmed
    fields: dict[Named, str] = Field(default={})
    states: dict[str, str] = Field(default={})
    max_segments: int = Field(default=16, ge=1, le=255)  # of one SMS
    connections: int = Field(default=10, ge=1, le=100)
    timeout: timedelta = timedelta(seconds=20)

    def carries(self, text: str) -> bool:
        return len(segment(text).parts) <= self.max_segments

    @model_validator(mode="after")
    def _fits_together(self) -> "WebhookProviderSettings":
        login = (self.token_url, self.client_id, self.client_secret)
        if any(login) and not all(login):
            raise ValueError("token_url, client_id and client_secret belong together")
        if unknown := sorted(set(self.states.values()) - STATES[Channel(self.channel)].keys()):
            raise ValueError(f"states: these are no results of {self.channel}: {', '.join(unknown)}")
        return self


class WebhookProvider:
    """One gateway, for one channel."""

    max_batch = 1

    def __init__(self, settings: WebhookProviderSettings, tools: Tools) -> None:
        self.name = settings.name
        self.step = settings.connections
        self.confirms = Confirms.ARRIVAL if settings.reports else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._channel = Channel(settings.channel)
        self._clock = tools.clock
        self._key = secret_of(settings.secret.get_secret_value())
        base = tools.base_url.rstrip("/")
        self._callback = f"{base}/notifications/{settings.channel}/api/v1/reports/webhook/{settings.name}"
        self._slots = asyncio.Semaphore(settings.connections)
        self._http = HttpGateway(
            connections=settings.connections, timeout=settings.timeout, max_answer_bytes=_MAX_ANSWER_BYTES
        )
        self._credentials = _credentials(settings)

    async def send(self, batch: Sequence[Email | Sms]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(message)) for message in batch]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        await self._http.close()
        if self._credentials:
            await self._credentials.close()

    async def _send(self, message: Email | Sms) -> SendResult:
        content = self._sms(message) if isinstance(message, Sms) else self._email(message)
        if isinstance(content, Refused):
            return content
        seconds = max(1, int((message.expires_at - self._clock.now()).total_seconds()))
        shared = {"id": str(message.id), "attemptId": str(message.id), "validitySeconds": seconds}
        callback = {"callbackUrl": self._callback} if self._settings.reports else {}
        body = await _serialised({**shared, **content, **callback}, large=isinstance(message, Email) and message.files)
        async with self._slots:
            result = await self._post(str(message.id), body)
        if isinstance(result, Accepted) and isinstance(message, Sms):
            return Accepted(result.reference, result.detail, content["segments"])
        return result

    def _sms(self, sms: Sms) -> dict[str, Any] | Refused:
        to, text = e164(sms.to), clean(sms.text)
        if to is None:
            return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
        segments = segment(text)
        if not self._settings.carries(text):
            return Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
        encoding, count = segments.alphabet.value, len(segments.parts)
        return {"to": to, "from": sms.sender, "text": text, "encoding": encoding, "segments": count}

    def _email(self, email: Email) -> dict[str, Any] | Refused:
        to = parse_mailbox(email.to)
        if to is None:
            return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to")
        content: dict[str, Any] = {"to": str(to), "from": email.sender, "subject": email.subject}
        content |= {"body": email.body, "contentType": email.content_type.value}
        if email.unsubscribe:
            content["unsubscribeUrl"] = email.unsubscribe
        content["attachments"] = [(file.name, file.mime_type, file.content) for file in email.files]
        return content

    async def _post(self, message: str, body: bytes) -> SendResult:
        answer = await self._ask(message, body)
        if isinstance(answer, Answer) and answer.status == 401 and self._credentials:
            answer = await self._ask(message, body)  # with a new token: the old one may have been withdrawn
        return self._result(answer) if isinstance(answer, Answer) else answer

    async def _ask(self, message: str, body: bytes) -> Answer | Deferred | Unknown:
        token = await self._credentials.token() if self._credentials else ""
        if isinstance(token, Deferred):
            return token
        answer = await self._http.post(self._settings.url, body, self._headers(message, body, token))
        if isinstance(answer, Answer) and answer.status == 401 and self._credentials:
            self._credentials.forget(token)
        return answer

    def _headers(self, message: str, body: bytes, token: str) -> Mapping[str, str]:
        at = int(datetime.now(UTC).timestamp())
        headers = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": message}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers | headers_of(message, body, [self._key], at=at)

    def _result(self, answer: Answer) -> SendResult:
        body = json_object(answer.body) or {}
        reference = self._told(body, "reference")
        if answer.status == 409 and reference:
            return Accepted(reference, "it had been accepted before")
        if 200 <= answer.status < 300:
            return self._answered(body, reference)
        if 400 <= answer.status < 500 and not concerns_us(answer.status):
            too_large = answer.status == 413 and self._channel is Channel.EMAIL
            reason = Reason.PAYLOAD_TOO_LARGE if too_large else Reason.UNSPECIFIED
            return Refused(reason, f"the gateway answered {answer.status}", unfit=too_large)
        return fault(answer)

    def _answered(self, body: Mapping[str, Any], reference: str | None) -> SendResult:
        match self._told(body, "status"):
            case "accepted":
                return Accepted(reference)
            case "rejected":
                return self._rejected(self._told(body, "cause") or "other")
            case None if reference:
                return Accepted(reference)
            case _:
                return Unknown("the gateway's answer does not say what became of the message")

    def _rejected(self, cause: str) -> Refused:
        known = CAUSES.get(cause, OTHER)
        if cause == SENDER_REFUSED:
            log.warning("gateway refuses the sender", provider=self.name)
        detail = f"the gateway refused it: {cause if cause in CAUSES else 'other'}"
        return Refused(known.reason(self._channel), detail, known.suppression(self._channel))

    def _told(self, body: Mapping[str, Any], name: Named) -> str | None:
        value = found_at(body, self._settings.fields.get(name, name))
        return value[:_MAX_REFERENCE] if value else None


async def _serialised(content: dict[str, Any], *, large: object) -> bytes:
    """Big ones must not hold up others."""
    return await asyncio.to_thread(_dumped, content) if large else _dumped(content)


def _dumped(content: dict[str, Any]) -> bytes:
    if "attachments" in content:
        content["attachments"] = [
            {"filename": name, "mimeType": mime_type, "content": base64.b64encode(data).decode()}
            for name, mime_type, data in content["attachments"]
        ]
    return json.dumps(content).encode()


def _credentials(settings: WebhookProviderSettings) -> ClientCredentials | None:
    if not (settings.token_url and settings.client_id and settings.client_secret):
        return None
    secret = settings.client_secret.get_secret_value()
    return ClientCredentials(settings.token_url, settings.client_id, secret, settings.scope, timeout=settings.timeout)


def _reports(settings: WebhookProviderSettings, _tools: Tools) -> WebhookReports:
    secrets = [secret for secret in (settings.secret, settings.previous_secret) if secret]
    return WebhookReports(
        settings.name,
        Channel(settings.channel),
        [secret_of(secret.get_secret_value()) for secret in secrets],
        fields={str(name): path for name, path in settings.fields.items()},
        states=settings.states,
    )


PROVIDER: Final = Kind(WebhookProviderSettings, WebhookProvider, _reports)
