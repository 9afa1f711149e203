"""A contact register in which people change all the time, and our synchronisation with it, over real HTTP.

`python -m bench.changes DSN FILE`: the file holds their numbers. Says `ready`, and on SIGTERM how many rows it wrote.
"""

import asyncio
import signal
import sys
from datetime import timedelta
from itertools import count, cycle, islice
from pathlib import Path
from typing import Final

import uvloop

from varsel import log
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.providers.feed_http import FeedClient
from varsel.providers.krr import KrrFeed
from varsel.recipients.load.rows import Person
from varsel.registry_sync.streams import PersonStream
from varsel.registry_sync.sync import Sync
from varsel.simulators.krr import CHANGES, CONTACT_SCOPE, FEED_SCOPE, KrrSimulator
from varsel.simulators.world import World

_CHANGES_A_RUN: Final = 10_000


async def main(dsn: str, numbers: list[str]) -> None:
    stopped = asyncio.Event()
    clock, client, written = SystemClock(), FeedClient(), 0
    db = Database(dsn, size=2, name="bench changes")
    await db.open()
    async with KrrSimulator(World(), lambda _: {"scope": f"{CONTACT_SCOPE} {FEED_SCOPE}"}, history=True) as register:
        feed = KrrFeed(register.url.rstrip("/") + CHANGES, client)
        sync = Sync(db, PersonStream(feed, synthetic_only=True), clock, interval=timedelta())

        def stop() -> None:
            stopped.set()
            sync.stop()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
        print("ready", flush=True)
        changing, version = cycle(numbers), count(1)
        while not stopped.is_set():
            for number in islice(changing, _CHANGES_A_RUN):
                register.change(Person(number, email=f"new.{next(version)}@example.com", email_updated_at=clock.now()))
            if report := await sync.run(at_once=True):
                written += report.counts.changed
    await client.close()
    await db.close()
    print(written, flush=True)


if __name__ == "__main__":
    log.configure("WARNING")
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]).read_text().split()))
