"""Who may send at this moment: so many at once, and of those who wait the first lane first (promise 5)."""

import asyncio
from heapq import heappop, heappush
from itertools import count

from varsel.domain.order import Lane


class Slots:
    """As a semaphore, but for its order."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[tuple[Lane, int, asyncio.Future[None]]] = []
        self._turns = count()

    def locked(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._free == 0

    async def acquire(self, lane: Lane) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (lane, next(self._turns), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """To whoever waits; whoever has given up waiting is passed over."""
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
