"""What is counted for statistics: by month and creator, and each result of a day (processing 9.1, 9.2)."""

from dataclasses import dataclass
from datetime import datetime

from varsel.domain.ids import NotificationId, OrderId


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A creator's orders whose requested send time lies in the month. `sms_parts`: as counted by the gateway."""

    creator: str
    orders: int
    emails: int
    emails_succeeded: int
    sms: int
    sms_parts: int
    sms_succeeded: int


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A notification that reached its final result. `body` and `filled`: of an SMS, as ordered and with its keywords.

    `filled` is None when no keyword was filled in, or the text is gone.
    """

    id: NotificationId
    order: OrderId
    senders_reference: str | None
    requested_send_time: datetime
    creator: str
    resource_id: str | None
    result: str
    reference: str | None
    address: str
    body: str | None
    filled: str | None
