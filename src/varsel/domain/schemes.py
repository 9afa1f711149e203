"""Identifier schemes: which identifiers of persons and organisations an installation takes (registries 1.5).

Norway's own stand in `identifiers`. Others are configured: a name, a pattern that fits the whole identifier, and
perhaps a check digit.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from varsel.domain.identifiers import Level, is_synthetic, valid_organisation_number, valid_person_id

MAX_LENGTH: Final = 64
CHECKED_GROUP: Final = "checked"
"""The group of a pattern that the check digit stands for. Without such a group it is the whole identifier."""

_DATE: Final = 6  # digits of a national identity number that say when somebody was born


class Party(StrEnum):
    PERSON = "person"
    ORGANISATION = "organisation"


class CheckDigit(StrEnum):
    """How the last characters of an identifier follow from those before."""

    NONE = "none"
    LUHN = "luhn"
    MOD_11 = "mod11"  # weights 2 to 7 from the right, again and again; never a tenth digit
    ISO7064_MOD_11_10 = "iso7064-mod11-10"
    ISO7064_MOD_11_2 = "iso7064-mod11-2"  # the last may be X, for ten
    ISO7064_MOD_97_10 = "iso7064-mod97-10"  # two digits; letters count from A = 10


@dataclass(frozen=True, slots=True)
class Scheme:
    name: str
    party: Party
    pattern: re.Pattern[str]
    check: CheckDigit = CheckDigit.NONE

    def fits(self, value: str) -> bool:
        if not 1 <= len(value) <= MAX_LENGTH or " " in value or not value.isprintable():
            return False
        match = self.pattern.fullmatch(value)
        if match is None:
            return False
        checked = match[CHECKED_GROUP] if CHECKED_GROUP in self.pattern.groupindex else value
        return _RULES[self.check](_significant(checked or ""))


@dataclass(frozen=True, slots=True)
class Identifiers:
    """The identifiers that are taken: Norway's, judged as far as `level`, and those of `schemes`."""

    schemes: tuple[Scheme, ...] = ()
    norwegian: bool = True
    level: Level = Level.SHAPE

    def at(self, level: Level) -> "Identifiers":
        return Identifiers(self.schemes, self.norwegian, level)

    def is_person(self, value: str) -> bool:
        return (self.norwegian and valid_person_id(value, self.level)) or self._fits(Party.PERSON, value)

    def is_organisation(self, value: str) -> bool:
        norwegian = self.norwegian and valid_organisation_number(value, self.level)
        return norwegian or self._fits(Party.ORGANISATION, value)

    def may_be_real(self, value: str) -> bool:
        """Whether a person could have it who is not made up. Of other schemes nobody can tell: those pass."""
        return self.norwegian and not is_synthetic(value) and valid_person_id(value, self.level)

    def _fits(self, party: Party, value: str) -> bool:
        return any(scheme.party is party and scheme.fits(value) for scheme in self.schemes)


NORWEGIAN: Final = Identifiers()


def mask_identifier(value: str) -> str:
    """`148385*****`: what a support screen shows of a person's identifier (registries 1.8); of others at most half."""
    shown = _DATE if valid_person_id(value, Level.SHAPE) else min(_DATE, len(value) // 2)
    return value[:shown] + "*" * (len(value) - shown)


# Check digits, over the letters and digits of an identifier: hyphens, points and the like do not count.


def _significant(value: str) -> str:
    return "".join(character for character in value.upper() if character.isalnum())


def _luhn(value: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    if not _is_number(value):
        return False
    total = 0
    for place, digit in enumerate(map(int, reversed(value))):
        double = digit * (1 + place % 2)
        total += double - 9 if double > 9 else double
    return total % 10 == 0


def _mod_11(value: str) -> bool:
    """Among others Norwegian and Danish organisations. A remainder that would need a digit of ten fits none."""
    if not _is_number(value):
        return False
    head, check = value[:-1], int(value[-1])
    weighted = sum(int(digit) * (2 + place % 6) for place, digit in enumerate(reversed(head)))
    return (weighted + check) % 11 == 0


def _mod_11_10(value: str) -> bool:
    """ISO/IEC 7064, the hybrid system."""
    if not _is_number(value):
        return False
    product = 10
    for digit in map(int, value[:-1]):
        product = ((product + digit) % 10 or 10) * 2 % 11
    return (product + int(value[-1])) % 10 == 1


def _mod_11_2(value: str) -> bool:
    head, check = value[:-1], value[-1:]
    if not _is_number(f"{head}0") or check not in "0123456789X" or not check:
        return False
    total = 0
    for digit in map(int, head):
        total = (total + digit) * 2 % 11
    return (total + (10 if check == "X" else int(check))) % 11 == 1


def _mod_97_10(value: str) -> bool:
    if len(value) < 3 or not value.isascii() or not _is_number(value[-2:]):
        return False
    return int("".join(str(int(character, 36)) for character in value)) % 97 == 1


def _is_number(value: str) -> bool:
    return len(value) > 1 and value.isascii() and value.isdigit()


_RULES: Final[Mapping[CheckDigit, Callable[[str], bool]]] = {
    CheckDigit.NONE: lambda _: True,
    CheckDigit.LUHN: _luhn,
    CheckDigit.MOD_11: _mod_11,
    CheckDigit.ISO7064_MOD_11_10: _mod_11_10,
    CheckDigit.ISO7064_MOD_11_2: _mod_11_2,
    CheckDigit.ISO7064_MOD_97_10: _mod_97_10,
}
