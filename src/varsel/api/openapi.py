"""The published OpenAPI document: what each JSON route takes, answers, and leads to (http-api 22, design 8).

It says what is accepted, not what would be tidy: unknown properties, enums by number, numbers as texts.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from varsel import __version__
from varsel.api.answer_examples import ANSWERS, PROBLEMS
from varsel.api.body_examples import BODIES
from varsel.api.bulk_examples import BULK_ANSWERS, BULK_BODIES
from varsel.api.fields import ANY_TEXT, NOT_BLANK
from varsel.api.frame import JsonRoute, Parameter
from varsel.api.links import LINKS
from varsel.api.profile_examples import PROFILE_ANSWERS, PROFILE_BODIES
from varsel.api.schemas import Problem
from varsel.api.shapes import ORGANISATION_PATTERN, PERSON_PATTERN
from varsel.api.suppression_examples import SUPPRESSION_ANSWERS, SUPPRESSION_BODIES
from varsel.api.webhook_examples import WEBHOOK_ANSWERS, WEBHOOK_BODIES
from varsel.domain.schemes import NORWEGIAN, Identifiers
from varsel.issuer import CREATE_SCOPE

JSON: Final = "application/json"
CSV: Final = "text/csv"
_EXAMPLES: Final = {
    **BODIES,
    **BULK_BODIES,
    **PROFILE_BODIES,
    **SUPPRESSION_BODIES,
    **WEBHOOK_BODIES,
    **ANSWERS,
    **BULK_ANSWERS,
    **PROFILE_ANSWERS,
    **SUPPRESSION_ANSWERS,
    **WEBHOOK_ANSWERS,
}

_REFERENCE: Final = "#/components/schemas/{model}"
_SECURITY: Final = {
    "bearerAuth": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the configured issuer. Its claim `urn:altinn:org` names the creator.",
    },
    "platformAccessToken": {
        "type": "apiKey",
        "in": "header",
        "name": "PlatformAccessToken",
        "description": "A platform access token. Its issuer is the creator.",
    },
}
_SOURCE: Final = re.compile(r" \((?:http-api|processing|design)[^)]*\)")  # of a rule: readers of the code want it
_DESCRIPTION: Final = """\
Order a notification to a person, an organisation or an address, by email or SMS; follow every single message. Keep the
addresses of users and organisations, and the registers that say who is reached where.

