"""Orders are accepted many at a time, stored before they are answered, and one bad one spoils nothing (proven 7)."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.order import EmailTemplate, Lane, Recipient
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.status.store import find_orders


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


async def test_many_orders_at_once_are_all_stored_each_under_its_own_id(road: Road) -> None:
    placed = await asyncio.gather(*(road.place(creator=f"c{i % 7}", senders_reference=str(i)) for i in range(500)))
    assert len({p.order_id for p in placed}) == 500
    assert await road.value("SELECT count(*) FROM orders o JOIN order_content c ON c.order_id = o.id") == 500
    assert await road.value("SELECT count(*) FROM creator") == 7


@pytest.mark.assertion("processing", 10)
async def test_an_order_that_cannot_be_stored_fails_alone(road: Road) -> None:
    bad = EmailTemplate("a@example.com", "Subject", "a NUL: \x00")
    orders = [road.place(email=bad) if i % 50 == 3 else road.place() for i in range(200)]
    results = await asyncio.gather(*orders, return_exceptions=True)
    assert sum(isinstance(r, Exception) for r in results) == 4
    assert await road.value("SELECT count(*) FROM orders") == 196


async def test_when_a_register_is_down_nothing_is_stored(road: Road) -> None:
    road.directory.down = True
    people = (Recipient(national_identity_number="14838510036"),)
    with pytest.raises(RegistryUnavailable):
        await road.place(recipients=people)
    assert await road.value("SELECT count(*) FROM orders") == 0


async def test_a_client_that_leaves_cancels_nothing(road: Road) -> None:
    orders = [asyncio.ensure_future(road.place()) for _ in range(20)]
    await asyncio.sleep(0)
    for order in orders[::2]:
        order.cancel()
    await asyncio.gather(*orders, return_exceptions=True)
    assert await road.value("SELECT count(*) FROM orders") == 20


async def test_a_claim_and_a_cancellation_at_once_never_both_win(road: Road) -> None:
    at = road.clock.now() + timedelta(hours=1)
    placed = [await road.place(requested_send_time=at) for _ in range(20)]
    worker = await road.worker()
    now = road.clock.now()
    async with road.db.autocommit() as conn:
        await conn.execute("UPDATE orders SET wake_at = NULL")  # claimable before its time, so that the two can meet

    async def cancel() -> list[Cancellation]:
        limit = timedelta(minutes=5)
        return [await cancel_order(road.db, "ttd", p.order_id, now=now, limit=limit) for p in placed]

    answers, _ = await asyncio.gather(cancel(), worker.resolution.resolve_due(Lane.ORDINARY))
    for order, answer in zip(placed, answers, strict=True):
        cancelled = answer is Cancellation.CANCELLED
        assert await road.state(order.order_id) == ("Cancelled" if cancelled else "Processed")
        assert len(await road.rows(order.order_id)) == (0 if cancelled else 1)


async def test_a_big_order_is_stored_whole(road: Road) -> None:
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(10_000))
    placed = await road.place(recipients=people)
    assert await road.value("SELECT recipients FROM orders WHERE id = %(o)s", o=placed.order_id) == 10_000
    assert await road.value("SELECT lane FROM orders WHERE id = %(o)s", o=placed.order_id) == Lane.BULK


async def test_a_reference_of_any_length_is_stored_and_found(road: Road) -> None:
    long = "".join(secrets.token_hex(32) for _ in range(500))  # longer than a key of an index may be
    placed = [(await road.place(senders_reference=long + end)).order_id for end in ("", "", "x")]
    async with road.db.reading() as conn:
        assert [o.head.id for o in await find_orders(conn, "ttd", long)] == placed[:2]
        assert [o.head.id for o in await find_orders(conn, "ttd", long + "x")] == placed[2:]
