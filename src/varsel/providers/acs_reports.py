"""Azure Event Grid's reports of emails, in its own schema and in that of CloudEvents (channels 2.4, 4.3.2, 5.4).

The secret stands in the query `accesskey`, or in the header `X-Report-Secret`.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.notification import Channel, Reason
from varsel.log import Log
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.providers.mailbox import redact
from varsel.providers.webhook_reports import found_at

log = Log(__name__)

MAX_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 5_000
_MAX_TEXT: Final = 320
_TYPES: Final = frozenset(
    {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json", ""}
)
_DELIVERY: Final = "Microsoft.Communication.EmailDeliveryReportReceived"
_VALIDATION: Final = "Microsoft.EventGrid.SubscriptionValidationEvent"
_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:_-]{1,255}")
_KEPT: Final = ("messageId", "internetMessageId", "sender", "recipient", "status")


@dataclass(frozen=True, slots=True)
class Meaning:
    verdict: Verdict
    reason: Reason | None = None
    suppress: Suppress | None = None


def _failed(reason: Reason, suppress: Suppress | None = None) -> Meaning:
    return Meaning(Verdict.FAILED, reason, suppress)


STATUSES: Final[Mapping[str, Meaning]] = {
    "Delivered": Meaning(Verdict.DELIVERED),
    "Bounced": _failed(Reason.BOUNCED, Suppress.HARD_BOUNCE),
    "Suppressed": _failed(Reason.SUPPRESSED_RECIPIENT, Suppress.PROVIDER_LIST),
    "FilteredSpam": _failed(Reason.FILTERED_SPAM),
    "Quarantined": _failed(Reason.QUARANTINED),
    "Failed": _failed(Reason.UNSPECIFIED),
    "Expanded": _failed(Reason.UNSPECIFIED),  # a distribution list: nobody can say whom it reached
}
_UNRECOGNISED: Final = Meaning(Verdict.UNRECOGNISED)


class AcsReports:
    """Of one resource. `secrets`: any of them will do; none: nobody may report."""

    max_bytes = MAX_BYTES

    def __init__(self, provider: str, secrets: Sequence[str]) -> None:
        self._provider = provider
        self._secrets = [secret.encode() for secret in secrets if secret]

    async def read(self, request: ReportRequest) -> ReportAnswer:
        if not self._knows(request):
            return ReportAnswer(401, body=b"Wrong or missing secret.")
        match request.method:
            case "OPTIONS":
                return _allowed(request.headers.get("webhook-request-origin", ""))
            case "POST" if request.headers.get("content-type", "").partition(";")[0].strip().lower() in _TYPES:
                return self._received(request.body)
            case "POST":
                return ReportAnswer(415, body=b"The content type must be JSON.")
            case _:
                return ReportAnswer(405, headers={"Allow": "POST, OPTIONS"})

    def _received(self, body: bytes) -> ReportAnswer:
        events = _events(body)
        if events is None:
            return ReportAnswer(400, [self._malformed(body)], b"Not a list of at most 5000 events.")
        for event in events:
            if _type(event) == _VALIDATION:
                return _validated(event)
        return ReportAnswer(200, [report for event in events if (report := self._report(event))])

    def _knows(self, request: ReportRequest) -> bool:
        """Each pair is compared in full, so that time tells nothing."""
        shown = [request.query.get("accesskey", ""), request.headers.get("x-report-secret", "")]
        matches = [
            secrets.compare_digest(s.encode("utf-8", "replace"), known) for s in shown for known in self._secrets
        ]
        return any(matches)

    def _report(self, event: Mapping[str, Any]) -> Report | None:
        """None for an event that is not about a delivery."""
        kind = _type(event)
        if kind != _DELIVERY:
            log.info("event ignored", provider=self._provider, kind=kind)
            return None
        told = {name: text for name in _KEPT if (text := _text(event, f"data.{name}"))}
        at = _text(event, "data.deliveryAttemptTimeStamp") or _text(event, "data.deliveryAttemptTimestamp")
        server = _text(event, "data.deliveryStatusDetails.recipientMailServerHostName")
        reference, status = told.get("messageId"), told.get("status", "")
        meaning = STATUSES.get(status, _UNRECOGNISED) if reference else _UNRECOGNISED
        return Report(
            provider=self._provider,
            event_key=_text(event, "id") or _hash(json.dumps(event, sort_keys=True).encode()),
            channel=Channel.EMAIL,
            verdict=meaning.verdict,
            raw_state=status[:64],
            reference=reference,
            reason=meaning.reason,
            detail=redact(_text(event, "data.deliveryStatusDetails.statusMessage"), 200),
            payload={**told, **({"attemptedAt": at} if at else {}), **({"mailServer": server} if server else {})},
            suppress=meaning.suppress,
        )

    def _malformed(self, body: bytes) -> Report:
        """An operator hears of it, not of its words, which may be somebody's."""
        return Report(
            provider=self._provider,
            event_key=_hash(body),
            channel=Channel.EMAIL,
            verdict=Verdict.UNRECOGNISED,
            raw_state="",
            detail=f"malformed: not a list of at most {MAX_EVENTS} events",
        )


def _events(body: bytes) -> list[Mapping[str, Any]] | None:
    """A list, or a single event of the CloudEvents schema."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    events = value if isinstance(value, list) else [value]
    if len(events) > MAX_EVENTS or not all(isinstance(event, dict) for event in events):
        return None
    return events


def _type(event: Mapping[str, Any]) -> str:
    return _text(event, "eventType") or _text(event, "type")


def _text(event: Mapping[str, Any], path: str) -> str:
    return (found_at(event, path) or "")[:_MAX_TEXT]


def _validated(event: Mapping[str, Any]) -> ReportAnswer:
    """Event Grid asks whether we want its events. Its `validationUrl` is never called."""
    answer = {"validationResponse": _text(event, "data.validationCode")}
    return ReportAnswer(200, body=json.dumps(answer).encode(), media_type="application/json")


def _allowed(origin: str) -> ReportAnswer:
    """The same question as CloudEvents asks it."""
    if not _ORIGIN.fullmatch(origin):
        return ReportAnswer(400, body=b"WebHook-Request-Origin is missing.")
    return ReportAnswer(200, headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
