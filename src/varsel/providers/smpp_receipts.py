"""Delivery receipts of an SMSC (channels 3.4, 4.4.3): from optional parameters, else from their text, to a report."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.notification import Channel, Reason
from varsel.providers.causes import CAUSES
from varsel.smpp.pdu import Message, Tag

IdFormat = Literal["same", "hex_to_dec", "dec_to_hex", "auto"]

_KIND: Final = 0x3C  # bits of esm_class that say what a message is
_RECEIPT: Final = 0x04
_INTERMEDIATE: Final = 0x20
_MAX_ID: Final = 64
_FIELD: Final = re.compile(r"(?<![\w-])(id|stat|err|done date)\s*:\s*([^\s:]{0,64})", re.IGNORECASE)
_TEXT: Final = re.compile(r"(?<![\w-])text\s*:", re.IGNORECASE)  # what follows is the user's
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,32}")
_DECIMAL: Final = re.compile(r"[0-9]{1,32}")


@dataclass(frozen=True, slots=True)
class Meaning:
    verdict: Verdict
    reason: Reason | None = None
    soft: bool = False
    suppress: Suppress | None = None


_NO_CHANGE: Final = Meaning(Verdict.DELAYED)
_UNDELIVERED: Final = Meaning(Verdict.FAILED, Reason.UNDELIVERED)

STATES: Final[Mapping[str, Meaning]] = {
    "SCHEDLD": _NO_CHANGE,
    "ENROUTE": _NO_CHANGE,
    "DELIVRD": Meaning(Verdict.DELIVERED),
    "EXPIRED": Meaning(Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER),
    "DELETED": Meaning(Verdict.FAILED, Reason.DELETED),
    "UNDELIV": _UNDELIVERED,
    "ACCEPTD": _NO_CHANGE,
    "UNKNOWN": Meaning(Verdict.FAILED, Reason.UNSPECIFIED, soft=True),
    "REJECTD": Meaning(Verdict.FAILED, Reason.REJECTED),
    "SKIPPED": _UNDELIVERED,
}
_BY_NUMBER: Final = ("SCHEDLD", "ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD")
_NUMBERED: Final = {**dict(enumerate(_BY_NUMBER)), 9: "SKIPPED"}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one says, as it says it. Empty: it does not."""

    id: str
    state: str
    error: str
    done: str


def is_receipt(message: Message) -> bool:
    return message.esm_class & _KIND in {_RECEIPT, _INTERMEDIATE}


def read_receipt(message: Message) -> Receipt:
    """Total. Optional parameters count more than the text."""
    told = _told(message)
    state = message.tlvs.get(Tag.MESSAGE_STATE, b"")
    error = message.tlvs.get(Tag.NETWORK_ERROR_CODE, b"")
    receipted = message.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0")
    return Receipt(
        _printable(receipted.decode("latin-1")) or told.get("id", ""),
        (_NUMBERED.get(state[0], str(state[0])) if len(state) == 1 else told.get("stat", "")).upper(),
        str(int.from_bytes(error[1:])) if len(error) == 3 else told.get("err", ""),
        told.get("done date", ""),
    )


def report_of(provider: str, message: Message, *, id_format: IdFormat, error_causes: Mapping[str, str]) -> Report:
    """`error_causes`: by an SMSC's own error code, why a message was undelivered."""
    receipt = read_receipt(message)
    meaning = _meaning(receipt, error_causes) if receipt.id else Meaning(Verdict.UNRECOGNISED)
    reference, *others = references(receipt.id, id_format)
    return Report(
        provider=provider,
        event_key=_key(receipt, message),
        channel=Channel.SMS,
        verdict=meaning.verdict,
        raw_state=receipt.state,
        reference=reference or None,
        other_references=tuple(others),
        reason=meaning.reason,
        soft=meaning.soft,
        detail=f"error {receipt.error}" if receipt.error.strip("0") else "" if receipt.id else "malformed: no id",
        payload={"reference": receipt.id, "state": receipt.state, "error": receipt.error, "done": receipt.done},
        suppress=meaning.suppress,
    )


def submitted_reference(message_id: str, id_format: IdFormat) -> str:
    """How the id of an answer is kept: without leading zeros and in capitals, where receipts may write it otherwise."""
    return message_id if id_format == "same" else _canonical(message_id)


def references(receipted: str, id_format: IdFormat) -> tuple[str, ...]:
    """What the id of a receipt may be among those that are kept: the likeliest first, then the others."""
    plain = _canonical(receipted)
    in_decimal = str(int(receipted, 16)) if _HEX.fullmatch(receipted) else plain
    in_hex = f"{int(receipted):X}" if _DECIMAL.fullmatch(receipted) else plain
    match id_format:
        case "same":
            return (receipted,)
        case "hex_to_dec":
            return (in_decimal,)
        case "dec_to_hex":
            return (in_hex,)
        case "auto":
            return tuple(dict.fromkeys((plain, in_hex, in_decimal)))


def _canonical(message_id: str) -> str:
    return (message_id.lstrip("0").upper() or "0") if _HEX.fullmatch(message_id) else message_id


def _meaning(receipt: Receipt, error_causes: Mapping[str, str]) -> Meaning:
    found = STATES.get(receipt.state, Meaning(Verdict.UNRECOGNISED))
    cause = CAUSES.get(error_causes.get(receipt.error, ""))
    if found is not _UNDELIVERED or cause is None:
        return found
    return Meaning(Verdict.FAILED, cause.sms, suppress=cause.suppression(Channel.SMS))


def _told(message: Message) -> dict[str, str]:
    """The fields of its text, by name; the first of each counts. Letters that no name has are skipped."""
    octets = message.short_message or message.tlvs.get(Tag.MESSAGE_PAYLOAD, b"")[:1024]
    text = octets.decode("latin-1")
    if cut := _TEXT.search(text):
        text = text[: cut.start()]
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        found.setdefault(name.lower(), _printable(value))
    return found


def _printable(value: str) -> str:
    return "".join(letter for letter in value if letter.isascii() and letter.isprintable())[:_MAX_ID]


def _key(receipt: Receipt, message: Message) -> str:
    """One key per event: what is told again changes nothing. One without an id is known by its bytes."""
    parts = (receipt.id, receipt.state, receipt.error, receipt.done) if receipt.id else (message.short_message.hex(),)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
