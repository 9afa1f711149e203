"""How often somebody may ask: so many times within a window that moves along."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Final

_MAX_KNOWN: Final = 10_000  # those who have been quiet for longest are forgotten first


class Pace:
    """Counts in this process alone. `now`: machine time in seconds."""

    def __init__(self, limit: int, window: timedelta, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window = window.total_seconds()
        self._now = now
        self._asked: OrderedDict[Hashable, deque[float]] = OrderedDict()

    def take(self, who: Hashable) -> timedelta | None:
        """Count one more; or, when there were too many, how long to wait. Then it does not count."""
        now, asked = self._now(), self._asked.setdefault(who, deque(maxlen=self._limit))
        self._asked.move_to_end(who)
        if len(self._asked) > _MAX_KNOWN:
            self._asked.popitem(last=False)
        if len(asked) == self._limit and now - asked[0] < self._window:
            return max(timedelta(seconds=self._window - (now - asked[0])), timedelta.resolution)
        asked.append(now)
        return None
