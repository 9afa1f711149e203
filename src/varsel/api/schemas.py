"""Bodies of answers (http-api 12). Null properties are left out; date-times are UTC with a `Z` (section 4)."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from varsel.api.bodies import CHUNK
from varsel.api.problems import MEDIA_TYPE
from varsel.domain.content import CAUTIONS, Caution
from varsel.domain.ids import OrderId
from varsel.domain.order import ContentType, EmailTemplate, Order, OrderChannel, Recipient, SmsTemplate
from varsel.domain.sms_receipt import SmsReceipt, receipt_of
from varsel.orders.register import Registration
from varsel.recipients.lookup import LookupSummary
from varsel.status.summary import Count, OrderDetails, OrderHead, OrderStatus, Outcome, Outcomes

_ORDERS = "/notifications/api/v1/orders"


def format_instant(instant: datetime) -> str:
    """`2026-03-04T09:15:00.123456Z`, without trailing zeros of the fraction."""
    text = instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text.rstrip('0').rstrip('.')}Z"


def order_url(base: str, order: OrderId) -> str:
    return f"{base}{_ORDERS}/{order}"


Instant = Annotated[
    datetime,
    PlainSerializer(format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"}, mode="serialization"),
]


def respond(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = body.__pydantic_serializer__.to_json(body, by_alias=True, exclude_none=True)
    return Response(content, status, headers, MEDIA_TYPE)


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True)

    def response(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return respond(self, status, headers)


class ReplacedCharacter(Answer):
    """`sentAs` is empty when the character is left out."""

    character: str
    sent_as: str
    count: int


NO_WARNINGS: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def warned(warnings: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]] | None:
    """None when there are none."""
    return {path: tuple(messages) for path, messages in warnings.items()} or None


class CautionAnswer(Answer):
    """What the text should not say. `code` is a stable vocabulary; `description` may change."""

    code: Caution
    description: str

    @classmethod
    def of(cls, caution: Caution) -> "CautionAnswer":
        return cls(code=caution, description=CAUTIONS[caution])


class SmsReceiptAnswer(Answer):
    """Of the text as it stands in the order.

    While `unfilled`, keywords stand in it, whose values will make it shorter or longer: a preview counts those too.
    `warnings` hinder nothing.
    """

    alphabet: str
    characters: int
    parts: int
    unfilled: bool
    characters_beyond_gsm7: tuple[str, ...] | None = None
    replaced_characters: tuple[ReplacedCharacter, ...] | None = None
    warnings: tuple[CautionAnswer, ...] | None = None

    @classmethod
    def of(cls, receipt: SmsReceipt | None) -> "SmsReceiptAnswer | None":
        if receipt is None:
            return None
        replaced = tuple(
            ReplacedCharacter(character=r.written, sent_as=r.sent, count=r.count) for r in receipt.replaced
        )
        return cls(
            alphabet=receipt.alphabet,
            characters=receipt.characters,
            parts=receipt.parts,
            unfilled=receipt.unfilled,
            characters_beyond_gsm7=receipt.beyond_gsm_7 or None,
            replaced_characters=replaced or None,
            warnings=tuple(map(CautionAnswer.of, receipt.cautions)) or None,
        )


class RecipientLookup(Answer):
    status: str
    is_reserved: tuple[str, ...]
    missing_contact: tuple[str, ...]

    @classmethod
    def of(cls, lookup: LookupSummary) -> "RecipientLookup":
        return cls(status=lookup.status, is_reserved=lookup.is_reserved, missing_contact=lookup.missing_contact)


Warnings = Annotated[
    dict[str, tuple[str, ...]],
    Field(description="What the creator's rules on content only warn of, by the path of the property."),
]


class OrderAccepted(Answer):
    """`smsReceipt` and `contentWarnings` are our additions (design 6; channels 6.7)."""

    order_id: UUID
    recipient_lookup: RecipientLookup | None = None
    sms_receipt: SmsReceiptAnswer | None = None
    content_warnings: Warnings | None = None

    @classmethod
    def of(
        cls, registration: Registration, order: Order, warnings: Mapping[str, Sequence[str]] = NO_WARNINGS
    ) -> "OrderAccepted":
        return cls(
            order_id=registration.order_id,
            recipient_lookup=RecipientLookup.of(registration.lookup) if registration.lookup else None,
            sms_receipt=SmsReceiptAnswer.of(receipt_of(order)),
            content_warnings=warned(warnings),
        )


class OrderHeadAnswer(Answer):
    id: UUID
    senders_reference: str | None = None
    requested_send_time: Instant
    creator: str
    created: Instant
    notification_channel: OrderChannel
    ignore_reservation: bool | None = None
    resource_id: str | None = None
    resource_action: str | None = None
    condition_endpoint: str | None = None


def _head(head: OrderHead) -> dict[str, Any]:
    return {
        "id": head.id,
        "senders_reference": head.senders_reference,
        "requested_send_time": head.requested_send_time,
        "creator": head.creator,
        "created": head.created,
        "notification_channel": head.channel,
        "ignore_reservation": head.ignore_reservation,
        "resource_id": head.resource_id,
        "resource_action": head.resource_action,
        "condition_endpoint": head.condition_endpoint,
    }


class RecipientAnswer(Answer):
    """An external identity shows as an empty object (http-api 12.4)."""

    email_address: str | None = None
    mobile_number: str | None = None
    organization_number: str | None = None
    national_identity_number: str | None = None

    @classmethod
    def of(cls, recipient: Recipient) -> "RecipientAnswer":
        return cls(
            email_address=recipient.email,
            mobile_number=recipient.mobile,
            organization_number=recipient.organisation_number,
            national_identity_number=recipient.national_identity_number,
        )


class EmailTemplateAnswer(Answer):
    from_address: str
    subject: str
    body: str
    content_type: ContentType

    @classmethod
    def of(cls, template: EmailTemplate) -> "EmailTemplateAnswer":
        return cls(
            from_address=template.sender,
            subject=template.subject,
            body=template.body,
            content_type=template.content_type,
        )


class SmsTemplateAnswer(Answer):
    sender_number: str
    body: str

    @classmethod
    def of(cls, template: SmsTemplate) -> "SmsTemplateAnswer":
        return cls(sender_number=template.sender, body=template.body)


class SelfLink(Answer):
    self: str


class OrderLinks(SelfLink):
    status: str


class OrderAnswer(OrderHeadAnswer):
    recipients: tuple[RecipientAnswer, ...]
    email_template: EmailTemplateAnswer | None = None
    sms_template: SmsTemplateAnswer | None = None
    links: OrderLinks

    @classmethod
    def of(cls, order: OrderDetails, base: str) -> "OrderAnswer":
        url = order_url(base, order.head.id)
        return cls(
            **_head(order.head),
            recipients=tuple(RecipientAnswer.of(r) for r in order.recipients),
            email_template=EmailTemplateAnswer.of(order.email) if order.email else None,
            sms_template=SmsTemplateAnswer.of(order.sms) if order.sms else None,
            links=OrderLinks(self=url, status=f"{url}/status"),
        )


class OrderList(Answer):
    count: int
    orders: tuple[OrderAnswer, ...]


class StatusAnswer(Answer):
    status: str
    description: str
    last_update: Instant


class CountAnswer(Answer):
    links: SelfLink
    generated: int
    succeeded: int

    @classmethod
    def of(cls, count: Count, url: str) -> "CountAnswer | None":
        if not count.generated:
            return None
        return cls(links=SelfLink(self=url), generated=count.generated, succeeded=count.succeeded)


class NotificationsSummary(Answer):
    email: CountAnswer | None = None
    sms: CountAnswer | None = None


class OrderStatusAnswer(OrderHeadAnswer):
    processing_status: StatusAnswer
    notifications_status_summary: NotificationsSummary | None = None

    @classmethod
    def of(cls, order: OrderStatus, base: str) -> "OrderStatusAnswer":
        url = f"{order_url(base, order.head.id)}/notifications"
        email, sms = CountAnswer.of(order.email, f"{url}/email"), CountAnswer.of(order.sms, f"{url}/sms")
        return cls(
            **_head(order.head),
            processing_status=StatusAnswer(
                status=order.name.v1, description=order.name.description, last_update=order.state_at
            ),
            notifications_status_summary=NotificationsSummary(email=email, sms=sms) if email or sms else None,
        )


class NotificationAnswer(Answer):
    id: UUID
    succeeded: bool
    recipient: RecipientAnswer
    send_status: StatusAnswer


class NotificationsAnswer(Answer):
    order_id: UUID
    senders_reference: str | None = None
    generated: int
    succeeded: int
    notifications: tuple[NotificationAnswer, ...]

    @classmethod
    async def of(cls, found: Outcomes, *, by_email: bool) -> "NotificationsAnswer":
        """Long lists are converted a part at a time, so that other requests get their turn."""
        notifications: list[NotificationAnswer] = []
        for outcome in found.outcomes:
            notifications.append(_notification(outcome, by_email=by_email))
            if len(notifications) % CHUNK == 0:
                await asyncio.sleep(0)
        return cls(
            order_id=found.order_id,
            senders_reference=found.senders_reference,
            generated=len(notifications),
            succeeded=found.succeeded,
            notifications=tuple(notifications),
        )


def _notification(outcome: Outcome, *, by_email: bool) -> NotificationAnswer:
    return NotificationAnswer(
        id=outcome.id,
        succeeded=outcome.name.succeeded,
        recipient=RecipientAnswer(
            email_address=outcome.address if by_email else None,
            mobile_number=None if by_email else outcome.address,
            organization_number=outcome.organisation_number,
            national_identity_number=outcome.national_identity_number,
        ),
        send_status=StatusAnswer(status=outcome.name.v1, description=outcome.name.description, last_update=outcome.at),
    )


class OverLimitProblem(Answer):
    """A limit of the creator is used up: which, and when the same request may pass. Nothing is stored."""

    type: str
    title: str
    status: int
    detail: str
    limit_name: str
    limit: int
    reset_time: Instant
    trace_id: str


class ValidationProblem(Answer):
    """What is wrong, by the path of the property or the name of the parameter (http-api 5.1)."""

    type: str
    title: str
    status: int
    errors: dict[str, list[str]]
    trace_id: str


class Problem(Answer):
    """Why not; `code` is stable, where there is one (http-api 5.2, 5.3). `instance`: what stands in the way."""

    type: str
    title: str
    status: int
    code: str | None = None
    detail: str | None = None
    instance: str | None = None
    trace_id: str | None = None
    status_description: str | None = None
