"""The published OpenAPI document is complete and true to itself (http-api 22): examples, links, names, headers."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema_rs import Draft202012Validator

from serving import Front, Orders, make_parts
from varsel.api.app import OPENAPI_PATH, create_app
from varsel.api.requests import Intake
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.schemes import Identifiers, Party, Scheme

Operation = dict[str, Any]
HEADERS: Final = {"201": "Location", "202": "Location", "401": "WWW-Authenticate", "503": "Retry-After"}


@pytest.fixture(scope="module")
def document(front: Front) -> Any:
    return json.loads(front.client.get(OPENAPI_PATH, headers={"Authorization": None}).content)


@pytest.fixture(scope="module")
def operations(document: Any) -> dict[str, Operation]:
    """By operation id, each with its path."""
    found = [(path, operation) for path, item in document["paths"].items() for operation in item.values()]
    named = {operation["operationId"]: {**operation, "path": path} for path, operation in found}
    assert len(named) == len(found), "two operations have one name"
    return named


def contents(operation: Operation) -> Iterator[tuple[str, Any]]:
    """Of the request, and of every answer that has a body."""
    if "requestBody" in operation:
        for content in operation["requestBody"]["content"].values():
            yield "request", content
    for status, answer in operation["responses"].items():
        for content in answer.get("content", {}).values():
            yield status, content


def test_every_body_has_examples_and_each_is_valid_against_its_schema(
    document: Any, operations: dict[str, Operation]
) -> None:
    for name, operation in operations.items():
        for where, content in contents(operation):
            assert content.get("examples"), (name, where)
            schema = {**content["schema"], "components": document["components"]}
            validator = Draft202012Validator(schema, validate_formats=True)
            for example, told in content["examples"].items():
                errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(told["value"])]
                assert errors == [], (name, where, example)


def test_examples_name_no_property_that_the_schema_does_not_know(
    document: Any, operations: dict[str, Operation]
) -> None:
    """Unknown properties are allowed, so a slip of the pen is valid; here nothing else is."""
    components = json.loads(json.dumps(document["components"]))
    for schema in components["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    for name, operation in operations.items():
        for where, content in contents(operation):
            validator = Draft202012Validator({**content["schema"], "components": components})
            for told in content["examples"].values():
                assert validator.is_valid(told["value"]), (name, where)


def test_every_operation_says_what_it_does_and_who_may_call(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        assert re.fullmatch(r"[a-z][A-Za-z0-9]+", name)
        assert operation["summary"].endswith("."), name
        assert operation["tags"], name
        schemes = [scheme for alternative in operation["security"] for scheme in alternative]
        assert (schemes != []) == ("401" in operation["responses"]), name
        assert set(schemes) <= {"bearerAuth", "platformAccessToken"}


def test_every_operation_documents_all_that_it_can_answer(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        answers = operation["responses"]
        assert answers.keys() & {"200", "201", "202", "204"}, name
        assert {"400", "500", "503"} <= answers.keys(), name
        assert "requestBody" not in operation or {"413", "415"} <= answers.keys(), name
        for status, answer in answers.items():
            assert answer["description"], (name, status)
            if status in HEADERS:
                assert answer["headers"][HEADERS[status]]["required"], (name, status)


def test_path_parameters_are_those_of_the_path(operations: dict[str, Operation]) -> None:
    for name, operation in operations.items():
        parameters = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert parameters == set(re.findall(r"\{(\w+)\}", operation["path"])), name


def test_links_lead_to_operations_and_fill_parameters_that_they_have(operations: dict[str, Operation]) -> None:
    leading = 0
    for name, operation in operations.items():
        for answer in operation["responses"].values():
            for link in answer.get("links", {}).values():
                target = operations[link["operationId"]]
                assert link["parameters"].keys() <= {p["name"] for p in target["parameters"]}, name
                leading += 1
    assert leading > 50
    assert all(
        "links" in operation["responses"]["201"] for operation in operations.values() if "201" in operation["responses"]
    )


def test_every_reference_leads_somewhere_and_no_schema_is_left_over(document: Any) -> None:
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)))
    assert references == document["components"]["schemas"].keys()


def test_identifiers_of_other_countries_are_not_called_wrong(tmp_path: Path) -> None:
    clock, nowhere = SystemClock(), Database("host=127.0.0.1 port=1", size=1, name="never opened")
    parts = make_parts(tmp_path, clock, nowhere, Orders().register)
    danish = Identifiers((Scheme("cpr", Party.PERSON, re.compile(r"[0-9]{10}")),))
    intake = Intake(clock, max_body_bytes=1_000, max_waiting_bytes=10_000, identifiers=danish)
    app = create_app(replace(parts, intake=intake))
    person = app.openapi()["components"]["schemas"]["RecipientPersonBody"]["properties"]["nationalIdentityNumber"]
    assert re.search(person["pattern"], "0707614285")


def test_what_belongs_to_gateways_and_the_sandbox_is_not_described(document: Any) -> None:
    assert all(path.startswith(("/notifications/api/v1/", "/profile/", "/registry/")) for path in document["paths"])
