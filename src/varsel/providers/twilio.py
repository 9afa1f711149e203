"""SMS through a REST gateway of Twilio's kind (channels 3.5, 4.4.4): one request for each message, signed callbacks.

The address of the callback names the notification: when the answer to our request is lost, the callback repairs it.
"""

import asyncio
import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urlencode

from pydantic import Field, SecretStr, model_validator

from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
    Suppress,
    Unknown,
)
from varsel.domain.address import e164
from varsel.domain.notification import Reason
from varsel.domain.sms_text import clean, segment
from varsel.log import Log
from varsel.providers.http_gateway import THROTTLED, Answer, HttpGateway, fault, json_object, retry_after
from varsel.providers.kind import Kind, Tools
from varsel.providers.twilio_reports import TwilioReports
from varsel.settings import ProviderSettings, SafeUrl

log = Log(__name__)

MAX_CHARACTERS: Final = 1_600
MAX_VALIDITY: Final = 36_000  # seconds
_SHORT_CODE: Final = re.compile(r"[0-9]{3,6}")
_DIGITS: Final = re.compile(r"[0-9]{7,15}")

_BY_CODE: Final[dict[int, Refused]] = {
    21211: Refused(Reason.INVALID_RECIPIENT),
    21614: Refused(Reason.INVALID_RECIPIENT),
    21408: Refused(Reason.UNDELIVERED),
    21612: Refused(Reason.UNDELIVERED),
    21610: Refused(Reason.BARRED_RECEIVER, suppress=Suppress.BARRED),
    21602: Refused(Reason.UNSPECIFIED),
    21617: Refused(Reason.UNSPECIFIED),
}
_LOGIN: Final = 20003
_THROTTLED: Final = frozenset({20429, 21611})
_SENDER: Final = frozenset({21212, 21606, 21607})
_NO_ROUTE: Final = frozenset({21408, 21612})  # the account may lack a region: an operator should hear of it


class TwilioProviderSettings(ProviderSettings):
    type: Literal["twilio"] = "twilio"
    channel: Literal["sms"] = "sms"
    url: SafeUrl = "https://api.twilio.com"
    account_sid: str = Field(pattern=r"^[A-Za-z0-9]{2,64}$")
    auth_token: SecretStr  # also signs the callbacks
    previous_auth_token: SecretStr | None = None  # of callbacks only
    api_key: str | None = None  # to log in with, instead of the account's own token
    api_secret: SecretStr | None = None
    messaging_service_sid: str | None = None  # chooses the sender, instead of the order
    status_callbacks: bool = True  # false: arrival cannot be confirmed
    connections: int = Field(default=10, ge=1, le=100)
    timeout: timedelta = timedelta(seconds=10)

    def carries(self, text: str) -> bool:
        return len(text) <= MAX_CHARACTERS

    @model_validator(mode="after")
    def _key_with_secret(self) -> "TwilioProviderSettings":
        if (self.api_key is None) != (self.api_secret is None):
            raise ValueError("api_key and api_secret belong together")
        return self


