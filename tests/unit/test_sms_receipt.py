"""The receipt of an SMS text, for its sender."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.sms_receipt import sms_receipt
from varsel.domain.sms_text import Alphabet, Replacement, alphabet_of, clean, link_parts


@pytest.mark.parametrize(
    ("text", "alphabet", "characters", "parts"),
    [
        ("Kjære du, møt opp på åpen dag", Alphabet.GSM_7, 29, 1),
        ("Møt opp – i dag…", Alphabet.GSM_7, 18, 1),
        ("æ" * 161, Alphabet.GSM_7, 161, 2),
        ("ж" * 71, Alphabet.UCS_2, 71, 2),
    ],
)
def test_the_receipt_is_of_the_text_as_it_leaves(text: str, alphabet: Alphabet, characters: int, parts: int) -> None:
    receipt = sms_receipt(text)
    assert (receipt.alphabet, receipt.characters, receipt.parts) == (alphabet, characters, parts)
    assert not receipt.unfilled


def test_the_receipt_names_what_is_replaced_and_what_makes_the_text_dear() -> None:
    assert sms_receipt("a – b").replaced == (Replacement("–", "-", 1),)
    assert sms_receipt("a – ж ✓ ж").beyond_gsm_7 == ("–", "ж", "✓")


@pytest.mark.parametrize("keyword", ["$recipientName$", "$recipientNumber$"])
def test_a_text_with_keywords_is_said_to_be_unfilled(keyword: str) -> None:
    assert sms_receipt(f"Hei {keyword}").unfilled


@given(st.text(max_size=3000))
def test_the_receipt_is_bounded_and_agrees_with_what_is_sent(text: str) -> None:
    receipt, sent = sms_receipt(text), clean(text)
    assert (receipt.alphabet, receipt.parts) == (alphabet_of(sent), link_parts(sent))
    assert len(receipt.beyond_gsm_7) <= 20
    assert len(receipt.replaced) <= 20
    assert bool(receipt.beyond_gsm_7) == (receipt.alphabet is Alphabet.UCS_2)
