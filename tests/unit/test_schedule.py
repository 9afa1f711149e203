"""The daytime window and expiry, on every day of the year (processing 6.4, 6.5)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.order import SendingTime
from varsel.domain.schedule import OSLO, SendWindow, sms_expiry

WINDOW = SendWindow()
TWO_DAYS = timedelta(hours=48)
START = datetime(2026, 1, 1, tzinfo=UTC)
instants = st.integers(0, 2 * 365 * 86_400_000).map(lambda ms: START + timedelta(milliseconds=ms))


@given(instants)
def test_the_next_opening_is_open_and_nothing_before_it_is(now: datetime) -> None:
    opening = WINDOW.next_opening(now)
    assert WINDOW.is_open(opening)
    assert now <= opening <= now + timedelta(hours=17)
    if opening > now:
        assert not WINDOW.is_open(opening - timedelta(microseconds=1))
        assert not WINDOW.is_open(now + (opening - now) / 2)


@given(instants)
def test_it_is_open_exactly_between_nine_and_five_on_oslos_clock(now: datetime) -> None:
    local = now.astimezone(OSLO)
    seconds = local.hour * 3600 + local.minute * 60 + local.second + local.microsecond / 1e6
    assert WINDOW.is_open(now) == (9 * 3600 < seconds < 17 * 3600)


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        ("2026-11-22 08:59", False),
        ("2026-11-22 09:00", False),
        ("2026-11-22 09:01", True),  # a Sunday
        ("2026-11-22 16:59", True),
        ("2026-11-22 17:00", False),
    ],
)
@pytest.mark.assertion("processing", 93, 94)
def test_both_ends_are_closed(local: str, is_open: bool) -> None:
    assert WINDOW.is_open(datetime.fromisoformat(local).replace(tzinfo=OSLO)) is is_open


@pytest.mark.parametrize(
    ("requested", "expires"),
    [
        ("2025-08-25T10:00", "2025-08-27T10:00"),
        ("2025-08-25T05:00", "2025-08-27T07:00"),
        ("2025-08-25T20:00", "2025-08-28T07:00"),
        ("2025-08-25T07:00", "2025-08-28T07:00"),
        ("2025-10-24T20:00", "2025-10-27T08:00"),
    ],
)
@pytest.mark.assertion("processing", 97, 98)
def test_a_daytime_sms_lives_two_days_of_windows(requested: str, expires: str) -> None:
    at = datetime.fromisoformat(requested).replace(tzinfo=UTC)
    expected = datetime.fromisoformat(expires).replace(tzinfo=UTC)
    assert sms_expiry(at, SendingTime.DAYTIME, WINDOW, TWO_DAYS) == expected
    for other in (SendingTime.ANYTIME, None):
        assert sms_expiry(at, other, WINDOW, TWO_DAYS) == at + TWO_DAYS


def test_an_always_open_window_is_open_at_night() -> None:
    night = datetime(2026, 11, 23, 2, tzinfo=UTC)
    assert SendWindow(always_open=True).next_opening(night) == night
