"""The sandbox's mail server, SMS gateway and registers: its messages travel by real SMTP and LINK (design 8).

They stand where the settings point to, and report to our own listeners. All of it is loopback.
"""

import base64
import ipaddress
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypedDict
from urllib.parse import urlsplit

from joserfc.jwk import RSAKey

from varsel.db import Database
from varsel.domain.captured import Captured
from varsel.log import Log
from varsel.settings import (
    AltinnSettings,
    BounceSettings,
    LinkProviderSettings,
    RegistrySettings,
    ServerSettings,
    Settings,
    SmtpProviderSettings,
)
from varsel.simulators.authorization import AuthorizationSimulator
from varsel.simulators.business_addresses import BusinessAddressesSimulator
from varsel.simulators.keep import Keeper
from varsel.simulators.krr import KrrSimulator
from varsel.simulators.link import LinkSimulator
from varsel.simulators.maskinporten import Client, MaskinportenSimulator
from varsel.simulators.profile import ProfileSimulator
from varsel.simulators.register import RegisterSimulator
from varsel.simulators.registry_server import RegistrySimulator
from varsel.simulators.reports_owed import ReportsOwed
from varsel.simulators.smtp import SmtpSimulator
from varsel.simulators.world import World

log = Log(__name__)

_REPORTS: Final = "/notifications/sms/api/v1/reports"
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where we listen, and how to get there


class NotLoopback(Exception):
    """A provider of the sandbox is on another machine. Nothing is started."""


@asynccontextmanager
async def run_simulators(settings: Settings, db: Database) -> AsyncIterator[None]:
    """They serve while the block runs. Raises `NotLoopback`, or `OSError` when a port is taken."""
    async with AsyncExitStack() as stack:
        owed = ReportsOwed(db)
        intake = _Intake(await stack.enter_async_context(Keeper(db)), await stack.enter_async_context(owed))
        for provider in settings.providers:
            match provider:
                case SmtpProviderSettings():
                    mail = await stack.enter_async_context(_mail_server(provider, settings.bounces, intake))
                    owed.until(mail.idle)
                case LinkProviderSettings():
                    gateway = await stack.enter_async_context(_gateway(provider, settings.server, intake))
                    owed.until(gateway.idle)
            log.info("simulator listens", provider=provider.name)
        world = World.personas(datetime.now(UTC))
        for register in (*_registers(settings.altinn, world), *_feeds(settings.registry, world)):
            await stack.enter_async_context(register)
            log.info("simulator listens", provider=type(register).__name__)
        yield


@dataclass(frozen=True, slots=True)
class _Intake:
    keeper: Keeper
    owed: ReportsOwed

    async def many(self, messages: Sequence[Captured]) -> None:
        await self.keeper.keep(messages)
        await self.owed.note()

    async def one(self, message: Captured) -> None:
        await self.many([message])


def _mail_server(provider: SmtpProviderSettings, bounces: BounceSettings, intake: _Intake) -> SmtpSimulator:
    dsn_to = None if bounces.port is None else (bounces.host, bounces.port)
    return SmtpSimulator(_loopback(provider.host), provider.port, dsn_to=dsn_to, capture=intake.one)


def _gateway(provider: LinkProviderSettings, server: ServerSettings, intake: _Intake) -> LinkSimulator:
    ours = _ANYWHERE.get(server.host, server.host)
    return LinkSimulator(
        {provider.username: provider.password.get_secret_value()},
        f"http://{f'[{ours}]' if ':' in ours else ours}:{server.port}{_REPORTS}/{provider.name}",
        (provider.report_username, provider.report_password.get_secret_value()),
        capture=intake.many,
        **_place(provider.url),
    )


def _registers(altinn: AltinnSettings, world: World) -> Iterator[RegistrySimulator]:
    """Altinn's, where the settings name them. They know the personas, and what is told them under `/_sim`."""
    if altinn.profile_url:
        yield ProfileSimulator(world, **_place(altinn.profile_url))
    if altinn.register_url and altinn.platform_token_key:
        key = RSAKey.import_key(altinn.platform_token_key.get_secret_value())
        public = key.as_pem(private=False).decode()
        yield RegisterSimulator(world, platform_key=public, **_place(altinn.register_url))
    if altinn.authorization_url and altinn.subscription_key:
        secret = altinn.subscription_key.get_secret_value()
        yield AuthorizationSimulator(world, subscription_key=secret, **_place(altinn.authorization_url))


def _feeds(registry: RegistrySettings, world: World) -> Iterator[RegistrySimulator]:
    """Maskinporten, KRR and the register of businesses' addresses, where the settings name them."""
    if registry.maskinporten_token_url and registry.maskinporten_client_id and registry.maskinporten_jwk:
        key = RSAKey.import_key(json.loads(base64.b64decode(registry.maskinporten_jwk.get_secret_value())))
        client = Client(RSAKey.import_key(key.as_dict(private=False)), registry.maskinporten_scope_krr.split())
        clients = {registry.maskinporten_client_id: client}
        yield (maskinporten := MaskinportenSimulator(clients, **_place(registry.maskinporten_token_url)))
        if registry.krr_changes_url:
            yield KrrSimulator(world, maskinporten.claims, **_place(registry.krr_changes_url))
    if registry.business_feed_url:
        yield BusinessAddressesSimulator(world, **_place(registry.business_feed_url))


class _Place(TypedDict):
    host: str
    port: int


def _place(address: str) -> _Place:
    url = urlsplit(address)
    return {"host": _loopback(url.hostname or ""), "port": url.port or 80}


def _loopback(host: str) -> str:
    if host != "localhost" and not (_is_address(host) and ipaddress.ip_address(host).is_loopback):
        raise NotLoopback(f"{host} is not this machine: in the sandbox nothing leaves it")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
