"""Where a message counts: one bucket for each, and one for the orders that wait for their time (ADR 12)."""

from enum import StrEnum
from typing import Final

from varsel.domain.notification import Reason, State


class Bucket(StrEnum):
    TAKEN = "taken"  # recipients of orders, as they are accepted: only ever added to
    SCHEDULED = "scheduled"  # recipients of orders that are not resolved yet
    OPEN = "open"  # ready, or held by a worker
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"  # a provider has it, and may yet confirm it
    SETTLED = "settled"  # a provider had it, and will not confirm it
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"  # it may have left, and nothing was heard of it in time
    NOT_SENT = "not_sent"  # nobody to send it to, or somebody who does not want it


NOT_SENT: Final = frozenset({Reason.RECIPIENT_RESERVED, Reason.RECIPIENT_NOT_IDENTIFIED, Reason.SUPPRESSED_RECIPIENT})
"""Failures that count as stopped on purpose, or as without an address (the pages' brief, 5)."""


SENT: Final = frozenset(
    {Bucket.UNKNOWN, Bucket.ACCEPTED, Bucket.SETTLED, Bucket.EXPIRED, Bucket.DELIVERED, Bucket.FAILED}
)
"""What counts here has left us, or was tried."""


def bucket_of(state: State, reason: Reason | None, *, settled: bool, left: bool) -> Bucket:
    """`left`: whether it may ever have left us."""
    match state:
        case State.NEW | State.CLAIMED | State.SENDING:
            return Bucket.OPEN
        case State.ACCEPTED:
            return Bucket.SETTLED if settled else Bucket.ACCEPTED
        case State.FAILED:
            return Bucket.NOT_SENT if reason in NOT_SENT else Bucket.FAILED
        case State.EXPIRED:
            return Bucket.EXPIRED if left else Bucket.FAILED
        case State.UNKNOWN | State.DELIVERED:
            return Bucket(state)
