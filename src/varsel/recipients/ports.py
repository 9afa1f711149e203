"""What we need from the registers: how somebody can be reached, and their names (registries 2.7, 3.5, 4.5-5).

Each answer also tells where it comes from, for explanations alone: it does not count when answers are compared.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol


class Copy(StrEnum):
    """What our own tables hold of the registers."""

    PERSONS = "persons"  # with their names
    ORGANISATIONS = "organisations"
    USER_ADDRESSES = "user addresses"
    EXTERNAL_IDENTITIES = "external identities"


class Record(NamedTuple):
    """The record behind an answer. `source`: who wrote our copy of it, or which register was asked. `changed_at`: when
    that copy last changed, or when the register answered.

    `email_fresh_at`, `mobile_fresh_at`: when their owner last changed or confirmed them, or None where the register
    does not tell. `stands_in`: our copy answers for a live register that is down; `as_of`: when the copy was last as
    its register, None where it follows none.
    """

    source: str
    changed_at: datetime
    email_fresh_at: datetime | None = None
    mobile_fresh_at: datetime | None = None
    stands_in: bool = False
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class PersonContact:
    """What the contact register knows of a person. Stale addresses are withheld unless they were asked for.

    Mobile numbers are as registered: the caller normalises and drops invalid ones (processing 6.10).
    """

    reserved: bool
    email: str | None = None
    mobile: str | None = None
    email_stale: bool = False
    mobile_stale: bool = False
    record: Record | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class OrganisationContact:
    """Official addresses, in a stable order, as registered. `origin` owns them: the main unit after a fallback.

    `record` tells of the address of each kind that changed last.
    """

    emails: tuple[str, ...]
    mobiles: tuple[str, ...]
    origin: str
    record: Record | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class UserContact:
    """An address that a user registered for an organisation."""

    user_id: int
    email: str | None
    mobile: str | None
    record: Record | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ExternalContact:
    """The addresses of an external identity, as registered. Such people are never reserved."""

    email: str | None
    mobile: str | None
    record: Record | None = field(default=None, compare=False)


Pair = tuple[str, int]
"""(organisation number, user id)"""


class ContactDirectory(Protocol):
    """All methods take any number of identifiers, in any order, with repeats; empty in, empty out.

    Each raises `RegistryUnavailable` when it cannot answer for all of them: there is no partial answer.
    """

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        """By national identity number. Unknown persons are absent."""
        ...

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        """By organisation number. Unknown organisations are absent; known ones without addresses have empty lists."""
        ...

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        """By URN as given. Absent: unknown user names, those without an address, and URNs that nobody can read.

        An email login is always answered, if only with its own address (registries 4.4).
        """
        ...

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        """User-registered addresses that apply to the bare resource id, by organisation number."""
        ...

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        """The pairs whose user may perform `action` on the resource on behalf of the organisation (registries 4.6)."""
        ...

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        """Names by national identity or organisation number. Unknown ones are absent; known without a name is ''."""
        ...
