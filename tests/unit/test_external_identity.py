"""How URNs of external identities are read (http-api 7.4, registries 1.7)."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.external_identity import ExternalIdentity, parse_external_identity

LOGIN = "urn:altinn:person:idporten-email:"
NAMES = ("urn:altinn:party:username:", "urn:altinn:username:", "urn:altinn:person:legacy-selfidentified:")


@pytest.mark.parametrize("email", ["kari@example.com", "kari%40example.com", " kari@example.com", "%6bari@example.com"])
def test_an_email_login_is_decoded_once(email: str) -> None:
    assert parse_external_identity(LOGIN + email) == ExternalIdentity("epost:kari@example.com", "kari@example.com")


@pytest.mark.parametrize("plus", ["a+b@example.com", "a%2Bb@example.com", "a%2bb@example.com"])
def test_a_plus_sign_stays_in_an_email_address(plus: str) -> None:
    assert parse_external_identity(LOGIN + plus) == ExternalIdentity("epost:a+b@example.com", "a+b@example.com")


@pytest.mark.parametrize("prefix", NAMES)
def test_a_user_name_is_decoded_and_read_in_any_case(prefix: str) -> None:
    assert parse_external_identity(prefix + "Old%20%C3%98yvind+User") == ExternalIdentity("old øyvind user")


@pytest.mark.parametrize(
    "urn",
    [
        *(prefix + value for prefix in (*NAMES, LOGIN) for value in ("", "   ", "%20", "%00", "a%00b@example.com")),
        *(prefix.removesuffix(":") for prefix in NAMES),
        LOGIN + "kari",
        LOGIN + "kari%2540example.com",  # decoded twice it would be one
        NAMES[0].upper() + "kari",
        "urn:altinn:person:identifier-no:14838510036",
        "kari",
        "",
    ],
)
def test_everything_else_names_nobody(urn: str) -> None:
    assert parse_external_identity(urn) is None


@given(prefix=st.sampled_from(NAMES), name=st.text(min_size=1).filter(lambda n: n.strip() and "\0" not in n))
def test_every_name_can_be_written_as_a_urn(prefix: str, name: str) -> None:
    encoded = quote(name, errors="replace")
    identity = parse_external_identity(prefix + encoded)
    assert identity == ExternalIdentity(name.encode(errors="replace").decode().strip().lower())


@given(urn=st.text())
def test_no_text_brings_the_reader_down(urn: str) -> None:
    for prefix in ("", *NAMES, LOGIN):
        parse_external_identity(prefix + urn)
