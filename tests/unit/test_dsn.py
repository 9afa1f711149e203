"""Delivery status notifications (channels 2.3, 4.3.1, assertions 46-51; design 8 on relayed and expanded)."""

import time
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.providers.dsn import Drop, read_mail
from varsel.providers.verp import Verp

VERP = Verp("bounce.varsel.example", [b"key"])
ID = NotificationId(UUID("019ab000-0000-7000-8000-000000000001"))
OTHER = NotificationId(UUID("019ab000-0000-7000-8000-000000000002"))
TOKEN = VERP.make(ID)
FORGED = TOKEN[:10] + ("a" if TOKEN[10] != "a" else "b") + TOKEN[11:]
RETURNED = "To: ola@example.com\nMessage-ID: <{id}@etat.example>\nX-Notification-Id: {id}\nSubject: Ny post\n"


def block(
    action: str | None = "failed", status: str | None = "5.1.1", to: str = "ola@example.com", diagnostic: str = ""
) -> str:
    lines = [f"Final-Recipient: rfc822; {to}"]
    lines += [f"Action: {action}"] if action is not None else []
    lines += [f"Status: {status}"] if status is not None else []
    lines += [f"Diagnostic-Code: smtp; {diagnostic}"] if diagnostic else []
    return "\n".join(lines) + "\n"


def dsn(*blocks: str, envelope_id: str = "", returned: str = "", kind: str = "delivery-status") -> bytes:
    """In the shape that Postfix gives its reports."""
    text = f"""From: MAILER-DAEMON@relay.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {TOKEN}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind};
\tboundary="AB12.1764000000/relay.example"

This is a MIME-encapsulated message.

--AB12.1764000000/relay.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host relay.example.

--AB12.1764000000/relay.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example
X-Postfix-Queue-ID: AB12
{f"Original-Envelope-Id: {envelope_id}" if envelope_id else "X-Nothing: here"}
Arrival-Date: Mon, 23 Nov 2026 10:00:00 +0000 (UTC)

{chr(10).join(blocks)}
--AB12.1764000000/relay.example
Content-Description: Undelivered Message Headers
Content-Type: text/rfc822-headers

{returned}
--AB12.1764000000/relay.example--
"""
    return text.replace("\n", "\r\n").encode()


def read(raw: bytes, recipient: str = TOKEN, sender: str = "<>", *, relayed_is_delivered: bool = False) -> Report:
    report = read_mail(raw, recipient=recipient, sender=sender, verp=VERP, relayed_is_delivered=relayed_is_delivered)
    assert isinstance(report, Report)
    return report


BOUNCED = Reason.BOUNCED


