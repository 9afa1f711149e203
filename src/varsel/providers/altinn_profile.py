"""Altinn Profile: people, organisations, external identities and users' addresses, live (registries 4.4, 4.5, 6.2)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from pydantic import Field, TypeAdapter

from varsel.clock import Clock
from varsel.domain.external_identity import parse_external_identity
from varsel.domain.identifiers import Level, valid_organisation_number
from varsel.providers.registry_http import Answer, RegistryClient, in_parts
from varsel.providers.registry_memory import Memory
from varsel.recipients.ports import ExternalContact, OrganisationContact, PersonContact, Record, UserContact
from varsel.settings import AltinnSettings


class _Person(Answer):
    key: str = Field(alias="nationalidentitynumber")
    is_reserved: bool | None = None
    mobile_number: str | None = None
    mobile_number_is_outdated: bool | None = None
    email: str | None = None
    email_is_outdated: bool | None = None


class _Organisation(Answer):
    key: str = Field(alias="organizationnumber")
    address_origin: str | None = None
    email_list: list[str | None] | None = None
    mobile_number_list: list[str | None] | None = None


class _External(Answer):
    key: str = Field(alias="externalidentity")
    email: str | None = None
    mobile_number: str | None = None


class _UserAddress(Answer):
    user_id: int
    email: str | None = None
    mobile_number: str | None = None


class _Unit(Answer):
    key: str = Field(alias="organizationnumber")
    party_id: int | None = None
    user_contact_points: list[_UserAddress] | None = None


E = TypeVar("E", _Person, _Organisation, _External, _Unit)


class _Contacts(Answer, Generic[E]):
    contact_points_list: list[E]


_SOURCE: Final = "altinn"
_PERSONS: Final = TypeAdapter(_Contacts[_Person])
_ORGANISATIONS: Final = TypeAdapter(_Contacts[_Organisation])
_EXTERNALS: Final = TypeAdapter(_Contacts[_External])
_UNITS: Final = TypeAdapter(_Contacts[_Unit])


class AltinnProfile:
    """All of a `ContactDirectory` but authorization and names.

    `parties` learns the party ids that Profile tells. Profile does not tell when an address was changed or confirmed.
    """

    def __init__(
        self,
        client: RegistryClient,
        settings: AltinnSettings,
        parties: Memory[int],
        clock: Clock,
    ) -> None:
        self._client = client
        self._settings = settings
        self._parties = parties
        self._clock = clock

    async def persons(
        self,
        ids: Collection[str],
        *,
        allow_stale: bool,
        now: datetime,  # noqa: ARG002 - Profile judges by its own
    ) -> Mapping[str, PersonContact]:
        """Profile leaves out whoever has stale addresses only, reservation and all (registries 2.6).

        So we always request them, and withhold them here.
        """
        everything = allow_stale or self._settings.always_request_stale
        found = await self._find(
            "users/contactpoint/lookup",
            "nationalIdentityNumbers",
            ids,
            self._settings.max_persons,
            _PERSONS,
            useStaleContactInfo=everything,
        )
        record = self._record()
        return {
            key: _person(entry, record, allow_stale=allow_stale, everything=everything) for key, entry in found.items()
        }

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        """Profile itself falls back to the main unit (registries 3.6)."""
        asked = [number for number in numbers if valid_organisation_number(number, Level.SHAPE)]
        found = await self._find(
            "organizations/notificationaddresses/lookup",
            "organizationNumbers",
            asked,
            self._settings.max_organisations,
            _ORGANISATIONS,
        )
        record = self._record()
        return {key: _organisation(entry, record) for key, entry in found.items()}

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        asked = [urn for urn in urns if parse_external_identity(urn)]
        found = await self._find(
            "users/contactpoint/lookupsi", "externalIdentities", asked, self._settings.max_persons, _EXTERNALS
        )
        record = self._record()
        contacts = {key: ExternalContact(_text(e.email), _text(e.mobile_number), record) for key, e in found.items()}
        return {key: contact for key, contact in contacts.items() if contact.email or contact.mobile}

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        """Profile asks Register for all numbers in one call: one that is no number, or the 101st, fails it (4.5)."""
        asked = [number for number in numbers if valid_organisation_number(number, Level.CHECKSUM)]
        found = await self._find(
            "units/contactpoint/lookup",
            "organizationNumbers",
            asked,
            self._settings.max_units,
            _UNITS,
            resourceId=resource_id,
        )
        ids = {key: unit.party_id for key, unit in found.items() if unit.party_id}
        self._parties.keep(ids, ids)
        record = self._record()
        users = {key: _users(unit, record) for key, unit in found.items()}
        return {key: contacts for key, contacts in users.items() if contacts}

    async def _find(
        self, path: str, name: str, keys: Collection[str], size: int, answer: TypeAdapter[_Contacts[E]], **more: Any
    ) -> dict[str, E]:
        """What was found of what was asked for; the first entry of each counts (processing 4.2)."""

        async def ask(part: list[str]) -> list[E]:
            return (await self._client.post(path, {name: part, **more}, answer, items=len(part))).contact_points_list

        asked = dict.fromkeys(keys)
        found: dict[str, E] = {}
        for part in await in_parts(asked, size, ask):
            for entry in part:
                if entry.key in asked:
                    found.setdefault(entry.key, entry)
        return found

    def _record(self) -> Record:
        return Record(_SOURCE, self._clock.now())


def _person(entry: _Person, record: Record, *, allow_stale: bool, everything: bool) -> PersonContact:
    """`everything`: Profile withheld nothing, so an address that is not there is none, and not stale."""
    email, mobile = _text(entry.email), _text(entry.mobile_number)
    email_stale = bool(entry.email_is_outdated) and (email is not None or not everything)
    mobile_stale = bool(entry.mobile_number_is_outdated) and (mobile is not None or not everything)
    return PersonContact(
        bool(entry.is_reserved),
        email if allow_stale or not email_stale else None,
        mobile if allow_stale or not mobile_stale else None,
        email_stale,
        mobile_stale,
        record,
    )


def _organisation(entry: _Organisation, record: Record) -> OrganisationContact:
    emails, mobiles = _texts(entry.email_list), _texts(entry.mobile_number_list)
    return OrganisationContact(emails, mobiles, entry.address_origin or entry.key, record)


def _users(unit: _Unit, record: Record) -> list[UserContact]:
    contacts: dict[int, UserContact] = {}
    for user in unit.user_contact_points or ():
        contact = UserContact(user.user_id, _text(user.email), _text(user.mobile_number), record)
        if contact.email or contact.mobile:
            contacts.setdefault(user.user_id, contact)
    return list(contacts.values())


def _texts(values: Collection[str | None] | None) -> tuple[str, ...]:
    return tuple(text for value in values or () if (text := _text(value)))


def _text(value: str | None) -> str | None:
    """Blank is absent (registries 2.7)."""
    return (value or "").strip() or None
