"""Random failures, early and late: whatever is heard and when, each order ends once and nobody is written to twice."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from road import LIFETIME, Road, Row
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import OrderChannel, Recipient, SendingTime
from varsel.recipients.ports import OrganisationContact, PersonContact

START: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
KARI: Final = "14838510036"
FIRM: Final = "310001058"
REACHABLE: Final = PersonContact(False, "kari@example.com", "+4799999501")
RECIPIENTS: Final = {"person": Recipient(national_identity_number=KARI), "firm": Recipient(organisation_number=FIRM)}

_numbers = itertools.count(1)

CHANNELS = st.sampled_from([OrderChannel.EMAIL_PREFERRED, OrderChannel.SMS_PREFERRED])
ORDERS = st.lists(
    st.tuples(st.sampled_from(sorted(RECIPIENTS)), CHANNELS, st.sampled_from(SendingTime)), min_size=1, max_size=3
)
# What happens in turn: to the oldest message that it can happen to, to time, or to the register
USUAL: Final = ["fails", "fails", "arrives", "bounces", "bounces", "fails softly"]
RARE: Final = ["an hour", "a day", "is reserved", "is down", "is up"]
STEPS = st.lists(st.sampled_from([*USUAL, *USUAL, *RARE]), max_size=14)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.official = {
        FIRM: OrganisationContact(("a@example.com", "b@example.com"), ("+4799999502", "+4799999503"), FIRM)
    }
    yield road
    await road.waker.close()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(orders=ORDERS, steps=STEPS)
def test_each_order_ends_once_whatever_fails_and_when(
    road: Road, runner: asyncio.Runner, orders: list[tuple[str, OrderChannel, SendingTime]], steps: list[str]
) -> None:
    runner.run(_live_through(road, orders, steps))


async def _live_through(road: Road, wanted: Sequence[tuple[str, OrderChannel, SendingTime]], steps: list[str]) -> None:
    assert isinstance(road.clock, ManualClock)
    road.clock.set(START)
    road.directory.people, road.directory.down = {KARI: REACHABLE}, False
    creator = f"creator-{next(_numbers)}"
    orders = [
        (
            await road.place(
                creator=creator,
                recipients=(RECIPIENTS[who],),
                channel=channel,
                sending_time=sending_time,
                fallback_until=START + timedelta(hours=30),
            )
        ).order_id
        for who, channel, sending_time in wanted
    ]
    await road.run()
    for step in steps:
        await _happen(road, orders, step)
        await road.run()
        assert await road.wrong_counters() == 0
    road.directory.down = False
    for _ in range(3):
        road.clock.advance(LIFETIME)
        await road.run()
    await _assert_each_ended_once(road, orders)


async def _happen(road: Road, orders: Sequence[OrderId], step: str) -> None:
    assert isinstance(road.clock, ManualClock)
    match step:
        case "an hour":
            road.clock.advance(timedelta(hours=1))
        case "a day":
            road.clock.advance(timedelta(days=1))
        case "is reserved":
            road.directory.people = {KARI: PersonContact(True, REACHABLE.email, REACHABLE.mobile)}
        case "is down" | "is up":
            road.directory.down = step == "is down"
        case _:
            rows = sorted([row for order in orders for row in await road.rows(order)], key=lambda row: row.id)
            arrived = [row for row in rows if row.state == "delivered"]
            under_way = [row for row in rows if row.state == "accepted"]
            if step == "bounces" and arrived:
                await _report(road, arrived[0], step)
            elif under_way:  # what is to bounce has to arrive first
                await _report(road, under_way[0], "arrives" if step == "bounces" else step)


async def _report(road: Road, row: Row, step: str) -> None:
    channel = Channel(row.channel)
    reasons = {"fails": Reason.UNDELIVERED, "bounces": Reason.BOUNCED, "fails softly": Reason.UNSPECIFIED}
    verdict = Verdict.DELIVERED if step == "arrives" else Verdict.FAILED
    await road.report(row.id, verdict, channel=channel, reason=reasons.get(step), soft=step == "fails softly")


async def _assert_each_ended_once(road: Road, orders: Sequence[OrderId]) -> None:
    feed = await road.feed()
    sent = Counter((message.order, message.to) for message in [*road.mail.sent, *road.sms.sent])
    assert set(sent.values()) == {1}
    for order in orders:
        entries = [entry for entry in feed if entry["shipmentId"] == str(order)]
        assert [entry.get("correction", False) for entry in entries] == [False, *[True] * (len(entries) - 1)]
        told = [(r["destination"], r["status"].endswith("Delivered")) for r in entries[-1]["recipients"]]
        assert told == [(row.address, row.state == "delivered") for row in await road.rows(order)]
        assert await road.state(order) == "Completed"
        assert all(row.state in ("delivered", "failed", "expired") for row in await road.rows(order))
    assert await road.value("SELECT count(*) FROM orders WHERE pending <> 0") == 0
    assert await road.value("SELECT count(*) FROM fallback WHERE outcome IS NULL") == 0
    assert await road.wrong_counters() == 0
