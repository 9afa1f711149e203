"""Business time. Machine time (leases, pauses) is the database's `statement_timestamp()`, in SQL (design 8)."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Business time: aware, UTC."""
        ...


class SystemClock:
    """The host's clock, plus the sandbox's offset. The only caller of `datetime.now` for business time."""

    def __init__(self) -> None:
        self.offset = timedelta()
        self.version = 0  # of the sandbox_clock row last taken

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by

    def set(self, to: datetime) -> None:
        self._now = to
