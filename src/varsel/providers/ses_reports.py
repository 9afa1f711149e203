"""Amazon SES's events, as SNS brings them (channels 2.5, 4.3.3, 5.3)."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.log import Log
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.providers.mailbox import redact
from varsel.providers.sns import Certificates, Message, Unfetched, address_of, call, read_message
from varsel.providers.webhook_reports import found_at

log = Log(__name__)

MAX_BYTES: Final = 320 * 1024
_OLDEST: Final = timedelta(hours=1)
_AHEAD: Final = timedelta(minutes=5)
_MAX_TEXT: Final = 320
_TYPES: Final = frozenset({"text/plain", "application/json", ""})


@dataclass(frozen=True, slots=True)
class Meaning:
    verdict: Verdict
    reason: Reason | None = None
    suppress: Suppress | None = None


def _failed(reason: Reason, suppress: Suppress | None = None) -> Meaning:
    return Meaning(Verdict.FAILED, reason, suppress)


_UNRECOGNISED: Final = Meaning(Verdict.UNRECOGNISED)
_BOUNCED: Final = _failed(Reason.BOUNCED)
_GONE: Final = _failed(Reason.BOUNCED, Suppress.HARD_BOUNCE)
_LISTED: Final = _failed(Reason.SUPPRESSED_RECIPIENT, Suppress.PROVIDER_LIST)

BOUNCES: Final[Mapping[tuple[str, str], Meaning]] = {
    ("Permanent", "General"): _GONE,
    ("Permanent", "NoEmail"): _GONE,
    ("Permanent", "Suppressed"): _LISTED,
    ("Permanent", "OnAccountSuppressionList"): _LISTED,
    ("Permanent", "OnTenantSuppressionList"): _LISTED,
    ("Permanent", "UnsubscribedRecipient"): _failed(Reason.SUPPRESSED_RECIPIENT, Suppress.UNSUBSCRIBE),
    ("Transient", "General"): _BOUNCED,
    ("Transient", "MailboxFull"): _BOUNCED,
    ("Transient", "CustomTimeoutExceeded"): _BOUNCED,
    ("Transient", "MessageTooLarge"): _failed(Reason.PAYLOAD_TOO_LARGE),
    ("Transient", "AttachmentRejected"): _failed(Reason.FILTERED_SPAM),
    ("Transient", "ContentRejected"): _failed(Reason.FILTERED_SPAM),
    ("Undetermined", "Undetermined"): _BOUNCED,
}
"""SES has given up, whatever they are called: there is nothing to try again."""

_MINDED: Final = Meaning(Verdict.COMPLAINT, suppress=Suppress.COMPLAINT)
COMPLAINTS: Final[Mapping[str, Meaning]] = {
    **dict.fromkeys(("abuse", "fraud", "virus", "other", "auth-failure", ""), _MINDED),
    "not-spam": Meaning(Verdict.COMPLAINT),
}
_OF_A_LISTED_ONE: Final = _failed(Reason.SUPPRESSED_RECIPIENT, Suppress.COMPLAINT)
_IGNORED: Final = frozenset({"Send", "Open", "Click", "Subscription"})


@dataclass(frozen=True, slots=True)
class _Said:
    """What one event says."""

    state: str
    meaning: Meaning
    detail: str = ""
    recipients: int = 1
    kept: Mapping[str, str] = field(default_factory=dict)


class SesReports:
    """Of one account. `topics`: only these may report."""

    max_bytes = MAX_BYTES

    def __init__(
        self,
        provider: str,
        topics: Collection[str],
        certificates: Certificates,
        *,
        auto_confirm: bool = False,
        require_v2: bool = False,
    ) -> None:
        self._provider = provider
        self._topics = frozenset(topics)
        self._certificates = certificates
        self._auto_confirm = auto_confirm
        self._require_v2 = require_v2

    async def read(self, request: ReportRequest) -> ReportAnswer:
        if request.method != "POST":
            return ReportAnswer(405, headers={"Allow": "POST"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
            return ReportAnswer(415, body=b"The content type must be text/plain or JSON.")
        message = read_message(request.body)
        if message is None:
            return ReportAnswer(400, body=b"Not a message of SNS.")
        try:
            genuine = await self._is_genuine(message, request)
        except Unfetched:
            return ReportAnswer(503, body=b"The certificate could not be fetched.", headers={"Retry-After": "60"})
        if not genuine:
            return ReportAnswer(401, body=b"Not a topic that may report, or a wrong or old signature.")
        return await self._received(message)

    async def _is_genuine(self, message: Message, request: ReportRequest) -> bool:
        """The topic is looked at first: for others nothing is ever fetched."""
        at = message.sent_at
        if message.topic not in self._topics or at is None or not -_AHEAD <= request.now - at <= _OLDEST:
            return False
        if self._require_v2 and message.fields.get("SignatureVersion") != "2":
            return False
        return bool(message.fields.get("MessageId")) and await self._certificates.vouches(message, request.now)

    async def _received(self, message: Message) -> ReportAnswer:
        match message.type:
            case "Notification":
                report = self._report(message)
                return ReportAnswer(200, [report] if report else [])
            case "SubscriptionConfirmation" if self._auto_confirm:
                return await self._confirm(message)
            case _:  # an operator has to decide
                log.warning("sns subscription changed", provider=self._provider, kind=message.type)
                return ReportAnswer(200, [self._kept(message)])

    async def _confirm(self, message: Message) -> ReportAnswer:
        url = address_of(message, "SubscribeURL")
        if url is None or not self._certificates.trust(url, message.topic):
            return ReportAnswer(401, body=b"That is not where topics are confirmed.")
        if await call(url) != 200:
            return ReportAnswer(503, body=b"The subscription could not be confirmed.", headers={"Retry-After": "60"})
        log.info("sns subscription confirmed", provider=self._provider)
        return ReportAnswer(200)

    def _report(self, message: Message) -> Report | None:
        """None for an event that says nothing new, and for what SES says that is no event."""
        try:
            event: Any = json.loads(message.fields.get("Message", ""))
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            log.info("sns message ignored", provider=self._provider)
            return None
        kind = _text(event, "eventType") or _text(event, "notificationType")
        if kind in _IGNORED:
            return None
        said = _said(kind, event)
        if said.recipients != 1:
            log.info("event of several recipients", provider=self._provider, recipients=said.recipients)
        reference, notification = _text(event, "mail.messageId"), _tagged(event)
        known = bool(reference or notification)
        meaning = said.meaning if known else _UNRECOGNISED
        kept = {"messageId": reference, "state": said.state, "at": _text(event, "mail.timestamp"), **said.kept}
        return Report(
            provider=self._provider,
            event_key=_cleaned(message.fields["MessageId"]),
            channel=Channel.EMAIL,
            verdict=meaning.verdict,
            raw_state=said.state[:64],
            notification=notification,
            reference=reference or None,
            reason=meaning.reason,
            detail=redact(said.detail, 200),
            payload={name: text for name, text in kept.items() if text},
            suppress=meaning.suppress,
        )

    def _kept(self, message: Message) -> Report:
        """For an operator. The address confirms the subscription when it is opened."""
        told = {name: _cleaned(message.fields.get(name, "")) for name in ("Type", "TopicArn", "SubscribeURL")}
        return Report(
            provider=self._provider,
            event_key=_cleaned(message.fields["MessageId"]),
            channel=Channel.EMAIL,
            verdict=Verdict.UNRECOGNISED,
            raw_state=message.type,
            detail="a subscription that waits for an operator",
            payload=told,
        )


def _said(kind: str, event: Mapping[str, Any]) -> _Said:
    said: _Said
    match kind:
        case "Delivery":
            detail = _text(event, "delivery.smtpResponse")
            said = _Said(kind, Meaning(Verdict.DELIVERED), detail, _count(event, "delivery", "recipients"))
        case "DeliveryDelay":
            type_ = _text(event, "deliveryDelay.delayType")
            recipients = _count(event, "deliveryDelay", "delayedRecipients")
            said = _Said(f"{kind} {type_}", Meaning(Verdict.DELAYED), "", recipients)
        case "Bounce":
            said = _bounce(event)
        case "Complaint":
            said = _complaint(event)
        case "Reject":
            reason = _text(event, "reject.reason")
            meaning = _failed(Reason.FILTERED_SPAM) if reason == "Bad content" else _UNRECOGNISED
            said = _Said(kind, meaning, reason)
        case "Rendering Failure":
            said = _Said(kind, _failed(Reason.UNSPECIFIED))
        case _:
            said = _Said(kind, _UNRECOGNISED)
    return said


def _bounce(event: Mapping[str, Any]) -> _Said:
    type_, subtype = _text(event, "bounce.bounceType"), _text(event, "bounce.bounceSubType")
    first = _first(event, "bounce", "bouncedRecipients")
    return _Said(
        f"Bounce {type_} {subtype}",
        BOUNCES.get((type_, subtype), _UNRECOGNISED),
        f"{_text(first, 'status')} {_text(first, 'diagnosticCode')}",
        _count(event, "bounce", "bouncedRecipients"),
        {"recipient": _text(first, "emailAddress"), "feedbackId": _text(event, "bounce.feedbackId")},
    )


def _complaint(event: Mapping[str, Any]) -> _Said:
    type_, subtype = _text(event, "complaint.complaintFeedbackType"), _text(event, "complaint.complaintSubType")
    listed = subtype == "OnAccountSuppressionList"
    return _Said(
        f"Complaint {subtype or type_}".strip(),
        _OF_A_LISTED_ONE if listed else COMPLAINTS.get(type_, _UNRECOGNISED),
        "",
        _count(event, "complaint", "complainedRecipients"),
        {"feedbackId": _text(event, "complaint.feedbackId")},
    )


def _tagged(event: Mapping[str, Any]) -> NotificationId | None:
    """Our id, which every email was tagged with."""
    tags = event.get("mail", {}).get("tags") if isinstance(event.get("mail"), dict) else None
    values = tags.get("nid") if isinstance(tags, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    try:
        return NotificationId(UUID(first)) if isinstance(first, str) else None
    except ValueError:
        return None


def _list(event: Mapping[str, Any], part: str, name: str) -> list[Any]:
    inner = event.get(part)
    found = inner.get(name) if isinstance(inner, dict) else None
    return found if isinstance(found, list) else []


def _count(event: Mapping[str, Any], part: str, name: str) -> int:
    return len(_list(event, part, name))


def _first(event: Mapping[str, Any], part: str, name: str) -> Mapping[str, Any]:
    found = _list(event, part, name)
    return found[0] if found and isinstance(found[0], dict) else {}


def _text(event: Mapping[str, Any], path: str) -> str:
    return (found_at(event, path) or "")[:_MAX_TEXT]


def _cleaned(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:2_000]
