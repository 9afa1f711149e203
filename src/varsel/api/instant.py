"""The v2 instant orders (http-api 14): the message leaves while the caller waits for the answer."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import chains, schemas
from varsel.api.frame import JsonRoute
from varsel.api.future_schemas import ChainAccepted
from varsel.api.instant_bodies import InstantBody, InstantEmailOrderBody, InstantOrderBody, InstantSmsOrderBody
from varsel.api.parts import ApiParts
from varsel.orders.register import Repeated

PATH: Final = "/notifications/api/v1/future/orders/instant"


def instant_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _InstantRoutes(parts)
    problems = dict.fromkeys((409, 413, 415, 503), schemas.Problem)
    answers: dict[int, type[schemas.Answer] | None] = {201: ChainAccepted, 200: ChainAccepted}
    answers |= {400: schemas.ValidationProblem, 401: None, 403: None, **problems}
    answers[429] = schemas.OverLimitProblem

    def post(path: str, endpoint: Any, body: type[InstantBody], **documentation: Any) -> JsonRoute:
        return JsonRoute(
            path, endpoint, method="POST", body=body, answers=answers, tags=["Instant messages"], **documentation
        )

    return [
        post(f"{PATH}/sms", routes.post_instant_sms, InstantSmsOrderBody),
        post(f"{PATH}/email", routes.post_instant_email, InstantEmailOrderBody),
        post(PATH, routes.post_instant, InstantOrderBody, deprecated=True),
    ]


class _InstantRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    async def post_instant_sms(self, request: Request) -> Response:
        """Send an SMS now. 503 says that nothing left, and that the same request may come again."""
        return await self._send(request, InstantSmsOrderBody)

    async def post_instant_email(self, request: Request) -> Response:
        """Send an email now. 503 says that nothing left, and that the same request may come again."""
        return await self._send(request, InstantEmailOrderBody)

    async def post_instant(self, request: Request) -> Response:
        """Send an SMS now, in the older form."""
        return await self._send(request, InstantOrderBody)

    async def _send(self, request: Request, model: type[InstantBody]) -> Response:
        parts = self._parts
        async with parts.intake.take(request, parts.authenticator.require_create, model) as taken:
            chain, order, time_to_live = taken.body.to_order(taken.creator, taken.now, parts.settings.senders)
            outcome = await parts.place_instant(chain, order, time_to_live)
        if isinstance(outcome, Repeated):
            return chains.repeated(parts.settings, chain, outcome, taken.warnings)
        return chains.created(parts.base, chain, [order], taken.warnings)
