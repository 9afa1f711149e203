"""What synchronisation leaves behind is not kept for ever (registries 7.7)."""

from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log
from varsel.registry_sync import store

log = Log(__name__)


async def prune_registries(db: Database, clock: Clock) -> int:
    """Drop old tombstones, contents of the quarantine, and runs. A step of the worker; 0: nothing is left to do."""
    async with db.transaction() as conn:
        dropped = await store.prune(conn, now=clock.now())
    if dropped:
        log.info("registry records dropped", rows=dropped)
    return 0
