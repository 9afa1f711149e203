"""Codes and the log of look-ups are not kept for ever (registries 7.7)."""

from varsel.clock import Clock
from varsel.db import Database
from varsel.log import Log
from varsel.recipients.profile import store

log = Log(__name__)


async def prune_profile(db: Database, clock: Clock) -> int:
    """Drop codes a day after their end, and what was looked up a year ago. A step of the worker; 0: nothing is left."""
    async with db.autocommit() as conn:
        dropped = await store.prune(conn, now=clock.now())
    if dropped:
        log.info("profile records dropped", rows=dropped)
    return 0
