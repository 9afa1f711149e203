"""SMS text: channels 3.1 and assertions 66-71."""

import unicodedata
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.gsm7 import encode
from varsel.domain.sms_text import (
    MAX_LINK_UNITS,
    Alphabet,
    Replacement,
    beyond_gsm_7,
    clean,
    fits_link,
    link_parts,
    link_units,
    reference_count,
    replaced,
    segment,
)

EMOJI = "\U0001f600"
GSM, UCS2 = Alphabet.GSM_7, Alphabet.UCS_2

# What people write: both alphabets, the extension table, pairs, typography, controls.
texts = st.text(
    alphabet=st.one_of(
        st.sampled_from("aå€[]{}~|^\\\n ж—“…`\u200b\t\r\x1b§" + EMOJI),
        st.characters(),
        st.characters(categories=["Cs"]),
    ),
    max_size=500,
)
gsm_texts = st.text(alphabet=st.sampled_from("abcåøæ€[]{}~|^\\\n @§"), max_size=700)
foreign_texts = st.text(alphabet=st.sampled_from("жя€a" + EMOJI), max_size=300).map(lambda t: t + "ж")


@pytest.mark.parametrize(
    ("text", "alphabet", "units", "count"),
    [
        ("", GSM, 0, 1),
        ("a" * 160, GSM, 160, 1),
        ("a" * 161, GSM, 161, 2),
        ("a" * 306, GSM, 306, 2),
        ("a" * 307, GSM, 307, 3),
        ("€" * 80, GSM, 160, 1),
        ("€" * 81, GSM, 162, 2),
        ("ø" * 160, GSM, 160, 1),
        ("ж" * 70, UCS2, 70, 1),
        ("ж" * 71, UCS2, 71, 2),
        ("ж" * 134, UCS2, 134, 2),
        ("ж" * 135, UCS2, 135, 3),
        (EMOJI * 35, UCS2, 70, 1),
        (EMOJI * 36, UCS2, 72, 2),
        ("ж" * 66 + EMOJI + "ж" * 4, UCS2, 72, 2),
        ("a" * 152 + "€" + "b" * 152, GSM, 306, 3),
    ],
)
@pytest.mark.assertion("channels", 66, 67)
def test_a_text_has_its_alphabet_units_and_segments(text: str, alphabet: Alphabet, units: int, count: int) -> None:
    segments = segment(text)
    assert (segments.alphabet, segments.units, len(segments.parts)) == (alphabet, units, count)


def test_a_pair_that_does_not_fit_opens_the_next_segment() -> None:
    assert segment("ж" * 66 + EMOJI + "ж" * 4).parts == ("ж" * 66, EMOJI + "жжжж")


GSM_BY_CODE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


def test_the_default_alphabet_is_complete_and_the_escape_is_not_in_it() -> None:
    assert len(GSM_BY_CODE) == 128
    for character in GSM_BY_CODE:
        assert segment(character).alphabet is (UCS2 if character == "\x1b" else GSM)
        if character != "\x1b":
            assert segment(character).units == 1


@pytest.mark.parametrize("character", "\f^{}\\[~]|€")
def test_a_character_of_the_extension_table_takes_two_septets(character: str) -> None:
    assert (segment(character).alphabet, segment(character).units) == (GSM, 2)


@pytest.mark.parametrize("character", "`\tçêá“”’–—…\u00a0Łж\x1b\x00")
def test_what_people_expect_in_the_alphabet_and_is_not_forces_sixteen_bits(character: str) -> None:
    assert segment(character).alphabet is UCS2


@given(texts)
def test_segments_joined_are_the_text_and_none_is_too_long(text: str) -> None:
    segments = segment(text)
    assert "".join(segments.parts) == text
    sizes = [segment(part).units if segments.alphabet is GSM else utf16_units(part) for part in segments.parts]
    assert sum(sizes) == segments.units
    single, each = (160, 153) if segments.alphabet is GSM else (70, 67)
    assert all(size <= (single if len(sizes) == 1 else each) for size in sizes)


@given(texts)
def test_segmentation_is_greedy_so_no_shorter_one_exists(text: str) -> None:
    segments = segment(text)
    each = 153 if segments.alphabet is GSM else 67
    for part, following in zip(segments.parts, segments.parts[1:], strict=False):
        both = part + following[0]
        assert (segment(both).units if segments.alphabet is GSM else utf16_units(both)) > each


@given(texts)
@pytest.mark.assertion("channels", 69)
def test_no_segment_ends_with_an_escape_or_half_a_pair(text: str) -> None:
    segments = segment(clean(text))
    for part in segments.parts:
        if segments.alphabet is UCS2:
            part.encode("utf-16-be")  # raises on half a pair
        else:
            assert "\x1b" not in part


