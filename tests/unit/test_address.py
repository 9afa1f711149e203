"""The rules of addresses: http-api 7.1, 7.2; processing 6.10; registries 1.8; channels 3.2 and assertions 7, 72."""

import phonenumbers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from varsel.domain.address import e164, mask_email, mask_mobile, normalise_mobile, valid_email, valid_mobile

VALID_EMAILS = [
    "æge_sjøåsen@domain.com",
    "john.doe@sub.domain.example",
    "gratis-netflix+1@example.com",
    "a@1.2.3.4",
    "a@999.2.3.4",
    " a@b.no ",
    "a;b@c.no",
    "a@bøker.no",
    f"a@{'x' * 63}.no",
    f"a@{'b.' * 9}no",
    f"{'l' * 500}@c.no",
]
INVALID_EMAILS = [
    "",
    "   ",
    ".user@example.com",
    "user.@example.com",
    "user@example..com",
    "user@exa!mple.com",
    "user@example",
    "user@",
    "@example.com",
    "one@example.com;two@example.com",
    "one@example.com,two@example.com",
    "a b@c.no",
    "a/b@c.no",
    '"a"@c.no',
    "a@b@c.no",
    "a@-b.no",
    "a@b-.no",
    "a@b.n",
    "a@b.n0",
    "a@b.abcdefghijklmno",
    "a@1.2.3",
    "a@bücher.no",
    f"a@{'x' * 64}.no",
    f"a@{'b.' * 10}no",
    "a@b.no\nx",
    "a@b\0.no",
]


@pytest.mark.parametrize("value", VALID_EMAILS)
def test_an_address_of_the_contract_is_valid(value: str) -> None:
    assert valid_email(value)


@pytest.mark.parametrize("value", INVALID_EMAILS)
def test_an_address_outside_the_contract_is_invalid(value: str) -> None:
    assert not valid_email(value)


def test_no_address_is_invalid() -> None:
    assert not valid_email(None)
    assert not valid_mobile(None)


@given(st.text(alphabet=" \t\u00a0\r\n", max_size=3), st.sampled_from(VALID_EMAILS + INVALID_EMAILS))
def test_surrounding_blanks_never_change_the_verdict_on_an_address(blank: str, value: str) -> None:
    assert valid_email(blank + value + blank) == valid_email(value)


@given(st.text())
def test_a_valid_address_has_one_at_sign_and_no_blank_inside(value: str) -> None:
    if valid_email(value):
        assert value.count("@") == 1
        assert value.split() == [value.strip()]


VALID_MOBILES = [
    "+4740000001",
    "004740000000",
    "+4790000000",
    "+47 99 99 99 99",
    "+47 99 99 99 99 ",
    "+47 999-99-999",
    "+233242426224",
    "+4722222222",
    "004746583920",
]
INVALID_MOBILES = [
    "",
    "40000001",
    " +4799999999",
    "++4740000000",
    "00+4740000000",
    "00004740000000",
    "+4712345678",
    "+479999999",
    "+479999999999",
    "+4750000004",
    "+47900000001",
    "+14790000000",
    "+47invalidChar",
    "0",
    "+",
    "00",
    "99315000",
    "81549300",
    "4123",
]


@pytest.mark.parametrize("value", VALID_MOBILES)
def test_a_number_of_the_contract_is_valid(value: str) -> None:
    assert valid_mobile(value)
    assert e164(value) is not None


@pytest.mark.parametrize("value", INVALID_MOBILES)
def test_a_number_outside_the_contract_is_invalid(value: str) -> None:
    assert not valid_mobile(value)


def library_says(value: str) -> bool:
    """The rule as written: no fast path."""
    plus = "+" + value[2:] if value.startswith("00") else value
    if not plus.startswith("+") or plus.startswith("++"):
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(plus, None))
    except phonenumbers.NumberParseException:
        return False


@given(st.sampled_from(["+47", "0047", "+", "00", ""]), st.from_regex(r"\A\d{0,10}\s?\Z"))
@example("+47", "45890000")
@example("+47", "45300000")
@example("+47", "79000000")
@example("+47", "٩٩٩٩٩٩٩٩")
def test_the_fast_path_and_the_library_agree_on_every_number(prefix: str, digits: str) -> None:
    assert valid_mobile(prefix + digits) == library_says(prefix + digits)


@given(st.text())
def test_any_text_gets_a_verdict_and_a_valid_number_has_its_wire_form(value: str) -> None:
    number = e164(value)
    if valid_mobile(value):
        assert number is not None
        assert number.startswith("+")
        assert number[1:].isascii()
        assert number[1:].isdigit()
        assert e164(number) == number


@pytest.mark.parametrize(
    ("given_as", "kept_as"),
    [
        ("99315000", "+4799315000"),
        ("004746583920", "+4746583920"),
        ("81549300", "81549300"),
        ("4123", "4123"),
        ("+4740000001", "+4740000001"),
        ("", ""),
    ],
)
def test_a_registry_number_is_normalised(given_as: str, kept_as: str) -> None:
    assert normalise_mobile(given_as) == kept_as


@pytest.mark.parametrize("value", ["+4799999999", "004799999999", "+47 999 99 999", "99999999", "+47 99 99 99 99 "])
def test_every_way_of_writing_a_number_has_one_wire_form(value: str) -> None:
    assert e164(value) == "+4799999999"


def test_two_plus_signs_have_no_wire_form() -> None:
    assert e164("++4799999999") is None


@pytest.mark.assertion("registries", 13)
@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("recipient@example.com", "re***@example.com"),
        ("ab@example.test", "***@example.test"),
        ("abc@example.test", "ab***@example.test"),
        ("abc", ""),
        ("a@example.com", "***@example.com"),
        ("no address", ""),
        ("@example.com", ""),
        ("recipient@", ""),
        ("", ""),
    ],
)
@pytest.mark.assertion("channels", 7)
def test_an_email_address_is_masked(value: str, masked: str) -> None:
    assert mask_email(value) == masked


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("+4799999912", "+47******12"),
        ("0047 99 99 99 12", "+47******12"),
        ("+233242426224", "+233*******24"),
        ("x", "***"),
    ],
)
def test_a_number_is_masked(value: str, masked: str) -> None:
    assert mask_mobile(value) == masked
