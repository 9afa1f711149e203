"""Who can carry a message gets it: addresses that need SMTPUTF8 beside providers that lack it (channels 1.9, 2.1)."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from conformance.ses import SesBench
from fakes import FakeProvider
from instants import ApiProcess
from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.choice import Routing
from varsel.delivery.ports import Accepted, Deferred, Refused, SendResult
from varsel.domain.notification import Reason
from varsel.domain.order import EmailTemplate, Recipient
from varsel.orders.register import Registered
from varsel.providers.ses import SesProvider
from varsel.providers.smtp import SmtpProvider
from varsel.settings import BounceSettings, SmtpProviderSettings
from varsel.simulators.smtp import ALL_EXTENSIONS, SmtpSimulator

UNFIT = Refused(Reason.INVALID_EMAIL_FORMAT, "only ASCII", unfit=True)
ASCII_ONLY = ALL_EXTENSIONS - {"SMTPUTF8"}


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def emails(road: Road, *addresses: str) -> None:
    await road.place(recipients=tuple(Recipient(email=address) for address in addresses))
    await road.run()


async def states(road: Road) -> dict[str, str]:
    return {row.address: row.reason or row.state for row in await road.rows()}


@pytest.mark.assertion("channels", 30)
async def test_an_instant_email_that_one_cannot_carry_goes_by_the_other_at_once(road: Road) -> None:
    async with relay("old", ASCII_ONLY) as (old, _), relay("new") as (new, server):
        beside(road, old, new)
        process = await ApiProcess.begin(road)
        for number in range(6):
            to = (Recipient(email=f"ægir{number}@example.com"),)
            assert isinstance(await process.email(str(number), recipients=to), Registered)
        await process.end()
        assert len(server.stored) == 6
    assert set((await states(road)).values()) == {"accepted"}


def beside(road: Road, first: Any, *others: Any) -> None:
    """The providers of the road, real ones, of equal weight."""
    road.mail = first
    road.more_mail = [(other, Routing()) for other in others]


@asynccontextmanager
async def relay(
    name: str, offer: frozenset[str] = ALL_EXTENSIONS, max_bytes: int = 1_000_000
) -> AsyncIterator[tuple[SmtpProvider, SmtpSimulator]]:
    async with SmtpSimulator(offer=offer, max_bytes=max_bytes) as server:
        account = SmtpProviderSettings(name=name, host="127.0.0.1", port=server.port, tls="none")
        provider = SmtpProvider(account, BounceSettings())
        yield provider, server
        await provider.close()


@asynccontextmanager
async def amazon() -> AsyncIterator[SesProvider]:
    bench = SesBench()
    async with bench.simulator() as site, bench.provider(site.port) as provider:
        assert isinstance(provider, SesProvider)
        yield provider


INTERNATIONAL = [f"ægir{n}@example.com" for n in range(20)]
ORDINARY = [f"kari{n}@example.com" for n in range(20)]


@pytest.mark.assertion("channels", 30)
async def test_beside_ses_every_address_beyond_ascii_goes_to_the_server_that_takes_it(road: Road) -> None:
    async with amazon() as ses, relay("relay") as (smtp, server):
        beside(road, ses, smtp)
        await emails(road, *INTERNATIONAL[:5])
        assert await road.value("SELECT count(*) FROM attempt") == 0  # SES was not even asked
        await emails(road, *INTERNATIONAL[5:], *ORDINARY)  # more than the server takes at once
    assert Counter((await states(road)).values()) == {"accepted": 40}
    assert {row.attempts for row in await road.rows()} == {1}
    arrived = {message.recipient for message in server.stored}
    assert arrived >= set(INTERNATIONAL)
    assert len(arrived) < 40  # SES has its share of the others


async def test_a_server_without_smtputf8_hands_over_to_one_that_has_it_and_is_spared_from_then_on(road: Road) -> None:
    async with relay("old", ASCII_ONLY) as (old, _), relay("new") as (new, server):
        beside(road, old, new)
        await emails(road, *INTERNATIONAL)
        await emails(road, *(f"x{address}" for address in INTERNATIONAL))
    assert Counter((await states(road)).values()) == {"accepted": 40}
    assert len({message.recipient for message in server.stored}) == len(server.stored) == 40
    assert {row.attempts for row in await road.rows()} == {1}  # the messages were not charged
    assert not old.reaches("ægir@example.com")
    assert old.reaches("kari@blåbær.example")


async def test_where_nobody_takes_it_the_address_is_refused_at_last(road: Road) -> None:
    async with amazon() as ses, relay("old", ASCII_ONLY) as (smtp, server):
        beside(road, ses, smtp)
        await emails(road, *INTERNATIONAL, "kari@example.com")
    assert Counter((await states(road)).values()) == {"Failed_InvalidEmailFormat": 20, "accepted": 1}
    assert len(server.stored) <= 1


@pytest.mark.parametrize("offer", [ALL_EXTENSIONS, ALL_EXTENSIONS - {"SIZE"}], ids=["announced", "found out"])
async def test_an_email_too_large_for_one_server_goes_by_the_other(road: Road, offer: frozenset[str]) -> None:
    async with relay("small", offer, max_bytes=5_000) as (small, little), relay("large") as (large, server):
        beside(road, small, large)
        body = EmailTemplate("noreply@example.com", "Subject", "a line of text\n" * 1_000)
        await road.place(email=body, recipients=tuple(Recipient(email=address) for address in ORDINARY))
        await road.run()
        assert len({message.recipient for message in server.stored}) == len(server.stored) == 20
        assert not little.stored
    assert set((await states(road)).values()) == {"accepted"}


async def test_an_email_too_large_for_all_of_them_fails_when_all_have_said_so(road: Road) -> None:
    async with relay("first") as (first, _), relay("second") as (second, _):
        beside(road, first, second)
        await emails(road, "toolarge@mottaker.example")
    assert await states(road) == {"toolarge@mottaker.example": "Failed_PayloadTooLarge"}
    assert await road.value("SELECT count(DISTINCT provider) FROM attempt") == 2


async def test_one_that_alone_can_carry_a_message_is_waited_for_while_it_rests(road: Road) -> None:
    async with amazon() as ses, relay("relay") as (smtp, server):
        beside(road, ses, smtp)
        await emails(road, "kari@example.com")
        async with road.db.autocommit() as conn:
            await conn.execute(
                b"UPDATE provider SET paused_until = statement_timestamp() + interval '1 h' WHERE name = 'relay'"
            )
        before = len(server.stored)
        await emails(road, "ægir@example.com")
        road.clock.advance(timedelta(hours=1))
        await road.run()
        assert (await states(road))["ægir@example.com"] == "new"
        async with road.db.autocommit() as conn:
            await conn.execute(b"UPDATE provider SET paused_until = NULL")
        road.clock.advance(timedelta(hours=1))
        await road.run()
        assert len(server.stored) == before + 1
    assert (await states(road))["ægir@example.com"] == "accepted"


async def test_one_that_put_the_message_off_is_still_one_that_can_carry_it(road: Road) -> None:
    answers: list[SendResult] = [Deferred("greylisted"), Deferred("greylisted"), Accepted()]
    road.mail.answers = lambda _: answers.pop(0)
    road.mail_routing = Routing(group=1)
    other = FakeProvider("second", answers=lambda _: UNFIT)
    road.more_mail = [(other, Routing(group=2))]
    await emails(road, "ægir@example.com")
    for _ in range(8):
        road.clock.advance(timedelta(minutes=10))
        await road.run()
    assert await states(road) == {"ægir@example.com": "accepted"}
    assert not answers
    assert other.sent  # who was tried less often comes first


async def test_an_instance_that_does_not_take_the_creator_is_nobody_to_wait_for(road: Road) -> None:
    road.mail.answers = lambda _: UNFIT
    road.more_mail = [(FakeProvider("second"), Routing(creators=frozenset({"skd"})))]
    await emails(road, "ægir@example.com")
    assert await states(road) == {"ægir@example.com": "Failed_InvalidEmailFormat"}


async def test_a_message_that_a_provider_on_trial_cannot_carry_is_no_trial(road: Road) -> None:
    road.mail.answers = lambda _: UNFIT
    other = FakeProvider("second")
    road.more_mail = [(other, Routing(weight=0))]
    await emails(road, "kari@example.com")
    async with road.db.autocommit() as conn:
        await conn.execute(
            b"UPDATE provider SET failures = 1, breaker_until = statement_timestamp() - interval '1 s' "
            b"WHERE name = 'mail'"
        )
    for n in range(4):
        road.clock.advance(timedelta(minutes=1))
        await emails(road, f"p{n}@example.com")
    assert set((await states(road)).values()) == {"accepted"}
    assert await road.value("SELECT breaker_until IS NOT NULL FROM provider WHERE name = 'mail'")
    assert len(road.mail.sent) >= 4
    assert await road.value("SELECT trial_until FROM provider WHERE name = 'mail'") is None