@pytest.mark.parametrize("header", [6, 7])
@pytest.mark.assertion("channels", 69)
def test_no_part_of_ten_thousand_texts_tears_a_character_or_is_too_long(header: int) -> None:
    """`header`: octets of the 140 that say which part it is: 153 septets or 67 units are left, 152 or 66."""
    dice = Random(header)  # noqa: S311 - any texts will do
    letters = "abcæøå €[]{}~|^\\\n"
    for number in range(10_000):
        alphabet = letters if number % 2 else letters + "ж" + EMOJI
        text = "".join(dice.choices(alphabet, k=dice.randrange(150, 700)))
        segments = segment(text, header=header)
        assert "".join(segments.parts) == text
        if segments.alphabet is GSM:
            sizes = [len(encode(part)) for part in segments.parts]
            assert not any(encode(part).endswith(b"\x1b") for part in segments.parts)
        else:
            sizes = [len(part.encode("utf-16-be")) // 2 for part in segments.parts]  # raises on half a pair
        each = (140 - header) * 8 // 7 if segments.alphabet is GSM else (140 - header) // 2
        assert len(sizes) == 1 or max(sizes) <= each


def utf16_units(text: str) -> int:
    return len(text.encode("utf-16-be", "surrogatepass")) // 2


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("Kjære du – møt opp… «straks»", 'Kjære du - møt opp... "straks"'),
        ("‘a’ “b” ‚c‛ „d‟", "'a' \"b\" 'c' \"d\""),
        ("en\u2010to\u2011tre\u2012fire\u2013fem\u2014seks\u2015sju\u2212åtte", "en-to-tre-fire-fem-seks-sju-åtte"),
        ("10\u00a0000\u202fkr\ti\u2007dag", "10 000 kr i dag"),
        ("a\u200bb\u200dc\u2060d\ufeffe\u2028f\u2029g", "abcdefg"),
        ("Łukasz i Pawła", "Lukasz i Pawla"),
        ("cafe\u0301", "café"),
        ("en\r\nto\rtre\nfire", "en\nto\ntre\nfire"),
        ("a\x00b\x07c\x1bd\x7fe\x85f", "abcdef"),
        ("`kode`", "'kode'"),
        ("§ 5", "§ 5"),
    ],
)
@pytest.mark.assertion("channels", 68)
def test_typography_is_written_in_the_small_alphabet(written: str, sent: str) -> None:
    assert clean(written) == sent
    assert segment(clean(written)).alphabet is GSM


@pytest.mark.parametrize("text", ["Привет — «мир»…", f"familie 👨\u200d👩\u200d👧 {EMOJI}", "ok ✓ – `x`"])
def test_a_text_that_needs_sixteen_bits_anyway_goes_out_as_written(text: str) -> None:
    assert clean(text) == text
    assert segment(clean(text)).alphabet is UCS2


def test_half_a_pair_is_replaced() -> None:
    assert clean("a\ud83db") == "a\ufffdb"


@given(texts)
def test_clean_text_is_stable_and_free_of_controls_and_halves(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not any(c < " " and c not in "\n\t" for c in cleaned)
    cleaned.encode("utf-16-be")


@given(gsm_texts)
def test_a_text_of_the_small_alphabet_is_sent_as_it_is(text: str) -> None:
    assert clean(text) == text


@given(texts)
def test_the_replaced_characters_are_all_that_cleaning_changes(text: str) -> None:
    instead = {r.written: r.sent for r in replaced(text)}
    written = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(instead.get(character, character) for character in written) == clean(text)
    assert all(r.count == written.count(r.written) > 0 for r in replaced(text))
    assert replaced(clean(text)) == ()


def test_a_replaced_character_is_named_with_what_is_sent_and_how_often() -> None:
    assert replaced("a – b – “c”\x07") == (
        Replacement("–", "-", 2),
        Replacement("“", '"', 1),
        Replacement("”", '"', 1),
        Replacement("\x07", "", 1),
    )
    assert replaced("ж – “c”") == ()


@given(texts)
def test_the_characters_beyond_the_small_alphabet_are_why_a_text_needs_the_other(text: str) -> None:
    beyond = beyond_gsm_7(text)
    assert bool(beyond) == (segment(text).alphabet is UCS2)
    assert len(set(beyond)) == len(beyond)
    for character in beyond:
        text = text.replace(character, "")
    assert segment(text).alphabet is GSM


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("ø" * 27, 2),
        ("ø" * 160, 8),
        ("€" * 80, 6),
        ("a" * 918, 7),
        ("a" * 2144, 16),
        ("a" * 5000, 16),
        (" " * 160, 1),
        ("-_.!*()" * 20, 1),
        ("\ud83d", 1),
    ],
)
@pytest.mark.assertion("processing", 102)
@pytest.mark.assertion("channels", 70)
def test_the_reference_counts_the_encoded_length(text: str, count: int) -> None:
    assert reference_count(text) == count


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 268, 2),
        ("a" * 269, 3),
        ("a" * 2144, 16),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 1072, 16),
    ],
)
def test_link_makes_parts_of_134(text: str, parts: int) -> None:
    assert link_parts(text) == parts
    assert fits_link(text)


@pytest.mark.parametrize("text", ["a" * 2145, "€" * 1073, "ж" * 1073, EMOJI * 537])
def test_a_text_that_link_would_cut_does_not_fit(text: str) -> None:
    assert not fits_link(text)


@given(gsm_texts | foreign_texts, st.integers(1, 40))
def test_what_fits_link_is_at_most_sixteen_parts(piece: str, times: int) -> None:
    text = piece * times
    assert fits_link(text) == (link_units(text) <= MAX_LINK_UNITS) == (link_parts(text) <= 16)
