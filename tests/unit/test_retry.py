"""How long messages wait before their next try (design 8, "Waiting"; channels 6.1)."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.delivery.retry import report_delay, return_delay, send_delay
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Lane

LADDERS = {
    (Channel.EMAIL, Lane.ORDINARY): (30, 120, 300, 900, 1800, 3600),
    (Channel.SMS, Lane.ORDINARY): (300, 600, 900, 1800, 3600),
    (Channel.EMAIL, Lane.INSTANT): (2, 5, 10, 30),
    (Channel.SMS, Lane.INSTANT): (2, 5, 10, 30),
}


@given(st.sampled_from(list(LADDERS)), st.integers(1, 100))
@pytest.mark.assertion("channels", 95)
def test_each_try_waits_as_its_ladder_says_give_or_take_a_fifth(key: tuple[Channel, Lane], attempt: int) -> None:
    ladder = LADDERS[key]
    seconds = ladder[min(attempt, len(ladder)) - 1]
    assert 0.8 * seconds <= send_delay(*key, attempt).total_seconds() <= 1.2 * seconds


@given(st.integers(1, 100))
@pytest.mark.assertion("channels", 95)
def test_an_ordinary_sms_never_comes_back_within_four_minutes(attempt: int) -> None:
    for lane in (Lane.ORDINARY, Lane.BULK):
        assert send_delay(Channel.SMS, lane, attempt) >= timedelta(minutes=4)


def test_a_message_that_is_given_back_waits_longer_each_time() -> None:
    waits = [return_delay(returns).total_seconds() for returns in range(8)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


@pytest.mark.assertion("channels", 106)
def test_a_report_is_tried_seven_times_in_about_five_minutes() -> None:
    waits = [report_delay(tries) for tries in range(1, 8)]
    assert waits[-1] is None
    assert sum((wait for wait in waits if wait), timedelta()) == timedelta(seconds=316)


@pytest.mark.assertion("channels", 5)
def test_a_passing_trouble_is_no_result() -> None:
    assert "Failed_TransientError" not in list(Reason)
