"""`make chaos`: kill -9 of every process and the database, again and again, and a ledger of what became of the orders.

A real `varsel up --sandbox` takes orders over HTTP while it is killed; the same command in the same home takes over.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from bench.processes import Failed, running, temporary_home
from bench.volume import ready
from varsel.cli.child_settings import toml
from varsel.cli.startup import free_port
from varsel.db import Database, fetch_value
from varsel.domain.order import ORDER_STATE_NAMES, OrderState
from varsel.embedded import running_dsn
from varsel.issuer import CREATOR_SCOPES, DevelopmentIssuer
from varsel.tally.store import BUCKET

_V1: Final = "/notifications/api/v1"
_CLIENTS: Final = 8
_ENDED: Final = ORDER_STATE_NAMES[OrderState.COMPLETED].description
_MOVES: Final = ("PT1M", "PT10M", "PT1H", "P1D", "P1D", "P1D")  # past every wait, and past every expiry
_ENDS_WITHIN: Final = 90.0
_SETTINGS: Final = {"log_level": "ERROR", "delivery": {"lease": 2}}  # the dead are noticed sooner than in earnest


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order to place. `told`: who must get a message; `refused`: whose mailbox takes none."""

    path: str
    body: dict[str, Any]
    told: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """What came of it. Accepted is what was answered with 2xx; what was unanswered may be stored or not.

    `in_doubt`: messages that were on their way at a kill, by Varsel's own account. Only these may come twice.
    """

    kills: int = 0
    accepted: int = 0
    unanswered: int = 0
    recipients: int = 0
    sent: int = 0
    duplicated: int = 0
    in_doubt: int = 0
    miscounted: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return self.accepted > 0 and not self.lost and self.duplicated <= self.in_doubt and not self.miscounted


