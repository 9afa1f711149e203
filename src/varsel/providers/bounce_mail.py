"""Somebody else's mail, taken apart for its report (channels 2.3): total, and bounded in time and memory.

By hand and not by the `email` package, whose parser recurses into what a stranger nested, and whose time grows with the
square of it. Bounds: headers 64 KiB, 12 parts, 50 blocks, 2 000 characters a value, 4 KiB of text.
"""

import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from varsel.providers.html_text import text_of
from varsel.providers.mailbox import clean

MACHINE_PARTS: Final = frozenset(
    {"message/delivery-status", "message/global-delivery-status", "message/feedback-report"}
)
RETURNED_PARTS: Final = frozenset({"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"})

_MAX_HEADERS: Final = 65_536
_MAX_VALUE: Final = 2_000
_MAX_PARTS: Final = 12
_MAX_BLOCKS: Final = 50
_TEXT: Final = 4_096

_FIELD: Final = re.compile(rb"([!-9;-~]{1,76})[ \t]*:(.*)", re.DOTALL)
_PARAMETER: Final = re.compile(r';\s*([a-z-]+)\s*=\s*(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A mail, or a part of one."""

    headers: dict[str, str]  # by lower-case name; the first of several
    body: bytes
    type: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def kind_of_sender(self) -> str:
        """`Auto-Submitted` without its parameters; empty for a person."""
        return self.headers.get("auto-submitted", "").partition(";")[0].strip().lower()


def parse(raw: bytes) -> Part:
    raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if raw.startswith(b"\n"):
        head, body = b"", raw[1:]
    else:
        head, _, body = raw.partition(b"\n\n")
    headers = _headers(head)
    content_type = headers.get("content-type", "")
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(content_type)}
    return Part(headers, body, content_type.partition(";")[0].strip().lower(), parameters)


def _headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    unfolded = re.sub(rb"\n[ \t]+", b" ", block[:_MAX_HEADERS].replace(b"\r\n", b"\n"))
    for line in unfolded.split(b"\n"):
        if found := _FIELD.fullmatch(line[:_MAX_VALUE]):
            headers.setdefault(found[1].decode().lower(), clean(found[2].decode("utf-8", "replace")).strip())
    return headers


def parts_of(mail: Part) -> list[Part]:
    boundary = mail.parameters.get("boundary", "")
    if not boundary or not mail.type.startswith("multipart/"):
        return []
    pieces = (b"\n" + mail.body).split(b"\n--" + boundary.encode("utf-8", "replace"), _MAX_PARTS + 1)[1:]
    parts = []
    for piece in pieces:
        rest_of_line, _, content = piece.partition(b"\n")
        if not rest_of_line.strip():  # else the end, or a boundary that only begins like ours
            parts.append(parse(content))
    return parts


def decoded(part: Part) -> bytes:
    encoding = part.headers.get("content-transfer-encoding", "").lower()
    if encoding == "quoted-printable":
        return binascii.a2b_qp(part.body)
    if encoding == "base64":
        try:
            return binascii.a2b_base64(part.body)
        except binascii.Error:
            return b""
    return part.body


def returned(parts: list[Part]) -> Part | None:
    """The copy of our message, or of its headers."""
    return next((parse(decoded(part)) for part in parts if part.type in RETURNED_PARTS), None)


def blocks_of(machine: Part) -> list[dict[str, str]]:
    """The header blocks of a part for machines: of a status, the message's first and then one per recipient."""
    text = decoded(machine).replace(b"\r\n", b"\n").strip(b"\n")
    blocks = re.split(rb"\n[ \t]*\n", text, maxsplit=_MAX_BLOCKS)
    return [headers for block in blocks if (headers := _headers(block))]


def text_for_people(mail: Part, parts: list[Part]) -> str:
    """The beginning of the first text, as its reader sees it. Nested parts are opened once."""
    for part in parts or [mail]:
        for leaf in parts_of(part)[:_MAX_PARTS] or [part]:
            if leaf.type in ("", "text/plain", "text/html"):
                text = clean_lines(decoded(leaf)[:_TEXT])
                return text_of(text) if leaf.type == "text/html" else text
    return ""


def clean_lines(octets: bytes) -> str:
    return "\n".join(clean(line) for line in octets.decode("utf-8", "replace").split("\n"))
