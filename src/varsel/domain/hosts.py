"""Names of hosts: as they go on the wire and are compared (RFC 5891, UTS 46), and what makes one suspicious."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import idna

_MAX_DOMAIN: Final = 253
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def to_a_labels(domain: str) -> str | None:
    """The domain as it goes on the wire, by IDNA 2008 with the UTS 46 mapping; None when it is none.

    Not the `idna` codec of the standard library: that is IDNA 2003 and makes another domain of `faß.de`.
    """
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:  # the package's own errors are of this kind
            return None
    domain = domain.lower()
    return domain if len(domain) <= _MAX_DOMAIN and _DOMAIN.fullmatch(domain) else None


def within(host: str, domains: Iterable[str]) -> bool:
    """Whether a host is one of the domains, or lies under one. All in A-labels."""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def is_ip_address(host: str) -> bool:
    """Whether a browser would take it for an address: brackets, or a last label that is a number in any base."""
    return host.startswith("[") or _NUMERIC.fullmatch(host.rstrip(".")) is not None


@lru_cache(maxsize=1024)
def mixes_scripts(host: str) -> bool:
    """Whether a label of a host in A-labels has letters of several scripts, as look-alikes do."""
    return any(len(_scripts(label)) > 1 for label in host.split("."))


def _scripts(label: str) -> frozenset[str]:
    """By the first word of the letters' names. Scripts that Japanese and Korean write together count as one."""
    try:
        text = idna.decode(label) if label.startswith("xn--") else label
    except UnicodeError:
        return frozenset({"unreadable", "label"})
    words = {unicodedata.name(letter, "unknown").partition(" ")[0] for letter in text if letter.isalpha()}
    return frozenset("EAST ASIAN" if word in _EAST_ASIAN else word for word in words)


_EAST_ASIAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"})
