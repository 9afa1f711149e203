"""How we show Azure Communication Services who we are (channels 2.4): a signature, or a token of Microsoft Entra.

Machine time: signatures and tokens live by the host's clock.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Protocol

from yarl import URL

from varsel.delivery.ports import Deferred
from varsel.providers.client_credentials import ClientCredentials
from varsel.providers.signed_http import host_of

SCOPE: Final = "https://communication.azure.com//.default"  # both slashes belong there
_SIGNED: Final = "x-ms-date;host;x-ms-content-sha256"


class Login(Protocol):
    async def headers(self, method: str, url: URL, body: bytes) -> Mapping[str, str] | Deferred:
        """For this very request, or why there are none."""
        ...

    def refused(self, shown: Mapping[str, str]) -> bool:
        """These were refused. Whether others are worth a try."""
        ...

    async def close(self) -> None: ...


class SignedLogin:
    """Signs each request with the resource's key."""

    def __init__(self, key: bytes, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._key = key
        self._now = now

    async def headers(self, method: str, url: URL, body: bytes) -> Mapping[str, str]:
        date = format_datetime(self._now().astimezone(UTC), usegmt=True)
        content = base64.b64encode(hashlib.sha256(body).digest()).decode()
        signed = f"{method}\n{url.raw_path_qs}\n{date};{host_of(url)};{content}"
        signature = base64.b64encode(hmac.digest(self._key, signed.encode(), "sha256")).decode()
        return {
            "x-ms-date": date,
            "x-ms-content-sha256": content,
            "Authorization": f"HMAC-SHA256 SignedHeaders={_SIGNED}&Signature={signature}",
        }

    def refused(self, shown: Mapping[str, str]) -> bool:  # noqa: ARG002 - another signature would be the same
        return False

    async def close(self) -> None: ...


class EntraLogin:
    """A token for a client that shows its secret."""

    def __init__(self, tokens: ClientCredentials) -> None:
        self._tokens = tokens

    async def headers(self, method: str, url: URL, body: bytes) -> Mapping[str, str] | Deferred:  # noqa: ARG002
        token = await self._tokens.token()
        return token if isinstance(token, Deferred) else {"Authorization": f"Bearer {token}"}

    def refused(self, shown: Mapping[str, str]) -> bool:
        self._tokens.forget(shown["Authorization"].removeprefix("Bearer "))
        return True

    async def close(self) -> None:
        await self._tokens.close()


def read_key(text: str) -> bytes:
    """Raises `ValueError`."""
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("the access key is not base64")
    return key
