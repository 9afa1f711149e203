"""The clock waits for reports: what a simulator is about to report belongs to the time in which it took the message."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.timeshift import store

log = Log(__name__)

_START_SECONDS: Final = 0.05  # for a report to be set going, once its message has been noted
_RETRY_SECONDS: Final = 0.2


class ReportsOwed:
    """Use as `async with ReportsOwed(db) as owed`. Holds a connection as long as something is owed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._idle: list[Callable[[], Awaitable[None]]] = []
        self._noted = 0
        self._wanted = asyncio.Event()
        self._held = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def until(self, idle: Callable[[], Awaitable[None]]) -> None:
        """`idle` returns when a simulator has no report on its way."""
        self._idle.append(idle)

    async def note(self) -> None:
        """A message has come, and a report may follow. Returns when the clock is held."""
        self._noted += 1
        self._wanted.set()
        await self._held.wait()

    async def __aenter__(self) -> "ReportsOwed":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._hold()
            except Unavailable as e:
                log.warning("sandbox clock not held", what=e.what)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _hold(self) -> None:
        async with self._db.reading() as conn:
            await store.hold(conn)
            try:
                self._held.set()
                await self._all_reported()
                self._wanted.clear()
            finally:
                self._held.clear()
                await store.let_go(conn)

    async def _all_reported(self) -> None:
        noted = -1
        while noted != self._noted:
            noted = self._noted
            await asyncio.sleep(_START_SECONDS)
            for idle in self._idle:
                await idle()
