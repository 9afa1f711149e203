"""What a mail system tells people of a delivery, where it sends no report for machines (channels 2.3: loose bounces).

Plain searches in 4 KiB of text, in order of trust: an announcement that it goes on trying, a status code, a reply code,
words. Nothing here repeats within a repetition.
"""

import re
from dataclasses import dataclass
from typing import Final

from varsel.delivery.ports import Verdict


@dataclass(frozen=True, slots=True)
class Told:
    """`status`: the code it is told by, or empty. `certain`: by a code, not by words alone."""

    verdict: Verdict
    status: str = ""
    certain: bool = True


# Where the copy of our message begins: what stands there is ours, or our readers'.
_COPY: Final = re.compile(
    r"^[ >*|=-]*(?:(?:below|the|an?|here) .{0,60}(?:copy of|header)|(?:start of )?(?:the )?(?:original|returned|unsent)"
    r" (?:message|mail)|forwarded message|(?:the )?(?:original )?message (?:headers?|text|body)"
    r"|(?:return-path|received):)",
    re.IGNORECASE | re.MULTILINE,
)
_TRYING: Final = (
    *("not yet been delivered", "still trying", "will be retried", "will continue", "will retry", "has been delayed"),
    *("has been postponed", "attempts will continue", "warning message only", "just a warning", "advisory-only"),
    *("do not need to resend", "not resend your", "message delayed", "delivery delayed", "(delay)"),
)
_GIVEN_UP: Final = (
    *("permanent", "given up", "giving up", "not going to try", "in the queue too long", "queue lifetime"),
    *("delivery failure notification", "fatal error", "failed permanently", "delivery attempts failed"),
)
_STATUS: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\.?\d)")
_REPLY: Final = re.compile(r"(?<![\w.,(/@-])(?:55\d|50[0-4]|521|53[0-8]|541|571)(?![\w.,)/@])")
_FAILED: Final = (
    *("undeliver", "undelivered", "not delivered", "not been delivered", "unable to deliver", "not able to deliver"),
    *("not be delivered", "cannot be delivered", "not deliver ", "delivery failed", "delivery failure", "non-delivery"),
    *("did not reach", "could not be reached", "failed permanently", "has failed", "mail failed", "failed mail"),
    *("delivery has failed", "delivery problem", "was aborted", "returned mail", "rejected mail", "failed recipient"),
    *("permanent error", "permanent failure", "fatal error", "delivery status notification (failure)"),
    *("user unknown", "unknown user", "unknown host", "no such user", "user not known", "user not found"),
    *("no mailbox here", "no valid recipients", "mailbox unavailable", "mailbox is full", "over quota"),
    *("quota exceeded", "exceeding their quota", "invalid final delivery", "does not exist", "delivery failed"),
    *("error-for:", "encountered an error", "intended recipient:", "unable to accept"),
)
_SUSPECT: Final = re.compile(
    r"mail delivery|failure notice|delivery status|mail(?:er)?[ -](?:error|daemon|system)|postmaster", re.IGNORECASE
)


def read_prose(subject: str, text: str) -> Told | None:
    """None when it speaks of no delivery. Class 4 counts as a delay, unless it says that it gave up (channels 2.3)."""
    copy = _COPY.search(text)
    said = " ".join((text[: copy.start()] if copy else text).split()).lower()
    heading = " ".join(subject.split()).lower()
    everything = f"{heading}\n{said}"
    if _any(_TRYING, everything):
        return Told(Verdict.DELAYED, certain=False)
    failing = _any(_FAILED, everything)
    if (failing or _SUSPECT.search(heading)) and (told := _by_code(said, everything)):
        return told
    if failing:
        return Told(Verdict.FAILED, certain=False)
    return Told(Verdict.UNRECOGNISED, certain=False) if _SUSPECT.search(heading) else None


def _by_code(said: str, everything: str) -> Told | None:
    if found := next((found[1] for found in _STATUS.finditer(said) if found[1][0] != "2"), None):
        failed = found[0] == "5" or _any(_GIVEN_UP, everything)
        return Told(Verdict.FAILED if failed else Verdict.DELAYED, found)
    if found := _REPLY.search(said):
        return Told(Verdict.FAILED)
    return None


def _any(phrases: tuple[str, ...], text: str) -> bool:
    return any(phrase in text for phrase in phrases)
