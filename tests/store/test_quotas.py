"""Creators' counters in the database: nobody gets over a limit, and what is not used comes back (channels 6.3)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import FakeProvider
from instants import ApiProcess
from quota_data import limits
from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Blame, Deferred
from varsel.domain.errors import OverLimit, RegistryUnavailable, Unavailable
from varsel.domain.ids import ChainId, OrderId, uuid7
from varsel.domain.order import Chain, EmailTemplate, OrderChannel, OrderFamily, Recipient
from varsel.domain.quota import Counter
from varsel.orders.cancel import Cancellation, cancel_order, cancel_orders
from varsel.orders.register import ChainOutcome, Register, Registered, Repeated, Unreachable

LIMIT = timedelta(minutes=5)
LATER = timedelta(hours=1)
UNKNOWN = Recipient(national_identity_number="22957713118")


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    await road.waker.close()


def limited(road: Road, configured: Mapping[Counter, int], processes: int = 1) -> list[Register]:
    """Intakes of as many processes, over the same database."""
    return [
        Register(road.db, road.directory, road.clock, road.waker, limits=limits(configured)) for _ in range(processes)
    ]


async def used(road: Road, counter: Counter = Counter.EMAIL_RECIPIENTS) -> float | None:
    sql = "SELECT sum(used) FROM quota WHERE counter = %(counter)s"
    found: float | None = await road.value(sql, counter=counter.value)
    return found


def people(count: int) -> tuple[Recipient, ...]:
    return tuple(Recipient(email=f"p{i}@example.com") for i in range(count))


async def chain(register: Register, road: Road, key: str, **changes: Any) -> ChainOutcome:
    """One order in a chain."""
    id_ = ChainId(uuid7())
    order = road.order(chain=id_, **changes)
    return await register.register_chain(Chain(id_, order.creator, key, OrderFamily.CHAIN, b"hash"), [order])


@pytest.mark.assertion("channels", 99)
async def test_the_first_recipient_over_the_limit_is_refused_and_nothing_of_the_order_is_stored(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 10})
    await register.register_order(road.order(recipients=people(8)))
    with pytest.raises(OverLimit) as refused:
        await register.register_order(road.order(recipients=people(3)))
    assert (refused.value.code, refused.value.limit) == ("emailRecipientsPerDay", 10)
    assert refused.value.until == datetime(2026, 11, 23, 23, tzinfo=UTC)  # midnight in Oslo
    await register.register_order(road.order(recipients=people(2)))
    with pytest.raises(OverLimit):
        await register.register_order(road.order())
    assert await road.value("SELECT array_agg(recipients ORDER BY id) FROM orders") == [8, 2]
    assert await road.value("SELECT count(*) FROM order_content") == 2


@pytest.mark.assertion("channels", 99)
@pytest.mark.parametrize("processes", [1, 2])
async def test_however_many_ask_at_once_all_of_the_limit_is_handed_out_and_no_more(road: Road, processes: int) -> None:
    registers = limited(road, {Counter.EMAIL_RECIPIENTS: 61}, processes)
    orders = [road.order(recipients=people(1 + i % 3)) for i in range(60)]
    answers = await asyncio.gather(
        *(registers[i % processes].register_order(order) for i, order in enumerate(orders)), return_exceptions=True
    )
    assert {type(a) for a in answers if isinstance(a, Exception)} == {OverLimit}
    assert await road.value("SELECT sum(recipients)::int FROM orders") == 61 == await used(road)


@pytest.mark.assertion("channels", 99)
async def test_two_processes_never_both_take_the_last_unit(road: Road) -> None:
    for round_ in range(10):
        registers = limited(road, {Counter.EMAIL_RECIPIENTS: 1}, 2)
        creator = f"creator-{round_}"
        answers = await asyncio.gather(
            *(register.register_order(road.order(creator=creator)) for register in registers), return_exceptions=True
        )
        assert sorted(isinstance(answer, OverLimit) for answer in answers) == [False, True]


async def test_who_is_over_a_limit_does_not_hold_up_others_of_the_same_batch(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 5})
    orders = [road.order(creator=f"c{i % 4}", recipients=people(1 + i % 2 * 9)) for i in range(16)]
    answers = await asyncio.gather(*(register.register_order(order) for order in orders), return_exceptions=True)
    assert [isinstance(answer, OverLimit) for answer in answers] == [i % 2 == 1 for i in range(16)]
    assert await road.value("SELECT count(DISTINCT xmin::text) FROM orders") == 1  # one transaction for all


@pytest.mark.assertion("channels", 99)
async def test_a_cancelled_order_returns_its_share_once(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 10})
    at = road.clock.now() + LATER
    placed = [await register.register_order(road.order(recipients=people(5), requested_send_time=at)) for _ in range(2)]
    for _ in range(3):
        answer = await cancel_order(road.db, "ttd", placed[0].order_id, now=road.clock.now(), limit=LIMIT)
        assert answer is Cancellation.CANCELLED
    assert await used(road) == 5
    await register.register_order(road.order(recipients=people(5)))
    with pytest.raises(OverLimit):
        await register.register_order(road.order())


async def test_orders_that_are_cancelled_together_return_their_shares_together(road: Road) -> None:
    (register,) = limited(road, dict.fromkeys(Counter, 100))
    at = road.clock.now() + LATER
    for _ in range(3):
        order = road.order(
            channel=OrderChannel.EMAIL_AND_SMS,
            recipients=(UNKNOWN,),
            requested_send_time=at,
            senders_reference="case",
        )
        await register.register_order(order)
    assert (await used(road), await used(road, Counter.SMS_RECIPIENTS)) == (3, 3)
    done = await cancel_orders(road.db, "ttd", "case", now=road.clock.now(), limit=LIMIT)
    assert done.cancelled == 3
    assert (await used(road), await used(road, Counter.SMS_RECIPIENTS)) == (0, 0)


async def test_what_was_taken_on_another_day_is_not_returned_to_this_one(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 10})
    at = road.clock.now() + timedelta(days=3)
    old = await register.register_order(road.order(recipients=people(4), requested_send_time=at))
    road.clock.advance(timedelta(days=1))
    await register.register_order(road.order(recipients=people(3)))
    await cancel_order(road.db, "ttd", old.order_id, now=road.clock.now(), limit=LIMIT)
    assert await used(road) == 3


async def test_the_count_begins_anew_at_midnight_in_oslo(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 1})
    road.clock.set(datetime(2026, 7, 1, 21, 59, 59, tzinfo=UTC))
    await register.register_order(road.order())
    with pytest.raises(OverLimit):
        await register.register_order(road.order())
    road.clock.advance(timedelta(seconds=1))
    await register.register_order(road.order())
    road.clock.advance(timedelta(seconds=-1))  # of a host whose clock is behind
    with pytest.raises(OverLimit):
        await register.register_order(road.order())


async def test_a_repeat_takes_nothing_and_is_answered_over_any_limit(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 1, Counter.EMAIL_REQUESTS: 3})
    first = await chain(register, road, "key")
    assert isinstance(first, Registered)
    for _ in range(3):
        again = await chain(register, road, "key")
        assert isinstance(again, Repeated)
        assert again.first.id == first.id
    assert (await used(road), await used(road, Counter.EMAIL_REQUESTS)) == (1, 1)


@pytest.mark.parametrize("limit", [1, 40])
async def test_equal_requests_at_once_are_counted_once(road: Road, limit: int) -> None:
    registers = limited(road, {Counter.EMAIL_RECIPIENTS: limit}, 2)
    answers = await asyncio.gather(*(chain(registers[i % 2], road, "key") for i in range(20)), return_exceptions=True)
    stored = [answer for answer in answers if isinstance(answer, Registered)]
    assert len(stored) == 1
    told = {answer.first.id for answer in answers if isinstance(answer, Repeated)}
    assert told == {stored[0].id}
    assert all(isinstance(answer, Registered | Repeated | OverLimit) for answer in answers)
    assert await used(road) == 1


async def test_orders_that_are_not_stored_take_nothing(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 10})
    with pytest.raises(Exception, match="NUL"):
        await register.register_order(road.order(email=EmailTemplate("a@example.com", "Subject", "a NUL: \x00")))
    assert isinstance(await chain(register, road, "key", recipients=(UNKNOWN,)), Unreachable)
    road.directory.down = True
    with pytest.raises(RegistryUnavailable):
        await register.register_order(road.order(recipients=(UNKNOWN,)))
    assert await used(road) in (0, None)


async def test_instant_messages_have_limits_of_their_own(road: Road) -> None:
    road.limits = limits({Counter.INSTANT_SMS: 2, Counter.SMS_RECIPIENTS: 1})
    process = await ApiProcess.begin(road)
    first = await process.sms("1")
    again = await process.sms("1")
    assert isinstance(first, Registered)
    assert isinstance(again, Repeated)
    await process.sms("2")
    with pytest.raises(OverLimit) as refused:
        await process.sms("3")
    assert refused.value.code == "instantSmsPerDay"
    assert len(road.sms.sent) == 2
    assert await road.value("SELECT count(*) FROM orders") == 2
    await process.end()


async def test_an_instant_message_that_surely_did_not_leave_takes_nothing(road: Road) -> None:
    road.limits = limits({Counter.INSTANT_SMS: 1})
    road.sms = FakeProvider("sms", answers=lambda _: Deferred("no connection", Blame.PROVIDER))
    process = await ApiProcess.begin(road)
    with pytest.raises(Unavailable):
        await process.sms()
    assert await used(road, Counter.INSTANT_SMS) == 0
    await process.end()


async def test_equal_instant_messages_at_once_are_counted_once(road: Road) -> None:
    road.limits = limits({Counter.INSTANT_SMS: 5})
    process = await ApiProcess.begin(road)
    answers = await asyncio.gather(*(process.sms() for _ in range(5)))
    assert sum(isinstance(answer, Registered) for answer in answers) == 1
    assert await used(road, Counter.INSTANT_SMS) == 1
    await process.end()


async def test_requests_flow_from_a_bucket_that_is_refilled_by_the_databases_clock(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_REQUESTS: 6})  # 3 in the bucket, one more every 10 s
    for _ in range(3):
        await register.register_order(road.order())
    with pytest.raises(OverLimit) as refused:
        await register.register_order(road.order())
    assert (refused.value.code, refused.value.limit) == ("emailRequestsPerMinute", 6)
    assert timedelta() < refused.value.wait <= timedelta(seconds=10)
    async with road.db.autocommit() as conn:
        await conn.execute("UPDATE quota SET at = at - interval '10 seconds'")
    await register.register_order(road.order())


async def test_without_limits_no_counter_is_touched(road: Road) -> None:
    (register,) = limited(road, {Counter.SMS_RECIPIENTS: 5})
    placed = await register.register_order(road.order(requested_send_time=road.clock.now() + LATER))
    await cancel_order(road.db, "ttd", placed.order_id, now=road.clock.now(), limit=LIMIT)
    assert await road.value("SELECT count(*) FROM quota") == 0
    assert await road.value("SELECT quota FROM order_content") is None


async def test_while_there_is_plenty_many_orders_need_one_statement(road: Road) -> None:
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 100_000})
    for _ in range(3):
        await asyncio.gather(*(register.register_order(road.order()) for _ in range(20)))
        assert (
            await used(road) == 20 + 100
        )  # what the first of them took: a thousandth of the limit more than it needed
    await register.register_order(road.order(recipients=people(61)))
    assert await used(road) == 121 + 100
    await register.close()
    assert await used(road) == 121 == await road.value("SELECT sum(recipients)::int FROM orders")


async def test_what_was_in_reserve_is_gone_with_its_day(road: Road) -> None:
    assert isinstance(road.clock, ManualClock)
    (register,) = limited(road, {Counter.EMAIL_RECIPIENTS: 100_000})
    await register.register_order(road.order())
    road.clock.advance(timedelta(days=1))
    await register.register_order(road.order())
    assert await used(road) == 101
    await register.close()
    assert await used(road) == 1


async def test_near_the_limit_nothing_is_kept_in_reserve_and_no_unit_is_handed_out_twice(road: Road) -> None:
    registers = limited(road, {Counter.EMAIL_RECIPIENTS: 5_000}, 2)  # a reserve of 5 each
    answers = await asyncio.gather(
        *(registers[i % 2].register_order(road.order(recipients=people(45))) for i in range(120)),
        return_exceptions=True,
    )
    stored = await road.value("SELECT sum(recipients)::int FROM orders")
    assert {type(a) for a in answers if isinstance(a, Exception)} == {OverLimit}
    assert 5_000 - 45 - 2 * 5 <= stored <= 5_000
    for register in registers:
        await register.close()
    assert await used(road) == stored


async def test_takers_and_cancellers_of_many_counters_never_block_each_other(road: Road) -> None:
    configured = {Counter.EMAIL_RECIPIENTS: 900, Counter.SMS_RECIPIENTS: 900, Counter.EMAIL_REQUESTS: 30_000}
    registers = limited(road, configured, 3)
    at = road.clock.now() + LATER

    async def place_and_cancel(number: int) -> OrderId:
        order = road.order(
            creator=f"c{number % 3}",
            channel=OrderChannel.EMAIL_AND_SMS,
            recipients=(UNKNOWN,),
            requested_send_time=at,
        )
        await registers[number % 3].register_order(order)
        await cancel_order(road.db, order.creator, order.id, now=road.clock.now(), limit=LIMIT)
        return order.id

    await asyncio.gather(*(place_and_cancel(number) for number in range(120)))
    assert (await used(road), await used(road, Counter.SMS_RECIPIENTS)) == (0, 0)
