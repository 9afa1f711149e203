"""Bodies of requests and answers about webhooks (channels 7)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import Field

from varsel.api.bodies import Body, Findings
from varsel.api.fields import Integer, Text
from varsel.api.schemas import Answer, Instant
from varsel.api.shapes import Shape, Told
from varsel.domain.signatures import shown
from varsel.webhooks.address import MAX_LENGTH
from varsel.webhooks.event import Kind
from varsel.webhooks.owner_store import Delivery, Webhook, Wish
from varsel.webhooks.states import DeliveryState, WebhookState, Why

_MAX_DESCRIPTION: Final = 500
_URL: Final[Shape] = {
    "type": "string",
    "format": "webhook-url",
    "description": f"https, with a host name, without user, password and fragment; at most {MAX_LENGTH} characters.",
}

EventName = Literal["order.completed.v1", "notification.correction.v1", "notification.complaint.v1"]


class WebhookBody(Body):
    """POST and PUT of a webhook. `url`: https, with a host name."""

    url: Annotated[Text, Told(_URL)]
    events: Annotated[list[EventName], Field(min_length=1, max_length=20)]
    description: Annotated[Text, Field(max_length=_MAX_DESCRIPTION)] | None = None
    include_destinations: bool = False

    def wish(self) -> Wish:
        kinds = tuple(Kind(name) for name in dict.fromkeys(self.events))
        return Wish(self.url, kinds, self.description, self.include_destinations)


class ReplayBody(Body):
    """The sequence number of the status feed from which on everything is sent again."""

    from_sequence: Integer

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        if self.from_sequence < 1:
            findings.add("FromSequence", "The value must be 1 or more.")


class WebhookAnswer(Answer):
    """`lastSequence`: up to which number of the status feed it has been told, but for `waiting` events.

    `stateReason`: `owner`, `failing` (tried for 24 hours) or `gone` (its receiver answered 410).
    """

    id: UUID
    url: str
    events: tuple[str, ...]
    description: str | None = None
    include_destinations: bool
    state: WebhookState
    state_reason: Why | None = None
    state_since: Instant
    created: Instant
    last_sequence: int
    waiting: int
    failures: int
    next_attempt: Instant | None = None
    last_success: Instant | None = None
    old_secret_until: Instant | None = None

    @classmethod
    def of(cls, webhook: Webhook) -> "WebhookAnswer":
        return cls(**_told(webhook))


class WebhookSecretAnswer(WebhookAnswer):
    """With the secret, which is shown this once."""

    secret: str

    @classmethod
    def revealing(cls, webhook: Webhook, secret: bytes) -> "WebhookSecretAnswer":
        return cls(**_told(webhook), secret=shown(secret))


def _told(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.kinds,
        "description": webhook.description,
        "include_destinations": webhook.destinations,
        "state": webhook.state,
        "state_reason": webhook.reason,
        "state_since": webhook.state_at,
        "created": webhook.created_at,
        "last_sequence": webhook.position,
        "waiting": webhook.waiting,
        "failures": webhook.failures,
        "next_attempt": webhook.resting_until,
        "last_success": webhook.succeeded_at,
        "old_secret_until": webhook.old_secret_until,
    }


class WebhookList(Answer):
    count: int
    webhooks: tuple[WebhookAnswer, ...]

    @classmethod
    def of(cls, webhooks: Sequence[Webhook]) -> "WebhookList":
        return cls(count=len(webhooks), webhooks=tuple(WebhookAnswer.of(webhook) for webhook in webhooks))


class DeliveryAnswer(Answer):
    """The last tries of one event. `statusCode`: of the last answer; without one, `detail` says why none came."""

    event_id: UUID
    event: str
    sequence_number: int | None = None
    shipment_id: UUID | None = None
    state: DeliveryState
    attempts: int
    happened: Instant
    last_attempt: Instant | None = None
    next_attempt: Instant | None = None
    status_code: int | None = None
    detail: str | None = None
    milliseconds: int | None = None

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        return cls(
            event_id=delivery.event_id,
            event=delivery.kind,
            sequence_number=delivery.seq,
            shipment_id=delivery.order,
            state=delivery.state,
            attempts=delivery.attempts,
            happened=delivery.happened,
            last_attempt=delivery.last_at if delivery.attempts else None,
            next_attempt=delivery.next_at,
            status_code=delivery.status,
            detail=delivery.detail or None,
            milliseconds=None if delivery.took is None else round(delivery.took.total_seconds() * 1000),
        )


class DeliveryList(Answer):
    count: int
    deliveries: tuple[DeliveryAnswer, ...]

    @classmethod
    def of(cls, deliveries: Sequence[Delivery]) -> "DeliveryList":
        return cls(count=len(deliveries), deliveries=tuple(DeliveryAnswer.of(delivery) for delivery in deliveries))
