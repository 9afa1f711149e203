"""What the orders stage needs to have a message sent at once (design 8 "Instant")."""

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


class InstantSender(Protocol):
    """Sends the messages of one channel through one provider, as many at a time as it takes."""

    @property
    def provider(self) -> str: ...

    async def take_turn(self) -> None:
        """Wait until one more may be on its way. Raises `Unavailable` when that takes too long. Pair: `end_turn`."""
        ...

    def end_turn(self) -> None: ...

    async def send(self, instant: Instant) -> Sent:
        """May take as long as the provider lets it; never raises for the message."""
        ...
