"""How names of persons are written (registries 5, assertions 92 and 93 of its section 10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.recipients.names import NameStyle, person_name
from varsel.settings import RegistrySettings

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


@pytest.mark.parametrize(
    ("register", "written"),
    [
        (("ROLIG", "SOMMER", "FJORD"), "Rolig Sommer Fjord"),
        (("SÁRA", "MÁRET", "O'NEILL"), "Sára Máret O'Neill"),
        (("ANNE-ÅSE", None, "VAN DER BERG"), "Anne-Åse van der Berg"),
        (("VAN", None, "ÅS"), "Van Ås"),
        ((None, None, None), ""),
    ],
)
def test_in_title_case_only_first_letters_are_capitals_and_particles_are_small(
    register: tuple[str | None, str | None, str | None], written: str
) -> None:
    assert NameStyle.from_settings(RegistrySettings(person_name_case="title")).write(*register) == written


@given(PART, PART, PART)
def test_names_are_left_as_they_are_registered_unless_the_settings_say_otherwise(
    first: str | None, middle: str | None, last: str | None
) -> None:
    assert NameStyle.from_settings(RegistrySettings()).write(first, middle, last) == person_name(first, middle, last)
