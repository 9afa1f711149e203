"""The contact directory over the local copies of the registers (registries 0.2: the `local` provider)."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeVar

from varsel.db import Database, ReadConn
from varsel.domain.errors import RegistryUnavailable, Unavailable
from varsel.domain.external_identity import ExternalIdentity, parse_external_identity
from varsel.domain.feeds import Feed
from varsel.domain.identifiers import subject_key
from varsel.log import Log
from varsel.recipients import store
from varsel.recipients.names import NameStyle
from varsel.recipients.ports import Copy, ExternalContact, OrganisationContact, Pair, PersonContact, UserContact
from varsel.settings import RegistrySettings

log = Log(__name__)

T = TypeVar("T")

_MAX_PER_STATEMENT: Final = 50_000
_MAX_WAIT: Final = timedelta(seconds=5)


class LocalDirectory:
    """A `ContactDirectory`. Nothing is cached: a look-up at send time must see the newest load.

    `max_wait`: for one statement, with the wait for a connection.
    """

    def __init__(self, database: Database, settings: RegistrySettings, max_wait: timedelta = _MAX_WAIT) -> None:
        self._database = database
        self._settings = settings
        self._names = NameStyle.from_settings(settings)
        self._max_wait = max_wait

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        by_key = {subject_key(id_): id_ for id_ in ids}
        answer: dict[str, PersonContact] = {}
        for keys in _parts(by_key):
            async with self._asking("the contact register") as conn:
                if self._settings.krr_sync_enabled:
                    await self._require_recent(conn, Feed.KRR)
                found = await store.persons(
                    conn,
                    keys,
                    allow_stale=allow_stale,
                    stale_after_months=self._settings.stale_after_months,
                    now=now,
                )
            answer.update((by_key[key], contact) for key, contact in found.items())
        return answer

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        answer: dict[str, OrganisationContact] = {}
        for part in _parts(set(numbers)):
            async with self._asking("the register of organisations' addresses") as conn:
                if self._settings.business_sync_enabled:
                    await self._require_recent(conn, Feed.BUSINESS_ADDRESSES)
                answer |= await store.organisations(
                    conn, part, usable_only=self._settings.fallback_when_no_usable_address
                )
        return answer

    async def external_identities(self, urns: Collection[str]) -> Mapping[str, ExternalContact]:
        identities = {urn: identity for urn in urns if (identity := parse_external_identity(urn))}
        registered: dict[str, ExternalContact] = {}
        for part in _parts({identity.username for identity in identities.values()}):
            async with self._asking("the register of self-identified users") as conn:
                registered |= await store.external_identities(conn, part)
        contacts = {urn: _contact(identity, registered) for urn, identity in identities.items()}
        return {urn: contact for urn, contact in contacts.items() if contact.email or contact.mobile}

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        answer: dict[str, list[UserContact]] = {}
        for part in _parts(set(numbers)):
            async with self._asking("the register of users' addresses") as conn:
                for number, contact in await store.user_addresses(conn, part, resource_id):
                    answer.setdefault(number, []).append(contact)
        return answer

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        answer: set[Pair] = set()
        for part in _parts(set(pairs)):
            async with self._asking("the authorizer") as conn:
                answer |= set(
                    await store.permitted(
                        conn,
                        part,
                        resource_id=resource_id,
                        action=action,
                        inherit=self._settings.inherit_from_main_unit,
                        now=now,
                    )
                )
        return frozenset(answer)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        by_key = {subject_key(id_): id_ for id_ in identifiers} | {id_: id_ for id_ in identifiers}
        answer: dict[str, str] = {}
        for keys in _parts(by_key):
            async with self._asking("the register of names") as conn:
                found = await store.names(conn, keys)
            for name in found:
                match name:
                    case store.PersonName(key, first, middle, last):
                        answer[by_key[key]] = self._names.write(first, middle, last)
                    case store.OrganisationName(number, text):
                        answer[number] = (text or "").strip()
        return answer

    async def followed_at(self, feed: Feed) -> datetime | None:
        """When the copy was last as the register that it follows. Raises `RegistryUnavailable`."""
        async with self._asking("the copy of a register") as conn:
            return await store.followed_at(conn, feed)

    async def holds(self, copy: Copy) -> bool:
        """Whether there is anything in a copy. Raises `RegistryUnavailable`."""
        async with self._asking("the copy of a register") as conn:
            return await store.holds(conn, copy)

    async def _require_recent(self, conn: ReadConn, feed: Feed) -> None:
        """A copy that follows its register must be whole and not too old: no answer is better than last week's."""
        if not await store.copy_is_recent(conn, feed, self._settings.max_copy_age):
            log.warning("registry copy too old", feed=feed)
            raise RegistryUnavailable("the copy of a register that fell behind")

    @asynccontextmanager
    async def _asking(self, register: str) -> AsyncIterator[ReadConn]:
        try:
            async with asyncio.timeout(self._max_wait.total_seconds()), self._database.reading() as conn:
                yield conn
        except RegistryUnavailable:
            raise
        except (Unavailable, TimeoutError) as e:
            raise RegistryUnavailable(register) from e


def _contact(identity: ExternalIdentity, registered: Mapping[str, ExternalContact]) -> ExternalContact:
    """What is registered, and for an email login its own address before none."""
    found = registered.get(identity.username)
    if found is None:
        return ExternalContact(identity.email, None)
    email, mobile = (found.email or "").strip() or identity.email, (found.mobile or "").strip() or None
    return ExternalContact(email, mobile, found.record)


def _parts(identifiers: Collection[T]) -> list[list[T]]:
    rest = iter(identifiers)
    return [list(islice(rest, _MAX_PER_STATEMENT)) for _ in range(0, len(identifiers), _MAX_PER_STATEMENT)]
