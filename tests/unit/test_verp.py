"""Bounce addresses and the texts of RFC 3461 (channels 2.1, assertions 37 and 38)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from varsel.domain.ids import NotificationId
from varsel.providers.verp import Verp, envelope_id, read_envelope_id, utf8_address_xtext, xtext, xtext_decode
from varsel.settings import BounceSettings

DOMAIN = "bounce.varsel.example"
VERP = Verp(DOMAIN, [b"new", b"old"])
ids = st.uuids().map(NotificationId)


@given(ids)
@pytest.mark.assertion("channels", 38)
def test_a_bounce_address_names_its_message_in_any_case(notification: NotificationId) -> None:
    address = VERP.make(notification)
    assert VERP.verify(address) == notification
    assert VERP.verify(address.upper()) == notification
    assert len(address.partition("@")[0]) == 42
    assert address.isascii()


@given(ids, st.integers(0, 41), st.characters(exclude_categories=["Cs"]))
@pytest.mark.assertion("channels", 38)
def test_a_changed_character_fails(notification: NotificationId, at: int, other: str) -> None:
    address = VERP.make(notification)
    changed = address[:at] + other + address[at + 1 :]
    if changed.lower() != address:
        assert VERP.verify(changed) is None


@given(ids)
def test_an_address_made_with_the_previous_key_verifies_and_one_of_a_stranger_does_not(
    notification: NotificationId,
) -> None:
    assert VERP.verify(Verp(DOMAIN, [b"old"]).make(notification)) == notification
    assert VERP.verify(Verp(DOMAIN, [b"stranger"]).make(notification)) is None


@given(ids)
def test_a_token_is_worth_nothing_at_another_domain(notification: NotificationId) -> None:
    local = VERP.make(notification).partition("@")[0]
    assert VERP.verify(f"{local}@elsewhere.example") is None
    assert Verp("elsewhere.example", [b"new"]).verify(f"{local}@elsewhere.example") is None


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert VERP.verify(text) is None
    assert read_envelope_id(text) is None
    assert xtext_decode(xtext(text.replace("\ud800", ""))) is not None


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_xtext_can_be_read_back_and_holds_only_what_it_may(text: str) -> None:
    written = xtext(text)
    assert xtext_decode(written) == text
    assert all("!" <= letter <= "~" and letter != "=" for letter in written)


@pytest.mark.assertion("channels", 37)
def test_xtext_writes_plus_and_equals_as_the_standard_does() -> None:
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"
    assert xtext_decode("100+25+zz+") == "100%+zz+"
    assert utf8_address_xtext("bjørn+x@example.com") == r"bj\x{F8}rn\x{2B}x@example.com"


@given(ids)
def test_an_envelope_id_is_read_back(notification: NotificationId) -> None:
    written = envelope_id(notification)
    assert read_envelope_id(written) == notification
    assert read_envelope_id(f" {written.upper()} ") == notification
    assert xtext(written) == written
    assert len(written) <= 100


def test_without_keys_there_are_no_bounce_addresses() -> None:
    assert Verp.configured(BounceSettings()) is None
    assert Verp.configured(BounceSettings(keys=(SecretStr("k"),))) is not None
    with pytest.raises(ValueError, match="key"):
        Verp(DOMAIN, [])
