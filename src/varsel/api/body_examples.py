"""Examples of requests, for the published document. They hold in the sandbox, whose people they name."""

from collections.abc import Mapping
from typing import Any, Final

PERSON: Final = "14838510036"  # has both addresses
ORGANISATION: Final = "310001007"
DIALOG: Final = "0197f2f0-3d5b-7c1a-9a55-2f8f1f0c9c11"

EMAIL_TEMPLATE: Final[Mapping[str, Any]] = {
    "subject": "New letter",
    "body": "<p>Hello $recipientName$.</p>",
    "contentType": "Html",
}
_EMAIL_SETTINGS: Final[Mapping[str, Any]] = {"subject": "New letter", "body": "You have a letter from us."}
_SMS_SETTINGS: Final[Mapping[str, Any]] = {"sender": "Fjordvik", "body": "You have a letter from us."}

BODIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "OrderBody": {
        "preferred channel": {
            "sendersReference": "case-17",
            "notificationChannel": "EmailPreferred",
            "requestedSendTime": "2030-09-02T10:00:00+02:00",
            "resourceId": "app_ttd_permits",
            "recipients": [
                {"nationalIdentityNumber": PERSON},
                {"organizationNumber": ORGANISATION},
                {"emailAddress": "kari.nordmann@example.com", "mobileNumber": "+4799999500"},
            ],
            "emailTemplate": EMAIL_TEMPLATE,
            "smsTemplate": {"senderNumber": "Fjordvik", "body": "Hello $recipientName$, you have a letter."},
        },
        "with a condition": {
            "notificationChannel": "Sms",
            "requestedSendTime": "2030-09-02T10:00:00+02:00",
            "conditionEndpoint": "https://cases.example.com/unread?case=17",
            "ignoreReservation": True,
            "recipients": [{"nationalIdentityNumber": PERSON}],
            "smsTemplate": {"body": "You have a letter."},
        },
    },
    "EmailOrderBody": {
        "an address": {
            "subject": "Receipt",
            "body": "We have received your application.",
            "contentType": "Plain",
            "sendersReference": "case-17",
            "recipients": [{"emailAddress": "kari.nordmann@example.com"}],
        }
    },
    "SmsOrderBody": {
        "a person": {
            "body": "We have received your application.",
            "senderNumber": "Fjordvik",
            "recipients": [{"nationalIdentityNumber": PERSON}, {"mobileNumber": "+4799999500"}],
        }
    },
    "ChainBody": {
        "a person, with a reminder": {
            "idempotencyId": "letter-114",
            "sendersReference": "letter-114",
            "requestedSendTime": "2030-09-02T10:00:00+02:00",
            "dialogportenAssociation": {"dialogId": DIALOG},
            "recipient": {
                "recipientPerson": {
                    "nationalIdentityNumber": PERSON,
                    "resourceId": "urn:altinn:resource:ttd-letters",
                    "channelSchema": "EmailPreferred",
                    "fallbackOnFailure": True,
                    "emailSettings": _EMAIL_SETTINGS,
                    "smsSettings": _SMS_SETTINGS,
                }
            },
            "reminders": [
                {
                    "delayDays": 7,
                    "sendersReference": "letter-114-again",
                    "conditionEndpoint": "https://cases.example.com/unread?letter=114",
                    "recipient": {
                        "recipientSms": {"phoneNumber": "+4799999500", "smsSettings": {"body": "Please read it."}}
                    },
                }
            ],
        },
        "an organisation": {
            "idempotencyId": "letter-115",
            "recipient": {
                "recipientOrganization": {
                    "orgNumber": ORGANISATION,
                    "channelSchema": "Email",
                    "emailSettings": _EMAIL_SETTINGS,
                }
            },
        },
        "an email address": {
            "idempotencyId": "letter-116",
            "recipient": {
                "recipientEmail": {"emailAddress": "kari.nordmann@example.com", "emailSettings": _EMAIL_SETTINGS}
            },
        },
        "a user": {
            "idempotencyId": "letter-117",
            "recipient": {
                "recipientExternalIdentity": {
                    "externalIdentity": "urn:altinn:person:idporten-email:guest%40example.test",
                    "channelSchema": "Email",
                    "emailSettings": _EMAIL_SETTINGS,
                }
            },
        },
    },
    "InstantSmsOrderBody": {
        "a code": {
            "idempotencyId": "login-991",
            "sendersReference": "login",
            "recipientSms": {
                "phoneNumber": "+4799999500",
                "timeToLiveInSeconds": 300,
                "smsSettings": {"sender": "Fjordvik", "body": "Your code is 123456."},
            },
        }
    },
    "InstantEmailOrderBody": {
        "a code": {
            "idempotencyId": "login-992",
            "recipientEmail": {
                "emailAddress": "kari.nordmann@example.com",
                "emailSettings": {"subject": "Your code", "body": "Your code is 123456."},
            },
        }
    },
    "InstantOrderBody": {
        "a code": {
            "idempotencyId": "login-993",
            "recipient": {
                "recipientSms": {
                    "phoneNumber": "+4799999500",
                    "timeToLiveInSeconds": 300,
                    "smsSettings": {"body": "Your code is 123456."},
                }
            },
        }
    },
    "ComposedEmailBody": {
        "an attachment": {
            "idempotencyId": "decision-558",
            "sendersReference": "decision-558",
            "requestedSendTime": "2030-09-02T10:00:00Z",
            "recipient": {
                "emailAddress": "kari.nordmann@example.com",
                "emailSettings": {
                    "subject": "Decision 558",
                    "body": "The decision is attached.",
                    "attachments": [
                        {
                            "filename": "decision-558.pdf",
                            "mimeType": "application/pdf",
                            "sasUrl": "https://fjordvik.blob.core.windows.net/out/decision-558.pdf"
                            "?se=2030-09-03T10%3A00%3A00Z&sp=r&sr=b&sig=c2lnbmF0dXJl",
                        }
                    ],
                },
            },
        }
    },
}
"""By the name of the model, then by a name of the example."""
