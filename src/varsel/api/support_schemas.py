"""Bodies of support's look-ups (http-api 20) and of the notification log (processing 9.3)."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import ConfigDict, RootModel

from varsel.api.schemas import Answer, Instant
from varsel.domain.notification import Channel
from varsel.domain.order import OrderChannel, OrderKind
from varsel.status.support import Attempt, LogEntry, SubjectKind, SupportOrder

_LOGGED = {Channel.EMAIL: "Email", Channel.SMS: "Sms"}


class AttemptAnswer(Answer):
    national_identity_number: str | None = None
    organization_number: str | None = None
    channel: Channel
    email_address: str | None = None
    mobile_number: str | None = None
    result: str
    result_time: Instant | None = None

    @classmethod
    def of(cls, attempt: Attempt, kind: SubjectKind, identifier: str) -> "AttemptAnswer":
        return cls(
            national_identity_number=identifier if kind is SubjectKind.PERSON else None,
            organization_number=identifier if kind is SubjectKind.ORGANISATION else None,
            channel=attempt.channel,
            email_address=attempt.address if attempt.channel is Channel.EMAIL else None,
            mobile_number=attempt.address if attempt.channel is Channel.SMS else None,
            result=attempt.result,
            result_time=attempt.at,
        )


class SupportOrderAnswer(Answer):
    shipment_id: UUID
    creator_name: str
    resource_id: str | None = None
    senders_reference: str | None = None
    requested_send_time: Instant
    notification_channel: OrderChannel
    notification_type: OrderKind
    delivery_attempts: tuple[AttemptAnswer, ...]

    @classmethod
    def of(cls, order: SupportOrder, kind: SubjectKind, identifier: str) -> "SupportOrderAnswer":
        return cls(
            shipment_id=order.id,
            creator_name=order.creator,
            resource_id=order.resource_id,
            senders_reference=order.senders_reference,
            requested_send_time=order.requested_send_time,
            notification_channel=order.channel,
            notification_type=order.kind,
            delivery_attempts=tuple(AttemptAnswer.of(attempt, kind, identifier) for attempt in order.attempts),
        )


class SupportAnswer(RootModel[tuple[SupportOrderAnswer, ...]]):
    """At most the newest 10 000 notifications."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, orders: Sequence[SupportOrder], kind: SubjectKind, identifier: str) -> "SupportAnswer":
        return cls(tuple(SupportOrderAnswer.of(order, kind, identifier) for order in orders))


class LogEntryAnswer(Answer):
    """`recipient`: organisation number or national identity number; absent for direct addresses.

    `status` is the unmasked result: `Failed_TTL` appears.
    """

    notification_order_id: UUID
    shipment_id: UUID
    notification_id: UUID
    senders_reference: str | None = None
    dialog_id: str | None = None
    transmission_id: str | None = None
    delivery_reference: str | None = None
    recipient: str | None = None
    type: OrderKind
    channel: str
    destination: str
    resource_id: str | None = None
    status: str
    requested_send_time: Instant
    last_update: Instant

    @classmethod
    def of(cls, entry: LogEntry) -> "LogEntryAnswer":
        return cls(
            notification_order_id=entry.chain,
            shipment_id=entry.order,
            notification_id=entry.notification,
            senders_reference=entry.senders_reference,
            dialog_id=entry.dialog_id,
            transmission_id=entry.transmission_id,
            delivery_reference=entry.delivery_reference,
            recipient=entry.recipient,
            type=entry.kind,
            channel=_LOGGED[entry.channel],
            destination=entry.destination,
            resource_id=entry.resource_id,
            status=entry.status,
            requested_send_time=entry.requested_send_time,
            last_update=entry.at,
        )


class LogAnswer(RootModel[tuple[LogEntryAnswer, ...]]):
    """At most the newest 10 000 notifications."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, entries: Sequence[LogEntry]) -> "LogAnswer":
        return cls(tuple(LogEntryAnswer.of(entry) for entry in entries))
