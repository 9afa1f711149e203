"""National identity and organisation numbers: validation, synthetic ones, and how they are written to the database.

Sources: registries 1.1-1.8. Identifiers are text everywhere: a numeric type would lose leading zeros.
"""

import hashlib
import hmac
from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final


class Level(StrEnum):
    """How much of an identifier is checked; each level includes the one before it (registries 1.5)."""

    SHAPE = "shape"
    CHECKSUM = "checksum"
    STRICT = "strict"


PUBLISHED_EXAMPLES: Final = frozenset({"02013299997", "02013299903", "02013299911", "30108299939", "42013299980"})
"""Published with the reform of 2032. The only numbers without a synthetic offset that may stand in test data."""

_REMAINDERS_OF_2032: Final = 3  # numbers issued from 2032 leave 0-3 where older ones leave 0
_ZEROS_1: Final = 48 * 46  # what the ASCII codes of digits add to the weighted sums: 48 times the sum of the weights
_ZEROS_2: Final = 48 * 42


def valid_person_id(value: str, level: Level = Level.STRICT, *, old_scheme_only: bool = False) -> bool:
    """Whether `value` is a national identity number: fødselsnummer or D-number, real or synthetic.

    Accepts the check digits of 2032 too, unless `old_scheme_only`.
    """
    if len(value) != 11 or not (value.isascii() and value.isdigit()):
        return False
    if level is Level.SHAPE:
        return True
    d1, d2, m1, m2, y1, y2, i1, i2, i3, k1, k2 = value.encode()
    first = (3 * d1 + 7 * d2 + 6 * m1 + m2 + 8 * y1 + 9 * y2 + 4 * i1 + 5 * i2 + 2 * i3 + k1 - _ZEROS_1) % 11
    if first > (0 if old_scheme_only else _REMAINDERS_OF_2032):
        return False
    if (5 * d1 + 4 * d2 + 3 * m1 + 2 * m2 + 7 * y1 + 6 * y2 + 5 * i1 + 4 * i2 + 3 * i3 + 2 * k1 + k2 - _ZEROS_2) % 11:
        return False
    return level is Level.CHECKSUM or _has_date(value)


def month_offset(value: str) -> int | None:
    """80, 65 or 40 for synthetic numbers, 0 for real ones; None when day and month do not exist (registries 1.1)."""
    return _MONTH_OFFSETS.get(value[:4])


def is_synthetic(value: str) -> bool:
    """Whether no real person can have the number: a month offset, no such day at all, or a published example."""
    return month_offset(value) != 0 or value in PUBLISHED_EXAMPLES


def is_d_number(value: str) -> bool:
    return value[:1] in {"4", "5", "6", "7"}


def check_digits(nine: str, remainder: int = 0) -> str | None:
    """The two check digits after nine digits; None when the combination is not issued.

    `remainder` is 0 for numbers issued so far, and 0-3 from 2032 (registries 1.2).
    """
    d1, d2, m1, m2, y1, y2, i1, i2, i3 = map(int, nine)
    k1 = (remainder - (3 * d1 + 7 * d2 + 6 * m1 + m2 + 8 * y1 + 9 * y2 + 4 * i1 + 5 * i2 + 2 * i3)) % 11
    k2 = -(5 * d1 + 4 * d2 + 3 * m1 + 2 * m2 + 7 * y1 + 6 * y2 + 5 * i1 + 4 * i2 + 3 * i3 + 2 * k1) % 11
    return f"{k1}{k2}" if k1 < 10 and k2 < 10 else None


def valid_organisation_number(value: str, level: Level = Level.STRICT) -> bool:
    """Whether `value` is an organisation number. The first digit is not judged, apart from 0 (registries 1.4)."""
    if len(value) != 9 or not (value.isascii() and value.isdigit()):
        return False
    if level is Level.SHAPE:
        return True
    if organisation_check_digit(value[:8]) != value[8]:
        return False
    return level is Level.CHECKSUM or value[0] != "0"


def organisation_check_digit(eight: str) -> str | None:
    """The ninth digit; None when no organisation can have these eight."""
    digit = -sum(w * int(d) for w, d in zip((3, 2, 7, 6, 5, 4, 3, 2), eight, strict=True)) % 11
    return str(digit) if digit < 10 else None


def subject_key(person_id: str) -> str:
    """How a national identity number is written to, and sought in, the database (design 8).

    The number itself: the one place to change when an installation shall hold keyed hashes instead.
    """
    return person_id


def pseudonym(person_id: str, key: bytes) -> str:
    """The form for logs, traces and error texts: `nin:` and ten hex digits that only the holder of `key` can link."""
    return f"nin:{hmac.new(key, person_id.encode(), hashlib.sha256).hexdigest()[:10]}"


# Dates

_SYNTHETIC_MONTHS: Final = 80
_D_NUMBER_DAYS: Final = 40


