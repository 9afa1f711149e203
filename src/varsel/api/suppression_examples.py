"""Examples of the suppression list, for the published document."""

from collections.abc import Mapping
from typing import Any, Final

_ENTRY: Final = {
    "id": "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a21",
    "channel": "Email",
    "address": "ka***@example.com",
    "scope": "creator",
    "creator": "ttd",
    "reason": "manual",
    "source": "creator ttd",
    "created": "2030-08-30T11:02:13.447128Z",
    "expires": "2031-08-30T11:02:13Z",
    "hits": 0,
}
_BOUNCED: Final = {
    "id": "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a22",
    "channel": "Email",
    "address": "ol***@example.com",
    "scope": "global",
    "reason": "hard_bounce",
    "source": "report of relay, event 01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a23",
    "created": "2030-08-30T11:02:13.447128Z",
    "expires": "2030-09-29T11:02:13.447128Z",
    "hits": 2,
    "lastHit": "2030-09-02T08:00:10.77Z",
}

SUPPRESSION_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "SuppressedAddressBody": {"a number": {"mobileNumber": "+4799999500"}},
    "SuppressionBody": {
        "for a while": {"emailAddress": "kari.nordmann@example.com", "expires": "2040-01-01T00:00:00Z"}
    },
}
SUPPRESSION_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "SuppressionAnswer": {"an entry": _ENTRY},
    "SuppressionList": {"two of them": {"suppressions": [_BOUNCED, _ENTRY]}},
}