@pytest.mark.parametrize(
    ("action", "status", "verdict", "reason", "suppress"),
    [
        ("delivered", "2.0.0", Verdict.DELIVERED, None, None),
        ("delivered", None, Verdict.DELIVERED, None, None),
        ("Delivered", "2.1.5 (ok)", Verdict.DELIVERED, None, None),
        ("delivered", "5.0.0", Verdict.UNRECOGNISED, None, None),
        ("relayed", "2.0.0", Verdict.RELAYED, None, None),
        ("expanded", "2.0.0", Verdict.RELAYED, None, None),
        ("delayed", "4.4.1", Verdict.DELAYED, None, None),
        ("delayed", None, Verdict.DELAYED, None, None),
        ("failed", "5.1.1", Verdict.FAILED, BOUNCED, Suppress.HARD_BOUNCE),
        ("failed", "5.1.2", Verdict.FAILED, BOUNCED, Suppress.HARD_BOUNCE),
        ("failed", "5.1.6", Verdict.FAILED, BOUNCED, Suppress.HARD_BOUNCE),
        ("failed", "5.1.10", Verdict.FAILED, BOUNCED, Suppress.HARD_BOUNCE),
        ("failed", "5.1.8", Verdict.FAILED, BOUNCED, None),
        ("failed", "5.0.0", Verdict.FAILED, BOUNCED, None),
        ("failed", "5.1.3", Verdict.FAILED, Reason.INVALID_EMAIL_FORMAT, Suppress.HARD_BOUNCE),
        ("failed", "5.2.1", Verdict.FAILED, BOUNCED, Suppress.DISABLED),
        ("failed", "5.2.2", Verdict.FAILED, BOUNCED, None),
        ("failed", "5.2.3", Verdict.FAILED, Reason.PAYLOAD_TOO_LARGE, None),
        ("failed", "5.3.4", Verdict.FAILED, Reason.PAYLOAD_TOO_LARGE, None),
        ("failed", "5.4.4", Verdict.FAILED, BOUNCED, None),
        ("failed", "5.6.0", Verdict.FAILED, Reason.FILTERED_SPAM, None),
        ("failed", "5.7.1", Verdict.FAILED, BOUNCED, None),
        ("failed", "4.4.7", Verdict.FAILED, BOUNCED, None),
        ("failed", "4.7.1", Verdict.FAILED, BOUNCED, None),
        ("failed", None, Verdict.FAILED, BOUNCED, None),
        ("failed", "nonsense", Verdict.FAILED, BOUNCED, None),
        ("failure", "553", Verdict.FAILED, BOUNCED, None),
        ("failed (Bad mailbox)", "5.1.1", Verdict.FAILED, BOUNCED, Suppress.HARD_BOUNCE),
        ("exploded", "5.1.1", Verdict.UNRECOGNISED, None, None),
        (None, "5.1.1", Verdict.UNRECOGNISED, None, None),
    ],
)
@pytest.mark.assertion("channels", 46, 47)
def test_the_action_decides_and_then_the_status(
    action: str | None, status: str | None, verdict: Verdict, reason: Reason | None, suppress: Suppress | None
) -> None:
    report = read(dsn(block(action, status)))
    assert (report.verdict, report.reason, report.suppress) == (verdict, reason, suppress)
    assert report.notification == ID
    assert report.channel is Channel.EMAIL


def test_relayed_counts_as_delivered_only_where_the_setting_says_so() -> None:
    for action in ("relayed", "expanded"):
        assert read(dsn(block(action, "2.0.0")), relayed_is_delivered=True).verdict is Verdict.DELIVERED
        assert read(dsn(block(action, "2.0.0"))).detail == action


def test_a_message_given_up_after_deferrals_says_so() -> None:
    assert read(dsn(block("failed", "4.4.7"))).detail == "expired-in-queue"
    assert read(dsn(block("failed", "4.2.2"))).detail == ""


@pytest.mark.parametrize("diagnostic", ["554 5.7.1 Spam detected", "550 5.7.1 blocked by reputation", "policy"])
def test_a_refusal_for_spam_is_filtered(diagnostic: str) -> None:
    assert read(dsn(block(status="5.7.1", diagnostic=diagnostic))).reason is Reason.FILTERED_SPAM


def test_what_is_kept_is_without_addresses_and_identity_numbers() -> None:
    told = "550 5.1.1 <ola.nordmann@example.com> 13918399999: no such user"
    report = read(dsn(block(diagnostic=told)))
    assert report.payload == {
        "action": "failed",
        "status": "5.1.1",
        "diagnostic": "smtp; 550 5.1.1 <ol***@example.com> ***********: no such user",
    }
    assert report.detail == report.payload["diagnostic"]
    assert report.raw_state == "failed 5.1.1"


@pytest.mark.assertion("channels", 48)
def test_only_the_block_of_our_recipient_counts() -> None:
    blocks = (block("delivered", "2.0.0", "kari@example.com"), block("failed", "5.1.1", "Ola@EXAMPLE.com"))
    returned = RETURNED.format(id=ID).replace("ola@", "Ola@")
    for order in (blocks, blocks[::-1]):
        assert read(dsn(*order, returned=returned)).raw_state == "failed 5.1.1"
    assert read(dsn(*blocks)).verdict is Verdict.UNRECOGNISED  # nothing tells which
    assert read(dsn(*blocks, returned="To: per@example.com\n")).verdict is Verdict.UNRECOGNISED
    for agreeing in (blocks[1], block("failed", "5.1.2", "per@example.com")):  # then it does not matter which
        assert read(dsn(blocks[1], agreeing)).raw_state == "failed 5.1.1"


