"""What the API answers (docs/chains.md, docs/previews.md). Unknown properties do no harm: `raw` has all that came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

ENDED: Final = frozenset({"Order_Completed", "Order_Cancelled", "Order_SendConditionNotMet"})
_ARRIVED: Final = frozenset({"Email_Delivered", "SMS_Delivered"})

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsReceipt:
    """What an SMS text costs. While it is `unfilled`, keywords stand in it that make it longer or shorter."""

    alphabet: str
    characters: int
    parts: int
    unfilled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentReceipt:
    shipment_id: UUID
    senders_reference: str | None = None
    sms_receipt: SmsReceipt | None = None
    reminders: tuple["ShipmentReceipt", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReceipt:
    """It is stored. `idempotency_id`: the one that it was ordered with. `created`: False when it was there before."""

    notification_order_id: UUID
    notification: ShipmentReceipt
    content_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    idempotency_id: str = ""
    created: bool = True
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @property
    def shipment_id(self) -> UUID:
        """Of the main order."""
        return self.notification.shipment_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a shipment, as it stands. `destination` is empty when nobody could be reached, or is not told."""

    destination: str = field(default="", repr=False)
    status: str
    last_update: datetime
    type: str | None = None  # not told in the feed

    @property
    def arrived(self) -> bool:
        """Somebody has reported it. What nobody confirms stays `Email_Succeeded` or `SMS_Accepted`."""
        return self.status in _ARRIVED

    @property
    def failed(self) -> bool:
        return "_Failed" in self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """One order, and each of its messages."""

    shipment_id: UUID
    type: str
    status: str
    last_update: datetime
    recipients: tuple[Message, ...]
    senders_reference: str | None = None
    raw: Raw = field(default_factory=dict, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        """Every message has its fate, or none will leave. Late evidence may still correct it."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """An order that has ended; or, with `correction`, evidence that came later. Keep its `sequence_number`."""

    sequence_number: int
    shipment_id: UUID
    status: str
    last_update: datetime
    shipment_type: str
    recipients: tuple[Message, ...]
    senders_reference: str | None = None
    correction: bool = False
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptShipment:
    shipment_id: UUID
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """How many orders are cancelled now, also those that were before; the first of those for which it was too late."""

    cancelled: int
    not_cancelled: int
    shipments: tuple[KeptShipment, ...] = ()
    raw: Raw = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    code: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    body: str
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedMessage:
    """`leaves_at` is None, and `why_not` says why, when it would not leave."""

    type: str
    status: str
    destination: str = field(repr=False)
    expires_at: datetime
    leaves_at: datetime | None = None
    why_not: Why | None = None
    why_not_preferred: Why | None = None
    sms: SmsReceipt | None = None
    cost: float | None = None
    text: Text | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedRecipient:
    reached: bool
    messages: tuple[PreviewedMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    recipients: int
    reached: int
    emails: int
    sms: int
    sms_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPreview:
    """What one order of a chain would do at `processed_at`. `conditional`: its condition may still stop it."""

    type: str
    notification_channel: str
    requested_send_time: datetime
    processed_at: datetime
    conditional: bool
    summary: Totals
    recipients: tuple[PreviewedRecipient, ...]
    senders_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an order chain would do. `accepted` False: it would be refused, because of those in `missing_contact`."""

    accepted: bool
    missing_contact: tuple[str, ...] = field(repr=False)
    notification: OrderPreview
    reminders: tuple[OrderPreview, ...] = ()
    content_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw: Raw = field(default_factory=dict, repr=False, compare=False)
