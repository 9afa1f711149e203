"""Workers that send SMS through other gateways than LINK's, to their fate: real wire, real database, real workers."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from gateways import reporting
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.report import Inbox
from varsel.domain.ids import OrderId
from varsel.domain.order import OrderChannel, Recipient, SendingTime, SmsTemplate
from varsel.providers.twilio import TwilioProviderSettings
from varsel.settings import Settings
from varsel.simulators.smpp import SmscSimulator
from varsel.simulators.twilio import TwilioSimulator
from varsel.wiring import open_parts
from varsel.worker.run import STAGES, run_worker

LONG = "Du har fått et nytt brev. " * 14  # three parts
ACCOUNT = "AC00000000000000000000000000000001"


@asynccontextmanager
async def worker(dsn: str, *providers: dict[str, Any], only: Collection[str] = STAGES) -> AsyncIterator[None]:
    """One process's worth of stages, as `varsel worker` runs them."""
    settings = Settings.model_validate(
        {"providers": providers, "processing": {"sms_window_always_open": True}, "delivery": {"unknown_wait": "PT1S"}}
    )
    parts, stop = await open_parts(settings, dsn, name="test", connections=4), asyncio.Event()
    working = asyncio.create_task(run_worker(parts, stop, only))
    try:
        yield
    finally:
        stop.set()
        await working
        await parts.close()


async def place(road: Road, count: int, text: str, script: str = "500") -> OrderId:
    placed = await road.place(
        channel=OrderChannel.SMS,
        recipients=tuple(Recipient(mobile=f"+47{90000 + n}{script}") for n in range(count)),
        sms=SmsTemplate("Etaten", text),
        sending_time=SendingTime.ANYTIME,
    )
    return placed.order_id


async def all_are(road: Road, outcome: str, count: int) -> None:
    async def reached() -> bool:
        return await road.outcomes() == [("sms", outcome)] * count

    await until(reached, seconds=120)


def smpp(smsc: SmscSimulator) -> dict[str, Any]:
    account = {"host": "127.0.0.1", "port": smsc.port, "tls": "none", "system_id": "varsel", "password": "secret"}
    return {"type": "smpp", "name": "operator", **account}


async def test_two_workers_send_over_smpp_and_receipts_of_all_parts_come_on_whichever_bind(
    database: Database, dsn: str
) -> None:
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with SmscSimulator({"varsel": "secret"}, time_factor=0.05) as smsc:
        order = await place(road, 40, LONG)
        async with worker(dsn, smpp(smsc)), worker(dsn, smpp(smsc)):
            await all_are(road, "delivered", 40)
            assert smsc.binds == 2
        assert len(smsc.arrived) == 40
        assert len(smsc.submitted) == 120
        assert {arrived.text for arrived in smsc.arrived} == {LONG}
    assert await road.state(order) == "Completed"
    assert await road.value("SELECT count(*) FROM message_part WHERE delivered") == 120
    assert await road.value("SELECT count(*) FROM delivery_report WHERE state <> 'applied'") == 0


async def test_receipts_that_find_no_worker_wait_for_the_next_one_that_binds(database: Database, dsn: str) -> None:
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with SmscSimulator({"varsel": "secret"}, time_factor=0) as smsc:
        smsc.hold()
        await place(road, 5, "Hei")
        async with worker(dsn, smpp(smsc)):
            await all_are(road, "accepted", 5)
        smsc.let_go()
        assert not smsc.receipts
        async with worker(dsn, smpp(smsc)):  # has nothing to send
            await all_are(road, "delivered", 5)


async def test_a_worker_sends_through_a_rest_gateway_whose_callbacks_are_applied(database: Database, dsn: str) -> None:
    """The connection is cut after every message that it takes first: nothing is sent again, for callbacks come."""
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with TwilioSimulator(ACCOUNT, "token", time_factor=0.05) as gateway:
        account = {"name": "cloud", "url": gateway.url, "account_sid": ACCOUNT, "auth_token": "token"}
        inbox = Inbox(database, road.clock, road.waker)
        settings = TwilioProviderSettings.model_validate(account)
        async with reporting(inbox, settings, base=Settings().server.base_url) as origin:
            gateway.send_to = origin
            gateway.next(5, "311")
            order = await place(road, 20, "Hei")
            async with worker(dsn, {"type": "twilio", **account}):
                await all_are(road, "delivered", 20)
        assert len(gateway.journal) == 20
    assert await road.state(order) == "Completed"
    await road.waker.close()


async def test_a_worker_that_does_not_send_binds_nowhere(database: Database, dsn: str) -> None:
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with SmscSimulator({"varsel": "secret"}) as smsc:
        order = await place(road, 1, "Hei")
        async with worker(dsn, smpp(smsc), only=set(STAGES) - {"send"}):
            await until(lambda: there(road, order), seconds=60)
        assert smsc.binds == 0


async def there(road: Road, order: OrderId) -> bool:
    return bool(await road.rows(order))
