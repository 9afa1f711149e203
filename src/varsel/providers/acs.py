"""Email through Azure Communication Services (channels 2.4): handed over, and then asked what became of it.

`Operation-Id` is made of the notification's id, and of a count that only a known failure raises (design 8): a message
that is handed over twice leaves once, and what was lost on the way can be asked for.
"""

import asyncio
import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import uuid5

from pydantic import Field, SecretStr, TypeAdapter, model_validator
from yarl import URL

from varsel.delivery.ports import (
    Asked,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Pending,
    Refused,
    SendResult,
    Unknown,
)
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.providers.acs_answers import handed_over, operation
from varsel.providers.acs_auth import SCOPE, EntraLogin, Login, SignedLogin, read_key
from varsel.providers.acs_reports import AcsReports
from varsel.providers.client_credentials import ClientCredentials
from varsel.providers.html_text import text_of
from varsel.providers.http_gateway import Answer, HttpGateway, json_object
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import clean, parse_mailbox
from varsel.providers.signed_http import note_refused_login
from varsel.settings import DEFAULT_SECRETS, ProviderSettings, SafeUrl

MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024
_PATH: Final = re.compile(r"[/\\]")
_MAX_NAME: Final = 255
_OPERATION: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_URL: Final[TypeAdapter[str]] = TypeAdapter(SafeUrl)


class AcsProviderSettings(ProviderSettings):
    """Logs in with a connection string, or with a client of Microsoft Entra at an endpoint."""

    type: Literal["acs"] = "acs"
    channel: Literal["email"] = "email"
    connection_string: SecretStr | None = None  # endpoint=https://…;accesskey=…
    endpoint: SafeUrl | None = None
    tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]{1,100}$")
    client_id: str | None = None
    client_secret: SecretStr | None = None
    authority: SafeUrl = "https://login.microsoftonline.com"
    api_version: str = Field(default="2023-03-31", pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$")
    report_secret: SecretStr | None = None  # that Event Grid shows; none: arrival cannot be confirmed
    previous_report_secret: SecretStr | None = None  # still accepted
    connections: int = Field(default=10, ge=1, le=100)
    timeout: timedelta = timedelta(seconds=20)

    @model_validator(mode="after")
    def _one_login(self) -> "AcsProviderSettings":
        entra = (self.endpoint, self.tenant, self.client_id, self.client_secret)
        if self.connection_string is None and not all(entra):
            raise ValueError("a connection_string is needed, or endpoint, tenant, client_id and client_secret")
        if self.connection_string is not None:
            if any(entra):
                raise ValueError("a connection_string leaves no room for endpoint, tenant, client_id or client_secret")
            self.signed_by()
        return self

    def signed_by(self) -> tuple[str, bytes]:
        """Endpoint and key of the connection string. Raises `ValueError`."""
        text = self.connection_string.get_secret_value() if self.connection_string else ""
        parts = {name.strip().lower(): value for name, _, value in (part.partition("=") for part in text.split(";"))}
        endpoint = parts.get("endpoint", "")
        if not endpoint or not parts.get("accesskey"):
            raise ValueError("connection_string is not endpoint=https://…;accesskey=…")
        return _URL.validate_python(endpoint), read_key(parts["accesskey"])

    def unfit_for_production(self) -> Sequence[str]:
        default = self.report_secret is not None and self.report_secret.get_secret_value() in DEFAULT_SECRETS
        return ("report_secret is the default",) if default else ()


class AcsProvider:
    """One resource. Can be asked what became of a message, also of one whose answer was lost."""

    max_batch = 1

    def __init__(self, settings: AcsProviderSettings) -> None:
        self.name = settings.name
        self.step = settings.connections
        self.confirms = Confirms.ARRIVAL if settings.report_secret else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._http = HttpGateway(connections=settings.connections, timeout=settings.timeout)
        self._slots = asyncio.Semaphore(settings.connections)
        self._version = settings.api_version
        self._endpoint, self._login = _login(settings)
        self._ask_again = 0.0  # of the loop's clock: they have enough of our questions until then

    async def send(self, batch: Sequence[Email]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(email)) for email in batch]
        return [task.result() for task in tasks]

    async def ask(self, batch: Sequence[Asked]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(asked)) for asked in batch]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        await self._http.close()
        await self._login.close()

    async def _send(self, email: Email) -> SendResult:
        body = await asyncio.to_thread(_body, email) if email.files else _body(email)
        if isinstance(body, Refused):
            return body
        ours = operation_id(email.id, email.failures)
        headers = {"Content-Type": "application/json", "Operation-Id": ours, "x-ms-client-request-id": ours}
        async with self._slots:
            answer = await self._call("POST", "emails:send", body, headers)
        if not isinstance(answer, Answer):
            return answer
        result = handed_over(answer, datetime.now(UTC))
        if isinstance(result, Pending):
            return Pending(_named(answer) or ours, result.detail, result.ask_after)
        return result

    async def _ask(self, asked: Asked) -> SendResult:
        name = asked.reference or operation_id(asked.id, asked.failures)
        async with self._slots:
            rest = self._ask_again - asyncio.get_running_loop().time()
            if rest > 0:
                return Pending(asked.reference, "they are asked too much", timedelta(seconds=rest))
            answer = await self._call("GET", f"emails/operations/{quote(name, safe='')}", b"", {})
        if not isinstance(answer, Answer):
            return Unknown(answer.detail)
        result = operation(answer, name, datetime.now(UTC))
        if answer.status == 429 and isinstance(result, Pending) and "Retry-After" in answer.headers:
            self._ask_again = asyncio.get_running_loop().time() + result.ask_after.total_seconds()
        return result

    async def _call(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], *, again: bool = False
    ) -> Answer | Deferred | Unknown:
        url = URL(f"{self._endpoint}/{path}?api-version={self._version}", encoded=True)
        login = await self._login.headers(method, url, body)
        if isinstance(login, Deferred):
            return login
        answer = await self._http.exchange(method, url, body or None, {**headers, **login})
        if isinstance(answer, Answer) and answer.status == 401 and not again and self._login.refused(login):
            return await self._call(method, path, body, headers, again=True)
        if isinstance(answer, Answer) and answer.status in {401, 403}:
            note_refused_login(self.name, answer)
        return answer


