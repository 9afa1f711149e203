"""Email or SMS through Apprise (channels 2.6), for services without an adapter of their own: `varsel[apprise]`.

It says yes or no, and nothing later: no reference, no reports. Its calls block, so that each runs in a thread.
"""

import asyncio
import logging
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    File,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
    Unknown,
)
from varsel.domain.address import e164
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.domain.sms_text import clean, segment
from varsel.log import Log
from varsel.providers.kind import Kind, Tools
from varsel.providers.mailbox import parse_mailbox
from varsel.providers.smtp_session import is_loopback
from varsel.settings import ProviderSettings

log = Log(__name__)

_PLACE: Final = "{to}"
_SCHEMA: Final = re.compile(r"([a-z0-9]{2,20})://")
_STRUCTURE: Final = re.compile(r"[/?#%]")  # plug-ins undo the quoting, and put what they find into addresses
_MOST_FAILURES: Final = 3  # of a message; then it has failed
_REMEMBERED: Final = 1_000  # messages that failed
_SLACK: Final = 2.0  # seconds that Apprise may be late with its own time limit

SECURE: Final = frozenset(
    {
        *("mailtos", "jsons", "xmls", "forms"),
        *("brevo", "mailersend", "mailgun", "postmark", "resend", "sendgrid", "ses", "smtp2go", "sparkpost"),
        *("46elks", "bulksms", "bulkvs", "burstsms", "clickatell", "clicksend", "d7sms", "exotel", "httpsms"),
        *("infobip", "kavenegar", "msg91", "msgbird", "plivo", "seven", "sinch", "smseagles", "smsmgr", "sns"),
        *("telesign", "telnyx", "twilio", "voipms", "vonage"),
        *("discord", "gchat", "gotifys", "matrixs", "mmosts", "nctalks", "ntfys", "rockets", "slack", "tgram"),
        *("webex", "workflows", "zulip"),
    }
)
"""Schemas that reach a service elsewhere over TLS. No other is allowed: some act on this very machine."""

_IN_CLEAR: Final = frozenset({"mailto", "json", "xml", "form", "gotify", "ntfy"})
"""Allowed to this machine alone."""


def _allowed(value: SecretStr) -> SecretStr:
    """The errors name no part of the address, which holds secrets."""
    url = value.get_secret_value()
    schema = found[1] if (found := _SCHEMA.match(url)) else ""
    if url.count(_PLACE) != 1:
        raise ValueError(f"{_PLACE} must stand once in the address, for the recipient")
    if schema in _IN_CLEAR and is_loopback(urlsplit(url).hostname or ""):
        return value
    if schema not in SECURE:
        raise ValueError(f"the address must begin with one of: {', '.join(sorted(SECURE))}")
    return value


class AppriseProviderSettings(ProviderSettings):
    type: Literal["apprise"] = "apprise"
    url: Annotated[SecretStr, AfterValidator(_allowed)]  # Apprise's address of the service, with {to} in it
    max_segments: int = Field(default=16, ge=1, le=255)  # of one SMS
    connections: int = Field(default=5, ge=1, le=50)
    timeout: timedelta = timedelta(seconds=30)

    def carries(self, text: str) -> bool:
        return len(segment(text).parts) <= self.max_segments


