"""The contact directory that the settings ask for: our own copies, live registers, or some of both (registries 0.2)."""

from datetime import timedelta
from typing import Final

from yarl import URL

from varsel.clock import Clock
from varsel.db import Database
from varsel.providers.altinn import Altinn
from varsel.providers.altinn_profile import AltinnProfile
from varsel.providers.krr import KrrDirect, LookupTokens
from varsel.providers.maskinporten import Maskinporten
from varsel.providers.registry_http import Limits, RegistryClient
from varsel.recipients.directory import (
    Authorizer,
    ComposedDirectory,
    Names,
    Organisations,
    OrOurCopy,
    Outages,
    Persons,
    WithMainUnits,
)
from varsel.recipients.local import LocalDirectory
from varsel.recipients.names import NameStyle
from varsel.recipients.nothing import Everybody, Nothing
from varsel.recipients.ports import ContactDirectory
from varsel.settings import Settings

_OURS: Final = frozenset({"local", "none", "deny-all", "allow-all"})


class Registers:
    """`directory` answers; while it cannot, `outages` tells whom our copies serve. `live`: it asks over a network."""

    def __init__(self, settings: Settings, lookups: Database, clock: Clock, *, patience: timedelta) -> None:
        """`patience`: the longest that a register which throttles us is waited for.

        Raises `ValueError` for keys that are none.
        """
        registry = settings.registry
        self._registry = registry
        self._limits = Limits.from_settings(settings.altinn, patience)
        self._maskinporten = Maskinporten.from_settings(registry)
        self._altinn = Altinn(settings.altinn, NameStyle.from_settings(registry), clock, self._maskinporten, patience)
        self._krr: RegistryClient | None = None
        self._copies = LocalDirectory(lookups, registry)
        self.live = bool(registry.providers - _OURS)
        self.directory: ContactDirectory = self._copies if registry.providers == {"local"} else self._composed()
        old_ones_too = LocalDirectory(lookups, registry.model_copy(update={"max_copy_age": timedelta()}))
        self.outages = (
            Outages(registry.local_copy_creators, OrOurCopy(self.directory, old_ones_too))
            if registry.local_copy_creators
            else None
        )

    async def close(self) -> None:
        """Whoever waits for a register hears at once that no answer will come. May be called again."""
        await self._altinn.close()
        if self._krr:
            await self._krr.close()
        if self._maskinporten:
            await self._maskinporten.close()

    def _composed(self) -> ComposedDirectory:
        registry = self._registry
        return ComposedDirectory(
            person_provider=self._persons(),
            org_provider=self._organisations(),
            external_provider=self._of_profile(registry.external_provider),
            user_provider=self._of_profile(registry.user_provider),
            authz_provider=self._authorizer(),
            name_provider=self._names(),
        )

    def _persons(self) -> Persons:
        if self._registry.person_provider != "krr-direct":
            return self._of_profile(self._registry.person_provider)
        assert self._registry.krr_lookup_url
        assert self._maskinporten
        url = URL(self._registry.krr_lookup_url)
        tokens = LookupTokens(self._maskinporten.scope(self._registry.maskinporten_scope_krr))
        self._krr = RegistryClient("krr", str(url.parent), self._limits, tokens)
        return KrrDirect(
            self._krr,
            url.name,
            stale_after_months=self._registry.stale_after_months,
            kept_for=self._registry.krr_lookup_memory,
        )

    def _organisations(self) -> Organisations:
        known = self._of_profile(self._registry.org_provider)
        return WithMainUnits(known, self._altinn.register) if self._registry.main_unit_provider == "altinn" else known

    def _authorizer(self) -> Authorizer:
        match self._registry.authz_provider:
            case "local":
                return self._copies
            case "altinn":
                return self._altinn.authorization
            case "deny-all":
                return Nothing()
            case "allow-all":
                return Everybody()

    def _names(self) -> Names:
        match self._registry.name_provider:
            case "local":
                return self._copies
            case "altinn":
                return self._altinn.register
            case "none":
                return Nothing()

    def _of_profile(self, provider: str) -> LocalDirectory | AltinnProfile | Nothing:
        match provider:
            case "local":
                return self._copies
            case "altinn":
                return self._altinn.profile
            case _:
                return Nothing()
