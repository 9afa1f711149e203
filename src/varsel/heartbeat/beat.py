"""A live process has a row, and renews its lease three times before it would lapse."""

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta

from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.domain.ids import WorkerId
from varsel.heartbeat import store
from varsel.log import Log

log = Log(__name__)


class LeaseLost(Exception):
    """The process was away for longer than its lease: others have its work. It must stop and begin anew."""


async def begin(db: Database, *, kind: str, lease: timedelta, clock_version: int = 0) -> WorkerId:
    """Make the row of this process. `kind`: api or worker."""
    async with db.autocommit() as conn:
        return await store.register(
            conn,
            kind=kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            now=datetime.now(UTC),
            lease=lease,
            version=clock_version,
        )


async def beat(db: Database, worker: WorkerId, *, lease: timedelta) -> None:
    """Renew for ever. Raises `LeaseLost` when the row is gone.

    `db` should have a connection that nobody else uses: whoever waits for one may lose the lease meanwhile.
    """
    pause = lease.total_seconds() / 3
    while True:
        await asyncio.sleep(pause)
        try:
            async with db.autocommit() as conn:
                alive = await store.renew(conn, worker, lease)
        except Unavailable:
            log.warning("heartbeat not stored", worker_id=worker)
            pause = min(1.0, lease.total_seconds() / 3)
            continue
        if not alive:
            raise LeaseLost
        pause = lease.total_seconds() / 3


async def end(db: Database, worker: WorkerId) -> None:
    """Take the row away. For a process that holds nothing."""
    async with db.autocommit() as conn:
        await store.end(conn, worker)
