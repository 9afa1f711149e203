"""How each recipient of an order can be reached. Asked when an order is registered and again when it is due.

Sources: processing 2.2, 4.1-4.5; http-api 9; design 8 (user-registered addresses count at order time too).
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from varsel.domain.address import normalise_mobile, valid_mobile
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.order import OrderChannel, Recipient
from varsel.recipients.ports import (
    ContactDirectory,
    ExternalContact,
    OrganisationContact,
    Pair,
    PersonContact,
    UserContact,
)

R = TypeVar("R")

_RESOURCE_PREFIX: Final = "urn:altinn:resource:"


@dataclass(frozen=True, slots=True)
class Query:
    """Recipients who share a channel and the settings that steer the lookup: those of one order, or a part of it."""

    channel: OrderChannel
    recipients: Sequence[Recipient]
    allow_stale: bool = False
    resource_id: str | None = None
    resource_action: str | None = None

    @property
    def resource(self) -> str | None:
        """The bare resource id, or None."""
        return (self.resource_id or "").strip().removeprefix(_RESOURCE_PREFIX).strip() or None

    @property
    def action(self) -> str:
        return (self.resource_action or "").strip() or "read"


@dataclass(frozen=True, slots=True)
class Reach:
    """Usable address points of one recipient, cleaned and without repeats.

    `users` are the permitted users of an organisation; `direct`: the addresses came with the order.
    """

    emails: tuple[str, ...] = ()
    mobiles: tuple[str, ...] = ()
    users: tuple[UserContact, ...] = ()
    reserved: bool = False
    direct: bool = False


@dataclass(frozen=True, slots=True)
class LookupSummary:
    """`recipientLookup` of the answer to a new order."""

    status: str
    is_reserved: tuple[str, ...]
    missing_contact: tuple[str, ...]


def is_direct(recipient: Recipient, channel: OrderChannel) -> bool:
    """Whether the recipient came with an address that the channel can use, so that nobody is asked."""
    match channel:
        case OrderChannel.EMAIL:
            return bool(recipient.email)
        case OrderChannel.SMS:
            return bool(recipient.mobile)
        case _:
            return bool(recipient.email or recipient.mobile)


async def look_up(
    directory: ContactDirectory, queries: Sequence[Query], *, now: datetime, user_addresses: bool = True
) -> list[list[Reach]]:
    """One list for each query, with one `Reach` for each recipient, in order. Every register is asked once.

    Raises `RegistryUnavailable`: there is no partial answer.
    """
    answers = []
    for answer in await look_up_each(directory, queries, now=now, user_addresses=user_addresses):
        if isinstance(answer, RegistryUnavailable):
            raise answer
        answers.append(answer)
    return answers


async def look_up_each(
    directory: ContactDirectory, queries: Sequence[Query], *, now: datetime, user_addresses: bool = True
) -> list[list[Reach] | RegistryUnavailable]:
    """As `look_up`; but a query whose answer needs a register that is down is told so, and the others are answered."""
    asked = _Asked.collect(queries, user_addresses=user_addresses)
    fresh, stale, organisations, externals, users = await asyncio.gather(
        _or_down(directory.persons(asked.persons, allow_stale=False, now=now)),
        _or_down(directory.persons(asked.persons_stale, allow_stale=True, now=now)),
        _or_down(directory.organisations(asked.organisations)),
        _or_down(directory.external_identities(asked.externals)),
        _permitted_users(directory, asked.resources, now=now),
    )
    answers: list[list[Reach] | RegistryUnavailable] = []
    for q in queries:
        persons, permitted = stale if q.allow_stale else fresh, users.get((q.resource or "", q.action), {})
        answers.append(_reaches(q, _Found(persons, organisations, externals, permitted)))
    return answers


async def _or_down(answer: Awaitable[R]) -> R | RegistryUnavailable:
    try:
        return await answer
    except RegistryUnavailable as error:
        return error


def summarise(query: Query, reaches: Iterable[Reach]) -> LookupSummary | None:
    """What the sender is told at once; None when nobody had to be looked up.

    Counts distinct identifiers (design 8): the same unreachable person twice is `Failed`.
    """
    looked_up = [
        (r, reach) for r, reach in zip(query.recipients, reaches, strict=True) if not is_direct(r, query.channel)
    ]
    if not looked_up:
        return None
    reserved = dict.fromkeys(r.national_identity_number or "" for r, reach in looked_up if reach.reserved)
    missing = dict.fromkeys(
        r.identifier or ""
        for r, reach in looked_up
        if not _usable(reach, query.channel) and r.identifier not in reserved
    )
    unreachable, asked = len(reserved) + len(missing), len({r.identifier for r, _ in looked_up})
    status = "Success" if not unreachable else "Failed" if unreachable == asked else "PartialSuccess"
    return LookupSummary(status, tuple(reserved), tuple(missing))


def clean_organisation(official: OrganisationContact | None, users: Iterable[UserContact]) -> Reach:
    """Valid addresses, each once: official ones first, then each user's that nobody before had (processing 4.4)."""
    emails = _distinct(e.strip() for e in (official.emails if official else ()))
    mobiles = _distinct(_usable_mobile(m) for m in (official.mobiles if official else ()))
    seen = {a.lower() for a in (*emails, *mobiles)}
    kept = []
    for user in users:
        email = _unseen((user.email or "").strip(), seen)
        mobile = _unseen(_usable_mobile(user.mobile), seen)
        if email or mobile:
            kept.append(UserContact(user.user_id, email, mobile))
    return Reach(emails, mobiles, tuple(kept))


