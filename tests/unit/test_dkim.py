"""Signatures of mail (channels 2.2, RFC 6376), verified by dkimpy."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dkim_keys import Key, genuine, rsa_key, written
from postal import NO_BOUNCES, email
from varsel.delivery.ports import Email, File
from varsel.domain.order import ContentType
from varsel.providers.dkim import Signer, signers_of
from varsel.providers.mailbox import Mailbox
from varsel.providers.mime import Letters
from varsel.providers.smtp import SmtpProvider
from varsel.settings import DkimSettings, SmtpProviderSettings
from varsel.simulators.smtp import SmtpSimulator

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
TO = Mailbox("ola.nordmann", "example.com")
KEY = rsa_key()
SIGNER = Signer(b"etat.example", b"s2026.mail", KEY)
SIGNERS = {"etat.example": SIGNER}

texts = st.text(st.characters(exclude_categories=["Cs"]))
bodies = st.lists(texts | st.sampled_from(["", " ", "\t", "trailing  \t", "two  blanks", ".", "blåbær"])).map("\n".join)


def mailed(message: Email, signers: dict[str, Signer] | None = None, files: tuple[File, ...] = ()) -> bytes:
    return Letters(SIGNERS if signers is None else signers).letter(message).fill(message.id, TO, NOW, files)


def signed_names(mail: bytes) -> list[str]:
    found = re.search(rb"h=([^;]*);", mail)
    assert found
    return found[1].decode().split(":")


@given(bodies, texts, st.sampled_from(ContentType))
def test_whatever_a_mail_says_its_signature_is_genuine(body: str, subject: str, content_type: ContentType) -> None:
    message = replace(email(body=body), subject=" ".join(subject.split()), content_type=content_type)
    assert genuine(mailed(message), KEY, "etat.example")


@settings(max_examples=10)
@given(st.binary(max_size=300))
def test_a_mail_with_files_is_signed_with_them(octets: bytes) -> None:
    files = (File("brev.pdf", "application/pdf", octets),)
    mail = mailed(email(), files=files)
    assert genuine(mail, KEY, "etat.example")
    assert not genuine(mail.replace(b"--=_files--", b"x\r\n--=_files--"), KEY, "etat.example")


def test_a_key_of_the_other_kind_signs_too(tmp_path: Path) -> None:
    key: Key = Ed25519PrivateKey.generate()
    mail = mailed(email(), signers_of({"etat.example": written(key, tmp_path)}))
    assert b"a=ed25519-sha256" in mail
    assert genuine(mail, key, "etat.example")


def test_what_is_signed_cannot_be_changed_and_no_second_sender_or_subject_added() -> None:
    mail = mailed(email())
    names = signed_names(mail)
    assert names.count("from") == names.count("subject") == 2
    assert {"to", "date", "message-id", "mime-version", "content-type", "auto-submitted"} < set(names)
    assert b"l=" not in mail.partition(b"bh=")[0]
    for old, new in (
        (b"Ny post", b"Ny  Post"),
        (b"To: ola", b"To: per"),
        (b"\r\n\r\nHei", b"\r\n\r\nHoi"),
        (b"\r\nFrom:", b"\r\nFrom: other@etat.example\r\nFrom:"),
        (b"\r\nSubject:", b"\r\nSubject: Other\r\nSubject:"),
    ):
        assert not genuine(mail.replace(old, new, 1), KEY, "etat.example"), old


@pytest.mark.assertion("channels", 35)
@pytest.mark.parametrize(("signing", "relay_signs"), [(True, False), (False, True), (False, False)])
async def test_one_click_unsubscribing_is_offered_where_it_is_signed(
    tmp_path: Path, signing: bool, relay_signs: bool
) -> None:
    dkim = {"etat.example": written(KEY, tmp_path)} if signing else {}
    optional = replace(email(), unsubscribe="https://varsel.example/notifications/api/v1/unsubscribe/abc")
    async with SmtpSimulator() as server:
        account = SmtpProviderSettings(
            name="main", host="127.0.0.1", port=server.port, tls="none", dkim=dkim, relay_signs=relay_signs
        )
        provider = SmtpProvider(account, NO_BOUNCES)
        await provider.send([optional])
        await provider.send([email()])
        await provider.close()
        offered, ordinary = (message.content for message in server.stored)
    assert b"List-Unsubscribe" not in ordinary
    if not signing and not relay_signs:
        assert b"List-Unsubscribe" not in offered
        return
    assert b"\r\nList-Unsubscribe: <https://varsel.example/notifications/api/v1/unsubscribe/abc>\r\n" in offered
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in offered
    if signing:
        assert {"list-unsubscribe", "list-unsubscribe-post"} < set(signed_names(offered))
        assert genuine(offered, KEY, "etat.example")


def test_folding_and_blanks_on_the_way_do_no_harm() -> None:
    mail = mailed(email(body="Hei\n\nHa det"))
    relayed = mail.replace(b"Subject: Ny post", b"SUBJECT:\tNy\r\n  post ").replace(b"Ha det\r\n", b"Ha det \r\n\r\n")
    assert genuine(b"Received: from relay.example\r\n" + relayed, KEY, "etat.example")


def test_mail_of_another_domain_is_not_signed() -> None:
    assert mailed(email(sender="noreply@annen.example")).startswith(b"To:")
    assert mailed(email(), {}).startswith(b"To:")
    assert mailed(email(sender="Etaten <noreply@ETAT.example>")).startswith(b"DKIM-Signature:")


def test_a_domain_of_letters_beyond_ascii_signs_as_it_is_on_the_wire(tmp_path: Path) -> None:
    [(domain, signer)] = signers_of({"Blåbær.example": written(KEY, tmp_path)}).items()
    assert domain == signer.domain.decode() == "xn--blbr-roah.example"


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_be_used_is_named_by_its_domain_and_never_shown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    for path in (file, tmp_path / "nowhere.pem"):
        account = SmtpProviderSettings(
            name="smtp-main",
            host="127.0.0.1",
            port=25,
            tls="none",
            dkim={"etat.example": DkimSettings(selector="s1", key_file=path)},
        )
        with pytest.raises(
            ValueError, match=r"provider smtp-main: DKIM: the key of etat.example cannot be read"
        ) as told:
            SmtpProvider(account, NO_BOUNCES)
        assert "secret" not in str(told.value)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2048 bits"):
        signers_of({"etat.example": written(rsa_key(1024), tmp_path)})
    with pytest.raises(ValueError, match="no domain"):
        signers_of({"etat": written(KEY, tmp_path)})


@pytest.mark.parametrize("selector", ["", "a b", "-a", "a..b", "s1; d=annen.example"])
def test_a_selector_is_a_name(selector: str) -> None:
    with pytest.raises(ValidationError):
        DkimSettings(selector=selector, key_file=Path("key.pem"))
