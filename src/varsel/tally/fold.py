"""The worker's part of the tallies: take up what was appended, and forget what is old (ADR 12)."""

from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.tally import store

_LIMIT: Final = 20_000
_ROUNDS: Final = 20  # in one turn: others wait as well


async def fold_tallies(db: Database) -> int:
    """Fold what waits. Returns 0: it makes no work for any other step, and the clock need not wait for it."""
    for _ in range(_ROUNDS):
        async with db.transaction() as conn:
            if await store.fold(conn, limit=_LIMIT) < _LIMIT:
                break
    return 0


async def prune_tallies(db: Database, clock: Clock) -> int:
    """Delete one batch; returns how many. Call it again while it finds some."""
    async with db.autocommit() as conn:
        return await store.prune(conn, now=clock.now())
