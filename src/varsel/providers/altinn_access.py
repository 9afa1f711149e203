"""What we show to Altinn's services (registries 6.1): a platform access token, or a subscription key."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr

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
