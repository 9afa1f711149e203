"""One creator's flood: what becomes of everybody else's messages meanwhile, and what of the flood (promise 5).

The flood is queued before anything leaves; then a worker sends it over SMTP, while another creator orders single
messages and instant ones. All on two cores, the mail server too.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from bench import load, stages
from bench.figures import Bound, Figure, percentile
from bench.ground import Ground
from bench.processes import api, settings_file, worker
from bench.road import drained
from varsel.db import Database
from varsel.domain.order import Lane
from varsel.heartbeat import beat
from varsel.settings import Settings
from varsel.simulators.sink import Sink
from varsel.wiring import open_parts

_BULK: Final = 100_000
_SINGLE_ORDERS: Final = 20_000  # of a flood that does not look like one
_OTHERS: Final = 200
_FIRST: Final = 5  # of each kind, before the flood: they open connections
_SHARE: Final = 0.8  # of the flood's time, over which the others are spread
_ARRIVED_WITHIN: Final = 60.0
_TO: Final = re.compile(rb"^To: *<?([^\s>]+)", re.MULTILINE | re.IGNORECASE)
_SINGLE: Final = "/notifications/api/v1/orders/email"
_INSTANT: Final = "/notifications/api/v1/future/orders/instant/email"


async def run(ground: Ground) -> list[Figure]:
    bulk, singles = ground.size.of(_BULK), ground.size.of(_SINGLE_ORDERS)
    others = max(20, ground.size.of(_OTHERS))
    async with ground.database() as db, _mail_server() as arrivals:
        settings = settings_file(ground.home, db.dsn, arrivals.port)
        with api(settings) as (port, _):
            neighbour = _Neighbour(port, ground.token("skd"), arrivals)
            async with _working(settings):
                await neighbour.send(_FIRST, timedelta())
                await drained(db)
            neighbour.forget()
            before = await _flood(ground, db, arrivals, settings, bulk // 2, 5)
            spread = timedelta(seconds=bulk / before * _SHARE)
            beside = await _flood(ground, db, arrivals, settings, bulk, 10, neighbour.send(others, spread))
            waits = neighbour.forget()
            alone = (before + await _flood(ground, db, arrivals, settings, bulk // 2, 5)) / 2
            await _flood(ground, db, arrivals, settings, singles, singles, neighbour.send(others, spread / 5))
            among_singles = neighbour.forget()
    return [
        _wait(f"beside {bulk:,} bulk messages: a single one, commit → provider, p95", waits.singles, 1_000),
        _wait(f"beside {bulk:,} bulk messages: an instant one, POST → provider, p95", waits.instants, 100),
        Figure(
            "the bulk messages meanwhile",
            beside,
            "emails/s",
            Bound("the bulk messages alone, before and after", alone),
            alone * 0.9,
        ),
        _wait(f"beside {singles:,} orders of one: a single one, commit → provider, p95", among_singles.singles, 1_000),
        _wait(f"beside {singles:,} orders of one: an instant one, POST → provider, p95", among_singles.instants, 100),
    ]


class _Arrivals(Sink):
    """A mail server in this process, for its clock: when each address of the neighbour got its message."""

    def __init__(self) -> None:
        super().__init__()
        self._at: defaultdict[str, asyncio.Future[float]] = defaultdict(asyncio.Future)
        self.flood = 0
        self.first = self.last = 0.0
        self.came = asyncio.Event()

    def take(self, content: bytes) -> None:
        super().take(content)
        found = _TO.search(content)
        address = found[1].decode() if found else ""
        if address.endswith("@neighbour.example"):
            if not self._at[address].done():
                self._at[address].set_result(time.perf_counter())
        else:
            self.flood += 1
            self.last = time.perf_counter()
            self.first = self.first or self.last
        self.came.set()

    async def of(self, address: str) -> float:
        """When the neighbour's message came there."""
        async with asyncio.timeout(_ARRIVED_WITHIN):
            return await self._at[address]

    def begin(self) -> None:
        self.flood, self.first, self.last = 0, 0.0, 0.0

    async def until(self, flood: int) -> None:
        """So many of the flood have come."""
        async with asyncio.timeout(600):
            while self.flood < flood:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def _mail_server() -> AsyncIterator[_Arrivals]:
    arrivals = _Arrivals()
    await arrivals.start()
    try:
        yield arrivals
    finally:
        await arrivals.stop()


