"""Where the public keys of tokens come from: OpenID Connect discovery, key sets, or the home (http-api 3.1)."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

import aiohttp
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet

from varsel.domain.errors import Unavailable
from varsel.log import Log

log = Log(__name__)

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_MAX_DOCUMENT_BYTES: Final = 1_000_000
_UNKNOWN_KEY_PAUSE: Final = 30.0  # seconds; else anybody could make us ask the issuer with every request
_FAILURE_PAUSE: Final = 1.0


class KeySource(Protocol):
    async def candidates(self, kid: str | None) -> Sequence[Key]:
        """Keys that may have signed a token that names `kid`, or none. Raises `Unavailable` when nothing is known."""
        ...


class LocalKeys:
    def __init__(self, keys: KeySet) -> None:
        self._keys = keys.keys

    async def candidates(self, kid: str | None) -> Sequence[Key]:
        return _named(self._keys, kid)


class RemoteKeys:
    """Keys of one issuer, fetched when first needed, when too old, and when a token names one that we lack.

    Old keys stay in use while the issuer does not answer.
    """

    def __init__(
        self,
        url: str,
        *,
        discovery: bool,
        max_age: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._discovery = discovery
        self._max_age = max_age.total_seconds()
        self._monotonic = monotonic
        self._keys: Sequence[Key] = ()
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def candidates(self, kid: str | None) -> Sequence[Key]:
        if self._monotonic() - self._fetched > self._max_age:
            await self._refresh(pause=_FAILURE_PAUSE)
        found = _named(self._keys, kid)
        if not found and self._keys:
            await self._refresh(pause=_UNKNOWN_KEY_PAUSE)
            found = _named(self._keys, kid)
        if not self._keys:
            raise Unavailable("the token issuer")
        return found

    async def _refresh(self, pause: float) -> None:
        """Fetch the keys, unless that was tried less than `pause` seconds ago. Never raises for a failing issuer."""
        async with self._lock:
            if self._monotonic() - self._tried < pause:
                return
            self._tried = self._monotonic()
            try:
                self._keys = await self._fetch()
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, JoseError) as e:
                log.warning("token keys not fetched", url=self._url, error=type(e).__name__)
            else:
                self._fetched = self._tried

    async def _fetch(self) -> Sequence[Key]:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            url = self._url
            if self._discovery:
                url = (await _document(session, url))["jwks_uri"]
            return KeySet.import_key_set(await _document(session, url)).keys


def _named(keys: Sequence[Key], kid: str | None) -> Sequence[Key]:
    return keys if kid is None else [key for key in keys if key.kid == kid]


async def _document(session: aiohttp.ClientSession, url: str) -> Any:
    """A JSON document of bounded size. A redirect is an error: the configuration names the issuer."""
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > _MAX_DOCUMENT_BYTES:
                raise ValueError("document too large")
    return json.loads(content)
