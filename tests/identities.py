"""Our rules of identity and organisation numbers beside those of others, over random and nearly right values.

    python tests/identities.py [count]     (or: make identities)

All values are made in memory, at random, and written nowhere; each implementation is asked about what it knows:

- python-stdnum: the check digits of today; dates of fødselsnummer, D-numbers and months + 40. It tells the century by
  the individual number, so that it refuses some that we cannot judge, and has no 29 February 1900. Its own check
  digits and the rule that the tax authority published (the first may also be 1, 2 or 3 higher, modulo 11) give those
  of 2032.
- id-validation: fødselsnummer of today, with the same centuries.
- fnrvalidator (npm, by the welfare agency): the check digits of 2032, and every date but those of months + 65.
- norsk-validator (npm): organisation numbers.
"""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from id_validation import ValidatorFactory
from stdnum.no import fodselsnummer, orgnr

from varsel.domain.identifiers import Level, valid_organisation_number, valid_person_id

MILLION: Final = 1_000_000
NODE: Final = Path(__file__).parent / "node"

_OFFSETS: Final = (0, 0, 40, 65, 80, 80)
_FORGIVEN: Final = frozenset(" -:")  # separators that some take
_norwegian = ValidatorFactory.get_validator("NO")


# Values


def person_values(count: int, seed: int) -> Iterator[str]:
    """A third right, by the check digits of today or 2032; a third nearly right; a third anything."""
    draws = random.Random(seed)  # noqa: S311
    for n in range(count):
        match n % 6:
            case 0 | 1:
                yield _right_person(draws)
            case 2 | 3:
                yield _spoilt(draws, _right_person(draws))
            case 4:
                yield f"{draws.randrange(10**11):011}"
            case _:
                yield _with_digits(draws, f"{draws.randrange(10**9):09}")


def organisation_values(count: int, seed: int) -> Iterator[str]:
    draws = random.Random(seed)  # noqa: S311
    for n in range(count):
        eight = f"{draws.randrange(10**8):08}"
        right = next((v for d in "0123456789" if orgnr.is_valid(v := eight + d)), f"{eight}0")
        yield (right, _spoilt(draws, right), f"{draws.randrange(10**9):09}")[n % 3]


def _right_person(draws: random.Random) -> str:
    """Its date exists for the most part: months are taken to have 31 days."""
    day = draws.randint(1, 31) + draws.choice((0, 0, 40))
    month = draws.randint(1, 12) + draws.choice(_OFFSETS)
    return _with_digits(draws, f"{day:02}{month:02}{draws.randrange(100):02}{draws.randrange(1000):03}")


def _with_digits(draws: random.Random, nine: str) -> str:
    """With check digits: half of today, half of 2032. Which have none get two at random."""
    remainder = draws.choice((0, 0, 0, 1, 2, 3))
    first = (int(fodselsnummer.calc_check_digit1(nine)) + remainder) % 11
    second = fodselsnummer.calc_check_digit2(f"{nine}{first}") if first < 10 else "10"
    return f"{nine}{first}{second}" if len(second) == 1 else f"{nine}{draws.randrange(100):02}"


def _spoilt(draws: random.Random, value: str) -> str:
    place = draws.randrange(len(value) - 1)
    match draws.randrange(12):
        case 0:
            return value[:place] + value[place + 1 :]
        case 1:
            return value[:place] + draws.choice("0 -A٣") + value[place:]
        case 2:
            return value[:place] + draws.choice(" xO٣") + value[place + 1 :]
        case 3 | 4 | 5:
            return value[:place] + value[place + 1] + value[place] + value[place + 2 :]
        case 6 | 7:
            return value[:-2] + f"{draws.randrange(100):02}"
        case _:
            return value[:place] + str(draws.randrange(10)) + value[place + 1 :]


# What others say: None where they do not know


def stdnum_digits(value: str, *, from_2032: bool) -> bool:
    if len(value) != 11 or not (value.isascii() and value.isdigit()):
        return False
    first, second = int(fodselsnummer.calc_check_digit1(value)), fodselsnummer.calc_check_digit2(value)
    return (int(value[9]) - first) % 11 <= (3 if from_2032 else 0) and value[10] == second


