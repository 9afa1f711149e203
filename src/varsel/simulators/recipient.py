"""Recipients of captured messages are kept as people write them, and found however they are written."""

import re
from typing import Final

import idna

from varsel.domain.notification import Channel

_SEPARATORS: Final = re.compile(r"[\s().-]")
_NUMBER: Final = re.compile(r"\+?\d+", re.ASCII)


def as_written(channel: Channel, recipient: str) -> str:
    """`kari@blåbær.example` for `kari@xn--blbr-roah.example`; `+4740000417` for the gateway's `4740000417`."""
    if channel is Channel.SMS:
        return f"+{recipient}" if recipient.isascii() and recipient.isdigit() else recipient
    local, at, domain = recipient.rpartition("@")
    return f"{local}{at}{_in_letters(domain)}"


def spellings(recipient: str) -> tuple[str, ...]:
    """How one who is sought may stand in the table, in lower case. A `+` may have become a blank in a URL."""
    plain = recipient.strip().lower()
    number = _SEPARATORS.sub("", plain)
    if _NUMBER.fullmatch(number):
        digits = number.removeprefix("+").removeprefix("00")
        return (f"+{digits}", f"+47{digits}") if len(digits) == 8 else (f"+{digits}",)
    return tuple({plain, as_written(Channel.EMAIL, plain)})


def sought_words(words: str) -> str:
    """What to look for: a number without the blanks that people write in it, anything else as it is."""
    words = words.strip()
    number = _SEPARATORS.sub("", words)
    return number if len(number) >= 4 and _NUMBER.fullmatch(number) else words


def _in_letters(domain: str) -> str:
    try:
        return idna.decode(domain) if "xn--" in domain.lower() else domain
    except idna.IDNAError:
        return domain
