"""The application: its routes, its frame, and how errors are answered."""

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import openapi
from varsel.api.bodies import pascal
from varsel.api.bulk import bulk_routes
from varsel.api.composed import composed_routes
from varsel.api.discovery import discovery_routes
from varsel.api.explain import explain_routes
from varsel.api.frame import Frame, methods_of
from varsel.api.future_orders import future_order_routes
from varsel.api.gauges import gauge_routes
from varsel.api.health import health_routes
from varsel.api.instant import instant_routes
from varsel.api.metrics import metrics_routes
from varsel.api.metrics_files import metrics_file_routes
from varsel.api.orders import order_routes
from varsel.api.parts import ApiParts
from varsel.api.previews import preview_routes
from varsel.api.problems import Invalid, Refusal, over_limit, unavailable
from varsel.api.profile import profile_routes
from varsel.api.shipments import shipment_routes
from varsel.api.support import support_routes
from varsel.api.suppressions import suppression_routes
from varsel.api.triggers import trigger_routes
from varsel.api.unsubscribe import unsubscribe_routes
from varsel.api.webhooks import webhook_routes
from varsel.domain.errors import OverLimit, Unavailable

OPENAPI_PATH: Final = "/swagger/v1/swagger.json"


def create_app(parts: ApiParts, extra_routes: Sequence[BaseRoute] = ()) -> FastAPI:
    """The API of one process. Raises `ValueError` when production would accept the development issuer."""
    production = parts.settings.environment == "production"
    if production and parts.issuer:
        raise ValueError("production must not accept the development issuer")
    app = FastAPI(
        routes=[
            *order_routes(parts),
            *future_order_routes(parts),
            *instant_routes(parts),
            *composed_routes(parts),
            *shipment_routes(parts),
            *bulk_routes(parts),
            *explain_routes(parts),
            *support_routes(parts),
            *preview_routes(parts),
            *suppression_routes(parts),
            *unsubscribe_routes(parts),
            *trigger_routes(parts),
            *metrics_routes(parts),
            *metrics_file_routes(parts),
            *gauge_routes(parts),
            *profile_routes(parts),
            *webhook_routes(parts),
            *extra_routes,
            *health_routes(parts),
            *(discovery_routes(parts.issuer, parts.base) if parts.issuer else ()),
        ],
        openapi_url=None if production else OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            Refusal: _refused,
            Invalid: _refused,
            OverLimit: _over_limit,
            Unavailable: _unavailable,
            HTTPException: _empty,
            RequestValidationError: _invalid,
        },
    )
    app.openapi = lambda: openapi.document(app, parts.intake.identifiers)  # type: ignore[method-assign]  # the way FastAPI documents
    app.add_middleware(Frame)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response(request)


async def _over_limit(request: Request, error: Exception) -> Response:
    assert isinstance(error, OverLimit)
    return over_limit(error).response(request)


async def _unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable)
    return unavailable(error).response(request)


async def _empty(request: Request, error: Exception) -> Response:
    """Unknown paths, wrong methods: the status says it all (http-api 5.4)."""
    assert isinstance(error, HTTPException)
    headers = {"Allow": methods_of(request)} if error.status_code == 405 else error.headers
    return Response(status_code=error.status_code, headers=headers)


async def _invalid(request: Request, error: Exception) -> Response:
    """For routes that let FastAPI read: 422 belongs to NOT-00001 alone (design 8)."""
    assert isinstance(error, RequestValidationError)
    errors: dict[str, list[str]] = {}
    for found in error.errors():
        where, *path = found["loc"]
        errors.setdefault(pascal(path) if where == "body" else str(path[0]), []).append("The value is not valid.")
    return Invalid(errors).response(request)
