"""Whose turn it is: creators take turns in each lane, so that no flood of one holds up the others (promise 5)."""

from collections.abc import Mapping, Sequence
from typing import Final

from varsel.db import Database
from varsel.delivery import store
from varsel.domain.ids import CreatorId
from varsel.domain.notification import Channel
from varsel.domain.order import Lane

_MOST_NAMED: Final = 1_024  # in search of a message that can be claimed


class Turns:
    """`fan`: how many creators of a lane have their turn at once."""

    def __init__(self, db: Database, channel: Channel, lanes: Sequence[Lane], *, fan: int) -> None:
        self._db = db
        self._channel = channel
        self._fan = fan
        self._after = dict.fromkeys(lanes, CreatorId(0))

    async def next(self, named: set[tuple[Lane, CreatorId]]) -> Mapping[Lane, Sequence[CreatorId]]:
        """Creators with messages in each lane, the first lane first. Adds them to `named`; nobody if all are there."""
        found = await self._look(self._after)
        ended = {lane: CreatorId(0) for lane, after in self._after.items() if after and lane not in found}
        if ended:  # what stands before where it began
            self._after |= ended
            found |= await self._look(ended)
        news = {(lane, creator) for lane, creators in found.items() for creator in creators} - named
        named |= news
        return dict(sorted(found.items())) if news and len(named) <= _MOST_NAMED else {}

    def had(self, lane: Lane, creators: Sequence[CreatorId]) -> None:
        """These had their turn."""
        self._after[lane] = creators[-1] if len(creators) >= self._fan else CreatorId(0)

    async def _look(self, after: Mapping[Lane, CreatorId]) -> dict[Lane, list[CreatorId]]:
        async with self._db.routine() as conn:
            return await store.creators(conn, channel=self._channel, after=after, fan=self._fan)