class Ordeal:
    """One service in one home, on one port; whoever runs it at the moment."""

    def __init__(self, home: Path, *, workers: int = 2) -> None:
        self._home = home
        self._workers = workers
        self._port = free_port("127.0.0.1")
        self._queue: deque[Wanted] = deque()
        self._accepted: dict[str, Wanted] = {}
        self.ledger = Ledger()

    async def run(self, orders: int, kills: int) -> Ledger:
        """Place the orders, with so many kills in between, wait for all to end, and look what became of them."""
        self._queue.extend(mixture(orders))
        for left in range(kills, 0, -1):
            with self._up() as process:
                ready(process)
                await self._place(len(self._queue) // (left + 1), process)
        with self._up() as process:
            ready(process)
            await self._place(len(self._queue), None)
            async with self._http() as http:
                await self._end_all(http)
                await self._judge(http)
        return self.ledger

    def _up(self) -> AbstractContextManager["subprocess.Popen[str]"]:
        settings = self._home / "chaos.toml"
        settings.write_text(toml(_SETTINGS))
        port, workers = str(self._port), str(self._workers)
        options = ("--sandbox", "--home", self._home, "--port", port, "--workers", workers)
        return running("varsel", "up", *options, VARSEL_CONFIG=settings)

    def _http(self) -> aiohttp.ClientSession:
        token = DevelopmentIssuer(self._home).mint("ttd", CREATOR_SCOPES, timedelta(days=30))
        return aiohttp.ClientSession(
            f"http://127.0.0.1:{self._port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=60),
        )

    async def _place(self, count: int, victim: "subprocess.Popen[str] | None") -> None:
        """Place so many orders. The victim's whole tree is killed meanwhile, or shortly after."""
        lot = deque(self._queue.popleft() for _ in range(count))
        enough = len(self._accepted) + count * random.uniform(0.3, 0.9)  # noqa: S311 - anywhere
        async with self._http() as http:
            clients = [asyncio.create_task(self._client(http, lot)) for _ in range(_CLIENTS)]
            if victim:
                await _until(lambda: len(self._accepted) >= enough)
                await asyncio.sleep(random.uniform(0, 0.2))  # noqa: S311
                kill_tree(victim.pid)
                self.ledger.kills += 1
            await asyncio.gather(*clients)
        self._queue += lot

    async def _client(self, http: aiohttp.ClientSession, lot: deque[Wanted]) -> None:
        """One order after the other, until there is none, or nobody answers any more."""
        while lot:
            wanted = lot.popleft()
            try:
                async with http.post(f"{_V1}/{wanted.path}", json=wanted.body) as answer:
                    body = await answer.read()
            except aiohttp.ClientConnectorError:
                lot.append(wanted)  # it never left us
                return
            except (aiohttp.ClientError, OSError):
                self.ledger.unanswered += 1
                continue
            if answer.status == 202:
                self._accepted[json.loads(body)["orderId"]] = wanted
            elif answer.status == 503:
                lot.append(wanted)
                await asyncio.sleep(0.1)
            else:
                raise Failed(f"an order was answered {answer.status}: {body[:300]!r}")

    async def _end_all(self, http: aiohttp.ClientSession) -> None:
        """Give all that is under way its time, then move the clock past what waits."""
        for move in ("", *_MOVES):
            if move:
                await _move_clock(http, move)
            if not await self._open(http):
                return
        deadline = time.monotonic() + _ENDS_WITHIN
        while left := await self._open(http):
            if time.monotonic() > deadline:
                self.ledger.lost += [f"{order}: did not end" for order in left]
                return
            await asyncio.sleep(0.5)

    async def _open(self, http: aiohttp.ClientSession) -> list[str]:
        """Accepted orders that have not ended. One that is unknown is lost, and found out later."""
        left = []
        for order in self._accepted:
            async with http.get(f"{_V1}/orders/{order}/status") as answer:
                known = answer.status == 200
                if known and (await answer.json())["processingStatus"]["description"] != _ENDED:
                    left.append(order)
        return left

    async def _judge(self, http: aiohttp.ClientSession) -> None:
        """Everybody who is named in an accepted order has an outcome, and a message unless the mailbox takes none."""
        ledger = self.ledger
        ledger.accepted = len(self._accepted)
        for order, wanted in self._accepted.items():
            fates = await _fates(http, order)
            for recipient in (*wanted.told, *wanted.refused):
                ledger.recipients += 1
                came = await _captured(http, recipient) if recipient in wanted.told else 0
                ledger.sent += came
                ledger.duplicated += max(0, came - 1)
                if recipient not in fates:
                    ledger.lost.append(f"{order}: a recipient has no outcome")
                elif recipient in wanted.told and not came:
                    ledger.lost.append(f"{order}: {fates[recipient]}, and no message came")
                ledger.fates[fates.get(recipient, "none")] += 1
        ledger.in_doubt = await self._ask(_IN_DOUBT)
        ledger.miscounted = await self._ask(_MISCOUNTED)

    async def _ask(self, sql: str) -> int:
        dsn = running_dsn(self._home)
        assert dsn is not None
        db = Database(dsn, size=1, name="chaos")
        await db.open()
        try:
            async with db.reading() as conn:
                return int(await fetch_value(conn, sql, {}))
        finally:
            await db.close()


_IN_DOUBT: Final = "SELECT count(*) FROM attempt WHERE outcome IN ('unknown', 'abandoned')"

# By how much the tallies are wrong: what they say, less a recount.
_MISCOUNTED: Final = f"""
SELECT coalesce(sum(abs(n)), 0)
  FROM (SELECT bucket, sum(n) AS n
          FROM (SELECT bucket, n FROM tally_total
                UNION ALL SELECT bucket, n FROM tally_delta WHERE bucket <> 'taken'
                UNION ALL SELECT {BUCKET}, -1 FROM notification n
                UNION ALL SELECT 'scheduled', -recipients FROM orders WHERE state IN ('Registered', 'Processing')) t
         GROUP BY bucket) q
"""


def mixture(count: int) -> Iterator[Wanted]:
    """Orders by address, over both channels, each address once. What the simulators do with it is told by its name."""
    for n in range(count):
        email, mobile = f"kari.{n}@mottaker.example", f"+4799999{500 + n % 500}"
        match n % 8:
            case 0:
                many = tuple(f"mange.{n}.{m}@mottaker.example" for m in range(20))
                yield Wanted("orders/email", _email(*many), many)
            case 1:
                refused = f"bounce+{n}@mottaker.example"
                yield Wanted("orders/email", _email(refused), (), (refused,))
            case 2:
                quiet = f"quiet+{n}@mottaker.example"
                yield Wanted("orders/email", _email(quiet), (quiet,))
            case 3:
                body = {"body": "Du har fått et brev.", "recipients": [{"mobileNumber": mobile}]}
                yield Wanted("orders/sms", body, (mobile,))
            case 4:
                yield Wanted("orders", _both(email, mobile), (email, mobile))
            case _:
                yield Wanted("orders/email", _email(email), (email,))


def _email(*addresses: str) -> dict[str, Any]:
    recipients = [{"emailAddress": address} for address in addresses]
    return {"subject": "Du har fått et brev", "body": "Logg inn for å lese det.", "recipients": recipients}


def _both(email: str, mobile: str) -> dict[str, Any]:
    return {
        "notificationChannel": "EmailAndSms",
        "recipients": [{"emailAddress": email, "mobileNumber": mobile}],
        "emailTemplate": {"subject": "Du har fått et brev", "body": "Logg inn for å lese det."},
        "smsTemplate": {"body": "Du har fått et brev."},
    }


def kill_tree(pid: int) -> None:
    """Kill -9 a process and everything that it has started, parents first, so that nobody is started again."""
    for each in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def _move_clock(http: aiohttp.ClientSession, by: str) -> None:
    """Move the sandbox's clock; it waits for all that is due to happen. Whoever is busy for longer is asked again."""
    deadline = time.monotonic() + _ENDS_WITHIN
    while True:
        async with http.post("/sandbox/clock", json={"advance": by}) as answer:
            if answer.status == 200:
                return
            if answer.status != 503 or time.monotonic() > deadline:
                raise Failed(f"the clock was not moved: {answer.status} {await answer.text()}")


async def _fates(http: aiohttp.ClientSession, order: str) -> dict[str, str]:
    """Status by address."""
    fates = {}
    for channel, key in (("email", "emailAddress"), ("sms", "mobileNumber")):
        async with http.get(f"{_V1}/orders/{order}/notifications/{channel}") as answer:
            if answer.status == 200:
                for each in (await answer.json())["notifications"]:
                    fates[each["recipient"][key]] = each["sendStatus"]["status"]
    return fates


async def _captured(http: aiohttp.ClientSession, recipient: str) -> int:
    async with http.get("/sandbox/messages", params={"to": recipient}) as answer:
        return len(await answer.json())


@click.command()
@click.option("--orders", type=click.IntRange(8), default=400, show_default=True)
@click.option("--kills", type=click.IntRange(1), default=4, show_default=True)
def main(orders: int, kills: int) -> None:
    """Kill -9 everything, again and again, and count what became of the orders."""
    with temporary_home("varsel-chaos-") as home:
        ledger = asyncio.run(Ordeal(home).run(orders, kills))
    _print(ledger)
    if not ledger.is_good:
        raise SystemExit(1)


def _print(ledger: Ledger) -> None:
    table = Table(title="The ledger", title_justify="left", show_header=False)
    rows = {
        "kills of every process and the database": ledger.kills,
        "orders accepted": ledger.accepted,
        "orders unanswered at a kill": ledger.unanswered,
        "recipients of accepted orders": ledger.recipients,
        "messages that came": ledger.sent,
        "on their way at a kill": ledger.in_doubt,
        "duplicated": ledger.duplicated,
        "lost": len(ledger.lost),
        "counted wrongly in the tallies": ledger.miscounted,
    }
    for what, count in rows.items():
        table.add_row(what, f"{count}")
    console = Console()
    console.print(table)
    console.print("Fates: " + ", ".join(f"{fate} {count}" for fate, count in sorted(ledger.fates.items())))
    for what in ledger.lost[:20]:
        console.print(f"[bold red]lost[/] {what}")


if __name__ == "__main__":
    main()
