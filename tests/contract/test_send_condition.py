"""Send conditions over real HTTP (http-api 19; processing 3.4): what an endpoint says, and what then happens."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest
from aiohttp import web

from certificates import tls_for
from fakes import FakeConditions
from road import Road
from serving import Api
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.providers.condition import HttpConditions
from varsel.registry_sync.ports import UpstreamError
from varsel.resolution.ports import Answer, Verdict

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MET, NOT_MET, UNCLEAR = Verdict.MET, Verdict.NOT_MET, Verdict.INCONCLUSIVE
CONDITION: Final = "/notifications/api/v1/tests/sendcondition"


@asynccontextmanager
async def endpoint(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a server on loopback that answers as told."""
    app = web.Application()
    app.router.add_get("/{anywhere:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.fixture
async def conditions() -> AsyncIterator[HttpConditions]:
    conditions = HttpConditions(timeout=timedelta(seconds=5), private_hosts=True)
    yield conditions
    await conditions.close()


def saying(text: str, status: int = 200, **headers: str) -> Handler:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=text, headers=headers)

    return handler


@pytest.mark.parametrize(
    ("text", "status", "verdict"),
    [
        ('{"sendNotification": true}', 200, MET),
        ('{"sendNotification": false}', 200, NOT_MET),
        ('{"sendNotification": true, "more": [1]}', 202, MET),
        ('{"sendNotification": true}', 500, UNCLEAR),
        ('{"sendNotification": "true"}', 200, UNCLEAR),
        ('{"SendNotification": true}', 200, UNCLEAR),
        ("{}", 200, UNCLEAR),
        ("[true]", 200, UNCLEAR),
        ("", 200, UNCLEAR),
        ("<html>", 200, UNCLEAR),
        ('{"sendNotification": true, "x": "' + "x" * 70_000 + '"}', 200, UNCLEAR),
    ],
)
@pytest.mark.assertion("processing", 50, 51)
async def test_only_a_plain_yes_or_no_is_one(
    conditions: HttpConditions, text: str, status: int, verdict: Verdict
) -> None:
    async with endpoint(saying(text, status)) as url:
        assert await conditions.check(url) == Answer(verdict, status)


async def test_an_answer_may_come_in_pieces(conditions: HttpConditions) -> None:
    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"sendNoti', b'fication"', b": true}"):
            await response.write(piece)
            await asyncio.sleep(0.02)  # lets each piece travel alone
        return response

    async with endpoint(slowly) as url:
        assert (await conditions.check(url)).verdict is MET


async def test_redirects_are_followed_a_few_times(conditions: HttpConditions) -> None:
    async def around(request: web.Request) -> web.Response:
        left = int(request.path[1:] or 0)
        if left:
            return web.Response(status=302, headers={"Location": f"/{left - 1}"})
        return web.json_response({"sendNotification": True})

    async with endpoint(around) as url:
        assert (await conditions.check(f"{url}5")).verdict is MET
        assert (await conditions.check(f"{url}6")).verdict is UNCLEAR


async def test_an_endpoint_that_is_not_there_or_does_not_answer_is_inconclusive() -> None:
    over = asyncio.Event()

    async def silent(_request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    conditions = HttpConditions(timeout=timedelta(milliseconds=100), private_hosts=True)
    async with endpoint(silent) as url:
        assert await conditions.check(url) == Answer(UNCLEAR, detail="TimeoutError")
        over.set()
    assert (await conditions.check("http://127.0.0.1:1/")).verdict is UNCLEAR
    assert (await conditions.check("http://no-such-host.invalid/")).verdict is UNCLEAR
    await conditions.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1/", "http://localhost/"])
async def test_in_production_private_addresses_are_not_called(url: str) -> None:
    conditions = HttpConditions(timeout=timedelta(seconds=5), private_hosts=False)
    assert (await conditions.check(url)).verdict is UNCLEAR
    await conditions.close()


@pytest.mark.assertion("http-api", 149)
@pytest.mark.assertion("processing", 48)
async def test_an_endpoint_that_fails_twice_silences_nobody(
    database: Database, clock: ManualClock, conditions: HttpConditions
) -> None:
    asked: list[str] = []

    async def failing(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=500)

    road = Road(database, clock, conditions=cast("FakeConditions", conditions))  # the road asks nothing else of it
    async with endpoint(failing) as url:
        placed = await road.place(condition_endpoint=f"{url}x")
        await road.run()
        assert road.mail.sent == []
        clock.advance(timedelta(seconds=61))
        await road.run()
    assert asked == ["/x", "/x"]
    assert [message.to for message in road.mail.sent] == ["kari@example.com"]
    assert await road.state(placed.order_id) == "Processed"
    await road.waker.close()


@pytest.mark.parametrize(
    ("met", "state"), [("true", "Processed"), ("false", "SendConditionNotMet"), ("", "SendConditionNotMet")]
)
async def test_the_demo_condition_decides_an_order(api: Api, conditions: HttpConditions, met: str, state: str) -> None:
    road: Any = api.road
    road.conditions = conditions
    placed = await road.place(condition_endpoint=f"http://127.0.0.1:{api.client.port}{CONDITION}?conditionMet={met}")
    await road.run()
    assert await road.state(placed.order_id) == state


class Tokens:
    """The service's own bearer token; or none to be had."""

    def __init__(self, *, refused: bool = False) -> None:
        self._refused = refused

    async def headers(self, *, renew: bool) -> dict[str, str]:
        if self._refused:
            raise UpstreamError("token_refused", transient=True)
        return {"Authorization": "Bearer ours"}


@pytest.mark.assertion("processing", 52)
async def test_an_endpoint_hears_who_asks_over_https_alone_and_no_other_host_does(tmp_path: Path) -> None:
    asked: list[tuple[str, str, str | None]] = []
    server, client = tls_for("localhost", tmp_path)

    async def handler(request: web.Request) -> web.Response:
        asked.append((request.method, str(request.rel_url), request.headers.get("Authorization")))
        if "to" in request.query:
            return web.Response(status=302, headers={"Location": request.query["to"]})
        return web.json_response({"sendNotification": True})

    conditions = HttpConditions(timeout=timedelta(seconds=5), private_hosts=True, tokens=Tokens(), tls=client)
    async with endpoint(handler, server) as safe, endpoint(handler) as plain:
        for url in (f"{safe}a%20b?x=1", f"{plain}clear", f"{safe}?to=/same", f"{safe}?to={plain}other"):
            assert (await conditions.check(url)).verdict is MET
    await conditions.close()
    assert [(path, shown) for _, path, shown in asked] == [
        ("/a%20b?x=1", "Bearer ours"),
        ("/clear", None),
        ("/?to=/same", "Bearer ours"),
        ("/same", "Bearer ours"),
        (f"/?to={plain}other", "Bearer ours"),
        ("/other", None),
    ]
    assert {method for method, *_ in asked} == {"GET"}


async def test_without_a_token_to_be_had_nothing_is_asked(tmp_path: Path) -> None:
    server, client = tls_for("localhost", tmp_path)
    tokens = Tokens(refused=True)
    conditions = HttpConditions(timeout=timedelta(seconds=5), private_hosts=True, tokens=tokens, tls=client)
    async with endpoint(saying('{"sendNotification": true}'), server) as url:
        assert await conditions.check(url) == Answer(UNCLEAR, detail="no token")
    await conditions.close()
