"""What users may register as addresses (registries 3.7, 4.2), and how often somebody may ask."""

import re
import string
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from varsel.api.pace import Pace
from varsel.domain.address import valid_email
from varsel.recipients.profile import codes
from varsel.recipients.profile.values import (
    MAX_EMAIL,
    MAX_PHONE,
    comparable,
    international_phone,
    loose_phone,
    own_email,
    resource_id,
)

anything = st.text(max_size=60) | st.text(string.printable + "æøå@", max_size=60)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("eva@example.com", True),
        (" eva@example.com ", True),
        ("e.v+a!#$%&'*=?^_`{|}~-@example.com", True),
        ("eva@sub.æøå.example", True),
        ('"e v a"@example.com', True),
        (r'"e\"v"@example.com', True),
        ("eva@127.0.0.1", True),
        ("éva@example.com", False),
        ("æva@example.com", False),
        (".eva@example.com", False),
        ("eva..a@example.com", False),
        ("eva@example", False),
        ("eva@-example.com", False),
        ("eva@example.c", False),
        ("eva@[127.0.0.1]", False),
        ('"e\nv"@example.com', False),
        ('"æ"@example.com', False),
        ("eva@a.b.c.d.e.f.g.h.i.j.com", False),
        (f"{'a' * 390}@example.com", False),
        ("", False),
    ],
)
def test_own_addresses_are_those_of_the_rule(value: str, fits: bool) -> None:
    assert own_email(value) is fits


@given(anything)
def test_an_own_address_is_one_line_with_two_sides(value: str) -> None:
    if own_email(value):
        local, at, host = value.strip().rpartition("@")
        assert local
        assert at
        assert host
        assert len(value) <= MAX_EMAIL
        assert not re.search(r"[\r\n\x00]", value.strip())
        if not local.startswith('"'):
            assert valid_email(value)


@given(anything | st.from_regex(r"(\+|00)?[0-9]{4,30}", fullmatch=True))
def test_an_international_number_is_a_loose_one_with_a_plus(value: str) -> None:
    if international_phone(value):
        assert loose_phone(value)
        assert value.strip().startswith("+")
    if loose_phone(value):
        assert len(value) <= MAX_PHONE
        assert re.fullmatch(r"\+?[0-9]+", value.strip(), re.ASCII)


@given(st.from_regex(r"urn:altinn:resource:[a-z0-9_-]{0,140}", fullmatch=True) | anything)
def test_a_resource_is_a_urn_and_four_characters_or_more(urn: str) -> None:
    bare = resource_id(urn)
    if bare is not None:
        assert urn == f"urn:altinn:resource:{bare}"
        assert 4 <= len(bare) <= 128


@given(anything)
def test_what_is_comparable_stays_so(value: str) -> None:
    assert comparable(comparable(value)) == comparable(value) == comparable(f"  {value}\n")


def test_codes_have_six_digits_and_none_begins_with_zero() -> None:
    drawn = [codes.new_code() for _ in range(2_000)]
    assert all(re.fullmatch(r"[1-9][0-9]{5}", code) for code in drawn)
    assert len(set(drawn)) > 1_900


@given(st.lists(st.floats(0, 30), min_size=1, max_size=60))
@example([0.0, 0.0, 29.999999999999996, 29.999999999999996])
def test_nobody_gets_more_turns_than_the_limit_in_any_window(pauses: list[float]) -> None:
    now, taken = 0.0, []
    pace = Pace(3, timedelta(seconds=60), lambda: now)
    for pause in pauses:
        now += pause
        wait = pace.take(1)
        if wait is None:
            taken.append(now)
        else:
            assert timedelta() < wait <= timedelta(seconds=60)
            later = now + wait.total_seconds() + 0.001
            assert sum(later - at < 60 for at in taken) < 3
    assert all(third - first >= 60 for first, third in zip(taken, taken[3:], strict=False))


def test_each_has_turns_of_their_own_and_who_was_quiet_is_forgotten() -> None:
    pace = Pace(1, timedelta(seconds=60), lambda: 0.0)
    assert [pace.take(who) is None for who in (1, 2, 1)] == [True, True, False]
    assert all(pace.take(who) is None for who in range(10, 10_020))
    assert pace.take(1) is None
