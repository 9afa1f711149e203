"""Mail to a bounce address, read: a report about one of our messages, or why it is none (channels 2.3, 4.3.1).

Sources: RFC 3464 and 6533 (delivery status), RFC 5965 (feedback). Pure and total: any octets give one or the other.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.providers.bounce_mail import MACHINE_PARTS, Part, blocks_of, parse, parts_of, returned, text_for_people
from varsel.providers.bounce_prose import read_prose
from varsel.providers.mailbox import parse_mailbox, redact
from varsel.providers.verp import Verp, read_envelope_id, xtext_decode

PROVIDER: Final = "smtp"  # reports name their message by our id, so it does not matter over which account it left


class Drop(StrEnum):
    """Mail that is no report about a message of ours: counted, and gone."""

    AUTO_REPLY = "auto_reply"  # vacation notices and their like
    RECEIPT = "receipt"  # it was displayed, or deleted unread
    LOOP = "loop"  # a bounce of a bounce: we send none, so somebody's mail goes round
    OTHER = "other"


_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_SPAM: Final = re.compile(r"spam|policy|policies|block|reputation|blacklist|denylist|content", re.IGNORECASE)
_MESSAGE_ID: Final = re.compile(r"<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})[.@]", re.IGNORECASE)
_COMPLAINTS: Final = frozenset({"abuse", "fraud", "opt-out"})
AUTHENTICATION_FAILED: Final = "feedback auth-failure"  # our signature or our permission to send was doubted

# Action first, status second: a message given up after deferrals is `failed` with a status of class 4.
_FAILURES: Final = tuple(
    (re.compile(status), reason, suppress)
    for status, reason, suppress in (
        (r"5\.1\.3", Reason.INVALID_EMAIL_FORMAT, Suppress.HARD_BOUNCE),
        (r"5\.1\.(?:1|2|6|10)", Reason.BOUNCED, Suppress.HARD_BOUNCE),
        (r"5\.2\.1", Reason.BOUNCED, Suppress.DISABLED),
        (r"5\.2\.3|5\.3\.4", Reason.PAYLOAD_TOO_LARGE, None),
        (r"5\.6\.\d+", Reason.FILTERED_SPAM, None),
    )
)
_ARRIVED: Final = frozenset({"delivered", "relayed", "expanded"})
_FAILED: Final = frozenset({"failed", "failure"})  # the second is no word of the standard


def read_mail(
    raw: bytes, *, recipient: str, sender: str, verp: Verp, relayed_is_delivered: bool = False
) -> Report | Drop:
    """What a mail to one of our bounce addresses says.

    `recipient` and `sender` are the envelope's (`""` or `<>`: the null sender). A report about a message that cannot be
    told has no notification; one that cannot be understood is unrecognised.
    """
    mail = parse(raw)
    parts = parts_of(mail)
    copy = returned(parts)
    if copy and copy.type == "multipart/report" and mail.type != copy.type:  # a gateway wrapped it
        mail, parts = copy, parts_of(copy)
        copy = returned(parts)
    machine = next((part for part in parts if part.type in MACHINE_PARTS), None)
    blocks = blocks_of(machine) if machine else []
    if _goes_round(sender, copy, verp):
        return Drop.LOOP
    notification = _reference(recipient, blocks, copy, verp)
    match _kind(mail, parts, machine):
        case "feedback-report":
            return _feedback(blocks, notification, raw)
        case "disposition-notification":
            return Drop.RECEIPT
        case "delivery-status":
            if ours := _blocks_of_ours(blocks, copy):
                return _read_status(ours, notification, raw, relayed_is_delivered=relayed_is_delivered)
            return _read_prose(mail, parts, notification, raw) or _malformed(notification, raw)
        case _:
            return _read_letter(mail, parts, sender, notification, raw)


def _read_letter(
    mail: Part, parts: list[Part], sender: str, notification: NotificationId | None, raw: bytes
) -> Report | Drop:
    """A mail without a report. Only the null sender's is believed: that is how mail systems write."""
    if _is_automatic(mail):
        return Drop.AUTO_REPLY
    return (_read_prose(mail, parts, notification, raw) if sender in ("", "<>") else None) or Drop.OTHER


