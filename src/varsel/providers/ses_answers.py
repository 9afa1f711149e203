"""Pure: what an answer of Amazon SES means for a message (channels 2.5)."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from varsel.delivery.ports import Accepted, Blame, Deferred, Refused, SendResult, Unknown
from varsel.domain.notification import Reason
from varsel.providers.http_gateway import THROTTLED, Answer, fault, json_object, retry_after

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,79}")
_REFERENCE: Final = re.compile(r"[A-Za-z0-9._@-]{1,200}")
_RATE_PAUSE: Final = timedelta(seconds=2)  # the rate is so many a second
_QUOTA_PAUSE: Final = timedelta(minutes=15)  # a sliding day's quota

_TOO_FAST: Final = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling"})
_LOGIN: Final = frozenset(
    {
        "AccessDeniedException",
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ACCOUNT: Final = frozenset({"AccountSuspendedException", "SendingPausedException", "NotFoundException"})
_OF_THE_REQUEST: Final = frozenset({"BadRequestException", "InvalidParameterValue", "ValidationException"})
_ABOUT_AN_ADDRESS: Final = re.compile(r"\b(?:address|domain|recipient|destination|local part)\b", re.IGNORECASE)
_ABOUT_OUR_OWN: Final = re.compile(r"\b(?:configuration set|from|sender|source|identity|tag)\b", re.IGNORECASE)
_ABOUT_SIZE: Final = re.compile(r"\b(?:message length|message size|too large|too long)\b", re.IGNORECASE)
_ABOUT_CONTENT: Final = re.compile(r"\b(?:content|virus|spam|malware)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody should hear of, beside what it means for the message."""

    deferred: Deferred
    what: Literal["login", "quota", "sender"]


def judged(answer: Answer, now: datetime) -> SendResult | Trouble:
    """`now`: machine time. Of their words, only the name of an error is repeated."""
    if answer.status == 200:
        return _accepted(answer)
    name, message = _error(answer)
    detail = f"they answered {answer.status}{f': {name}' if name else ''}"
    return _by_words(message, detail) or _by_name(name, message, detail, answer, now) or _by_status(answer, detail)


def _accepted(answer: Answer) -> Accepted | Unknown:
    reference = (json_object(answer.body) or {}).get("MessageId")
    if isinstance(reference, str) and _REFERENCE.fullmatch(reference):
        return Accepted(reference)
    return Unknown("their answer names no message")


def _by_words(message: str, detail: str) -> SendResult | Trouble | None:
    """Some say the same under several names."""
    if "Maximum sending rate exceeded" in message:
        return Deferred(f"{detail} (rate)", Blame.PROVIDER, _RATE_PAUSE)
    if "Daily message quota exceeded" in message:
        return Trouble(Deferred(f"{detail} (daily quota)", Blame.PROVIDER, _QUOTA_PAUSE), "quota")
    if "Email address is not verified" in message:
        return Trouble(Deferred(f"{detail} (not verified)"), "sender")
    return None


def _by_name(name: str, message: str, detail: str, answer: Answer, now: datetime) -> SendResult | Trouble | None:
    wanted = retry_after(answer.headers.get("Retry-After"), now)
    result: SendResult | Trouble | None = None
    if name in _TOO_FAST or answer.status == 429:
        result = Deferred(detail, Blame.PROVIDER, wanted or _RATE_PAUSE)
    elif name == "LimitExceededException":
        result = Deferred(detail, Blame.PROVIDER, wanted or THROTTLED)
    elif name in _LOGIN or answer.status in {401, 403}:
        result = Trouble(Deferred(detail, Blame.FAULT), "login")
    elif name in _ACCOUNT:
        result = Deferred(detail, Blame.FAULT)
    elif name == "MailFromDomainNotVerifiedException":
        result = Trouble(Deferred(detail), "sender")
    elif name == "MessageRejected":
        reason = Reason.FILTERED_SPAM if _ABOUT_CONTENT.search(message) else Reason.UNSPECIFIED
        result = Refused(reason, detail)
    elif name in _OF_THE_REQUEST:
        reason = _reason(message)
        result = Refused(reason, detail, unfit=reason is Reason.PAYLOAD_TOO_LARGE)
    return result


def _reason(message: str) -> Reason:
    if _ABOUT_SIZE.search(message):
        return Reason.PAYLOAD_TOO_LARGE
    if _ABOUT_AN_ADDRESS.search(message) and not _ABOUT_OUR_OWN.search(message):
        return Reason.INVALID_EMAIL_FORMAT
    return Reason.UNSPECIFIED


def _by_status(answer: Answer, detail: str) -> SendResult:
    if answer.status == 413:
        return Refused(Reason.PAYLOAD_TOO_LARGE, detail, unfit=True)
    if answer.status >= 500 or answer.status in {408, 425}:
        return fault(answer)
    if answer.status in {400, 422}:  # of somebody between us, or an error that we do not know
        return Deferred(detail)
    return Deferred(detail, Blame.FAULT)  # nothing of theirs is at this address


def _error(answer: Answer) -> tuple[str, str]:
    """Name and message, empty where there are none."""
    body = json_object(answer.body) or {}
    told: Any = answer.headers.get("x-amzn-errortype") or body.get("__type") or body.get("code")
    name = str(told).partition(":")[0].rpartition("#")[2] if isinstance(told, str) else ""
    message: Any = body.get("message", body.get("Message"))
    return name if _NAME.fullmatch(name) else "", message if isinstance(message, str) else ""
