"""Forgetting on schedule: entries of the status feed (http-api 16.2, processing 9.6)."""

from datetime import timedelta

from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log
from varsel.status import retention_store as store

log = Log(__name__)


async def prune_feed(db: Database, clock: Clock, kept_for: timedelta) -> int:
    """Delete one batch of feed entries of that age or more; returns how many. Call it again while it finds some."""
    async with db.autocommit() as conn:
        deleted = await store.delete_feed_entries(conn, before=clock.now() - kept_for)
    if deleted:
        log.info("feed entries deleted", entries=deleted)
    return deleted
