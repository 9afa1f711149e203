"""The providers `none` and `deny-all` (registries 0.2): nobody is found, and nothing is permitted."""
# ruff: noqa: ARG002 - whatever is asked, the answer is the same

from collections.abc import Collection, Mapping
from datetime import datetime

from varsel.recipients.ports import ExternalContact, OrganisationContact, Pair, PersonContact, UserContact


class Nothing:
    """A `ContactDirectory`."""

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
