"""The published document against the service: what it allows is understood, and nothing it allows makes us fail."""

import json
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.core.parameters import ParameterLocation

from serving import ORDERS, Front
from varsel.api.app import OPENAPI_PATH

POSTED: Final = (ORDERS, f"{ORDERS}/email", f"{ORDERS}/sms")


@pytest.fixture(scope="module")
def document(front: Front) -> Any:
    return json.loads(front.client.get(OPENAPI_PATH).content)


@pytest.mark.parametrize("path", POSTED)
def test_a_body_that_the_document_allows_passes_the_first_stage(front: Front, document: Any, path: str) -> None:
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]
    allowed = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=allowed)
    def check(case: schemathesis.Case[Any]) -> None:
        reply = front.client.post(path, case.body)
        if reply.status != 202:
            # of date-times the document says only the format; the contract's form is narrower
            assert not {key for key in reply.errors if key.startswith("$")} - {"$.requestedSendTime"}

    check()


@pytest.mark.parametrize("path", POSTED)
def test_a_body_that_the_document_forbids_is_refused(front: Front, document: Any, path: str) -> None:
    operation = schemathesis.openapi.from_dict(document)[path]["POST"]
    forbidden = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=forbidden)
    def check(case: schemathesis.Case[Any]) -> None:
        assume(case.meta and case.meta.is_negative_at(ParameterLocation.BODY))  # else the credential is
        assert front.client.post(path, case.body).status == 400

    check()


def test_each_operation_documents_the_answers_that_it_gives(document: Any) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"].keys()
            expected = {"400", "401", "403", "503", *(["413", "415"] if "requestBody" in operation else [])}
            assert expected <= answers, (path, method)
            assert answers & {"200", "201", "202", "204"}, (path, method)
