"""Forgetting on schedule: jobs with all of their rows."""

from datetime import timedelta

from varsel.bulk import store
from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log

log = Log(__name__)


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
