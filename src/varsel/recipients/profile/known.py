"""What the registers know of an identifier now, for a person who must explain it (design 4: `varsel lookup`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from urllib.parse import unquote

from varsel.domain.address import mask_email, mask_mobile
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.schemes import Identifiers, mask_identifier
from varsel.recipients.ports import (
    ContactDirectory,
    ExternalContact,
    OrganisationContact,
    PersonContact,
    Record,
    UserContact,
)


class PartyKind(StrEnum):
    PERSON = "person"
    ORGANISATION = "organisation"
    EXTERNAL_IDENTITY = "externalIdentity"
    UNKNOWN = "unknown"  # no identifier of a kind that is taken here


@dataclass(frozen=True, slots=True)
class Known:
    """`emails`, `mobiles`: also stale ones. `origin`: whose addresses an organisation's are. `users`: of a resource."""

    identifier: str
    kind: PartyKind
    found: bool
    name: str | None = None
    reserved: bool | None = None
    emails: tuple[str, ...] = ()
    mobiles: tuple[str, ...] = ()
    email_stale: bool = False
    mobile_stale: bool = False
    origin: str | None = None
    users: tuple[UserContact, ...] = ()
    record: Record | None = field(default=None, compare=False)


async def find(
    directory: ContactDirectory,
    asked: Sequence[str],
    identifiers: Identifiers,
    *,
    resource_id: str | None,
    now: datetime,
) -> list[Known]:
    """One answer for each identifier, in order. Raises `RegistryUnavailable`.

    `resource_id`: also the users whose own addresses for an organisation apply to it, whether or not they may act.
    """
    persons = {value for value in asked if identifiers.is_person(value)}
    numbers = {value for value in asked if identifiers.is_organisation(value)}
    urns = {value for value in asked if parse_external_identity(value)}
    people = await directory.persons(persons, allow_stale=True, now=now)
    organisations = await directory.organisations(numbers)
    externals = await directory.external_identities(urns)
    users = await directory.user_addresses(numbers, resource_id) if resource_id else {}
    names = await directory.names({*people, *organisations})

    answers = {value: Known(value, PartyKind.UNKNOWN, found=False) for value in asked}
    answers |= {value: Known(value, PartyKind.EXTERNAL_IDENTITY, found=False) for value in urns}
    answers |= {value: _unknown_organisation(value, users) for value in numbers}
    answers |= {value: Known(value, PartyKind.PERSON, found=False) for value in persons}
    answers |= {value: _external(value, contact) for value, contact in externals.items()}
    answers |= {value: _organisation(value, contact, names, users) for value, contact in organisations.items()}
    answers |= {value: _person(value, contact, names) for value, contact in people.items()}
    return [answers[value] for value in asked]


def masked(known: Known) -> Known:
    """As it is shown to who has given no reason (registries 1.8). Organisations' numbers and names are public."""
    public = known.kind is PartyKind.ORGANISATION
    return replace(
        known,
        identifier=known.identifier if public else _masked_identifier(known.identifier),
        name=known.name if public else None,
        emails=tuple(map(mask_email, known.emails)),
        mobiles=tuple(map(mask_mobile, known.mobiles)),
        users=tuple(
            replace(u, email=u.email and mask_email(u.email), mobile=u.mobile and mask_mobile(u.mobile))
            for u in known.users
        ),
    )


def _person(value: str, contact: PersonContact, names: Mapping[str, str]) -> Known:
    return Known(
        value,
        PartyKind.PERSON,
        found=True,
        name=names.get(value),
        reserved=contact.reserved,
        emails=_listed(contact.email),
        mobiles=_listed(contact.mobile),
        email_stale=contact.email_stale,
        mobile_stale=contact.mobile_stale,
        record=contact.record,
    )


def _organisation(
    value: str, contact: OrganisationContact, names: Mapping[str, str], users: Mapping[str, list[UserContact]]
) -> Known:
    return Known(
        value,
        PartyKind.ORGANISATION,
        found=True,
        name=names.get(value),
        emails=contact.emails,
        mobiles=contact.mobiles,
        origin=contact.origin,
        users=tuple(users.get(value, ())),
        record=contact.record,
    )


def _unknown_organisation(value: str, users: Mapping[str, list[UserContact]]) -> Known:
    return Known(value, PartyKind.ORGANISATION, found=False, users=tuple(users.get(value, ())))


def _external(value: str, contact: ExternalContact) -> Known:
    return Known(
        value,
        PartyKind.EXTERNAL_IDENTITY,
        found=True,
        reserved=False,
        emails=_listed(contact.email),
        mobiles=_listed(contact.mobile),
        record=contact.record,
    )


def _masked_identifier(value: str) -> str:
    """Of a URN, its scheme stays."""
    scheme, colon, name = value.rpartition(":")
    name = unquote(name) if colon else name
    return f"{scheme}{colon}{mask_email(name) or mask_identifier(name)}"


def _listed(address: str | None) -> tuple[str, ...]:
    return (address,) if address else ()
