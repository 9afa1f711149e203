"""An idle system: from the POST of one instant SMS to its answer, which comes after the gateway's (http-api 14)."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Final

from bench import load
from bench.figures import Bound, Figure
from bench.ground import Ground
from bench.processes import api, line, running, settings_file, worker

PATH: Final = "/notifications/api/v1/future/orders/instant/sms"
_FIRST: Final = 20  # the first ones open connections
_SINGLES: Final = 1_000
_ROOT: Final = Path(__file__).parents[1]
_SESSION: Final = (
    "<SESSION><CLIENT>x</CLIENT><PW>x</PW><MSGLST><MSG><ID>1</ID><TEXT>Your code is 123456.</TEXT>"
    "<SND>Varsel</SND><RCV>4799999501</RCV></MSG></MSGLST></SESSION>"
)


async def run(ground: Ground) -> list[Figure]:
    singles = ground.size.of(_SINGLES)
    async with ground.database() as db:
        numbers = ground.home / "instant-numbers"
        with running("bench.gateway", "--numbers", numbers, PYTHONPATH=_ROOT) as gateway:
            port = int(line(gateway))
            alone = await load.fire(port, iter([_to_gateway()] * singles), status=200, connections=1)
            settings = settings_file(ground.home, db.dsn, providers=[_provider(port)])
            with api(settings) as (api_port, _), worker(settings):
                orders = _orders(ground.token())
                await load.fire(api_port, islice(orders, _FIRST), status=201, connections=1)
                outcome = await load.fire(api_port, islice(orders, singles), status=201, connections=1)
    return [
        Figure(
            "idle: instant SMS → stored, taken by the gateway and answered, p99",
            outcome.milliseconds(0.99),
            "ms",
            Bound("the gateway alone, p99", alone.milliseconds(0.99)),
            50,
            falls=True,
            details={"p50 ms": outcome.milliseconds(0.5), "most ms": outcome.milliseconds(1)},
        )
    ]


def _orders(token: str) -> Iterator[bytes]:
    for number in count():
        sms = {
            "phoneNumber": "+4799999501",
            "timeToLiveInSeconds": 300,
            "smsSettings": {"body": "Your code is 123456."},
        }
        yield load.post(PATH, token, {"idempotencyId": f"instant-{number}", "recipientSms": sms})


def _to_gateway() -> bytes:
    content = _SESSION.encode()
    return f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def _provider(port: int) -> dict[str, str]:
    accounts = {"username": "bench", "password": "bench", "report_username": "bench", "report_password": "bench"}
    return {"type": "link", "name": "gateway", "url": f"http://127.0.0.1:{port}/", **accounts}
