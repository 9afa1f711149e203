"""Previews: what an order would do, for the same body as the order itself (design 6). Nothing is stored or sent."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import JsonRoute
from varsel.api.future_bodies import ChainBody, Defaults
from varsel.api.order_bodies import OrderBody
from varsel.api.parts import ApiParts
from varsel.api.preview_schemas import ChainPreviewAnswer, OrderPreviewAnswer

V1_PATH: Final = "/notifications/api/v1/orders/preview"
V2_PATH: Final = "/notifications/api/v1/future/orders/preview"
MAX_REMINDERS: Final = 50


def preview_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _PreviewRoutes(parts)
    refused: dict[int, type[schemas.Answer] | None] = {
        400: schemas.ValidationProblem,
        401: None,
        403: None,
        **dict.fromkeys((413, 415, 503), schemas.Problem),
    }
    common: dict[str, Any] = {"method": "POST", "tags": ["Previews"]}
    v1, v2 = {200: OrderPreviewAnswer, **refused}, {200: ChainPreviewAnswer, **refused}
    return [
        JsonRoute(V1_PATH, routes.preview_order, body=OrderBody, answers=v1, **common),
        JsonRoute(V2_PATH, routes.preview_chain, body=ChainBody, answers=v2, **common),
    ]


class _PreviewRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create

    async def preview_order(self, request: Request) -> Response:
        """Who would be reached, by what and when, or why not; and what it would cost."""
        previewer = self._parts.previewer
        async with self._parts.intake.take(request, self._policy, OrderBody) as taken:
            order = await taken.body.to_order(taken.creator, taken.now, self._parts.settings.senders)
            preview = await previewer.preview(order)
        return (await OrderPreviewAnswer.of(preview, previewer.currency, taken.warnings)).response()

    async def preview_chain(self, request: Request) -> Response:
        """The same for an order and its reminders. The idempotency id is not used up."""
        previewer = self._parts.previewer
        async with self._parts.intake.take(request, self._policy, ChainBody) as taken:
            defaults = Defaults.of(self._parts.settings, taken.creator)
            _, orders = await taken.body.to_chain(taken.creator, taken.now, defaults)
            previews = [await previewer.preview(order) for order in orders[: 1 + MAX_REMINDERS]]
        answer = await ChainPreviewAnswer.of(previews, len(orders), previewer.currency, taken.warnings)
        return answer.response()
