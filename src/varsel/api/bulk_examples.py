"""Examples of requests and answers about bulk jobs, for the published document."""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5b07"
FILE: Final = "fnr;navn;sak\r\n14838510036;Ingrid;4471\r\n01916012086;Siri;4472\r\n"
RESULT: Final = (
    "line,recipient,fate,why,messages,orderId\r\n"
    "2,14838510036,delivered,,SMS_Delivered,01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a6b\r\n"
    '3,12345,bad,"fnr: This is no national identity number, nor any other that is taken here.",,\r\n'
)
_COUNTS: Final = dict.fromkeys(
    (
        *("new", "bad", "duplicate", "ready", "ordered", "handed", "delivered", "unconfirmed", "failed", "notSent"),
        *("unreachable", "stopped"),
    ),
    0,
)
_DRAFT: Final[Mapping[str, Any]] = {
    "id": _ID,
    "name": "letters.csv",
    "form": "csv",
    "state": "draft",
    "stateSince": "2030-09-02T08:00:00Z",
    "created": "2030-09-02T08:00:00Z",
    "columns": ["fnr", "navn", "sak"],
    "guess": {"recipientColumn": "fnr", "recipientKind": "person"},
    "rows": 10000,
    "checked": 0,
    "toSend": 0,
    "ordered": 0,
    "settled": 0,
    "counts": {**_COUNTS, "new": 10000},
    "problems": [],
    "repeatedLines": [],
}
_READY: Final[Mapping[str, Any]] = {
    **{name: value for name, value in _DRAFT.items() if name != "guess"},
    "state": "ready",
    "stateSince": "2030-09-02T08:00:41Z",
    "checked": 10000,
    "toSend": 9998,
    "counts": {**_COUNTS, "ready": 9998, "bad": 1, "duplicate": 1},
    "summary": {
        "email": 9412,
        "sms": 378,
        "both": 0,
        "reserved": 12,
        "withoutContact": 196,
        "blocked": 0,
        "smsParts": 378,
        "repeated": 1,
        "cost": "113.40",
        "currency": "NOK",
        "unpriced": 9412,
    },
    "problems": [
        {
            "line": 17,
            "column": "fnr",
            "problem": "notAPerson",
            "description": "This is no national identity number, nor any other that is taken here.",
        }
    ],
    "repeatedLines": [204],
}
_SENDING: Final[Mapping[str, Any]] = {
    **_READY,
    "state": "sending",
    "stateSince": "2030-09-02T08:05:00Z",
    "confirmed": "2030-09-02T08:05:00Z",
    "ordered": 5000,
    "settled": 1300,
    "counts": {**_COUNTS, "ready": 4998, "ordered": 3000, "handed": 700, "delivered": 1300, "bad": 1, "duplicate": 1},
}

BULK_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "BulkBody": {
        "a letter each": {
            "recipientColumn": "fnr",
            "recipientKind": "person",
            "channelSchema": "EmailPreferred",
            "emailSettings": {"subject": "Sak {sak}", "body": "Hei {navn}. Du har fått et svar i sak {sak}."},
            "smsSettings": {"body": "Hei {navn}. Du har fått et svar i sak {sak}."},
            "sendersReference": "{sak}",
        },
        "to numbers": {
            "recipientColumn": "mobil",
            "recipientKind": "mobile",
            "channelSchema": "Sms",
            "smsSettings": {"body": "Vannet stenges i dag kl. 12.", "sendingTimePolicy": "Anytime"},
            "duplicates": "send",
        },
    },
    "BulkConfirmBody": {"all that are good": {"rows": 9998, "leaveOutBad": True}},
}
"""By the name of the model, then by a name of the example."""

BULK_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "BulkAnswer": {"uploaded": _DRAFT, "checked": _READY, "under way": _SENDING},
    "BulkList": {
        "one": {
            "count": 1,
            "jobs": [
                {
                    "id": _ID,
                    "name": "letters.csv",
                    "state": "sending",
                    "created": "2030-09-02T08:00:00Z",
                    "rows": 10000,
                }
            ],
        }
    },
}
