"""The published OpenAPI document: what FastAPI knows of the routes, and the bodies that it does not read itself."""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from starlette.routing import BaseRoute

from varsel import __version__
from varsel.api.bodies import Body
from varsel.api.frame import JsonRoute

_REFERENCE: Final = "#/components/schemas/{model}"
_SECURITY: Final = {
    "bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "platformAccessToken": {"type": "apiKey", "in": "header", "name": "PlatformAccessToken"},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document. Generated once, when first asked for."""
    if app.openapi_schema is None:
        schema = get_openapi(title="Varsel", version=__version__, routes=app.routes)
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).update(_bodies(app.routes))
        components["securitySchemes"] = _SECURITY
        schema["security"] = [{name: []} for name in _SECURITY]
        app.openapi_schema = schema
    return app.openapi_schema


class _Accepted(GenerateJsonSchema):
    """Says what is accepted: an optional property may be absent, which is not the same as null."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = super().default_schema(schema)
        if inner.get("default", ...) is None:
            del inner["default"]
        return inner

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the name says it, whatever it is
        return False


def _bodies(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    models = {route.body for route in routes if isinstance(route, JsonRoute) and route.body}
    ordered: list[type[Body]] = sorted(models, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_REFERENCE, schema_generator=_Accepted
    )
    schemas: dict[str, Any] = definitions.get("$defs", {})
    return schemas
