"""Moving the sandbox's clock: from one due instant to the next, so that everything happens in its order (design 8)."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.timeshift import store
from varsel.timeshift.follow import take_clock
from varsel.timeshift.store import Shift

MOST: Final = timedelta(days=366)  # of one move
_FURTHEST: Final = timedelta(days=3660)  # of all together
_GRAIN: Final = timedelta(seconds=1)
_MAX_STEPS: Final = 500  # so that a year with thousands of due instants still ends
_LOOK_SECONDS: Final = 0.02


class StillBusy(Exception):
    """Somebody had not finished in time, so the clock stands where it is. The text says who."""


class ClockControl:
    """The sandbox's clock, as pages and the API use it. `clock` is the process's own; it has each move at once."""

    def __init__(self, db: Database, clock: SystemClock, patience: timedelta = timedelta(seconds=30)) -> None:
        self._db = db
        self._clock = clock
        self._patience = patience  # with each step
        self._one_at_a_time = asyncio.Lock()

    def now(self) -> datetime:
        return self._clock.now()

    async def shift(self) -> Shift:
        async with self._db.reading() as conn:
            return await store.read(conn)

    async def next_sending(self) -> datetime | None:
        async with self._db.reading() as conn:
            return await store.next_sending(conn, after=self.now())

    async def advance(self, by: timedelta) -> None:
        """Move the clock; returns when every live process has taken the time and no worker finds anything to do.

        Raises `Rejected` for a move that is not forward, too long, or crossed by somebody else's; `StillBusy` when a
        step was not finished within the patience.
        """
        if not timedelta() < by <= MOST:
            raise Rejected("clock-advance", f"The clock moves forward, by at most {MOST.days} days at a time.")
        async with self._one_at_a_time:
            await take_clock(self._db, self._clock)
            target = self._clock.offset + by
            if target > _FURTHEST:
                raise Rejected("clock-advance", f"The clock is at most {_FURTHEST.days} days ahead.")
            await self._all_idle()
            while self._clock.offset < target:
                await self._step(target, grain=max(_GRAIN, by / _MAX_STEPS))
                await self._all_idle()

    async def _step(self, target: timedelta, *, grain: timedelta) -> None:
        """To the next due instant, or to the target when nothing is due before."""
        machine_now = self._clock.now() - self._clock.offset
        async with self._db.transaction() as conn:
            due = await store.next_due(conn, after=self._clock.now(), until=machine_now + target, grain=grain)
            offset = target if due is None else min(due - machine_now, target)
            version = await store.move(conn, offset, version=self._clock.version)
        if version is None:
            raise Rejected("clock-conflict", "Somebody else moved the clock meanwhile. Look at it, and try again.")
        await take_clock(self._db, self._clock)

    async def _all_idle(self) -> None:
        """Looks once at least, however long that takes: who gives up says what it waited for."""
        left = await self._stragglers()
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while left:
                    await asyncio.sleep(_LOOK_SECONDS)
                    left = await self._stragglers()
        except TimeoutError as e:
            waited = f"After {self._patience.total_seconds():g} s"
            raise StillBusy(
                f"{waited}: {', '.join(left)}. The clock stands at {self._clock.now():%Y-%m-%dT%H:%M:%SZ}."
            ) from e

    async def _stragglers(self) -> list[str]:
        async with self._db.reading() as conn:
            return await store.stragglers(conn, self._clock.version)
