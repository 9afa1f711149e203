"""The status feed's sequencer: any worker may run it, one at a time (design 8 "Feed without holes")."""

from varsel.db import Database
from varsel.status import feed_store


async def number_feed(db: Database) -> int:
    """Give numbers to the entries of finished orders; returns how many."""
    async with db.transaction() as conn:
        return await feed_store.number_pending(conn)
