"""How long a failed event, and the receiver that failed, are left alone; and when it is given up (design 8)."""

from datetime import datetime, timedelta
from typing import Final

GIVE_UP_AFTER: Final = timedelta(hours=24)
LONGEST: Final = timedelta(hours=24)
"""Of a receiver's own wish to be left alone."""

_WAITS: Final = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=1),  # and again and again
)


def wait_after(failures: int, wished: timedelta | None, *, chance: float) -> timedelta:
    """After so many failures in a row, at least 1; ± 10 % by `chance` (0 to 1). `wished`: by the receiver, and kept."""
    usual = _WAITS[min(failures, len(_WAITS)) - 1] * (0.9 + 0.2 * chance)
    return max(usual, min(wished, LONGEST)) if wished else usual


def next_try(now: datetime, wait: timedelta, *, first: datetime) -> datetime | None:
    """When an event is tried again that was tried at `first`; None: it has been tried long enough.

    The last try comes when its time is over.
    """
    end = first + GIVE_UP_AFTER
    return None if now >= end else min(now + wait, end)
