"""Synthetic people and organisations as files to load (registries 1.6, 8): the same for the same seed and day.

Nobody real can be meant: identity numbers have month + 80, addresses lie in example.com, and mobile numbers in
+4799999500-999, whose endings carry no script of a simulator (design 8, "Magic by address").
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Final

from varsel.domain.identifiers import (
    SYNTHETIC_ORGANISATIONS,
    SYNTHETIC_PERSONS,
    synthetic_organisation_number,
    synthetic_person_id,
)
from varsel.recipients import personas
from varsel.recipients.load.rows import Kind

MAX_PERSONS: Final = 6_000_000
MAX_ORGANISATIONS: Final = 1_200_000

Progress = Callable[[int], None]
"""Called now and then with the number of lines written since the last time."""

_LINES_PER_WRITE: Final = 5_000
_FIRST_USER_ID: Final = 1_000
_FIRST_PARTY_ID: Final = 100_000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES: Final = _words(
    "BLID BRED DJERV EKTE FIN FLINK FRISK GOD GRØNN HVIT JEVN KLAR KLOK KVIKK LETT LUN MILD MODIG MUNTER MYK NYDELIG"
    " OPPLAGT RASK RIK RUND SINDIG SNILL SOLID SPENT STERK STOLT SVAL TAPPER TRYGG TYDELIG VAKKER VARM VENNLIG VIS"
)
_NOUNS: Final = _words(
    "ASK BAKKE BJØRK BLOMST BUKT BÅT DAL EIK ELV ENG FJELL FOSS FUGL GRAN HAGE HASSEL HAV HEI HOLME KILDE KYST LERKE LI"
    " LYNG MÅKE NES ODDE ORE RØYS SJØ SKJÆR SLETTE STEIN STRAND SUND TIND TJERN TORV VANN VIDDE VIK ØY ÅS ÅKER"
)
_FORMS: Final = ("AS", "AS", "AS", "ENK", "SA", "FLI")
_LOCAL_PARTS: Final = [word.lower().translate(str.maketrans("æøå", "eoa")) for word in (*_ADJECTIVES, *_NOUNS)]

# Shares of persons, in percent
_NOTHING: Final = range(3)
_EMAIL_ONLY: Final = range(3, 9)
_MOBILE_ONLY: Final = range(9, 17)
_STALE_EMAIL: Final = range(17, 27)
_STALE_BOTH: Final = range(27, 34)
_FRESH_DAYS: Final = 500  # well within 18 months
_STALE_DAYS: Final = 600


@dataclass(frozen=True, slots=True)
class Population:
    """What to generate. `today`: freshness of addresses is counted from it."""

    persons: int
    organisations: int
    seed: int
    today: date

    def __post_init__(self) -> None:
        if not 1 <= self.persons <= MAX_PERSONS:
            raise ValueError(f"persons: from 1 to {MAX_PERSONS}")
        if not 0 <= self.organisations <= MAX_ORGANISATIONS:
            raise ValueError(f"organisations: from 0 to {MAX_ORGANISATIONS}")


def write(population: Population, folder: Path, progress: Progress) -> None:
    """One CSV file for each kind. Raises `OSError` when the folder cannot be written."""
    for kind, (header, lines) in _files(population).items():
        with (folder / f"{kind}.csv").open("w", encoding="utf-8", newline="") as file:
            everything = chain([header + "\n"], lines)
            while part := list(islice(everything, _LINES_PER_WRITE)):
                file.writelines(part)
                progress(len(part))


def count_lines(population: Population) -> int:
    """About as many as `write` reports."""
    return population.persons + 5 * population.organisations


def _files(p: Population) -> dict[Kind, tuple[str, Iterator[str]]]:
    return {
        Kind.ORGANISATIONS: ("org_no,name,parent_org_no,party_id,unit_type", _organisations(p)),
        Kind.ORG_ADDRESSES: ("org_no,kind,address", _org_addresses(p)),
        Kind.PERSONS: (
            "id,reserved,email,email_updated,mobile,mobile_updated,language,first_name,middle_name,last_name",
            _persons(p),
        ),
        Kind.USERS: ("user_id,person_id", _users(p)),
        Kind.USER_ADDRESSES: ("user_id,org_no,email,phone,resources", _user_addresses(p)),
        Kind.RULES: ("resource_id,action,role", iter(["*,read,daglig-leder\n", "*,read,kontaktperson\n"])),
        Kind.ROLES: ("user_id,org_no,role", _roles(p)),
    }


def _people(p: Population) -> Iterator[tuple[str, int]]:
    """Identity numbers, each with 64 random bits, without those of the personas. 4 % are D-numbers."""
    draws = Random(f"{p.seed}/persons")  # noqa: S311 - must be repeatable
    taken = frozenset(personas.PERSONS.values())
    numbers = (
        (number, bits)
        for index in range(SYNTHETIC_PERSONS)
        if (number := synthetic_person_id(p.seed, index, d_number=(bits := draws.getrandbits(64)) % 25 == 0))
        not in taken
    )
    return islice(numbers, p.persons)


def _persons(p: Population) -> Iterator[str]:
    """5 % reserved, 3 % without addresses, 6 % email only, 8 % mobile only, 10 % stale email, 7 % both stale."""
    days = [(p.today - timedelta(days=n)).isoformat() for n in range(_STALE_DAYS * 2)]
    for n, (number, bits) in enumerate(_people(p), start=1):
        share = (bits >> 8) % 100
        reserved = "false" if (bits >> 15) % 20 else "true"
        first = (bits >> 20) % len(_ADJECTIVES)
        last = (bits >> 26) % len(_NOUNS)
        middle = _NOUNS[(bits >> 32) % len(_NOUNS)] if (bits >> 38) % 5 == 0 else ""
        age = (bits >> 41) % _FRESH_DAYS
        email = mobile = email_updated = mobile_updated = ""
        if share not in _MOBILE_ONLY and share not in _NOTHING:
            email = f"{_LOCAL_PARTS[first]}.{_LOCAL_PARTS[len(_ADJECTIVES) + last]}.{n}@example.com"
            email_updated = days[age + _STALE_DAYS if share in _STALE_EMAIL or share in _STALE_BOTH else age]
        if share not in _EMAIL_ONLY and share not in _NOTHING:
            mobile = _mobile(bits >> 50)
            mobile_updated = days[age + _STALE_DAYS if share in _STALE_BOTH else age]
        language = "nn" if (bits >> 5) % 8 == 0 else "nb"
        yield (
            f"{number},{reserved},{email},{email_updated},{mobile},{mobile_updated},{language},"
            f"{_ADJECTIVES[first]},{middle},{_NOUNS[last]}\n"
        )


def _units(p: Population) -> Iterator[tuple[str, str, int]]:
    """Organisation numbers, each with its main unit (or empty) and 64 random bits. Of ten, three are subunits."""
    draws = Random(f"{p.seed}/organisations")  # noqa: S311
    taken = frozenset(personas.ORGANISATIONS.values())
    numbers = (synthetic_organisation_number(p.seed, index) for index in range(SYNTHETIC_ORGANISATIONS))
    ten: list[str] = []
    for place, number in enumerate(islice((n for n in numbers if n not in taken), p.organisations)):
        if place % 10 == 0:
            ten.clear()
        ten.append(number)
        yield number, ten[place % 10 - 7] if place % 10 >= 7 else "", draws.getrandbits(64)


def _organisations(p: Population) -> Iterator[str]:
    for party_id, (number, parent, bits) in enumerate(_units(p), start=_FIRST_PARTY_ID):
        name = f"{_ADJECTIVES[bits % len(_ADJECTIVES)]} {_NOUNS[bits // 64 % len(_NOUNS)]}"
        form = "BEDR" if parent else _FORMS[bits // 8192 % len(_FORMS)]
        yield f"{number},{name} {'AVDELING' if parent else form},{parent},{party_id},{form}\n"


def _org_addresses(p: Population) -> Iterator[str]:
    """Of ten, seven have an email address and a number, two the first, one the second only; 15 % of subunits none."""
    for number, parent, bits in _units(p):
        if parent and bits % 100 < 15:
            continue
        share = bits // 128 % 10
        if share < 9:
            yield f"{number},email,post.{number}@example.com\n"
        if share not in {7, 8}:
            yield f"{number},sms,{_mobile(bits >> 16)}\n"


def _pairs(p: Population) -> Iterator[tuple[int, str, str, int]]:
    """(user id, identity number, organisation number, random bits): the n-th person is a user of the n-th unit."""
    both = zip(_people(p), _units(p), strict=False)  # as many as there are of the rarer
    for user_id, ((person, _), (number, _, bits)) in enumerate(both, start=_FIRST_USER_ID):
        yield user_id, person, number, bits


def _users(p: Population) -> Iterator[str]:
    for user_id, person, _, _ in _pairs(p):
        yield f"{user_id},{person}\n"


def _user_addresses(p: Population) -> Iterator[str]:
    """Half of the users registered an address; a tenth of these for one resource only."""
    for user_id, _, number, bits in _pairs(p):
        if bits % 2:
            resource = personas.DEMO_RESOURCE if bits // 2 % 10 == 0 else ""
            yield f"{user_id},{number},bruker.{user_id}@example.com,{_mobile(bits >> 8)},{resource}\n"


def _roles(p: Population) -> Iterator[str]:
    for user_id, _, number, bits in _pairs(p):
        yield f"{user_id},{number},{'kontaktperson' if bits % 3 == 0 else 'daglig-leder'}\n"


def _mobile(bits: int) -> str:
    return f"+479999{9500 + bits % 500}"