def _days_and_months() -> Iterator[tuple[str, int]]:
    for month_shift in (0, 40, 65, _SYNTHETIC_MONTHS):
        for day_shift in (0, _D_NUMBER_DAYS):
            for month in range(1, 13):
                for day in range(1, monthrange(2000, month)[1] + 1):
                    yield f"{day + day_shift:02}{month + month_shift:02}", month_shift


_MONTH_OFFSETS: Final = dict(_days_and_months())
_LEAP_DAYS: Final = frozenset(f"{day}{2 + shift:02}" for day in (29, 69) for shift in (0, 40, 65, 80))


def _has_date(value: str) -> bool:
    """Day and month exist; 29 February in years divisible by 4, for the century is unknown (registries 1.3)."""
    head = value[:4]
    return head in _MONTH_OFFSETS and (head not in _LEAP_DAYS or int(value[4:6]) % 4 == 0)


# Synthetic identifiers. The index walks over dates (or blocks) with a stride, so that small populations are mixed too.

_FIRST_DATE: Final = date(1940, 1, 1)
_DATES: Final = (date(2000, 1, 1) - _FIRST_DATE).days
_DATE_STRIDE: Final = 9973  # shares no factor with _DATES = 3² · 5 · 487
_SERIES: Final = 500  # individual numbers 000-499 belong to 1940-1999
_BLOCKS: Final = 200_000  # prefixes 31 and 21, five digits; each block holds at least nine numbers
_BLOCK_STRIDE: Final = 77_773

SYNTHETIC_PERSONS: Final = 411 * _DATES
"""How many indices `synthetic_person_id` takes: each date has at least 411 numbers in its series."""
SYNTHETIC_ORGANISATIONS: Final = 9 * _BLOCKS


def synthetic_person_id(seed: int, index: int, *, d_number: bool = False) -> str:
    """A valid number with month + 80. One seed gives different numbers for 0 <= index < SYNTHETIC_PERSONS."""
    if not 0 <= index < SYNTHETIC_PERSONS:
        raise ValueError(f"the index of a synthetic person goes from 0 to {SYNTHETIC_PERSONS - 1}")
    start, shift = _start(seed)
    turn, step = divmod(index, _DATES)
    head, first, second = _head((start + step * _DATE_STRIDE) % _DATES, d_number)
    endings = _endings(first, second)
    return head + endings[(turn + shift) % len(endings)]


def synthetic_organisation_number(seed: int, index: int) -> str:
    """A valid number that begins with 31 or 21; different ones for 0 <= index < SYNTHETIC_ORGANISATIONS."""
    if not 0 <= index < SYNTHETIC_ORGANISATIONS:
        raise ValueError(f"the index of a synthetic organisation goes from 0 to {SYNTHETIC_ORGANISATIONS - 1}")
    start, _ = _start(seed)
    turn, step = divmod(index, _BLOCKS)
    block = (start + step * _BLOCK_STRIDE) % _BLOCKS
    head = f"{'31' if block % 2 else '21'}{block // 2:05}"
    d1, d2, d3, d4, d5, d6, d7 = map(int, head)
    partial = 3 * d1 + 2 * d2 + 7 * d3 + 6 * d4 + 5 * d5 + 4 * d6 + 3 * d7
    impossible = 6 * (1 - partial) % 11  # the eighth digit that would need a check digit of 10
    d8 = turn if turn < impossible else turn + 1
    return f"{head}{d8}{-(partial + 2 * d8) % 11}"


@lru_cache(maxsize=16)
def _start(seed: int) -> tuple[int, int]:
    digest = hashlib.sha256(str(seed).encode()).digest()
    return int.from_bytes(digest[:8]), int.from_bytes(digest[8:16])


@lru_cache(maxsize=2 * _DATES)
def _head(day: int, d_number: bool) -> tuple[str, int, int]:
    """The six digits of a date, and their share of both weighted sums modulo 11."""
    born = _FIRST_DATE + timedelta(days=day)
    shift = _D_NUMBER_DAYS if d_number else 0
    head = f"{born.day + shift:02}{born.month + _SYNTHETIC_MONTHS}{born.year % 100:02}"
    d1, d2, m1, m2, y1, y2 = map(int, head)
    return (
        head,
        (3 * d1 + 7 * d2 + 6 * m1 + m2 + 8 * y1 + 9 * y2) % 11,
        (5 * d1 + 4 * d2 + 3 * m1 + 2 * m2 + 7 * y1 + 6 * y2) % 11,
    )


@lru_cache(maxsize=121)
def _endings(first: int, second: int) -> tuple[str, ...]:
    """Every individual number of the series that has check digits, with them, for a date with these two sums."""
    endings = []
    for number in range(_SERIES):
        i1, i2, i3 = number // 100, number // 10 % 10, number % 10
        k1 = -(first + 4 * i1 + 5 * i2 + 2 * i3) % 11
        k2 = -(second + 5 * i1 + 4 * i2 + 3 * i3 + 2 * k1) % 11
        if k1 < 10 and k2 < 10:
            endings.append(f"{number:03}{k1}{k2}")
    return tuple(endings)