@pytest.mark.assertion("channels", 49)
def test_a_message_is_found_by_token_then_envelope_id_then_returned_headers() -> None:
    everything = dsn(block(), envelope_id=f"n-{OTHER}", returned=RETURNED.format(id=OTHER))
    assert read(everything).notification == ID
    for recipient in (FORGED, "postmaster@bounce.varsel.example"):
        assert read(everything, recipient).notification == OTHER
        assert read(dsn(block(), returned=RETURNED.format(id=OTHER)), recipient).notification == OTHER
        message_id = f"Message-ID: <{OTHER}@etat.example>\n"
        assert read(dsn(block(), returned=message_id), recipient).notification == OTHER
        assert read(dsn(block()), recipient).notification is None


def test_the_same_report_twice_is_one_event_and_another_state_is_another() -> None:
    first = read(dsn(block())).event_key
    assert read(dsn(block())).event_key == first
    assert read(dsn(block(), envelope_id=f"n-{ID}", returned=RETURNED)).event_key == first
    others = [
        read(dsn(block(status="5.2.2"))),
        read(dsn(block("delivered", "2.0.0"))),
        read(dsn(block(to="kari@example.com"))),
        read(dsn(block()), VERP.make(OTHER)),
    ]
    assert len({first, *(report.event_key for report in others)}) == 5


def test_international_reports_and_encoded_parts_are_read() -> None:
    international = (
        dsn(block("delivered", "2.0.0", "x"))
        .replace(b"message/delivery-status", b"message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit")
        .replace(b"rfc822; x", "utf-8; ægir@example.com".encode())
    )
    assert read(international).verdict is Verdict.DELIVERED
    encoded = dsn("").replace(
        b"message/delivery-status\r\n", b"message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n"
    )
    start, end = encoded.index(b"Reporting-MTA"), encoded.index(b"--AB12", encoded.index(b"Reporting-MTA"))
    encoded = encoded[:start] + b"QWN0aW9uOiBmYWlsZWQNClN0YXR1czogNS4xLjENCg==\r\n" + encoded[end:]
    assert read(encoded).raw_state == "failed 5.1.1"


def test_folded_fields_in_any_case_are_read() -> None:
    folded = block().replace("Status: 5.1.1", "STATUS:\n\t5.1.1 (no such\n  user)").replace("Action", "aCTION")
    assert read(dsn(folded)).raw_state == "failed 5.1.1"


def feedback(kind: str, more: str = "") -> bytes:
    return (
        dsn(block(), kind="feedback-report")
        .replace(b"message/delivery-status", b"message/feedback-report")
        .replace(b"Reporting-MTA: dns; relay.example", f"Feedback-Type: {kind}\r\nVersion: 1{more}".encode())
    )


@pytest.mark.parametrize(
    ("kind", "said", "suppress"),
    [
        ("abuse", "complaint abuse", Suppress.COMPLAINT),
        ("Fraud", "complaint fraud", Suppress.COMPLAINT),
        ("opt-out", "complaint opt-out", Suppress.COMPLAINT),
        ("not-spam", "feedback not-spam", None),
        ("auth-failure", "feedback auth-failure", None),
        ("virus", "feedback virus", None),
        ("something new", "feedback something new", None),
    ],
)
@pytest.mark.assertion("channels", 51)
def test_a_complaint_is_kept_without_effect_on_its_message(kind: str, said: str, suppress: Suppress | None) -> None:
    report = read(feedback(kind))
    assert (report.verdict, report.raw_state, report.notification) == (Verdict.COMPLAINT, said, ID)
    assert (report.suppress, report.reason) == (suppress, None)


def test_feedback_is_known_by_its_part_and_malformed_without_its_type() -> None:
    unnamed = feedback("abuse").replace(b"report-type=feedback-report;", b"report-type=;")
    assert read(unnamed).suppress is Suppress.COMPLAINT
    nameless = read(feedback("abuse").replace(b"Feedback-Type", b"X-Type"))
    assert (nameless.verdict, nameless.suppress) == (Verdict.UNRECOGNISED, None)


