"""Registers that are followed, as tests see them: simulators, our adapters, and runs that wait for nothing."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from joserfc.jwk import RSAKey
from pydantic import SecretStr

from varsel.clock import ManualClock
from varsel.db import Database, fetch, fetch_value
from varsel.domain.identifiers import synthetic_person_id
from varsel.providers.business_addresses import BusinessFeed, BusinessReception
from varsel.providers.feed_http import FeedClient
from varsel.providers.krr import KrrFeed
from varsel.providers.maskinporten import Maskinporten
from varsel.recipients.load.rows import OrgAddress, Person
from varsel.registry_sync.addresses import Entry
from varsel.registry_sync.persons import PersonRecord
from varsel.registry_sync.streams import AddressStream, PersonStream
from varsel.registry_sync.sync import Sync
from varsel.simulators.business_addresses import FEED, BusinessAddressesSimulator
from varsel.simulators.krr import CHANGES, CONTACT_SCOPE, FEED_SCOPE, KrrSimulator
from varsel.simulators.maskinporten import Client, MaskinportenSimulator
from varsel.simulators.world import World

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
CLIENT_ID = "varsel-test"
SCOPES = f"{CONTACT_SCOPE} {FEED_SCOPE}"
QUICK = timedelta(seconds=5)  # for an answer of loopback


@cache
def private_key(name: str) -> RSAKey:
    """Made once in each test process: it takes a moment."""
    return RSAKey.generate_key(2048, {"kid": name})


def jwk(name: str = "client") -> SecretStr:
    """A private key as the settings hold it."""
    return SecretStr(b64encode(json.dumps(private_key(name).as_dict(private=True)).encode()).decode())


def person(index: int, *, version: int = 0, **members: Any) -> Person:
    """A synthetic person, whose contact details were changed the later the higher `version` is."""
    changed = NOW - timedelta(days=30) + timedelta(minutes=version)
    contact = {"email": f"p{index}.v{version}@example.com", "email_updated_at": changed}
    return Person(synthetic_person_id(1, index), **{**contact, **members})


def gone(index: int) -> Person:
    return Person(synthetic_person_id(1, index), deleted=True)


def address(registry_id: str, org_no: str, value: str, **members: Any) -> OrgAddress:
    kind = "email" if "@" in value else "sms"
    plain = OrgAddress(registry_id, org_no, kind, value, None, accepted=True, deleted=False, updated_at=None)
    return plain._replace(**members)


@dataclass
class Feeds:
    """`pauses`: how long the runs would have waited, in seconds."""

    db: Database
    maskinporten: MaskinportenSimulator
    krr: KrrSimulator
    business: BusinessAddressesSimulator
    tokens: Maskinporten
    client: FeedClient
    open_client: FeedClient
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    pauses: list[float] = field(default_factory=list)

    def persons(self, *, synthetic_only: bool = True, **options: Any) -> Sync[PersonRecord]:
        feed = KrrFeed(self.krr.url.rstrip("/") + CHANGES, self.client)
        return self._sync(PersonStream(feed, synthetic_only=synthetic_only), options)

    def addresses(
        self, *, page_size: int = 1_000, overlap: timedelta = timedelta(seconds=60), **options: Any
    ) -> Sync[Entry]:
        feed = BusinessFeed(self.business.url.rstrip("/") + FEED, self.open_client, page_size=page_size)
        return self._sync(AddressStream(feed, overlap=overlap), options)

    def reception(self) -> BusinessReception:
        return BusinessReception(self.business.url, self.open_client)

    def _sync(self, stream: Any, options: dict[str, Any]) -> Sync[Any]:
        return Sync(self.db, stream, self.clock, **{"interval": timedelta(), "pause": self._pause, **options})

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def value(self, sql: Any, **params: Any) -> Any:
        async with self.db.reading() as conn:
            return await fetch_value(conn, sql, params)

    async def rows(self, sql: Any, **params: Any) -> list[Any]:
        async with self.db.reading() as conn:
            return await fetch(conn, sql, params, lambda *row: row)

    async def cursor(self, feed: str, column: str) -> Any:
        return await self.value(f"SELECT {column} FROM registry.sync_cursor WHERE feed = %(feed)s", feed=feed)

    async def people(self) -> dict[str, tuple[str | None, bool, bool]]:
        """By subject key: email, reserved, deleted."""
        found = await self.rows("SELECT subject_key, email, reserved, deleted FROM registry.person")
        return {key: tuple(rest) for key, *rest in found}

    async def emails(self) -> set[tuple[str, str, str]]:
        """(registry id, organisation, address) of all usable addresses."""
        return set(
            await self.rows(
                "SELECT registry_id, org_no, address FROM registry.org_address WHERE accepted AND NOT deleted"
            )
        )


@asynccontextmanager
async def running_feeds(
    db: Database,
    people: World | None = None,
    companies: World | None = None,
    *,
    now: Callable[[], datetime] = lambda: NOW,
    **krr: Any,
) -> AsyncIterator[Feeds]:
    """Empty registers, unless worlds are given. `now`: the registers' clock; Maskinporten has the host's."""
    async with AsyncExitStack() as stack:
        granted = Client(RSAKey.import_key(private_key("client").as_dict(private=False)), SCOPES.split())
        maskinporten = await stack.enter_async_context(
            MaskinportenSimulator({CLIENT_ID: granted}, key=private_key("maskinporten"))
        )
        register = KrrSimulator(people or World(), maskinporten.claims, now=now, **krr)
        feeds = Feeds(
            db,
            maskinporten,
            await stack.enter_async_context(register),
            await stack.enter_async_context(BusinessAddressesSimulator(companies or World(), now=now)),
            tokens := Maskinporten(
                issuer=maskinporten.issuer, token_url=maskinporten.token_url, client_id=CLIENT_ID, jwk=jwk()
            ),
            client := FeedClient(tokens.scope(SCOPES), total=QUICK),
            open_client := FeedClient(total=QUICK),
        )
        for ours in (tokens, client, open_client):
            stack.push_async_callback(ours.close)
        yield feeds
