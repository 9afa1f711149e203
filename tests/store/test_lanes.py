"""Who goes first: instant before ordinary before bulk, and creators in turn inside a lane (design 8; promise 5)."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from instants import ApiProcess
from road import Road, Worker, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Deferred
from varsel.domain.order import Lane, OrderChannel, OrderKind, Recipient


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


async def queued(road: Road, worker: Worker, name: str, recipients: int, creator: str = "ttd") -> None:
    await road.place(
        creator=creator, recipients=tuple(Recipient(email=f"{name}{i}@example.com") for i in range(recipients))
    )
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await worker.resolution.resolve_due(Lane.BULK)


def order_of(road: Road) -> list[str]:
    """Whose messages left, in turn: the letters that their addresses begin with, each once for a run."""
    names = [message.to[0] for message in road.mail.sent]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


@pytest.mark.parametrize(("recipients", "lane"), [(1, Lane.ORDINARY), (99, Lane.ORDINARY), (100, Lane.BULK)])
def test_an_order_of_a_hundred_recipients_is_bulk(recipients: int, lane: Lane, road: Road) -> None:
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(recipients))
    assert road.order(recipients=people).lane is lane
    instant = road.order(
        kind=OrderKind.INSTANT, channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),)
    )
    assert instant.lane is Lane.INSTANT


async def test_what_is_instant_and_comes_again_goes_before_what_is_ordinary_and_that_before_bulk(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    worker = await road.worker()
    await queued(road, worker, "bulk", 300)
    await queued(road, worker, "ordinary", 60)
    road.mail.answers = lambda _: Deferred("busy")
    process = await ApiProcess.begin(road)
    await process.email()  # the server put it off: it goes on as any other
    road.mail.sent.clear()
    road.mail.answers = lambda _: Accepted()
    road.clock.advance(timedelta(seconds=10))
    await road.sweeper().wake_due()
    while await worker.mail.send_due():
        await until(lambda: worker.mail.idle)
    assert [message.to[0] for message in road.mail.sent[1:61]] == ["o"] * 60
    assert len(order_of(road)) == 3
    assert order_of(road)[1:] == ["o", "b"]
    assert len(road.mail.sent) == 361
    await process.end()
    await worker.end(road)


async def test_a_single_message_does_not_wait_for_the_flood_of_another_creator(road: Road) -> None:
    worker = await road.worker()
    for flood in range(8):
        await queued(road, worker, f"a{flood}", 99, creator="a")
    await worker.mail.send_due()
    await until(lambda: worker.mail.idle)
    before = len(road.mail.sent)
    await queued(road, worker, "b", 1, creator="b")
    while await worker.mail.send_due():
        await until(lambda: worker.mail.idle)
    place = [message.to[0] for message in road.mail.sent].index("b")
    assert before < 792 / 2
    assert place - before <= 250  # the next claim has it: each creator gets a share of at most half of 500
    assert len(road.mail.sent) == 793
    await worker.end(road)
