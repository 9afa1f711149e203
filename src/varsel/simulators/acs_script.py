"""What the simulated Azure Communication Services do with an email, by the local part of its address (channels 8.5)."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer in the place of 202. `times`: to so many tries, then the email is taken; None: always."""

    status: int
    code: str = ""
    message: str = ""
    retry_after: str = ""  # seconds, or `date` for a date so far ahead
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """`lost`: the connection is reset instead of the answer, after the email was taken. `polls`: what questions are
    answered in turn, the last one for ever: a status of the operation, or one of HTTP. `error`: of a failed operation.

    `events`: statuses that are reported. `early`: before the answer. `held`: until three such are there. `bare`:
    without a message id.
    """

    name: str
    refusal: Refusal | None = None
    lost: bool = False
    polls: tuple[str | int, ...] = ("Running", "Succeeded")
    error: str = ""
    events: tuple[str, ...] = ("Delivered",)
    early: bool = False
    held: bool = False
    bare: bool = False


ORDINARY: Final = Script("ok")

_SCRIPTS: Final = (
    ORDINARY,
    Script("suppressed", polls=("Failed",), error="EmailDroppedAllRecipientsSuppressed", events=()),
    Script("dropped", polls=("Running", "Failed"), error="EmailDropped", events=()),
    Script("badformat", Refusal(400, "BadRequest", "Invalid format for email address: %s")),
    Script("refused", Refusal(400, "BadRequest", "The request is not valid")),
    Script("toolarge", Refusal(413, "PayloadTooLarge", "The request is too large")),
    Script("limit", Refusal(429, "TooManyRequests", "Wait", retry_after="2", times=2)),
    Script("limit-date", Refusal(429, "TooManyRequests", "Wait", retry_after="date", times=2)),
    Script("err500", Refusal(500, "InternalServerError", "Oh")),
    Script("err503", Refusal(503, "ServiceUnavailable", "Busy")),
    Script("reset", lost=True),
    Script("poll429", polls=(429, 429, "Succeeded")),
    Script("poll500", polls=(500, 500, "Succeeded")),
    Script("never", polls=("Running",), events=()),
    Script("canceled", polls=("Canceled",), events=()),
    Script("ev-bounced", events=("Bounced",)),
    Script("ev-spam", events=("FilteredSpam",)),
    Script("ev-quarantined", events=("Quarantined",)),
    Script("ev-failed", events=("Failed",)),
    Script("ev-suppressed", events=("Suppressed",)),
    Script("ev-expanded", events=("Expanded",)),
    Script("ev-unknown", events=("Invented",)),
    Script("ev-nomessageid", bare=True),
    Script("ev-early", early=True),
    Script("ev-dup", events=("Delivered", "Delivered")),
    Script("ev-batch", held=True),
)
SCRIPTS: Final = {script.name: script for script in _SCRIPTS}
_DOMAIN: Final = re.compile(r"[^@]+\.(?:example|test|invalid)|example\.(?:com|org|net)", re.IGNORECASE)


def script_for(address: str) -> Script:
    """By the local part up to the first `+`, in lower case."""
    local, _, domain = address.rpartition("@")
    return SCRIPTS.get(local.partition("+")[0].lower(), ORDINARY) if _DOMAIN.fullmatch(domain) else ORDINARY
