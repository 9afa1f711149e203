"""Return paths that name the message a bounce belongs to (VERP, channels 2.1), and the texts of RFC 3461."""

import binascii
import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Sequence
from typing import Final, Self
from uuid import UUID

from varsel.domain.ids import NotificationId
from varsel.settings import BounceSettings

_VERSION: Final = "b1"
_LOCAL: Final = re.compile(r"b1-([a-z2-7]{26})[a-z2-7]{13}")
_PLAIN: Final = re.compile(r"[!-*,-<>-~]+")  # printable ASCII without + and =
_ENVELOPE_ID: Final = re.compile(r"n-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class Verp:
    """Makes and checks `b1-<id><mac>@<domain>`: base32, because relays may fold case.

    The first key makes; every key checks, so that keys can be changed while bounces are under way.
    """

    def __init__(self, domain: str, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("VERP needs a key")
        self.domain = domain.lower()
        self._keys = tuple(keys)

    @classmethod
    def configured(cls, bounces: BounceSettings) -> Self | None:
        """None when no key is set: then there are no bounce addresses, and no way to learn of arrival."""
        keys = [key.get_secret_value().encode() for key in bounces.keys]
        return cls(bounces.domain, keys) if keys else None

    def make(self, notification: NotificationId) -> str:
        return f"{self._local(notification, self._keys[0])}@{self.domain}"

    def verify(self, address: str) -> NotificationId | None:
        """The message that an address of ours names; None for any other address, in constant time for our form."""
        local, _, domain = address.strip().lower().rpartition("@")
        found = _LOCAL.fullmatch(local)
        if found is None or domain != self.domain:
            return None
        notification = NotificationId(UUID(bytes=b32decode(found[1].upper() + "======")))
        # the whole text is compared, so the unused bits at the end of either part cannot be varied
        genuine = [hmac.compare_digest(local, self._local(notification, key)) for key in self._keys]
        return notification if any(genuine) else None

    def _local(self, notification: NotificationId, key: bytes) -> str:
        signed = _VERSION.encode() + notification.bytes + self.domain.encode()
        mac = hmac.digest(key, signed, "sha256")[:8]
        return f"{_VERSION}-{_base32(notification.bytes)}{_base32(mac)}"


def _base32(value: bytes) -> str:
    return b32encode(value).decode().rstrip("=").lower()


def envelope_id(notification: NotificationId) -> str:
    """The `ENVID` of a message, before xtext."""
    return f"n-{notification}"


def read_envelope_id(text: str) -> NotificationId | None:
    found = _ENVELOPE_ID.fullmatch(text.strip().lower())
    return NotificationId(UUID(found[1])) if found else None


def xtext(text: str) -> str:
    """RFC 3461 section 4: `+` and two hex digits for all but printable ASCII without `+` and `=`."""
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        chr(octet) if _PLAIN.fullmatch(chr(octet)) else f"+{octet:02X}" for octet in text.encode("utf-8", "replace")
    )


def xtext_decode(text: str) -> str:
    """Total: a `+` that no two hex digits follow stays."""
    plain = re.sub(rb"\+([0-9A-Fa-f]{2})", lambda found: binascii.unhexlify(found[1]), text.encode("utf-8", "replace"))
    return plain.decode("utf-8", "replace")


def utf8_address_xtext(text: str) -> str:
    r"""RFC 6533 section 3: an address with letters beyond ASCII in ASCII, as `\x{E6}`, for `ORCPT=utf-8;`."""
    return "".join(
        letter if letter.isascii() and _PLAIN.fullmatch(letter) and letter != "\\" else f"\\x{{{ord(letter):X}}}"
        for letter in text
    )
