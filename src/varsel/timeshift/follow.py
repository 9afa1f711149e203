"""Every process of the sandbox goes by the one offset in the database (proven 6)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.domain.ids import WorkerId
from varsel.log import Log
from varsel.timeshift import store

log = Log(__name__)

_POLL_SECONDS: Final = 1.0  # should a notification be lost


async def follow_clock(
    db: Database, clock: SystemClock, worker: WorkerId | None = None, wake: Callable[[], None] = lambda: None
) -> None:
    """Keep `clock` at the sandbox's offset, for ever. `worker`: the process's own row, which notes each version taken.

    `wake` is called after each move has been noted: other things are due now. The loop it wakes ends each round with
    `store.note_idle`.
    """
    moved = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_listen(db, moved))
        while True:
            moved.clear()
            try:
                await take_clock(db, clock, worker, wake)
            except Unavailable as e:
                log.warning("sandbox clock not read", what=e.what)
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await moved.wait()


class ClockMoved(Exception):
    """The database was a sandbox's, and its clock was moved. Its times are not those of the world."""


async def require_unmoved(db: Database, clock: SystemClock) -> None:  # noqa: ARG001 - as `take_clock`
    """For everything but a sandbox. Raises `ClockMoved`."""
    async with db.reading() as conn:
        shift = await store.read(conn)
    if shift.offset:
        raise ClockMoved(f"the clock of this database stands {shift.offset} ahead: use another, or --sandbox")


async def take_clock(
    db: Database, clock: SystemClock, worker: WorkerId | None = None, wake: Callable[[], None] = lambda: None
) -> None:
    """Read the offset once and go by it."""
    async with db.autocommit() as conn:
        shift = await store.read(conn)
        clock.offset = shift.offset
        # noted even when the clock has this version: somebody else in the process may have taken it
        noted = worker is not None and await store.note_clock(conn, worker, shift.version)
        moved, clock.version = shift.version != clock.version, shift.version
    if moved or noted:
        wake()


async def _listen(db: Database, moved: asyncio.Event) -> None:
    async for _ in db.listen(store.CHANNEL):
        moved.set()
