"""The status feed under load: no reader misses an entry, and who waits is told (proven 3, processing 8.3)."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest

from road import Road, until
from serving import Client, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import Recipient
from varsel.fates.store import count_fates
from varsel.orders.register import Register
from varsel.recipients.ports import PersonContact
from varsel.resolution.ports import Verdict as Condition
from varsel.status.feed import FeedReader, number_feed
from varsel.status.feed_store import FeedEntry, read_feed
from varsel.wakeup import Work

FEED: Final = "/notifications/api/v1/future/shipment/feed"
CREATORS: Final = ("ttd", "xyz", 'skd, "quoted" ø')
WAIT: Final = timedelta(seconds=30)  # of readers whose entry comes long before


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


@pytest.fixture
async def reader(database: Database) -> AsyncIterator[FeedReader]:
    reader = FeedReader(database, max_waiting=100)
    yield reader
    await reader.close()


async def processed(road: Road, count: int) -> dict[str, list[OrderId]]:
    """By creator: orders with one message each that has no fate yet."""
    placed = await asyncio.gather(*(road.place(creator=CREATORS[n % len(CREATORS)]) for n in range(count)))
    await road.run()
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed'") == count
    orders: dict[str, list[OrderId]] = {creator: [] for creator in CREATORS}
    for n, registration in enumerate(placed):
        orders[CREATORS[n % len(CREATORS)]].append(registration.order_id)
    return orders


async def complete(road: Road, orders: list[OrderId], dice: random.Random) -> None:
    """Give the last fate of some orders in one transaction, whose commit comes sooner or later."""
    async with road.db.transaction() as conn:
        await execute(
            conn, "UPDATE notification SET state = 'delivered' WHERE order_id = ANY(%(orders)s)", {"orders": orders}
        )
        assert await count_fates(conn, orders, now=road.clock.now()) == set(orders)
        await asyncio.sleep(dice.choice((0, 0, 0.002, 0.02)))  # a slow disk: others overtake


async def follow(reader: FeedReader, creator: str, expected: int, limit: int) -> list[FeedEntry]:
    """A client that keeps only the last number it has read."""
    seen: list[FeedEntry] = []
    while len(seen) < expected:
        page = await reader.read(creator, seq=seen[-1].seq if seen else 0, limit=limit, wait=WAIT)
        assert page, "an entry is missing"
        seen += page
    return seen


@pytest.mark.assertion("processing", 122, 123)
async def test_readers_who_follow_the_numbers_miss_no_entry_of_many_writers(road: Road, reader: FeedReader) -> None:
    orders = await processed(road, 300)
    dice = random.Random(7)  # noqa: S311 - no secret
    queue = [order for created in orders.values() for order in created]
    dice.shuffle(queue)

    async def write() -> None:
        while queue:
            await complete(road, [queue.pop() for _ in range(min(len(queue), dice.randint(1, 4)))], dice)

    async def number() -> None:
        while True:
            await number_feed(road.db)
            await asyncio.sleep(0.001)

    sequencers = [asyncio.create_task(number()) for _ in range(2)]
    readers = [follow(reader, creator, 100, limit) for creator in CREATORS for limit in (1, 7, 500)]
    seen, _ = await asyncio.gather(asyncio.gather(*readers), asyncio.gather(*(write() for _ in range(3))))
    for task in sequencers:
        task.cancel()
    await asyncio.gather(*sequencers, return_exceptions=True)
    for number_, entries in enumerate(seen):
        creator = CREATORS[number_ // 3]
        numbers = [entry.seq for entry in entries]
        assert numbers == sorted(set(numbers))
        assert sorted(entry.order for entry in entries) == sorted(orders[creator])
        assert entries == seen[number_ - number_ % 3]
    assert await road.value("SELECT count(*) FROM feed_pending") == 0


async def test_a_page_of_very_big_entries_ends_early_and_skips_nothing(road: Road) -> None:
    road.directory.people = {}
    people = tuple(Recipient(national_identity_number=f"{n:02}817012345") for n in range(1, 29))
    road.directory.people = {r.national_identity_number or "": PersonContact(reserved=True) for r in people}
    orders = [(await road.place(recipients=people)).order_id for _ in range(5)]
    await road.run()
    size = int(await road.value("SELECT max(pg_column_size(body)) FROM status_feed"))
    async with road.db.reading() as conn:
        for newest_first in (False, True):
            pages, seq = [], 0
            while page := await read_feed(
                conn, "ttd", seq=seq, limit=500, newest_first=newest_first, max_bytes=size + 1
            ):
                pages.append([entry.order for entry in page])
                seq = page[-1].seq
            assert [len(page) for page in pages] == [2, 2, 1]
            assert sorted(order for page in pages for order in page) == sorted(orders)
        (only,) = await read_feed(conn, "ttd", seq=0, limit=500, newest_first=False, max_bytes=1)
        assert len(only.recipients) == len(people)


# Who is told


@pytest.mark.parametrize("stopped", [False, True])
async def test_an_order_that_ends_when_it_is_resolved_wakes_the_sequencer(road: Road, stopped: bool) -> None:
    listener = road.db.listen(Work.FEED.value)
    assert isinstance(listener, AsyncGenerator)
    assert await anext(listener) is None
    if stopped:
        road.conditions.answers = [Condition.NOT_MET]
        await road.place(condition_endpoint="https://a.example/")
        await road.run()
    else:
        await pending(road, "ttd")
    assert await asyncio.wait_for(anext(listener), 4) == "varsel_feed:"
    await listener.aclose()


@contextmanager
def waiting(reader: FeedReader, *creators: str, seq: int = 0) -> Iterator[list[asyncio.Task[list[FeedEntry]]]]:
    tasks = [asyncio.create_task(reader.read(creator, seq=seq, limit=500, wait=WAIT)) for creator in creators]
    yield tasks
    for task in tasks:
        task.cancel()


async def listening(road: Road) -> int:
    return int(
        await road.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'LISTEN %%feed%%'"
        )
    )


async def heard(road: Road) -> None:
    """Until somebody waits, and hears what is announced."""

    async def one() -> bool:
        return await listening(road) == 1

    await until(one)


async def pending(road: Road, creator: str) -> OrderId:
    """An order that is complete, and waits for its number."""
    road.directory.people = {"01817012345": PersonContact(reserved=True)}
    recipients = (Recipient(national_identity_number="01817012345"),)
    placed = await road.place(creator=creator, recipients=recipients)
    worker = await road.worker()
    await worker.round()
    await worker.end(road)
    return placed.order_id


async def test_fifty_who_wait_share_one_connection_and_only_those_concerned_are_answered(
    road: Road, reader: FeedReader
) -> None:
    with waiting(reader, *["ttd"] * 25, *["xyz"] * 25) as tasks:
        await heard(road)
        order = await pending(road, "ttd")
        await number_feed(road.db)
        answers = await asyncio.wait_for(asyncio.gather(*tasks[:25]), 4)  # the safety net would take 5 s
        assert [[entry.order for entry in answer] for answer in answers] == [[order]] * 25
        assert not any(task.done() for task in tasks[25:])
        assert await listening(road) == 1


@pytest.mark.parametrize("creator", CREATORS)
async def test_a_creator_who_waits_before_the_first_order_is_told(road: Road, reader: FeedReader, creator: str) -> None:
    with waiting(reader, creator) as (task,):
        await heard(road)
        order = await pending(road, creator)
        await number_feed(road.db)
        assert [entry.order for entry in await asyncio.wait_for(task, 4)] == [order]


async def test_who_waits_is_told_after_the_listening_connection_was_lost(road: Road, reader: FeedReader) -> None:
    with waiting(reader, "ttd") as (task,):
        await heard(road)
        order = await pending(road, "ttd")
        await road.value(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND query ILIKE 'LISTEN %%feed%%'"""
        )
        await number_feed(road.db)
        assert [entry.order for entry in await asyncio.wait_for(task, 8)] == [order]


