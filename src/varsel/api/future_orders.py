"""The v2 order chains (http-api 13), and our own way to cancel all orders with a reference."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import chains, schemas
from varsel.api.fields import NOT_BLANK
from varsel.api.frame import JsonRoute
from varsel.api.future_bodies import ChainBody, Defaults
from varsel.api.future_schemas import CancelAnswer, ChainAccepted
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, altinn
from varsel.api.requests import query
from varsel.orders.cancel import cancel_orders
from varsel.orders.register import Registered, Repeated, Unreachable

PATH: Final = "/notifications/api/v1/future/orders"

_REFUSED: Final[dict[int, type[schemas.Answer] | None]] = {400: schemas.ValidationProblem, 401: None, 403: None}


def future_order_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _FutureOrderRoutes(parts)
    common: dict[str, Any] = {"tags": ["Order chains"]}
    problems = dict.fromkeys((409, 413, 415, 422, 503), schemas.Problem)
    accepted = {201: ChainAccepted, 200: ChainAccepted, **_REFUSED, **problems, 429: schemas.OverLimitProblem}
    cancelled = {200: CancelAnswer, **_REFUSED, 503: schemas.Problem}
    reference = {
        "name": "sendersReference",
        "in": "query",
        "required": True,
        "schema": {"type": "string", "pattern": NOT_BLANK},
    }
    return [
        JsonRoute(PATH, routes.post_chain, method="POST", body=ChainBody, answers=accepted, **common),
        JsonRoute(
            f"{PATH}/cancel", routes.cancel_orders, method="PUT", answers=cancelled, parameters=[reference], **common
        ),
    ]


class _FutureOrderRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create

    async def post_chain(self, request: Request) -> Response:
        """Order a notification, with reminders. The same idempotency id again is answered as the first time."""
        async with self._parts.intake.take(request, self._policy, ChainBody) as taken:
            defaults = Defaults.of(self._parts.settings, taken.creator)
            chain, orders = await taken.body.to_chain(taken.creator, taken.now, defaults)
            outcome = await self._parts.register_chain(chain, orders)
        match outcome:
            case Registered():
                return chains.created(self._parts.base, chain, orders, taken.warnings)
            case Repeated():
                return chains.repeated(self._parts.settings, chain, outcome, taken.warnings)
            case Unreachable():
                raise altinn("NOT-00001")

    async def cancel_orders(self, request: Request) -> Response:
        """Cancel every order with a reference that is not due within five minutes, of v1 and v2, reminders too."""
        caller = await self._policy(request)
        reference = query(request).get("sendersreference", "")
        if not reference.strip():
            raise Invalid({"sendersReference": ["A value is required."]})
        done = await cancel_orders(
            self._parts.database,
            caller.required_creator(),
            reference,
            now=self._parts.clock.now(),
            limit=self._parts.settings.processing.cancel_limit,
        )
        return CancelAnswer.of(done).response()
