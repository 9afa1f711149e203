"""Where attachments may lie, for how long, and what is said of an address that will not do (http-api 15.1)."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.attachments import MIME_TYPES, FileStores, expiry, valid_filename

SEND_AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
GOOD_UNTIL = SEND_AT + timedelta(hours=1)
SECRET = "c2VjcmV0"
SIGNED = {"se": "2026-11-23T11:00:00Z", "sp": "r", "sr": "b", "sig": SECRET}
PRESIGNED = {
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "AKIA/20261123/eu-north-1/s3/aws4_request",
    "X-Amz-Date": "20261123T100000Z",
    "X-Amz-Expires": "3600",
    "X-Amz-Signature": SECRET,
}
HTTPS = "sasUrl must be an absolute https URL."
ELSEWHERE = "sasUrl must lie in a store that this service fetches from."
UNSIGNED = "sasUrl must have the query parameters se, sp and sig, and sr=b."
TOO_SHORT = "sasUrl must be valid for at least 15 minutes after the requested send time."
STORES = FileStores(s3=(".s3.eu-north-1.amazonaws.com",), plain=("files.etat.example:8443", "ok.etat.example"))


def azure(base: str = "https://etat.blob.core.windows.net/out/a.pdf", **changes: str | None) -> str:
    query = {name: value for name, value in {**SIGNED, **changes}.items() if value is not None}
    return f"{base}?{urlencode(query)}"


def s3(**changes: str) -> str:
    query = PRESIGNED | {f"X-Amz-{name}": value for name, value in changes.items()}
    return f"https://bucket.s3.eu-north-1.amazonaws.com/a.pdf?{urlencode(query)}"


def test_a_good_address_has_no_problem() -> None:
    assert STORES.problems(azure(), SEND_AT) == []
    assert STORES.problems(azure("HTTPS://ETAT.BLOB.core.windows.net:443/å.pdf", sp="racwd", sr="B"), SEND_AT) == []
    assert STORES.problems(s3(), SEND_AT) == []
    assert STORES.problems("https://files.etat.example:8443/a.pdf?token=x", SEND_AT) == []
    assert STORES.problems("https://ok.etat.example/a.pdf", SEND_AT) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (azure("http://etat.blob.core.windows.net/a.pdf"), HTTPS),
        (azure("ftp://etat.blob.core.windows.net/a.pdf"), HTTPS),
        (azure("/out/a.pdf"), HTTPS),
        (azure("//etat.blob.core.windows.net/a.pdf"), HTTPS),
        (azure("https:///a.pdf"), HTTPS),
        ("", HTTPS),
        ("https://[", HTTPS),
        ("https://etat.blob.core.windows.net/a b.pdf", HTTPS),
        ("https://etat.blob.core.windows.net:x/", HTTPS),
        (azure("https://blob.core.windows.net/a.pdf"), ELSEWHERE),
        (azure("https://.blob.core.windows.net/a.pdf"), ELSEWHERE),
        (azure("https://etat.blob.core.windows.net.evil.example/a.pdf"), ELSEWHERE),
        (azure("https://etat.blob.core.windows.net@evil.example/a.pdf"), ELSEWHERE),
        (azure("https://evil.example@etat.blob.core.windows.net/a.pdf"), ELSEWHERE),
        (azure("https://etat.blob.core.windows.net:8443/a.pdf"), ELSEWHERE),
        (azure("https://127.0.0.1/a.pdf"), ELSEWHERE),
        ("https://files.etat.example/a.pdf", ELSEWHERE),
        ("https://x.ok.etat.example/a.pdf", ELSEWHERE),
        ("https://etat.blob.core.windows.net/a.pdf", UNSIGNED),
        (azure(sr="c"), UNSIGNED),
        (azure(sig=" "), UNSIGNED),
        (azure(se=None), UNSIGNED),
        (azure(se="tomorrow"), "sasUrl must say in se until when it is valid."),
        (azure(sp="w"), "sasUrl must permit reading: sp must contain r."),
        (azure(sp="R"), "sasUrl must permit reading: sp must contain r."),
        (s3(Expires="-1"), "sasUrl must say in X-Amz-Date and X-Amz-Expires until when it is valid."),
        (s3(Date="now"), "sasUrl must say in X-Amz-Date and X-Amz-Expires until when it is valid."),
        (s3(Signature=""), f"sasUrl must have the query parameters {', '.join(PRESIGNED)}."),
    ],
)
def test_of_checks_that_build_on_one_another_the_first_that_fails_is_told(url: str, problem: str) -> None:
    found = STORES.problems(url, SEND_AT)
    if problem.startswith("sasUrl must have the query parameters X"):
        assert found[0].startswith("sasUrl must have the query parameters X-Amz-")
    else:
        assert found == [problem]
    assert not any(SECRET in text for text in found)
    assert STORES.allow(url) is (problem not in (HTTPS, ELSEWHERE))


@pytest.mark.parametrize(
    ("se", "left"),
    [
        ("2026-11-23T10:14:59Z", False),
        ("2026-11-23T10:15:00Z", True),
        ("2026-11-23T11:15:00+01:00", True),
        ("2026-11-23T11:14:59+01:00", False),
        ("2026-11-23T10:15", True),
        ("2026-11-23", False),
        ("2026-11-24", True),
    ],
)
@pytest.mark.assertion("processing", 132)
def test_an_address_must_be_good_until_a_quarter_of_an_hour_after_the_send_time(se: str, left: bool) -> None:
    assert STORES.problems(azure(se=se), SEND_AT) == ([] if left else [TOO_SHORT])


def test_how_long_it_is_good_is_told_beside_what_else_is_wrong() -> None:
    assert STORES.problems(azure("http://evil.example/", se="2026-11-23"), SEND_AT) == [HTTPS, TOO_SHORT]
    assert STORES.problems(s3(Expires="60"), SEND_AT) == [TOO_SHORT]


def test_addresses_say_until_when_they_are_good() -> None:
    assert expiry(azure()) == expiry(s3()) == GOOD_UNTIL
    assert expiry("https://ok.etat.example/a.pdf") is None
    assert expiry(azure(se="0001-01-01T00:00:00+14:00")) is None  # beyond the calendar
    assert expiry("https://[") is None


def test_http_is_for_this_machine_alone_and_only_where_it_is_wanted() -> None:
    sandbox = FileStores(loopback_http=True)
    for host in ("127.0.0.1:8080", "localhost:1", "[::1]"):
        assert sandbox.problems(f"http://{host}/a.pdf", SEND_AT) == []
        assert not STORES.allow(f"http://{host}/a.pdf")
    assert sandbox.problems("http://10.0.0.1/a.pdf", SEND_AT) == [HTTPS]
    assert sandbox.problems("http://etat.example/a.pdf", SEND_AT) == [HTTPS]


@given(st.text())
def test_any_text_is_judged_and_none_is_repeated(text: str) -> None:
    problems = STORES.problems(text, SEND_AT)
    assert problems
    assert all(problem.startswith("sasUrl must ") for problem in problems)


@given(st.text(min_size=1).map(quote))
def test_a_path_of_any_letters_is_taken(path: str) -> None:
    assert STORES.problems(azure(f"https://etat.blob.core.windows.net/{path}"), SEND_AT) == []


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("decision-558.pdf", True),
        ("vedtak år 1.tar.gz", True),
        ("a/b.pdf", False),
        ("a\\b.pdf", False),
        ("noext", False),
        ("dot.", False),
        (".x", True),
    ],
)
@pytest.mark.assertion("http-api", 128)
def test_a_file_name_has_an_extension_and_no_path(name: str, valid: bool) -> None:
    assert valid_filename(name) is valid


def test_sixty_kinds_of_files_may_be_attached() -> None:
    assert len(MIME_TYPES) == 60
    assert MIME_TYPES["application/pdf"] == "application/pdf"
    assert "application/vnd.ms-excel.sheet.macroenabled.12" in MIME_TYPES
    for refused in ("image/jpg", "text/html", "application/octet-stream", "application/x-msdownload", "message/rfc822"):
        assert refused not in MIME_TYPES