def _kind(mail: Part, parts: list[Part], machine: Part | None) -> str:
    """By its report type; without one, by the part for machines that it has all the same."""
    if mail.type == "multipart/report" and (named := mail.parameters.get("report-type", "").lower()):
        return named
    if machine:
        return "feedback-report" if machine.type == "message/feedback-report" else "delivery-status"
    if any(part.type == "message/disposition-notification" for part in parts):
        return "disposition-notification"
    return "delivery-status" if mail.type == "multipart/report" else ""


def _goes_round(sender: str, copy: Part | None, verp: Verp) -> bool:
    """From a bounce address itself, or about a mail that was a bounce. We never answer, so nothing starts here."""
    if sender.rpartition("@")[2].strip("<> ").lower() == verp.domain:
        return True
    if copy is None or "x-notification-id" in copy.headers:
        return False
    return copy.type == "multipart/report" or "mailer-daemon@" in copy.headers.get("from", "").lower()


def _reference(recipient: str, blocks: list[dict[str, str]], copy: Part | None, verp: Verp) -> NotificationId | None:
    """In order of trust: our signed address, our envelope id, what was returned of our headers."""
    for address in (recipient, *(block.get("original-mail-from", "").strip("<> ") for block in blocks)):
        if notification := verp.verify(address):
            return notification
    for block in blocks:
        if notification := read_envelope_id(xtext_decode(block.get("original-envelope-id", ""))):
            return notification
    if copy is None:
        return None
    try:
        return NotificationId(UUID(copy.headers.get("x-notification-id", "").strip()))
    except ValueError:
        found = _MESSAGE_ID.search(copy.headers.get("message-id", ""))
        return NotificationId(UUID(found[1])) if found else None


