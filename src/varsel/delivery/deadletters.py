"""Dead letters as people may see them: reports of a provider, without what may name a person (channels 5.4)."""

from collections.abc import Mapping
from typing import Any, Final

REASONS: Final = frozenset(
    {
        "RETRY_THRESHOLD_EXCEEDED",
        "AMBIGUOUS_REFERENCE",
        "INVALID_NOTIFICATION_IDENTIFIER",
        "UNRECOGNIZED_STATE",
        "INTERNAL_ERROR",
    }
)
# What a provider says of a message, never of a person. Everything else in a report is covered.
_HARMLESS: Final = frozenset(
    {"reference", "state", "status", "error", "errorCode", "done", "time", "deliveryTime", "attemptedAt", "eventType"}
)
_COVER: Final = "•••••"


def covered(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider sent, without anything that may name a person."""
    return {name: value if name in _HARMLESS and _short(value) else _COVER for name, value in payload.items()}


def _short(value: object) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= 100 and "@" not in str(value)
