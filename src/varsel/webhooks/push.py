"""Webhooks are told what stands in the feed: take those that are due, and serve each in a round of its own (design 8).

There is no second queue: a webhook has a position in the feed, which moves when an event's fate is stored.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log
from varsel.webhooks import lease_store as leases
from varsel.webhooks.address import read
from varsel.webhooks.lease_store import Held
from varsel.webhooks.ports import Receivers
from varsel.webhooks.round import Round, Terms

log = Log(__name__)

PER_HOST: Final = 50
"""Requests to one host at once, of one worker."""
_AT_ONCE: Final = 100  # webhooks that one worker serves


class Webhooks:
    """The webhooks that one worker serves. `machine`: seconds since 1970, by the host's clock."""

    def __init__(
        self,
        db: Database,
        receivers: Receivers,
        clock: Clock,
        terms: Terms,
        *,
        machine: Callable[[], float] = time.time,
    ) -> None:
        self._db = db
        self._receivers = receivers
        self._clock = clock
        self._terms = terms
        self._machine = machine
        self._hosts: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_HOST))
        self._rounds: dict[asyncio.Task[None], Round] = {}
        self._stopping = False
        self.wanted = asyncio.Event()  # a round has ended: there may be more to do

    @property
    def idle(self) -> bool:
        return not self._rounds

    async def push_due(self) -> int:
        """Begin a round for each webhook that is due and not served; returns how many. Raises `Unavailable`."""
        room = _AT_ONCE - len(self._rounds)
        if self._stopping or room <= 0:
            return 0
        asked = asyncio.get_running_loop().time()
        async with self._db.routine() as conn:
            taken = await leases.take(
                conn, now=self._clock.now(), lease=self._terms.lease, limit=room, shift=self._terms.shift
            )
        for held in taken:
            self._begin(held, asked)
        return len(taken)

    async def next_due(self) -> datetime | None:
        """When something that waits will be due (business time)."""
        async with self._db.routine() as conn:
            return await leases.next_due(conn, now=self._clock.now())

    def halt(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        for begun in self._rounds.values():
            begun.halt()

    async def stop(self, grace: timedelta) -> None:
        """Let requests that are under way end, within the grace; what is cut off then is sent again, by another."""
        self.halt()
        if self._rounds:
            _, late = await asyncio.wait(self._rounds, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _begin(self, held: Held, leased: float) -> None:
        target = read(held.url)
        begun = Round(
            self._db,
            self._receivers,
            self._clock,
            self._terms,
            held,
            self._hosts[target.host if target else ""],
            leased=leased,
            machine=self._machine,
        )
        task = asyncio.create_task(begun.run())
        self._rounds[task] = begun
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        held = self._rounds.pop(task).held
        self.wanted.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("webhook round failed", exc=error, webhook_id=held.id)  # its lease ends by itself
