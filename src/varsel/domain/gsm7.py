"""The alphabet GSM 03.38 as octets, one septet in each (channels 3.1, 3.4): the default coding of SMPP."""

from typing import Final

_ESCAPE: Final = 0x1B
_BY_CODE: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {
    "\f": 0x0A,
    "^": 0x14,
    "{": 0x28,
    "}": 0x29,
    "\\": 0x2F,
    "[": 0x3C,
    "~": 0x3D,
    "]": 0x3E,
    "|": 0x40,
    "€": 0x65,
}
_OCTETS: Final = {
    **{letter: bytes([code]) for code, letter in enumerate(_BY_CODE) if code != _ESCAPE},
    **{letter: bytes([_ESCAPE, code]) for letter, code in _EXTENSION.items()},
}
_EXTENDED: Final = {code: letter for letter, code in _EXTENSION.items()}


def encode(text: str) -> bytes:
    """Raises `KeyError` for a character that is not in the alphabet: `alphabet_of` tells beforehand."""
    return b"".join([_OCTETS[letter] for letter in text])


def decode(octets: bytes) -> str:
    """As a telephone reads it: an unknown escape is the letter without it, an octet over 127 is `?`."""
    letters, escaped = [], False
    for code in octets:
        if code == _ESCAPE and not escaped:
            escaped = True
            continue
        plain = _BY_CODE[code] if code < len(_BY_CODE) else "?"
        letters.append(_EXTENDED.get(code, plain) if escaped else plain)
        escaped = False
    return "".join(letters)
