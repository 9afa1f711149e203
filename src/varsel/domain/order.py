"""An order as the sender gave it. Sources: processing 1.2-1.5, http-api 8 and 12."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

from varsel.domain.ids import ChainId, OrderId


class OrderChannel(StrEnum):
    """The sender's choice of channel (`notificationChannel` in v1, `channelSchema` in v2)."""

    EMAIL = "Email"
    SMS = "Sms"
    EMAIL_PREFERRED = "EmailPreferred"
    SMS_PREFERRED = "SmsPreferred"
    EMAIL_AND_SMS = "EmailAndSms"


class OrderKind(StrEnum):
    NOTIFICATION = "Notification"
    REMINDER = "Reminder"
    INSTANT = "Instant"
    COMPOSED = "Composed"


class OrderFamily(StrEnum):
    """An idempotency id may be used once by a creator in each family (http-api 11)."""

    CHAIN = "chain"
    INSTANT = "instant"
    COMPOSED = "composed"


class OrderState(StrEnum):
    REGISTERED = "Registered"
    PROCESSING = "Processing"
    PROCESSED = "Processed"
    COMPLETED = "Completed"
    SEND_CONDITION_NOT_MET = "SendConditionNotMet"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class OrderStateName:
    """How an order's state is shown: `v1` status, its exact sentence, and `v2` status (http-api 8.3)."""

    v1: str
    v2: str
    description: str


ORDER_STATE_NAMES: Final[dict[OrderState, OrderStateName]] = {
    OrderState.REGISTERED: OrderStateName(
        "Registered",
        "Order_Registered",
        "Order has been registered and is awaiting requested send time before processing.",
    ),
    OrderState.PROCESSING: OrderStateName(
        "Processing", "Order_Processing", "Order processing is ongoing. Notifications are being generated."
    ),
    OrderState.PROCESSED: OrderStateName(
        "Completed",  # v1 was frozen before this state existed
        "Order_Processed",
        "Order processing is done. Notifications have been successfully generated.",
    ),
    OrderState.COMPLETED: OrderStateName(
        "Completed",
        "Order_Completed",
        "Order processing is completed. All notifications have a final status.",
    ),
    OrderState.SEND_CONDITION_NOT_MET: OrderStateName(
        "SendConditionNotMet",
        "Order_SendConditionNotMet",
        "Order processing was stopped due to send condition not being met.",
    ),
    OrderState.CANCELLED: OrderStateName(
        "Cancelled", "Order_Cancelled", "Order processing was stopped due to order being cancelled."
    ),
}


class ContentType(StrEnum):
    PLAIN = "Plain"
    HTML = "Html"


class SendingTime(StrEnum):
    """`sendingTimePolicy`. Absent (v1) means daytime for the window, and 48 hours for the expiry."""

    ANYTIME = "Anytime"
    DAYTIME = "Daytime"


class Lane(IntEnum):
    """Lower lanes are claimed first. Emails with attachments have a sender of their own: fetching takes its time."""

    INSTANT = 0
    ORDINARY = 1
    BULK = 2
    COMPOSED = 3


BULK_FROM_RECIPIENTS: Final = 100


@dataclass(frozen=True, slots=True)
class EmailTemplate:
    """`unsubscribable`: its readers may ask for no more of the kind (channels 6.6)."""

    sender: str
    subject: str
    body: str
    content_type: ContentType = ContentType.PLAIN
    unsubscribable: bool = False


@dataclass(frozen=True, slots=True)
class SmsTemplate:
    sender: str
    body: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient as ordered: an identifier, or direct addresses (kept as given, http-api 7.1, 7.2)."""

    national_identity_number: str | None = None
    organisation_number: str | None = None
    external_identity: str | None = None
    email: str | None = None
    mobile: str | None = None

    @property
    def identifier(self) -> str | None:
        """What a missing contact is reported by (processing 2.2)."""
        return self.organisation_number or self.national_identity_number or self.external_identity


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is fetched when the email is sent. `url` is a secret: never logged, never returned."""

    filename: str
    mime_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What holds a v2 registration together. `request_hash` is of the checked request."""

    id: ChainId
    creator: str
    idempotency_id: str
    family: OrderFamily
    request_hash: bytes
    dialog_id: str | None = None
    transmission_id: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order ready to be stored. Senders are filled in; times are aware UTC."""

    id: OrderId
    creator: str
    kind: OrderKind
    channel: OrderChannel
    created: datetime
    requested_send_time: datetime
    recipients: tuple[Recipient, ...]
    email: EmailTemplate | None = None
    sms: SmsTemplate | None = None
    senders_reference: str | None = None
    sending_time: SendingTime | None = None
    ignore_reservation: bool | None = None
    allow_stale: bool = False
    resource_id: str | None = None
    resource_action: str | None = None
    condition_endpoint: str | None = None
    chain: ChainId | None = None
    attachments: tuple[Attachment, ...] = ()
    fallback_until: datetime | None = None  # who is not reached until then is tried on the other channel, once
    bulk: bool = False  # one of many that were sent together

    @property
    def lane(self) -> Lane:
        if self.kind is OrderKind.INSTANT:
            return Lane.INSTANT
        return Lane.BULK if self.bulk or len(self.recipients) >= BULK_FROM_RECIPIENTS else Lane.ORDINARY
