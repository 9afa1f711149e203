"""What happened to an order, as a story with codes (design 6): our addition to shipments, for v1 orders too."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, Refusal, altinn
from varsel.api.requests import query, read_uuid
from varsel.api.schemas import Answer, Instant
from varsel.api.shipments import PATH
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import ORDER_STATE_NAMES, OrderChannel, OrderKind
from varsel.providers.kind import asked_of
from varsel.status.explain import Event, EventKind, NotificationFacts, Story, tell
from varsel.status.explain_store import find_facts

_TYPES: Final = {Channel.EMAIL: "Email", Channel.SMS: "SMS"}


class EventAnswer(Answer):
    """`kind` and `code` are a stable vocabulary; `text` is for people, and may change."""

    at: Instant
    kind: EventKind
    code: str | None = None
    notification_id: UUID | None = None
    provider: str | None = None
    attempt: int | None = None
    text: str
    detail: str | None = None

    @classmethod
    def of(cls, event: Event) -> "EventAnswer":
        return cls(
            at=event.at,
            kind=event.kind,
            code=event.code,
            notification_id=event.notification,
            provider=event.provider,
            attempt=event.attempt,
            text=event.text,
            detail=event.detail,
        )


class ExplainedNotification(Answer):
    """`attempts` counts the tries that were charged to the message."""

    notification_id: UUID
    type: str
    destination: str
    status: str
    description: str
    last_update: Instant
    attempts: int

    @classmethod
    def of(cls, notification: NotificationFacts) -> "ExplainedNotification":
        return cls(
            notification_id=notification.id,
            type=_TYPES[notification.channel],
            destination=notification.address,
            status=notification.name.v2,
            description=notification.name.description,
            last_update=notification.state_at,
            attempts=notification.attempts,
        )


class Explanation(Answer):
    """`story` is what happened, oldest first; `ahead` is what will happen by itself.

    At most 200 notifications are explained; `omitted` counts the others, which can be asked for by `notificationId`.
    """

    shipment_id: UUID
    senders_reference: str | None = None
    type: OrderKind
    status: str
    description: str
    notification_channel: OrderChannel
    requested_send_time: Instant
    notifications: tuple[ExplainedNotification, ...]
    omitted: int | None = None
    story: tuple[EventAnswer, ...]
    ahead: tuple[EventAnswer, ...]

    @classmethod
    def of(cls, story: Story) -> "Explanation":
        order = story.facts.order
        name = ORDER_STATE_NAMES[order.state]
        shown = tuple(ExplainedNotification.of(n) for n in story.facts.notifications)
        return cls(
            shipment_id=order.id,
            senders_reference=order.senders_reference,
            type=order.kind,
            status=name.v2,
            description=name.description,
            notification_channel=order.channel,
            requested_send_time=order.requested_send_time,
            notifications=shown,
            omitted=order.notifications - len(shown) or None,
            story=tuple(EventAnswer.of(event) for event in story.past),
            ahead=tuple(EventAnswer.of(event) for event in story.ahead),
        )


def explain_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    asked = asked_of(parts.settings.providers)

    async def explain_order(request: Request) -> Response:
        """What has happened to an order of any kind, and what will happen by itself."""
        id_ = read_uuid(request.path_params["id"])
        if id_ is None:  # no such route, as for the shipment itself
            raise Refusal(404)
        caller = await parts.authenticator.require_create(request)
        notification = _wanted(request)
        async with parts.database.reading() as conn:
            facts = await find_facts(conn, caller.required_creator(), OrderId(id_), notification)
        if facts is None:
            raise altinn("NOT-00003")
        return Explanation.of(tell(facts, asked)).response()

    uuid = {"type": "string", "format": "uuid"}
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": uuid},
        {"name": "notificationId", "in": "query", "required": False, "schema": uuid},
    ]
    answers = {200: Explanation, 400: schemas.ValidationProblem, 401: None, 403: None, 404: schemas.Problem}
    return [
        JsonRoute(
            f"{PATH}/{{id}}/explain",
            explain_order,
            method="GET",
            answers=answers,
            parameters=parameters,
            tags=["Shipments"],
        )
    ]


def _wanted(request: Request) -> NotificationId | None:
    given = query(request).get("notificationid")
    if given is None:
        return None
    wanted = read_uuid(given)
    if wanted is None:
        raise Invalid({"notificationId": ["The value is not a valid UUID."]})
    return NotificationId(wanted)
