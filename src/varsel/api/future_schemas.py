"""Bodies of v2 answers (http-api 13.1, 16)."""

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from pydantic import ConfigDict, RootModel

from varsel.api.bodies import CHUNK
from varsel.api.schemas import Answer, Instant, SmsReceiptAnswer, Warnings, warned
from varsel.domain.ids import ChainId, OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import ORDER_STATE_NAMES, OrderKind, OrderState
from varsel.orders.cancel import BulkCancellation
from varsel.orders.chain_store import Shipment as Part
from varsel.status.feed_store import FeedEntry
from varsel.status.shipment import Shipment

CHAINS = "/notifications/api/v1/orders/chain"  # of Location headers; nothing is served there (O-2)


def chain_url(base: str, chain: ChainId) -> str:
    return f"{base}{CHAINS}/{chain}"


class ChainShipment(Answer):
    """`smsReceipt` is our addition (design 6)."""

    shipment_id: UUID
    senders_reference: str | None = None
    sms_receipt: SmsReceiptAnswer | None = None

    @classmethod
    def of(cls, shipment: Part) -> "ChainShipment":
        return cls(
            shipment_id=shipment.id,
            senders_reference=shipment.reference,
            sms_receipt=SmsReceiptAnswer.of(shipment.sms),
        )


class ChainNotification(ChainShipment):
    """The main order. Without reminders the list is left out, not empty."""

    reminders: tuple[ChainShipment, ...] | None = None


class ChainAccepted(Answer):
    """`contentWarnings` are our addition (channels 6.7)."""

    notification_order_id: UUID
    notification: ChainNotification
    content_warnings: Warnings | None = None

    @classmethod
    def of(cls, chain: ChainId, shipments: Sequence[Part], warnings: Mapping[str, Sequence[str]]) -> "ChainAccepted":
        """`shipments`: the main order first, then the reminders in the order of the request."""
        main, *reminders = [ChainShipment.of(shipment) for shipment in shipments]
        notification = ChainNotification(**dict(main), reminders=tuple(reminders) or None)
        return cls(notification_order_id=chain, notification=notification, content_warnings=warned(warnings))


class ShipmentState(Answer):
    shipment_id: UUID
    status: str

    @classmethod
    def of(cls, order: OrderId, state: OrderState) -> "ShipmentState":
        return cls(shipment_id=order, status=ORDER_STATE_NAMES[state].v2)


class CancelAnswer(Answer):
    """`cancelled` counts orders that are cancelled now, also those that were before.

    `not_cancelled` counts those for which it is too late; `shipments` are the first of them.
    """

    cancelled: int
    not_cancelled: int
    shipments: tuple[ShipmentState, ...]

    @classmethod
    def of(cls, done: BulkCancellation) -> "CancelAnswer":
        kept = tuple(ShipmentState.of(order, state) for order, state in done.kept)
        return cls(cancelled=done.cancelled, not_cancelled=done.not_cancelled, shipments=kept)


class FeedRecipientAnswer(Answer):
    destination: str
    status: str
    last_update: Instant


class ShipmentRecipient(FeedRecipientAnswer):
    type: str


class ShipmentAnswer(Answer):
    shipment_id: UUID
    senders_reference: str | None = None
    type: OrderKind
    status: str
    last_update: Instant
    recipients: tuple[ShipmentRecipient, ...]

    @classmethod
    async def of(cls, shipment: Shipment) -> "ShipmentAnswer":
        """Long lists are converted a part at a time, so that other requests get their turn."""
        recipients: list[ShipmentRecipient] = []
        for part in shipment.parts:
            recipients.append(
                ShipmentRecipient(
                    type="Email" if part.channel is Channel.EMAIL else "SMS",
                    destination=part.destination,
                    status=part.status,
                    last_update=part.at,
                )
            )
            if len(recipients) % CHUNK == 0:
                await asyncio.sleep(0)
        return cls(
            shipment_id=shipment.id,
            senders_reference=shipment.senders_reference,
            type=shipment.kind,
            status=ORDER_STATE_NAMES[shipment.state].v2,
            last_update=shipment.at,
            recipients=tuple(recipients),
        )


class FeedEntryAnswer(Answer):
    """`correction` is ours: this entry corrects the outcome that an earlier one told."""

    sequence_number: int
    shipment_id: UUID
    senders_reference: str | None = None
    recipients: tuple[FeedRecipientAnswer, ...]
    status: str
    last_update: Instant
    shipment_type: OrderKind
    correction: bool | None = None

    @classmethod
    def of(cls, entry: FeedEntry) -> "FeedEntryAnswer":
        return cls(
            sequence_number=entry.seq,
            shipment_id=entry.order,
            senders_reference=entry.senders_reference,
            recipients=tuple(
                FeedRecipientAnswer(destination=r.destination, status=r.status, last_update=r.at)
                for r in entry.recipients
            ),
            status=entry.status,
            last_update=entry.at,
            shipment_type=entry.kind,
            correction=entry.correction or None,
        )


class FeedAnswer(RootModel[tuple[FeedEntryAnswer, ...]]):
    model_config = ConfigDict(frozen=True)

    @classmethod
    async def of(cls, entries: Sequence[FeedEntry]) -> "FeedAnswer":
        answers, converted = [], 0
        for entry in entries:
            answers.append(FeedEntryAnswer.of(entry))
            converted += 1 + len(entry.recipients)
            if converted > CHUNK:
                converted = 0
                await asyncio.sleep(0)
        return cls(tuple(answers))
