"""A circuit breaker for one service, in one process (registries 6.6). Its clock is machine time."""

from collections.abc import Callable
from datetime import timedelta


class Breaker:
    """Opens after `failures` failures in a row. After `open_for`, one request may try whether the service is back."""

    def __init__(self, failures: int, open_for: timedelta, monotonic: Callable[[], float]) -> None:
        """`monotonic`: seconds, from any beginning."""
        self._failures = failures
        self._open_for = open_for.total_seconds()
        self._monotonic = monotonic
        self._in_a_row = 0
        self._open_until = 0.0
        self._probing = False

    def enter(self) -> timedelta | None:
        """None when a request may go out; otherwise how long to wait. Each that goes out is told of how it ended."""
        if self._in_a_row < self._failures:
            return None
        left = self._open_until - self._monotonic()
        if left > 0 or self._probing:
            return timedelta(seconds=max(left, 1.0))
        self._probing = True
        return None

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._probing = False

    def failed(self) -> None:
        self._in_a_row += 1
        self._open_until = self._monotonic() + self._open_for
        self._probing = False

    def abandoned(self) -> None:
        """The request was cancelled: it tells nothing."""
        self._probing = False
