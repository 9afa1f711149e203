"""The assertions of the specifications, by number: some are proven whole, and marks name what exists."""

import pytest

from assertions import DOCUMENTS, read


@pytest.mark.parametrize("document", ["http-api", "channels", "channels-faults", "registries", "registries-faults"])
def test_every_assertion_is_proven_or_overridden_on_purpose(document: str) -> None:
    assert read()[document].open == []


def test_marks_and_the_page_of_compatibility_name_assertions_that_exist() -> None:
    for name, document in read().items():
        named = document.proven.keys() | document.overridden
        assert named <= set(range(1, DOCUMENTS[name] + 1)), name
        assert document.overridden, name
