"""What an SMS costs: clean-up, alphabet, and exact segments (channels 3.1), and what LINK will carry of it (design 8).

Callers clean first: `segment(clean(text))` is what leaves us.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = "\f^{}\\[~]|€"  # two septets each: ESC and a code
_GSM_7: Final = re.compile(f"[{re.escape(_BASIC + _EXTENSION)}]*")
_CLEAN: Final = re.compile(f"[{re.escape((_BASIC + _EXTENSION).translate({13: None, 12: None}))}]*")  # no CR, no FF
_GSM_7_ALONE: Final = re.compile(f"[{re.escape(_BASIC + _EXTENSION)}]+")
_EXTENDED: Final = re.compile(f"[{re.escape(_EXTENSION)}]")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9_.!*() -]")

_TYPOGRAPHIC: Final = str.maketrans(
    {
        **dict.fromkeys("‐‑‒–—―−", "-"),  # U+2010..2015, U+2212
        **dict.fromkeys("‘’‚‛′‹›`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        "…": "...",
        **dict.fromkeys("\u00a0\u2007\u202f\t", " "),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u2028\u2029", None),  # no width
        "Ł": "L",
        "ł": "l",
    }
)
_LINE_ENDS: Final = re.compile(r"\r\n?")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_LONE_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class Alphabet(StrEnum):
    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


@dataclass(frozen=True, slots=True)
class Segments:
    """`units`: septets or 16-bit units of the text. `parts`: one text per segment, at least one."""

    alphabet: Alphabet
    units: int
    parts: tuple[str, ...]


def alphabet_of(text: str) -> Alphabet:
    return Alphabet.GSM_7 if _GSM_7.fullmatch(text) else Alphabet.UCS_2


def clean(text: str) -> str:
    """The text that is really sent: in GSM-7 when typography is all that stands in the way, else as it was written.

    Either way it is NFC, lines end in LF, and control characters and halves of pairs are gone.
    """
    if _CLEAN.fullmatch(text):
        return text
    text = _LONE_SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text)))
    text = _CONTROLS.sub("", text)
    plain = text.translate(_TYPOGRAPHIC)
    return plain if _GSM_7.fullmatch(plain) else text


@dataclass(frozen=True, slots=True)
class Replacement:
    """`count`: how often it stands in the text. An empty `sent` means that the character is left out."""

    written: str
    sent: str
    count: int


def replaced(text: str) -> tuple[Replacement, ...]:
    """The characters that `clean` sends as something else, in the order they first stand. Line ends do not count."""
    if _CLEAN.fullmatch(text):
        return ()
    sent_plain = alphabet_of(clean(text)) is Alphabet.GSM_7
    found = []
    for character, count in Counter(_LINE_ENDS.sub("\n", unicodedata.normalize("NFC", text))).items():
        sent = _CONTROLS.sub("", _LONE_SURROGATES.sub("\ufffd", character))
        if sent_plain:
            sent = sent.translate(_TYPOGRAPHIC)
        if sent != character:
            found.append(Replacement(character, sent, count))
    return tuple(found)


def beyond_gsm_7(text: str) -> tuple[str, ...]:
    """The characters, each once, for whose sake the text needs UCS-2."""
    return tuple(dict.fromkeys(_GSM_7_ALONE.sub("", text)))


@lru_cache(maxsize=1024)
def segment(text: str, *, header: int = 6) -> Segments:
    """Cut `text` into segments, greedily: no character ever straddles two (a plain division would undercount).

    `header`: octets that say in each of several segments which one it is, of the 140 that a segment has.
    """
    if _GSM_7.fullmatch(text):
        units, each = len(text) + len(_EXTENDED.findall(text)), (140 - header) * 8 // 7
        return Segments(Alphabet.GSM_7, units, _cut(text, units, 160, each, lambda c: 2 if c in _EXTENSION else 1))
    units, each = _ucs2_units(text), (140 - header) // 2
    return Segments(Alphabet.UCS_2, units, _cut(text, units, 70, each, lambda c: 2 if c > "\uffff" else 1))


def _cut(text: str, units: int, single: int, each: int, cost: Callable[[str], int]) -> tuple[str, ...]:
    if units <= single:
        return (text,)
    parts, start, used = [], 0, 0
    for at, character in enumerate(text):
        need = cost(character)
        if used + need > each:
            parts.append(text[start:at])
            start, used = at, 0
        used += need
    return (*parts, text[start:])


def _ucs2_units(text: str) -> int:
    return len(text) + len(_ASTRAL.findall(text))


LINK_PART: Final = 134
MAX_LINK_PARTS: Final = 16
MAX_LINK_UNITS: Final = MAX_LINK_PARTS * LINK_PART  # the gateway cuts the rest without an error


def link_units(text: str) -> int:
    """Length as LINK's limit counts it: a septet is one, a 16-bit unit two (its parts are 134 octets)."""
    if _GSM_7.fullmatch(text):
        return len(text) + len(_EXTENDED.findall(text))
    return 2 * _ucs2_units(text)


def link_parts(text: str) -> int:
    """How many messages LINK makes, and bills: one up to 160 septets or 70 16-bit units, else parts of 134."""
    units = link_units(text)
    single = 160 if _GSM_7.fullmatch(text) else 140
    return 1 if units <= single else -(-units // LINK_PART)


def fits_link(text: str) -> bool:
    return link_units(text) <= MAX_LINK_UNITS


def reference_count(text: str) -> int:
    """How the reference counts, for statistics: the URL-encoded length; 134 a part over 160, at most 16."""
    plain = len(_UNRESERVED.findall(text))
    others = _UNRESERVED.sub("", text).encode("utf-8", "surrogatepass")
    length = plain + 3 * len(others)
    return 1 if length <= 160 else min(-(-length // LINK_PART), MAX_LINK_PARTS)
