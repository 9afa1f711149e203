"""Which hosts a stranger's URL may lead to in production: public ones alone (channels 7.4)."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Spelt out (RFC 6890 and what came after), because what `is_global` says differs between releases of Python.
_NEVER: Final = tuple(
    ip_network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("192.88.99.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16"),
        *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = ip_network("2000::/3")
_THREADS: Final = 32

Network = IPv4Network | IPv6Network


class PrivateAddress(OSError):
    """The name leads to a network that is nobody's business."""


class PublicResolver(AbstractResolver):
    """Resolves a name, and refuses it unless every address is public. The connection uses the addresses found here.

    `denied`: networks that are refused too. `trusts`: hosts and ports whose addresses may be any.
    """

    def __init__(
        self,
        resolver: AbstractResolver | None = None,
        *,
        denied: Sequence[Network] = (),
        trusts: Callable[[str, int], bool] = lambda _host, _port: False,
    ) -> None:
        self._resolver = resolver or aiohttp.resolver.ThreadedResolver()
        self._denied = denied
        self._trusts = trusts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not self._trusts(host, port) and not all(is_public(a["host"], self._denied) for a in found):
            raise PrivateAddress("the name leads to a private network")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class OwnThreads(AbstractResolver):
    """Asks the system in threads of its own: names that are slow to resolve hold up nobody but each other."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _ask_system, host, port, family)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(to[0]), port=int(to[1]), family=kind, proto=proto, flags=numeric)
            for kind, _, proto, _, to in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _ask_system(host: str, port: int, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
    return [*socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)]


def is_private_literal(host: str) -> bool:
    """Whether the host is an address, and not a public one. Of a name, the resolver decides."""
    try:
        return not is_public(host.strip("[]"))
    except ValueError:
        return False


def is_public(address: str, denied: Sequence[Network] = ()) -> bool:
    """Raises `ValueError` for what is no address. An address that carries another is as public as that one.

    `denied`: networks that count as private too.
    """
    found = ip_address(address.partition("%")[0])
    if _lies_in(found, denied):
        return False
    inner = _inner(found)
    if inner is not None:
        return is_public(str(inner), denied)
    return not _lies_in(found, _NEVER) and (isinstance(found, IPv4Address) or found in _GLOBAL_UNICAST)


def _lies_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in net for net in networks if net.version == address.version)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """What an IPv6 address says about the IPv4 address it leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
