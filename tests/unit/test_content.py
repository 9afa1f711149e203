"""What a creator may say and as whom, and what senders are warned of (channels 3.2, 6.7)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from varsel.delivery.contents import Contents
from varsel.delivery.guard import Guard
from varsel.domain.content import MAX_CHECKED, Caution, Content, Strictness, cautions, fold_name
from varsel.domain.identifiers import synthetic_person_id, valid_person_id
from varsel.domain.sms_receipt import sms_receipt
from varsel.settings import ContentSettings, Settings

STRICT = Content(links=Strictness.ENFORCE, link_domains=("altinn.no",))


def contents(**settings: Any) -> Contents:
    return Contents(ContentSettings.model_validate(settings))


# By the settings


def test_nothing_is_judged_unless_the_settings_say_so() -> None:
    content = contents().of("ttd")
    assert content == Content()
    assert content.wrong_links("http://evil.example") == ()
    assert content.wrong_markup("<script>x</script>") is None
    assert content.wrong_email_sender("anybody@anywhere.example") is None
    assert content.wrong_sms_sender("Banken") is None


def test_each_creator_has_its_own_rules_and_the_rest_have_the_stars() -> None:
    rules = contents(creators={"TTD": {"links": "enforce"}, "*": {"links": "warn"}})
    assert rules.of("ttd").links is Strictness.ENFORCE
    assert rules.of("skd").links is rules.of(None).links is Strictness.WARN


@pytest.mark.parametrize("domain", ["https://altinn.no", "altinn", "altinn.no:443", "a b.no", "", "kari@altinn.no"])
def test_a_domain_that_is_none_is_refused_with_the_settings(domain: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"content": {"creators": {"ttd": {"link_domains": [domain]}}}})


def test_a_domain_that_cannot_be_on_the_wire_is_named() -> None:
    with pytest.raises(ValueError, match=r"-å\.no is no domain"):
        contents(creators={"ttd": {"sender_domains": ["-å.no"]}})


# Links


def test_wrong_links_are_told_by_number_and_never_repeated() -> None:
    assert STRICT.wrong_links("altinn.no, evil.example/secret, http://altinn.no") == (
        "Link 2 leads to a host that is not on the list.",
        "Link 3 does not begin with https://.",
    )
    assert STRICT.wrong_links('<a href="https://altinn.no">evil.example</a>', markup=True) == (
        "Link 1 shows another host than it leads to.",
    )


def test_a_text_that_is_too_long_to_be_judged_is_wrong() -> None:
    (message,) = STRICT.wrong_links("a" * (MAX_CHECKED + 1))
    assert "longer" in message


def test_where_links_are_only_warned_of_http_passes() -> None:
    lenient = replace(STRICT, links=Strictness.WARN)
    assert lenient.wrong_links("http://altinn.no") == ()
    assert len(lenient.wrong_links("http://evil.example")) == 1


# Senders


@pytest.mark.parametrize(
    ("sender", "right"),
    [
        ("noreply@altinn.no", True),
        ("noreply@post.ALTINN.no", True),
        ("Etaten <noreply@altinn.no>", True),
        ('"Etaten" <noreply@altinn.no>', True),
        ("noreply@evil.example", False),
        ("noreply@evilaltinn.no", False),
        ("noreply", False),
        ("noreply@altinn.no <x@evil.example>", False),
        ("post@bank.example <noreply@altinn.no>", False),
        ("Ban Ken <noreply@altinn.no>", False),
        ("Den norske Banken AS <noreply@altinn.no>", False),
    ],
)
def test_emails_come_from_the_creators_domains_under_a_name_of_its_own(sender: str, right: bool) -> None:
    rules = contents(protected_sms_senders=["Banken"], creators={"ttd": {"sender_domains": ["altinn.no"]}})
    assert (rules.of("ttd").wrong_email_sender(sender) is None) is right


@pytest.mark.assertion("channels", 73)
@pytest.mark.parametrize(
    "sender", ["Skatteetaten", "SKATTEETATEN", " skatte etaten ", "Skatte\u00a0Etaten", "S k a t t e e t a t e n"]
)
def test_a_protected_name_is_refused_in_any_case_and_spacing(sender: str) -> None:
    rules = contents(protected_sms_senders=["Skatteetaten"], creators={"skd": {"sms_senders": ["skatteetaten"]}})
    assert rules.of("ttd").wrong_sms_sender(sender)
    assert rules.of("skd").wrong_sms_sender(sender) is None
    assert rules.of("ttd").wrong_sms_sender("Skatt") is None


@pytest.mark.parametrize(
    ("sender", "right"),
    [
        ("1963", True),
        ("+4799999500", True),
        ("Fjord&Fjell", True),
        ("A.B-C 1", True),
        ("NAV", True),
        ("12", False),
        ("1" * 16, False),
        ("Skatteetaten", False),  # twelve letters
        ("Blåbær", False),
        ("A_B", False),
        ("...", False),
    ],
)
def test_senders_that_not_every_network_carries_are_refused_on_demand(sender: str, right: bool) -> None:
    assert (contents(plain_sms_senders=True).of("ttd").wrong_sms_sender(sender) is None) is right
    assert contents().of("ttd").wrong_sms_sender(sender) is None


@given(st.text("Skat teabcÅå\u200b\t", max_size=12))
def test_names_are_folded_once_and_for_all(name: str) -> None:
    assert fold_name(fold_name(name)) == fold_name(name) == fold_name(name.upper()) == fold_name(f" {name}\t")


def test_the_name_that_everybody_has_by_default_may_be_named() -> None:
    rules = Contents(ContentSettings(protected_sms_senders=("Altinn", "Banken")), default_sms="Altinn")
    assert rules.of("ttd").wrong_sms_sender("altinn") is None
    assert rules.of("ttd").wrong_sms_sender("banken")


# Cautions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Du har fått brev.", []),
        ("Logg inn i Altinn for å lese det.", []),
        ("Se altinn.no", []),
        ("Logg inn på altinn.no for å lese det.", [Caution.LOGIN_LINK]),
        ("Sign in: https://altinn.no", [Caution.LOGIN_LINK]),
        ("https://altinn.no/login", [Caution.LOGIN_LINK]),
        ("Bruk BankID på www.altinn.no", [Caution.LOGIN_LINK]),
    ],
)
def test_a_text_that_wants_a_login_by_a_link_is_cautioned(text: str, expected: list[Caution]) -> None:
    assert list(cautions(text)) == expected
    assert list(sms_receipt(text).cautions) == expected


@given(st.integers(0, 1000), st.booleans())
def test_an_identity_number_is_cautioned_however_it_is_written(index: int, d_number: bool) -> None:
    number = synthetic_person_id(7, index, d_number=d_number)
    for text in (f"Fnr. {number}.", f"{number[:6]} {number[6:]}", f"({number})"):
        assert cautions(text) == (Caution.IDENTITY_NUMBER,)
    assert cautions(f"1{number}") == cautions(number[:-1]) == ()


@given(st.from_regex(r"[0-9]{11}", fullmatch=True))
def test_eleven_digits_that_are_nobodys_are_not(digits: str) -> None:
    assert (cautions(f"KID {digits}") == (Caution.IDENTITY_NUMBER,)) is valid_person_id(digits)


def test_an_sms_must_be_carried_by_every_enabled_provider() -> None:
    """Design 8: any of them may get it."""
    twilio = {"type": "twilio", "name": "a", "account_sid": "AC1", "auth_token": "x"}
    smpp = {"type": "smpp", "name": "b", "host": "localhost", "port": 1, "system_id": "v", "password": "x"}
    link = {"type": "link", "name": "c", "url": "https://x.example/", "username": "u", "password": "x"}
    link |= {"report_username": "u", "report_password": "x"}

    def carried(text: str, *providers: Mapping[str, object]) -> bool:
        settings = Settings.model_validate({"providers": providers})
        return Guard.configured(settings).contents.of("ttd").is_carried(text)

    assert carried("a" * 1600, twilio, smpp, link)
    assert not carried("a" * 1601, twilio, smpp, link)
    assert carried("a" * 1601, {**twilio, "enabled": False}, smpp, link)
    assert not carried("a" * 305, link, {**smpp, "max_segments": 2})
    assert carried("a" * 304, link, {**smpp, "max_segments": 2})
    assert carried("a" * 2144, link)
    assert carried("a" * 5000)
