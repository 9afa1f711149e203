"""Two providers of a channel, and one of them is killed while 500 messages a second leave: who got what, and when.

Not one may be lost. One that was on its way at the kill may come twice, when the worker cannot know whether it arrived.
"""

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from bench.figures import Figure
from bench.ground import Ground
from bench.processes import Failed, line, running, settings_file, worker
from varsel.db import Database, fetch, fetch_value
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import EmailTemplate, Order, OrderChannel, OrderKind, Recipient, SendingTime, SmsTemplate
from varsel.settings import Settings
from varsel.wiring import open_parts

RATE: Final = 500  # messages a second
_ROOT: Final = Path(__file__).parents[1]
_STEP: Final = 0.1  # s between orders
_BEFORE, _DEAD, _AFTER = 10.0, 15.0, 25.0  # s
_SETTLED_WITHIN: Final = 5.0  # s: the promise
_BREAKER: Final = 5  # s: shorter than in earnest, so that a run sees the way back
_UNKNOWN_WAIT: Final = 5  # s, likewise
_ENDS_WITHIN: Final = 120.0
_NEARLY_ALL: Final = 0.95
_AGAIN: Final = 0.2

Start = Callable[[int, Path], AbstractContextManager["subprocess.Popen[str]"]]


async def run(ground: Ground) -> list[Figure]:
    return [*await _run(ground, OrderChannel.EMAIL, _mail_server), *await _run(ground, OrderChannel.SMS, _gateway)]


async def _run(ground: Ground, channel: OrderChannel, start: Start) -> list[Figure]:
    folder = ground.home / f"failover-{channel.value}"
    folder.mkdir()
    async with ground.empty_database() as db:
        with start(0, folder / "a") as first, start(0, folder / "b") as second:
            ports = int(line(first)), int(line(second))
            providers = [_settings(channel, name, port) for name, port in zip("ab", ports, strict=True)]
            settings = settings_file(
                folder,
                db.dsn,
                providers=providers,
                breaker_open_for=_BREAKER,
                unknown_wait=_UNKNOWN_WAIT,
                settle_sms_after=0,
            )
            with worker(settings):
                ledger = await _ordeal(db, channel, first, lambda: start(ports[0], folder / "a"))
        return ledger.figures(channel, _came(folder / "a", folder / "b"))


async def _ordeal(
    db: Database,
    channel: OrderChannel,
    victim: "subprocess.Popen[str]",
    again: Callable[[], AbstractContextManager[Any]],
) -> "_Ledger":
    ledger = _Ledger()
    placing = asyncio.create_task(_place(db, channel, ledger, _BEFORE + _DEAD + _AFTER))
    await asyncio.sleep(_BEFORE)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    ledger.killed = time.monotonic()
    watching = asyncio.create_task(_watch(db, ledger))
    await asyncio.sleep(_DEAD)
    with again() as revived:
        line(revived)
        ledger.revived = time.monotonic()
        await placing
        await _until_sent(db, ledger.placed)
        watching.cancel()
        ledger.in_doubt = int(await _value(db, "SELECT count(*) FROM attempt WHERE outcome = 'unknown'"))
        ledger.moved = int(await _value(db, "SELECT count(*) FROM provider_change WHERE kind = 'weight'"))
    return ledger


class _Ledger:
    def __init__(self) -> None:
        self.placed = 0
        self.killed = self.revived = 0.0
        self.seen: list[tuple[float, int, int]] = []  # when, and how many tries each had had by then
        self.in_doubt = self.moved = 0

    def figures(self, channel: OrderChannel, came: Counter[str]) -> list[Figure]:
        lost = self.placed - len(came)
        twice = came.total() - len(came)
        if lost or twice > self.in_doubt:
            raise Failed(f"{self.placed} placed, {lost} lost, {twice} came twice, {self.in_doubt} were in doubt")
        shifted = next((at for at, a, b in self._tries(self.killed) if b > 0 and b >= _NEARLY_ALL * (a + b)), None)
        back = next((at for at, a, _ in self._tries(self.revived) if a >= _AGAIN * RATE), None)
        if shifted is None or back is None:
            raise Failed("the share of a provider did not shift, or did not come back")
        figure = Figure(
            f"one of two {channel.value} providers killed at {RATE}/s: until the other has the tries",
            shifted - self.killed,
            "s",
            floor=_SETTLED_WITHIN,
            falls=True,
            details={
                "messages": self.placed,
                "lost": lost,
                "in doubt": self.in_doubt,
                "came twice": twice,
                "s until it has a share again": back - self.revived,
                "weights moved": self.moved,
            },
        )
        return [figure]

    def _tries(self, since: float) -> Iterator[tuple[float, float, float]]:
        """At the end of each second: how many tries a second each provider had."""
        marks = [mark for mark in self.seen if mark[0] >= since]
        for (t0, a0, b0), (t1, a1, b1) in zip(marks, marks[4:], strict=False):
            yield t1, (a1 - a0) / (t1 - t0), (b1 - b0) / (t1 - t0)


