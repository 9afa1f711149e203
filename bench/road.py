"""The whole road at once: orders come in over HTTP, are resolved, sent over SMTP and recorded, all on two cores."""

import asyncio
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from bench import accept, bounds, load
from bench.figures import Bound, Figure, percentile
from bench.ground import Ground
from bench.processes import Failed, api, count_of, settings_file, sink, worker
from varsel.db import Database, fetch_value
from varsel.simulators.sink import Sink

_ORDERS: Final = 30_000
_WARM_UP: Final = 500
_SINGLES: Final = 50
_FIRST: Final = 5  # the first ones open connections
_DRAINED_WITHIN: Final = 120.0
_PGBENCH_SECONDS: Final = 5

# The same rows, each written and moved by itself: accepted, resolved, claimed, recorded, in a commit each.
_ONE_BY_ONE: Final = f"""{accept.SINGLE} RETURNING order_id \\gset
BEGIN;
INSERT INTO notification (id, order_id, creator_id, channel, lane, state_at, expires_at, address)
VALUES (uuidv7(), :order_id, :creator, 'email', 1, now(), now() + interval '2 days', 'nobody@varsel.example')
RETURNING id AS message_id \\gset
UPDATE orders SET state = 'Processed', pending = 1, expires_at = now() + interval '2 days' WHERE id = :order_id;
COMMIT;
UPDATE notification SET state = 'claimed', attempts = 1 WHERE id = :message_id;
BEGIN;
UPDATE notification SET state = 'accepted', settled = true, state_at = now(), accepted_at = now()
 WHERE id = :message_id;
UPDATE orders SET state = 'Completed', pending = 0, state_at = now() WHERE id = :order_id;
COMMIT;
"""

# each of the three reads a partial index that is empty when nothing is left to do
_BUSY: Final = """
SELECT EXISTS (SELECT FROM orders WHERE state = 'Registered' AND wake_at IS NULL)
    OR EXISTS (SELECT FROM orders WHERE state = 'Processing' AND worker_id IS NOT NULL)
    OR EXISTS (SELECT FROM orders WHERE state = 'Processed' AND expires_at IS NOT NULL)
"""


async def run(ground: Ground) -> list[Figure]:
    count = ground.size.of(_ORDERS)
    async with ground.database() as db:
        seconds = ground.size.of(_PGBENCH_SECONDS)
        single = bounds.pgbench(db.dsn, _ONE_BY_ONE, ground.home, clients=16, seconds=seconds)
    async with ground.database() as db:
        with sink() as (mail_port, receiver):
            settings = settings_file(ground.home, db.dsn, mail_port)
            with api(settings) as (port, _), worker(settings):
                await load.fire(port, load.email_orders(ground.people, _WARM_UP, ground.token()), status=202)
                await drained(db)
                outcome = await load.fire(port, load.email_orders(ground.people, count, ground.token()), status=202)
                sent_meanwhile = await _sent(db) - _WARM_UP
                ended = await drained(db)
            came = count_of(receiver)
        if (sent := await _sent(db)) != count + _WARM_UP or came != sent:
            raise Failed(f"{count + _WARM_UP} orders were accepted, {sent} are sent, {came} emails came")
    return [
        Figure(
            "whole road at once: accepted",
            outcome.rate,
            "orders/s",
            details={"p50 ms": outcome.milliseconds(0.5), "p99 ms": outcome.milliseconds(0.99)},
        ),
        Figure(
            "whole road at once: sent and recorded",
            count / (ended - outcome.began),
            "emails/s",
            Bound("pgbench: its rows written and moved one by one, 16 clients", single),
            2_000,
            details={
                "sent/s while accepting": sent_meanwhile / (outcome.ended - outcome.began),
                "drain tail s": ended - outcome.ended,
            },
        ),
    ]


async def pick_up(ground: Ground) -> list[Figure]:
    """An idle system: from the POST of one order to its message at the mail server, in the same clock."""
    arrivals = _Arrivals()
    waits: list[float] = []
    after_commit: list[float] = []
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(ground.database())
        await arrivals.start()
        stack.push_async_callback(arrivals.stop)
        processes = ExitStack()
        stack.push_async_callback(asyncio.to_thread, processes.close)  # we must hear the worker's farewell meanwhile
        settings = settings_file(ground.home, db.dsn, arrivals.port)
        port, _ = processes.enter_context(api(settings))
        processes.enter_context(worker(settings))
        for request in load.email_orders(ground.people, _FIRST + _SINGLES, ground.token()):
            arrivals.arrived.clear()
            outcome = await load.fire(port, iter([request]), status=202, connections=1)
            async with asyncio.timeout(10):
                await arrivals.arrived.wait()
            waits.append(arrivals.at - outcome.began)
            after_commit.append(arrivals.at - outcome.ended)
            await drained(db)
            await asyncio.sleep(0.05)
    waits, after_commit = sorted(waits[_FIRST:]), sorted(after_commit[_FIRST:])
    return [
        Figure(
            "idle: POST → message at the mail server, p99",
            percentile(waits, 0.99) * 1000,
            "ms",
            floor=100,
            falls=True,
            details={
                "p50 ms": percentile(waits, 0.5) * 1000,
                "p50 ms after the answer": percentile(after_commit, 0.5) * 1000,
            },
        )
    ]


class _Arrivals(Sink):
    """A mail server in this process, for its clock: `at` is when the last message was complete."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.arrived = asyncio.Event()

    def take(self, content: bytes) -> None:
        super().take(content)
        self.at = time.perf_counter()
        self.arrived.set()


async def drained(db: Database) -> float:
    """When nothing was left to do, by the performance counter."""
    deadline = time.perf_counter() + _DRAINED_WITHIN
    while True:
        async with db.reading() as conn:
            if not await fetch_value(conn, _BUSY, {}):
                return time.perf_counter()
        if time.perf_counter() > deadline:
            raise Failed("the orders did not end")
        await asyncio.sleep(0.02)


async def _sent(db: Database) -> int:
    async with db.reading() as conn:
        return int(await fetch_value(conn, "SELECT count(*) FROM notification WHERE state = 'accepted'", {}))