async def test_very_many_creators_at_once_are_announced_without_their_names(road: Road, reader: FeedReader) -> None:
    with waiting(reader, "c1199") as (task,):
        await heard(road)
        async with road.db.autocommit() as conn:
            await execute(
                conn,
                "INSERT INTO creator (name, created_at) SELECT 'c' || n, now() FROM generate_series(1, 1200) AS n",
                {},
            )
            await execute(
                conn,
                """INSERT INTO feed_pending (creator_id, order_id, created_at, body)
                   SELECT id, %(order)s, now(), %(body)s::jsonb FROM creator""",
                {"order": uuid7(), "body": json.dumps(_body(uuid7()))},
            )
        assert await number_feed(road.db) == 1_200
        assert len(await asyncio.wait_for(task, 4)) == 1


def _body(order: UUID) -> dict[str, object]:
    return {
        "shipmentId": str(order),
        "shipmentType": "Notification",
        "status": "Order_Completed",
        "lastUpdate": "2026-11-23T10:00:00.000000Z",
        "recipients": [],
    }


async def test_nobody_waits_for_what_is_there_or_beyond_the_number_that_may_wait(road: Road) -> None:
    order = await pending(road, "ttd")
    await number_feed(road.db)
    few = FeedReader(road.db, max_waiting=1)
    (entry,) = await asyncio.wait_for(few.read("ttd", seq=0, limit=1, wait=WAIT), 4)
    assert entry.order == order
    with waiting(few, "ttd", seq=entry.seq) as (first,):
        await heard(road)
        assert await asyncio.wait_for(few.read("ttd", seq=entry.seq, limit=1, wait=WAIT), 4) == []
        assert not first.done()
        few.end_waiting()
        assert await asyncio.wait_for(first, 4) == []
        assert await asyncio.wait_for(few.read("ttd", seq=entry.seq, limit=1, wait=WAIT), 4) == []
    await few.close()


