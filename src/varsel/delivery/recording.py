"""The result of one message that was claimed alone, stored whatever it takes."""

import asyncio

from varsel.clock import Clock
from varsel.db import Database, Deadlock
from varsel.delivery import store
from varsel.delivery.store import Recorded
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)

_LONGEST_PAUSE = 5.0  # s


async def store_result(
    db: Database, clock: Clock, waker: Waker, result: Recorded, *, attachment_bytes: int | None = None
) -> None:
    """Store it and end its claim; while the database is away, again and again.

    What cannot be stored for another reason is an alarm, and expires at the latest.
    """
    pause = 0.1
    while True:
        try:
            async with db.routine_transaction() as conn:
                if attachment_bytes is not None:
                    await store.note_size(conn, result, attachment_bytes)
                completed = await store.record(conn, [result], [result.claim], now=clock.now())
        except (Unavailable, Deadlock):
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        except Exception as error:  # noqa: BLE001 - a bug: the message stays as it is, and others go on
            log.error("result cannot be stored", exc=error, ids=[result.id])
            return
        else:
            if completed:
                waker.wake(Work.FEED)
            return
