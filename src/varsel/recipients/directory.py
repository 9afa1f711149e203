"""A contact directory made of one provider for each question, and what happens while one of them is down.

Sources: registries 0.2, 3.6; design 6 (policy per creator).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeVar

from varsel.domain.errors import RegistryUnavailable
from varsel.domain.feeds import Feed
from varsel.log import Log
from varsel.recipients.ports import (
    ContactDirectory,
    Copy,
    ExternalContact,
    OrganisationContact,
    Pair,
    PersonContact,
    UserContact,
)
from varsel.settings import Creators, lists

log = Log(__name__)


class Persons(Protocol):
    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        """As in `ContactDirectory`, and so below."""
        ...


class Organisations(Protocol):
    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]: ...


class ExternalIdentities(Protocol):
    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]: ...


class UserAddresses(Protocol):
    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]: ...


class Authorizer(Protocol):
    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]: ...


class Names(Protocol):
    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]: ...


class MainUnits(Protocol):
    async def main_units(self, numbers: Collection[str]) -> Mapping[str, str]:
        """The main unit of each subunit. Others are absent."""
        ...


@dataclass(frozen=True, slots=True)
class ComposedDirectory:
    """A `ContactDirectory` that asks the provider of each question."""

    person_provider: Persons
    org_provider: Organisations
    external_provider: ExternalIdentities
    user_provider: UserAddresses
    authz_provider: Authorizer
    name_provider: Names

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        return await self.person_provider.persons(ids, allow_stale=allow_stale, now=now)

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        return await self.org_provider.organisations(numbers)

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        return await self.external_provider.external_identities(urns)

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        return await self.user_provider.user_addresses(numbers, resource_id)

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        return await self.authz_provider.permitted(pairs, resource_id=resource_id, action=action, now=now)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        return await self.name_provider.names(identifiers)


class WithMainUnits:
    """Organisations that the addresses' provider does not know are reached through their main unit (registries 3.6).

    One level only: of a main unit, its own addresses count.
    """

    def __init__(self, addresses: Organisations, units: MainUnits) -> None:
        self._addresses = addresses
        self._units = units

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        found = await self._addresses.organisations(numbers)
        unknown = set(numbers) - found.keys()
        main_units = await self._units.main_units(unknown) if unknown else {}
        theirs = await self._addresses.organisations(set(main_units.values())) if main_units else {}
        return {**found, **{n: theirs[m] for n, m in main_units.items() if m in theirs and theirs[m].origin == m}}


class Copies(ContactDirectory, Protocol):
    async def followed_at(self, feed: Feed) -> datetime | None:
        """When a copy was last as the register that it follows; None when it follows none."""
        ...

    async def holds(self, copy: Copy) -> bool:
        """Whether there is anything in a copy."""
        ...


class OrOurCopy:
    """A `ContactDirectory` that asks `live`, and our own `copies` while a live register is down.

    The record of each answer then says so, and how old the copy is. A copy with nothing in it is none: it would call
    everybody unknown. A right is never taken from a copy: an authorizer that is down is waited for (processing 4.3).
    """

    def __init__(self, live: ContactDirectory, copies: Copies) -> None:
        self._live = live
        self._copies = copies

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        try:
            return await self._live.persons(ids, allow_stale=allow_stale, now=now)
        except RegistryUnavailable as error:
            as_of = await self._begin(error, Copy.PERSONS, Feed.KRR)
            copied = await self._copies.persons(ids, allow_stale=allow_stale, now=now)
            return {id_: _standing_in(contact, as_of) for id_, contact in copied.items()}

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        try:
            return await self._live.organisations(numbers)
        except RegistryUnavailable as error:
            as_of = await self._begin(error, Copy.ORGANISATIONS, Feed.BUSINESS_ADDRESSES)
            copied = await self._copies.organisations(numbers)
            return {number: _standing_in(contact, as_of) for number, contact in copied.items()}

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        try:
            return await self._live.external_identities(urns)
        except RegistryUnavailable as error:
            await self._begin(error, Copy.EXTERNAL_IDENTITIES)
            copied = await self._copies.external_identities(urns)
            return {urn: _standing_in(contact, None) for urn, contact in copied.items()}

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        try:
            return await self._live.user_addresses(numbers, resource_id)
        except RegistryUnavailable as error:
            await self._begin(error, Copy.USER_ADDRESSES)
            copied = await self._copies.user_addresses(numbers, resource_id)
            return {number: [_standing_in(user, None) for user in users] for number, users in copied.items()}

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        return await self._live.permitted(pairs, resource_id=resource_id, action=action, now=now)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        try:
            return await self._live.names(identifiers)
        except RegistryUnavailable as error:
            await self._begin(error, Copy.PERSONS)
            return await self._copies.names(identifiers)

    async def _begin(self, error: RegistryUnavailable, copy: Copy, feed: Feed | None = None) -> datetime | None:
        """How old the copy is, where it follows a register. Raises `error` when there is none."""
        if not await self._copies.holds(copy):
            raise error
        as_of = await self._copies.followed_at(feed) if feed else None
        log.warning("our copy answers", instead_of=error.what, as_of=as_of)
        return as_of


Contact = TypeVar("Contact", PersonContact, OrganisationContact, UserContact, ExternalContact)


def _standing_in(contact: Contact, as_of: datetime | None) -> Contact:
    record = contact.record
    return replace(contact, record=record._replace(stands_in=True, as_of=as_of) if record else None)


@dataclass(frozen=True, slots=True)
class Outages:
    """While a live register is down, the orders of `creators` go by what `directory` says; those of all others wait."""

    creators: Creators
    directory: OrOurCopy

    def concern(self, creator: str) -> bool:
        return lists(self.creators, creator)
