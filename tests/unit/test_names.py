"""How names of persons are written (registries 5, assertions 92 and 93 of its section 10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.recipients.names import person_name

PART = st.none() | st.text(max_size=8)


@pytest.mark.assertion("registries", 92)
@pytest.mark.parametrize(
    ("parts", "display", "short"),
    [
        (("ROLIG", "SOMMER", "FJORD"), "ROLIG SOMMER FJORD", "FJORD ROLIG SOMMER"),
        (("ROLIG", None, "FJORD"), "ROLIG FJORD", "FJORD ROLIG"),
        ((" ROLIG ", "", " FJORD"), "ROLIG FJORD", "FJORD ROLIG"),
        ((None, None, "FJORD"), "Mangler FJORD", "FJORD Mangler"),
        (("ROLIG", None, None), "ROLIG Navn", "Navn ROLIG"),
        ((None, "SOMMER", None), "Mangler SOMMER Navn", "Navn Mangler SOMMER"),
        ((None, None, None), "", ""),
    ],
)
def test_names_are_put_together_in_the_order_asked_for(
    parts: tuple[str | None, str | None, str | None], display: str, short: str
) -> None:
    assert person_name(*parts) == display
    assert person_name(*parts, "short") == short


@given(PART, PART, PART)
def test_no_name_has_blanks_around_it_and_both_orders_hold_the_same_words(
    first: str | None, middle: str | None, last: str | None
) -> None:
    display, short = person_name(first, middle, last), person_name(first, middle, last, "short")
    assert display == display.strip()
    assert sorted(display.split()) == sorted(short.split())