@dataclass(frozen=True, slots=True)
class _Asked:
    persons: frozenset[str]
    persons_stale: frozenset[str]
    organisations: frozenset[str]
    externals: frozenset[str]
    resources: Mapping[tuple[str, str], frozenset[str]]  # (resource, action) → organisation numbers

    @classmethod
    def collect(cls, queries: Sequence[Query], *, user_addresses: bool) -> "_Asked":
        persons: dict[bool, set[str]] = {False: set(), True: set()}
        organisations: set[str] = set()
        externals: set[str] = set()
        resources: dict[tuple[str, str], set[str]] = {}
        for query in queries:
            numbers = set()
            for r in query.recipients:
                if is_direct(r, query.channel):
                    continue
                if r.national_identity_number:
                    persons[query.allow_stale].add(r.national_identity_number)
                elif r.organisation_number:
                    numbers.add(r.organisation_number)
                elif r.external_identity:
                    externals.add(r.external_identity)
            organisations |= numbers
            if user_addresses and numbers and (resource := query.resource):
                resources.setdefault((resource, query.action), set()).update(numbers)
        return cls(
            frozenset(persons[False]),
            frozenset(persons[True]),
            frozenset(organisations),
            frozenset(externals),
            {key: frozenset(numbers) for key, numbers in resources.items()},
        )


async def _permitted_users(
    directory: ContactDirectory, resources: Mapping[tuple[str, str], frozenset[str]], *, now: datetime
) -> dict[tuple[str, str], dict[str, list[UserContact]] | RegistryUnavailable]:
    """For each (resource, action): the users of each organisation who may act on it."""
    users = (_permitted(directory, *about, numbers, now=now) for about, numbers in resources.items())
    return dict(zip(resources, await asyncio.gather(*map(_or_down, users)), strict=True))


async def _permitted(
    directory: ContactDirectory, resource: str, action: str, numbers: frozenset[str], *, now: datetime
) -> dict[str, list[UserContact]]:
    contacts = await directory.user_addresses(numbers, resource)
    pairs: set[Pair] = {(number, user.user_id) for number, users in contacts.items() for user in users}
    permitted = await directory.permitted(pairs, resource_id=resource, action=action, now=now) if pairs else frozenset()
    return {
        number: [user for user in users if (number, user.user_id) in permitted] for number, users in contacts.items()
    }


@dataclass(frozen=True, slots=True)
class _Found:
    """What the registers answered to the questions of one query, or that they are down."""

    persons: Mapping[str, PersonContact] | RegistryUnavailable
    organisations: Mapping[str, OrganisationContact] | RegistryUnavailable
    externals: Mapping[str, ExternalContact] | RegistryUnavailable
    users: Mapping[str, list[UserContact]] | RegistryUnavailable


def _reaches(query: Query, found: _Found) -> list[Reach] | RegistryUnavailable:
    reaches = []
    for recipient in query.recipients:
        reach = _reach(recipient, query.channel, found)
        if isinstance(reach, RegistryUnavailable):
            return reach
        reaches.append(reach)
    return reaches


def _reach(recipient: Recipient, channel: OrderChannel, found: _Found) -> Reach | RegistryUnavailable:
    if is_direct(recipient, channel):
        return Reach(_present(recipient.email), _present(recipient.mobile), direct=True)
    if recipient.national_identity_number:
        return _reach_person(recipient.national_identity_number, found.persons)
    if recipient.organisation_number:
        return _reach_organisation(recipient.organisation_number, found)
    if isinstance(found.externals, RegistryUnavailable):
        return found.externals
    external = found.externals.get(recipient.external_identity or "")
    return _personal(external, reserved=False) if external else Reach()


def _reach_person(id_: str, persons: Mapping[str, PersonContact] | RegistryUnavailable) -> Reach | RegistryUnavailable:
    if isinstance(persons, RegistryUnavailable):
        return persons
    person = persons.get(id_)
    return _personal(person, reserved=person.reserved) if person else Reach()


def _reach_organisation(number: str, found: _Found) -> Reach | RegistryUnavailable:
    if isinstance(found.organisations, RegistryUnavailable):
        return found.organisations
    if isinstance(found.users, RegistryUnavailable):
        return found.users
    return clean_organisation(found.organisations.get(number), found.users.get(number, ()))


def _personal(contact: PersonContact | ExternalContact, *, reserved: bool) -> Reach:
    email = (contact.email or "").strip()
    return Reach(_present(email), _present(_usable_mobile(contact.mobile)), reserved=reserved)


def _usable(reach: Reach, channel: OrderChannel) -> bool:
    email = bool(reach.emails) or any(u.email for u in reach.users)
    mobile = bool(reach.mobiles) or any(u.mobile for u in reach.users)
    match channel:
        case OrderChannel.EMAIL:
            return email
        case OrderChannel.SMS:
            return mobile
        case _:
            return email or mobile


def _usable_mobile(number: str | None) -> str:
    normalised = normalise_mobile((number or "").strip())
    return normalised if valid_mobile(normalised) else ""


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    kept: dict[str, str] = {}
    for value in filter(None, values):
        kept.setdefault(value.lower(), value)
    return tuple(kept.values())


def _unseen(value: str, seen: set[str]) -> str | None:
    if not value or value.lower() in seen:
        return None
    seen.add(value.lower())
    return value


def _present(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()
