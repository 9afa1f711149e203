"""Texts as a telephone would put them together again (channels 8.4): headers, numbered segments, payloads."""

from dataclasses import dataclass, field
from typing import Final

from varsel.domain.gsm7 import decode
from varsel.smpp.pdu import Message, Tag

_HAS_HEADER: Final = 0x40
_UCS_2: Final = 0x08
_SEGMENT_BITS: Final = 140 * 8
_SAR_OCTETS: Final = 134  # what is left of a segment when the SMSC writes the header


@dataclass(frozen=True, slots=True)
class Piece:
    """One part: `key` joins it with the others. `number` from 1."""

    key: tuple[str, str, bytes]
    number: int
    total: int
    octets: bytes
    unicode: bool
    fits: bool


def piece_of(message: Message) -> Piece:
    """Raises `ValueError` for a header that is broken."""
    unicode = message.data_coding == _UCS_2
    if Tag.MESSAGE_PAYLOAD in message.tlvs:
        octets = message.tlvs[Tag.MESSAGE_PAYLOAD]
        return Piece(_key(message, b""), 1, 1, octets, unicode, fits=not message.short_message)
    octets = message.short_message
    if message.esm_class & _HAS_HEADER:
        header, octets = octets[1 : 1 + octets[0]], octets[1 + octets[0] :]
        reference, total, number = _concatenation(header)
        return Piece(_key(message, reference), number, total, octets, unicode, _fits(octets, len(header) + 1, unicode))
    if Tag.SAR_REFERENCE in message.tlvs:
        total, number = message.tlvs[Tag.SAR_TOTAL][0], message.tlvs[Tag.SAR_NUMBER][0]
        fits = len(octets) <= (_SAR_OCTETS if unicode else _SAR_OCTETS * 8 // 7)
        return Piece(_key(message, message.tlvs[Tag.SAR_REFERENCE]), number, total, octets, unicode, fits)
    return Piece(_key(message, b""), 1, 1, octets, unicode, _fits(octets, 0, unicode))


def _concatenation(header: bytes) -> tuple[bytes, int, int]:
    at = 0
    while at + 2 <= len(header):
        kind, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        if kind in {0x00, 0x08} and len(value) == (3 if kind == 0x00 else 4):
            return value[:-2], value[-2], value[-1]
        at += 2 + length
    raise ValueError("the header joins nothing")


def _fits(octets: bytes, header: int, unicode: bool) -> bool:
    """Into the 140 octets that go over the air, septets packed."""
    if unicode:
        return header + len(octets) <= _SEGMENT_BITS // 8
    septets = -(-header * 8 // 7) + len(octets)
    return septets * 7 <= _SEGMENT_BITS


def _key(message: Message, reference: bytes) -> tuple[str, str, bytes]:
    return message.source.value, message.destination.value, reference


@dataclass(slots=True)
class Telephone:
    """Keeps parts until the others are there."""

    _waiting: dict[tuple[str, str, bytes], dict[int, Piece]] = field(default_factory=dict)

    def receive(self, piece: Piece) -> str | None:
        """The text, once it is whole."""
        parts = self._waiting.setdefault(piece.key, {})
        parts[piece.number] = piece
        if len(parts) < piece.total:
            return None
        del self._waiting[piece.key]
        return "".join(_text(parts[number]) for number in range(1, piece.total + 1))


def _text(piece: Piece) -> str:
    """Each part by itself: what was torn between two shows."""
    return piece.octets.decode("utf-16-be", "replace") if piece.unicode else decode(piece.octets)
