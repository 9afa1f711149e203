"""KRR's persons: what a snapshot says, and which of a page's snapshots of one person counts (registries 2.2, 2.5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from varsel.domain.identifiers import Level, is_synthetic, subject_key, valid_person_id
from varsel.registry_sync.ports import UpstreamError
from varsel.registry_sync.reading import MAX_ADDRESS, Members, Poison, Reader, Unreadable, members, poison, text

_MAX_WORD: Final = 64
_MAX_MOBILE: Final = 64


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """A snapshot, named like the columns of its row. `version_at`: the newest of its times, the deletion's aside."""

    subject_key: str
    ordinal: int
    deleted: bool
    reserved: bool = False
    email: str | None = None
    email_updated_at: datetime | None = None
    email_verified_at: datetime | None = None
    mobile: str | None = None
    mobile_updated_at: datetime | None = None
    mobile_verified_at: datetime | None = None
    language: str | None = None
    version_at: datetime | None = None


def read_persons(records: Sequence[object], reader: Reader) -> tuple[list[PersonRecord], list[Poison]]:
    """One record for each person, and those that cannot be read.

    Raises `UpstreamError` when a real person is among them where only synthetic ones may be.
    """
    read: list[PersonRecord] = []
    unread: list[Poison] = []
    for ordinal, record in enumerate(records):
        try:
            read.append(read_person(record, ordinal, reader))
        except Unreadable as e:
            unread.append(poison(record, ordinal, e.reason, _known_key(record)))
    return choose(read), unread


def read_person(record: object, ordinal: int, reader: Reader) -> PersonRecord:
    """Raises `Unreadable`."""
    person = members(record)
    number = text(person.get("personidentifikator"), _MAX_WORD)
    if number is None:
        raise Unreadable("missing_id")
    if not valid_person_id(number, Level.SHAPE):
        raise Unreadable("bad_id")
    if not valid_person_id(number, Level.STRICT):  # a register is right about its own identifiers
        reader.oddities["identity_check_digits"] += 1
    elif reader.synthetic_only and not is_synthetic(number):
        raise UpstreamError("real_identity", detail="outside production only synthetic people may be taken")
    match text(person.get("status"), _MAX_WORD):
        case "AKTIV" | None:
            return _active(person, number, ordinal, reader)
        case "SLETTET":
            return PersonRecord(subject_key(number), ordinal, deleted=True)
        case _:
            raise Unreadable("unknown_status")


def choose(records: Iterable[PersonRecord]) -> list[PersonRecord]:
    """One record for each person, by the rule of registries 2.5, whatever order they came in.

    An older snapshot undoes no deletion: what comes after one must be newer than all that came before it.
    """
    chosen: dict[str, PersonRecord] = {}
    for record in records:
        before = chosen.get(record.subject_key)
        if before is None:
            chosen[record.subject_key] = record
            continue
        winner = record if _supersedes(record, before) else before
        chosen[record.subject_key] = replace(winner, version_at=_newest(record.version_at, before.version_at))
    return list(chosen.values())


def _supersedes(record: PersonRecord, before: PersonRecord) -> bool:
    """`before` came earlier, and carries the newest time of all that came before `record`."""
    if record.deleted or record.version_at is None or before.version_at is None:
        return True
    return record.version_at > before.version_at if before.deleted else record.version_at >= before.version_at


def _active(person: Members, number: str, ordinal: int, reader: Reader) -> PersonRecord:
    contact = members(person.get("kontaktinformasjon"))

    def time(source: Members, name: str) -> datetime | None:
        return reader.instant(source.get(name))

    email_updated, email_verified = time(contact, "epostadresse_oppdatert"), time(contact, _verified("epostadresse"))
    mobile_updated = time(contact, "mobiltelefonnummer_oppdatert")
    mobile_verified = time(contact, _verified("mobiltelefonnummer"))
    others = [
        time(contact, "epostadresse_sist_validert"),
        time(contact, "mobiltelefonnummer_sist_validert"),
        time(person, "reservasjonstidspunkt"),
        time(person, "reservasjon_oppdatert"),
        time(person, "spraak_oppdatert"),
    ]
    return PersonRecord(
        subject_key=subject_key(number),
        ordinal=ordinal,
        deleted=False,
        reserved=text(person.get("reservasjon"), _MAX_WORD) == "JA",
        email=text(contact.get("epostadresse"), MAX_ADDRESS),
        email_updated_at=email_updated,
        email_verified_at=email_verified,
        mobile=text(contact.get("mobiltelefonnummer"), _MAX_MOBILE),
        mobile_updated_at=mobile_updated,
        mobile_verified_at=mobile_verified,
        language=_language(text(person.get("spraak"), _MAX_WORD), reader),
        version_at=_newest(email_updated, email_verified, mobile_updated, mobile_verified, *others),
    )


def _verified(address: str) -> str:
    return f"{address}_sist_verifisert"


def _language(value: str | None, reader: Reader) -> str | None:
    if value is None or (len(value) == 2 and value.isascii() and value.isalpha()):
        return value and value.lower()
    reader.oddities["unknown_language"] += 1
    return None


def _newest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


def _known_key(record: object) -> str | None:
    """Whose record it is, although it cannot be read."""
    number = record.get("personidentifikator") if isinstance(record, dict) else None
    if isinstance(number, str) and valid_person_id(number.strip(), Level.SHAPE):
        return subject_key(number.strip())
    return None
