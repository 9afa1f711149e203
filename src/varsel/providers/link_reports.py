"""LINK's delivery reports: what they say, and the answer they want (channels 3.3, 4.4.2, 5.4; http-api 21.1)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.notification import Channel, Reason
from varsel.providers.link_xml import Malformed, read_document

_MAX_MESSAGES: Final = 1_000
_REQUIRED: Final = ("ID", "REF", "RCV", "STATE")
_MAX_KEPT: Final = 4_000  # characters of a malformed document that are kept


@dataclass(frozen=True, slots=True)
class Meaning:
    verdict: Verdict
    reason: Reason | None = None
    soft: bool = False
    suppress: Suppress | None = None


_UNRECOGNISED: Final = Meaning(Verdict.UNRECOGNISED)

STATES: Final[dict[str, Meaning]] = {
    "DELIVRD": Meaning(Verdict.DELIVERED),
    "EXPIRED": Meaning(Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER),
    "DELETED": Meaning(Verdict.FAILED, Reason.DELETED),
    "UNDELIV": Meaning(Verdict.FAILED, Reason.UNDELIVERED),
    "REJECTD": Meaning(Verdict.FAILED, Reason.REJECTED),
    "FAILED": Meaning(Verdict.FAILED, Reason.UNSPECIFIED),
    "NULL": Meaning(Verdict.FAILED, Reason.UNSPECIFIED, soft=True),  # the operator sent no report
    "UNKNOWN": Meaning(Verdict.FAILED, Reason.UNSPECIFIED, soft=True),
    "BARRED": Meaning(Verdict.FAILED, Reason.BARRED_RECEIVER, suppress=Suppress.BARRED),
    "BARREDA": Meaning(Verdict.FAILED, Reason.REJECTED),
    "ZEROBAL": Meaning(Verdict.FAILED, Reason.UNSPECIFIED),
}
"""Names are compared exactly: a number such as `1` is no state."""


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """`ids`: what the gateway calls each `MSG`, in order, for the acknowledgement."""

    ids: tuple[str, ...]
    reports: list[Report]


def parse_reports(provider: str, body: bytes, content_type: str | None) -> ReportDocument:
    """Every `MSG` of the document. Raises `Malformed` when there is none, or none has what it must have.

    An incomplete `MSG` beside complete ones is a report of an unrecognised state: its neighbours lose nothing by it.
    """
    document = read_document(body, content_type)
    messages = document.messages
    if document.root != "MSGLST":
        raise Malformed("the document is no MSGLST")
    if not messages:
        raise Malformed("the document holds no MSG")
    if len(messages) > _MAX_MESSAGES:
        raise Malformed(f"the document holds more than {_MAX_MESSAGES} MSG")
    if not any(all(message.get(name) for name in _REQUIRED) for message in messages):
        raise Malformed("a MSG needs ID, REF, RCV and STATE")
    ids = tuple(message["ID"] for message in messages if message.get("ID"))
    return ReportDocument(ids, [_report(provider, message) for message in messages])


def _report(provider: str, message: dict[str, str]) -> Report:
    reference, state = message.get("REF", ""), message.get("STATE", "")
    receiver, delivered_at = message.get("RCV", ""), message.get("DELIVERYTIME", "")
    meaning = STATES.get(state, _UNRECOGNISED) if reference and receiver else _UNRECOGNISED
    return Report(
        provider=provider,
        event_key=_key(provider, reference, state, delivered_at, receiver),
        channel=Channel.SMS,
        verdict=meaning.verdict,
        raw_state=state[:64],
        reference=reference or None,
        reason=meaning.reason,
        soft=meaning.soft,
        payload={"reference": reference, "receiver": receiver, "state": state, "deliveryTime": delivered_at},
        suppress=meaning.suppress,
    )


def malformed_report(provider: str, body: bytes, problem: Malformed) -> Report:
    """What is kept of a document that nobody could read (channels 5.1): its beginning, for an operator."""
    text = body[:_MAX_KEPT].decode("iso-8859-1").replace("\0", "")
    return Report(
        provider=provider,
        event_key=_key(provider, hashlib.sha256(body).hexdigest()),
        channel=Channel.SMS,
        verdict=Verdict.UNRECOGNISED,
        raw_state="",
        detail=f"malformed: {problem}",
        payload={"document": text},
    )


def _key(*parts: str) -> str:
    """One key per event: LINK gives its events no id. No part can hold the separator, which XML forbids."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def acknowledge(ids: Sequence[str]) -> bytes:
    """The answer that the gateway expects: `OK` for each of its ids."""
    messages = "".join(f"<MSG><ID>{escape(id_)}</ID><STATUS>OK</STATUS></MSG>" for id_ in ids)
    return f'<?xml version="1.0"?><MSGLST>{messages}</MSGLST>'.encode("ascii", "xmlcharrefreplace")
