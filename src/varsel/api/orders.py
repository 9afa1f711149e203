"""The v1 orders (http-api 12): three ways in, cancelling, and five views."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import JsonRoute
from varsel.api.order_bodies import AnyOrderBody, EmailOrderBody, OrderBody, SmsOrderBody
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, Refusal, generic
from varsel.api.requests import order_id, query
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.status import store

PATH: Final = "/notifications/api/v1/orders"

_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_REFERENCE: Final = {
    "name": "sendersReference",
    "in": "query",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
_REFUSED: Final[dict[int, type[schemas.Answer] | None]] = {400: schemas.ValidationProblem, 401: None, 403: None}


def order_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    v1 = _OrderRoutes(parts)
    accepted = {
        202: schemas.OrderAccepted,
        **_REFUSED,
        413: schemas.Problem,
        415: schemas.Problem,
        429: schemas.OverLimitProblem,
        503: schemas.Problem,
    }
    common: dict[str, Any] = {"tags": ["Orders"], "deprecated": True}

    def post(path: str, endpoint: Any, body: type[AnyOrderBody]) -> JsonRoute:
        return JsonRoute(path, endpoint, method="POST", body=body, answers=accepted, **common)

    def get(path: str, endpoint: Any, answer: type[schemas.Answer]) -> JsonRoute:
        answers = {200: answer, **_REFUSED, 404: None}
        return JsonRoute(path, endpoint, method="GET", answers=answers, parameters=[_ID], **common)

    found = {200: schemas.OrderList, **_REFUSED}
    cancelled = {200: schemas.OrderStatusAnswer, **_REFUSED, 404: schemas.Problem, 409: schemas.Problem}
    return [
        post(f"{PATH}/email", v1.post_email_order, EmailOrderBody),
        post(f"{PATH}/sms", v1.post_sms_order, SmsOrderBody),
        post(PATH, v1.post_order, OrderBody),
        JsonRoute(PATH, v1.find_orders, method="GET", answers=found, parameters=[_REFERENCE], **common),
        get(f"{PATH}/{{id}}", v1.get_order, schemas.OrderAnswer),
        get(f"{PATH}/{{id}}/status", v1.get_order_status, schemas.OrderStatusAnswer),
        get(f"{PATH}/{{id}}/notifications/email", v1.get_order_emails, schemas.NotificationsAnswer),
        get(f"{PATH}/{{id}}/notifications/sms", v1.get_order_sms, schemas.NotificationsAnswer),
        JsonRoute(
            f"{PATH}/{{id}}/cancel", v1.cancel_order, method="PUT", answers=cancelled, parameters=[_ID], **common
        ),
    ]


class _OrderRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create

    async def post_order(self, request: Request) -> Response:
        """Order a notification by the channel of choice."""
        return await self._accept(request, OrderBody)

    async def post_email_order(self, request: Request) -> Response:
        """Order an email."""
        return await self._accept(request, EmailOrderBody)

    async def post_sms_order(self, request: Request) -> Response:
        """Order an SMS."""
        return await self._accept(request, SmsOrderBody)

    async def _accept(self, request: Request, model: type[AnyOrderBody]) -> Response:
        async with self._parts.intake.take(request, self._policy, model) as taken:
            order = await taken.body.to_order(taken.creator, taken.now, self._parts.settings.senders)
            registration = await self._parts.register(order)
        location = schemas.order_url(self._parts.base, registration.order_id)
        return schemas.OrderAccepted.of(registration, order, taken.warnings).response(202, {"Location": location})

    async def find_orders(self, request: Request) -> Response:
        """The orders with a sender's reference, oldest first."""
        caller = await self._policy(request)
        reference = query(request).get("sendersreference", "")
        if not reference:
            raise Invalid({"sendersReference": ["A value is required."]})
        async with self._parts.database.reading() as conn:
            found = await store.find_orders(conn, caller.required_creator(), reference)
        orders = tuple(schemas.OrderAnswer.of(order, self._parts.base) for order in found)
        return schemas.OrderList(count=len(orders), orders=orders).response()

    async def get_order(self, request: Request) -> Response:
        """An order as it was given."""
        creator, order = await self._creator_and_order(request)
        async with self._parts.database.reading() as conn:
            found = await store.find_order(conn, creator, order)
        if found is None:
            raise Refusal(404)
        return schemas.OrderAnswer.of(found, self._parts.base).response()

    async def get_order_status(self, request: Request) -> Response:
        """An order with its processing status."""
        creator, order = await self._creator_and_order(request)
        return await self._status(creator, order)

    async def get_order_emails(self, request: Request) -> Response:
        """The emails of an order and how each of them stands."""
        return await self._notifications(request, Channel.EMAIL)

    async def get_order_sms(self, request: Request) -> Response:
        """The SMS of an order and how each of them stands."""
        return await self._notifications(request, Channel.SMS)

    async def cancel_order(self, request: Request) -> Response:
        """Cancel an order that is not due within five minutes."""
        creator, order = await self._creator_and_order(request)
        limit = self._parts.settings.processing.cancel_limit
        now = self._parts.clock.now()
        match await cancel_order(self._parts.database, creator, order, now=now, limit=limit):
            case Cancellation.NOT_FOUND:
                raise generic(404)
            case Cancellation.PROHIBITED:
                raise generic(409)
            case Cancellation.CANCELLED:
                return await self._status(creator, order)

    async def _status(self, creator: str, order: OrderId) -> Response:
        async with self._parts.database.reading() as conn:
            found = await store.find_status(conn, creator, order)
        if found is None:
            raise Refusal(404)
        return schemas.OrderStatusAnswer.of(found, self._parts.base).response()

    async def _notifications(self, request: Request, channel: Channel) -> Response:
        creator, order = await self._creator_and_order(request)
        async with self._parts.database.reading() as conn:
            found = await store.find_outcomes(conn, creator, order, channel)
        if found is None:
            raise Refusal(404)
        answer = await schemas.NotificationsAnswer.of(found, by_email=channel is Channel.EMAIL)
        return answer.response()

    async def _creator_and_order(self, request: Request) -> tuple[str, OrderId]:
        """Policy, then parameters, then creator (http-api 6)."""
        caller = await self._policy(request)
        order = order_id(request)
        return caller.required_creator(), order
