"""Where events may be sent: the rules of a URL, at registration and before each request (channels 7.4).

Only plain forms are taken, which no two parsers read differently. Where the name leads is looked at with each request.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_LENGTH: Final = 2_048

_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LAST: Final = "[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"  # no number, in which any address can be written
_URL: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>(?:{_LABEL}\.)*{_LAST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?:[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?",
    re.IGNORECASE,
)
_MAX_HOST: Final = 253
_LOOPBACK: Final = "localhost"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

NOT_A_URL: Final = "The value must be an https URL with a host name, without user, password and fragment."
TOO_LONG: Final = f"The value must have at most {MAX_LENGTH} characters."


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that has been read. The host is in lower case."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Addresses:
    """`private`: hosts that may lie in private networks, at the ports that they name (443 if none).

    A host is a name, or the end of names when it begins with a dot. `http`: these may be spoken to without TLS, outside
    production. `loopback_http`: so may `localhost`, at any port. `ports`: of all other hosts.
    """

    private: Sequence[str] = ()
    ports: Sequence[int] = (443,)
    http: bool = False
    loopback_http: bool = False

    def problem(self, url: str) -> str | None:
        """Why nothing may be sent there; None: it may, if the name leads to where it may."""
        target = read(url)
        if len(url) > MAX_LENGTH:
            return TOO_LONG
        if target is None or (target.scheme == "http" and not self._without_tls(target)):
            return NOT_A_URL
        return None if self.trusts(target.host, target.port) else self._not_public(target)

    def _without_tls(self, target: Target) -> bool:
        loopback = self.loopback_http and target.host == _LOOPBACK
        return loopback or (self.http and self.trusts(target.host, target.port))

    def _not_public(self, target: Target) -> str | None:
        if "." not in target.host:
            return "The host must be a full domain name."
        if target.port not in self.ports:
            return f"The port must be one of: {', '.join(map(str, self.ports))}."
        return None

    def trusts(self, host: str, port: int) -> bool:
        """Whether the host may lie in a private network."""
        if self.loopback_http and host == _LOOPBACK:
            return True
        return any(_matches(host, port, allowed) for allowed in self.private)


def read(url: str) -> Target | None:
    """None for what is none of our forms of a URL."""
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = int(found["port"] or _DEFAULT_PORTS[scheme])
    return Target(scheme, host, port) if len(host) <= _MAX_HOST and 0 < port < 65_536 else None


def _matches(host: str, port: int, allowed: str) -> bool:
    name, _, allowed_port = allowed.lower().partition(":")
    if port != int(allowed_port or 443):
        return False
    return host.endswith(name) and len(host) > len(name) if name.startswith(".") else host == name
