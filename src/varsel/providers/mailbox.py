"""Addresses as SMTP and mail headers write them (channels 2.1), and others' texts without any (channels 1.4 G4)."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from varsel.domain.address import mask_email
from varsel.domain.hosts import to_a_labels
from varsel.log import scrub

_MAX_ADDRESS: Final = 320
_MAX_LOCAL: Final = 64  # octets
_DOT_ATOM: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]+")
_NEVER: Final = re.compile(r'[\x00-\x20\x7f"\\]')
_BREAKING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # controls, and what `str.splitlines` breaks at
_ADDRESS: Final = re.compile(r"""[^\s<>@'"(),;:]{1,320}@[\w.\[\]:-]{1,253}""")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """`local` is ready for the wire (quoted where it must be), `domain` is in A-labels and lower case."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def international(self) -> bool:
        """Whether it needs SMTPUTF8."""
        return not self.local.isascii()


def parse_mailbox(text: str) -> Mailbox | None:
    """Read an address as stored, with or without surrounding blanks; None when it cannot be put on the wire.

    The contract accepts `;` in a local part (http-api 7.1) where RFC 5321 wants quotes: they are added here.
    """
    text = text.strip()
    local, at, domain = text.rpartition("@")
    if not at or len(text) > _MAX_ADDRESS or not _valid_local(local):
        return None
    labels = to_a_labels(domain)
    if labels is None:
        return None
    return Mailbox(local if _DOT_ATOM.fullmatch(local) else f'"{local}"', labels)


def is_international(address: str) -> bool:
    """Whether an address as stored needs SMTPUTF8. Costs less than to read it."""
    return not address.strip().rpartition("@")[0].isascii()


def _valid_local(local: str) -> bool:
    if not local or _NEVER.search(local) or local[0] == "." or local[-1] == "." or ".." in local:
        return False
    if local.isascii():
        return len(local) <= _MAX_LOCAL
    if any(unicodedata.category(letter)[0] in "CZ" for letter in local):  # controls, blanks, lone surrogates
        return False
    return len(local.encode()) <= _MAX_LOCAL


def clean(text: str) -> str:
    """One line without control characters or lone surrogates: fit for a header, a log and the database."""
    try:
        octets = text.encode("utf-8", "surrogateescape")  # undecodable octets, as parsers hand them on
    except UnicodeEncodeError:
        octets = text.encode("utf-8", "replace")
    return _BREAKING.sub(" ", octets.decode("utf-8", "replace"))


def redact(text: str, limit: int = 500) -> str:
    """Somebody else's words on one line, addresses masked, at most `limit` characters."""
    line = " ".join(clean(text[: 2 * limit]).split())
    return scrub(_ADDRESS.sub(lambda found: mask_email(found[0]), line))[:limit]
