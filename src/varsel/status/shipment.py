"""An order as v2 shows it: a shipment, live (http-api 16.1)."""

from dataclasses import dataclass
from datetime import datetime

from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import OrderKind, OrderState


@dataclass(frozen=True, slots=True)
class Part:
    """One notification. `destination` is empty when there was no address; `status` is the v2 name."""

    channel: Channel
    destination: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Shipment:
    """`at`: when its state last changed, or it was created. Parts: emails before SMS."""

    id: OrderId
    senders_reference: str | None
    kind: OrderKind
    state: OrderState
    at: datetime
    parts: list[Part]
