"""Late fallback under many hands: opened once, sent once, and the order counts right (proven 4)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from fakes import FakeDirectory
from road import LIFETIME, Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict
from varsel.delivery.report import Reports
from varsel.domain.order import OrderChannel, Recipient, SendingTime
from varsel.recipients.ports import OrganisationContact
from varsel.resolution.fallback import Fallbacks
from varsel.resolution.plan import Rules

FIRMS = [f"31000{n:04}" for n in range(40)]
EMAILS = 3


@dataclass
class SlowDirectory(FakeDirectory):
    """Everybody who asks about organisations waits for the gate."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        self.waiting += 1
        await self.gate.wait()
        return await super().organisations(numbers)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.official = {
        number: OrganisationContact(
            tuple(f"{number}.{n}@example.com" for n in range(EMAILS)), (f"+479999{number[-4:]}",), number
        )
        for number in FIRMS
    }
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def all_failing(road: Road) -> None:
    """Orders to one organisation each, sent, and reports that each message failed, not applied yet."""
    for number in FIRMS:
        await road.place(
            channel=OrderChannel.EMAIL_PREFERRED,
            recipients=(Recipient(organisation_number=number),),
            sending_time=SendingTime.ANYTIME,
            fallback_until=road.clock.now() + timedelta(hours=24),
        )
    await road.run()
    for row in await road.rows():
        await road.report(row.id, Verdict.FAILED)


def reports(road: Road) -> Reports:
    return Reports(road.db, road.clock, road.waker, timedelta(days=14))


def fallbacks(road: Road, directory: FakeDirectory) -> Fallbacks:
    return Fallbacks(road.db, directory, road.clock, road.waker, Rules(road.window, LIFETIME, timedelta()))


async def test_of_failures_that_come_at_once_exactly_the_last_opens_it(road: Road) -> None:
    await all_failing(road)
    await asyncio.gather(*(reports(road)._apply(7) for _ in range(30)))
    assert await road.value("SELECT count(*) FROM delivery_report WHERE state <> 'applied'") == 0
    assert await road.value("SELECT count(*) FROM fallback") == len(FIRMS)
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed' AND pending = 1") == len(FIRMS)
    assert await road.value("SELECT count(*) FROM feed_pending") == 0


async def test_workers_that_look_it_up_at_once_send_it_once(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    await all_failing(road)
    await reports(road).apply_reports()
    slow = SlowDirectory(official=road.directory.official)
    crowd = []
    for hand in range(1, 4):  # each is so slow that the next one takes it up as well
        crowd.append(asyncio.ensure_future(fallbacks(road, slow).fall_back_due()))
        await until(lambda hand=hand: slow.waiting == hand)
        road.clock.advance(timedelta(minutes=15))
    slow.gate.set()
    assert await asyncio.gather(*crowd) == [len(FIRMS)] * 3
    await road.run()
    assert Counter(message.to for message in road.sms.sent) == {f"+479999{number[-4:]}": 1 for number in FIRMS}
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed' AND pending = 1") == len(FIRMS)


async def test_the_fates_of_its_messages_are_counted_whoever_reports_them(road: Road) -> None:
    await all_failing(road)
    await road.run()
    for row in await road.rows():
        if row.state == "accepted":
            await road.report(row.id, Verdict.DELIVERED)
    await asyncio.gather(*(reports(road)._apply(3) for _ in range(30)))
    await road.run()
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Completed' AND pending = 0") == len(FIRMS)
    assert len(await road.feed()) == len(FIRMS)
