"""The v2 composed email (http-api 15): an email with attachments that are fetched when it leaves."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import chains, schemas
from varsel.api.composed_bodies import body_for
from varsel.api.frame import JsonRoute
from varsel.api.future_schemas import ChainAccepted
from varsel.api.parts import ApiParts
from varsel.issuer import COMPOSED_SCOPE
from varsel.orders.register import Repeated
from varsel.wiring import file_stores

PATH: Final = "/notifications/api/v1/future/orders/composed-email"


def composed_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    body = body_for(file_stores(parts.settings.composed))
    answers: dict[int, type[schemas.Answer] | None] = {201: ChainAccepted, 200: ChainAccepted}
    answers |= {400: schemas.ValidationProblem, 401: None, 403: None}
    answers |= dict.fromkeys((409, 413, 415, 503), schemas.Problem)
    answers[429] = schemas.OverLimitProblem

    async def post_composed_email(request: Request) -> Response:
        """Order an email with attachments. They are fetched when it is sent, and may not lapse until then."""
        async with parts.intake.take(request, parts.authenticator.require_composed, body) as taken:
            chain, order = taken.body.to_chain(taken.creator, taken.now, parts.settings.senders)
            outcome = await parts.register_chain(chain, [order])
        if isinstance(outcome, Repeated):
            return chains.repeated(parts.settings, chain, outcome, taken.warnings)
        return chains.created(parts.base, chain, [order], taken.warnings)

    return [
        JsonRoute(
            PATH,
            post_composed_email,
            method="POST",
            body=body,
            answers=answers,
            scope=COMPOSED_SCOPE,
            tags=["Composed email"],
        )
    ]
