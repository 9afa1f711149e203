"""The assertions of the specifications, by number: the HTTP contract is proven whole, and marks name what exists."""

from assertions import DOCUMENTS, read


def test_every_assertion_of_the_http_contract_is_proven_or_overridden_on_purpose() -> None:
    assert read()["http-api"].open == []


def test_marks_and_the_page_of_compatibility_name_assertions_that_exist() -> None:
    for name, document in read().items():
        named = document.proven.keys() | document.overridden
        assert named <= set(range(1, DOCUMENTS[name] + 1)), name
        assert document.overridden, name
