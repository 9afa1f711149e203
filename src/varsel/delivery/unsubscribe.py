"""Links by which a reader asks for no more of a kind (channels 6.6, RFC 8058): made when a message leaves, and read."""

import hmac
import struct
from base64 import b32decode, b32encode
from binascii import Error
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from varsel.domain.ids import NotificationId

PATH: Final = "/notifications/api/v1/unsubscribe"
KEYWORD: Final = "$unsubscribeUrl$"
"""Stands in a text for the link. Only in those of messages that are marked as unsubscribable."""
LIFETIME: Final = timedelta(days=366)

_HEAD: Final = struct.Struct(">BH16s")  # version, the day of its end since 1970, notification
_VERSION: Final = 1
_MAC_OCTETS: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Named:
    """Which message a link stood in, and whose it was."""

    notification: NotificationId
    creator: str


class UnsubscribeLinks:
    """`secret`: the key of the suppression list. `base`: what links begin with, without a slash at the end.

    Tokens are lower-case base32, for paths know no letter case, and hold no address.
    """

    def __init__(self, secret: bytes, base: str) -> None:
        self._key = hmac.digest(secret, b"links to unsubscribe", "sha256")
        self._base = base

    def url(self, notification: NotificationId, creator: str, *, now: datetime) -> str:
        signed = _HEAD.pack(_VERSION, (now + LIFETIME - _EPOCH) // _DAY, notification.bytes) + creator.encode()
        return f"{self._base}{PATH}/{_base32(signed + self._mac(signed))}"

    def read(self, token: str, *, now: datetime) -> Named | None:
        """None for what is no token of ours, and for one whose time is over."""
        try:
            octets = b32decode(token.upper() + "=" * (-len(token) % 8))
        except (Error, ValueError):
            return None
        signed, mac = octets[:-_MAC_OCTETS], octets[-_MAC_OCTETS:]
        # the text itself is compared, so the unused bits at its end cannot be varied
        if len(signed) <= _HEAD.size or not hmac.compare_digest(mac, self._mac(signed)) or _base32(octets) != token:
            return None
        version, last_day, notification = _HEAD.unpack_from(signed)
        if version != _VERSION or now >= _EPOCH + last_day * _DAY:
            return None
        return Named(NotificationId(UUID(bytes=notification)), signed[_HEAD.size :].decode())

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, "sha256")[:_MAC_OCTETS]


def _base32(octets: bytes) -> str:
    return b32encode(octets).decode().rstrip("=").lower()
