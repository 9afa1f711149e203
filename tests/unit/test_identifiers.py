"""Identity and organisation numbers: vectors of registries appendix B, assertions 1-11 of its section 10."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.identifiers import (
    PUBLISHED_EXAMPLES,
    SYNTHETIC_ORGANISATIONS,
    SYNTHETIC_PERSONS,
    Level,
    check_digits,
    is_d_number,
    is_synthetic,
    month_offset,
    organisation_check_digit,
    pseudonym,
    subject_key,
    synthetic_organisation_number,
    synthetic_person_id,
    valid_organisation_number,
    valid_person_id,
)

SYNTHETIC = [
    "20914695016",
    "17902349936",
    "14838510036",
    "14838510117",
    "14838510389",
    "31920170016",
    "29820050124",
    "45869030027",
    "45869030108",
    "41810421043",
    "01913299880",
    "01913299899",
    "01913299805",
]
PERSONS = st.builds(synthetic_person_id, st.integers(), st.integers(0, SYNTHETIC_PERSONS - 1), d_number=st.booleans())
ORGANISATIONS = st.builds(synthetic_organisation_number, st.integers(), st.integers(0, SYNTHETIC_ORGANISATIONS - 1))


@pytest.mark.assertion("registries", 1)
@pytest.mark.parametrize("number", SYNTHETIC)
def test_synthetic_numbers_pass_the_strict_check_with_offset_80(number: str) -> None:
    assert valid_person_id(number)
    assert month_offset(number) == 80
    assert is_synthetic(number)


@pytest.mark.assertion("registries", 2)
@pytest.mark.parametrize("number", sorted(PUBLISHED_EXAMPLES))
def test_published_numbers_of_the_reform_pass_and_count_as_synthetic(number: str) -> None:
    assert valid_person_id(number)
    assert month_offset(number) == 0
    assert is_synthetic(number)


def test_a_number_without_offset_may_be_real() -> None:
    assert not is_synthetic("02013299946")


@pytest.mark.assertion("registries", 2)
def test_only_remainder_0_passes_when_the_old_scheme_alone_is_asked_for() -> None:
    passing = [n for n in ("02013299997", "02013299903", "02013299911") if valid_person_id(n, old_scheme_only=True)]
    assert passing == ["02013299997"]


@pytest.mark.assertion("registries", 3)
def test_nine_digits_give_up_to_four_numbers_from_2032() -> None:
    assert [check_digits("020132999", r) is not None for r in range(4)] == [True, False, True, True]
    assert check_digits("148385100") == "36"
    assert check_digits("148385102") is None
    assert check_digits("148385104") is None


@pytest.mark.assertion("registries", 4)
@pytest.mark.parametrize(("number", "offset"), [("45869030027", 80), ("10417011140", 40), ("10667011278", 65)])
def test_each_synthetic_population_has_its_month_offset(number: str, offset: int) -> None:
    assert valid_person_id(number)
    assert month_offset(number) == offset
    assert is_d_number(number) == number.startswith("4")


@pytest.mark.assertion("registries", 5)
def test_check_digits_alone_do_not_make_a_date() -> None:
    assert valid_person_id("00000000000", Level.CHECKSUM)
    assert not valid_person_id("00000000000")
    assert not valid_person_id("31928510036", Level.CHECKSUM)
    assert month_offset("00000000000") is None


@pytest.mark.assertion("registries", 7)
def test_29_february_exists_in_years_divisible_by_4_only() -> None:
    assert valid_person_id("29820050124")
    in_2001 = next(nine + digits for i in range(1000) if (digits := check_digits(nine := f"298201{i:03}")) is not None)
    assert valid_person_id(in_2001, Level.CHECKSUM)
    assert not valid_person_id(in_2001)


@pytest.mark.parametrize("day", ["00", "32", "40", "72", "81", "99"])
def test_a_day_that_no_month_has_is_refused(day: str) -> None:
    numbers = (nine + d for i in range(1000) if (d := check_digits(nine := f"{day}8385{i:03}")) is not None)
    assert not any(valid_person_id(number) for number in numbers)


@pytest.mark.assertion("registries", 6)
@given(PERSONS, st.integers(0, 10), st.integers(1, 9))
def test_no_single_wrong_digit_passes_either_scheme(number: str, place: int, shift: int) -> None:
    wrong = str((int(number[place]) + shift) % 10)
    assert not valid_person_id(number[:place] + wrong + number[place + 1 :], Level.CHECKSUM)


@given(st.text(max_size=13))
def test_only_eleven_ascii_digits_have_the_shape(text: str) -> None:
    assert valid_person_id(text, Level.SHAPE) == (len(text) == 11 and set(text) <= set(string.digits))


@pytest.mark.assertion("registries", 8)
@pytest.mark.parametrize("text", [" 14838510036", "1483851003", "148385100366", "1483851003a", "١٤٨٣٨٥١٠٠٣٦", ""])
def test_blanks_letters_and_foreign_digits_are_refused_at_every_level(text: str) -> None:
    assert not any(valid_person_id(text, level) for level in Level)


@pytest.mark.assertion("registries", 9)
@pytest.mark.parametrize("number", ["310001007", "313605590", "974760673", "991825827"])
def test_organisation_numbers_with_the_right_check_digit_pass(number: str) -> None:
    assert valid_organisation_number(number)


@pytest.mark.assertion("registries", 9)
@pytest.mark.parametrize("number", ["123456789", "987654321", "31000100", "3100010077", "٣١٠٠٠١٠٠٧", " 310001007"])
def test_other_organisation_numbers_are_refused(number: str) -> None:
    assert not valid_organisation_number(number)


@pytest.mark.assertion("registries", 9)
def test_some_eight_digits_belong_to_no_organisation() -> None:
    assert organisation_check_digit("31000100") == "7"
    assert organisation_check_digit("31000104") is None


def test_an_organisation_number_of_zeros_passes_the_arithmetic_only() -> None:
    assert valid_organisation_number("000000000", Level.CHECKSUM)
    assert not valid_organisation_number("000000000")


@given(PERSONS)
def test_every_generated_person_is_valid_and_synthetic(number: str) -> None:
    assert valid_person_id(number, old_scheme_only=True)
    assert month_offset(number) == 80


@given(ORGANISATIONS)
def test_every_generated_organisation_is_valid(number: str) -> None:
    assert valid_organisation_number(number)
    assert number[:2] in {"31", "21"}


@pytest.mark.assertion("registries", 11)
def test_a_seed_gives_the_same_distinct_persons_each_time_and_another_seed_gives_others() -> None:
    def persons(seed: int) -> list[str]:
        return [synthetic_person_id(seed, index) for index in range(10_000)]

    assert persons(1) == persons(1)
    assert len(set(persons(1))) == 10_000
    assert persons(1) != persons(2)
    assert len(set(persons(1)) & set(persons(2))) < 1_000


@given(st.integers(), st.integers(0, SYNTHETIC_PERSONS - 501))
def test_neighbouring_indices_give_different_persons(seed: int, first: int) -> None:
    assert len({synthetic_person_id(seed, first + i) for i in range(500)}) == 500


def test_the_largest_population_of_organisations_has_no_repeats() -> None:
    numbers = {synthetic_organisation_number(7, index) for index in range(0, SYNTHETIC_ORGANISATIONS, 9)}
    assert len(numbers) == SYNTHETIC_ORGANISATIONS / 9


def test_an_index_beyond_the_population_is_refused() -> None:
    assert valid_person_id(synthetic_person_id(1, SYNTHETIC_PERSONS - 1))
    assert valid_organisation_number(synthetic_organisation_number(1, SYNTHETIC_ORGANISATIONS - 1))
    with pytest.raises(ValueError, match="index"):
        synthetic_person_id(1, SYNTHETIC_PERSONS)
    with pytest.raises(ValueError, match="index"):
        synthetic_organisation_number(1, SYNTHETIC_ORGANISATIONS)


def test_a_leading_zero_survives_key_and_pseudonym() -> None:
    assert subject_key("01916012086") == "01916012086"
    assert pseudonym("01916012086", b"key") != pseudonym("1916012086", b"key")


@given(PERSONS, st.binary(min_size=1))
def test_a_pseudonym_is_stable_under_its_key_and_shows_no_digit_run_of_the_number(number: str, key: bytes) -> None:
    masked = pseudonym(number, key)
    assert masked == pseudonym(number, key)
    assert masked.startswith("nin:")
    assert len(masked) == 14
    assert masked != pseudonym(number, key + b"x")
