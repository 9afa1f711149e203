"""The status feed: one sequencer for all workers (design 8 "Feed without holes"), and readers who may wait for it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

from varsel.db import Database
from varsel.status import feed_store
from varsel.status.feed_store import FeedEntry

_LOOK_AGAIN: Final = 5.0  # s: a lost announcement costs a waiting reader at most this


async def number_feed(db: Database) -> int:
    """Give numbers to the entries of finished orders, and tell those who wait; returns how many.

    Any worker may run it; one at a time does.
    """
    async with db.routine() as conn:
        creators = await feed_store.number_pending(conn)
    if creators:
        async with db.routine() as conn:
            await feed_store.announce(conn, creators)
    return len(creators)


class FeedReader:
    """Reads feeds, and lets readers wait for what is not there yet. One for each API process.

    All who wait share one listening connection, which is opened for the first of them. At most `max_waiting` wait at
    once; who comes later is answered at once.
    """

    def __init__(self, db: Database, *, max_waiting: int) -> None:
        self._db = db
        self._max_waiting = max_waiting
        self._waiting: dict[asyncio.Event, str] = {}
        self._listening: asyncio.Task[None] | None = None
        self._ending = False

    async def read(
        self,
        creator: str,
        *,
        seq: int,
        limit: int,
        newest_first: bool = False,
        wait: timedelta = timedelta(),
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> list[FeedEntry]:
        """A page of the creator's feed; empty when nothing has come within `wait`. `gone`: nobody waits any more."""
        if not wait or self._ending or len(self._waiting) >= self._max_waiting:
            return await self._page(creator, seq=seq, limit=limit, newest_first=newest_first)
        loop = asyncio.get_running_loop()
        until = loop.time() + wait.total_seconds()
        with self._told(creator) as grown:
            while True:
                grown.clear()
                entries = await self._page(creator, seq=seq, limit=limit, newest_first=newest_first)
                left = until - loop.time()
                if entries or left <= 0 or self._ending:
                    return entries
                self._listen()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                        await grown.wait()
                if gone and await gone():
                    return []

    def end_waiting(self) -> None:
        """The server stops: who waits is answered now, and nobody waits any more."""
        self._ending = True
        self._tell(None)

    async def close(self) -> None:
        self.end_waiting()
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _page(self, creator: str, *, seq: int, limit: int, newest_first: bool) -> list[FeedEntry]:
        async with self._db.reading() as conn:
            return await feed_store.read_feed(conn, creator, seq=seq, limit=limit, newest_first=newest_first)

    @contextmanager
    def _told(self, creator: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting[event] = creator
        try:
            yield event
        finally:
            del self._waiting[event]

    def _listen(self) -> None:
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> None:
        async for heard in self._db.listen(feed_store.NUMBERED):
            self._tell(feed_store.announced(heard) if heard else None)

    def _tell(self, creators: frozenset[str] | None) -> None:
        """None: any creator's feed may have grown."""
        for event, creator in self._waiting.items():
            if creators is None or creator in creators:
                event.set()
