"""100 000 recipients in 20 orders through a real `varsel up`, from POST to completed, while the status is asked for.

Not for its rate alone: afterwards every recipient must have one fate, and one email.
"""

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from bench import load
from bench.figures import Figure
from bench.ground import Ground
from bench.processes import Failed, count_of, line, running, settings_file, sink, temporary_home
from varsel.domain.order import ORDER_STATE_NAMES, OrderState
from varsel.issuer import CREATOR_SCOPES, DevelopmentIssuer

_ORDERS: Final = 20
_RECIPIENTS: Final = 5_000
_ENDED_WITHIN: Final = 180.0
_PAUSE: Final = 0.01  # s between two questions
_READY: Final = "Varsel is ready: API http://localhost:"
_COMPLETED: Final = ORDER_STATE_NAMES[OrderState.COMPLETED].description  # its v1 name is also that of Processed
_V1: Final = "/notifications/api/v1/orders"


async def run(ground: Ground) -> list[Figure]:
    recipients = ground.size.of(_RECIPIENTS)
    with temporary_home("varsel-volume-") as home:
        ids = home / "ids"
        with sink("--ids", ids) as (mail_port, receiver):
            with up(home, settings_file(home, None, mail_port)) as port:
                token = DevelopmentIssuer(home).mint("ttd", CREATOR_SCOPES, timedelta(hours=1))
                seconds, asked = await _drive(port, token, recipients)
                fates = await _fates(port, token, asked.orders)
            came = count_of(receiver)
            receiver.wait()
        _check(fates, ids.read_text().split(), came, _ORDERS * recipients)
    return [
        Figure("volume: 20 orders, from POST to completed", _ORDERS * recipients / seconds, "recipients/s"),
        Figure(
            "status route meanwhile, p99",
            asked.outcome.milliseconds(0.99),
            "ms",
            floor=100,
            falls=True,
            details={"p50 ms": asked.outcome.milliseconds(0.5), "longest ms": asked.outcome.milliseconds(1)},
        ),
    ]


@contextmanager
def up(home: Path, settings: Path | None, *options: str, port: int = 0) -> Iterator[int]:
    """`varsel up` in a home; its port, once it is ready."""
    variables = {"VARSEL_CONFIG": settings} if settings else {}
    with running("varsel", "up", "--home", home, "--port", str(port), *options, **variables) as process:
        yield ready(process)


def ready(process: "subprocess.Popen[str]") -> int:
    """The port that `varsel up` announces."""
    while not (said := line(process)).startswith(_READY):
        pass
    return int(said.removeprefix(_READY).split()[0])


class _Asked:
    """Who asks for the status of all orders in turn, until every order is completed."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.orders: list[str] = []
        self.outcome = load.Outcome()

    async def until_completed(self, count: int) -> None:
        open_orders: list[str] = []
        known = 0
        while known < count or open_orders:
            open_orders += self.orders[known:]
            known = len(self.orders)
            for order in list(open_orders):
                if await self._is_completed(order):
                    open_orders.remove(order)
                await asyncio.sleep(_PAUSE)
            await asyncio.sleep(_PAUSE)

    async def _is_completed(self, order: str) -> bool:
        request = load.get(f"{_V1}/{order}/status", self._token)
        answer = await load.fire(self._port, iter([request]), status=200, connections=1, keep_bodies=True)
        self.outcome.latencies += answer.latencies
        description: str = json.loads(answer.bodies[0])["processingStatus"]["description"]
        return description == _COMPLETED


async def _drive(port: int, token: str, recipients: int) -> tuple[float, _Asked]:
    """Place the orders; seconds from the first POST to the last completion."""
    asked = _Asked(port, token)
    began = time.perf_counter()
    async with asyncio.timeout(_ENDED_WITHIN):
        asking = asyncio.create_task(asked.until_completed(_ORDERS))
        for number in range(_ORDERS):
            request = load.post(f"{_V1}/email", token, _order(number, recipients))
            answer = await load.fire(port, iter([request]), status=202, connections=1, keep_bodies=True)
            asked.orders.append(json.loads(answer.bodies[0])["orderId"])
        await asking
    return time.perf_counter() - began, asked


def _order(number: int, recipients: int) -> dict[str, Any]:
    return {
        "subject": "Du har fått et brev",
        "body": "Du har fått et brev fra Fjordvik kommune. Logg inn på fjordvik.example for å lese det.",
        "recipients": [{"emailAddress": f"person.{number}.{n}@example.com"} for n in range(recipients)],
    }


async def _fates(port: int, token: str, orders: list[str]) -> Counter[tuple[str, str]]:
    """(address, status) of every notification, as the API tells them."""
    requests = (load.get(f"{_V1}/{order}/notifications/email", token) for order in orders)
    answer = await load.fire(port, requests, status=200, connections=1, keep_bodies=True)
    return Counter(
        (each["recipient"]["emailAddress"], each["sendStatus"]["status"])
        for body in answer.bodies
        for each in json.loads(body)["notifications"]
    )


def _check(fates: Counter[tuple[str, str]], ids: list[str], came: int, count: int) -> None:
    doubled = sum(times - 1 for times in fates.values())
    unsent = sum(status != "Succeeded" for _, status in fates)
    if len(fates) != count or doubled or unsent:
        raise Failed(f"{count} recipients: {len(fates)} fates, {doubled} of them doubled, {unsent} not sent")
    if came != count or len(set(ids)) != count:
        raise Failed(f"{count} recipients: {came} emails came, {len(set(ids))} different ones")
