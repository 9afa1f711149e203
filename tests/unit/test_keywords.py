"""Keywords in texts (processing 5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.keywords import fill, has_keyword

pieces = st.lists(
    st.sampled_from(["$recipientName$", "$recipientNumber$", "Hei ", "$$ ", "$RecipientName$ ", "æ"]), max_size=8
)
texts = pieces.map("".join)
values = st.sampled_from(["", "Kari Nordmann", "$recipientNumber$", "$recipientName$", "<b>&"])


@given(pieces, values, values)
def test_every_keyword_is_replaced_and_values_are_never_read_again(text: list[str], name: str, number: str) -> None:
    replaced = {"$recipientName$": name, "$recipientNumber$": number}
    assert fill("".join(text), name=name, number=number) == "".join(replaced.get(piece, piece) for piece in text)


@given(texts)
def test_without_a_party_the_keywords_stay(text: str) -> None:
    assert fill(text, name=None, number="310001007") == text


@pytest.mark.assertion("processing", 83)
def test_another_case_is_ordinary_text() -> None:
    assert not has_keyword("$RecipientName$ $recipientname$")


@pytest.mark.assertion("registries", 96)
def test_values_are_escaped_in_markup_alone() -> None:
    assert fill("$recipientName$", name="<b>&", number="", markup=True) == "&lt;b&gt;&amp;"
    assert fill("$recipientName$", name="<b>&", number="") == "<b>&"
