"""What `docs/api-reference.md` says: every JSON route and object, from the OpenAPI document of the service."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from varsel.api.app import create_app
from varsel.api.auth import Authenticator
from varsel.api.parts import ApiParts
from varsel.api.requests import Intake
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.delivery.guard import Guard
from varsel.issuer import DevelopmentIssuer
from varsel.preview.preview import Previewer
from varsel.settings import Settings
from varsel.status.feed import FeedReader

FILE: Final = Path(__file__).with_name("api-reference.md")

_JSON: Final = "application/json"
_HEADING: Final = """\
# API reference

Generated from the OpenAPI document that the service publishes at `/swagger/v1/swagger.json` (not in production): change
the code, run `make docs`, and never edit this page. What it all is for stands in the [API guide](api.md).

Paths and names of properties may be written in any case, and enums as their numbers. Unknown properties are ignored.
Date-times have a zone. A property is required where it says so; anything else may be left out.
"""


def document() -> str:
    told = openapi()
    by_tag: dict[str, list[str]] = {}
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).extend(_operation(method, path, operation))
    lines = [_HEADING]
    for tag, told_of in by_tag.items():
        lines += [f"## {tag}", "", *told_of]
    lines += ["## Objects", ""]
    for name, schema in sorted(told["components"]["schemas"].items()):
        lines += _object(name, schema)
    return "\n".join(lines).rstrip("\n") + "\n"


def openapi() -> dict[str, Any]:
    """Of a service that never starts: nothing here opens a database, or is ever called."""
    settings, clock = Settings(), SystemClock()
    database = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    guard = Guard.configured(settings)
    with TemporaryDirectory() as home:
        issuer = DevelopmentIssuer(Path(home))
        parts = ApiParts(
            settings=settings,
            clock=clock,
            database=database,
            authenticator=Authenticator.from_settings(settings.auth, issuer),
            intake=Intake(clock, max_body_bytes=1, max_waiting_bytes=1, contents=guard.contents),
            register=_never,
            register_chain=_never,
            place_instant=_never,
            feed=FeedReader(database, max_waiting=1),
            previewer=Previewer(None, clock, None, None),
            directory=None,
            guard=guard,
            wake=_never,
        )
        told: dict[str, Any] = create_app(parts).openapi()
    return told


def _never(*_: object) -> Any:
    raise AssertionError("the service never starts")


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`"
    yield ""
    deprecated = " **An older form: use another.**" if operation.get("deprecated") else ""
    yield f"{operation['summary']} {operation.get('description', '')}".strip() + deprecated
    yield ""
    yield f"Token: {_token(operation['security'])}."
    yield ""
    if operation.get("parameters"):
        yield "| Parameter | In | Type | |"
        yield "| --- | --- | --- | --- |"
        for parameter in operation["parameters"]:
            said = [*(["required"] if parameter.get("required") else []), *_said(parameter)]
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {'. '.join(said)} |"
        yield ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from _body(media_type, content)
    yield "| Status | Means | Body |"
    yield "| --- | --- | --- |"
    for status, answer in operation["responses"].items():
        bodies = [_type(content["schema"]) for content in answer.get("content", {}).values()]
        yield f"| {status} | {answer['description']} | {', '.join(bodies)} |"
    yield ""


def _body(media_type: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"Body: {_type(content['schema'])}{'' if media_type == _JSON else f', as `{media_type}`'}."
    yield ""
    example = next(iter(content.get("examples", {}).values()), None)
    if example and media_type == _JSON:
        yield "```json"
        yield json.dumps(example["value"], ensure_ascii=False, indent=2)
        yield "```"
        yield ""


def _token(security: list[Mapping[str, list[str]]]) -> str:
    ways = [
        f"bearer token with the scope `{scopes[0]}`" if (scopes := way.get("bearerAuth")) else "platform access token"
        for way in security
    ]
    return " or ".join(ways) or "none"


def _object(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if "description" in schema:
        yield _cell(schema["description"])
        yield ""
    if schema.get("properties"):
        yield "| Property | Type | |"
        yield "| --- | --- | --- |"
        for property_, told in schema["properties"].items():
            said = [*(["required"] if property_ in schema.get("required", ()) else []), *_said(told)]
            yield f"| `{property_}` | {_type(told)} | {'. '.join(said)} |"
    else:
        yield f"{_type(schema)[:1].upper()}{_type(schema)[1:]}."
    yield ""


def _said(schema: Mapping[str, Any]) -> list[str]:
    """What a schema or a parameter says of itself; of alternatives the first that says something."""
    of = [schema, *schema.get("anyOf", ()), schema.get("schema", {})]
    said = [_cell(each["description"]).rstrip(".") for each in of if each.get("description")][:1]
    default = next((each["default"] for each in of if each.get("default") is not None), None)
    return [*said, *([] if default is None else [f"Default: `{json.dumps(default)}`"])]


def _type(schema: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one for each kind
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [_type(each) for each in alternatives if each.get("type") != "null" and not _by_number(each)]
        return " or ".join(dict.fromkeys(kinds)) or "any"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object, each value {_type(schema['additionalProperties'])}"
    limits = [f"{word} {schema[name]}" for name, word in (("minimum", "from"), ("maximum", "to")) if name in schema]
    kinds = ", ".join(kind) if isinstance(kind, list) else kind
    return " ".join([schema.get("format") if schema.get("format") else kinds, *limits])


def _by_number(schema: Mapping[str, Any]) -> bool:
    """An enum's numbers, which the heading promises for all."""
    return "enum" in schema and all(isinstance(each, int) for each in schema["enum"])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
