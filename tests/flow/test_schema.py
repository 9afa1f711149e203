"""Schemathesis finds nothing in some hundred cases against a running service; `make schema` looks at 20 000."""

from schema_run import run, sandbox


def test_a_running_service_is_what_its_document_says() -> None:
    with sandbox() as service:
        finding = run(service, 2, "--phases", "examples,fuzzing,stateful", timeout=300)
    assert finding.clean, finding.text[-10_000:]
    assert finding.cases > 200
