"""Results are written in batches, until they are stored (channels 1.2)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from varsel.clock import Clock
from varsel.db import Database, Deadlock
from varsel.delivery import store
from varsel.delivery.store import Recorded
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId
from varsel.log import Log

log = Log(__name__)

_FLUSH_ROWS: Final = 250
_FLUSH_AFTER: Final = 0.05  # s; sooner when nothing more is under way


class Recorder:
    """Writes results in batches: 250 rows, 50 ms, or at once when nothing more is under way."""

    def __init__(self, db: Database, clock: Clock, on_complete: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._on_complete = on_complete
        self._results: list[Recorded] = []
        self._ended: list[ClaimId] = []
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return bool(self._task and not self._task.done())

    def add(self, result: Recorded) -> None:
        self._results.append(result)
        if len(self._results) >= _FLUSH_ROWS:
            self._full.set()
        self._start()

    def end(self, claim: ClaimId) -> None:
        """The claim is through: its row goes with the results that were added before."""
        self._ended.append(claim)
        self._start()

    def flush(self) -> None:
        self._full.set()
        self._start()

    async def close(self) -> None:
        self.flush()
        if self._task:
            await self._task

    def _start(self) -> None:
        if not self.busy:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._results or self._ended:
            if not self._full.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), _FLUSH_AFTER)
            self._full.clear()
            results, self._results = self._results, []
            ended, self._ended = self._ended, []
            await self._write(results, ended)

    async def _write(self, results: list[Recorded], ended: list[ClaimId]) -> None:
        """Until it is stored, or is known to be unstorable: an error of one row is kept to that row."""
        pause = 0.1
        while True:
            try:
                async with self._db.routine_transaction() as conn:
                    completed = await store.record(conn, results, ended, now=self._clock.now())
            except (Unavailable, Deadlock):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            except Exception as error:  # noqa: BLE001 - kept to the row that is the cause
                if not results:
                    log.error("claims cannot be ended", exc=error)
                    return
                if len(results) == 1:  # without its claim, it expires at the latest
                    log.error("result cannot be stored", exc=error, ids=[r.id for r in results])
                    await self._write([], ended)
                    return
                middle = len(results) // 2
                await self._write(results[:middle], [])
                await self._write(results[middle:], ended)
                return
            else:
                if completed:
                    self._on_complete()
                return
