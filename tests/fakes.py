"""The outside world under a test's control: a provider and a directory that do what they are told, over no socket."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from varsel.delivery.ports import Accepted, Confirms, Email, Indeterminate, SendResult, Sms
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.feeds import Feed
from varsel.recipients.ports import Copy, ExternalContact, OrganisationContact, Pair, PersonContact, UserContact
from varsel.resolution.ports import Answer, Verdict


@dataclass
class FakeProvider:
    """An email or SMS provider. `answers` decides by address; `sent` holds every message that reached it."""

    name: str = "fake"
    max_batch: int = 1
    step: int = 10
    confirms: Confirms = Confirms.ARRIVAL
    on_indeterminate: Indeterminate = Indeterminate.RESEND
    answers: Callable[[str], SendResult] = lambda _: Accepted()
    sent: list[Email | Sms] = field(default_factory=list)
    gate: asyncio.Event | None = None  # set: messages wait here, after they have left

    async def send(self, batch: Sequence[Email | Sms]) -> list[SendResult]:
        self.sent.extend(batch)
        if self.gate:
            await self.gate.wait()
        return [self.answers(message.to) for message in batch]

    async def close(self) -> None:
        pass


@dataclass
class FakeDirectory:
    people: dict[str, PersonContact] = field(default_factory=dict)
    official: dict[str, OrganisationContact] = field(default_factory=dict)
    externals: dict[str, ExternalContact] = field(default_factory=dict)
    users: dict[str, list[UserContact]] = field(default_factory=dict)
    rights: set[Pair] = field(default_factory=set)
    known_names: dict[str, str] = field(default_factory=dict)
    down: bool = False
    followed: dict[Feed, datetime] = field(default_factory=dict)  # as copies: when they were as their registers
    poison: str | None = None  # asking for this identifier shows a bug
    asked: list[str] = field(default_factory=list)

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        self._ask("persons", ids)
        return {id_: self.people[id_] for id_ in ids if id_ in self.people}

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        self._ask("organisations", numbers)
        return {n: self.official[n] for n in numbers if n in self.official}

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        self._ask("external identities", urns)
        return {urn: self.externals[urn] for urn in urns if urn in self.externals}

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        self._ask(f"users {resource_id}", numbers)
        return {n: self.users[n] for n in numbers if n in self.users}

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        self._ask(f"permitted {resource_id} {action}", pairs)
        return frozenset(self.rights & set(pairs))

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        self._ask("names", identifiers)
        return {i: self.known_names[i] for i in identifiers if i in self.known_names}

    async def followed_at(self, feed: Feed) -> datetime | None:
        return self.followed.get(feed)

    async def holds(self, copy: Copy) -> bool:
        everything = {
            Copy.PERSONS: self.people,
            Copy.ORGANISATIONS: self.official,
            Copy.USER_ADDRESSES: self.users,
            Copy.EXTERNAL_IDENTITIES: self.externals,
        }
        return bool(everything[copy])

    def _ask(self, what: str, about: Collection[object]) -> None:
        if self.down:
            raise RegistryUnavailable("the fake directory")
        if self.poison in about:
            raise ValueError("a bug")
        if about:
            self.asked.append(what)


@dataclass
class FakeConditions:
    answers: list[Verdict] = field(default_factory=list)  # given in turn; then met
    asked: list[str] = field(default_factory=list)

    async def check(self, url: str) -> Answer:
        self.asked.append(url)
        return Answer(self.answers.pop(0) if self.answers else Verdict.MET, 200)
