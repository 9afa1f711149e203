"""What support and senders look up about notifications: by recipient (http-api 20), by dialog (processing 9.3)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel, Reason, State, result_name
from varsel.domain.order import OrderChannel, OrderKind

MAX_NOTIFICATIONS: Final = 10_000
"""Of one answer: the newest."""


class SubjectKind(StrEnum):
    PERSON = "person"
    ORGANISATION = "organisation"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One notification to the recipient. `result` is the unmasked name: `Failed_TTL` appears."""

    channel: Channel
    address: str
    result: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SupportOrder:
    """An order that has made notifications to the recipient. Attempts: emails before SMS."""

    id: OrderId
    creator: str
    resource_id: str | None
    senders_reference: str | None
    requested_send_time: datetime
    channel: OrderChannel
    kind: OrderKind
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A notification of a completed order. `recipient`: identifier; None for direct addresses."""

    chain: UUID
    order: OrderId
    notification: NotificationId
    senders_reference: str | None
    dialog_id: str | None
    transmission_id: str | None
    delivery_reference: str | None
    recipient: str | None
    kind: OrderKind
    channel: Channel
    destination: str
    resource_id: str | None
    status: str
    requested_send_time: datetime
    at: datetime


def raw_result(channel: Channel, state: State, reason: Reason | None) -> str:
    """The result's name as stored in the reference (http-api 8.4, 8.5), where expiry has a name of its own."""
    return "Failed_TTL" if state is State.EXPIRED else result_name(channel, state, reason).v1
