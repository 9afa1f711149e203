"""Instant messages through real API processes and a gateway over real HTTP: killed, doubled, without a gateway."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import pytest

from road import Road, until
from serving import Client, Reply
from varsel.cli.child_settings import toml
from varsel.cli.startup import listen
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.issuer import DevelopmentIssuer
from varsel.settings import LinkProviderSettings
from varsel.simulators.link import LinkSimulator

SMS: Final = "/notifications/api/v1/future/orders/instant/sms"
ORDINARY: Final = "+4799999500"
HANGS: Final = "+4799999309"
LAPSED: Final = timedelta(minutes=1)


def body(id_: str, number: str = ORDINARY) -> dict[str, Any]:
    recipient = {"phoneNumber": number, "timeToLiveInSeconds": 300, "smsSettings": {"body": "Your code is 123456"}}
    return {"idempotencyId": id_, "recipientSms": recipient}


@contextmanager
def api_process(home: Path, dsn: str, gateway: LinkSimulator) -> Iterator[tuple[Client, "subprocess.Popen[bytes]"]]:
    """`varsel api` on a socket of ours: a request that comes while it starts waits."""
    link = {"type": "link", "name": "link", "url": gateway.url, "username": "u", "password": "p"}
    settings = {
        "database_url": dsn,
        "auth": {"development_issuer": True},
        "providers": [{**link, "report_username": "u", "report_password": "p"}],
    }
    LinkProviderSettings.model_validate(settings["providers"][0])  # type: ignore[index]  # a mistake shows here
    file = home / "api.toml"
    file.write_text(toml(settings))
    issuer = DevelopmentIssuer(home)
    with listen("127.0.0.1", 0) as sock, (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "varsel", "api", "--home", str(home), "--fd", str(sock.fileno())],
            env={**os.environ, "VARSEL_CONFIG": str(file)},
            pass_fds=[sock.fileno()],
            stderr=log,
        )
        try:
            yield Client(sock.getsockname()[1], issuer), process
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def gateway_at(port: int = 0) -> AsyncIterator[LinkSimulator]:
    async with LinkSimulator({"u": "p"}, None, port=port) as gateway:
        yield gateway


@pytest.fixture
async def road(database: Database) -> AsyncIterator[Road]:
    road = Road(database, SystemClock())  # type: ignore[arg-type]  # nobody moves this one
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def serving(client: Client) -> Client:
    """When it answers: a process that starts on a busy machine may need longer than a request waits."""
    for _ in range(5):
        with suppress(TimeoutError):
            await client.aget("/health/ready")
            return client
    raise AssertionError("it does not start")


def chain_of(reply: Reply) -> str:
    assert reply.status in (200, 201), (reply.status, reply.content)
    return str(reply.json["notificationOrderId"])


@pytest.mark.assertion("processing", 31)
async def test_of_ten_equal_requests_to_two_processes_one_reaches_the_gateway(road: Road, home: Path, dsn: str) -> None:
    async with gateway_at() as gateway:
        with ExitStack() as stack:
            clients = [stack.enter_context(api_process(home, dsn, gateway))[0] for _ in range(2)]
            await asyncio.gather(*(serving(client) for client in clients))
            replies = await asyncio.gather(*(c.apost(SMS, body("ten")) for c in clients for _ in range(5)))
        assert gateway.accepted == 1
    assert sorted(reply.status for reply in replies) == [200] * 9 + [201]
    assert len({chain_of(reply) for reply in replies}) == 1


@pytest.mark.assertion("processing", 32)
async def test_a_process_killed_while_the_gateway_has_its_message_leaves_it_unknown_and_not_sent_again(
    road: Road, home: Path, dsn: str
) -> None:
    async with gateway_at() as gateway:
        with api_process(home, dsn, gateway) as (client, process):
            await serving(client)
            lost = asyncio.ensure_future(client.apost(SMS, body("id", HANGS)))
            await until(lambda: gateway.accepted == 1)
            os.kill(process.pid, signal.SIGKILL)
            with suppress(OSError, HTTPException):
                await lost
        assert await road.outcomes() == [("sms", "claimed")]
        await road.sweeper(shift=LAPSED).release_lapsed()
        assert await road.outcomes() == [("sms", "unknown")]
        with api_process(home, dsn, gateway) as (client, _):
            again = await (await serving(client)).apost(SMS, body("id", HANGS))
        assert again.status == 200
        assert chain_of(again) == str(await road.value("SELECT id FROM order_chain"))
        assert gateway.accepted == 1


async def test_a_process_that_is_asked_to_stop_gives_up_what_hangs_and_ends(road: Road, home: Path, dsn: str) -> None:
    async with gateway_at() as gateway:
        with api_process(home, dsn, gateway) as (client, process):
            await serving(client)
            hanging = asyncio.ensure_future(client.apost(SMS, body("id", HANGS)))
            await until(lambda: gateway.accepted == 1)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 10) == 0
            with suppress(OSError, HTTPException):
                await hanging
    assert await road.outcomes() == [("sms", "unknown")]
    assert await road.value("SELECT count(*) FROM claim") == 0
    assert await road.value("SELECT count(*) FROM worker") == 0


@pytest.mark.assertion("http-api", 121)
@pytest.mark.assertion("processing", 29)
async def test_without_a_gateway_it_is_503_and_when_it_is_back_the_same_request_is_sent(
    road: Road, home: Path, dsn: str
) -> None:
    async with gateway_at() as gateway:
        port = gateway.port
    with api_process(home, dsn, gateway) as (client, _):
        refused = await (await serving(client)).apost(SMS, body("id"))
        assert (refused.status, refused.json["code"]) == (503, "NOT-00004")
        assert await road.value("SELECT count(*) FROM orders") == 0
        async with gateway_at(port) as gateway:
            assert (await client.apost(SMS, body("id"))).status == 201
            assert gateway.accepted == 1
    assert await road.outcomes() == [("sms", "accepted")]
