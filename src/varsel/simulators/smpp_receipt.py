"""Receipts as SMSCs write them (channels 8.4): in four styles, with or without optional parameters, ids three ways."""

from datetime import UTC, datetime
from typing import Final, Literal

from varsel.smpp.pdu import Message, Tag

TextStyle = Literal["standard", "seconds", "lowercase", "extra-keys"]
Notation = Literal["dec", "hex", "padded"]

_RECEIPT: Final = 0x04
_INTERMEDIATE: Final = 0x20
_STATES: Final = (
    *("SCHEDLD", "ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD", "SKIPPED"),
)
_UNDER_WAY: Final = frozenset({"SCHEDLD", "ENROUTE", "ACCEPTD"})


def written(number: int, notation: Notation) -> str:
    match notation:
        case "dec":
            return str(number)
        case "hex":
            return f"{number:X}"
        case "padded":
            return f"{number:010}"


def receipt(
    submitted: Message, id_: str, state: str, *, style: TextStyle, tlvs: bool, malformed: bool = False
) -> Message:
    """From the recipient of the message to its sender."""
    text = "receipt of sorts" if malformed else _text(id_, state, submitted, style)
    told: dict[int, bytes] = {}
    if tlvs and not malformed:
        told[Tag.RECEIPTED_MESSAGE_ID] = id_.encode() + b"\0"
        if state in _STATES:
            told[Tag.MESSAGE_STATE] = bytes([_STATES.index(state)])
            told[Tag.NETWORK_ERROR_CODE] = bytes([3, 0, 0 if state == "DELIVRD" else 27])
    return Message(
        source=submitted.destination,
        destination=submitted.source,
        short_message=text.encode("latin-1", "replace")[:254],
        esm_class=_INTERMEDIATE if state in _UNDER_WAY else _RECEIPT,
        tlvs=told,
    )


def _text(id_: str, state: str, submitted: Message, style: TextStyle) -> str:
    date = datetime.now(UTC).strftime("%y%m%d%H%M%S" if style == "seconds" else "%y%m%d%H%M")
    error = "000" if state == "DELIVRD" else "027"
    more = "smsc:7 " if style == "extra-keys" else ""
    said = submitted.short_message[-20:].decode("latin-1")
    text = (
        f"{more}id:{id_} sub:001 dlvrd:001 submit date:{date} done date:{date} stat:{state} err:{error} "
        f"{more}text:stat:NEVER {said}"
    )
    return text.lower() if style == "lowercase" else text
