"""The inner stages, each alone: due orders become rows, and rows are claimed, sent nowhere, and recorded."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Final

from pydantic import SecretStr

from bench import bounds
from bench.figures import Bound, Figure
from bench.ground import Ground
from bench.processes import Failed, cpu_seconds
from varsel.db import Database, fetch_value
from varsel.delivery import render
from varsel.delivery.choice import Routing
from varsel.delivery.outcome import Rules
from varsel.delivery.pool import Pool
from varsel.delivery.ports import Accepted, Confirms, Email, Indeterminate, SendResult
from varsel.delivery.send import Sending
from varsel.delivery.store import Claimed, Templates
from varsel.domain.ids import OrderId, WorkerId, uuid7
from varsel.domain.notification import Channel
from varsel.domain.order import EmailTemplate, Lane, Order, OrderChannel, OrderKind, Recipient
from varsel.heartbeat import beat
from varsel.settings import Settings
from varsel.wiring import Parts, open_parts

_TEMPLATE: Final = EmailTemplate("noreply@varsel.example", "Brev til deg", "Du har fått et brev. Logg inn for å lese.")
_ORDERS_AT_ONCE: Final = 500
_LEASE: Final = timedelta(minutes=5)


class Nowhere:
    """An email provider that takes everything at once."""

    name = "nowhere"
    max_batch = 100
    step = 1_000
    confirms = Confirms.NOTHING
    on_indeterminate = Indeterminate.RESEND

    async def send(self, batch: Sequence[Email]) -> list[SendResult]:
        return [Accepted() for _ in batch]

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many orders of how many recipients, and what is promised for them."""

    name: str
    orders: int
    recipients: int
    lane: Lane
    floor: float | None


async def run(ground: Ground) -> list[Figure]:
    shapes = [
        _Shape("20 orders of 10 000", 20, ground.size.of(10_000), Lane.BULK, 20_000),
        _Shape("20 000 orders of 1", ground.size.of(20_000), 1, Lane.ORDINARY, None),
    ]
    figures = []
    for shape in shapes:
        async with ground.database() as db:
            resolved, claimed, rows = await _measure(ground, db, shape)
        async with ground.database() as db:
            copied = await bounds.copy_notifications(db, rows)
            moved = await bounds.claim_and_result(db, ground.size.of(50_000))
        figures += [
            _figure(f"due orders → rows, {shape.name}", resolved, Bound("COPY of the same rows", copied), None),
            _figure(
                f"claim + result, {shape.name}",
                claimed,
                Bound("claim and result by plain UPDATE", moved),
                shape.floor,
            ),
        ]
    return figures


@dataclass(frozen=True, slots=True)
class _Pace:
    rows: int
    seconds: float
    ours: float  # CPU seconds
    server: float


async def _measure(ground: Ground, db: Database, shape: _Shape) -> tuple[_Pace, _Pace, bytes]:
    """Paces of both stages, and the rows between them as COPY writes them."""
    parts = await open_parts(Settings(database_url=SecretStr(db.dsn)), db.dsn, name="bench", connections=4)
    try:
        await place(parts, ground.people, shape.orders, shape.recipients)
        worker = await beat.begin(db, kind="worker", lease=_LEASE)
        meter = _Meter(ground)
        resolution = parts.resolution(worker)
        while await resolution.resolve_due(shape.lane):
            pass
        resolved = meter.read(shape.orders * shape.recipients)
        rows = await bounds.dump_notifications(db)
        meter = _Meter(ground)
        await _send_nowhere(parts, worker)
        claimed = meter.read(shape.orders * shape.recipients)
        await _check(db, shape)
    finally:
        await parts.close()
    return resolved, claimed, rows


async def _send_nowhere(parts: Parts, worker: WorkerId) -> None:
    rules = Rules(timedelta(), timedelta(minutes=15), 60, parts.window)
    pool = Pool[Email](parts.db, Channel.EMAIL, [(Nowhere(), Routing())])
    sending = Sending[Email](parts.db, pool, _email, parts.clock, parts.waker, rules, worker)
    while await sending.send_due() or not sending.idle:
        await asyncio.sleep(0)
    await sending.stop(timedelta(seconds=30))


async def _check(db: Database, shape: _Shape) -> None:
    """A figure of a run that lost something is worth nothing."""
    async with db.reading() as conn:
        done = await fetch_value(conn, "SELECT count(*) FROM orders WHERE state = 'Completed' AND pending = 0", {})
        sent = await fetch_value(conn, "SELECT count(*) FROM notification WHERE settled AND state = 'accepted'", {})
    if (done, sent) != (shape.orders, shape.orders * shape.recipients):
        raise Failed(f"{shape.name}: {done} orders completed, {sent} notifications sent")


async def place(parts: Parts, people: Sequence[str], count: int, recipients: int) -> None:
    """Orders that are due, by identity number."""
    everybody = cycle(people)
    register = parts.register()
    made = 0
    while made < count:
        several = min(count - made, max(1, _ORDERS_AT_ONCE // recipients))
        now = datetime.now(UTC)
        batch = [_order(now, tuple(islice(everybody, recipients))) for _ in range(several)]
        await asyncio.gather(*(register.register_order(order) for order in batch))
        made += several
    await register.close()


def _order(now: datetime, numbers: tuple[str, ...]) -> Order:
    return Order(
        id=OrderId(uuid7()),
        creator="ttd",
        kind=OrderKind.NOTIFICATION,
        channel=OrderChannel.EMAIL,
        created=now,
        requested_send_time=now,
        recipients=tuple(Recipient(national_identity_number=number) for number in numbers),
        email=_TEMPLATE,
    )


class _Meter:
    """Time that passes, and CPU that this process and the database's processes use meanwhile."""

    def __init__(self, ground: Ground) -> None:
        self._server = ground.server.pid or 0
        self._began = self._now()

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), cpu_seconds(self._server)

    def read(self, rows: int) -> _Pace:
        seconds, ours, server = (end - start for end, start in zip(self._now(), self._began, strict=True))
        return _Pace(rows, seconds, ours, server)


def _figure(name: str, pace: _Pace, bound: Bound, floor: float | None) -> Figure:
    details = {"CPU µs/row ours": pace.ours / pace.rows * 1e6, "database": pace.server / pace.rows * 1e6}
    return Figure(name, pace.rows / pace.seconds, "rows/s", bound, floor, details=details)


def _email(row: Claimed, templates: Templates) -> Email | None:
    return render.email(row, templates.email) if templates.email else None
