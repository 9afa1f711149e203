"""Status callbacks of Twilio's kind: their signature, and what they say (channels 3.5, 4.4.4, 5.4)."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.providers.kind import ReportAnswer, ReportRequest

MAX_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"
_SID: Final = re.compile(r"[A-Za-z0-9]{2,64}")
_STATUS: Final = re.compile(r"[a-z_-]{1,32}")
_CODE: Final = re.compile(r"[0-9]{1,6}")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_UNDER_WAY: Final = frozenset({"accepted", "scheduled", "queued", "sending"})  # says nothing that we do not know
_INBOUND: Final = frozenset({"receiving", "received"})


@dataclass(frozen=True, slots=True)
class _Meaning:
    verdict: Verdict
    reason: Reason | None = None
    soft: bool = False
    suppress: Suppress | None = None


_FAILED: Final = _Meaning(Verdict.FAILED, Reason.UNSPECIFIED)
_UNDELIVERED: Final = _Meaning(Verdict.FAILED, Reason.UNDELIVERED)
_BARRED: Final = _Meaning(Verdict.FAILED, Reason.BARRED_RECEIVER, suppress=Suppress.BARRED)
_REJECTED: Final = _Meaning(Verdict.FAILED, Reason.REJECTED)
_SOFT: Final = _Meaning(Verdict.FAILED, Reason.UNSPECIFIED, soft=True)

STATUSES: Final[Mapping[str, _Meaning]] = {
    "sent": _Meaning(Verdict.DELAYED),
    "delivered": _Meaning(Verdict.DELIVERED),
    "read": _Meaning(Verdict.DELIVERED),
    "canceled": _Meaning(Verdict.FAILED, Reason.DELETED),
    "undelivered": _UNDELIVERED,
    "failed": _FAILED,
}
CODES: Final[Mapping[int, _Meaning]] = {
    30001: _SOFT,  # the queue overflowed; what the gateway took cannot be taken back to be sent again
    30002: _SOFT,  # the account is suspended
    30003: _UNDELIVERED,
    30004: _BARRED,
    30005: _BARRED,
    30006: _Meaning(Verdict.FAILED, Reason.INVALID_RECIPIENT),
    30007: _REJECTED,
    30008: _SOFT,
    30010: _REJECTED,
    30034: _REJECTED,
    30036: _Meaning(Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER),
}
"""Of `undelivered` and `failed`, by the carrier's error code; others of 30000-39999 are undelivered."""


class TwilioReports:
    """Of one account. `tokens`: any of them may have signed."""

    max_bytes = MAX_BYTES

    def __init__(self, provider: str, tokens: Sequence[str]) -> None:
        self._provider = provider
        self._tokens = [token.encode() for token in tokens]

    async def read(self, request: ReportRequest) -> ReportAnswer:
        if request.method != "POST":
            return ReportAnswer(405, headers={"Allow": "POST"})
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in {_FORM, "application/json"}:
            return ReportAnswer(415, body=b"The content type must be that of a form, or JSON.")
        try:
            form = _pairs(request.body) if content_type == _FORM else []
        except ValueError:
            return ReportAnswer(400, body=b"The form cannot be read.")
        if not self._signed(request, form, content_type):
            return ReportAnswer(401, body=b"Wrong or missing signature.")
        fields = dict(form) if content_type == _FORM else _members(request.body)
        return self._answer(fields, request)

    def _signed(self, request: ReportRequest, form: list[tuple[str, str]], content_type: str) -> bool:
        if content_type != _FORM:
            told = request.query.get("bodySHA256", "")
            if not hmac.compare_digest(told.lower().encode(), hashlib.sha256(request.body).hexdigest().encode()):
                return False
        given = request.headers.get("x-twilio-signature", "").encode()
        addresses = list(_spellings(request.url))
        wanted = [signature(token, address, form).encode() for token in self._tokens for address in addresses]
        return any(hmac.compare_digest(given, one) for one in wanted)

    def _answer(self, fields: Mapping[str, str], request: ReportRequest) -> ReportAnswer:
        sid, status = fields.get("MessageSid", ""), fields.get("MessageStatus", "")
        if not _SID.fullmatch(sid) or not _STATUS.fullmatch(status):
            return ReportAnswer(400, [self._malformed(request)], b"MessageSid or MessageStatus is missing.")
        if status in _UNDER_WAY or status in _INBOUND:
            return ReportAnswer(204)
        code = fields.get("ErrorCode", "")
        code = code if _CODE.fullmatch(code) else ""
        meaning = meaning_of(status, int(code) if code else None)
        report = Report(
            provider=self._provider,
            event_key=f"{sid}:{status}",
            channel=Channel.SMS,
            verdict=meaning.verdict,
            raw_state=status,
            notification=_notification(request.rest),
            reference=sid,
            reason=meaning.reason,
            soft=meaning.soft,
            detail=f"error code {code}" if code else "",
            payload={"reference": sid, "state": status, "errorCode": code},
            suppress=meaning.suppress,
        )
        return ReportAnswer(204, [report])

    def _malformed(self, request: ReportRequest) -> Report:
        """Signed, and yet no callback: kept for an operator, without its values, which are numbers and texts."""
        return Report(
            provider=self._provider,
            event_key=hashlib.sha256(request.body).hexdigest(),
            channel=Channel.SMS,
            verdict=Verdict.UNRECOGNISED,
            raw_state="",
            detail="malformed: MessageSid or MessageStatus is missing",
            notification=_notification(request.rest),
        )


def meaning_of(status: str, code: int | None) -> _Meaning:
    if status in {"undelivered", "failed"} and code is not None:
        return CODES.get(code) or (_UNDELIVERED if 30_000 <= code < 40_000 else STATUSES[status])
    return STATUSES.get(status, _Meaning(Verdict.UNRECOGNISED))


def signature(token: bytes, url: str, parameters: Sequence[tuple[str, str]]) -> str:
    """Of the whole address and all parameters, sorted by name, without anything between them."""
    signed = url + "".join(name + value for name, value in sorted(parameters))
    return base64.b64encode(hmac.digest(token, signed.encode(), "sha1")).decode()


def _spellings(url: str) -> Iterator[str]:
    """The address with and without the port that its scheme implies."""
    parts = urlsplit(url)
    default = _DEFAULT_PORTS.get(parts.scheme)
    yield url
    if default and parts.netloc.endswith(f":{default}"):
        yield parts._replace(netloc=parts.netloc.removesuffix(f":{default}")).geturl()
    elif default and re.search(r":[0-9]+$", parts.netloc) is None:
        yield parts._replace(netloc=f"{parts.netloc}:{default}").geturl()


def _pairs(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)


def _members(body: bytes) -> dict[str, str]:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    return {str(name): str(member) for name, member in value.items() if isinstance(member, str | int)}


def _notification(rest: str) -> NotificationId | None:
    try:
        return NotificationId(UUID(rest))
    except ValueError:
        return None