def stdnum_today(value: str) -> bool | None:
    if _FORGIVEN & set(value) or _month(value) > 52 or _century_counts(value) or _unborn(value):
        return None
    return fodselsnummer.is_valid(value)


def id_validation_today(value: str) -> bool | None:
    if not (value.isascii() and value.isdigit()) or _month(value) > 40 or _century_counts(value):
        return None
    if value[0] > "3":  # D-numbers are unknown to it
        return None
    return bool(_norwegian.validate(value))


def _month(value: str) -> int:
    return int(value[2:4]) if _has_shape(value) else 0


def _century_counts(value: str) -> bool:
    """Whether the individual number says that there is no such century, or that its year 00 is 1900."""
    if not _has_shape(value):
        return False
    year, individual = int(value[4:6]), int(value[6:9])
    no_century = (500 <= individual < 750 and 40 <= year < 54) or (750 <= individual < 900 and year >= 40)
    return no_century or (year == 0 and individual < 500)


def _unborn(value: str) -> bool:
    """Whether it may be somebody's who is not born yet; we do not ask."""
    return _has_shape(value) and value[6] >= "5" and datetime.now(UTC).year % 100 <= int(value[4:6]) < 40


def _has_shape(value: str) -> bool:
    return len(value) == 11 and value.isascii() and value.isdigit()


# Comparisons. What differs is counted by who says otherwise.


def compare_with_python(values: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """How many values were judged by whom, and how many otherwise than by us."""
    judged: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for value in values:
        digits, today = (
            valid_person_id(value, level, old_scheme_only=True) for level in (Level.CHECKSUM, Level.STRICT)
        )
        said = {
            "python-stdnum, check digits of today": (stdnum_digits(value, from_2032=False), digits),
            "python-stdnum, check digits of 2032": (
                stdnum_digits(value, from_2032=True),
                valid_person_id(value, Level.CHECKSUM),
            ),
            "python-stdnum, numbers of today": (stdnum_today(value), today),
            "id-validation, numbers of today": (id_validation_today(value), today),
        }
        _count(said, judged, differing)
    return judged, differing


def compare_organisations(values: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    judged: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for value in values:
        theirs = None if " " in value else orgnr.is_valid(value)
        said = {"python-stdnum, organisations": (theirs, valid_organisation_number(value, Level.CHECKSUM))}
        _count(said, judged, differing)
    return judged, differing


def compare_with_node(persons: Sequence[str], organisations: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Needs the packages of `tests/node`."""
    judged: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    for value, flags in zip(persons, _judge(persons), strict=True):
        known = not 66 <= _month(value) <= 77
        said: dict[str, tuple[bool | None, bool]] = {
            "fnrvalidator, check digits of 2032": (flags[0] == "1", valid_person_id(value, Level.CHECKSUM)),
            "fnrvalidator, numbers of 2032": (flags[1] == "1" if known else None, valid_person_id(value)),
        }
        _count(said, judged, differing)
    for value, flags in zip(organisations, _judge(organisations), strict=True):
        ours = valid_organisation_number(value, Level.CHECKSUM)
        _count({"norsk-validator, organisations": (flags[2] == "1", ours)}, judged, differing)
    return judged, differing


def _judge(values: Sequence[str]) -> list[str]:
    given = "".join(f"{value}\n" for value in values)
    done = subprocess.run(["node", NODE / "judge.js"], input=given, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _count(said: dict[str, tuple[bool | None, bool]], judged: Counter[str], differing: Counter[str]) -> None:
    for name, (theirs, ours) in said.items():
        if theirs is not None:
            judged[name] += 1
            differing[name] += theirs is not ours


def main(count: int = MILLION) -> None:
    began, seed = time.monotonic(), 2032
    persons, organisations = list(person_values(count, seed)), list(organisation_values(count, seed))
    right = sum(map(valid_person_id, persons))
    print(f"{count:,} identity numbers ({right:,} are right) and {count:,} organisation numbers:")
    wrong = 0
    for judged, differing in (
        compare_with_python(persons),
        compare_organisations(organisations),
        compare_with_node(persons, organisations),
    ):
        for name, number in judged.items():
            print(f"{name:40} judged {number:>9,}, {differing[name]} otherwise than we")
        wrong += differing.total()
    print(f"{time.monotonic() - began:.0f} s")
    if wrong:
        raise SystemExit("somebody errs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
