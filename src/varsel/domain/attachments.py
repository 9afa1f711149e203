"""Where attachments of composed emails may lie, and of which kind they may be (http-api 15.1, processing 10.1).

Addresses of attachments are secrets: nothing here puts one into a message.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

VALID_FOR: Final = timedelta(minutes=15)
"""How long after the requested send time an address must still be good."""

_TYPES: Final = """
application/epub+zip application/gzip application/json application/msword application/ogg application/onenote
application/pdf application/rtf application/vnd.ms-excel application/vnd.ms-excel.sheet.binary.macroEnabled.12
application/vnd.ms-excel.sheet.macroEnabled.12 application/vnd.ms-fontobject application/vnd.ms-outlook
application/vnd.ms-powerpoint application/vnd.ms-powerpoint.presentation.macroEnabled.12
application/vnd.ms-powerpoint.slideshow.macroEnabled.12 application/vnd.ms-publisher
application/vnd.ms-word.document.macroEnabled.12
application/vnd.openxmlformats-officedocument.presentationml.presentation
application/vnd.openxmlformats-officedocument.presentationml.slideshow
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet
application/vnd.openxmlformats-officedocument.wordprocessingml.document application/vnd.visio
application/x-7z-compressed application/x-rar-compressed application/x-tar application/xml application/zip
audio/aac audio/midi audio/mpeg audio/ogg audio/opus audio/wav audio/webm audio/x-ms-wma font/otf font/ttf font/woff
font/woff2 image/bmp image/gif image/jpeg image/png image/svg+xml image/tiff image/vnd.microsoft.icon image/webp
text/calendar text/csv text/plain text/xml video/3gpp video/3gpp2 video/mp4 video/mpeg video/ogg video/webm
video/x-ms-wmv video/x-msvideo
"""

MIME_TYPES: Final[Mapping[str, str]] = {name.lower(): name for name in _TYPES.split()}
"""Every type that is allowed, by its name in lower case."""

_NOT_IN_URL: Final = re.compile(r"[\x00-\x20\x7f\\]")
_DURATION: Final = re.compile(r"[0-9]{1,6}")  # a signature of S3 lives for a week at most


@dataclass(frozen=True, slots=True)
class FileStores:
    """Hosts that may be fetched from: a name, or the end of names when it begins with a dot; `:port` for another than
    443. Addresses are signed as Azure or S3 do it, or are what they are.

    `loopback_http`: http to this machine is allowed too, at any port.
    """

    azure: Sequence[str] = (".blob.core.windows.net",)
    s3: Sequence[str] = ()
    plain: Sequence[str] = ()
    loopback_http: bool = False

    def allow(self, url: str) -> bool:
        """Whether the address lies in one of the stores. Asked again when it is fetched."""
        parts = _split(url)
        return parts is not None and self._rejection(parts) is None

    def problems(self, url: str, send_time: datetime) -> list[str]:
        """What is wrong with the address for an email that is to leave then; each check needs those before it."""
        parts = _split(url)
        if parts is None:
            return ["sasUrl must be an absolute https URL."]
        first = self._rejection(parts) or self._unsigned(parts)
        found = [first] if first else []
        if (until := expiry(url)) and until < send_time + VALID_FOR:
            found.append("sasUrl must be valid for at least 15 minutes after the requested send time.")
        return found

    def _rejection(self, parts: SplitResult) -> str | None:
        if parts.scheme == "http" and self.loopback_http and _is_loopback(parts.hostname or ""):
            return None
        if parts.scheme != "https" or not parts.hostname:
            return "sasUrl must be an absolute https URL."
        if "@" in parts.netloc or not any(_matches(parts, host) for host in (*self.azure, *self.s3, *self.plain)):
            return "sasUrl must lie in a store that this service fetches from."
        return None

    def _unsigned(self, parts: SplitResult) -> str | None:
        query = _query(parts)
        if any(_matches(parts, host) for host in self.azure):
            return _unsigned_azure(query)
        if any(_matches(parts, host) for host in self.s3):
            return _unsigned_s3(query)
        return None


def _unsigned_azure(query: Mapping[str, str]) -> str | None:
    if not all(query.get(name, "").strip() for name in ("se", "sp", "sig")) or query.get("sr", "").lower() != "b":
        return "sasUrl must have the query parameters se, sp and sig, and sr=b."
    if _azure_expiry(query) is None:
        return "sasUrl must say in se until when it is valid."
    if "r" not in query["sp"]:
        return "sasUrl must permit reading: sp must contain r."
    return None


def _unsigned_s3(query: Mapping[str, str]) -> str | None:
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires")
    if not all(query.get(name, "").strip() for name in names):
        return f"sasUrl must have the query parameters {', '.join(names)}."
    if _s3_expiry(query) is None:
        return "sasUrl must say in X-Amz-Date and X-Amz-Expires until when it is valid."
    return None


def expiry(url: str) -> datetime | None:
    """Until when the address is good, if it says so."""
    parts = _split(url)
    if parts is None:
        return None
    query = _query(parts)
    return _azure_expiry(query) or _s3_expiry(query)


def _azure_expiry(query: Mapping[str, str]) -> datetime | None:
    """A date or a date-time; without a zone it is UTC."""
    try:
        until = datetime.fromisoformat(query.get("se", "").strip())
        return until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _s3_expiry(query: Mapping[str, str]) -> datetime | None:
    seconds = query.get("X-Amz-Expires", "")
    try:
        signed = datetime.strptime(query.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return signed + timedelta(seconds=int(seconds)) if _DURATION.fullmatch(seconds) else None
    except (ValueError, OverflowError):
        return None


def _split(url: str) -> SplitResult | None:
    """None when it is no address at all."""
    if _NOT_IN_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts


def _query(parts: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def _matches(parts: SplitResult, host: str) -> bool:
    name, _, port = host.lower().partition(":")
    found = parts.hostname or ""
    if (parts.port or 443) != int(port or 443):
        return False
    return found.endswith(name) and len(found) > len(name) if name.startswith(".") else found == name


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def valid_filename(name: str) -> bool:
    """Without a path, and with an extension."""
    return "/" not in name and "\\" not in name and bool(name.rpartition(".")[2]) and "." in name
