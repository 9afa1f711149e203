"""Examples of requests and answers about webhooks, for the published document."""

from collections.abc import Mapping
from typing import Any, Final

_ID: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a04"
_ORDER: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a6b"
_SECRET: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # noqa: S105 - of nobody
_BODY: Final[Mapping[str, Any]] = {
    "url": "https://cases.example.com/varsel",
    "events": ["order.completed.v1", "notification.correction.v1"],
    "description": "the case system",
}
_WEBHOOK: Final[Mapping[str, Any]] = {
    "id": _ID,
    **_BODY,
    "includeDestinations": False,
    "state": "active",
    "stateSince": "2030-09-02T08:00:01.2Z",
    "created": "2030-09-02T08:00:00Z",
    "lastSequence": 1523,
    "waiting": 0,
    "failures": 0,
    "lastSuccess": "2030-09-02T08:00:12.04Z",
}
_FAILING: Final[Mapping[str, Any]] = {
    **_WEBHOOK,
    "state": "paused",
    "stateReason": "failing",
    "stateSince": "2030-09-03T08:00:11Z",
    "waiting": 1,
    "failures": 28,
}
_PENDING: Final[Mapping[str, Any]] = {
    **{name: value for name, value in _WEBHOOK.items() if name != "lastSuccess"},
    "state": "pending",
    "stateSince": "2030-09-02T08:00:00Z",
}

WEBHOOK_BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "WebhookBody": {
        "outcomes": _BODY,
        "everything": {
            "url": "https://cases.example.com/varsel?tenant=17",
            "events": ["order.completed.v1", "notification.correction.v1", "notification.complaint.v1"],
            "includeDestinations": True,
        },
    },
    "ReplayBody": {"from a number on": {"fromSequence": 1}},
}
"""By the name of the model, then by a name of the example."""

WEBHOOK_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "WebhookSecretAnswer": {"a new one": {**_PENDING, "secret": _SECRET}},
    "WebhookAnswer": {"active": _WEBHOOK, "its receiver failed for a day": _FAILING},
    "WebhookList": {"one": {"count": 1, "webhooks": [_WEBHOOK]}},
    "DeliveryList": {
        "one of each kind": {
            "count": 3,
            "deliveries": [
                {
                    "eventId": "01a2b3c4-d5e6-5f80-9a0b-1c2d3e4f5a11",
                    "event": "order.completed.v1",
                    "sequenceNumber": 1524,
                    "shipmentId": _ORDER,
                    "state": "waiting",
                    "attempts": 2,
                    "happened": "2030-09-02T08:00:10.77Z",
                    "lastAttempt": "2030-09-02T08:00:17.2Z",
                    "nextAttempt": "2030-09-02T08:00:48Z",
                    "statusCode": 503,
                    "milliseconds": 31,
                },
                {
                    "eventId": "01a2b3c4-d5e6-5f80-9a0b-1c2d3e4f5a12",
                    "event": "order.completed.v1",
                    "sequenceNumber": 1523,
                    "shipmentId": "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a02",
                    "state": "delivered",
                    "attempts": 1,
                    "happened": "2030-09-02T08:00:10.7Z",
                    "lastAttempt": "2030-09-02T08:00:10.9Z",
                    "statusCode": 204,
                    "milliseconds": 24,
                },
                {
                    "eventId": "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a13",
                    "event": "ping.v1",
                    "state": "failed",
                    "attempts": 27,
                    "happened": "2030-08-30T08:00:00Z",
                    "lastAttempt": "2030-08-31T08:00:00Z",
                    "detail": "no answer in time",
                    "milliseconds": 15002,
                },
            ],
        }
    },
}
"""As `WEBHOOK_BODIES`."""
