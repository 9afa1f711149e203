"""Examples of answers, for the published document: what becomes of the examples of requests."""

from collections.abc import Mapping
from typing import Any, Final

from varsel.api.body_examples import DIALOG, EMAIL_TEMPLATE, PERSON
from varsel.api.problems import altinn, generic

_ORDER: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a6b"
_CHAIN: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a01"
_REMINDER: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a02"
_MESSAGE: Final = "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a03"
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
_V1: Final = "http://localhost:5090/notifications/api/v1"
_URL: Final = f"{_V1}/orders/{_ORDER}"

_HEAD: Final[Mapping[str, Any]] = {
    "id": _ORDER,
    "sendersReference": "case-17",
    "requestedSendTime": "2030-09-02T08:00:00Z",
    "creator": "ttd",
    "created": "2030-08-30T11:02:13.447128Z",
    "notificationChannel": "EmailPreferred",
    "resourceId": "app_ttd_permits",
}
_RECEIPT: Final[Mapping[str, Any]] = {"alphabet": "GSM-7", "characters": 26, "parts": 1, "unfilled": False}
_ORDER_ANSWER: Final[Mapping[str, Any]] = {
    **_HEAD,
    "recipients": [{"nationalIdentityNumber": PERSON}, {"emailAddress": "kari.nordmann@example.com"}],
    "emailTemplate": {"fromAddress": "noreply@example.com", **EMAIL_TEMPLATE},
    "smsTemplate": {"senderNumber": "Fjordvik", "body": "Hello $recipientName$, you have a letter."},
    "links": {"self": _URL, "status": f"{_URL}/status"},
}
_EMAIL_NOTIFICATION: Final = {
    "id": _MESSAGE,
    "succeeded": True,
    "recipient": {"emailAddress": "rolig.fjord@example.com", "nationalIdentityNumber": PERSON},
    "sendStatus": {
        "status": "Delivered",
        "description": "The email was delivered to the recipient. No errors reported, making it likely it was received"
        " by the recipient.",
        "lastUpdate": "2030-09-02T08:00:10.77Z",
    },
}
_PREVIEW: Final = {
    "type": "Notification",
    "sendersReference": "case-17",
    "notificationChannel": "EmailPreferred",
    "requestedSendTime": "2030-09-02T08:00:00Z",
    "processedAt": "2030-09-02T08:00:00Z",
    "conditional": False,
    "recipientLookup": {"status": "Success", "isReserved": [], "missingContact": []},
    "summary": {"recipients": 1, "reached": 1, "emails": 1, "sms": 0, "smsParts": 0},
    "recipients": [
        {
            "nationalIdentityNumber": PERSON,
            "reached": True,
            "messages": [
                {
                    "type": "Email",
                    "status": "Email_New",
                    "destination": "rolig.fjord@example.com",
                    "leavesAt": "2030-09-02T08:00:00Z",
                    "expiresAt": "2030-09-04T08:00:00Z",
                    "addressFrom": {"registry": "persons", "updated": "2030-06-01T08:00:00Z", "ageInDays": 93},
                    "text": {"subject": "New letter", "body": "<p>Hello Rolig Fjord.</p>"},
                }
            ],
        }
    ],
}

ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "OrderAccepted": {
        "somebody is not reached": {
            "orderId": _ORDER,
            "recipientLookup": {"status": "PartialSuccess", "isReserved": [], "missingContact": ["310001058"]},
            "smsReceipt": {**_RECEIPT, "unfilled": True},
        }
    },
    "OrderAnswer": {"an order": _ORDER_ANSWER},
    "OrderList": {"one order": {"count": 1, "orders": [_ORDER_ANSWER]}},
    "OrderStatusAnswer": {
        "done": {
            **_HEAD,
            "processingStatus": {
                "status": "Completed",
                "description": "Order processing is completed. All notifications have a final status.",
                "lastUpdate": "2030-09-02T08:00:10.77Z",
            },
            "notificationsStatusSummary": {
                "email": {"links": {"self": f"{_URL}/notifications/email"}, "generated": 1, "succeeded": 1}
            },
        }
    },
    "NotificationsAnswer": {
        "one email": {
            "orderId": _ORDER,
            "sendersReference": "case-17",
            "generated": 1,
            "succeeded": 1,
            "notifications": [_EMAIL_NOTIFICATION],
        }
    },
    "ChainAccepted": {
        "an order": {
            "notificationOrderId": _CHAIN,
            "notification": {
                "shipmentId": _ORDER,
                "sendersReference": "letter-114",
                "smsReceipt": _RECEIPT,
                "reminders": [{"shipmentId": _REMINDER, "sendersReference": "letter-114-again"}],
            },
        }
    },
    "OverLimitProblem": {
        "a day's limit": {
            "type": "https://tools.ietf.org/html/rfc6585#section-4",
            "title": "Too Many Requests",
            "status": 429,
            "detail": "The limit smsRecipientsPerDay is 1000000: 1 are asked for, and 0 are left.",
            "limitName": "smsRecipientsPerDay",
            "limit": 1_000_000,
            "resetTime": "2030-09-02T22:00:00Z",
            "traceId": _TRACE,
        }
    },
    "CancelAnswer": {
        "one too late": {
            "cancelled": 2,
            "notCancelled": 1,
            "shipments": [{"shipmentId": _ORDER, "status": "Order_Completed"}],
        }
    },
    "ShipmentAnswer": {
        "under way": {
            "shipmentId": _ORDER,
            "sendersReference": "letter-114",
            "type": "Notification",
            "status": "Order_Processed",
            "lastUpdate": "2030-09-02T08:00:00.55Z",
            "recipients": [
                {
                    "type": "Email",
                    "destination": "rolig.fjord@example.com",
                    "status": "Email_Succeeded",
                    "lastUpdate": "2030-09-02T08:00:03.1Z",
                }
            ],
        }
    },
    "FeedAnswer": {
        "one order": [
            {
                "sequenceNumber": 1523,
                "shipmentId": _ORDER,
                "sendersReference": "letter-114",
                "recipients": [
                    {
                        "destination": "rolig.fjord@example.com",
                        "status": "Email_Delivered",
                        "lastUpdate": "2030-09-02T08:00:10.77Z",
                    }
                ],
                "status": "Order_Completed",
                "lastUpdate": "2030-09-02T08:00:10.77Z",
                "shipmentType": "Notification",
            }
        ]
    },
    "OrderPreviewAnswer": {"reached": _PREVIEW},
    "ChainPreviewAnswer": {"reached": {"accepted": True, "missingContact": [], "notification": _PREVIEW}},
    "Explanation": {
        "delivered at the second try": {
            "shipmentId": _ORDER,
            "sendersReference": "letter-114",
            "type": "Notification",
            "status": "Order_Completed",
            "description": "Order processing is completed. All notifications have a final status.",
            "notificationChannel": "EmailPreferred",
            "requestedSendTime": "2030-09-02T08:00:00Z",
            "notifications": [
                {
                    "notificationId": _MESSAGE,
                    "type": "Email",
                    "destination": "rolig.fjord@example.com",
                    "status": "Email_Delivered",
                    "description": "The email was delivered to the recipient. No errors reported, making it likely it"
                    " was received by the recipient.",
                    "lastUpdate": "2030-09-02T08:00:10.77Z",
                    "attempts": 2,
                }
            ],
            "story": [
                {
                    "at": "2030-09-02T08:00:10.77Z",
                    "kind": "report.applied",
                    "code": "Delivered",
                    "notificationId": _MESSAGE,
                    "provider": "mail",
                    "text": "The provider reported that the message has arrived.",
                }
            ],
            "ahead": [],
        }
    },
    "SupportAnswer": {
        "one email": [
            {
                "shipmentId": _ORDER,
                "creatorName": "ttd",
                "sendersReference": "letter-114",
                "requestedSendTime": "2030-09-02T08:00:00Z",
                "notificationChannel": "EmailPreferred",
                "notificationType": "Notification",
                "deliveryAttempts": [
                    {
                        "nationalIdentityNumber": PERSON,
                        "channel": "email",
                        "emailAddress": "rolig.fjord@example.com",
                        "result": "Delivered",
                        "resultTime": "2030-09-02T08:00:10.77Z",
                    }
                ],
            }
        ]
    },
    "LogAnswer": {
        "one email": [
            {
                "notificationOrderId": _CHAIN,
                "shipmentId": _ORDER,
                "notificationId": _MESSAGE,
                "sendersReference": "letter-114",
                "dialogId": DIALOG,
                "deliveryReference": "<01a2b3c4@example.com>",
                "recipient": PERSON,
                "type": "Notification",
                "channel": "Email",
                "destination": "rolig.fjord@example.com",
                "status": "Delivered",
                "requestedSendTime": "2030-09-02T08:00:00Z",
                "lastUpdate": "2030-09-02T08:00:10.77Z",
            }
        ]
    },
}
"""By the name of the model, then by a name of the example."""

PROBLEMS: Final[Mapping[int, Mapping[str, Any]]] = {
    400: {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        "title": "One or more validation errors occurred.",
        "status": 400,
        "errors": {"Recipients[0].EmailAddress": ["The value is not a valid email address."]},
        "traceId": _TRACE,
    },
    202: {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.3.3",
        "title": "Accepted",
        "status": 202,
        "detail": "The register has the change; our own copy will show it when the register tells of it.",
        "traceId": _TRACE,
    },
    **{status: {**(generic(status).problem or {}), "traceId": _TRACE} for status in (404, 409, 413, 415, 500, 502)},
    422: {**(altinn("NOT-00001").problem or {}), "traceId": _TRACE},
    503: {**(altinn("NOT-00004").problem or {}), "traceId": _TRACE},
}
"""By status. A shipment that is not found is `NOT-00003` instead."""
