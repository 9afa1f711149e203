"""What a server's reply means for the message and for the provider (channels 2.1, 4.3.4; design 8, "Sending")."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from varsel.delivery.ports import Blame, Deferred, Refused, Suppress
from varsel.domain.notification import Reason
from varsel.providers.mailbox import redact

BACK_OFF: Final = timedelta(seconds=60)


class Stage(StrEnum):
    """Where in the dialogue a reply came, or the connection was lost."""

    GREETING = "greeting"  # connect, TLS, banner, EHLO
    LOGIN = "login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # the command
    DOT = "end of data"


class Ruling(StrEnum):
    RETRY = "retry"  # later, charged to the message
    FAULT = "fault"  # later, charged to the provider: nothing is wrong with the message
    THROTTLED = "throttled"
    AGAIN = "again"  # once more at once
    CLOSED = "closed"  # a kept connection was closed by the server: once more at once, on another
    OPTION_REFUSED = "option refused"  # once more at once, without the extension
    RELAY_DENIED = "relay denied"
    SENDER_REFUSED = "sender refused"
    NO_SUCH_RECIPIENT = "no such recipient"
    INVALID_ADDRESS = "invalid address"
    ADDRESS_REFUSED = "address refused"  # without saying that it is invalid
    DISABLED = "mailbox disabled"
    UNDELIVERABLE = "undeliverable"
    REFUSED = "refused by the recipient's system"
    FILTERED = "content filtered"
    TOO_LARGE = "too large"


REASONS: Final[dict[Ruling, Reason]] = {
    Ruling.SENDER_REFUSED: Reason.UNSPECIFIED,
    Ruling.NO_SUCH_RECIPIENT: Reason.BOUNCED,
    Ruling.INVALID_ADDRESS: Reason.INVALID_EMAIL_FORMAT,
    Ruling.ADDRESS_REFUSED: Reason.INVALID_EMAIL_FORMAT,
    Ruling.DISABLED: Reason.BOUNCED,
    Ruling.UNDELIVERABLE: Reason.BOUNCED,
    Ruling.REFUSED: Reason.BOUNCED,
    Ruling.FILTERED: Reason.FILTERED_SPAM,
    Ruling.TOO_LARGE: Reason.PAYLOAD_TOO_LARGE,
}

_SUPPRESS: Final[dict[Ruling, Suppress]] = {
    Ruling.NO_SUCH_RECIPIENT: Suppress.HARD_BOUNCE,
    Ruling.INVALID_ADDRESS: Suppress.HARD_BOUNCE,
    Ruling.DISABLED: Suppress.DISABLED,
}
"""What is true of the address beyond this message: only where an enhanced code says so (channels 4.3.1, 4.3.4)."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """`reply` must match `550 5.1.1`, with `-` for a missing enhanced code; `words`, when set, stand in the text."""

    stages: frozenset[Stage]
    reply: re.Pattern[str]
    ruling: Ruling
    words: re.Pattern[str] | None = None


def _rule(stages: str, reply: str, ruling: Ruling, words: str | None = None) -> _Rule:
    return _Rule(
        frozenset(Stage[name] for name in stages.split()),
        re.compile(reply),
        ruling,
        re.compile(words, re.IGNORECASE) if words else None,
    )


_BEFORE = "GREETING LOGIN"
_AFTER = "MAIL RCPT DATA DOT"
_RATE = r"\brates?\b|too (?:many|much|fast|quick)|throttl|slow down|limit"
_RELAY = r"(?<![\w.@-])relay(?:ing)?(?!\.?[\w-])"  # the word, not the name of a host
_OPTION = r"parameter|option|argument|\b(?:RET|ENVID|NOTIFY|ORCPT|SIZE|BODY|SMTPUTF8)\b"

# The first that fits decides. What none fits: a permanent reply to RCPT or the content refuses the message, any other
# reply defers it.
_RULES: Final = (
    # a message cannot open a breaker: before MAIL everything is the provider's, after it only what says so
    _rule(_BEFORE, r"454 .*", Ruling.THROTTLED),
    _rule(_BEFORE, r".*", Ruling.FAULT),
    _rule("MAIL RCPT DATA DOT", r"530 .*", Ruling.FAULT),
    _rule(_AFTER, r"4.. 4\.7\..*|421 .*", Ruling.THROTTLED, _RATE),
    _rule("MAIL RCPT", r"452 4\.3\.1", Ruling.THROTTLED),
    _rule("MAIL", r"421 .*", Ruling.FAULT),
    _rule(_AFTER, r"4.. .*", Ruling.RETRY),
    _rule("MAIL RCPT", r"55[05] 5\.5\.4|555 .*|504 .*", Ruling.OPTION_REFUSED),
    _rule("MAIL RCPT", r"501 .*", Ruling.OPTION_REFUSED, _OPTION),
    _rule("MAIL RCPT", r"50[023] .*", Ruling.RETRY),  # out of step
    _rule("MAIL RCPT", r"552 -|... 5\.3\.4|... 5\.2\.3", Ruling.TOO_LARGE),
    _rule("MAIL RCPT", r"... 5\.1\.[78]", Ruling.SENDER_REFUSED),
    _rule("MAIL", r"... 5\.7\..*|55[03] .*", Ruling.SENDER_REFUSED),
    _rule("RCPT", r"55. (?:5\.7\..*|-)", Ruling.RELAY_DENIED, _RELAY),
    _rule("RCPT", r"... 5\.1\.(?:1|2|6|10)", Ruling.NO_SUCH_RECIPIENT),
    _rule("RCPT", r"... 5\.1\.3", Ruling.INVALID_ADDRESS),
    _rule("RCPT", r"501 .*|553 -", Ruling.ADDRESS_REFUSED),
    _rule("RCPT", r"... 5\.2\.1", Ruling.DISABLED),
    _rule("RCPT", r"... 5\.(?:2|4)\..*", Ruling.UNDELIVERABLE),
    _rule("RCPT", r"5.. .*", Ruling.REFUSED),  # a 550 without more: nobody there, or not for us
    _rule("DATA", r"554 .*", Ruling.REFUSED, r"no valid recipients"),
    _rule("DATA", r"5.. .*", Ruling.AGAIN),
    _rule("DOT", r"552 -|... 5\.3\.4|... 5\.2\.3", Ruling.TOO_LARGE),
    _rule("DOT", r"... 5\.7\..*|554 5\.6\..*", Ruling.FILTERED),
    _rule("DOT", r"5.. .*", Ruling.REFUSED),
)
_ENHANCED: Final = re.compile(r"([245])\.\d{1,3}\.\d{1,3}\b")


def rule(stage: Stage, code: int, text: str) -> Ruling:
    """`text` is the reply without its code, lines joined."""
    enhanced = _ENHANCED.match(text)
    reply = f"{code} {enhanced[0] if enhanced and int(enhanced[1]) == code // 100 else '-'}"
    words = redact(text)
    for candidate in _RULES:
        if (
            stage in candidate.stages
            and candidate.reply.fullmatch(reply)
            and (candidate.words is None or candidate.words.search(words))
        ):
            return candidate.ruling
    return Ruling.RETRY


def result(ruling: Ruling, detail: str) -> Deferred | Refused:
    """What is answered for the message; a ruling that asks for another try answers so when there is none left."""
    if ruling in REASONS:
        return Refused(REASONS[ruling], detail, _SUPPRESS.get(ruling), unfit=ruling is Ruling.TOO_LARGE)
    match ruling:
        case Ruling.FAULT | Ruling.OPTION_REFUSED | Ruling.CLOSED:
            return Deferred(detail, Blame.PROVIDER)
        case Ruling.THROTTLED:
            return Deferred(detail, Blame.PROVIDER, BACK_OFF)
        case Ruling.AGAIN:
            return Refused(Reason.UNSPECIFIED, detail)
        case _:
            return Deferred(detail)


def describe(stage: Stage, code: int, text: str) -> str:
    return redact(f"{stage}: {code} {text}")
