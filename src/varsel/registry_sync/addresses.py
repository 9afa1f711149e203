"""Businesses' notification addresses: what an entry of the feed says (registries 3.1, 3.2, 3.4)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.domain.identifiers import Level, valid_organisation_number
from varsel.registry_sync.reading import MAX_ADDRESS, Members, Poison, Reader, Unreadable, members, poison, text

_MAX_WORD: Final = 64
_ORGANISATION: Final = "ORGANISASJONSNUMMER"


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """An address, named like the columns of its row."""

    registry_id: str
    ordinal: int
    updated_at: datetime
    org_no: str
    kind: str
    address: str
    label: str | None


@dataclass(frozen=True, slots=True)
class Removal:
    registry_id: str
    ordinal: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Foreign:
    """An entry about something else than an organisation: passed over."""

    updated_at: datetime


Entry = AddressRecord | Removal


@dataclass(frozen=True, slots=True)
class Entries:
    """What a page says: one entry for each address, those that cannot be read, and the newest change of all."""

    chosen: list[Entry]
    poison: list[Poison]
    ignored: int
    newest: datetime | None


def read_entries(records: Sequence[object], reader: Reader) -> Entries:
    read: list[Entry] = []
    unread: list[Poison] = []
    times: list[datetime] = []
    for ordinal, record in enumerate(records):
        try:
            entry = read_entry(record, ordinal, reader)
        except Unreadable as e:
            unread.append(poison(record, ordinal, e.reason, _known_id(record)))
            continue
        times.append(entry.updated_at)
        if not isinstance(entry, Foreign):
            read.append(entry)
    return Entries(choose(read), unread, len(times) - len(read), max(times, default=None))


def read_entry(record: object, ordinal: int, reader: Reader) -> Entry | Foreign:
    """Raises `Unreadable`. The organisation comes first: who has none is passed over, whatever else is there."""
    entry = members(record)
    registry_id = text(entry.get("id"), _MAX_WORD)
    if registry_id is None:
        raise Unreadable("missing_id")
    updated_at = reader.instant(entry.get("updated"))
    if updated_at is None:
        raise Unreadable("missing_time")
    match entry.get("isdeleted"):
        case True:
            return Removal(registry_id, ordinal, updated_at)
        case False | None:
            contact = members(_content(entry.get("content")).get("Kontaktinformasjon"))
        case _:
            raise Unreadable("bad_shape")
    org_no = _organisation(contact, reader)
    if org_no is None:
        return Foreign(updated_at)
    kind, address = _address(members(contact.get("digitalVarslingsinformasjon")))
    label = text(entry.get("title"), MAX_ADDRESS)
    return AddressRecord(registry_id, ordinal, updated_at, org_no, kind, address, label)


def choose(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each address: the newest; of equal times a removal, then the later one in the page."""
    chosen: dict[str, Entry] = {}
    for entry in entries:
        before = chosen.get(entry.registry_id)
        if before is None or _rank(entry) >= _rank(before):
            chosen[entry.registry_id] = entry
    return list(chosen.values())


def international_prefix(prefix: str | None) -> str:
    """`47`, `+47` and `0047` are `+47`; empty for none."""
    if not prefix:
        return ""
    if prefix.startswith("+"):
        return prefix
    return "+" + (prefix.lstrip("0") if prefix.startswith("00") else prefix)


def _rank(entry: Entry) -> tuple[datetime, bool]:
    return entry.updated_at, isinstance(entry, Removal)


def _content(value: object) -> Members:
    """A JSON document inside a string."""
    if not isinstance(value, str):
        raise Unreadable("no_content")
    try:
        return members(json.loads(value))
    except (ValueError, RecursionError):
        raise Unreadable("content_not_json") from None


def _organisation(contact: Members, reader: Reader) -> str | None:
    unit = members(members(contact.get("kontaktinformasjonForEnhet")).get("enhetsidentifikator"))
    number = text(unit.get("verdi"), _MAX_WORD)
    if number is None or text(unit.get("type"), _MAX_WORD) != _ORGANISATION:
        return None
    if not valid_organisation_number(number, Level.SHAPE):
        raise Unreadable("bad_organisation_number")
    if not valid_organisation_number(number):
        reader.oddities["organisation_check_digit"] += 1
    return number


def _address(information: Members) -> tuple[str, str]:
    """(kind, full address); email wins over a number."""
    email = members(information.get("epostadresse"))
    user, host = text(email.get("brukernavn"), MAX_ADDRESS), text(email.get("domenenavn"), MAX_ADDRESS)
    if user and host:
        if len(user) + len(host) >= MAX_ADDRESS:
            raise Unreadable("too_long")
        return "email", f"{user}@{host}"
    phone = members(information.get("mobiltelefon"))
    number = text(phone.get("nasjonaltNummer"), _MAX_WORD)
    if number:
        return "sms", international_prefix(text(phone.get("internasjonaltPrefiks"), _MAX_WORD)) + number
    raise Unreadable("no_address")


def _known_id(record: object) -> str | None:
    """Whose entry it is, although it cannot be read."""
    try:
        return text(members(record).get("id"), _MAX_WORD)
    except Unreadable:
        return None
