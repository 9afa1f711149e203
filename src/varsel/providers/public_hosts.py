"""Which hosts a stranger's URL may lead to in production: public ones alone (channels 7.4)."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Spelt out (RFC 6890 and what came after), because what `is_global` says differs between releases of Python.
_NEVER: Final = tuple(
    ip_network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16"),
        *("fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
_NAT64: Final = ip_network("64:ff9b::/96")


class PrivateAddress(OSError):
    """The name leads to a network that is nobody's business."""


class PublicResolver(AbstractResolver):
    """Resolves a name, and refuses it unless every address is public. The connection uses the addresses found here."""

    def __init__(self) -> None:
        self._resolver = aiohttp.resolver.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(is_public(address["host"]) for address in found):
            raise PrivateAddress("the name leads to a private network")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def is_private_literal(host: str) -> bool:
    """Whether the host is an address, and not a public one. Of a name, the resolver decides."""
    try:
        return not is_public(host.strip("[]"))
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Raises `ValueError` for what is no address. An address that carries another is as public as that one."""
    found = ip_address(address.partition("%")[0])
    inner = _inner(found)
    if inner is not None:
        return is_public(str(inner))
    return not any(found in net for net in _NEVER if net.version == found.version)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """What an IPv6 address says about the IPv4 address it leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
