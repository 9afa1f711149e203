"""Mail as bytes (channels 2.2, assertions 28-34), held against the standard library's own builder."""

import email.policy
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.delivery.ports import Email, File
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.order import ContentType
from varsel.providers.html_text import text_of
from varsel.providers.mailbox import Mailbox, clean, parse_mailbox, redact
from varsel.providers.mime import Letters, build

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ID = NotificationId(UUID("019ab000-0000-7000-8000-000000000001"))
ORDER = OrderId(UUID("019ab000-0000-7000-8000-0000000000aa"))
TO = Mailbox("ola.nordmann", "example.com")
SENDER = "noreply@etat.example"

texts = st.text(st.characters(exclude_categories=["Cs"]))
bodies = st.lists(texts | st.sampled_from([".", "..", ".dot", "From here", "x" * 5000, "trailing  \t", "blåbær"])).map(
    "\n".join
)


def parsed(raw: bytes) -> EmailMessage:
    message = BytesParser(policy=email.policy.default).parsebytes(raw)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def content(part: EmailMessage) -> str:
    text = part.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def sent(subject: str = "Hei", body: str = "Hei", content_type: ContentType = ContentType.PLAIN) -> bytes:
    return build(SENDER, subject, body, content_type).fill(ID, TO, NOW)


def by_the_library(subject: str, body: str, content_type: ContentType) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    message["To"] = Address(addr_spec=str(TO))
    message["From"] = Address(addr_spec=SENDER)
    message["Subject"] = subject
    message["Message-ID"] = f"<{ID}@etat.example>"
    message["X-Notification-Id"] = str(ID)
    message["Auto-Submitted"] = "auto-generated"
    message["Date"] = NOW
    if content_type is ContentType.HTML:
        message.set_content(text_of(body), cte="base64")
        message.add_alternative(body, subtype="html", cte="base64")
    else:
        message.set_content(body, cte="base64")
    return message


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=200), bodies, st.sampled_from(ContentType))
def test_a_mail_says_what_the_librarys_own_builder_would_have_it_say(
    subject: str, body: str, content_type: ContentType
) -> None:
    ours, theirs = (
        parsed(sent(subject, body.replace("\0", ""), content_type)),
        by_the_library(subject, body.replace("\0", ""), content_type),
    )
    for header in ("From", "To", "Date", "Message-ID", "X-Notification-Id", "Auto-Submitted", "MIME-Version"):
        assert ours[header] == theirs[header]
    assert ours["Subject"] == subject
    assert ours.get_content_type() == theirs.get_content_type()
    for mine, other in zip(ours.walk(), theirs.walk(), strict=True):
        assert mine.get_content_type() == other.get_content_type()
        if not mine.is_multipart():
            assert content(mine) == content(parsed(other.as_bytes(policy=email.policy.SMTP)))


@given(texts, bodies, st.sampled_from(ContentType))
def test_lines_are_short_end_in_crlf_and_hold_only_ascii(subject: str, body: str, content_type: ContentType) -> None:
    raw = sent(subject, body, content_type)
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    lines = raw.split(b"\r\n")
    assert max(map(len, lines)) <= 78 + len(b"Message-ID: ")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)


@given(texts)
@pytest.mark.assertion("channels", 28)
def test_a_subject_arrives_with_its_line_breaks_as_blanks(subject: str) -> None:
    arrived = parsed(sent(subject=subject))["Subject"]
    assert arrived.strip() == clean(subject).strip()


@given(texts, texts)
@pytest.mark.assertion("channels", 28)
def test_no_text_of_a_sender_can_add_a_header(before: str, after: str) -> None:
    for break_ in ("\r\n", "\n", "\r", "\u2028", "\x85", "\x0b"):
        message = parsed(sent(subject=f"{before}{break_}Bcc: victim@example.com{break_}{break_}{after}"))
        assert message["Bcc"] is None
        assert sorted(message.keys()) == sorted(parsed(sent()).keys())
        assert content(message) == "Hei\n"


@pytest.mark.parametrize("body", [".\n..\n.x\n", "x" * 5000, "blå " * 2000, "от" * 3000, "a\rb\r\nc\n", "a\x0cb"])
def test_dots_long_lines_and_odd_line_ends_arrive(body: str) -> None:
    expected = body.replace("\r\n", "\n").replace("\r", "\n")
    assert content(parsed(sent(body=body))).rstrip("\n") == expected.rstrip("\n")


