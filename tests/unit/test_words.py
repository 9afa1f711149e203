"""What pages say: the same in both languages, complete, and readable in every colour."""

import re
import string
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from varsel.domain.notification import Channel, Reason, State
from varsel.ui.outcome import Standing, outcome_of
from varsel.ui.pages import linked
from varsel.ui.words import Language, Words, negotiate, pretty_identity, pretty_number, texts

NOW = datetime(2026, 11, 23, 8, 2, tzinfo=UTC)
NB, EN = Words(Language.NB, NOW), Words(Language.EN, NOW)
FAMILIES = ("waiting", "working", "handed", "delivered", "stopped", "attention", "failed")


def test_both_languages_say_the_same_things() -> None:
    assert texts(Language.NB).keys() == texts(Language.EN).keys()


def _fields(text: str) -> set[str]:
    return {name.partition(".")[0] for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", [key for key in texts(Language.NB) if not key.startswith("time.")])
def test_both_languages_fill_in_the_same_values(key: str) -> None:
    assert _fields(texts(Language.NB)[key]) == _fields(texts(Language.EN)[key])


@pytest.mark.parametrize("language", list(Language))
def test_texts_follow_the_copy_guide(language: Language) -> None:
    for key, text in texts(language).items():
        assert text, key
        assert "!" not in text, key
        assert not re.search(r"\b(please|invalid|vennligst|ugyldig)\b", text.lower()), key
        for sentence in re.split(r"(?<=[.?]) ", text) if not key.startswith("time.") else ():
            assert len(sentence.split()) <= 20, key


@pytest.mark.parametrize("words", [NB, EN])
def test_every_state_has_a_word_a_sentence_and_an_icon(words: Words) -> None:
    icons = set(re.findall(r'<symbol id="([a-z]+)"', _static("icons.svg")))
    for channel, state, settled, daytime, attempts, wake_at in product(
        Channel, State, (False, True), (False, True), (0, 1), (None, NOW)
    ):
        for reason in Reason if state is State.FAILED else (None,):
            standing = Standing(channel, state, reason, settled, daytime, attempts, wake_at, NOW)
            outcome = outcome_of(standing)
            assert outcome.family in FAMILIES
            assert outcome.family in icons
            assert words.say(f"state.{outcome.key}.word")
            text = texts(words.language)[f"state.{outcome.key}.sentence"]
            assert ("time" in _fields(text)) == (outcome.time is not None)


def test_only_arrival_is_green() -> None:
    for channel, state in product(Channel, State):
        outcome = outcome_of(Standing(channel, state, None, True, False, 0, None, NOW))
        assert (outcome.family == "delivered") == (state is State.DELIVERED)


def test_times_are_norwegian_and_written_as_people_write_them() -> None:
    earlier = datetime(2026, 9, 2, 7, 5, 9, tzinfo=UTC)
    assert NB.time("full", NOW) == "mandag 23. november 2026 kl. 09.02"
    assert EN.time("full", NOW) == "Monday 23 November 2026 09:02"
    assert (NB.time("moment", NOW), EN.time("moment", NOW)) == ("kl. 09.02", "09:02")
    assert (NB.time("moment", earlier), EN.time("moment", earlier)) == ("2. september kl. 09.05", "2 September 09:05")
    assert (NB.time("exact", NOW), EN.time("exact", NOW)) == ("i dag kl. 09.02.00", "today 09:02:00")
    assert (NB.time("list", earlier), EN.time("list", earlier)) == ("2. sept.", "2 Sep")


def test_today_ends_at_midnight_in_norway() -> None:
    assert NB.time("list", datetime(2026, 11, 22, 23, 0, tzinfo=UTC)) == "00.00"
    assert NB.time("list", datetime(2026, 11, 22, 22, 59, tzinfo=UTC)) == "22. nov."


def test_numbers_are_grouped_and_counted_in_each_language() -> None:
    assert (NB.number(184206), EN.number(184206)) == ("184\u202f206", "184,206")
    assert NB.say("inbox.clear_do", n=1) == "Slett 1 melding"
    assert EN.say("inbox.clear_do", n=1200) == "Delete 1,200 messages"


@given(st.timedeltas(timedelta(), timedelta(days=4000)))
def test_a_span_names_at_most_two_units_and_never_none(length: timedelta) -> None:
    said = EN.span(length)
    assert re.fullmatch(r"[\d,]+ (day|hour|minute)s?( and \d+ (hour|minute)s?)?", said)


def test_spans_are_counted_from_the_largest_unit() -> None:
    assert NB.span(timedelta(days=1, hours=3, minutes=5)) == "1 dag og 3 timer"
    assert EN.span(timedelta(minutes=59, seconds=40)) == "1 hour"


@given(st.text())
def test_any_wish_for_a_language_is_met_with_one(accept_language: str) -> None:
    assert negotiate(accept_language) in Language


def test_addresses_are_shown_as_people_read_them() -> None:
    assert pretty_number("+4740000417") == "+47 400 00 417"
    assert pretty_number("+4670000000") == "+4670000000"
    assert pretty_identity("14838510036") == "148385 10036"
    assert pretty_identity("310001007") == "310 001 007"


@given(st.text())
def test_marking_links_changes_no_letter(text: str) -> None:
    assert str(linked(text)).replace("<u>", "").replace("</u>", "") == str(escape(text))


def test_a_link_ends_before_the_full_stop() -> None:
    assert linked("Se fjordvik.example/post.") == "Se <u>fjordvik.example/post</u>."
    assert linked("(https://a.example/x)") == "(<u>https://a.example/x</u>)"
    assert linked("Kl. 14 i dag, se brev. Takk") == "Kl. 14 i dag, se brev. Takk"


def _static(name: str) -> str:
    return resources.files("varsel.ui").joinpath("static", name).read_text(encoding="utf-8")


def _colours() -> dict[str, tuple[str, ...]]:
    tokens = re.findall(r"--([a-z0-9-]+):\s*light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", _static("varsel.css"))
    return {name: (light, dark) for name, light, dark in tokens}


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


TEXT = [
    *product(("ink", "ink-2", "ink-3"), ("surface", "paper", "sunken")),
    *product(("accent",), ("surface", "paper", "accent-soft")),
    *product(("on-accent",), ("accent", "accent-hi")),
    *((family, f"{family}-bg") for family in FAMILIES),
    *((family, "surface") for family in FAMILIES),
]
MARKS = [
    *product(("line-strong", "focus"), ("surface", "paper")),
    *((f"{family}-mark", ground) for family in FAMILIES for ground in ("surface", "sunken")),
]


@pytest.mark.parametrize(("text", "ground"), TEXT)
@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read(text: str, ground: str, theme: int) -> None:
    colours = _colours()
    assert _contrast(colours[text][theme], colours[ground][theme]) >= 4.5


@pytest.mark.parametrize(("mark", "ground"), MARKS)
@pytest.mark.parametrize("theme", [0, 1])
def test_marks_can_be_seen(mark: str, ground: str, theme: int) -> None:
    colours = _colours()
    assert _contrast(colours[mark][theme], colours[ground][theme]) >= 3
