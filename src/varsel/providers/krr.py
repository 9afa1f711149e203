"""KRR, the register of contact details and reservations: its change feed and its look-up (registries 2.1-2.3, 2.8)."""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter
from yarl import URL

from varsel.domain.errors import RegistryProtocolError, RegistryRejected, RegistryUnavailable
from varsel.domain.identifiers import Level, valid_person_id
from varsel.log import Log
from varsel.providers.feed_http import FeedClient, Tokens
from varsel.providers.registry_http import Answer, RegistryClient, in_parts
from varsel.providers.registry_memory import Memory
from varsel.recipients.ports import PersonContact, Record
from varsel.recipients.staleness import cut_off
from varsel.registry_sync.persons import PersonRecord, read_person
from varsel.registry_sync.ports import ChangePage, UpstreamError
from varsel.registry_sync.reading import Reader, Unreadable

log = Log(__name__)

MAX_PERSONS: Final = 1_000  # in one look-up


class KrrFeed:
    """A `PersonFeed`."""

    def __init__(self, url: str, client: FeedClient) -> None:
        self._url = URL(url)
        self._client = client

    async def changes(self, since: int) -> ChangePage:
        answer = await self._client.ask("POST", self._url, {"fraEndringsId": since})
        match answer:
            case {"list": list(records), "tilEndringsId": int(to), "sisteEndringsId": int(latest)} if to is not True:
                if answer.get("fraEndringsId", since) != since:
                    log.warning("register answered another question", asked=since)
                return ChangePage(records, to, latest)
        raise UpstreamError("protocol", detail="no list, or no change numbers")


class _Persons(Answer):
    personer: list[dict[str, Any]]


_PERSONS: Final = TypeAdapter(_Persons)
_Told = tuple[PersonRecord, datetime]  # and when we asked


class KrrDirect:
    """Answers `ContactDirectory.persons` by asking KRR: there is no copy, and nothing on a disk (registries 2.8)."""

    def __init__(
        self,
        client: RegistryClient,
        path: str,
        *,
        stale_after_months: int,
        kept_for: timedelta = timedelta(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path` of the look-up, relative to the client's address. `kept_for`: how long an answer serves again."""
        self._client = client
        self._path = path
        self._stale_after_months = stale_after_months
        self._memory = Memory[_Told](kept_for, kept_for, monotonic=monotonic) if kept_for else None

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        # what cannot be anybody's number is unknown, and must not make KRR refuse those beside it
        numbers = [id_ for id_ in dict.fromkeys(ids) if valid_person_id(id_, Level.CHECKSUM)]
        told, unknown = self._memory.recall(numbers) if self._memory else ({}, numbers)
        for answer in await in_parts(unknown, MAX_PERSONS, self._ask) if unknown else ():
            told |= {number: (person, now) for number, person in answer.items()}
        if self._memory:
            self._memory.keep(unknown, told)
        oldest = cut_off(now, self._stale_after_months)
        return {
            number: _contact(person, oldest, allow_stale=allow_stale, asked_at=at)
            for number, (person, at) in told.items()
        }

    async def _ask(self, numbers: list[str]) -> dict[str, PersonRecord]:
        """Those who are registered."""
        answer = await self._client.post(self._path, {"personidentifikatorer": numbers}, _PERSONS, items=len(numbers))
        found = {str(person.get("personidentifikator")): person for person in answer.personer}
        if not found.keys() >= set(numbers):  # unknown ones are answered too: IKKE_REGISTRERT
            raise RegistryProtocolError("krr")
        read = {number: _read(found[number]) for number in numbers}
        return {number: person for number, person in read.items() if person is not None}


class LookupTokens:
    """What look-ups show, with the errors that they expect."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        try:
            return await self._tokens.headers(renew=renew)
        except UpstreamError as e:
            kind = RegistryUnavailable if e.transient else RegistryRejected
            raise kind("krr (its tokens)", e.retry_after) from None


def _read(person: dict[str, Any]) -> PersonRecord | None:
    """None for who is not registered, and for what cannot be read: nobody is reached on a guess."""
    if person.get("status") in {"SLETTET", "IKKE_REGISTRERT"}:
        return None
    try:
        return read_person(person, 0, Reader(datetime.now(UTC), synthetic_only=False))
    except Unreadable as e:
        log.error("register record unreadable", register="krr", reason=e.reason)
        return None


def _contact(person: PersonRecord, oldest: datetime | None, *, allow_stale: bool, asked_at: datetime) -> PersonContact:
    email_fresh = _later(person.email_updated_at, person.email_verified_at)
    mobile_fresh = _later(person.mobile_updated_at, person.mobile_verified_at)
    email_stale, mobile_stale = (
        _is_stale(person.email, email_fresh, oldest),
        _is_stale(person.mobile, mobile_fresh, oldest),
    )
    return PersonContact(
        person.reserved,
        person.email if allow_stale or not email_stale else None,
        person.mobile if allow_stale or not mobile_stale else None,
        email_stale,
        mobile_stale,
        Record("krr-direct", asked_at, email_fresh, mobile_fresh),
    )


def _is_stale(address: str | None, fresh_at: datetime | None, oldest: datetime | None) -> bool:
    return address is not None and oldest is not None and (fresh_at is None or fresh_at < oldest)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