Paths and names may be written in any case. Unknown properties and parameters are ignored. Date-times have a zone.
"""
_SAID: Final = {
    200: "The answer.",
    201: "It is stored.",
    202: "It is stored.",
    204: "It is done.",
    400: "Something is wrong with the request: what, by the path of the property or the name of the parameter.",
    401: "No usable credential.",
    403: "The credential lacks the scope or the right, or names no creator.",
    404: "There is none, or not for this caller.",
    409: "It cannot be done in this state.",
    413: "The body is too large.",
    415: "The body is not of a type that is read here, which mostly is JSON in UTF-8.",
    422: "It is understood, and cannot be done: nothing is stored.",
    429: "Too often.",
    500: "A fault of ours. Nothing is known.",
    502: "The register that must have it did not take it: nothing is stored.",
    503: "Not now. Nothing is stored; the same request may come again.",
}
_LOCATION: Final = {"description": "Where it can be looked at.", "schema": {"type": "string", "format": "uri"}}
_WAIT: Final = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
_HEADERS: Final[Mapping[int, Mapping[str, Any]]] = {
    201: {"Location": _LOCATION},
    202: {"Location": _LOCATION},
    401: {"WWW-Authenticate": {"description": "Which credential is wanted.", "schema": {"type": "string"}}},
    429: {"Retry-After": _WAIT},
    503: {"Retry-After": _WAIT},
}


def document(app: FastAPI, identifiers: Identifiers) -> dict[str, Any]:
    """The whole document. Generated once, when first asked for. `identifiers`: those that are taken here."""
    if app.openapi_schema is None:
        described = describe([route for route in app.routes if isinstance(route, JsonRoute)])
        app.openapi_schema = described if identifiers == NORWEGIAN else _with_any_identifier(described)
    return app.openapi_schema


def _with_any_identifier(described: dict[str, Any]) -> dict[str, Any]:
    """Patterns of other countries may lack what JSON Schema has, and say nothing of check digits: none is told."""
    text = json.dumps(described)
    for pattern in (PERSON_PATTERN, ORGANISATION_PATTERN):
        text = text.replace(json.dumps(pattern), json.dumps(NOT_BLANK))
    changed: dict[str, Any] = json.loads(text)
    return changed


def describe(routes: Sequence[JsonRoute]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    names = {route.operation_id for route in routes}
    for route in routes:
        paths.setdefault(route.path_format, {})[route.method.lower()] = _operation(route, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Varsel", "version": __version__, "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": _schemas(routes), "securitySchemes": _SECURITY},
    }


def _operation(route: JsonRoute, names: set[str | None]) -> dict[str, Any]:
    """`names`: operations that links may lead to."""
    summary, _, more = " ".join((route.endpoint.__doc__ or "").split()).partition(". ")
    links = LINKS.get(str(route.operation_id), {})
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": route.tags,
        "summary": f"{summary.removesuffix('.')}.",
        "security": _security(route.scope),
        "responses": {
            str(status): _response(
                status, model, {n: k for n, k in links.items() if k["operationId"] in names}, route.text
            )
            for status, model in route.answers.items()
        },
    }
    if more:
        operation["description"] = more
    if route.deprecated:
        operation["deprecated"] = True
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    if route.file:
        operation["requestBody"] = {"required": True, "content": {CSV: _text(route.file)}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """As it was told; texts hold no NUL, which the frame refuses."""
    schema = parameter["schema"]
    plain = schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}
    return {**parameter, "schema": {**schema, "pattern": ANY_TEXT} if plain else schema}


def _security(scope: str | None) -> list[dict[str, list[str]]]:
    if scope is None:
        return []
    bearer = {"bearerAuth": [scope]}
    return [bearer, {"platformAccessToken": []}] if scope == CREATE_SCOPE else [bearer]


def _text(example: str) -> dict[str, Any]:
    return {"schema": {"type": "string"}, "examples": {"example": {"value": example}}}


def _response(status: int, answer: type[BaseModel] | str | None, links: Mapping[str, Any], text: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _SAID[status]}
    if status in _HEADERS:
        response["headers"] = {name: {"required": True, **told} for name, told in _HEADERS[status].items()}
    if isinstance(answer, str):
        response["content"] = {text: _text(answer)}
    elif answer:
        response["content"] = _content(answer, PROBLEMS.get(status))
    if links and status < 300 and answer is not Problem:
        response["links"] = dict(links)
    return response


def _content(model: type[BaseModel], usual: Any = None) -> dict[str, Any]:
    """`usual`: the example of a model that has none of its own."""
    named = _EXAMPLES.get(model.__name__) or ({} if usual is None else {"example": usual})
    content: dict[str, Any] = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    if named:
        content["examples"] = {name: {"value": value} for name, value in named.items()}
    return {JSON: content}


class _Schemas(GenerateJsonSchema):
    """Says what is accepted, and what is answered.

    An optional property of a request may be absent, which is not the same as null; an answer has no nulls at all.
    """

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = super().default_schema(schema)
        if inner.get("default", ...) in (None, ""):
            del inner["default"]
        return inner

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the name says it, whatever it is
        return False


def _schemas(routes: Iterable[JsonRoute]) -> dict[str, Any]:
    bodies = {route.body for route in routes if route.body}
    answers = {a for route in routes for a in route.answers.values() if a and not isinstance(a, str)}
    models = [*((body, "validation") for body in bodies), *((answer, "serialization") for answer in answers)]
    _, definitions = models_json_schema(
        sorted(models, key=lambda pair: pair[0].__name__),  # type: ignore[arg-type]  # the modes are literals
        ref_template=_REFERENCE,
        schema_generator=_Schemas,
    )
    schemas: dict[str, Any] = definitions.get("$defs", {})
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = _SOURCE.sub("", schema["description"])
    return schemas
