"""Pure: what the answers of Azure Communication Services mean for a message (channels 4.3.2, two tables)."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

from varsel.delivery.ports import (
    Accepted,
    Blame,
    Deferred,
    Pending,
    Refused,
    SendResult,
    Suppress,
    Unknown,
)
from varsel.domain.notification import Reason
from varsel.providers.http_gateway import THROTTLED, Answer, fault, json_object, retry_after

_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,59}")
_SUPPRESSED: Final = "EmailDroppedAllRecipientsSuppressed"
_BAD_ADDRESS: Final = "Invalid format for email address"
_THROTTLED_CODE: Final = "TooManyRequests"
_LATER: Final = frozenset({408, 425})
_PATIENCE: Final = timedelta(seconds=8)  # before it is asked for, where they do not say


def handed_over(answer: Answer, now: datetime) -> SendResult:
    """To a message. `Pending`: they have it, under a name that the caller knows. `now`: machine time."""
    wanted = retry_after(answer.headers.get("Retry-After"), now)
    if 200 <= answer.status < 300:
        return Pending(ask_after=wanted or _PATIENCE)
    code, message = _error(answer)
    detail = _detail(answer, code)
    result: SendResult
    match answer.status:
        case 429:
            result = Deferred(detail, Blame.PROVIDER, wanted or THROTTLED)
        case _ if code == _THROTTLED_CODE:
            result = Deferred(detail, Blame.PROVIDER, wanted or THROTTLED)
        case _ if refused := _about_the_recipient(code, message, detail):
            result = refused
        case 413:
            result = Refused(Reason.PAYLOAD_TOO_LARGE, detail, unfit=True)
        case 401 | 403:
            result = Deferred(detail, Blame.FAULT)
        case status if status >= 500 or status in _LATER:
            result = fault(answer)
        case status if 400 <= status < 500 and code:
            result = Refused(Reason.UNSPECIFIED, detail)
        case 400 | 422:  # of somebody between us, who does not like this message
            result = Deferred(detail)
        case _:  # nothing of theirs is at this address
            result = Deferred(detail, Blame.FAULT)
    return result


def operation(answer: Answer, name: str, now: datetime) -> SendResult:
    """To a question for what became of an operation. Whatever is not plain leaves everything as it is."""
    wanted = retry_after(answer.headers.get("Retry-After"), now)
    code, message = _error(answer)
    if answer.status == 429:
        return Pending(None, _detail(answer, code), wanted or _PATIENCE)
    if answer.status == 404 and code:  # theirs, and not of somebody between us
        return Deferred("they do not know the operation")
    status = (json_object(answer.body) or {}).get("status") if answer.status == 200 else None
    result: SendResult
    match status:
        case "NotStarted" | "Running":
            result = Pending(name, "", wanted or _PATIENCE)
        case "Succeeded":
            result = Accepted(name)
        case "Failed":
            detail = f"the operation failed: {code or 'they do not say why'}"
            result = _about_the_recipient(code, message, detail) or Refused(Reason.UNSPECIFIED, detail)
        case "Canceled":
            result = Refused(Reason.UNSPECIFIED, "the operation was canceled")
        case _:
            result = Unknown(_detail(answer, code))
    return result


def _about_the_recipient(code: str, message: str, detail: str) -> Refused | None:
    if code == _SUPPRESSED:
        return Refused(Reason.SUPPRESSED_RECIPIENT, detail, Suppress.PROVIDER_LIST)
    if _BAD_ADDRESS in message:
        return Refused(Reason.INVALID_EMAIL_FORMAT, detail)
    return None


def _error(answer: Answer) -> tuple[str, str]:
    """Code and message, empty where there are none. The message may hold an address: it is never repeated."""
    error: Any = (json_object(answer.body) or {}).get("error")
    code = error.get("code") if isinstance(error, dict) else answer.headers.get("x-ms-error-code")
    message = error.get("message") if isinstance(error, dict) else None
    known = isinstance(code, str) and _CODE.fullmatch(code)
    return str(code) if known else "", message if isinstance(message, str) else ""


def _detail(answer: Answer, code: str) -> str:
    return f"they answered {answer.status}{f': {code}' if code else ''}"