def _read_status(
    blocks: Sequence[dict[str, str]], notification: NotificationId | None, raw: bytes, *, relayed_is_delivered: bool
) -> Report:
    """`blocks`: those that may be our recipient's. When they agree it does not matter which one is."""
    readings = [_Reading.of(block, relayed_is_delivered=relayed_is_delivered) for block in blocks]
    if len({(reading.verdict, reading.reason, reading.suppress) for reading in readings}) != 1:
        return _malformed(notification, raw)
    block, reading = blocks[0], readings[0]
    payload = {
        "action": reading.action,
        "status": redact(block.get("status", ""), 80),
        "diagnostic": reading.diagnostic,
        "remoteMta": redact(block.get("remote-mta", ""), 200),
        "willRetryUntil": redact(block.get("will-retry-until", ""), 80),
    }
    return _report(
        reading.verdict,
        f"{reading.action} {reading.status}".strip(),
        notification,
        block.get("final-recipient", "").lower().encode("utf-8", "replace"),
        reason=reading.reason,
        suppress=reading.suppress,
        detail=": ".join(filter(None, (reading.note, reading.diagnostic))),
        payload={name: value for name, value in payload.items() if value},
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one recipient's block says."""

    action: str
    status: str
    diagnostic: str
    verdict: Verdict
    reason: Reason | None = None
    suppress: Suppress | None = None
    note: str = ""

    @classmethod
    def of(cls, block: dict[str, str], *, relayed_is_delivered: bool) -> Self:
        action = redact(block.get("action", "").partition("(")[0].strip().lower(), 40)
        found = _STATUS.match(block.get("status", "").strip())
        status = found[0] if found else ""
        diagnostic = redact(block.get("diagnostic-code", ""))
        if action == "delayed":
            return cls(action, status, diagnostic, Verdict.DELAYED)
        if action in _ARRIVED and status[:1] in ("2", ""):
            certain = action == "delivered" or relayed_is_delivered
            note = "" if action == "delivered" else action
            return cls(action, status, diagnostic, Verdict.DELIVERED if certain else Verdict.RELAYED, note=note)
        if action not in _FAILED:
            return cls(action, status, diagnostic, Verdict.UNRECOGNISED, note="malformed report")
        return cls(action, status, diagnostic, Verdict.FAILED, *_why_failed(status, diagnostic))


def _why_failed(status: str, diagnostic: str) -> tuple[Reason, Suppress | None, str]:
    """Table 4.3.1 of failures: the reason, what it means for the address, and a word on it."""
    for pattern, reason, suppress in _FAILURES:
        if pattern.fullmatch(status):
            return reason, suppress, ""
    if status.startswith("5.7.") and _SPAM.search(diagnostic):
        return Reason.FILTERED_SPAM, None, ""
    expired = status.startswith("4.") and status != "4.2.2"  # 4.2.2: the mailbox stayed full
    return Reason.BOUNCED, None, "expired-in-queue" if expired else ""


def _blocks_of_ours(blocks: list[dict[str, str]], copy: Part | None) -> Sequence[dict[str, str]]:
    """Of our recipient, whose address stands in the returned headers; of all recipients, when it does not."""
    candidates = [block for block in blocks if "action" in block or "final-recipient" in block]
    ours = parse_mailbox(copy.headers.get("to", "").strip("<> \t")) if copy and len(candidates) > 1 else None
    if ours is not None:
        for name in ("final-recipient", "original-recipient"):
            if matching := [block for block in candidates if _address(block.get(name, "")) == str(ours)]:
                return matching
    return candidates


def _address(value: str) -> str | None:
    """`rfc822; Ola@EXAMPLE.com` → `Ola@example.com`."""
    mailbox = parse_mailbox(value.rpartition(";")[2].strip("<> \t"))
    return str(mailbox) if mailbox else None


def _feedback(blocks: list[dict[str, str]], notification: NotificationId | None, raw: bytes) -> Report:
    """The message has arrived; what was thought of it there is kept, and changes nothing of its outcome."""
    kind = redact(blocks[0].get("feedback-type", "") if blocks else "", 40).lower()
    if not kind:
        return _malformed(notification, raw)
    suppress = Suppress.COMPLAINT if kind in _COMPLAINTS else None
    said = f"complaint {kind}" if suppress else f"feedback {kind}"
    return _report(Verdict.COMPLAINT, said, notification, raw, suppress=suppress)


def _read_prose(mail: Part, parts: list[Part], notification: NotificationId | None, raw: bytes) -> Report | None:
    """What stands in a mail for people. A failure told in words alone gives way to any other evidence."""
    told = read_prose(mail.headers.get("subject", ""), text_for_people(mail, parts))
    if told is None:
        return None
    if told.verdict is Verdict.UNRECOGNISED:
        return _report(told.verdict, "", notification, raw, detail="a bounce without a status")
    state = f"{told.verdict} {told.status}".strip()
    detail = f"told without a report: {state}"
    if told.verdict is Verdict.DELAYED:
        return _report(told.verdict, state, notification, b"", detail=detail)
    reason, suppress, _ = _why_failed(told.status, "")
    soft = not told.certain
    return _report(told.verdict, state, notification, b"", reason=reason, suppress=suppress, soft=soft, detail=detail)


def _is_automatic(mail: Part) -> bool:
    """An answer in somebody's absence. Some mail systems call their bounces so too."""
    author = mail.headers.get("from", "").lower()
    if "x-failed-recipients" in mail.headers or "mailer-daemon@" in author or "postmaster@" in author:
        return False
    replied = mail.kind_of_sender == "auto-replied" or "x-autoreply" in mail.headers
    return replied or mail.headers.get("precedence", "").lower() == "auto_reply"


def _malformed(notification: NotificationId | None, raw: bytes) -> Report:
    return _report(Verdict.UNRECOGNISED, "", notification, raw, detail="malformed report")


def _report(
    verdict: Verdict,
    raw_state: str,
    notification: NotificationId | None,
    event: bytes,
    *,
    reason: Reason | None = None,
    suppress: Suppress | None = None,
    soft: bool = False,
    detail: str = "",
    payload: dict[str, str] | None = None,
) -> Report:
    """`event` tells apart what the state and the notification do not; the same mail twice is one event."""
    identity = "\n".join((str(notification), verdict, raw_state)).encode()
    return Report(
        provider=PROVIDER,
        event_key=hashlib.sha256(identity + b"\n" + event).hexdigest()[:40],
        channel=Channel.EMAIL,
        verdict=verdict,
        raw_state=raw_state or "malformed",
        notification=notification,
        reason=reason,
        soft=soft,
        detail=detail,
        payload=payload or {},
        suppress=suppress if notification else None,  # a stranger's word on nobody's address
    )
