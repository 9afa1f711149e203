"""Identifier schemes beside Norway's own (registries 1.5): patterns, check digits, and what is taken when."""

import re
import string
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from varsel.domain.identifiers import Level, check_digits, synthetic_organisation_number, synthetic_person_id
from varsel.domain.schemes import (
    MAX_LENGTH,
    NORWEGIAN,
    CheckDigit,
    Identifiers,
    Party,
    Scheme,
    mask_identifier,
)

DIGITS = st.text(string.digits, min_size=4, max_size=18)
NUMBERS = (CheckDigit.LUHN, CheckDigit.MOD_11, CheckDigit.ISO7064_MOD_11_10, CheckDigit.ISO7064_MOD_11_2)
ENDINGS = {
    CheckDigit.ISO7064_MOD_11_2: [*string.digits, "X"],
    CheckDigit.ISO7064_MOD_97_10: ["".join(pair) for pair in product(string.digits, repeat=2)],
}


def scheme(check: CheckDigit, pattern: str = ".*", party: Party = Party.PERSON) -> Scheme:
    return Scheme("test", party, re.compile(pattern), check)


def completed(check: CheckDigit, payload: str) -> str:
    """The payload with its check digit. Some have none, of mod11."""
    fitting = [payload + end for end in ENDINGS.get(check, string.digits) if scheme(check).fits(payload + end)]
    assume(fitting)
    assert len({int(value[-2:]) % 97 if check is CheckDigit.ISO7064_MOD_97_10 else value for value in fitting}) == 1
    return fitting[0]


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (CheckDigit.LUHN, "79927398713"),
        (CheckDigit.LUHN, "811228-9874"),
        (CheckDigit.MOD_11, "310001007"),
        (CheckDigit.MOD_11, "13585628"),
        (CheckDigit.ISO7064_MOD_11_10, "86095742719"),
        (CheckDigit.ISO7064_MOD_11_2, "0000-0002-1825-0097"),
        (CheckDigit.ISO7064_MOD_11_2, "0000-0002-1694-233X"),
        (CheckDigit.ISO7064_MOD_97_10, "5493001KJTIIGC8Y1R12"),
    ],
)
def test_published_examples_fit_their_rule(check: CheckDigit, value: str) -> None:
    assert scheme(check).fits(value)


@pytest.mark.parametrize("check", [*NUMBERS, CheckDigit.ISO7064_MOD_97_10])
@given(payload=DIGITS, place=st.integers(0, 20), digit=st.sampled_from(string.digits))
def test_a_check_digit_finds_every_wrong_digit(check: CheckDigit, payload: str, place: int, digit: str) -> None:
    value = completed(check, payload)
    place %= len(value)
    assume(value[place] not in (digit, "X"))
    assert not scheme(check).fits(value[:place] + digit + value[place + 1 :])


@pytest.mark.parametrize("check", [CheckDigit.MOD_11, CheckDigit.ISO7064_MOD_11_2, CheckDigit.ISO7064_MOD_97_10])
@given(payload=st.text(string.digits, min_size=4, max_size=9), place=st.integers(0, 20))
def test_those_of_a_prime_find_two_digits_that_changed_places(check: CheckDigit, payload: str, place: int) -> None:
    value = completed(check, payload)
    place %= len(payload) - 1
    swapped = value[:place] + value[place + 1] + value[place] + value[place + 2 :]
    assume(swapped != value)
    assert not scheme(check).fits(swapped)


@given(st.integers(0, 1_000_000))
def test_the_weights_of_mod11_are_those_of_organisation_numbers(index: int) -> None:
    assert scheme(CheckDigit.MOD_11).fits(synthetic_organisation_number(7, index))


@given(st.text(max_size=80), st.sampled_from(CheckDigit))
def test_any_text_fits_or_does_not(value: str, check: CheckDigit) -> None:
    fits = scheme(check, r"(?s).*").fits(value)
    assert not fits or (1 <= len(value) <= MAX_LENGTH and not any(character.isspace() for character in value))


@pytest.mark.parametrize("check", [rule for rule in CheckDigit if rule is not CheckDigit.NONE])
@pytest.mark.parametrize("value", ["7", "-", "ABC", "X", "٣٤٥٦", "1²", "ßßßß"])
def test_what_has_no_digits_to_check_does_not_fit(check: CheckDigit, value: str) -> None:
    assert not scheme(check).fits(value)


def test_the_pattern_fits_the_whole_identifier() -> None:
    six = scheme(CheckDigit.NONE, "[0-9]{6}")
    assert six.fits("123456")
    assert not six.fits("1234567")
    assert not six.fits("x123456")
    assert not six.fits("123456\n")


def test_a_group_says_which_part_is_checked() -> None:
    swedish = scheme(CheckDigit.LUHN, "(?:19|20)?(?P<checked>[0-9]{6}-?[0-9]{4})")
    assert swedish.fits("811228-9874")
    assert swedish.fits("19811228-9874")
    assert not swedish.fits("19811228-9873")


def test_identifiers_of_other_schemes_are_taken_beside_those_of_norway() -> None:
    person = scheme(CheckDigit.NONE, "[A-Z]{2}[0-9]{6}")
    organisation = scheme(CheckDigit.MOD_11, "[0-9]{8}", Party.ORGANISATION)
    both = Identifiers((person, organisation))
    assert both.is_person("AB123456")
    assert both.is_person("14838510036")
    assert both.is_organisation("13585628")
    assert both.is_organisation("310001007")
    assert not both.is_organisation("AB123456")
    assert not both.is_person("13585628")
    assert not NORWEGIAN.is_person("AB123456")
    abroad = Identifiers((person,), norwegian=False)
    assert not abroad.is_person("14838510036")
    assert not abroad.is_organisation("310001007")
    assert not abroad.may_be_real("14838510036")


def test_the_level_judges_norwegian_identifiers_alone() -> None:
    anything = scheme(CheckDigit.NONE, "[a-z]+")
    strict = Identifiers((anything,), level=Level.STRICT)
    assert NORWEGIAN.is_person("00000000000")
    assert strict.at(Level.CHECKSUM).is_person("00000000000")
    assert not strict.is_person("00000000000")
    assert not strict.is_organisation("123456789")
    assert strict.is_person("abc")


def test_only_numbers_without_a_synthetic_offset_may_be_real() -> None:
    strict = NORWEGIAN.at(Level.STRICT)
    real = f"010107501{check_digits('010107501')}"  # 1 January 1807 or 1907: nobody alive
    assert strict.is_person(real)
    assert strict.may_be_real(real)
    assert not strict.may_be_real("14838510036")
    assert not strict.may_be_real("not a number")


@given(st.one_of(st.integers(0, 10_000).map(lambda index: synthetic_person_id(3, index)), st.text(max_size=64)))
def test_a_masked_identifier_keeps_its_length_and_hides_at_least_its_second_half(value: str) -> None:
    masked = mask_identifier(value)
    assert len(masked) == len(value)
    hidden = 5 if len(value) == 11 and value.isdigit() and value.isascii() else (len(value) + 1) // 2
    assert masked.endswith("*" * hidden)
    assert value.startswith(masked.rstrip("*"))


def test_of_a_national_identity_number_the_date_is_shown() -> None:
    assert mask_identifier("14838510036") == "148385*****"
