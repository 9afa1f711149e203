"""Email through Azure Communication Services on the road: sent, asked for, reported (channels 8.5; F2, F10-F16)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from starlette.applications import Starlette

from conformance.bench import TOOLS
from road import Road, until
from serving import serving
from varsel.api.event_grid import event_grid_routes
from varsel.api.frame import Frame
from varsel.api.provider_reports import instances_of, provider_report_routes
from varsel.api.report_intake import Limits
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.report import Inbox
from varsel.domain.order import Lane, Recipient
from varsel.providers.acs import AcsProvider, AcsProviderSettings
from varsel.settings import ProviderSettings, Settings
from varsel.simulators.acs import AcsSimulator
from varsel.simulators.acs_script import SCRIPTS
from varsel.wiring import open_parts
from varsel.worker.run import run_worker

SECRET = "en%20hemmelighet"


@dataclass
class Azure:
    road: Road
    simulator: AcsSimulator

    async def send(self, *scripts: str) -> None:
        """One order for all of them, and what can be done at once."""
        people = tuple(Recipient(email=f"{script}@mottaker.example") for script in scripts)
        await self.road.place(recipients=people)
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is due, and no event is on its way."""
        await self.road.run()
        await self.simulator.idle()
        await self.road.run()

    async def wait(self, **time: float) -> None:
        self.road.clock.advance(timedelta(**time))
        await self.settle()

    async def outcomes(self) -> list[str]:
        return [outcome for _, outcome in await self.road.outcomes()]


@asynccontextmanager
async def azure_on(road: Road, *, cloud_events: bool = False, path: str = "/acs/azure") -> AsyncIterator[Azure]:
    inbox = Inbox(road.db, road.clock, road.waker)
    chosen: list[ProviderSettings] = []
    port = 0

    async with AcsSimulator(time_factor=0.01, cloud_events=cloud_events, unasked=None) as simulator:
        settings = settings_for(simulator)
        chosen.append(AcsProviderSettings.model_validate(settings))
        instances = instances_of(chosen, TOOLS)
        limits = Limits(10_000)
        routes = [
            *provider_report_routes(instances, inbox.store, limits, "https://varsel.example"),
            *event_grid_routes(instances, inbox.store, limits, "https://varsel.example"),
        ]
        async with serving(Frame(Starlette(routes=routes))) as port:
            url = f"http://127.0.0.1:{port}/notifications/email/api/v1/reports{path}?accesskey={SECRET}"
            simulator.events.url = url
            provider = AcsProvider(AcsProviderSettings.model_validate(settings))
            road.mail = provider  # type: ignore[assignment]  # the road's own is a fake of the same port
            try:
                yield Azure(road, simulator)
            finally:
                await provider.close()


def settings_for(simulator: AcsSimulator) -> dict[str, object]:
    return {
        "name": "azure",
        "connection_string": simulator.connection_string,
        "report_secret": "en hemmelighet",
    }


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


@pytest.fixture
async def azure(road: Road) -> AsyncIterator[Azure]:
    async with azure_on(road) as azure:
        yield azure


ENDS = {
    "ok": "delivered",
    "suppressed": "Failed_SupressedRecipient",
    "dropped": "Failed",
    "badformat": "Failed_InvalidEmailFormat",
    "refused": "Failed",
    "toolarge": "Failed_PayloadTooLarge",
    "reset": "delivered",
    "poll429": "delivered",
    "poll500": "delivered",
    "never": "unknown",
    "canceled": "Failed",
    "ev-bounced": "Failed_Bounced",
    "ev-spam": "Failed_FilteredSpam",
    "ev-quarantined": "Failed_Quarantined",
    "ev-failed": "Failed",
    "ev-suppressed": "Failed_SupressedRecipient",
    "ev-expanded": "Failed",
    "ev-unknown": "accepted",
    "ev-nomessageid": "accepted",
    "ev-early": "delivered",
    "ev-dup": "delivered",
    "limit": "delivered",
    "limit-date": "delivered",
    "err500": "new",
    "err503": "new",
    "ev-batch": "delivered",
}


