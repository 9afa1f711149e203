"""What is done on schedule: forgetting jobs with all of their rows, and seeing fates that were corrected."""

from datetime import timedelta
from typing import Final

from varsel.bulk import row_store, store
from varsel.bulk.job import JobId, RowState
from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log

log = Log(__name__)

_CORRECTED: Final = (RowState.DELIVERED, RowState.UNCONFIRMED, RowState.FAILED)
_LOOKED_AT: Final = 5_000


async def prune_bulk(db: Database, clock: Clock, kept_for: timedelta, drafts_kept_for: timedelta) -> int:
    """Delete a few jobs that are done for so long, or were never confirmed. Call it again while it finds some."""
    now = clock.now()
    async with db.reading() as conn:
        old = await store.old(conn, before=now - kept_for, drafts_before=now - drafts_kept_for)
    if old:
        async with db.autocommit() as conn:
            await store.delete(conn, old)
        log.info("bulk jobs deleted", jobs=len(old))
    return len(old)


async def see_corrections(db: Database, clock: Clock, period: timedelta) -> int:
    """Look again at the rows of jobs that were done within `period`. Returns 0: it is enough for now."""
    async with db.reading() as conn:
        jobs = await store.done_since(conn, clock.now() - period)
    for job in jobs:
        for state in _CORRECTED:
            await _look_again(db, job, state)
    return 0


async def _look_again(db: Database, job: JobId, state: RowState) -> None:
    after = 0
    while True:
        async with db.transaction() as conn:
            seen = await row_store.look(conn, job, state, after=after, limit=_LOOKED_AT)
        if seen.last is None or seen.rows < _LOOKED_AT:
            return
        after = seen.last
