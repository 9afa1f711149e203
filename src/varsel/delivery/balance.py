"""Weights of a pool follow how its instances do: away from slow ones, and back when all is quiet (channels 1.9)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery import balance_store, pool_store
from varsel.delivery.pool import AnyPool
from varsel.domain.ids import uuid7_floor
from varsel.log import Log

log = Log(__name__)

_YOUNGEST: Final = timedelta(minutes=5)
_OLDEST: Final = timedelta(minutes=15)
_SLOW_SHARE: Final = 0.15
_FEWEST: Final = 20  # messages, of which a share says something


class Balancer:
    """Any number of workers may run it, about once a minute."""

    def __init__(self, db: Database, clock: Clock, pools: tuple[AnyPool, ...]) -> None:
        self._db = db
        self._clock = clock
        self._groups = [group for pool in pools for group in pool.groups() if len(group) > 1]

    async def balance(self) -> int:
        """Returns how many weights were moved."""
        moved = 0
        for resting in self._groups:
            slow = await self._slow(resting)
            async with self._db.transaction() as conn:
                for name in slow:
                    if await balance_store.shift(conn, resting, name, why="reports come slowly", slow=True):
                        log.warning("provider slow", provider=name)
                        moved += 1
                        break
                else:
                    moved += await balance_store.drift(conn, resting)
        async with self._db.autocommit() as conn:
            await pool_store.forget_windows(conn)
        return moved

    async def _slow(self, resting: Mapping[str, int]) -> list[str]:
        """The slow ones of a group, unless all are: then the trouble is not theirs."""
        now = datetime.now(UTC)  # ids are of machine time
        low, high = (uuid7_floor(now - age) for age in (_OLDEST, _YOUNGEST))
        async with self._db.reading() as conn:
            seen = await balance_store.slowness(conn, list(resting), low=low, high=high, now=self._clock.now())
        known = {name: slow / sent for name, (sent, slow) in seen.items() if sent >= _FEWEST}
        slow = [name for name, share in known.items() if share >= _SLOW_SHARE]
        return slow if len(slow) < len(known) else []
