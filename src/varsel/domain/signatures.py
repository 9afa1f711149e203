"""Signatures by Standard Webhooks 1.0 (channels 7.3): who shares the secret can tell that a message is ours, and fresh.

Both ways: what we send is signed, what comes in is verified.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=5)
"""So far may the time of a signature be from ours, either way."""

_BYTES: Final = 32
_LEAST_BYTES: Final = 24
_PREFIX: Final = "whsec_"
_MAX_SIGNATURES: Final = 20  # of one message; more are not looked at


def new_secret() -> bytes:
    return secrets.token_bytes(_BYTES)


def shown(secret: bytes) -> str:
    """As it is given to its owner: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secret).decode()


def secret_of(text: str) -> bytes:
    """The secret that is shown so. Raises `ValueError` for what is none, or is too short to be safe."""
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(_PREFIX) or len(secret) < _LEAST_BYTES:
        raise ValueError(f"a secret is {_PREFIX} and at least {_LEAST_BYTES} bytes in base64")
    return secret


def headers_of(message: object, body: bytes, keys: Sequence[bytes], *, at: int) -> dict[str, str]:
    """One signature by each key, of exactly these bytes. `message`: its id, without a dot; the same on every try.

    `at`: this try, in seconds since 1970 by the host's clock.
    """
    return {
        "webhook-id": str(message),
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(_signature(key, str(message), str(at), body) for key in keys),
    }


def verified(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], *, now: datetime) -> bool:
    """Whether one of the keys signed it within the tolerance. Names of headers are in lower case."""
    message, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message or not (at.isascii() and at.isdigit() and len(at) <= 12):
        return False
    if abs(int(at) - now.timestamp()) > TOLERANCE.total_seconds():
        return False
    given = headers.get("webhook-signature", "").split(maxsplit=_MAX_SIGNATURES)[:_MAX_SIGNATURES]
    wanted = [_signature(key, message, at, body) for key in keys]
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in given for other in wanted]
    return any(matches)


def _signature(key: bytes, message: str, at: str, body: bytes) -> str:
    digest = hmac.digest(key, f"{message}.{at}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