def operation_id(notification: NotificationId, failures: int) -> str:
    """What a try is called there: the same one until a try is known to have failed."""
    return str(uuid5(notification, str(failures)))


def _login(settings: AcsProviderSettings) -> tuple[str, Login]:
    """The endpoint, without a slash at its end, and how to log in there."""
    if settings.connection_string is not None:
        endpoint, key = settings.signed_by()
        return endpoint.rstrip("/"), SignedLogin(key)
    assert settings.endpoint
    assert settings.client_id
    assert settings.client_secret
    tokens = ClientCredentials(
        f"{settings.authority.rstrip('/')}/{settings.tenant}/oauth2/v2.0/token",
        settings.client_id,
        settings.client_secret.get_secret_value(),
        SCOPE,
        timeout=settings.timeout,
    )
    return settings.endpoint.rstrip("/"), EntraLogin(tokens)


def _body(email: Email) -> bytes | Refused:
    """The request, or why there can be none."""
    to, sender = parse_mailbox(email.to), parse_mailbox(parseaddr(clean(email.sender))[1])
    if to is None:
        return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to")
    if sender is None:
        return Refused(Reason.UNSPECIFIED, "the sender's address is not valid")
    headers = {"X-Notification-Id": str(email.id)}
    if email.unsubscribe:
        headers |= {"List-Unsubscribe": f"<{email.unsubscribe}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    document = {
        "senderAddress": str(sender),
        "recipients": {"to": [{"address": str(to)}]},
        "content": {"subject": clean(email.subject), **_texts(email)},
        "headers": headers,
        "attachments": [
            {
                "name": _PATH.sub("", clean(file.name)).strip()[:_MAX_NAME] or "file",
                "contentType": file.mime_type,
                "contentInBase64": base64.b64encode(file.content).decode(),
            }
            for file in email.files
        ],
        "userEngagementTrackingDisabled": True,
    }
    body = json.dumps(document, ensure_ascii=False).encode()
    if len(body) > MAX_REQUEST_BYTES:
        return Refused(Reason.PAYLOAD_TOO_LARGE, f"{len(body)} of at most {MAX_REQUEST_BYTES} octets", unfit=True)
    return body


def _texts(email: Email) -> dict[str, str]:
    """An HTML body has a text beside it for those who cannot show it (channels 2.2)."""
    body = _fit(email.body)
    return {"plainText": text_of(body), "html": body} if email.content_type is ContentType.HTML else {"plainText": body}


def _fit(text: str) -> str:
    """For JSON: without NUL or lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _named(answer: Answer) -> str | None:
    """What they call the operation, should they have another name for it than ours."""
    named: Any = (json_object(answer.body) or {}).get("id")
    return named if isinstance(named, str) and _OPERATION.fullmatch(named) else None


def _make(settings: AcsProviderSettings, _tools: Tools) -> AcsProvider:
    return AcsProvider(settings)


def _reports(settings: AcsProviderSettings, _tools: Tools) -> AcsReports:
    secrets = (settings.report_secret, settings.previous_report_secret)
    return AcsReports(settings.name, [secret.get_secret_value() for secret in secrets if secret])


PROVIDER: Final = Kind(AcsProviderSettings, _make, _reports, asks=True)
