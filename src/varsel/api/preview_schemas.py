"""Bodies of previews (design 6): what an order would do, told without doing it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer

from varsel.api.bodies import CHUNK
from varsel.api.schemas import (
    NO_WARNINGS,
    Answer,
    Instant,
    RecipientAnswer,
    RecipientLookup,
    SmsReceiptAnswer,
    Warnings,
    warned,
)
from varsel.domain.notification import Channel
from varsel.domain.order import OrderChannel, OrderKind
from varsel.domain.sms_receipt import receipt_of
from varsel.preview.outcome import WHY, Evidence, Message, OrderPreview, RecipientPreview, Text, Totals, Why

_TYPES = {Channel.EMAIL: "Email", Channel.SMS: "SMS"}  # as in a shipment

Money = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class EvidenceAnswer(Answer):
    """The record that an address comes from, and how old it is when the order is processed.

    `updated`: when its owner last changed or confirmed it, where the register tells. `copied`: when our copy changed,
    or when a live register answered. `standsIn`: the live register is down, and our copy answers instead, for it is the
    creator's wish; `asOf`: when that copy was last as its register, where it follows one.
    """

    registry: str
    source: str | None = None
    organization_number: str | None = None
    updated: Instant | None = None
    age_in_days: int | None = None
    copied: Instant | None = None
    stale: bool | None = None
    stands_in: bool | None = None
    as_of: Instant | None = None

    @classmethod
    def of(cls, evidence: Evidence, at: datetime) -> "EvidenceAnswer":
        return cls(
            registry=evidence.register,
            source=evidence.source,
            organization_number=evidence.owner,
            updated=evidence.fresh_at,
            age_in_days=(at - evidence.fresh_at).days if evidence.fresh_at else None,
            copied=evidence.changed_at,
            stale=evidence.stale or None,
            stands_in=evidence.stands_in or None,
            as_of=evidence.as_of,
        )


class WhyAnswer(Answer):
    """A stable code and a sentence."""

    code: str
    description: str

    @classmethod
    def of(cls, why: Why | None) -> "WhyAnswer | None":
        return cls(code=why, description=WHY[why]) if why else None


class TextAnswer(Answer):
    subject: str | None = None
    body: str

    @classmethod
    def of(cls, text: Text | None) -> "TextAnswer | None":
        return cls(subject=text.subject, body=text.body) if text else None


class MessageAnswer(Answer):
    """One message. `status` is what its notification would get: `Email_New` and `SMS_New` will leave, at `leavesAt`."""

    type: str
    status: str
    destination: str
    why_not: WhyAnswer | None = None
    why_not_preferred: WhyAnswer | None = None
    leaves_at: Instant | None = None
    expires_at: Instant
    address_from: EvidenceAnswer | None = None
    sms: SmsReceiptAnswer | None = None
    cost: Money | None = None
    text: TextAnswer | None = None

    @classmethod
    def of(cls, message: Message, at: datetime) -> "MessageAnswer":
        why = WhyAnswer.of(message.why)
        return cls(
            type=_TYPES[message.channel],
            status=message.name.v2,
            destination=message.address,
            why_not=None if message.leaves else why,
            why_not_preferred=why if message.leaves else None,
            leaves_at=message.leaves_at,
            expires_at=message.expires_at,
            address_from=EvidenceAnswer.of(message.evidence, at) if message.evidence else None,
            sms=SmsReceiptAnswer.of(message.receipt),
            cost=message.cost,
            text=TextAnswer.of(message.text),
        )


class RecipientPreviewAnswer(RecipientAnswer):
    """The recipient as ordered, and every message to it."""

    external_identity: str | None = None
    reached: bool
    messages: tuple[MessageAnswer, ...]

    @classmethod
    def of_preview(cls, preview: RecipientPreview, at: datetime) -> "RecipientPreviewAnswer":
        recipient = preview.recipient
        return cls(
            email_address=recipient.email,
            mobile_number=recipient.mobile,
            organization_number=recipient.organisation_number,
            national_identity_number=recipient.national_identity_number,
            external_identity=recipient.external_identity,
            reached=preview.reached,
            messages=tuple(MessageAnswer.of(message, at) for message in preview.messages),
        )


class CostAnswer(Answer):
    """An estimate by the configured prices. `unpriced` counts messages that no price is known for."""

    currency: str
    amount: Money
    unpriced: int | None = None


class SummaryAnswer(Answer):
    """Over all recipients, also those that are not listed."""

    recipients: int
    reached: int
    emails: int
    sms: int
    sms_parts: int
    cost: CostAnswer | None = None

    @classmethod
    def of(cls, totals: Totals, currency: str) -> "SummaryAnswer":
        cost = None
        if totals.cost is not None:
            cost = CostAnswer(currency=currency, amount=totals.cost, unpriced=totals.unpriced or None)
        return cls(
            recipients=totals.recipients,
            reached=totals.reached,
            emails=totals.emails,
            sms=totals.sms,
            sms_parts=totals.sms_parts,
            cost=cost,
        )


class OrderPreviewAnswer(Answer):
    """What one order would do. Nothing is stored and nothing is sent.

    `recipientLookup` is what the answer to the order would tell now; all else is as of `processedAt`. `conditional`: a
    send condition is asked then, and may stop the order. At most 1 000 recipients are listed, the first 100 with their
    texts; `omitted` counts the others.
    """

    type: OrderKind
    senders_reference: str | None = None
    notification_channel: OrderChannel
    requested_send_time: Instant
    processed_at: Instant
    conditional: bool
    recipient_lookup: RecipientLookup | None = None
    sms_receipt: SmsReceiptAnswer | None = None
    content_warnings: Warnings | None = None
    summary: SummaryAnswer
    recipients: tuple[RecipientPreviewAnswer, ...]
    omitted: int | None = None

    @classmethod
    async def of(
        cls, preview: OrderPreview, currency: str, warnings: Mapping[str, Sequence[str]] = NO_WARNINGS
    ) -> "OrderPreviewAnswer":
        """Long lists are converted a part at a time, so that other requests get their turn."""
        order, recipients = preview.order, []
        for told in preview.recipients:
            recipients.append(RecipientPreviewAnswer.of_preview(told, preview.due_at))
            if len(recipients) % (CHUNK // 10) == 0:
                await asyncio.sleep(0)
        return cls(
            type=order.kind,
            senders_reference=order.senders_reference,
            notification_channel=order.channel,
            requested_send_time=order.requested_send_time,
            processed_at=preview.due_at,
            conditional=order.condition_endpoint is not None,
            recipient_lookup=RecipientLookup.of(preview.lookup) if preview.lookup else None,
            sms_receipt=SmsReceiptAnswer.of(receipt_of(order)),
            content_warnings=warned(warnings),
            summary=SummaryAnswer.of(preview.totals, currency),
            recipients=tuple(recipients),
            omitted=preview.totals.recipients - len(recipients) or None,
        )


class ChainPreviewAnswer(Answer):
    """What an order chain would do. `accepted` false: the order would be answered 422 with `NOT-00001`.

    At most 50 reminders are previewed; `omitted` counts the others.
    """

    accepted: bool
    missing_contact: tuple[str, ...]
    content_warnings: Warnings | None = None
    notification: OrderPreviewAnswer
    reminders: tuple[OrderPreviewAnswer, ...] | None = None
    omitted: int | None = None

    @classmethod
    async def of(
        cls, previews: Sequence[OrderPreview], orders: int, currency: str, warnings: Mapping[str, Sequence[str]]
    ) -> "ChainPreviewAnswer":
        """`previews`: of the main order and the first reminders. `orders`: how many the chain has."""
        main, *reminders = [await OrderPreviewAnswer.of(preview, currency) for preview in previews]
        missing = dict.fromkeys(i for p in previews if p.lookup for i in p.lookup.missing_contact)
        return cls(
            accepted=not missing,
            missing_contact=tuple(missing),
            content_warnings=warned(warnings),
            notification=main,
            reminders=tuple(reminders) or None,
            omitted=orders - len(previews) or None,
        )
