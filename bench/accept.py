"""How many orders the API takes in: real process, real tokens, lookup, and the answer after the commit."""

from typing import Final

from bench import bounds, load
from bench.figures import Bound, Figure
from bench.ground import Ground
from bench.processes import Failed, api, cpu_seconds, settings_file
from varsel.db import Database, fetch_value

_ORDERS: Final = 40_000
_WARM_UP: Final = 1_000
_PGBENCH_SECONDS: Final = 5

# One order as its row and its content, in one transaction: what the intake stores, but one at a time.
SINGLE: Final = """
\\set creator random(1, 100)
WITH o AS (
    INSERT INTO orders (id, creator_id, kind, channel, lane, recipients, senders_reference, requested_send_time,
                        created_at, state_at)
    VALUES (uuidv7(), :creator, 'Notification', 'Email', 1, 1, 'bench', now(), now(), now()) RETURNING id)
INSERT INTO order_content (order_id, email_sender, email_subject, email_body, email_content_type, recipients)
SELECT id, 'noreply@varsel.example', 'Du har fått et brev',
       'Du har fått et brev fra Fjordvik kommune. Logg inn på fjordvik.example for å lese det.', 'Plain',
       '[{"nin": "00000000000"}]' FROM o
"""


async def run(ground: Ground) -> list[Figure]:
    count = ground.size.of(_ORDERS)
    async with ground.database() as db:
        single = bounds.pgbench(db.dsn, f"{SINGLE};", ground.home, clients=16, seconds=ground.size.of(_PGBENCH_SECONDS))
    async with ground.database() as db:
        with api(settings_file(ground.home, db.dsn)) as (port, process):
            await load.fire(port, load.email_orders(ground.people, _WARM_UP, ground.token()), status=202)
            before = cpu_seconds(process.pid), cpu_seconds(ground.server.pid or 0)
            outcome = await load.fire(port, load.email_orders(ground.people, count, ground.token()), status=202)
            ours = cpu_seconds(process.pid) - before[0]
            server = cpu_seconds(ground.server.pid or 0) - before[1]
        await check_stored(db, count + _WARM_UP)
    return [
        Figure(
            "orders accepted, one recipient, with lookup",
            outcome.rate,
            "orders/s",
            Bound("pgbench: single inserts, 16 clients", single),
            3_000,
            details={
                "p50 ms": outcome.milliseconds(0.5),
                "p99 ms": outcome.milliseconds(0.99),
                "CPU µs/order API": ours / count * 1e6,
                "database": server / count * 1e6,
            },
        )
    ]


async def check_stored(db: Database, count: int) -> None:
    async with db.reading() as conn:
        stored = await fetch_value(conn, "SELECT count(*) FROM orders", {})
    if stored != count:
        raise Failed(f"{count} orders were accepted, {stored} are stored")
