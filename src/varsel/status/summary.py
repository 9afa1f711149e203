"""What can be read of an order: its content, its state, and the outcome of each notification (http-api 12.4-12.9)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import ResultName
from varsel.domain.order import (
    ORDER_STATE_NAMES,
    EmailTemplate,
    OrderChannel,
    OrderState,
    OrderStateName,
    Recipient,
    SmsTemplate,
)


@dataclass(frozen=True, slots=True)
class OrderHead:
    """What every view of an order begins with."""

    id: OrderId
    senders_reference: str | None
    requested_send_time: datetime
    creator: str
    created: datetime
    channel: OrderChannel
    ignore_reservation: bool | None
    resource_id: str | None
    resource_action: str | None
    condition_endpoint: str | None


@dataclass(frozen=True, slots=True)
class OrderDetails:
    head: OrderHead
    recipients: tuple[Recipient, ...]
    email: EmailTemplate | None
    sms: SmsTemplate | None


@dataclass(frozen=True, slots=True)
class Count:
    generated: int
    succeeded: int


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """`state_at`: when the state last changed; the time of creation until then."""

    head: OrderHead
    state: OrderState
    state_at: datetime
    email: Count
    sms: Count

    @property
    def name(self) -> OrderStateName:
        return ORDER_STATE_NAMES[self.state]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one notification stands. `address` is what was used: empty when there was none."""

    id: NotificationId
    address: str
    national_identity_number: str | None
    organisation_number: str | None
    name: ResultName
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcomes:
    order_id: OrderId
    senders_reference: str | None
    outcomes: list[Outcome]

    @property
    def succeeded(self) -> int:
        return sum(outcome.name.succeeded for outcome in self.outcomes)


_MAX_CLOCK_DIFFERENCE: Final = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Facts:
    """What health tells of the database. `now` is its clock; stray rows lie outside every month's partition."""

    now: datetime
    live_workers: int
    stray_rows: bool
    synchronous_standby: bool

    def clocks_differ(self, host: datetime) -> bool:
        """Whether `host`, the clock of this machine at the same moment, is too far from the database's."""
        return abs(self.now - host) > _MAX_CLOCK_DIFFERENCE
