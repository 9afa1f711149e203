"""The providers `none`, `deny-all` and `allow-all` (registries 0.2): the same answer, whatever is asked."""
# ruff: noqa: ARG002 - whatever is asked, the answer is the same

from collections.abc import Collection, Mapping
from datetime import datetime

from varsel.recipients.ports import ExternalContact, OrganisationContact, Pair, PersonContact, UserContact


class Everybody:
    """Permits all that is asked. For tests and trials: production refuses to start with it."""

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        return frozenset(pairs)


class Nothing:
    """A `ContactDirectory`: nobody is found, and nothing is permitted."""

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        return {}

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        return {}

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        return {}

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        return {}

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        return frozenset()

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        return {}
