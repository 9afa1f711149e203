"""Events as receivers get them: CloudEvents 1.0 in structured mode (channels 7.2), made from entries of the feed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid5

from varsel.domain.ids import OrderId

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
MAX_BYTES: Final = 20_000
MAX_RECIPIENTS: Final = 100
"""Of one event; the order itself tells the others."""

_DIGITS: Final = 19  # of the largest number, so that sequences sort as texts too


class Kind(StrEnum):
    ORDER_COMPLETED = "order.completed.v1"
    CORRECTION = "notification.correction.v1"
    COMPLAINT = "notification.complaint.v1"
    PING = "ping.v1"


SUBSCRIBABLE: Final = (Kind.ORDER_COMPLETED, Kind.CORRECTION, Kind.COMPLAINT)


@dataclass(frozen=True, slots=True)
class Recipient:
    """As the feed has it. `notification` is missing in entries of releases before webhooks."""

    notification: str | None
    destination: str
    status: str
    last_update: str


@dataclass(frozen=True, slots=True)
class Shipment:
    """What an entry of the feed tells. `recipients`: the first of `recipient_count`."""

    order: OrderId
    seq: int
    senders_reference: str | None
    type: str
    status: str
    last_update: str
    recipients: Sequence[Recipient]
    recipient_count: int


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is the same for every try. `at`: when it happened, in business time. A ping is about no shipment."""

    id: UUID
    kind: Kind
    at: datetime
    shipment: Shipment | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What events of one webhook have in common. `base`: of our own addresses, without trailing slash."""

    base: str
    creator: str
    prefix: str
    destinations: bool


def event_id(order: OrderId, seq: int) -> UUID:
    """Of an entry of the feed: the same for all who are told of it, and whenever they are."""
    return uuid5(order, f"feed/{seq}")


def body_of(event: Event, envelope: Envelope) -> bytes:
    """Below 20 kB: recipients, then the sender's reference, are left out until it is, and `truncated` says so."""
    if event.shipment is None:
        return _encode(event, envelope, {})
    kept = min(len(event.shipment.recipients), MAX_RECIPIENTS)
    body = _encode(event, envelope, _data(event.shipment, envelope, kept))
    while len(body) > MAX_BYTES and kept:
        kept //= 2
        body = _encode(event, envelope, _data(event.shipment, envelope, kept))
    if len(body) > MAX_BYTES:
        body = _encode(event, envelope, _data(event.shipment, envelope, 0, reference=False))
    return body


def _encode(event: Event, envelope: Envelope, data: Mapping[str, Any]) -> bytes:
    shipment = event.shipment
    about = {"subject": str(shipment.order), "sequence": f"{shipment.seq:0{_DIGITS}}"} if shipment else {}
    content = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": f"{envelope.base}/notifications/creators/{quote(envelope.creator, safe='')}",
        "type": envelope.prefix + event.kind,
        "time": _instant(event.at),
        **about,
        "datacontenttype": "application/json",
        "dataschema": f"urn:varsel:event:{event.kind}",
        "data": data,
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _data(shipment: Shipment, envelope: Envelope, kept: int, *, reference: bool = True) -> dict[str, Any]:
    """Named as in the feed (http-api 16.2); nothing is null."""
    told = {
        "shipmentId": str(shipment.order),
        "sequenceNumber": shipment.seq,
        "sendersReference": shipment.senders_reference if reference else None,
        "shipmentType": shipment.type,
        "status": shipment.status,
        "lastUpdate": shipment.last_update,
        "recipients": [_recipient(recipient, envelope) for recipient in shipment.recipients[:kept]],
        "recipientCount": shipment.recipient_count,
        "truncated": True if kept < shipment.recipient_count or not reference else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _recipient(recipient: Recipient, envelope: Envelope) -> dict[str, str]:
    told = {
        "notificationId": recipient.notification,
        "destination": recipient.destination if envelope.destinations else None,
        "status": recipient.status,
        "lastUpdate": recipient.last_update,
    }
    return {name: value for name, value in told.items() if value is not None}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
