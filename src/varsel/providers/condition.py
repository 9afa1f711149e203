"""Asks a send condition's endpoint (processing 3.4, design 8): a bounded GET, no private networks in production."""

import json
import ssl
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from varsel.providers.public_hosts import PublicResolver, is_private_literal
from varsel.registry_sync.ports import UpstreamError
from varsel.resolution.ports import Answer, Verdict

_MAX_BODY: Final = 64 * 1024
_MAX_REDIRECTS: Final = 5


class Tokens(Protocol):
    """Where the service's own bearer token comes from. Raises `UpstreamError`."""

    async def headers(self, *, renew: bool) -> Mapping[str, str]: ...


class HttpConditions:
    """`Conditions` over HTTP. `private_hosts`: whether private addresses may be called (never in production).

    With `tokens`, endpoints hear over https who asks; a redirect to another host does not. `tls`: of those who are
    trusted.
    """

    def __init__(
        self,
        *,
        timeout: timedelta,
        private_hosts: bool,
        tokens: Tokens | None = None,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._private_hosts = private_hosts
        self._tokens = tokens
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def check(self, url: str) -> Answer:
        try:
            return await self._ask(URL(url), _MAX_REDIRECTS, await self._shown(URL(url)))
        except UpstreamError:
            return Answer(Verdict.INCONCLUSIVE, detail="no token")
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Answer(Verdict.INCONCLUSIVE, detail=type(error).__name__)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _shown(self, url: URL) -> Mapping[str, str]:
        """Who asks. Never in the clear (design 8)."""
        return await self._tokens.headers(renew=False) if self._tokens and url.scheme == "https" else {}

    async def _ask(self, url: URL, redirects: int, headers: Mapping[str, str]) -> Answer:
        if not self._private_hosts and is_private_literal(url.host or ""):
            return Answer(Verdict.INCONCLUSIVE, detail="private address")
        async with self._open_session().get(url, allow_redirects=False, headers=headers) as response:
            if response.status in (301, 302, 303, 307, 308) and redirects and "Location" in response.headers:
                target = response.url.join(URL(response.headers["Location"]))
                return await self._ask(target, redirects - 1, headers if target.origin() == url.origin() else {})
            if not 200 <= response.status < 300:
                return Answer(Verdict.INCONCLUSIVE, response.status)
            return Answer(_verdict(await _read(response)), response.status)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._private_hosts else PublicResolver()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=20, ssl=self._tls),
                timeout=self._timeout,
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, or so much of it that it is too long: one read gives no more than has arrived."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _MAX_BODY:
            break
    return bytes(body)


def _verdict(body: bytes) -> Verdict:
    """`{"sendNotification": true}`, in exactly this letter case; anything else says nothing."""
    if len(body) > _MAX_BODY:
        return Verdict.INCONCLUSIVE
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        return Verdict.INCONCLUSIVE
    match answer:
        case {"sendNotification": True}:
            return Verdict.MET
        case {"sendNotification": False}:
            return Verdict.NOT_MET
        case _:
            return Verdict.INCONCLUSIVE