def test_a_complaint_to_another_address_is_found_by_the_return_path_that_it_names() -> None:
    complaints = "complaints@bounce.varsel.example"
    assert read(feedback("abuse", f"\r\nOriginal-Mail-From: <{TOKEN}>"), complaints).notification == ID
    assert read(feedback("abuse", f"\r\nOriginal-Mail-From: <{FORGED}>"), complaints).notification is None


@pytest.mark.parametrize(
    ("raw", "drop"),
    [
        (b"From: ola@example.com\r\nSubject: Svar\r\nAuto-Submitted: auto-replied\r\n\r\nBorte.", Drop.AUTO_REPLY),
        (b"From: ola@example.com\r\nSubject: Svar\r\nPrecedence: auto_reply\r\n\r\nBorte.", Drop.AUTO_REPLY),
        (b"From: ola@example.com\r\nSubject: Fra kontoret\r\n\r\nJeg er bortreist, 5.1.1 sier hei.", Drop.OTHER),
        (dsn(block(), kind="disposition-notification"), Drop.RECEIPT),
        (b"", Drop.OTHER),
    ],
)
@pytest.mark.assertion("channels", 50)
def test_a_vacation_reply_and_a_reading_receipt_say_nothing(raw: bytes, drop: Drop) -> None:
    assert read_mail(raw, recipient=TOKEN, sender="<>", verp=VERP) is drop


@pytest.mark.parametrize(
    "returned",
    [
        "From: MAILER-DAEMON@relay.example (Mail Delivery System)\nSubject: Undelivered Mail\n",
        "From: somebody@relay.example\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\n",
    ],
)
def test_a_bounce_of_a_bounce_is_dropped(returned: str) -> None:
    assert read_mail(dsn(block(), returned=returned), recipient=TOKEN, sender="<>", verp=VERP) is Drop.LOOP
    ours = returned + f"X-Notification-Id: {ID}\n"  # whoever the sender of our message is
    assert read(dsn(block(), returned=ours)).verdict is Verdict.FAILED


def test_a_report_that_a_gateway_wrapped_is_read_and_unwrapped_once() -> None:
    head = b'Content-Type: multipart/mixed; boundary="%s"\r\n\r\n--%s\r\nContent-Type: message/rfc822\r\n\r\n'
    wrapped = head % (b"w", b"w") + dsn(block(), envelope_id=f"n-{OTHER}") + b"\r\n--w--\r\n"
    assert read(wrapped, FORGED).notification == OTHER
    assert read(wrapped).raw_state == "failed 5.1.1"
    twice = head % (b"v", b"v") + wrapped + b"\r\n--v--\r\n"
    assert read_mail(twice, recipient=TOKEN, sender="<>", verp=VERP) is Drop.OTHER


def test_what_comes_from_a_bounce_address_is_dropped() -> None:
    for sender in (TOKEN, f"<{TOKEN.upper()}>", "postmaster@bounce.varsel.example"):
        assert read_mail(dsn(block()), recipient=TOKEN, sender=sender, verp=VERP) is Drop.LOOP


PROSE = b"Subject: Undeliverable: Ny post\r\n\r\nYour message could not be delivered to <ola@example.com>: "


@pytest.mark.parametrize(
    ("told", "verdict", "soft", "suppress"),
    [
        (b"550 5.1.1 unknown", Verdict.FAILED, False, Suppress.HARD_BOUNCE),
        (b"550 5.7.1 refused", Verdict.FAILED, False, None),
        (b"550 unknown", Verdict.FAILED, False, None),
        (b"451 4.2.2 full", Verdict.DELAYED, False, None),
        (b"4.4.1 no connection. This is a permanent error", Verdict.FAILED, False, None),
        (b"5.4.7 but we will continue to try", Verdict.DELAYED, False, None),
        (b"sorry", Verdict.FAILED, True, None),  # in words alone
        (b"sorry\r\n--- Below is a copy of the message ---\r\n550 5.1.1 is in it", Verdict.FAILED, True, None),
    ],
)
def test_a_bounce_in_prose_is_believed_by_its_code_and_less_by_its_words(
    told: bytes, verdict: Verdict, soft: bool, suppress: Suppress | None
) -> None:
    report = read(PROSE + told)
    assert (report.verdict, report.soft, report.suppress, report.notification) == (verdict, soft, suppress, ID)


