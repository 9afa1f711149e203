"""Who may call what is meant for the operators' own network: triggers, the metrics page, /metrics.

The reference leaves them open and trusts the network (http-api 17, 18.1). Here they are open to this machine alone, and
in production to nobody, but for who shows the configured secret; the setting `operations.open_to` says otherwise.
"""

import secrets
from ipaddress import ip_address
from typing import Final

from pydantic import SecretStr
from starlette.requests import Request

from varsel.api.problems import Refusal
from varsel.api.requests import header
from varsel.settings import Settings

HEADER: Final = b"x-operations-secret"


class Operators:
    """Lets operators in."""

    def __init__(self, settings: Settings) -> None:
        production = settings.environment == "production"
        self._open_to = settings.operations.open_to or ("nobody" if production else "loopback")
        self._secret = settings.operations.secret

    def require(self, request: Request) -> None:
        """Answers 401 to everybody else."""
        if not (self._is_open(request) or is_secret(_shown(request), self._secret)):
            raise Refusal(401, headers={"WWW-Authenticate": "Bearer"})

    def _is_open(self, request: Request) -> bool:
        """A proxy on this machine makes everybody look like this machine: hence the setting."""
        return self._open_to == "everybody" or (self._open_to == "loopback" and _is_loopback(request))


def is_secret(shown: bytes, known: SecretStr | None) -> bool:
    """Compared in a time that tells nothing. An empty secret matches nothing."""
    expected = known.get_secret_value().encode() if known else b""
    return secrets.compare_digest(shown, expected) and bool(expected)


def _shown(request: Request) -> bytes:
    kind, _, rest = (header(request, b"authorization") or b"").partition(b" ")
    bearer = rest.strip() if kind.lower() == b"bearer" else b""
    return header(request, HEADER) or bearer


def _is_loopback(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False
