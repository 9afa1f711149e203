"""Altinn's live services as the settings describe them. Each is made when it is first wanted."""

from datetime import timedelta
from functools import cached_property

from varsel.clock import Clock
from varsel.providers.altinn_access import ExchangedToken, PlatformToken, SubscriptionKey
from varsel.providers.altinn_authorization import AltinnAuthorization
from varsel.providers.altinn_profile import AltinnProfile
from varsel.providers.altinn_register import AltinnRegister, party_memory
from varsel.providers.maskinporten import Maskinporten
from varsel.providers.registry_http import Credentials, Limits, RegistryClient
from varsel.recipients.names import NameStyle
from varsel.settings import AltinnSettings


class Altinn:
    """`settings` are complete for what is wanted: `Settings` sees to that."""

    def __init__(
        self,
        settings: AltinnSettings,
        style: NameStyle,
        clock: Clock,
        maskinporten: Maskinporten | None,
        patience: timedelta,
    ) -> None:
        """`maskinporten`: for `exchange_url`. `patience`: the longest time that a register may put us off for."""
        self._settings = settings
        self._style = style
        self._clock = clock
        self._maskinporten = maskinporten
        self._limits = Limits.from_settings(settings, patience)
        self._parties = party_memory()
        self._closing: list[RegistryClient | ExchangedToken] = []

    @cached_property
    def profile(self) -> AltinnProfile:
        client = self._client("profile", self._settings.profile_url)
        return AltinnProfile(client, self._settings, self._parties, self._clock)

    @cached_property
    def register(self) -> AltinnRegister:
        client = self._client("register", self._settings.register_url, self._register_credentials())
        return AltinnRegister(client, self._settings, self._style, self._parties)

    @cached_property
    def authorization(self) -> AltinnAuthorization:
        key = self._settings.subscription_key
        assert key
        client = self._client("authorization", self._settings.authorization_url, SubscriptionKey(key))
        return AltinnAuthorization(client, self._settings, self.register)

    async def close(self) -> None:
        """Whoever waits for an answer hears at once that none will come."""
        for part in self._closing:
            await part.close()

    def _client(self, name: str, url: str | None, credentials: Credentials | None = None) -> RegistryClient:
        assert url
        client = RegistryClient(name, url, self._limits, credentials)
        self._closing.append(client)
        return client

    def _register_credentials(self) -> Credentials:
        settings = self._settings
        if settings.exchange_url and self._maskinporten:
            token = ExchangedToken(self._maskinporten.scope(settings.exchange_scope), settings.exchange_url)
            self._closing.append(token)
            return token
        assert settings.platform_token_key
        return PlatformToken(settings.platform_token_key, settings.platform_component)