@pytest.mark.assertion("channels", 31, 32)
def test_a_plain_mail_has_one_part_and_an_html_mail_has_its_text_first() -> None:
    assert not parsed(sent()).is_multipart()
    message = parsed(sent(body="<p>Hei <b>Ola</b></p>", content_type=ContentType.HTML))
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    first, second = message.iter_parts()
    assert isinstance(first, EmailMessage)
    assert isinstance(second, EmailMessage)
    assert content(first) == "Hei Ola\n"
    assert content(second) == "<p>Hei <b>Ola</b></p>\n"


def test_hardly_ascii_travels_in_base64_and_norwegian_stays_readable() -> None:
    assert b"Content-Transfer-Encoding: base64" in sent(body="от" * 40)
    assert b"bl=C3=A5b=C3=A6r" in sent(body="blåbær og jordbær")


@pytest.mark.parametrize(
    ("sender", "header", "domain"),
    [
        ("noreply@etat.example", "noreply@etat.example", "etat.example"),
        (" noreply@ETAT.example ", "noreply@etat.example", "etat.example"),
        ("Etaten <noreply@etat.example>", "Etaten <noreply@etat.example>", "etat.example"),
        ('"Etaten" <a@etat.example>', "Etaten <a@etat.example>", "etat.example"),
        ("Skatt, og avgift <a@etat.example>", '"Skatt, og avgift" <a@etat.example>', "etat.example"),
        ("Brønnøysund <a@blåbær.example>", "Brønnøysund <a@xn--blbr-roah.example>", "xn--blbr-roah.example"),
    ],
)
def test_a_senders_name_and_domain_are_written_as_mail_wants_them(sender: str, header: str, domain: str) -> None:
    message = parsed(build(sender, "s", "b", ContentType.PLAIN).fill(ID, TO, NOW))
    assert message["From"] == header
    assert message["Message-ID"] == f"<{ID}@{domain}>"


@pytest.mark.parametrize("sender", ["", "Altinn", "a b@c", "a@b", "x\r\nBcc: v@example.com"])
def test_a_sender_without_an_address_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="sender"):
        build(sender, "s", "b", ContentType.PLAIN)


def test_the_message_id_is_the_same_on_every_try() -> None:
    letter = build(SENDER, "s", "b", ContentType.PLAIN)
    later = NOW.replace(hour=11)
    assert parsed(letter.fill(ID, TO, NOW))["Message-ID"] == parsed(letter.fill(ID, TO, later))["Message-ID"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["Hei $A", "Hei $B", "Hei"])), max_size=30))
def test_recipients_of_one_order_with_texts_of_their_own_get_their_own(wanted: list[tuple[int, str]]) -> None:
    letters = Letters()
    for order, text in wanted:
        mail = Email(
            ID, OrderId(UUID(int=order)), "ttd", SENDER, str(TO), text, text * 2, ContentType.PLAIN, expires_at=NOW
        )
        message = parsed(letters.letter(mail).fill(ID, TO, NOW))
        assert message["Subject"] == text
        assert content(message) == f"{text * 2}\n"


def test_the_templates_kept_are_few_and_small() -> None:
    letters = Letters()
    for number in range(300):
        letters.letter(
            Email(ID, ORDER, "ttd", SENDER, str(TO), f"{number}", "x" * 200_000, ContentType.PLAIN, expires_at=NOW)
        )
    assert letters.bytes_kept <= 32_000_000


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("ola@example.com", "ola@example.com"),
        (" Ola@EXAMPLE.com ", "Ola@example.com"),
        ("a@exämple.no", "a@xn--exmple-cua.no"),
        ("a@faß.de", "a@xn--fa-hia.de"),  # IDNA 2003 would say fass.de
        ("a@BLÅBÆR.no", "a@xn--blbr-roah.no"),
        ("a@1.2.3.4", "a@1.2.3.4"),
        ("a;b@example.com", '"a;b"@example.com'),
        ("a/b@example.com", "a/b@example.com"),
        ("ægir@example.com", "ægir@example.com"),
        ("a@@example.com", '"a@"@example.com'),
    ],
)
@pytest.mark.assertion("channels", 29)
def test_an_address_is_written_for_the_wire(address: str, wire: str) -> None:
    assert str(parse_mailbox(address)) == wire


