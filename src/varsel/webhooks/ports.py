"""What webhooks need of the outside world: somebody who brings an event to its receiver."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. Without a `status` none came, and `detail` says why in a few words of ours.

    `retry_after`: how long the receiver asked to be left alone.
    """

    status: int | None
    detail: str = ""
    retry_after: timedelta | None = None

    @property
    def taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants no more events, ever."""
        return self.status == 410


class Receivers(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request, without redirects, answered within its own time-out. Raises nothing for what others do."""
        ...