async def test_whoever_has_left_does_not_go_on_waiting(road: Road, reader: FeedReader) -> None:
    left = asyncio.Event()

    async def gone() -> bool:
        return left.is_set()

    task = asyncio.create_task(reader.read("ttd", seq=0, limit=1, wait=WAIT, gone=gone))
    await heard(road)
    left.set()
    await pending(road, "ttd")
    await number_feed(road.db)
    assert await asyncio.wait_for(task, 4) == []


async def test_a_request_that_waits_is_answered_when_the_order_completes(
    road: Road, clock: ManualClock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    register = Register(road.db, road.directory, clock, road.waker)
    parts = make_parts(tmp_path_factory.mktemp("home"), clock, road.db, register.register_order)
    assert parts.issuer
    client = Client(0, parts.issuer)
    async with serving(create_app(parts)) as client.port:
        (order,) = (await processed(road, 1))["ttd"]
        asking = asyncio.create_task(client.aget(f"{FEED}?wait=300"))
        await heard(road)
        (row,) = await road.rows(order)
        await road.report(row.id, Verdict.DELIVERED)
        await road.run()
        reply = await asyncio.wait_for(asking, 4)
        assert [entry["shipmentId"] for entry in reply.json] == [str(order)]
        empty = asyncio.create_task(client.aget(f"{FEED}?wait=60&seq={reply.json[0]['sequenceNumber']}"))
        nobody = asyncio.create_task(client.aget(f"{FEED}?wait=1", org="nobody"))
        assert (await asyncio.wait_for(nobody, 10)).json == []
        parts.feed.end_waiting()  # the process ends
        assert (await asyncio.wait_for(empty, 4)).json == []
    await parts.feed.close()
    await register.close()