class TwilioProvider:
    """One account. `callback`: where its status callbacks go, without the notification's id at the end."""

    max_batch = 1

    def __init__(self, settings: TwilioProviderSettings, tools: Tools) -> None:
        self.name = settings.name
        self.step = settings.connections
        self.confirms = Confirms.ARRIVAL if settings.status_callbacks else Confirms.NOTHING
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._clock = tools.clock
        self._callback = f"{tools.base_url.rstrip('/')}/notifications/sms/api/v1/reports/twilio/{settings.name}/"
        self._url = f"{settings.url.rstrip('/')}/2010-04-01/Accounts/{settings.account_sid}/Messages.json"
        self._headers = {"Authorization": _login(settings), "Content-Type": "application/x-www-form-urlencoded"}
        self._slots = asyncio.Semaphore(settings.connections)
        self._http = HttpGateway(connections=settings.connections, timeout=settings.timeout)

    async def send(self, batch: Sequence[Sms]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(sms)) for sms in batch]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        await self._http.close()

    async def _send(self, sms: Sms) -> SendResult:
        to, text = e164(sms.to), clean(sms.text)
        if to is None:
            return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
        if not self._settings.carries(text):
            return Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
        form = urlencode(self._form(sms, to, text, self._clock.now()))
        async with self._slots:
            answer = await self._http.post(self._url, form.encode(), self._headers)
        return self._result(answer, text) if isinstance(answer, Answer) else answer

    def _form(self, sms: Sms, to: str, text: str, now: datetime) -> dict[str, str]:
        service = self._settings.messaging_service_sid
        seconds = int((sms.expires_at - now).total_seconds())
        form = {"To": to, "Body": text, "SmartEncoded": "false"}
        form |= {"MessagingServiceSid": service} if service else {"From": _sender(sms.sender)}
        form["ValidityPeriod"] = str(min(max(seconds, 1), MAX_VALIDITY))
        if self._settings.status_callbacks:
            form["StatusCallback"] = f"{self._callback}{sms.id}"
        return form

    def _result(self, answer: Answer, text: str) -> SendResult:
        body = json_object(answer.body)
        if 200 <= answer.status < 300:
            return _accepted(body or {}, text)
        code = _integer((body or {}).get("code"))
        if code is None:
            return fault(answer)
        return self._refused(code, answer)

    def _refused(self, code: int, answer: Answer) -> SendResult:
        detail = f"the gateway answered {answer.status}: {code}"
        if code == _LOGIN or answer.status in {401, 403}:
            return Deferred(detail, Blame.FAULT)
        if code in _THROTTLED or answer.status == 429:
            wanted = retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
            return Deferred(detail, Blame.PROVIDER, wanted or THROTTLED)
        if code in _SENDER:
            return self._wrong_sender(detail)
        if code in _NO_ROUTE:
            log.warning("gateway has no route", provider=self.name, code=code)
        if found := _BY_CODE.get(code):
            return Refused(found.reason, detail, found.suppress)
        return Refused(Reason.UNSPECIFIED, detail) if answer.status == 400 else fault(answer)

    def _wrong_sender(self, detail: str) -> SendResult:
        """The order's own sender is its own fault; one that our settings choose is ours (design 8)."""
        log.warning("gateway refuses the sender", provider=self.name)
        if self._settings.messaging_service_sid:
            return Deferred(detail, Blame.FAULT)
        return Refused(Reason.REJECTED, detail)


def _login(settings: TwilioProviderSettings) -> str:
    name = settings.api_key or settings.account_sid
    secret = settings.api_secret or settings.auth_token
    return f"Basic {base64.b64encode(f'{name}:{secret.get_secret_value()}'.encode()).decode()}"


def _sender(given: str) -> str:
    """A number in full has its plus; a short code and a name stand as they are."""
    digits = given.strip().removeprefix("+")
    return f"+{digits}" if _DIGITS.fullmatch(digits) and not _SHORT_CODE.fullmatch(digits) else given


def _accepted(body: dict[str, Any], text: str) -> Accepted | Unknown:
    sid = body.get("sid")
    if not isinstance(sid, str) or not sid:
        return Unknown("the gateway's answer names no message")
    segments = _integer(body.get("num_segments")) or len(segment(text).parts)
    return Accepted(sid, segments=segments)


def _integer(value: object) -> int | None:
    """Numbers come as numbers and as texts."""
    text = str(value)
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) and not isinstance(value, bool) else None


def _reports(settings: TwilioProviderSettings, _tools: Tools) -> TwilioReports:
    tokens = (settings.auth_token, settings.previous_auth_token)
    return TwilioReports(settings.name, [token.get_secret_value() for token in tokens if token])


PROVIDER: Final = Kind(TwilioProviderSettings, TwilioProvider, _reports)
