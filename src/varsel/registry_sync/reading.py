"""Members of a register's records become values, or say why not (registries 2.2, 2.5, 9). Nothing is repaired."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_ADDRESS: Final = 400
MAX_PAYLOAD: Final = 64 * 1024  # characters of ASCII
_NOT_TEXT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_FUTURE: Final = timedelta(days=1)

Members = Mapping[str, object]
"""A JSON object."""


class Unreadable(Exception):
    """A record that cannot be taken. `reason` is stable and holds nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that is set aside, with its place in the page. `payload`: None when it is too long to be kept."""

    upstream_id: str
    reason: str
    payload: str | None
    ordinal: int


@dataclass(slots=True)
class Reader:
    """What reading one page must know, and what it noticed. `now` is machine time."""

    now: datetime
    synthetic_only: bool
    oddities: Counter[str] = field(default_factory=Counter)

    def instant(self, value: object) -> datetime | None:
        """ISO 8601 in any of its spellings; without an offset it is UTC. Taken also when it lies ahead."""
        given = text(value, 64)
        if given is None:
            return None
        try:
            read = datetime.fromisoformat(given)
            if read.tzinfo is None:
                self.oddities["time_without_offset"] += 1
                read = read.replace(tzinfo=UTC)
            read = read.astimezone(UTC)
        except (ValueError, OverflowError):
            raise Unreadable("bad_time") from None
        if read > self.now + _FUTURE:
            self.oddities["time_ahead"] += 1
        return read


def members(value: object) -> Members:
    """A JSON object; absent and null have no members."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable("bad_shape")
    return value


def text(value: object, limit: int) -> str | None:
    """Trimmed; blank is absent."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable("bad_shape")
    value = value.strip()
    if len(value) > limit:
        raise Unreadable("too_long")
    if _NOT_TEXT.search(value):
        raise Unreadable("characters")
    return value or None


def parse(payload: str) -> object:
    """What was set aside, as it came. Raises `Unreadable`."""
    try:
        value: object = json.loads(payload)
    except (ValueError, RecursionError):
        raise Unreadable("not_json") from None
    return value


def poison(record: object, ordinal: int, reason: str, upstream_id: str | None = None) -> Poison:
    """`upstream_id`: None for a record that names nobody; then what it says stands for it."""
    payload = json.dumps(record)  # in ASCII: the database takes neither NUL nor half a surrogate pair
    return Poison(
        upstream_id or f"sha256:{hashlib.sha256(payload.encode()).hexdigest()}",
        reason,
        payload if len(payload) <= MAX_PAYLOAD else None,
        ordinal,
    )
