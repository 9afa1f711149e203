"""Messages in parts, each with reports of its own; references in several spellings (channels 1.10, 3.4; F30, F31)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Parts, Refused, SendResult, Unknown, Verdict
from varsel.delivery.report import Reports
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import OrderChannel, Recipient


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def place(road: Road, *results: SendResult) -> OrderId:
    """An SMS whose tries end so, one after another."""
    left = list(results)
    road.sms.answers = lambda _: left.pop(0)
    placed = await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    return placed.order_id


def in_parts(*references: str, of: int | None = None) -> Accepted:
    return Accepted(None, segments=len(references), parts=Parts(references, of or len(references)))


async def told(road: Road, reference: str, verdict: Verdict = Verdict.DELIVERED, **changes: Any) -> None:
    values = {"provider": "sms", "channel": Channel.SMS, "reference": reference, "reason": None}
    if verdict is Verdict.FAILED:
        values["reason"] = Reason.UNDELIVERED
    await road.report(None, verdict, **{**values, **changes})


async def report(road: Road, reference: str, verdict: Verdict = Verdict.DELIVERED, **changes: Any) -> None:
    await told(road, reference, verdict, **changes)
    await road.run()


async def closed(road: Road) -> list[tuple[str, str]]:
    found: Sequence[str] = await road.value(
        "SELECT array_agg(provider_ref || ' ' || state || ' ' || state_reason ORDER BY id) FROM delivery_report"
    )
    return [(entry.split(" ")[0], entry.partition(" ")[2]) for entry in found]


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b")])
async def test_a_message_has_arrived_when_all_its_parts_have_in_whatever_order(
    road: Road, order: tuple[str, ...]
) -> None:
    await place(road, in_parts("a", "b", "c"))
    for reference in order[:2]:
        await report(road, reference)
        assert await road.outcomes() == [("sms", "accepted")]
    await report(road, order[2])
    assert await road.outcomes() == [("sms", "delivered")]
    assert [why for _, why in await closed(road)][:2] == [
        f"applied part {'abc'.index(r) + 1} of 3: delivered" for r in order[:2]
    ]


async def test_parts_that_are_reported_at_once_make_the_message_whole(road: Road) -> None:
    await place(road, in_parts("a", "b"))
    for reference in ("a", "b"):
        await told(road, reference)
    await road.run()
    assert await road.outcomes() == [("sms", "delivered")]


async def test_the_same_part_twice_is_not_the_whole(road: Road) -> None:
    await place(road, in_parts("a", "b"))
    for _ in range(3):
        await report(road, "a")
    assert await road.outcomes() == [("sms", "accepted")]


async def test_the_first_part_that_fails_for_good_is_the_fate_of_the_message(road: Road) -> None:
    order = await place(road, in_parts("a", "b", "c"))
    await report(road, "a")
    await report(road, "b", Verdict.FAILED)
    assert await road.outcomes() == [("sms", "Failed_Undelivered")]
    assert await road.state(order) == "Completed"
    await report(road, "c")
    assert await road.outcomes() == [("sms", "Failed_Undelivered")]


async def test_a_part_that_was_only_lost_sight_of_may_still_arrive(road: Road) -> None:
    await place(road, in_parts("a", "b"))
    await report(road, "a", Verdict.FAILED, soft=True)
    assert await road.outcomes() == [("sms", "Failed_Undelivered")]
    await report(road, "b")
    assert await road.outcomes() == [("sms", "Failed_Undelivered")]
    await report(road, "a")
    assert await road.outcomes() == [("sms", "delivered")]


@pytest.mark.assertion("channels-faults", 31)
async def test_the_receipt_of_a_part_whose_next_one_was_refused_is_kept_and_changes_nothing(road: Road) -> None:
    await place(road, Refused(Reason.REJECTED, "part 2 of 3", parts=Parts(("a",), 3)))
    assert await road.outcomes() == [("sms", "Failed_Rejected")]
    await report(road, "a")
    assert await road.outcomes() == [("sms", "Failed_Rejected")]
    assert await closed(road) == [("a", "applied part 1 of 3: delivered")]


async def test_a_part_that_is_on_its_way_does_not_say_that_the_others_left(road: Road) -> None:
    await place(road, Unknown("part 2 of 2", Parts(("a",), 2)))
    await report(road, "a", Verdict.DELAYED)
    assert await road.outcomes() == [("sms", "unknown")]
    assert await closed(road) == [("a", "applied part 1 of 2: delayed")]


async def test_what_is_on_its_way_is_not_sent_again(road: Road) -> None:
    await place(road, Unknown("the answer was lost"))
    (row,) = await road.rows()
    await road.report(row.id, Verdict.DELAYED, provider="sms", channel=Channel.SMS)
    road.clock.advance(timedelta(minutes=16))
    await road.run()
    assert await road.outcomes() == [("sms", "accepted")]
    assert len(road.sms.sent) == 1


async def test_parts_of_two_tries_do_not_add_up_to_a_message(road: Road) -> None:
    await place(road, Unknown("part 2 of 2", Parts(("a",), 2)), in_parts("b", "c"))
    assert await road.outcomes() == [("sms", "unknown")]
    road.clock.advance(timedelta(minutes=16))
    await road.run()
    assert await road.outcomes() == [("sms", "accepted")]
    for reference in ("a", "b"):
        await report(road, reference)
    assert await road.outcomes() == [("sms", "accepted")]
    await report(road, "c")
    assert await road.outcomes() == [("sms", "delivered")]


async def test_a_report_that_overtakes_the_storing_of_its_part_is_tried_again(road: Road) -> None:
    await told(road, "b")
    await road.run()
    await place(road, in_parts("a", "b"))
    await report(road, "a")
    road.clock.advance(timedelta(seconds=30))
    await road.run()
    assert await road.outcomes() == [("sms", "delivered")]


async def test_two_workers_that_apply_one_part_each_make_the_message_whole(road: Road) -> None:
    """Whoever is second waits for the first, and then sees its part."""
    order = await place(road, in_parts(*(f"r{n}" for n in range(20))))
    for number in range(20):
        await told(road, f"r{number}")
    reports = [Reports(road.db, road.clock, road.waker, timedelta(days=14), batch=1) for _ in range(6)]

    async def apply(mine: Reports) -> None:
        while await mine.apply_reports():
            pass

    await asyncio.gather(*map(apply, reports))
    assert await road.outcomes() == [("sms", "delivered")]
    assert await road.state(order) == "Completed"


@pytest.mark.assertion("channels-faults", 40)
async def test_a_reference_that_two_messages_have_is_applied_to_neither(road: Road) -> None:
    """Of parts too."""
    await place(road, in_parts("a", "same"))
    await place(road, Accepted("same"))
    await report(road, "same")
    assert await road.outcomes() == [("sms", "accepted")] * 2
    assert await closed(road) == [("same", "dead AMBIGUOUS_REFERENCE")]


async def test_another_providers_reference_is_not_ours(road: Road) -> None:
    await place(road, in_parts("a", "b"))
    await report(road, "a", provider="other")
    await report(road, "b")
    assert await road.outcomes() == [("sms", "accepted")]


@pytest.mark.assertion("channels-faults", 30)
async def test_a_reference_in_another_spelling_is_found_among_messages_without_a_fate(road: Road) -> None:
    """The answer said 4096 in decimal, the receipt says 1000 in hexadecimal; 1000 is long through."""
    first = await place(road, Accepted("1000"))
    await report(road, "1000")
    second = await place(road, Accepted("4096"))
    await report(road, "1000", Verdict.FAILED, other_references=("3E8", "4096"))
    assert await road.outcomes(first) == [("sms", "delivered")]
    assert await road.outcomes(second) == [("sms", "Failed_Undelivered")]
    await report(road, "1000", Verdict.FAILED, other_references=("3E8", "4096"))
    assert await road.outcomes(first) == [("sms", "delivered")]


async def test_the_spelling_as_it_stands_counts_before_another(road: Road) -> None:
    as_written = await place(road, Accepted("1000"))
    otherwise = await place(road, Accepted("4096"))
    await report(road, "1000", other_references=("3E8", "4096"))
    assert await road.outcomes(as_written) == [("sms", "delivered")]
    assert await road.outcomes(otherwise) == [("sms", "accepted")]


async def test_parts_lie_in_the_partition_of_their_message(road: Road) -> None:
    await place(road, in_parts("a", "b"))
    assert await road.value("SELECT count(*) FROM ONLY message_part_default") == 0
    assert await road.value("SELECT count(*) FROM message_part") == 2
