"""Asks a send condition's endpoint (processing 3.4, design 8): a bounded GET, no private networks in production."""

import ipaddress
import json
import socket
from datetime import timedelta
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from varsel.resolution.ports import Answer, Verdict

_MAX_BODY: Final = 64 * 1024
_MAX_REDIRECTS: Final = 5


class _PublicResolver(AbstractResolver):
    """Resolves a name, and refuses it unless every address is public. The connection uses the addresses found here."""

    def __init__(self) -> None:
        self._resolver = aiohttp.resolver.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(_is_public(address["host"]) for address in found):
            raise OSError("the name leads to a private network")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class HttpConditions:
    """`Conditions` over HTTP. `private_hosts`: whether private addresses may be called (never in production)."""

    def __init__(self, *, timeout: timedelta, private_hosts: bool) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._private_hosts = private_hosts
        self._session: aiohttp.ClientSession | None = None

    async def check(self, url: str) -> Answer:
        try:
            return await self._ask(url, _MAX_REDIRECTS)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Answer(Verdict.INCONCLUSIVE, detail=type(error).__name__)

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _ask(self, url: str, redirects: int) -> Answer:
        if not self._private_hosts and _is_private_literal(url):
            return Answer(Verdict.INCONCLUSIVE, detail="private address")
        async with self._open_session().get(url, allow_redirects=False) as response:
            if response.status in (301, 302, 303, 307, 308) and redirects and "Location" in response.headers:
                target = response.url.join(URL(response.headers["Location"]))
                return await self._ask(str(target), redirects - 1)
            if not 200 <= response.status < 300:
                return Answer(Verdict.INCONCLUSIVE, response.status)
            return Answer(_verdict(await response.content.read(_MAX_BODY + 1)), response.status)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._private_hosts else _PublicResolver()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=20), timeout=self._timeout, trust_env=False
            )
        return self._session


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


def _is_private_literal(url: str) -> bool:
    host = URL(url).host or ""
    try:
        return not _is_public(host)
    except ValueError:
        return False  # a name: the resolver decides


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global