@dataclass(slots=True)
class _Waits:
    """In seconds."""

    singles: list[float] = field(default_factory=list)
    instants: list[float] = field(default_factory=list)


class _Neighbour:
    """Another creator, who orders one message at a time, and as many instant ones."""

    def __init__(self, port: int, token: str, arrivals: _Arrivals) -> None:
        self._port = port
        self._token = token
        self._arrivals = arrivals
        self._number = 0
        self._waits = _Waits()

    def forget(self) -> _Waits:
        """What was measured so far."""
        waits, self._waits = self._waits, _Waits()
        return waits

    async def send(self, count: int, spread: timedelta) -> None:
        """So many of each kind, evenly over a time. Returns when all of them have come."""
        pause = spread.total_seconds() / count
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(self._single())
                await asyncio.sleep(pause / 2)
                tasks.create_task(self._instant())
                await asyncio.sleep(pause / 2)

    async def _single(self) -> None:
        address, key = self._next()
        body = {**_text(), "sendersReference": key, "recipients": [{"emailAddress": address}]}
        outcome = await load.fire(self._port, iter([load.post(_SINGLE, self._token, body)]), status=202, connections=1)
        self._waits.singles.append(max(await self._arrivals.of(address) - outcome.ended, 0.0))

    async def _instant(self) -> None:
        address, key = self._next()
        body = {"idempotencyId": key, "recipientEmail": {"emailAddress": address, "emailSettings": _text()}}
        outcome = await load.fire(self._port, iter([load.post(_INSTANT, self._token, body)]), status=201, connections=1)
        self._waits.instants.append(await self._arrivals.of(address) - outcome.began)

    def _next(self) -> tuple[str, str]:
        self._number += 1
        return f"n{self._number}@neighbour.example", f"neighbour-{self._number}"


async def _flood(
    ground: Ground,
    db: Database,
    arrivals: _Arrivals,
    settings: Path,
    messages: int,
    orders: int,
    meanwhile: Coroutine[Any, Any, None] | None = None,
) -> float:
    """Queue messages, in so many orders, and let a worker send them; how many came in a second.

    `meanwhile` begins when the first of them has come.
    """
    await _queue(ground, db, orders, messages // orders)
    arrivals.begin()
    async with _working(settings):
        await arrivals.until(1)
        beside = asyncio.ensure_future(meanwhile) if meanwhile else None
        await arrivals.until(messages)
        rate = (messages - 1) / (arrivals.last - arrivals.first)
        if beside:
            await beside
        await drained(db)
    return rate


async def _queue(ground: Ground, db: Database, orders: int, recipients: int) -> None:
    """Orders that are resolved: all of their messages may leave."""
    parts = await open_parts(Settings(database_url=SecretStr(db.dsn)), db.dsn, name="bench", connections=4)
    try:
        await stages.place(parts, ground.people, orders, recipients)
        resolution = parts.resolution(await beat.begin(db, kind="worker", lease=timedelta(minutes=5)))
        for lane in (Lane.BULK, Lane.ORDINARY):
            while await resolution.resolve_due(lane):
                pass
    finally:
        await parts.close()


@asynccontextmanager
async def _working(settings: Path) -> AsyncIterator[None]:
    """A worker. Its farewell to the mail server is heard meanwhile, so it may not hold up this loop."""
    context = worker(settings)
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def _text() -> dict[str, str]:
    return {"subject": "Code", "body": "Your code is 123456."}


def _wait(name: str, waits: list[float], most: float) -> Figure:
    """In milliseconds."""
    ordered = sorted(waits)
    return Figure(
        name,
        percentile(ordered, 0.95) * 1000,
        "ms",
        floor=most,
        falls=True,
        details={"p50 ms": percentile(ordered, 0.5) * 1000, "most ms": ordered[-1] * 1000, "messages": len(ordered)},
    )
