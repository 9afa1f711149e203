"""The Python client of Varsel: order messages, follow them, read the feed, verify webhooks (docs/client.md).

Imports nothing of the service. `AsyncVarsel` imports aiohttp when it is first named; all else is the standard library.
"""

from typing import TYPE_CHECKING, Any

from varsel.client.answers import (
    Cancellation,
    FeedEntry,
    Message,
    OrderPreview,
    OrderReceipt,
    Preview,
    Shipment,
    ShipmentReceipt,
    SmsReceipt,
)
from varsel.client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LimitReached,
    NobodyReachable,
    NotEnded,
    NotFound,
    Refused,
    Unauthorised,
    Unavailable,
    Unexpected,
    VarselError,
)
from varsel.client.orders import (
    Attachment,
    ComposedEmail,
    DialogportenAssociation,
    EmailSettings,
    InstantEmail,
    InstantSms,
    OrderChain,
    RecipientEmail,
    RecipientExternalIdentity,
    RecipientOrganization,
    RecipientPerson,
    RecipientSms,
    Reminder,
    SmsSettings,
)
from varsel.client.sync import Varsel
from varsel.client.webhooks import NotGenuine, WebhookEvent, read_webhook

if TYPE_CHECKING:
    from varsel.client.aio import AsyncVarsel

__all__ = [
    "AsyncVarsel",
    "Attachment",
    "Cancellation",
    "ComposedEmail",
    "Conflict",
    "DialogportenAssociation",
    "EmailSettings",
    "FeedEntry",
    "Forbidden",
    "InstantEmail",
    "InstantSms",
    "Invalid",
    "LimitReached",
    "Message",
    "NobodyReachable",
    "NotEnded",
    "NotFound",
    "NotGenuine",
    "OrderChain",
    "OrderPreview",
    "OrderReceipt",
    "Preview",
    "RecipientEmail",
    "RecipientExternalIdentity",
    "RecipientOrganization",
    "RecipientPerson",
    "RecipientSms",
    "Refused",
    "Reminder",
    "Shipment",
    "ShipmentReceipt",
    "SmsReceipt",
    "SmsSettings",
    "Unauthorised",
    "Unavailable",
    "Unexpected",
    "Varsel",
    "VarselError",
    "WebhookEvent",
    "read_webhook",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncVarsel":
        from varsel.client.aio import AsyncVarsel  # noqa: PLC0415 - whoever waits needs no aiohttp

        return AsyncVarsel
    raise AttributeError(name)
