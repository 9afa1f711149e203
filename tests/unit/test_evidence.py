"""Reports in any order: forward only, and a fate is left only by a correction (design 8; channels assertions 22-25)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.delivery.evidence import Effect, Fit, Standing, apply
from varsel.delivery.ports import Verdict
from varsel.domain.notification import FATES, NEXT, Reason, State

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
PERIOD = timedelta(days=14)
OVERRULING = {Reason.BOUNCED, Reason.FILTERED_SPAM, Reason.QUARANTINED, Reason.SUPPRESSED_RECIPIENT}


def standing(state: State, reason: Reason | None = None, *, soft: bool = False, settled: bool = False) -> Standing:
    return Standing(state, settled, soft, reason, NOW)


def meet(
    before: Standing, verdict: Verdict, reason: Reason | None = None, *, soft: bool = False, now: datetime = NOW
) -> Effect:
    return apply(before, verdict, reason=reason, soft=soft, now=now, correction_period=PERIOD)


reports = st.tuples(st.sampled_from(Verdict), st.sampled_from(Reason), st.booleans())


@given(st.sampled_from([State.CLAIMED, State.UNKNOWN, State.ACCEPTED]), st.lists(reports, max_size=12))
def test_whatever_comes_a_fate_is_left_only_by_a_correction(
    first: State, came: list[tuple[Verdict, Reason, bool]]
) -> None:
    before = standing(first)
    for verdict, reason, soft in came:
        effect = meet(before, verdict, reason if verdict is Verdict.FAILED else None, soft=soft)
        after = effect.after or before
        if before.state in FATES and after.state is not before.state:
            assert after.state in NEXT[before.state]
            assert before.soft or before.state is not State.FAILED
            assert before.state is not State.DELIVERED or after.reason in OVERRULING
        if before.has_fate:
            assert after.has_fate
        assert (after.state is State.FAILED) == (after.reason is not None)
        before = after


@given(reports, st.sampled_from([State.NEW, State.CLAIMED, State.UNKNOWN, State.ACCEPTED]))
def test_the_same_report_again_changes_nothing(report: tuple[Verdict, Reason, bool], first: State) -> None:
    verdict, reason, soft = report
    once = meet(standing(first), verdict, reason, soft=soft).after
    if once:
        assert meet(once, verdict, reason, soft=soft).after is None


@pytest.mark.assertion("channels", 23)
def test_an_arrival_after_a_firm_failure_is_kept_and_changes_nothing() -> None:
    effect = meet(standing(State.FAILED, Reason.UNDELIVERED), Verdict.DELIVERED)
    assert (effect.fit, effect.after) == (Fit.LATE, None)


@pytest.mark.assertion("channels", 23)
def test_an_arrival_after_a_soft_failure_counts() -> None:
    effect = meet(standing(State.FAILED, Reason.UNSPECIFIED, soft=True), Verdict.DELIVERED)
    assert effect.after is not None
    assert effect.after.state is State.DELIVERED


@pytest.mark.parametrize(("days", "fit"), [(14, Fit.APPLIED), (15, Fit.LATE)])
def test_corrections_are_made_for_fourteen_days(days: int, fit: Fit) -> None:
    late = NOW + timedelta(days=days)
    assert meet(standing(State.DELIVERED), Verdict.FAILED, Reason.BOUNCED, now=late).fit is fit
    assert meet(standing(State.EXPIRED), Verdict.DELIVERED, now=late).fit is fit


@pytest.mark.assertion("channels", 39)
def test_relayed_settles_and_claims_nothing() -> None:
    after = meet(standing(State.ACCEPTED), Verdict.RELAYED).after
    assert after is not None
    assert (after.state, after.settled) == (State.ACCEPTED, True)


@pytest.mark.assertion("channels", 9, 47)
def test_a_delay_changes_nothing_and_an_unknown_state_is_not_guessed_at() -> None:
    assert meet(standing(State.ACCEPTED), Verdict.DELAYED).after is None
    unknown = meet(standing(State.ACCEPTED), Verdict.UNRECOGNISED)
    assert (unknown.fit, unknown.after) == (Fit.DEAD, None)


@pytest.mark.parametrize("state", State)
def test_who_is_still_trying_has_the_message_so_that_a_doubt_about_it_ends(state: State) -> None:
    after = meet(standing(state), Verdict.DELAYED).after
    assert (after.state if after else None) is (State.ACCEPTED if state is State.UNKNOWN else None)


def test_a_failure_told_in_words_alone_does_not_undo_an_arrival_but_another_does() -> None:
    """channels 2.3, loose bounces."""
    arrived = standing(State.DELIVERED)
    assert meet(arrived, Verdict.FAILED, Reason.BOUNCED, soft=True).fit is Fit.LATE
    assert meet(arrived, Verdict.FAILED, Reason.BOUNCED).fit is Fit.APPLIED


@pytest.mark.assertion("channels", 51)
@given(st.sampled_from(State), st.booleans())
def test_a_complaint_moves_nothing(state: State, soft: bool) -> None:
    before = standing(state, Reason.BOUNCED if state is State.FAILED else None, soft=soft)
    effect = meet(before, Verdict.COMPLAINT)
    assert (effect.fit, effect.after) == (Fit.APPLIED, None)