class AppriseProvider:
    """One service. Raises `ValueError` where Apprise is not installed."""

    max_batch = 1
    confirms = Confirms.NOTHING

    def __init__(self, settings: AppriseProviderSettings, _tools: Tools) -> None:
        self._apprise = _library(settings.name)
        self.name = settings.name
        self.step = settings.connections
        self.on_indeterminate = Indeterminate(settings.on_indeterminate)
        self._settings = settings
        self._seconds = settings.timeout.total_seconds()
        self._url = _with_limits(settings.url.get_secret_value(), self._seconds)
        self._threads = ThreadPoolExecutor(settings.connections, thread_name_prefix=f"apprise {settings.name}")
        self._failures: OrderedDict[NotificationId, int] = OrderedDict()

    async def send(self, batch: Sequence[Email | Sms]) -> list[SendResult]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(message)) for message in batch]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Does not wait for calls that are late: nobody wants their outcome any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send(self, message: Email | Sms) -> SendResult:
        prepared = self._sms(message) if isinstance(message, Sms) else _email(message)
        if isinstance(prepared, Refused):
            return prepared
        to, title, body, body_format = prepared
        url = self._url.replace(_PLACE, quote(to, safe=""))
        files = message.files if isinstance(message, Email) else ()
        call = asyncio.get_running_loop().run_in_executor(
            self._threads, self._notify, url, title, body, body_format, files
        )
        try:
            async with asyncio.timeout(self._seconds + _SLACK):
                status = await call
        except TimeoutError:
            return Unknown("the service did not answer in time")
        except Exception as error:  # noqa: BLE001 - somebody else's code for somebody else's service
            log.error("apprise raised", exc=error, provider=self.name)
            return Unknown("the library failed")
        return self._result(status, message)

    def _result(self, status: str, message: Email | Sms) -> SendResult:
        match status:
            case "SUCCESS":
                self._failures.pop(message.id, None)
                parts = len(segment(clean(message.text)).parts) if isinstance(message, Sms) else None
                return Accepted(segments=parts)
            case "FAILURE":
                return self._failed(message.id)
            case "TIMEOUT":
                return Unknown("the service did not answer in time")
            case _:
                return Deferred("the address of the service cannot be used", Blame.FAULT)

    def _failed(self, id_: NotificationId) -> Deferred | Refused:
        """It does not say why: a few times it may be the service, and then it is the message."""
        failures = self._failures.pop(id_, 0) + 1
        if failures > _MOST_FAILURES:
            return Refused(Reason.UNSPECIFIED, "the service failed again and again")
        self._failures[id_] = failures
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        return Deferred("the service failed", Blame.PROVIDER)

    def _notify(self, url: str, title: str, body: str, body_format: str, files: Sequence[File]) -> str:
        """In a thread. A new object for each message: one that is used again makes a pause of seconds in between."""
        apprise = self._apprise
        asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY, async_mode=False)
        service = apprise.Apprise(asset=asset)
        if not service.add(url):
            return "NOMATCH"
        result = service.notify(
            body=body,
            title=title,
            body_format=body_format,
            interpret_escapes=False,
            attach=_attached(apprise, files),
            timeout=self._seconds,
        )
        return str(result.status.name)

    def _sms(self, sms: Sms) -> tuple[str, str, str, str] | Refused:
        number, text = e164(sms.to), clean(sms.text)
        if number is None:
            return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
        if not self._settings.carries(text):
            return Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
        return number, "", text, "text"


def _email(email: Email) -> tuple[str, str, str, str] | Refused:
    """Recipient, title, body, and its format."""
    to = parse_mailbox(email.to)
    if to is None or _STRUCTURE.search(str(to)):
        return Refused(Reason.INVALID_EMAIL_FORMAT, "the address cannot be sent to", unfit=to is not None)
    return str(to), email.subject, email.body, "html" if email.content_type is ContentType.HTML else "text"


def _with_limits(url: str, seconds: float) -> str:
    """Apprise's own limits for connecting and reading, and no redirects."""
    return f"{url}{'&' if '?' in url else '?'}cto={seconds:.1f}&rto={seconds:.1f}&redirect=no"


def _attached(apprise: Any, files: Sequence[File]) -> Any:
    if not files:
        return None
    attachments = apprise.AppriseAttachment()
    for file in files:
        attachments.add(apprise.attachment.memory.AttachMemory(file.content, name=file.name, mimetype=file.mime_type))
    return attachments


def _library(provider: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its plug-ins have to say of the standard library
        try:
            import apprise  # noqa: PLC0415 - optional
            import apprise.attachment.memory  # noqa: PLC0415
        except ImportError:
            raise ValueError(f"provider {provider}: install Varsel with its extra: varsel[apprise]") from None
        apprise.Apprise.instantiate("json://localhost")  # loads the plug-ins, which takes a second
    for talker in ("apprise", "urllib3"):  # they write addresses and answers
        logging.getLogger(talker).setLevel(logging.CRITICAL + 1)
    return apprise


PROVIDER: Final = Kind(AppriseProviderSettings, AppriseProvider)
