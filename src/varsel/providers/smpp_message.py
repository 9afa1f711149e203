"""An SMS as the submit_sm bodies that carry it (channels 3.2, 3.4): coding, addresses, parts, validity."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from varsel.delivery.ports import Refused, Sms
from varsel.domain.address import e164
from varsel.domain.gsm7 import encode
from varsel.domain.notification import Reason
from varsel.domain.sms_text import Alphabet, Segments, clean, segment
from varsel.smpp.pdu import Address, Message, Tag

Concat = Literal["udh", "sar", "payload"]

_GSM_7: Final = 0x00
_UCS_2: Final = 0x08
_HAS_UDH: Final = 0x40
_FINAL_RECEIPT: Final = 0x01
_UDH_16: Final = bytes([6, 8, 4])  # length of all, "concatenated, 16-bit reference", length of the rest
_UDH_BYTES: Final = 7
_SHORT_CODE: Final = re.compile(r"[0-9]{3,6}")
_NUMBER: Final = re.compile(r"\+?([0-9]{3,15})")
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[ -~]{1,11}")
_LONGEST: Final = timedelta(days=30)  # of a validity


def bodies(sms: Sms, *, concat: Concat, max_segments: int, receipts: bool, now: datetime) -> list[bytes] | Refused:
    """One for each part, in order."""
    number, source = e164(sms.to), _source(sms.sender)
    if number is None:
        return Refused(Reason.INVALID_RECIPIENT, "not a valid number")
    if source is None:
        return Refused(Reason.REJECTED, "the sender is neither a number nor a name of 1 to 11 letters")
    text = clean(sms.text)
    segments = _segmented(text, concat)
    if len(segments.parts) > max_segments:
        return Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
    destination, validity = Address(1, 1, number[1:]), _validity(sms.expires_at - now)
    unicode = segments.alphabet is Alphabet.UCS_2
    return [
        Message(
            source=source,
            destination=destination,
            short_message=short_message,
            esm_class=_HAS_UDH if concat == "udh" and tlvs is None else 0,
            validity=validity,
            registered_delivery=_FINAL_RECEIPT if receipts else 0,
            data_coding=_UCS_2 if unicode else _GSM_7,
            tlvs=tlvs or {},
        ).to_bytes()
        for short_message, tlvs in _parts(sms, segments.parts, concat, unicode=unicode)
    ]


def segments_of(text: str, concat: Concat) -> int:
    """Of a text that is cleaned."""
    return len(_segmented(text, concat).parts)


def _segmented(text: str, concat: Concat) -> Segments:
    return segment(text, header=_UDH_BYTES) if concat == "udh" else segment(text)


def _parts(
    sms: Sms, parts: Sequence[str], concat: Concat, *, unicode: bool
) -> Iterator[tuple[bytes, dict[int, bytes] | None]]:
    """Short message and optional parameters of each; None: a header stands in the message."""
    coded = [part.encode("utf-16-be") if unicode else encode(part) for part in parts]
    if len(parts) == 1:
        yield coded[0], {}
        return
    if concat == "payload":
        yield b"", {Tag.MESSAGE_PAYLOAD: b"".join(coded)}
        return
    reference = concat_reference(sms)
    for number, octets in enumerate(coded, 1):
        if concat == "udh":
            yield _UDH_16 + reference + bytes([len(parts), number]) + octets, None
        else:
            yield (
                octets,
                {Tag.SAR_REFERENCE: reference, Tag.SAR_TOTAL: bytes([len(parts)]), Tag.SAR_NUMBER: bytes([number])},
            )


def concat_reference(sms: Sms) -> bytes:
    """Two octets that join the parts on the telephone: the same on every try, whichever process makes it."""
    return hashlib.sha256(sms.id.bytes).digest()[:2]


def _source(sender: str) -> Address | None:
    """A short code, a number or a name."""
    if found := _NUMBER.fullmatch(sender.strip()):
        digits = found[1]
        return Address(3, 0, digits) if _SHORT_CODE.fullmatch(digits) else Address(1, 1, digits)
    return Address(5, 0, sender) if _NAME.fullmatch(sender) else None


def _validity(left: timedelta) -> str:
    """Relative: so many days, hours, minutes and seconds from now, at least one second."""
    seconds = int(max(timedelta(seconds=1), min(left, _LONGEST)).total_seconds())
    days, rest = divmod(seconds, 86_400)
    return f"0000{days:02}{rest // 3600:02}{rest // 60 % 60:02}{rest % 60:02}000R"
