"""Rules that the bodies of v1 and v2 orders share (http-api 7; design 8). Paths are keys of the `errors` object."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from varsel.api.bodies import Findings
from varsel.domain.content import Strictness
from varsel.domain.order import OrderChannel
from varsel.domain.schemes import NORWEGIAN, Identifiers
from varsel.domain.sms_text import MAX_LINK_PARTS, MAX_LINK_UNITS, clean, fits_link

EMAIL_CHANNELS: Final = frozenset(OrderChannel) - {OrderChannel.SMS}
SMS_CHANNELS: Final = frozenset(OrderChannel) - {OrderChannel.EMAIL}
PREFERRED_CHANNELS: Final = frozenset({OrderChannel.EMAIL_PREFERRED, OrderChannel.SMS_PREFERRED})

NOT_AN_EMAIL: Final = "The value is not a valid email address."
NOT_A_MOBILE: Final = "The value is not a valid mobile number with country code."
NOT_AN_ORGANISATION: Final = "An organisation number has 9 digits."
NOT_A_PERSON: Final = "A national identity number has 11 digits."

_DOMAIN: Final = re.compile(r"[A-Za-z0-9.-]+\.[A-Za-z]{2,}")
_NOT_IN_URL: Final = re.compile(r"[\s\x00-\x20\x7f]")
_NOT_WELL_FORMED: Final = re.compile(r"[\"<>\\^`{|}]|%(?![0-9A-Fa-f]{2})")
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")


def is_person(value: str) -> bool:
    return NORWEGIAN.is_person(value)


def is_organisation(value: str) -> bool:
    return NORWEGIAN.is_organisation(value)


def wrong_person(value: str, identifiers: Identifiers) -> str | None:
    """What is wrong with a person's identifier. Whether anybody has it, the lookup tells (http-api 7.3)."""
    if identifiers.is_person(value):
        return None
    if identifiers == NORWEGIAN:
        return NOT_A_PERSON
    return "The value is no identifier of a person that is taken here."


def wrong_organisation(value: str, identifiers: Identifiers) -> str | None:
    if identifiers.is_organisation(value):
        return None
    if identifiers == NORWEGIAN:
        return NOT_AN_ORGANISATION
    return "The value is no identifier of an organisation that is taken here."


def one_line(subject: str) -> str:
    """A subject in which each line break is one space (http-api 7.9)."""
    return _LINE_BREAK.sub(" ", subject)


def unless_blank(text: str | None) -> str | None:
    """Blank counts as none (http-api O-28)."""
    return text if text and not text.isspace() else None


def check_not_blank(text: str, path: str, findings: Findings) -> None:
    if not text.strip():
        findings.add(path, "The value must not be blank.")


def check_sms_length(text: str, path: str, findings: Findings) -> None:
    """Texts are never cut (design 8). Past four times the limit nothing that cleaning removes can help."""
    if len(text) > 4 * MAX_LINK_UNITS or not fits_link(cleaned := clean(text)):
        findings.add(path, f"The text is too long: it must fit {MAX_LINK_PARTS} SMS parts.")
    elif not findings.content.is_carried(cleaned):
        findings.add(path, "The text is longer than the SMS gateways here carry.")


def check_text(text: str, path: str, findings: Findings, *, markup: bool = False) -> None:
    """Links and markup, by the creator's rules (channels 6.7). Keywords are looked at when they are filled in."""
    content = findings.content
    tell = findings.add if content.links is Strictness.ENFORCE else findings.warn
    for message in content.wrong_links(text, markup=markup):
        tell(path, message)
    if markup and (wrong := content.wrong_markup(text)):
        findings.add(path, wrong)


def check_email_sender(sender: str | None, path: str, findings: Findings) -> None:
    if sender and sender.strip() and (wrong := findings.content.wrong_email_sender(sender)):
        findings.add(path, wrong)


def check_sms_sender(sender: str | None, path: str, findings: Findings) -> None:
    """Names that are reserved are compared without blanks and letter case (channels 3.2)."""
    if sender and sender.strip() and (wrong := findings.content.wrong_sms_sender(sender)):
        findings.add(path, wrong)


def check_action(action: str | None, resource_id: str | None, path: str, findings: Findings) -> None:
    """Http-api 7.7: an empty action counts as absent, one of blanks alone does not."""
    if not action:
        return
    if action.isspace():
        findings.add(path, "The value must not be blank.")
    elif not unless_blank(resource_id):
        findings.add(path, "ResourceAction needs a ResourceId.")


def is_public_url(url: str) -> bool:
    """Http-api 7.6 for v1: http or https, no bare host names, no addresses of the IP kind."""
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme in ("http", "https")
        and parts.hostname is not None
        and _DOMAIN.fullmatch(parts.hostname) is not None
    )


def is_url(url: str) -> bool:
    """Http-api 7.6 for v2: any absolute http or https URI that is well formed as sent (O-8)."""
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and _NOT_WELL_FORMED.search(url) is None
    )


def _split(url: str) -> SplitResult | None:
    """None when it is no URL at all. The scheme comes in lower case."""
    if _NOT_IN_URL.search(url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts
