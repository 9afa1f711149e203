"""One field of a file becomes a value, or says why not (registries 1.5 strict, 7.5)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from varsel.domain.address import e164, valid_email
from varsel.domain.errors import Rejected
from varsel.domain.identifiers import Level, subject_key
from varsel.domain.schemes import NORWEGIAN, Identifiers

STRICT: Final = NORWEGIAN.at(Level.STRICT)

MAX_TEXT: Final = 400
_MAX_INT: Final = 2**31 - 1
_NOT_TEXT: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
_RESOURCE: Final = re.compile(r"[a-z0-9_-]{4,128}")
_RESOURCE_PREFIX: Final = "urn:altinn:resource:"
_POSITIVE: Final = re.compile(r"0{0,9}[1-9][0-9]{0,9}")
_WORD: Final = re.compile(r"[\w.:*-]{1,128}")


class BadValue(Exception):
    """A field that its column cannot take. `code` says why and holds no part of the value."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Rules:
    """What a load allows.

    `production`: real identity numbers may be loaded. `assume_fresh`: addresses of persons without dates count as
    updated at `now`. `as_registered`: a register knows best; addresses are kept as they are, and the dates in identity
    numbers are not judged. `identifiers`: what is taken, of Norwegian ones those that are right to their date.
    """

    now: datetime
    production: bool = False
    assume_fresh: bool = False
    as_registered: bool = False
    identifiers: Identifiers = STRICT

    def person(self, field: str) -> str:
        """The subject key of an identifier. Raises `Rejected` for a real identity number outside production."""
        identifiers = self.identifiers.at(Level.CHECKSUM) if self.as_registered else self.identifiers
        if not identifiers.is_person(field):
            raise BadValue("identity-number")
        if not self.production and identifiers.may_be_real(field):
            raise Rejected("real-identity", "real identity numbers are loaded in production only")
        return subject_key(field)

    def organisation(self, field: str) -> str:
        if not self.identifiers.is_organisation(field):
            raise BadValue("organisation-number")
        return field

    def email(self, field: str) -> str:
        if not self.as_registered and not valid_email(field):
            raise BadValue("email")
        return text(field)

    def mobile(self, field: str) -> str:
        """In E.164, with Norway as default country."""
        if self.as_registered:
            return text(field)
        number = e164(field)
        if number is None:
            raise BadValue("mobile")
        return number


def text(field: str) -> str:
    if len(field) > MAX_TEXT:
        raise BadValue("too-long")
    if _NOT_TEXT.search(field):
        raise BadValue("characters")
    return field


def email(field: str) -> str:
    """An address that must be one, whatever the register says: it is what a person logs in by."""
    if not valid_email(field):
        raise BadValue("email")
    return text(field)


def word(field: str) -> str:
    """A role or an action: no blanks."""
    if not _WORD.fullmatch(field):
        raise BadValue("word")
    return field


def boolean(field: str) -> bool:
    if field == "true":
        return True
    if field == "false":
        return False
    raise BadValue("boolean")


def positive(field: str) -> int:
    """1 to 2³¹ - 1: ids of users and parties."""
    if not (_POSITIVE.fullmatch(field) and int(field) <= _MAX_INT):
        raise BadValue("number")
    return int(field)


def uuid(field: str) -> str:
    try:
        return str(UUID(field))
    except ValueError:
        raise BadValue("uuid") from None


@lru_cache(maxsize=4_096)  # most files hold dates, and few different ones
def instant(field: str) -> datetime:
    """ISO 8601. A date is its midnight; without a zone it is UTC."""
    try:
        value = datetime.fromisoformat(field)
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("time") from None
    return value


def language(field: str) -> str:
    if not (len(field) == 2 and field.isascii() and field.isalpha()):
        raise BadValue("language")
    return field.lower()


def address_kind(field: str) -> str:
    if field not in {"email", "sms"}:
        raise BadValue("address-kind")
    return field


def user_kind(field: str) -> str:
    if field not in {"person", "self-identified"}:
        raise BadValue("user-kind")
    return field


def resource(field: str) -> str:
    """A bare resource id; the prefix of its URN is taken off."""
    bare = field.removeprefix(_RESOURCE_PREFIX)
    if not _RESOURCE.fullmatch(bare):
        raise BadValue("resource")
    return bare


def resource_or_all(field: str) -> str:
    return field if field == "*" else resource(field)


def resources(field: str) -> list[str]:
    """Blank-separated, each once."""
    return list(dict.fromkeys(resource(part) for part in field.split()))


def plain(value: object) -> str:
    """A value of JSON as the field that CSV would hold."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float() if value.is_integer():  # to JSON, 2.0 is the same number
            return str(int(value))
        case Sequence() if all(isinstance(part, str) for part in value):
            return " ".join(value)
        case _:
            raise BadValue("json-type")