@pytest.mark.parametrize("cloud_events", [False, True], ids=["event grid", "cloud events"])
@pytest.mark.assertion("channels", 58, 59)
async def test_every_scripted_address_ends_as_the_table_says(road: Road, *, cloud_events: bool) -> None:
    assert ENDS.keys() == SCRIPTS.keys()
    ends = {script: end for script, end in ENDS.items() if not script.startswith(("limit", "err"))}
    async with azure_on(road, cloud_events=cloud_events) as azure:
        await azure.send(*(f"{script}+{n}" for script in ends for n in range(3 if script == "ev-batch" else 1)))
        for _ in range(5):
            await azure.wait(seconds=40)
        told = {row.address.partition("+")[0]: row.reason or row.state for row in await road.rows()}
        assert told == ends
        operations = [sent.operation for sent in azure.simulator.sent]
        assert len(operations) == len(set(operations)) == len(ends) + 2 - len(["badformat", "refused", "toolarge"])
        dead = await road.value("SELECT count(*) FROM delivery_report WHERE state = 'dead'")
        assert dead == len(["ev-unknown", "ev-nomessageid"])
        assert await road.value("SELECT count(*) FROM delivery_report WHERE state NOT IN ('dead', 'applied')") == 0


@pytest.mark.parametrize("script", ["poll429", "poll500"])
@pytest.mark.assertion("channels", 59)
@pytest.mark.assertion("channels-faults", 12)
async def test_a_question_that_fails_twice_costs_time_and_sends_nothing(azure: Azure, script: str) -> None:
    await azure.send(script)
    assert await azure.outcomes() == ["unknown"]
    for _ in range(3):
        await azure.wait(seconds=61)
    assert await azure.outcomes() == ["delivered"]
    assert len(azure.simulator.sent) == azure.simulator.tries == 1
    assert azure.simulator.questions == 3


@pytest.mark.assertion("channels-faults", 13)
async def test_the_answer_of_an_operation_that_never_ends_is_waited_for_until_expiry(azure: Azure) -> None:
    await azure.send("never")
    for _ in range(10):
        await azure.wait(hours=5)
    assert await azure.outcomes() == ["expired"]
    assert len(azure.simulator.sent) == 1
    [entry] = await azure.road.feed()
    assert entry["recipients"][0]["status"] == "Email_Failed_TTL"


@pytest.mark.parametrize("script", ["limit", "limit-date"])
@pytest.mark.assertion("channels", 60)
@pytest.mark.assertion("channels-faults", 10)
async def test_a_limit_pauses_the_instance_and_the_message_is_sent_afterwards(azure: Azure, script: str) -> None:
    await azure.send(script)
    [row] = await azure.road.rows()
    assert (row.state, row.attempts) == ("new", 0)
    paused = "SELECT paused_until - statement_timestamp() FROM provider WHERE name = 'azure'"
    assert timedelta() < await azure.road.value(paused) <= timedelta(seconds=2.5)
    for _ in range(2):
        await resumed(azure)
        await azure.wait(seconds=30)
    assert len(azure.simulator.sent) == 1
    await azure.wait(seconds=8)
    await azure.wait(seconds=8)
    assert await azure.outcomes() == ["delivered"]
    assert azure.simulator.tries == 3


@pytest.mark.assertion("channels-faults", 11)
async def test_one_that_is_answered_503_waits_alone(azure: Azure) -> None:
    azure.simulator.next(1, "err503")
    await azure.send("ok+1", "ok+2", "ok+3")
    assert sorted(await azure.outcomes()) == ["new", "unknown", "unknown"]
    await azure.wait(seconds=30)
    for _ in range(3):
        await azure.wait(seconds=10)
    assert await azure.outcomes() == ["delivered"] * 3
    assert len(azure.simulator.sent) == 3


@pytest.mark.assertion("channels-faults", 14)
async def test_a_clock_that_is_wrong_fails_no_message(road: Road) -> None:
    async with azure_on(road) as azure:
        azure.simulator._behind = timedelta(minutes=10)
        await azure.send("ok+1", "ok+2")
        assert await azure.outcomes() == ["new", "new"]
        assert await road.value("SELECT breaker_until IS NOT NULL FROM provider WHERE name = 'azure'")
        azure.simulator._behind = timedelta()
        await resumed(azure)
        for _ in range(6):
            await azure.wait(seconds=60)
            await resumed(azure)
        assert await azure.outcomes() == ["delivered", "delivered"]


async def test_a_lost_answer_is_asked_for_and_the_email_left_once(azure: Azure) -> None:
    await azure.send("reset")
    assert await azure.outcomes() == ["unknown"]
    await azure.wait(seconds=59)
    assert azure.simulator.questions == 0
    for _ in range(3):
        await azure.wait(seconds=15)
    assert await azure.outcomes() == ["delivered"]
    assert len(azure.simulator.sent) == azure.simulator.tries == 1


