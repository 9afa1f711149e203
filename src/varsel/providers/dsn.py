"""Delivery status notifications as mail: raw octets to a report (channels 2.3, 4.3.1; RFC 3464, 5965, 6533).

Pure and total: any octets give a report or nothing. The mail is taken apart by hand and not by the `email` package,
whose parser recurses into what a stranger nested, and whose time grows with the square of it. Everything is bounded:
headers 64 KiB, 12 parts, 50 blocks, 2 000 characters a value.
"""

import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from varsel.delivery.ports import Report, Verdict
from varsel.domain.ids import NotificationId
from varsel.domain.notification import Channel, Reason
from varsel.providers.mailbox import clean, parse_mailbox, redact
from varsel.providers.verp import Verp, read_envelope_id, xtext_decode

PROVIDER: Final = "smtp"  # reports name their message by our id, so it does not matter over which account it left

_MAX_HEADERS: Final = 65_536
_MAX_VALUE: Final = 2_000
_MAX_PARTS: Final = 12
_MAX_BLOCKS: Final = 50
_LOOSE_TEXT: Final = 4_096

_FIELD: Final = re.compile(rb"([!-9;-~]{1,76})[ \t]*:(.*)", re.DOTALL)
_PARAMETER: Final = re.compile(r';\s*([a-z-]+)\s*=\s*(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_STATUS: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_STATUS_IN_TEXT: Final = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.])")
_SPAM: Final = re.compile(r"spam|policy|policies|block|reputation|blacklist|denylist|content", re.IGNORECASE)
_FAILURE: Final = re.compile(
    r"undeliver|not (?:be )?deliver|delivery (?:status|fail|has fail)|failure notice|returned mail|mail delivery",
    re.IGNORECASE,
)
_MESSAGE_ID: Final = re.compile(r"<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})[.@]", re.IGNORECASE)
_MACHINE_PARTS: Final = frozenset(
    {"message/delivery-status", "message/global-delivery-status", "message/feedback-report"}
)
_RETURNED_PARTS: Final = frozenset(
    {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"}
)

# Action first, status second: a message given up after deferrals is `failed` with a status of class 4.
_FAILURES: Final = tuple(
    (re.compile(status), reason)
    for status, reason in (
        (r"5\.1\.3", Reason.INVALID_EMAIL_FORMAT),
        (r"5\.2\.3|5\.3\.4", Reason.PAYLOAD_TOO_LARGE),
        (r"5\.6\.\d+", Reason.FILTERED_SPAM),
    )
)
_ARRIVED: Final = frozenset({"delivered", "relayed", "expanded"})


@dataclass(frozen=True, slots=True)
class _Part:
    """A mail, or a part of one."""

    headers: dict[str, str]  # by lower-case name; the first of several
    body: bytes
    type: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def read_report(
    raw: bytes, *, recipient: str, sender: str, verp: Verp, relayed_is_delivered: bool = False
) -> Report | None:
    """What a mail to one of our bounce addresses says; None when it says nothing about a delivery.

    `recipient` and `sender` are the envelope's (`""` or `<>`: the null sender). A report about a message that cannot be
    told has no notification; one that cannot be understood is unrecognised.
    """
    mail = _parse(raw)
    parts = _parts(mail)
    returned = next((_parse(_decoded(part)) for part in parts if part.type in _RETURNED_PARTS), None)
    machine = next((part for part in parts if part.type in _MACHINE_PARTS), None)
    blocks = _blocks(machine) if machine else []
    notification = _reference(recipient, blocks, returned, verp)
    if mail.type == "multipart/report":
        kind = mail.parameters.get("report-type", "").lower()
        if kind == "feedback-report":
            return _complaint(blocks, notification, raw)
        if kind == "disposition-notification":
            return None
        return _read_status(blocks, returned, notification, raw, relayed_is_delivered=relayed_is_delivered)
    if sender in ("", "<>") and mail.headers.get("auto-submitted", "").partition(";")[0].strip() != "auto-replied":
        return _loose_bounce(mail, notification, raw)
    return None


def _reference(
    recipient: str, blocks: list[dict[str, str]], returned: _Part | None, verp: Verp
) -> NotificationId | None:
    """In order of trust: our signed address, our envelope id, what was returned of our headers."""
    if notification := verp.verify(recipient):
        return notification
    for block in blocks:
        if notification := read_envelope_id(xtext_decode(block.get("original-envelope-id", ""))):
            return notification
    if returned is None:
        return None
    try:
        return NotificationId(UUID(returned.headers.get("x-notification-id", "").strip()))
    except ValueError:
        found = _MESSAGE_ID.search(returned.headers.get("message-id", ""))
        return NotificationId(UUID(found[1])) if found else None


def _read_status(
    blocks: list[dict[str, str]],
    returned: _Part | None,
    notification: NotificationId | None,
    raw: bytes,
    *,
    relayed_is_delivered: bool,
) -> Report:
    block = _block_of_ours([block for block in blocks if "action" in block or "final-recipient" in block], returned)
    if block is None:
        return _report(Verdict.UNRECOGNISED, "", notification, raw, detail="malformed report")
    action = redact(block.get("action", "").lower(), 40)
    found = _STATUS.match(block.get("status", "").strip())
    status = found[0] if found else ""
    diagnostic = redact(block.get("diagnostic-code", ""))
    verdict, reason, note = _verdict(action, status, diagnostic, relayed_is_delivered=relayed_is_delivered)
    payload = {
        "action": action,
        "status": redact(block.get("status", ""), 80),
        "diagnostic": diagnostic,
        "remoteMta": redact(block.get("remote-mta", ""), 200),
        "willRetryUntil": redact(block.get("will-retry-until", ""), 80),
    }
    return _report(
        verdict,
        f"{action} {status}".strip(),
        notification,
        block.get("final-recipient", "").lower().encode("utf-8", "replace"),
        reason=reason,
        detail=": ".join(filter(None, (note, diagnostic))),
        payload={name: value for name, value in payload.items() if value},
    )


def _verdict(
    action: str, status: str, diagnostic: str, *, relayed_is_delivered: bool
) -> tuple[Verdict, Reason | None, str]:
    """Table 4.3.1, with design 8's change: relayed and expanded prove no arrival unless the setting says so."""
    if action == "delayed":
        return Verdict.DELAYED, None, ""
    if action in _ARRIVED and status[:1] in ("2", ""):
        certain = action == "delivered" or relayed_is_delivered
        return Verdict.DELIVERED if certain else Verdict.RELAYED, None, "" if action == "delivered" else action
    if action != "failed":
        return Verdict.UNRECOGNISED, None, "malformed report"
    for pattern, reason in _FAILURES:
        if pattern.fullmatch(status):
            return Verdict.FAILED, reason, ""
    if status.startswith("5.7.") and _SPAM.search(diagnostic):
        return Verdict.FAILED, Reason.FILTERED_SPAM, ""
    expired = status.startswith("4.") and status != "4.2.2"  # 4.2.2: the mailbox stayed full
    return Verdict.FAILED, Reason.BOUNCED, "expired-in-queue" if expired else ""


def _block_of_ours(blocks: list[dict[str, str]], returned: _Part | None) -> dict[str, str] | None:
    """The block of our recipient, whose address stands in the returned headers; else the only block."""
    if len(blocks) == 1:
        return blocks[0]
    ours = parse_mailbox(returned.headers.get("to", "").strip("<> \t")) if returned else None
    if ours is not None:
        for name in ("final-recipient", "original-recipient"):
            matching = [block for block in blocks if _address(block.get(name, "")) == str(ours)]
            if len(matching) == 1:
                return matching[0]
    return None


def _address(value: str) -> str | None:
    """`rfc822; Ola@EXAMPLE.com` → `Ola@example.com`."""
    mailbox = parse_mailbox(value.rpartition(";")[2].strip("<> \t"))
    return str(mailbox) if mailbox else None


def _complaint(blocks: list[dict[str, str]], notification: NotificationId | None, raw: bytes) -> Report:
    """The message has arrived; what its reader thought of it is kept, and changes nothing."""
    kind = redact(blocks[0].get("feedback-type", "") if blocks else "", 40).lower() or "unknown"
    return _report(Verdict.COMPLAINT, f"complaint {kind}", notification, raw, detail=f"complaint: {kind}")


def _loose_bounce(mail: _Part, notification: NotificationId | None, raw: bytes) -> Report | None:
    """A bounce in prose. Only a status code in it is believed."""
    text = clean(_decoded(mail)[:_LOOSE_TEXT].decode("utf-8", "replace"))
    if not _FAILURE.search(mail.headers.get("subject", "")) and not _FAILURE.search(text):
        return None
    found = _STATUS_IN_TEXT.search(text)
    if found is None or found[0][0] == "2":
        return _report(Verdict.UNRECOGNISED, "", notification, raw, detail="a bounce without a status")
    detail = f"bounced without a report: {found[0]}"
    if found[0][0] == "4":
        return _report(Verdict.DELAYED, f"delayed {found[0]}", notification, b"", detail=detail)
    return _report(Verdict.FAILED, f"failed {found[0]}", notification, b"", reason=Reason.BOUNCED, detail=detail)


def _report(
    verdict: Verdict,
    raw_state: str,
    notification: NotificationId | None,
    event: bytes,
    *,
    reason: Reason | None = None,
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
        detail=detail,
        payload=payload or {},
    )


def _parse(raw: bytes) -> _Part:
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if raw.startswith(b"\n"):
        head, body = b"", raw[1:]
    else:
        head, _, body = raw.partition(b"\n\n")
    headers = _headers(head)
    content_type = headers.get("content-type", "")
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(content_type)}
    return _Part(headers, body, content_type.partition(";")[0].strip().lower(), parameters)


def _headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    unfolded = re.sub(rb"\n[ \t]+", b" ", block[:_MAX_HEADERS].replace(b"\r\n", b"\n"))
    for line in unfolded.split(b"\n"):
        if found := _FIELD.fullmatch(line[:_MAX_VALUE]):
            headers.setdefault(found[1].decode().lower(), clean(found[2].decode("utf-8", "replace")).strip())
    return headers


def _parts(mail: _Part) -> list[_Part]:
    boundary = mail.parameters.get("boundary", "")
    if not boundary or not mail.type.startswith("multipart/"):
        return []
    pieces = (b"\n" + mail.body).split(b"\n--" + boundary.encode("utf-8", "replace"), _MAX_PARTS + 1)[1:]
    parts = []
    for piece in pieces:
        rest_of_line, _, content = piece.partition(b"\n")
        if not rest_of_line.strip():  # else the end, or a boundary that only begins like ours
            parts.append(_parse(content))
    return parts


def _decoded(part: _Part) -> bytes:
    encoding = part.headers.get("content-transfer-encoding", "").lower()
    if encoding == "quoted-printable":
        return binascii.a2b_qp(part.body)
    if encoding == "base64":
        try:
            return binascii.a2b_base64(part.body)
        except binascii.Error:
            return b""
    return part.body


def _blocks(machine: _Part) -> list[dict[str, str]]:
    """The header blocks of a part for machines: of a status, the message's first and then one per recipient."""
    text = _decoded(machine).replace(b"\r\n", b"\n").strip(b"\n")
    blocks = re.split(rb"\n[ \t]*\n", text, maxsplit=_MAX_BLOCKS)
    return [headers for block in blocks if (headers := _headers(block))]
