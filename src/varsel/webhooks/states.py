"""States of a webhook, and of what it is told (channels 7.1)."""

from enum import StrEnum


class WebhookState(StrEnum):
    """A pending one gets pings alone. A paused one gets, once it is active again, what happened meanwhile."""

    PENDING = "pending"
    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


class Why(StrEnum):
    """Why one is paused (by its owner; after failing for a day) or disabled (its receiver answered 410)."""

    OWNER = "owner"
    FAILING = "failing"
    GONE = "gone"


class DeliveryState(StrEnum):
    """Only a ping fails for good: an event waits until its webhook goes on."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"
