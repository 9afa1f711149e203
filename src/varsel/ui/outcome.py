"""What a notification's state is called on a page: a family (icon and colour), a word and a sentence.

One table, after the pages' copy guide; the words stand in the text files under `state.`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.domain.notification import Channel, Reason, State

_FAILURES: Final[dict[Reason, tuple[str, str]]] = {
    Reason.UNSPECIFIED: ("failed", "failed"),
    Reason.RECIPIENT_RESERVED: ("stopped", "reserved"),
    Reason.INVALID_EMAIL_FORMAT: ("failed", "faulty_address"),
    Reason.SUPPRESSED_RECIPIENT: ("stopped", "blocked_address"),
    Reason.BOUNCED: ("failed", "bounced"),
    Reason.FILTERED_SPAM: ("failed", "spam"),
    Reason.QUARANTINED: ("failed", "quarantined"),
    Reason.INVALID_SAS_URL: ("failed", "attachment_missing"),
    Reason.PAYLOAD_TOO_LARGE: ("failed", "attachments_large"),
    Reason.INVALID_RECIPIENT: ("failed", "wrong_number"),
    Reason.BARRED_RECEIVER: ("failed", "barred"),
    Reason.DELETED: ("failed", "deleted"),
    Reason.EXPIRED_AT_PROVIDER: ("failed", "expired_there"),
    Reason.UNDELIVERED: ("failed", "undelivered"),
    Reason.REJECTED: ("failed", "rejected"),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a notification stands, as stored. `wake_at`: when the next thing happens to it."""

    channel: Channel
    state: State
    reason: Reason | None
    settled: bool
    daytime: bool
    attempts: int
    wake_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """`key` finds `state.<key>.word` and `.sentence`; `time` is the instant that the sentence names, if any."""

    family: str
    key: str
    time: datetime | None = None


def outcome_of(standing: Standing) -> Outcome:  # noqa: PLR0911 - one for each state
    match standing.state:
        case State.NEW:
            return _waiting(standing)
        case State.CLAIMED | State.SENDING:
            return Outcome("working", "sending")
        case State.UNKNOWN:
            return Outcome("attention", "unsure", standing.wake_at or standing.expires_at)
        case State.ACCEPTED:
            return Outcome("handed", "settled" if standing.settled else "accepted")
        case State.DELIVERED:
            return Outcome("delivered", f"{standing.channel}_delivered")
        case State.EXPIRED:
            return Outcome("failed", "time_out", standing.expires_at)
        case State.FAILED:
            return _failed(standing)


def _waiting(standing: Standing) -> Outcome:
    if standing.attempts:
        return Outcome("attention", "retry", standing.wake_at or standing.expires_at)
    if standing.daytime and standing.wake_at:
        return Outcome("waiting", "daytime", standing.wake_at)
    return Outcome("waiting", "new")


def _failed(standing: Standing) -> Outcome:
    reason = standing.reason or Reason.UNSPECIFIED
    if reason is Reason.RECIPIENT_NOT_IDENTIFIED:
        return Outcome("attention", f"{standing.channel}_missing")
    family, key = _FAILURES[reason]
    return Outcome(family, key, standing.expires_at if key == "expired_there" else None)
