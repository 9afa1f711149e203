"""Providers that are away for a while: nothing fails, nothing is forgotten, all goes on by itself (channels 9)."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from fakes import FakeProvider
from postal import pair
from road import LIFETIME, Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.choice import Routing
from varsel.delivery.ports import Accepted, Blame, Deferred
from varsel.domain.order import OrderChannel, Recipient
from varsel.providers.link import LinkProvider
from varsel.settings import LinkProviderSettings
from varsel.simulators.link import LinkSimulator
from varsel.status.gauges_store import read_gauges


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def pass_time(road: Road, by: timedelta) -> None:
    """Breakers rest, and trials that came to nothing end, in machine time, which tests do not move."""
    road.clock.advance(by)
    async with road.db.autocommit() as conn:
        await conn.execute(
            "UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s', trial_until = NULL"
        )
    await road.run()


async def opened(road: Road) -> bool:
    return bool(await road.value("SELECT bool_or(failures > 0 AND breaker_until IS NOT NULL) FROM provider"))


async def messages(road: Road, count: int) -> None:
    people = tuple(Recipient(mobile=f"+47999995{n:02}") for n in range(count))
    await road.place(channel=OrderChannel.SMS, recipients=people)
    await road.run()


@pytest.mark.assertion("channels-faults", 8)
async def test_mail_that_a_relay_does_not_take_for_two_hours_leaves_afterwards_oldest_first(road: Road) -> None:
    road.mail = FakeProvider("mail", step=1, answers=lambda _: Deferred("421 4.3.2 Not now", Blame.PROVIDER))
    addresses = [f"p{n}@example.com" for n in range(30)]
    for address in addresses:
        await road.place(recipients=(Recipient(email=address),))
        road.clock.advance(timedelta(seconds=1))
    await road.run()
    assert await opened(road)
    for _ in range(8):
        await pass_time(road, timedelta(minutes=15))
    assert await opened(road)
    assert {(row.state, row.attempts) for row in await road.rows()} == {("new", 0)}
    tried = road.mail.sent[-1].to  # as the last one in vain: it is not the first to come back
    road.mail.answers = lambda _: Accepted()
    road.mail.sent.clear()
    for _ in range(5):
        await pass_time(road, timedelta(minutes=10))
    assert {row.state for row in await road.rows()} == {"accepted"}
    assert sorted(message.to for message in road.mail.sent) == sorted(addresses)
    others = [message.to for message in road.mail.sent if message.to != tried]
    assert others == [address for address in addresses if address != tried]


@pytest.mark.assertion("channels-faults", 9)
async def test_greylisted_mail_leaves_on_the_third_try_and_is_pending_until_then(road: Road) -> None:
    async with pair() as (provider, server):
        road.mail = provider  # type: ignore[assignment]  # the road's own is a fake of the same port
        placed = await road.place(recipients=(Recipient(email="defer-2@mottaker.test"),))
        for wait in (timedelta(seconds=40), timedelta(minutes=3)):
            await road.run()
            assert (await road.outcomes(), len(server.stored)) == ([("email", "new")], 0)
            assert await road.state(placed.order_id) == "Processed"
            road.clock.advance(wait)
        await road.run()
        assert await road.outcomes() == [("email", "accepted")]
        assert len(server.stored) == 1


@pytest.mark.assertion("channels-faults", 19)
async def test_a_gateway_that_refuses_our_login_for_twenty_minutes_fails_no_message(road: Road) -> None:
    accounts = {"varsel": "another word"}
    async with LinkSimulator(accounts, None, time_factor=0.01) as gateway:
        settings = LinkProviderSettings(
            name="sms",
            url=gateway.url,
            username="varsel",
            password=SecretStr("our word"),
            report_username="gateway",
            report_password=SecretStr("reports"),
        )
        provider = LinkProvider(settings, road.clock)
        road.sms = provider  # type: ignore[assignment]  # the road's own is a fake of the same port
        await messages(road, 20)
        for _ in range(4):
            assert await opened(road)
            await pass_time(road, timedelta(minutes=5))
        assert {(row.state, row.attempts) for row in await road.rows()} == {("new", 0)}
        assert gateway.submitted == []
        accounts["varsel"] = "our word"
        for _ in range(5):
            await pass_time(road, timedelta(minutes=5))
        assert {row.state for row in await road.rows()} == {"accepted"}
        assert len(gateway.submitted) == 20
        await provider.close()


@pytest.mark.assertion("channels-faults", 24)
async def test_with_both_gateways_down_sms_wait_to_their_last_hour_and_are_told_of(
    road: Road, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for provider in (road.sms, other := FakeProvider("other")):
        provider.answers = lambda _: Deferred("no connection", Blame.FAULT)
    road.more_sms = [(other, Routing())]
    began = road.clock.now()
    await messages(road, 20)
    told = [vars(r)["fields"]["provider"] for r in caplog.records if r.message == "provider breaker opened"]
    assert sorted(told) == ["other", "sms"]
    for _ in range(4):
        await pass_time(road, (LIFETIME - timedelta(hours=1)) / 4)
        assert {(row.state, row.attempts) for row in await road.rows()} == {("new", 0)}
    async with road.db.reading() as conn:
        gauges = await read_gauges(conn, now=road.clock.now(), opened=began)
    assert {gauge.name for gauge in gauges.providers if gauge.failures} == {"sms", "other"}
    for provider in (road.sms, other):
        provider.answers = lambda _: Accepted()
    for _ in range(5):
        await pass_time(road, timedelta(minutes=10))
    assert {row.state for row in await road.rows()} == {"accepted"}
