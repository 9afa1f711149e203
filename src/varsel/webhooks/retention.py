"""Forgetting on schedule: what became of events that were sent (channels 7)."""

from datetime import timedelta

from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log
from varsel.webhooks import retention_store as store

log = Log(__name__)


async def prune_deliveries(db: Database, clock: Clock, kept_for: timedelta) -> int:
    """Delete one batch of deliveries of that age or more; returns how many. Call it again while it finds some."""
    async with db.autocommit() as conn:
        deleted = await store.prune(conn, before=clock.now() - kept_for)
    if deleted:
        log.info("webhook deliveries deleted", deliveries=deleted)
    return deleted
