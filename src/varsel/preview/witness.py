"""A directory that remembers what it was told, so that a preview can say which record an address comes from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from varsel.recipients.ports import (
    ContactDirectory,
    ExternalContact,
    OrganisationContact,
    Pair,
    PersonContact,
    UserContact,
)


@dataclass(slots=True)
class Witness:
    """A `ContactDirectory` for one preview: it passes every question on, and keeps the answers."""

    directory: ContactDirectory
    people: dict[str, PersonContact] = field(default_factory=dict)
    official: dict[str, OrganisationContact] = field(default_factory=dict)
    externals: dict[str, ExternalContact] = field(default_factory=dict)
    users: dict[str, list[UserContact]] = field(default_factory=dict)

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        answer = await self.directory.persons(ids, allow_stale=allow_stale, now=now)
        self.people |= answer
        return answer

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        answer = await self.directory.organisations(numbers)
        self.official |= answer
        return answer

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        answer = await self.directory.external_identities(urns)
        self.externals |= answer
        return answer

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        answer = await self.directory.user_addresses(numbers, resource_id)
        self.users |= answer
        return answer

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        return await self.directory.permitted(pairs, resource_id=resource_id, action=action, now=now)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        return await self.directory.names(identifiers)