@pytest.mark.assertion("channels-faults", 2)
async def test_an_email_of_a_worker_that_died_is_asked_for_by_our_own_name(azure: Azure) -> None:
    road = azure.road
    await road.place(recipients=(Recipient(email="ok@mottaker.example"),))
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await until(lambda: worker.resolution.idle)
    azure.simulator.gate = asyncio.Event()
    await worker.mail.send_due()
    await until(lambda: len(azure.simulator.sent) == 1)
    await worker.mail.stop(timedelta())
    azure.simulator.gate.set()
    assert await road.sweeper(shift=timedelta(minutes=1)).release_lapsed() == 1
    assert await azure.outcomes() == ["unknown"]
    assert (await road.rows())[0].provider_ref is None
    for _ in range(3):
        await azure.wait(seconds=60)
    assert await azure.outcomes() == ["delivered"]
    assert len(azure.simulator.sent) == azure.simulator.tries == 1
    await worker.end(road)


@pytest.mark.assertion("channels-faults", 15)
async def test_an_event_that_comes_before_the_answer_is_applied_when_its_message_is_known(azure: Azure) -> None:
    await azure.send("ev-early")
    assert await azure.outcomes() in (["unknown"], ["delivered"])
    await azure.wait(seconds=2)
    assert await azure.outcomes() == ["delivered"]
    assert await azure.road.value("SELECT count(*) FROM delivery_report WHERE state = 'dead'") == 0


@pytest.mark.assertion("channels-faults", 16)
async def test_the_same_event_five_times_at_once_is_one_change(azure: Azure) -> None:
    await azure.send("ok")
    await azure.wait(seconds=8)
    azure.simulator.events.copies = 5
    await azure.wait(seconds=8)
    assert await azure.outcomes() == ["delivered"]
    assert await azure.road.value("SELECT count(*) FROM delivery_report") == 1
    assert len(await azure.road.feed()) == 1


@pytest.mark.parametrize("path", ["", "/azure", "/AZURE", "/acs/azure"])
@pytest.mark.parametrize("cloud_events", [False, True], ids=["event grid", "cloud events"])
@pytest.mark.assertion("channels", 62)
async def test_a_subscription_is_confirmed_at_each_of_our_addresses(
    road: Road, path: str, *, cloud_events: bool
) -> None:
    async with azure_on(road, cloud_events=cloud_events, path=path) as azure:
        assert await azure.simulator.events.validate()
        assert azure.simulator.events.url
        azure.simulator.events.url = azure.simulator.events.url.replace(SECRET, "gjettet")
        assert not await azure.simulator.events.validate()


async def test_where_no_such_resource_is_nobody_is_heard(road: Road) -> None:
    async with azure_on(road, path="/other") as azure:
        assert not await azure.simulator.events.validate()
        await azure.send("ok")
        await azure.wait(seconds=8)
        await azure.wait(seconds=8)
        assert {told.status for told in azure.simulator.told} == {404}
        assert await azure.outcomes() == ["accepted"]


async def resumed(azure: Azure) -> None:
    """As if the pause were over: it is in machine time, which tests do not move."""
    async with azure.road.db.autocommit() as conn:
        await conn.execute("UPDATE provider SET paused_until = NULL, breaker_until = NULL, failures = 0")


async def test_a_worker_sends_asks_and_applies_what_is_reported(database: Database, dsn: str) -> None:
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with azure_on(road) as azure:
        azure.simulator.next(1, "reset")
        settings = Settings.model_validate(
            {
                "providers": [{"type": "acs", **settings_for(azure.simulator)}],
                "delivery": {"unknown_wait": "PT1S"},
            }
        )
        await road.place(recipients=tuple(Recipient(email=f"{n}@mottaker.example") for n in range(20)))
        parts, stop = await open_parts(settings, dsn, name="test", connections=4), asyncio.Event()
        working = asyncio.create_task(run_worker(parts, stop))

        async def all_delivered() -> bool:
            return await azure.outcomes() == ["delivered"] * 20

        await until(all_delivered, seconds=120)
        stop.set()
        await working
        await parts.close()
        assert len(azure.simulator.sent) == 20


async def test_a_provider_that_was_switched_off_is_asked_about_what_it_took(database: Database, dsn: str) -> None:
    road = Road(database, ManualClock(datetime.now(UTC)))
    async with azure_on(road) as azure:
        await azure.send("ok")
        assert await azure.outcomes() == ["unknown"]
        off = {"type": "acs", "enabled": False, **settings_for(azure.simulator)}
        settings = Settings.model_validate({"providers": [off]})
        parts, stop = await open_parts(settings, dsn, name="test", connections=4), asyncio.Event()
        working = asyncio.create_task(run_worker(parts, stop))

        async def delivered() -> bool:
            return await azure.outcomes() == ["delivered"]

        await until(delivered, seconds=120)
        stop.set()
        await working
        await parts.close()
