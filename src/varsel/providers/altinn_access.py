"""What we show to Altinn's services (registries 6.1): a platform access token, an exchanged token, a subscription key.

Tokens live by the host's clock.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from yarl import URL

from varsel.domain.errors import RegistryProtocolError, RegistryRejected, RegistryUnavailable
from varsel.providers.feed_http import FeedClient, Tokens
from varsel.registry_sync.ports import UpstreamError

_LIFETIME: Final = 300  # seconds
_RENEW_BEFORE: Final = 5
_SKEW: Final = 5  # their clock may be behind ours


class SubscriptionKey:
    def __init__(self, key: SecretStr) -> None:
        self._headers = {"Ocp-Apim-Subscription-Key": key.get_secret_value()}

    async def headers(self, *, renew: bool) -> Mapping[str, str]:  # noqa: ARG002 - there is no other
        return self._headers


class PlatformToken:
    """Signs tokens that say which component of the platform we are. One is used until it is about to expire."""

    def __init__(self, key: SecretStr, component: str, *, clock: Callable[[], float] = time.time) -> None:
        """`key`: RSA private key in PEM. `clock`: the host's, seconds since 1970. Raises `ValueError` for no key."""
        try:
            self._key = RSAKey.import_key(key.get_secret_value())
        except ValueError:
            raise ValueError("the key for platform access tokens is no RSA key in PEM") from None
        self._component = component
        self._clock = clock
        self._token = ""
        self._good_until = 0.0

    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        now = self._clock()
        if renew or now >= self._good_until:
            self._good_until = now + _LIFETIME - _RENEW_BEFORE
            claims = {
                "iss": "platform",
                "aud": "platform.altinn.no",
                "urn:altinn:app": self._component,
                "nbf": int(now) - _SKEW,
                "exp": int(now) + _LIFETIME,
            }
            self._token = jwt.encode({"alg": "RS256", "typ": "JWT"}, claims, self._key)
        return {"PlatformAccessToken": self._token}


class ExchangedToken:
    """From outside the platform: a token of Maskinporten's, exchanged for one of Altinn's."""

    def __init__(self, maskinporten: Tokens, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._client = FeedClient(maskinporten)
        self._url = URL(url)
        self._clock = clock
        self._token = ""
        self._good_until = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def headers(self, *, renew: bool) -> Mapping[str, str]:
        refused = self._token if renew else None
        async with self._one_at_a_time:
            if self._token == refused or self._clock() >= self._good_until:
                self._token = await self._exchange()
                self._good_until = _expiry(self._token) - _RENEW_BEFORE
            return {"Authorization": f"Bearer {self._token}"}

    async def close(self) -> None:
        await self._client.close()

    async def _exchange(self) -> str:
        try:
            token: Any = await self._client.ask("GET", self._url)
        except UpstreamError as error:
            kind = RegistryUnavailable if error.transient else RegistryRejected
            raise kind("altinn (token exchange)", error.retry_after) from None
        if not isinstance(token, str):
            raise RegistryProtocolError("altinn (token exchange)")
        return token


def _expiry(token: str) -> float:
    """When a token ends, by its own words; 0 when they cannot be read."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0
