"""Captured messages on their way into the table: what comes at the same time shares a transaction."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from varsel.db import Database
from varsel.domain.captured import Captured
from varsel.simulators import store
from varsel.simulators.recipient import as_written

_BATCH: Final = 500
_PRUNE_EVERY: Final = 1000


async def keep_at_once(db: Database, messages: Sequence[Captured]) -> None:
    """In a transaction of their own. Raises `Unavailable` when they were not stored."""
    async with db.transaction() as conn:
        await store.insert(conn, [replace(m, recipient=as_written(m.channel, m.recipient)) for m in messages])
        await store.prune(conn)


_Waiting = tuple[Sequence[Captured], asyncio.Future[None]]


class Keeper:
    """Use as `async with Keeper(db) as keeper`: what was given before the end is stored before the end."""

    def __init__(self, db: Database, kept: int = store.KEPT) -> None:
        self._db = db
        self._kept = kept
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(maxsize=_BATCH)
        self._since_pruned = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Keeper":
        async with self._db.autocommit() as conn:
            await store.prune(conn, self._kept)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._waiting.join()
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def keep(self, messages: Sequence[Captured]) -> None:
        """Returns when they can be seen. Raises `Unavailable` when they were not stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._waiting.put((messages, stored))
        await stored

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            await self._store(batch)
            for _ in batch:
                self._waiting.task_done()

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        messages = [replace(m, recipient=as_written(m.channel, m.recipient)) for messages, _ in batch for m in messages]
        try:
            async with self._db.transaction() as conn:
                await store.insert(conn, messages)
                self._since_pruned += len(messages)
                if self._since_pruned >= _PRUNE_EVERY:
                    await store.prune(conn, self._kept)
                    self._since_pruned = 0
        except Exception as error:  # noqa: BLE001 - whoever waits gets it: the simulators answer their senders
            _tell(batch, error)
        else:
            _tell(batch, None)


def _tell(batch: Sequence[_Waiting], error: Exception | None) -> None:
    for _, stored in batch:
        if stored.done():  # its sender has hung up
            continue
        if error:
            stored.set_exception(error)
        else:
            stored.set_result(None)
