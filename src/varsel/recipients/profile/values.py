"""What users may register as addresses, and how addresses are compared (registries 3.7, 4.2, 4.3)."""

import re
from enum import StrEnum
from typing import Final

from varsel.domain.address import valid_mobile

MAX_EMAIL: Final = 400
MAX_PHONE: Final = 26
MAX_RESOURCES: Final = 1_000
RESOURCE_PREFIX: Final = "urn:altinn:resource:"

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+=?^_`{|}~-]+"
_QUOTED: Final = r'"(?:[ !#-\[\]-~]|\\[ -~])+"'
_LETTER: Final = "A-Za-z0-9æøåÆØÅ"
_LABEL: Final = rf"[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?"
EMAIL_PATTERN: Final = (
    rf"(?:{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@"
    rf"(?:(?:{_LABEL}\.){{1,9}}[A-Za-z]{{2,14}}|[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}})"
)
LOOSE_PHONE_PATTERN: Final = r"(?:[0-9]{5}|[0-9]{8}|(?:00|\+)[0-9]{3,})"
RESOURCE_PATTERN: Final = r"[a-z0-9_-]{4,128}"
"""These are of the whole value, in the dialect that Python and JSON Schema share."""
_EMAIL: Final = re.compile(EMAIL_PATTERN)
_LOOSE_PHONE: Final = re.compile(LOOSE_PHONE_PATTERN)
_INTERNATIONAL: Final = re.compile(r"\+[0-9]{3,}")
_RESOURCE: Final = re.compile(RESOURCE_PATTERN)


class AddressKind(StrEnum):
    """As callers name them; in the database in lower case."""

    EMAIL = "Email"
    SMS = "Sms"


class Standing(StrEnum):
    """How sure we are that an address is its user's. LEGACY: nobody has asked."""

    VERIFIED = "Verified"
    UNVERIFIED = "Unverified"
    LEGACY = "Legacy"


def own_email(value: str) -> bool:
    """Whether a user may register it: also with a quoted local part, or four numbers for a host."""
    return len(value) <= MAX_EMAIL and _EMAIL.fullmatch(value.strip()) is not None


def loose_phone(value: str) -> bool:
    """Five or eight digits, or `+` or `00` and three or more. Whether anybody has the number is not judged."""
    return len(value) <= MAX_PHONE and _LOOSE_PHONE.fullmatch(value.strip()) is not None


def international_phone(value: str) -> bool:
    """A number with `+` and country code that somebody could have."""
    value = value.strip()
    return len(value) <= MAX_PHONE and _INTERNATIONAL.fullmatch(value) is not None and valid_mobile(value)


def resource_id(urn: str) -> str | None:
    """The bare id of `urn:altinn:resource:{id}`; None when it is no such URN (registries 1.7)."""
    bare = urn.removeprefix(RESOURCE_PREFIX)
    return bare if bare != urn and _RESOURCE.fullmatch(bare) else None


def comparable(address: str) -> str:
    """The form in which addresses are compared when their owner verifies them (registries 4.3)."""
    return address.strip().lower()
