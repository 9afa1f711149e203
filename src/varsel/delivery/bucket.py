"""How much may leave by a provider, of all processes together: tokens that are leased from its row (channels 1.7)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from math import ceil
from typing import Any, Final

from varsel.db import Database
from varsel.delivery import pool_store
from varsel.delivery.choice import Routing
from varsel.domain.errors import Unavailable
from varsel.log import Log

log = Log(__name__)

_LOOK_UP: Final = 0.2  # s: who waits for tokens looks up at least so often whether it still should
_PATIENCE: Final = 5.0  # s: who would wait for longer gives up, and the provider rests


class Bucket:
    """Of one process. What it has leased and not used yet may leave at any time: it was counted when it was leased."""

    def __init__(self, db: Database, name: str, routing: Routing) -> None:
        self._db = db
        self._name = name
        rate = routing.rate
        self._limits: dict[str, Any] = {
            "rate": rate,
            "burst": float(routing.burst or (max(1, ceil(rate)) if rate else 1e9)),
            "per_hour": routing.per_hour,
            "per_day": routing.per_day,
        }
        self.limited = bool(rate or routing.per_hour or routing.per_day)
        self._second = max(1, ceil(rate)) if rate else 100
        self._left = 0
        self._turn = asyncio.Lock()

    async def take(self, cost: int, give_up: Callable[[], bool]) -> bool:
        """Wait until `cost` more may leave. False: given up, or nothing more may leave for long."""
        if not self.limited:
            return True
        async with self._turn:
            while self._left < cost:
                if give_up():
                    return False
                wait = await self._lease(cost)
                if wait is None:
                    return False
                await asyncio.sleep(min(wait, _LOOK_UP))
            self._left -= cost
            return True

    async def _lease(self, cost: int) -> float | None:
        """Seconds until it is worth while to ask again, 0: now there is enough; None: not for long."""
        try:
            async with self._db.autocommit() as conn:
                leased = await pool_store.lease(
                    conn, self._name, self._limits, need=cost - self._left, want=self._second
                )
                if leased.closed and leased.wait > _PATIENCE:
                    used_up = "as much as it may take in an hour or a day has left"
                    await pool_store.pause(conn, self._name, timedelta(seconds=leased.wait), detail=used_up)
        except Unavailable:
            return _LOOK_UP
        if leased.closed and leased.wait > _PATIENCE:
            log.warning("provider limit reached", provider=self._name, seconds=round(leased.wait))
            return None
        self._left += leased.granted
        return 0 if leased.granted else max(leased.wait, 0.01)
