"""The published document of the order chains against the service (http-api 13, 22)."""

import json
import re
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.core.parameters import ParameterLocation

from serving import Front
from varsel.api.app import OPENAPI_PATH

CHAINS: Final = "/notifications/api/v1/future/orders"
TIMES: Final = re.compile(r"\$\.(?:reminders\[\d+\]\.)?(?:requestedSendTime|delay)")
"""Of these the document says only the format; the contract's form is narrower."""
MODES: Final = schemathesis.GenerationMode
PATIENT: Final = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def document(front: Front) -> Any:
    return json.loads(front.client.get(OPENAPI_PATH).content)


def bodies(document: Any, mode: schemathesis.GenerationMode) -> Any:
    return schemathesis.openapi.from_dict(document)[CHAINS]["POST"].as_strategy(generation_mode=mode)


def test_a_body_that_the_document_allows_passes_the_first_stage(front: Front, document: Any) -> None:
    @PATIENT
    @given(case=bodies(document, MODES.POSITIVE))
    def check(case: schemathesis.Case[Any]) -> None:
        reply = front.client.post(CHAINS, case.body)
        if reply.status != 201:
            assert all(TIMES.fullmatch(key) for key in reply.errors if key.startswith("$"))

    check()


def test_a_body_that_the_document_forbids_is_refused(front: Front, document: Any) -> None:
    @PATIENT
    @given(case=bodies(document, MODES.NEGATIVE))
    def check(case: schemathesis.Case[Any]) -> None:
        assume(case.meta and case.meta.is_negative_at(ParameterLocation.BODY))  # else the credential is
        assert front.client.post(CHAINS, case.body).status == 400

    check()


def test_the_feed_is_documented_as_an_array_with_its_parameters(document: Any) -> None:
    feed = document["paths"]["/notifications/api/v1/future/shipment/feed"]["get"]
    assert [parameter["name"] for parameter in feed["parameters"]] == ["seq", "pageSize", "orderBy", "wait"]
    reference = feed["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    answer = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert answer["type"] == "array"
    entry = document["components"]["schemas"][answer["items"]["$ref"].rpartition("/")[2]]
    assert {"sequenceNumber", "shipmentId", "recipients", "status", "lastUpdate", "shipmentType"} <= set(
        entry["required"]
    )
