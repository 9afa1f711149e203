"""Did it arrive? The first word of a verdict, and what a mask leaves to be seen (copy guide of the pages)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.identifiers import synthetic_person_id
from varsel.domain.notification import Reason, State
from varsel.domain.order import OrderState
from varsel.ui.access_store import About
from varsel.ui.masking import Covered, Masks, opened
from varsel.ui.order import first_word
from varsel.ui.verdict import FAMILIES, Fate, Tally, fate_of, word_of
from varsel.ui.words import Language, texts

FATES = st.lists(st.sampled_from(Fate), min_size=1, max_size=20)
MASKS = Masks(show_all=False)


def _all(covered: Covered) -> str:
    return covered.head + covered.dots + covered.tail


@given(FATES)
def test_yes_is_said_only_when_it_arrived_at_everybody(fates: list[Fate]) -> None:
    said = first_word(Tally.of(fates).deciding)
    assert (said == "yes") == (set(fates) == {Fate.ARRIVED})


@given(FATES)
def test_nobody_is_counted_twice_or_forgotten(fates: list[Fate]) -> None:
    tally = Tally.of(fates)
    assert tally.all == len(fates)
    assert dict(tally.groups) == {fate: fates.count(fate) for fate in set(fates)}


@given(FATES, st.sampled_from(OrderState))
def test_only_arrival_is_green_and_every_word_is_written(fates: list[Fate], state: OrderState) -> None:
    word = word_of(state, Tally.of(fates))
    assert word.family != "delivered" or set(fates) == {Fate.ARRIVED}
    for language in Language:
        assert f"order.{word.key}.word" in texts(language)


@pytest.mark.parametrize("state", list(OrderState))
def test_an_order_without_notifications_has_a_word(state: OrderState) -> None:
    for tally in (None, Tally()):
        assert word_of(state, tally).family in {"waiting", "working", "stopped"}


@given(st.sampled_from(State), st.sampled_from(Reason), st.booleans(), st.booleans())
def test_a_fate_is_good_only_on_evidence(state: State, reason: Reason, settled: bool, taken: bool) -> None:
    fate = fate_of(state, reason if state is State.FAILED else None, settled=settled, taken=taken)
    assert (fate is Fate.ARRIVED) == (state is State.DELIVERED)
    assert FAMILIES[fate]


@given(st.integers(0, 10_000))
def test_a_persons_number_shows_the_day_of_birth_alone(index: int) -> None:
    number = synthetic_person_id(7, index)
    shown = _all(MASKS.about(About("person", number)))
    assert shown.startswith(number[:6])
    assert not set(number[6:]) & set(shown[6:])


@given(st.from_regex(r"[a-z0-9.]{2,30}@[a-z]{2,10}\.example", fullmatch=True))
def test_an_email_address_shows_its_first_letter_and_domain(address: str) -> None:
    covered = MASKS.address(address)
    assert (covered.head, covered.tail) == (address[:1], f"@{address.partition('@')[2]}")


@given(st.from_regex(r"\+47[49][0-9]{7}", fullmatch=True))
def test_a_number_shows_its_last_three_digits(number: str) -> None:
    covered = MASKS.address(number)
    assert (covered.head, covered.tail) == ("+47", number[-3:])


@pytest.mark.parametrize("about", [About("person", "14838510036"), About("address", "+4740000417")])
def test_the_sandbox_hides_nothing(about: About) -> None:
    assert _all(Masks(show_all=True).about(about)) == opened(about)


def test_an_organisation_is_public() -> None:
    assert _all(MASKS.about(About("organisation", "310001007"))) == "310 001 007"


FIRST_WORDS = {
    Language.NB: {"Ja.", "Overlevert.", "Ikke ennå.", "Nei.", "Ikke sendt."},
    Language.EN: {"Yes.", "Handed over.", "Not yet.", "No.", "Not sent."},
}


@pytest.mark.parametrize("language", list(Language))
def test_a_verdict_begins_with_one_of_five_words(language: Language) -> None:
    assert {texts(language)[f"verdict.first.{first_word(fate)}"] for fate in Fate} == FIRST_WORDS[language]
