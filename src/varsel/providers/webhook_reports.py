"""Reports of gateways without an adapter of their own: signed JSON, our result names as states (channels 3.6, 5.4)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import NAMES, Channel, Reason, State
from varsel.domain.signatures import verified
from varsel.providers.kind import MAX_REPORT_BYTES, ReportAnswer, ReportRequest

_MAX_REPORTS: Final = 1_000
_MAX_TEXT: Final = 200  # characters of one value
_OURS_ALONE: Final = frozenset({Reason.RECIPIENT_RESERVED, Reason.RECIPIENT_NOT_IDENTIFIED})


@dataclass(frozen=True, slots=True)
class _Meaning:
    verdict: Verdict
    reason: Reason | None = None
    suppress: Suppress | None = None


_SUPPRESSED: Final = {
    Reason.BARRED_RECEIVER: Suppress.BARRED,
    Reason.SUPPRESSED_RECIPIENT: Suppress.PROVIDER_LIST,
}
_UNRECOGNISED: Final = _Meaning(Verdict.UNRECOGNISED)


def _states(channel: Channel) -> dict[str, _Meaning]:
    names = NAMES[channel]
    return {
        "Sending": _Meaning(Verdict.DELAYED),
        names[State.ACCEPTED].v1: _Meaning(Verdict.DELAYED),
        names[State.DELIVERED].v1: _Meaning(Verdict.DELIVERED),
        **{
            key.value: _Meaning(Verdict.FAILED, key, _SUPPRESSED.get(key))
            for key in names
            if isinstance(key, Reason) and key not in _OURS_ALONE
        },
    }


STATES: Final[Mapping[Channel, Mapping[str, _Meaning]]] = {channel: _states(channel) for channel in Channel}
"""Our result names, exactly."""


class WebhookReports:
    """Of one gateway. `keys`: any of them may have signed. `fields` and `states`: as in its settings."""

    max_bytes = MAX_REPORT_BYTES

    def __init__(
        self,
        provider: str,
        channel: Channel,
        keys: Sequence[bytes],
        *,
        fields: Mapping[str, str],
        states: Mapping[str, str],
    ) -> None:
        self._provider = provider
        self._channel = channel
        self._keys = keys
        self._fields = fields
        self._states = states

    async def read(self, request: ReportRequest) -> ReportAnswer:
        if request.method != "POST":
            return ReportAnswer(405, headers={"Allow": "POST"})
        if not verified(request.headers, request.body, self._keys, now=request.now):
            return ReportAnswer(401, body=b"Wrong, missing or old signature.")
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in {"application/json", ""}:
            return ReportAnswer(415, body=b"The content type must be application/json.")
        entries = _entries(request.body)
        if entries is None:
            return ReportAnswer(400, [self._malformed(request.body)], b"Not an object, or a list of at most 1000.")
        return ReportAnswer(204, [self._report(entry) for entry in entries])

    def _report(self, entry: Mapping[str, Any]) -> Report:
        """One that names no message is kept as unrecognised: its neighbours lose nothing by it."""
        reference, state, time = (self._told(entry, name) for name in ("reference", "state", "time"))
        notification = _notification(self._told(entry, "attemptId"))
        known = STATES[self._channel].get(self._states.get(state, state), _UNRECOGNISED)
        meaning = known if reference or notification else _UNRECOGNISED
        return Report(
            provider=self._provider,
            event_key=_key(reference, str(notification or ""), state, time),
            channel=self._channel,
            verdict=meaning.verdict,
            raw_state=state[:64],
            notification=notification,
            reference=reference or None,
            reason=meaning.reason,
            payload={"reference": reference, "state": state, "time": time},
            suppress=meaning.suppress,
        )

    def _told(self, entry: Mapping[str, Any], name: str) -> str:
        return (found_at(entry, self._fields.get(name, name)) or "")[:_MAX_TEXT]

    def _malformed(self, body: bytes) -> Report:
        """Signed, and yet no report: an operator hears of it, not of its words, which may be somebody's."""
        return Report(
            provider=self._provider,
            event_key=hashlib.sha256(body).hexdigest(),
            channel=self._channel,
            verdict=Verdict.UNRECOGNISED,
            raw_state="",
            detail="malformed: neither an object nor a list of at most 1000",
        )


def found_at(value: object, path: str) -> str | None:
    """The text or number at a dotted path of JSON; None when there is none. NUL, which no table takes, is left out."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()


def _entries(body: bytes) -> list[Mapping[str, Any]] | None:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    entries = value if isinstance(value, list) else [value]
    if len(entries) > _MAX_REPORTS or not all(isinstance(entry, dict) for entry in entries):
        return None
    return entries


def _notification(text: str) -> NotificationId | None:
    try:
        return NotificationId(UUID(text))
    except ValueError:
        return None


def _key(*parts: str) -> str:
    """One key per event, whichever request brings it: a report that is told again changes nothing."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
