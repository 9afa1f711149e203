"""Altinn's registers as tests see them: three simulators over one world, and our adapters to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

from joserfc.jwk import RSAKey
from pydantic import SecretStr

from varsel.clock import ManualClock
from varsel.providers.altinn_access import PlatformToken, SubscriptionKey
from varsel.providers.altinn_authorization import AltinnAuthorization
from varsel.providers.altinn_profile import AltinnProfile
from varsel.providers.altinn_register import AltinnRegister, party_memory
from varsel.providers.registry_http import Credentials, Limits, RegistryClient
from varsel.providers.registry_memory import Memory
from varsel.recipients.directory import ComposedDirectory
from varsel.recipients.names import NameStyle
from varsel.settings import AltinnSettings
from varsel.simulators import authorization, profile, register
from varsel.simulators.authorization import AuthorizationSimulator
from varsel.simulators.profile import ProfileSimulator
from varsel.simulators.register import RegisterSimulator
from varsel.simulators.world import World

SUBSCRIPTION_KEY = "subscription"
QUICK = Limits(pauses=(timedelta(milliseconds=1), timedelta(milliseconds=2)))


@cache
def platform_key() -> RSAKey:
    return RSAKey.generate_key(2048)


@cache
def platform_token() -> PlatformToken:
    """Reading the key takes longer than a test."""
    return PlatformToken(SecretStr(platform_key().as_pem(private=True).decode()), "notifications")


class ManualSeconds:
    """Machine time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Registers:
    """`close` ends the adapters; the simulators end with `running_registers`."""

    profile: ProfileSimulator
    register: RegisterSimulator
    authorization: AuthorizationSimulator
    clock: ManualClock
    limits: Limits = QUICK
    settings: AltinnSettings = field(default_factory=AltinnSettings)
    seconds: ManualSeconds = field(default_factory=ManualSeconds)
    clients: list[RegistryClient] = field(default_factory=list)

    def directory(self, **changes: Any) -> ComposedDirectory:
        """A new one, which remembers nothing yet. `changes` are to the limits of the clients."""
        self.limits = replace(self.limits, **changes)
        parties = party_memory(self.seconds)
        profile = AltinnProfile(self.client("profile"), self.settings, parties, self.clock)
        register = self.register_adapter(parties)
        authorizer = AltinnAuthorization(self.client("authorization"), self.settings, register)
        return ComposedDirectory(profile, profile, profile, profile, authorizer, register)

    def register_adapter(
        self,
        parties: Memory[int] | None = None,
        style: NameStyle = NameStyle(),  # noqa: B008 - immutable
    ) -> AltinnRegister:
        parties = party_memory(self.seconds) if parties is None else parties
        return AltinnRegister(self.client("register"), self.settings, style, parties, monotonic=self.seconds)

    def client(self, name: str) -> RegistryClient:
        site, base = {
            "profile": (self.profile.url, profile.BASE),
            "register": (self.register.url, register.BASE),
            "authorization": (self.authorization.url, authorization.BASE),
        }[name]
        access: dict[str, Credentials] = {
            "register": platform_token(),
            "authorization": SubscriptionKey(SecretStr(SUBSCRIPTION_KEY)),
        }
        client = RegistryClient(name, site.rstrip("/") + base, self.limits, access.get(name), monotonic=self.seconds)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.close()


@asynccontextmanager
async def running_registers(world: World, clock: ManualClock) -> AsyncIterator[Registers]:
    now = clock.now
    async with (
        ProfileSimulator(world, now=now) as profile,
        RegisterSimulator(world, platform_key=platform_key().as_pem(private=False).decode(), now=now) as register,
        AuthorizationSimulator(world, subscription_key=SUBSCRIPTION_KEY, now=now) as authorization,
    ):
        registers = Registers(profile, register, authorization, clock)
        try:
            yield registers
        finally:
            await registers.close()
