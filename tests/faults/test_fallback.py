"""A worker dies while it falls back, or never hears that it was stored: nothing is lost, and nothing is sent twice."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from cutting import wire_to
from fakes import FakeDirectory
from road import LIFETIME, Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict
from varsel.delivery.report import Reports
from varsel.domain.errors import Unavailable
from varsel.domain.ids import OrderId
from varsel.domain.order import OrderChannel, Recipient, SendingTime
from varsel.recipients.ports import PersonContact
from varsel.resolution.fallback import Fallbacks
from varsel.resolution.plan import Rules

KARI = "14838510036"


@dataclass
class StuckDirectory(FakeDirectory):
    """Whoever asks hears nothing."""

    asked_about: asyncio.Event = field(default_factory=asyncio.Event)

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: object) -> Mapping[str, PersonContact]:
        if ids:
            self.asked_about.set()
            await asyncio.Event().wait()
        return {}


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.people = {KARI: PersonContact(reserved=False, email="kari@example.com", mobile="+4799999501")}
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def failing(road: Road) -> OrderId:
    """An order that was sent, and a report that it failed, not applied yet."""
    order = await road.place(
        channel=OrderChannel.EMAIL_PREFERRED,
        recipients=(Recipient(national_identity_number=KARI),),
        sending_time=SendingTime.ANYTIME,
        fallback_until=road.clock.now() + timedelta(hours=24),
    )
    await road.run()
    [row] = await road.rows()
    await road.report(row.id, Verdict.FAILED)
    return order.order_id


async def applied(road: Road, db: Database) -> None:
    await Reports(db, road.clock, road.waker, timedelta(days=14)).apply_reports()


def fallbacks(road: Road, db: Database, directory: FakeDirectory | None = None) -> Fallbacks:
    rules = Rules(road.window, LIFETIME, timedelta())
    return Fallbacks(db, directory or road.directory, road.clock, road.waker, rules)


async def test_a_worker_that_dies_while_it_asks_leaves_it_to_the_next(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    order = await failing(road)
    await applied(road, road.db)
    stuck = StuckDirectory()
    dying = asyncio.ensure_future(fallbacks(road, road.db, stuck).fall_back_due())
    await stuck.asked_about.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    await road.run()
    assert road.sms.sent == []
    assert await road.state(order) == "Processed"
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    assert len(road.sms.sent) == 1


async def test_a_commit_whose_answer_is_lost_opens_it_once(road: Road, dsn: str) -> None:
    await failing(road)
    async with wire_to(dsn) as (wire, over_it):
        db = Database(over_it, size=2, name="cut off")
        await db.open()
        wire.armed = True
        with pytest.raises(Unavailable):
            await applied(road, db)
        await wire.cut.wait()
        await db.close()
    await applied(road, road.db)
    assert await road.value("SELECT count(*) FROM fallback") == 1
    await road.run()
    assert len(road.sms.sent) == 1


async def test_a_commit_whose_answer_is_lost_sends_it_once(road: Road, dsn: str) -> None:
    assert isinstance(road.clock, ManualClock)
    await failing(road)
    await applied(road, road.db)
    async with wire_to(dsn) as (wire, over_it):
        db = Database(over_it, size=2, name="cut off")
        await db.open()
        wire.armed = True
        with pytest.raises(Unavailable):
            await fallbacks(road, db).fall_back_due()
        await wire.cut.wait()
        await db.close()
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    await until(lambda: len(road.sms.sent) == 1)
    assert await road.value("SELECT outcome FROM fallback") == "sent"
