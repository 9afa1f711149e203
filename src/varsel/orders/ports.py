"""What the orders stage needs to have a message sent at once (design 8 "Instant")."""

from collections.abc import Sequence
from typing import Protocol

from varsel.domain.instant import Instant


class Sent(Protocol):
    """A message that has been given to the provider, and its answer."""

    @property
    def nothing_left(self) -> bool:
        """Surely: the provider could not be reached, or turned us away before the message was named."""
        ...

    async def record(self) -> None:
        """Store what became of it. Returns when that is done, however long the database is away."""
        ...


class Turn(Protocol):
    """One message may be on its way by `provider`, until `end`."""

    @property
    def provider(self) -> str: ...

    async def end(self) -> None: ...

    async def send(self, instant: Instant) -> Sent:
        """May take as long as the provider lets it; never raises for the message."""
        ...


class InstantSender(Protocol):
    """Sends the messages of one channel, by the provider that should have each, as many at a time as they take."""

    async def take_turn(self, creator: str, address: str, tried: Sequence[str] = ()) -> Turn:
        """Wait until one more may be on its way, by a provider that was not tried. Raises `Unavailable`."""
        ...