@pytest.mark.parametrize(
    "address",
    [
        *("", "@", "a@", "@b.no", "a", "a@localhost", "a b@example.com", ".a@example.com", "a.@example.com"),
        *("a..b@example.com", "a@-b.no", "a@b-.no", "a@b..no", "a@.no", "a@b.no.", "a\r\n@b.no", "a\0@b.no"),
        *('"a"@b.no', "a\\@b.no", "a\x85b@b.no", "a\u2028@b.no", "\ud800@b.no", "a@\ud800.no", "a@b no.example"),
        *("a" * 65 + "@b.no", "æ" * 33 + "@b.no", "a@" + "b" * 64 + ".no", "a@" + "b.no" * 100, "a@b>.no"),
    ],
)
def test_what_cannot_be_on_the_wire_is_no_address(address: str) -> None:
    assert parse_mailbox(address) is None


@given(st.text())
def test_an_address_for_the_wire_cannot_end_a_command_or_a_header(text: str) -> None:
    for candidate in (text, f"{text}@example.com", f"a@{text}.no"):
        mailbox = parse_mailbox(candidate)
        if mailbox:
            assert not set(str(mailbox)) & set("\r\n\0 \t\x85\u2028")
            assert not set("<>,;:()[]@") & set(mailbox.local) or mailbox.local.startswith('"')
            assert parse_mailbox(f"a@{mailbox.domain}") == Mailbox("a", mailbox.domain)


def test_others_texts_are_kept_without_addresses_and_identity_numbers() -> None:
    told = "550 5.1.1 <ola.nordmann@example.com>: unknown\r\nuser 13918399999, try 'ab@example.com'\0\x1b \udce6"
    assert redact(told) == "550 5.1.1 <ol***@example.com>: unknown user ***********, try '***@example.com' �"


@given(st.text(), st.sampled_from(["ola@example.com", "kari.nordmann@sub.example.no"]), st.text())
def test_no_address_is_left_in_a_redacted_text(before: str, address: str, after: str) -> None:
    masked = redact(f"{before} {address} {after}")
    assert address not in masked
    assert len(masked) <= 500
    assert masked.isprintable() or masked.encode()


contents = st.binary(max_size=300) | st.sampled_from([b"", b"\r\n.\r\n", bytes(range(256)) * 150, b"\n" * 57])
files = st.lists(
    st.builds(
        File, st.text(max_size=300), st.sampled_from(["application/pdf", "text/plain", "image/svg+xml"]), contents
    ),
    min_size=1,
    max_size=4,
)


@given(bodies, st.sampled_from(ContentType), files)
def test_files_arrive_as_they_were_whatever_they_hold(
    body: str, content_type: ContentType, attached: list[File]
) -> None:
    letter = build(SENDER, "Vedtak", body.replace("\0", ""), content_type)
    raw = letter.fill(ID, TO, NOW, attached)
    assert max(len(line) for line in raw.split(b"\r\n")) < 998
    message = parsed(raw)
    assert message.get_content_type() == "multipart/mixed"
    first, *parts = message.iter_parts()
    assert isinstance(first, EmailMessage)
    alone = parsed(letter.fill(ID, TO, NOW))
    assert first.get_content_type() == alone.get_content_type()
    assert [content(p) for p in first.walk() if not p.is_multipart()] == [
        content(p) for p in alone.walk() if not p.is_multipart()
    ]
    assert [part.get_payload(decode=True) for part in parts] == [file.content for file in attached]
    assert [part.get_content_type() for part in parts] == [file.mime_type for file in attached]
    assert {part.get_content_disposition() for part in parts} == {"attachment"}
    for part in parts:
        name = part.get_filename()
        assert name
        assert len(name.encode()) <= 255
        assert not set(name) & set("/\\\r\n\0")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("decision-558.pdf", "decision-558.pdf"),
        ("Vedtak år 2026 (utkast).pdf", "Vedtak år 2026 (utkast).pdf"),
        ('a "quoted" name;x=y.pdf', 'a "quoted" name;x=y.pdf'),
        ("a\r\nBcc: x@example.com.pdf", "a  Bcc: x@example.com.pdf"),
        ("æ" * 300 + ".pdf", "æ" * 125 + ".pdf"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        (".pdf", "file.pdf"),
    ],
)
def test_a_file_keeps_its_name_and_its_name_changes_nothing_else(name: str, shown: str) -> None:
    raw = build(SENDER, "Hei", "Hei", ContentType.PLAIN).fill(ID, TO, NOW, [File(name, "application/pdf", b"x")])
    message = parsed(raw)
    assert message["Bcc"] is None
    _, part = message.iter_parts()
    assert isinstance(part, EmailMessage)
    assert part.get_filename() == shown
    assert part.keys() == ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"]