async def _place(db: Database, channel: OrderChannel, ledger: _Ledger, seconds: float) -> None:
    parts = await open_parts(Settings(database_url=SecretStr(db.dsn)), db.dsn, name="bench", connections=4)
    register = parts.register()
    began, each = time.monotonic(), round(RATE * _STEP)
    try:
        for turn in range(round(seconds / _STEP)):
            await asyncio.sleep(max(0.0, began + turn * _STEP - time.monotonic()))
            await register.register_order(_order(channel, ledger.placed, each))
            ledger.placed += each
    finally:
        await register.close()
        await parts.close()


def _order(channel: OrderChannel, first: int, count: int) -> Order:
    now = datetime.now(UTC)
    numbers = range(first, first + count)
    people = (
        tuple(Recipient(email=f"p{n}@example.com") for n in numbers)
        if channel is OrderChannel.EMAIL
        else tuple(Recipient(mobile=f"+474{n:07d}") for n in numbers)
    )
    return Order(
        id=OrderId(uuid7()),
        creator="ttd",
        kind=OrderKind.NOTIFICATION,
        channel=channel,
        created=now,
        requested_send_time=now,
        recipients=people,
        email=EmailTemplate("noreply@varsel.example", "Brev til deg", "Logg inn for å lese."),
        sms=SmsTemplate("Varsel", "Du har fått et brev."),
        sending_time=SendingTime.ANYTIME,
    )


async def _watch(db: Database, ledger: _Ledger) -> None:
    while True:
        async with db.reading() as conn:
            rows = await fetch(
                conn,
                """SELECT provider, sum(n)::int FROM (
                       SELECT provider, count(*) AS n FROM notification WHERE state = 'accepted' GROUP BY provider
                       UNION ALL SELECT provider, count(*) FROM attempt WHERE outcome = 'deferred' GROUP BY provider) t
                   GROUP BY provider""",
                {},
                lambda name, count: (name, count),
            )
        sent = dict(rows)
        ledger.seen.append((time.monotonic(), sent.get("a", 0), sent.get("b", 0)))
        await asyncio.sleep(0.25)


async def _until_sent(db: Database, placed: int) -> None:
    deadline = time.monotonic() + _ENDS_WITHIN
    while await _value(db, "SELECT count(*) FROM notification WHERE state = 'accepted'") < placed:
        if time.monotonic() > deadline:
            raise Failed("messages did not get sent")
        await asyncio.sleep(0.5)


async def _value(db: Database, sql: Any) -> Any:
    async with db.reading() as conn:
        return await fetch_value(conn, sql, {})


@contextmanager
def _mail_server(port: int, ids: Path) -> Iterator["subprocess.Popen[str]"]:
    with running("varsel.simulators.sink", "--port", str(port), "--ids", ids) as process:
        yield process


@contextmanager
def _gateway(port: int, numbers: Path) -> Iterator["subprocess.Popen[str]"]:
    with running("bench.gateway", "--port", str(port), "--numbers", numbers, PYTHONPATH=_ROOT) as process:
        yield process


def _settings(channel: OrderChannel, name: str, port: int) -> dict[str, Any]:
    if channel is OrderChannel.EMAIL:
        return {"type": "smtp", "name": name, "host": "127.0.0.1", "port": port, "tls": "none"}
    accounts = {"username": "bench", "password": "bench", "report_username": "bench", "report_password": "bench"}
    return {"type": "link", "name": name, "url": f"http://127.0.0.1:{port}/", **accounts}


def _came(*files: Path) -> Counter[str]:
    return Counter(one for file in files for one in file.read_text().split())
