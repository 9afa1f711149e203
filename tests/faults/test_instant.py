"""An instant message, whatever goes wrong: told "no" only when it surely did not leave, and sent once (design 8)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Final

import pytest

from cutting import wire_to
from fakes import FakeProvider
from instants import ApiProcess
from road import LIFETIME, UNKNOWN_WAIT, Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.choice import Routing
from varsel.delivery.ports import Accepted, Blame, Deferred, Email, Indeterminate, Refused, SendResult, Unknown, Verdict
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Reason
from varsel.domain.order import SmsTemplate
from varsel.orders.register import Registered, Repeated

LAPSED = timedelta(minutes=1)
TABLES = ("order_chain", "orders", "order_content", "notification", "claim")


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock, sms=FakeProvider("sms", max_batch=100, step=1000))
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


@pytest.fixture
async def process(road: Road) -> AsyncIterator[ApiProcess]:
    process = await ApiProcess.begin(road)
    yield process
    await process.end()


def always(result: SendResult) -> FakeProvider:
    return FakeProvider("sms", max_batch=100, step=1000, answers=lambda _: result)


async def kept(road: Road) -> dict[str, int]:
    return {table: await road.value(f"SELECT count(*) FROM {table}") for table in TABLES}


NOTHING = dict.fromkeys(TABLES, 0)


@pytest.mark.assertion("processing", 27)
async def test_a_message_that_was_taken_stands_and_lives_as_long_as_was_asked(road: Road, process: ApiProcess) -> None:
    now = road.clock.now()
    placed = await process.sms()
    assert isinstance(placed, Registered)
    [sent] = road.sms.sent
    assert sent.expires_at == now + timedelta(minutes=5)
    [row] = await road.rows()
    assert (row.id, row.state, row.attempts) == (sent.id, "accepted", 1)
    order = "SELECT kind || ' ' || state || ' ' || lane || ' ' || pending FROM orders WHERE chain_id = %(chain)s"
    assert await road.value(order, chain=placed.id) == "Instant Processed 0 1"
    assert await road.value("SELECT expires_at FROM orders") == now + timedelta(minutes=5)
    assert (await kept(road))["claim"] == 0


@pytest.mark.assertion("processing", 28)
async def test_an_instant_email_lives_as_long_as_any_other(road: Road, process: ApiProcess) -> None:
    await process.email()
    [sent] = road.mail.sent
    assert sent.expires_at == road.clock.now() + LIFETIME
    assert isinstance(sent, Email)
    assert (sent.subject, sent.body) == ("Code", "Your code is 123456")


@pytest.mark.assertion("processing", 29)
@pytest.mark.parametrize("retry_after", [None, timedelta(seconds=30)])
async def test_a_provider_that_was_never_reached_leaves_no_trace(road: Road, retry_after: timedelta | None) -> None:
    road.sms = always(Deferred("no connection", Blame.PROVIDER, retry_after))
    process = await ApiProcess.begin(road)
    with pytest.raises(Unavailable):
        await process.sms()
    assert await kept(road) == NOTHING
    road.sms.answers = lambda _: Accepted("ref")
    if retry_after:
        with pytest.raises(Unavailable) as rest:
            await process.sms()
        assert rest.value.retry_after is not None
        assert timedelta(seconds=25) < rest.value.retry_after <= retry_after
        assert len(road.sms.sent) == 1
        async with road.db.autocommit() as conn:  # machine time, which tests do not move
            await conn.execute("UPDATE provider SET paused_until = NULL")
        process = await ApiProcess.begin(road)
    assert isinstance(await process.sms(), Registered)
    await process.end()


async def test_what_one_provider_surely_has_not_another_sends_while_the_sender_waits(road: Road) -> None:
    road.sms = always(Deferred("no connection", Blame.PROVIDER))
    other = FakeProvider("other", max_batch=100, step=1000)
    road.more_sms = [(other, Routing(group=2))]
    process = await ApiProcess.begin(road)
    assert isinstance(await process.sms(), Registered)
    assert (len(road.sms.sent), len(other.sent)) == (1, 1)
    assert await road.value("SELECT array_agg(state || ' ' || provider) FROM notification") == ["accepted other"]
    assert await road.value("SELECT count(*) FROM claim") == 0
    await process.end()


async def test_when_no_provider_was_reached_no_trace_is_left(road: Road) -> None:
    road.sms = always(Deferred("no connection", Blame.PROVIDER))
    road.more_sms = [(FakeProvider("other", answers=lambda _: Deferred("no connection", Blame.PROVIDER)), Routing())]
    process = await ApiProcess.begin(road)
    with pytest.raises(Unavailable):
        await process.sms()
    assert len(road.sms.sent) + len(road.more_sms[0][0].sent) == 2
    assert await kept(road) == NOTHING
    await process.end()


async def test_a_trial_that_comes_to_nothing_leaves_room_for_another(road: Road) -> None:
    road.sms = always(Deferred("login refused", Blame.FAULT))
    process = await ApiProcess.begin(road)
    with pytest.raises(Unavailable):
        await process.sms("first")  # opens the breaker
    road.sms.answers = lambda _: Accepted("ref")
    async with road.db.autocommit() as conn:  # machine time, which tests do not move
        await conn.execute("UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    process = await ApiProcess.begin(road)
    assert isinstance(await process.sms("empty", sms=SmsTemplate("Varsel", "")), Registered)  # cannot be sent
    assert await road.value("SELECT trial_until FROM provider WHERE name = 'sms'") is None
    assert isinstance(await process.sms("second"), Registered)
    assert len(road.sms.sent) == 2
    await process.end()


async def test_without_a_provider_of_the_channel_nothing_is_stored(road: Road) -> None:
    process = await ApiProcess.begin(road, channels=())
    with pytest.raises(Unavailable):
        await process.sms()
    assert await kept(road) == NOTHING


@pytest.mark.assertion("processing", 30)
async def test_a_repeat_is_told_the_first_ids_and_sends_nothing(road: Road, process: ApiProcess) -> None:
    first = await process.sms()
    other = await ApiProcess.begin(road)
    again = await other.sms()
    assert isinstance(again, Repeated)
    assert again.same
    assert isinstance(first, Registered)
    assert again.first.id == first.id
    assert len(road.sms.sent) == 1
    assert isinstance(await other.sms(creator="xyz"), Registered)
    await other.end()


@pytest.mark.assertion("processing", 31)
async def test_of_ten_at_once_in_two_processes_one_is_sent_and_all_hear_of_it(road: Road, process: ApiProcess) -> None:
    road.sms.gate = asyncio.Event()
    other = await ApiProcess.begin(road)
    placed = [asyncio.ensure_future(p.sms()) for p in (process, other) for _ in range(5)]
    await until(lambda: len(road.sms.sent) == 1)
    await asyncio.wait(placed, timeout=0.3)
    assert not any(request.done() for request in placed)  # nobody is answered before it is decided
    road.sms.gate.set()
    answers = await asyncio.gather(*placed)
    assert len(road.sms.sent) == 1
    assert sum(isinstance(answer, Registered) for answer in answers) == 1
    assert len({a.id if isinstance(a, Registered) else a.first.id for a in answers}) == 1
    await other.end()


async def test_repeats_of_what_did_not_leave_are_told_so_too(road: Road, process: ApiProcess) -> None:
    road.sms.answers = lambda _: Deferred("no connection", Blame.PROVIDER)
    road.sms.gate = asyncio.Event()
    placed = [asyncio.ensure_future(process.sms()) for _ in range(3)]
    await until(lambda: len(road.sms.sent) == 1)
    await asyncio.wait(placed, timeout=0.2)
    road.sms.gate.set()
    answers = await asyncio.gather(*placed, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert await kept(road) == NOTHING


@pytest.mark.assertion("processing", 33)
async def test_a_refusal_stands_and_completes_the_order(road: Road, process: ApiProcess) -> None:
    road.sms.answers = lambda _: Refused(Reason.INVALID_RECIPIENT)
    assert isinstance(await process.sms(), Registered)
    assert await road.outcomes() == [("sms", "Failed_InvalidRecipient")]
    assert await road.value("SELECT state FROM orders") == "Completed"
    await road.run()
    [entry] = await road.feed()
    assert (entry["shipmentType"], entry["recipients"][0]["status"]) == ("Instant", "SMS_Failed_InvalidRecipient")


@pytest.mark.assertion("processing", 34)
async def test_what_the_provider_puts_off_stands_and_a_worker_goes_on_soon(road: Road, process: ApiProcess) -> None:
    road.mail.answers = lambda _: Deferred("greylisted")
    assert isinstance(await process.email(), Registered)
    assert await road.outcomes() == [("email", "new")]
    road.mail.answers = lambda _: Accepted()
    road.clock.advance(timedelta(seconds=3))
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]
    assert len(road.mail.sent) == 2


async def test_an_unknown_outcome_stands_and_waits_for_a_report(road: Road, process: ApiProcess) -> None:
    road.sms.answers = lambda _: Unknown("no answer")
    assert isinstance(await process.sms(), Registered)
    assert isinstance(await process.sms(), Repeated)
    assert await road.outcomes() == [("sms", "unknown")]
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    assert len(road.sms.sent) == 1  # it lives for five minutes: too late to try again
    assert await road.outcomes() == [("sms", "expired")]


@pytest.mark.parametrize(("left", "times"), [(timedelta(seconds=31), 2), (timedelta(seconds=30), 1)])
async def test_an_unknown_message_is_sent_again_only_if_that_can_help(road: Road, left: timedelta, times: int) -> None:
    process = await ApiProcess.begin(road, time_to_live=UNKNOWN_WAIT + left)
    road.sms.answers = lambda _: Unknown("no answer")
    await process.sms()
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    assert len(road.sms.sent) == times
    await process.end()


@pytest.mark.assertion("channels", 10)
async def test_a_bug_of_the_adapter_counts_as_unknown(road: Road, process: ApiProcess) -> None:
    def fail(_: str) -> SendResult:
        raise ValueError("a bug")

    road.sms.answers = fail
    assert isinstance(await process.sms(), Registered)
    assert await road.outcomes() == [("sms", "unknown")]


@pytest.mark.assertion("processing", 32)
async def test_a_death_between_commit_and_record_is_unknown_and_the_repeat_hears_the_first_ids(road: Road) -> None:
    road.sms.gate = asyncio.Event()
    dead = await ApiProcess.begin(road)
    lost = asyncio.ensure_future(dead.sms())
    await until(lambda: len(road.sms.sent) == 1)
    chain = await road.value("SELECT id FROM order_chain")
    await dead.die()
    assert isinstance((await asyncio.gather(lost, return_exceptions=True))[0], asyncio.CancelledError)
    assert await road.outcomes() == [("sms", "claimed")]
    assert await road.sweeper().release_lapsed() == 0  # the lease still runs
    assert await road.sweeper(shift=LAPSED).release_lapsed() == 1
    assert await road.outcomes() == [("sms", "unknown")]
    process = await ApiProcess.begin(road)
    again = await process.sms()
    assert isinstance(again, Repeated)
    assert again.first.id == chain
    await road.report(road.sms.sent[0].id, Verdict.DELIVERED, provider="sms", channel="sms")
    await road.run()
    assert await road.outcomes() == [("sms", "delivered")]
    assert len(road.sms.sent) == 1
    await process.end()


async def test_a_process_that_ends_gives_its_message_up_as_unknown(road: Road) -> None:
    road.sms.gate = asyncio.Event()
    process = await ApiProcess.begin(road)
    lost = asyncio.ensure_future(process.sms())
    await until(lambda: len(road.sms.sent) == 1)
    await process.die()
    await process.end()
    await asyncio.gather(lost, return_exceptions=True)
    assert await road.outcomes() == [("sms", "unknown")]
    assert await road.value("SELECT count(*) FROM claim") == 0


async def test_a_client_that_leaves_cancels_nothing(road: Road, process: ApiProcess) -> None:
    road.sms.gate = asyncio.Event()
    gone = asyncio.ensure_future(process.sms())
    await until(lambda: len(road.sms.sent) == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    road.sms.gate.set()
    assert isinstance(await process.sms(), Repeated)
    assert await road.outcomes() == [("sms", "accepted")]


async def test_a_process_that_lost_its_row_stores_nothing(road: Road, process: ApiProcess) -> None:
    await road.sweeper(shift=LAPSED).release_lapsed()
    with pytest.raises(Unavailable):
        await process.sms()
    assert road.sms.sent == []
    assert await kept(road) == NOTHING


async def test_a_claim_that_its_process_never_learnt_of_is_given_up(road: Road, process: ApiProcess) -> None:
    """As after a commit whose outcome the database did not tell."""
    road.sms.gate = asyncio.Event()
    forgotten = asyncio.ensure_future(process.sms())
    await until(lambda: len(road.sms.sent) == 1)
    async with road.db.autocommit() as conn:
        await conn.execute("UPDATE worker SET lease_until = statement_timestamp() + interval '1 hour'")
    assert await road.sweeper(shift=timedelta(seconds=55)).release_lapsed() == 0
    assert await road.outcomes() == [("sms", "claimed")]
    await road.sweeper(shift=timedelta(seconds=65)).release_lapsed()
    assert await road.outcomes() == [("sms", "unknown")]
    road.sms.gate.set()
    assert isinstance(await forgotten, Registered)  # its answer comes too late to be believed, but it may have left
    assert await road.outcomes() == [("sms", "unknown")]


async def test_under_hold_an_unknown_message_is_never_sent_again(road: Road, process: ApiProcess) -> None:
    road.mail.on_indeterminate = Indeterminate.HOLD
    road.mail.answers = lambda _: Unknown("no answer")
    await process.email()
    road.clock.advance(timedelta(hours=1))
    await road.run()
    assert len(road.mail.sent) == 1


async def test_no_more_are_on_their_way_than_the_provider_takes(road: Road, process: ApiProcess) -> None:
    road.sms.gate = asyncio.Event()
    placed = [asyncio.ensure_future(process.sms(f"id {number}")) for number in range(25)]
    await until(lambda: len(road.sms.sent) == 10)
    assert await road.value("SELECT count(*) FROM claim") == 10  # and no more may have left, should we die now
    road.sms.gate.set()
    assert all(isinstance(answer, Registered) for answer in await asyncio.gather(*placed))
    assert len(road.sms.sent) == 25


async def test_a_turn_that_does_not_come_is_told_and_stores_nothing(road: Road) -> None:
    road.mail = FakeProvider("mail", step=1, gate=asyncio.Event())
    process = await ApiProcess.begin(road, patience=timedelta(milliseconds=50))
    first = asyncio.ensure_future(process.email("first"))
    await until(lambda: len(road.mail.sent) == 1)
    with pytest.raises(Unavailable):
        await process.email("second")
    assert (await kept(road))["order_chain"] == 1
    assert road.mail.gate is not None
    road.mail.gate.set()
    assert isinstance(await first, Registered)
    assert isinstance(await process.email("second"), Registered)
    await process.end()


LATE: Final[dict[str, tuple[SendResult, str]]] = {
    "taken": (Accepted("ref"), "accepted"),
    "surely not left": (Deferred("no connection", Blame.PROVIDER), "new"),
    "unknown": (Unknown("no answer"), "unknown"),
}


@pytest.mark.parametrize("how", LATE)
async def test_without_an_outcome_in_time_the_order_stands_whatever_comes_of_it(road: Road, how: str) -> None:
    answer, state = LATE[how]
    road.sms = always(answer)
    road.sms.gate = asyncio.Event()
    process = await ApiProcess.begin(road, decided_within=timedelta(milliseconds=100))
    assert isinstance(await process.sms(), Registered)
    assert await road.outcomes() == [("sms", "claimed")]
    await until(lambda: repeated(process))  # the others are told as soon as it is stored that it stands
    road.sms.gate.set()
    await until(lambda: in_state(road, state))
    assert await road.value("SELECT count(*) FROM claim") == 0
    assert isinstance(await process.sms(), Repeated)
    assert len(road.sms.sent) == 1
    await process.end()


async def repeated(process: ApiProcess) -> bool:
    try:
        return isinstance(await process.sms(), Repeated)
    except Unavailable:
        return False


async def in_state(road: Road, state: str) -> bool:
    return [row.state for row in await road.rows()] == [state]


async def test_a_repeat_waits_for_the_decision_for_so_long_and_no_longer(road: Road, process: ApiProcess) -> None:
    road.sms.gate = asyncio.Event()
    first = asyncio.ensure_future(process.sms())
    await until(lambda: len(road.sms.sent) == 1)
    hasty = await ApiProcess.begin(road, decided_within=timedelta(milliseconds=50))
    with pytest.raises(Unavailable):
        await hasty.sms()
    road.sms.gate.set()
    assert isinstance(await first, Registered)
    assert isinstance(await hasty.sms(), Repeated)
    await hasty.end()


async def test_a_database_that_goes_away_before_the_outcome_is_stored_loses_nothing(
    road: Road, process: ApiProcess
) -> None:
    road.sms.gate = asyncio.Event()
    placed = asyncio.ensure_future(process.sms())
    await until(lambda: len(road.sms.sent) == 1)
    async with road.db.autocommit() as conn:  # every connection but this one
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    road.sms.gate.set()
    assert isinstance(await placed, Registered)
    with suppress(Unavailable):  # the connection that the test reads with was cut, too
        await road.outcomes()
    assert await road.outcomes() == [("sms", "accepted")]


async def test_a_commit_of_unknown_outcome_is_undone_and_the_same_request_may_come_again(
    dsn: str, database: Database, clock: ManualClock
) -> None:
    async with wire_to(dsn) as (wire, over_the_wire):
        cut = Database(over_the_wire, size=4, name="cut")
        await cut.open()
        road = Road(cut, clock)
        process = await ApiProcess.begin(road)
        await process.email("so that the creator is known")
        wire.armed = True
        with pytest.raises(Unavailable):
            await process.email()
        assert wire.cut.is_set()
        count = "SELECT count(*) FROM order_chain"
        await until(lambda: is_value(road, 1, count))
        assert isinstance(await process.email(), Registered)
        assert len(road.mail.sent) == 2
        assert await road.wrong_counters() == 0
        await process.end()
        await road.waker.close()
        await cut.close()


async def is_value(road: Road, value: int, sql: str) -> bool:
    return bool(await road.value(sql) == value)
