"""AWS Signature Version 4, as far as one request needs it that goes to one address without a query.

Tests hold it against botocore. Machine time: a signature lives for minutes.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from yarl import URL

from varsel.providers.signed_http import host_of

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """`token`: of temporary ones. The secret stays out of `repr`."""

    key_id: str
    secret: bytes
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.key_id!r})"


@dataclass(frozen=True, slots=True)
class Signature:
    """Signs requests to one service of one region."""

    credentials: Credentials
    region: str
    service: str

    def sign(self, method: str, url: URL, headers: Mapping[str, str], body: bytes, now: datetime) -> dict[str, str]:
        """The headers to send: those given, which are signed, and ours. `now` in UTC."""
        at = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {**headers, "X-Amz-Date": at}
        if self.credentials.token:
            signed["X-Amz-Security-Token"] = self.credentials.token
        canonical = {name.lower(): " ".join(value.split()) for name, value in signed.items()} | {"host": host_of(url)}
        names = ";".join(sorted(canonical))
        lines = "".join(f"{name}:{canonical[name]}\n" for name in sorted(canonical))
        request = f"{method}\n{url.raw_path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{at[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{_ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(self._key(scope), text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self.credentials.key_id}/{scope}"
        shown = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "Authorization": shown}

    def _key(self, scope: str) -> bytes:
        """Of the day, the region and the service."""
        key = b"AWS4" + self.credentials.secret
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key
