"""Creators' ids: a creator's row is made with its first order, and remembered by each process (design 8)."""

from collections.abc import Iterable

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.ids import CreatorId
from varsel.orders import store


class Creators:
    """`ids`: of those that are known by now."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self.ids: dict[str, CreatorId] = {}

    def __getitem__(self, name: str) -> CreatorId:
        return self.ids[name]

    async def know(self, names: Iterable[str]) -> None:
        """Make rows for the new ones. Raises `Unavailable`."""
        if new := sorted(set(names) - self.ids.keys()):
            async with self._db.transaction() as conn:
                self.ids |= await store.creator_ids(conn, new, now=self._clock.now())