def test_prose_is_believed_of_the_null_sender_alone() -> None:
    assert read_mail(PROSE + b"550 5.1.1", recipient=TOKEN, sender="ola@example.com", verp=VERP) is Drop.OTHER
    exim = b"X-Failed-Recipients: ola@example.com\r\nAuto-Submitted: auto-replied\r\n" + PROSE + b"550 5.1.1"
    assert read(exim).verdict is Verdict.FAILED


def test_a_mail_system_that_says_nothing_clear_is_unrecognised() -> None:
    report = read(b"From: postmaster@relay.example\r\nSubject: Mail System Error\r\n\r\nHm.")
    assert (report.verdict, report.notification) == (Verdict.UNRECOGNISED, ID)


@pytest.mark.parametrize("cut", [b"message/delivery-status", b"boundary=", b"Action: failed"])
def test_a_broken_report_is_never_certain_but_keeps_its_message(cut: bytes) -> None:
    report = read(dsn(block()).replace(cut, b"X"))
    assert report.notification == ID
    assert report.verdict is Verdict.UNRECOGNISED or report.soft
    silent = read(dsn(block()).replace(cut, b"X").replace(b"Undelivered Mail Returned to Sender", b"Report"))
    assert (silent.verdict, silent.notification) == (Verdict.UNRECOGNISED, ID)


pieces = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n",
            b"\n\n",
            b"--b\n",
            b"--b--\n",
            b":",
            b";",
            b" ",
            b"=",
            b'"',
            b"\x00",
            b"\xff\xfe",
            b"\xc3\xa6",
        ),
        *(
            b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n",
            b"Subject: undeliverable\n\n",
        ),
        *(b"Content-Type: message/delivery-status\n\n", b"Content-Type: text/rfc822-headers\n\n", b"5.1.1", b"4.4.7 "),
        *(b"Action: failed\n", b"Status: 5.7.1\n", b"Final-Recipient: rfc822; a@b.no\n", b"Original-Envelope-Id: +"),
        *(
            b"Content-Transfer-Encoding: base64\n",
            b"Content-Transfer-Encoding: quoted-printable\n",
            b"X-Notification-Id:",
        ),
    ]
)


@given(st.binary() | st.lists(pieces | st.binary(max_size=8), max_size=40).map(b"".join), st.text(), st.text())
@example(dsn(block("failed", "5.1.1", "\udc80\0".encode("utf-8", "replace").decode())), TOKEN, "")
def test_any_octets_give_a_storable_report_or_none(raw: bytes, recipient: str, sender: str) -> None:
    for from_ in (sender, "", "<>"):
        report = read_mail(raw, recipient=recipient, sender=from_, verp=VERP)
        if isinstance(report, Report):
            texts = [report.raw_state, report.detail, report.event_key, *report.payload, *report.payload.values()]
            assert all(text.encode() and "\0" not in text and len(text) <= 1_000 for text in texts if text)
            assert (report.verdict is Verdict.FAILED) == (report.reason is not None)


@pytest.mark.parametrize(
    "hostile",
    [
        b"Content-Type: multipart/report; boundary=b\n\n"
        + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 20_000,
        b"Content-Type: multipart/report;" + b" a=b;" * 200_000,
        b"Subject: " + b"\n " * 500_000,
        b"A: b\n" * 200_000,
        b"Subject: undeliverable\n\n" + b"1.1.1." * 160_000,
        dsn(*[block()] * 10_000),
        PROSE + b"- " * 400_000,
        PROSE.replace(b"Subject", b"Content-Type: text/html\r\nSubject") + b"<a href=" * 100_000,
        b"\r" * 1_000_000,
    ],
)
def test_a_hostile_megabyte_is_read_at_once(hostile: bytes) -> None:
    begun = time.process_time()
    read_mail(hostile, recipient=TOKEN, sender="<>", verp=VERP)
    assert time.process_time() - begun < 1  # seconds
