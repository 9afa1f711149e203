"""Bulk jobs from the file to every row's fate: nothing is sent unconfirmed, lost, or sent twice (docs/bulk.md)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from bulk_world import (
    INGRID,
    MAIL_ONLY,
    NOBODY,
    RESERVED,
    TO_ADDRESSES,
    TO_PEOPLE,
    BulkWorld,
    addresses,
    bulk_world,
    lines,
)
from varsel.bulk import store
from varsel.bulk.job import Duplicates, Flaw, JobState, RowProblem, RowState, Summary
from varsel.bulk.owner import NoSuchJob
from varsel.bulk.retention import prune_bulk, see_corrections
from varsel.bulk.table import BadFile
from varsel.bulk.turn import LEASE
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Confirms, Refused, Verdict
from varsel.domain.errors import Rejected, Unavailable
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Chain, Order
from varsel.domain.quota import Counter as Limited
from varsel.domain.quota import Limit
from varsel.orders.register import ChainOutcome
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices

PEOPLE = lines(
    ["fnr", "navn", "sak"],
    [INGRID, "Ingrid", "1"],  # line 2
    [MAIL_ONLY, "Marit", "2"],
    [RESERVED, "Siri", "3"],
    [NOBODY, "Nils", "4"],
    ["12345", "Feil", "5"],
    [INGRID, "Ingrid", "1"],
    [INGRID, "", "7"],
    [INGRID, "Ingrid", "8"],
)


@pytest.fixture
async def w(database: Database, clock: ManualClock) -> AsyncIterator[BulkWorld]:
    async with bulk_world(database, clock) as world:
        yield world


async def test_the_check_tells_bad_rows_by_line_and_column_repeats_and_how_the_others_would_be_reached(
    w: BulkWorld,
) -> None:
    ready = await w.checked(PEOPLE)
    assert ready.job.state is JobState.READY
    assert ready.problems == [
        RowProblem(6, "fnr", Flaw.NOT_A_PERSON),
        RowProblem(8, "navn", Flaw.EMPTY),
    ]
    assert ready.repeated == [7]
    assert ready.job.summary == Summary(
        sms=2, email=1, reserved=1, without_contact=1, sms_parts=2, unpriced=3, repeated=1
    )
    assert ready.progress.counts == {RowState.READY: 5, RowState.BAD: 2, RowState.DUPLICATE: 1}
    assert await w.orders() == 0


async def test_the_check_knows_what_it_will_cost(w: BulkWorld) -> None:
    w.previewer = Previewer(
        w.road.directory, w.road.clock, w.previewer._rules, Prices("NOK", Decimal("0.01"), {"+47": Decimal("0.25")})
    )
    w.turns = w.worker()
    ready = await w.checked(PEOPLE, replace(TO_PEOPLE, duplicates=Duplicates.SEND))
    assert (ready.job.summary.cost, ready.job.summary.unpriced) == (Decimal("0.76"), 0)
    assert ready.progress[RowState.READY] == 6


async def test_another_wish_is_checked_anew(w: BulkWorld) -> None:
    first = await w.checked(PEOPLE)
    job = await w.bulk.configure(first.job, replace(TO_PEOPLE, duplicates=Duplicates.SEND, sms=None, email=None))
    job = await w.bulk.configure(job, TO_PEOPLE)
    while (again := await w.bulk.standing(job.id, None)).job.state is JobState.CHECKING:
        await w.turns.take_turn()
    assert again.progress == first.progress
    assert again.job.summary == first.job.summary


async def test_every_row_gets_its_fate_and_the_result_file_tells_it(w: BulkWorld) -> None:
    w.road.sms.answers = lambda _: Refused(Reason.BARRED_RECEIVER, "barred")
    job = await w.confirmed(PEOPLE)
    done = await w.to_the_end(job)
    assert done.job.state is JobState.FINISHED
    assert done.progress.counts == {
        RowState.FAILED: 2,
        RowState.UNCONFIRMED: 1,
        RowState.NOT_SENT: 1,
        RowState.UNREACHABLE: 1,
        RowState.BAD: 2,
        RowState.DUPLICATE: 1,
    }
    assert sorted(message.to for message in w.road.sms.sent) == ["+4799999501", "+4799999501"]
    header, *rows = await w.results(job)
    assert header == "line,recipient,fate,why,messages,orderId"
    told = [row.split(",") for row in rows]
    assert [(line, who, fate) for line, who, fate, *_ in told] == [
        ("2", INGRID, "failed"),
        ("3", MAIL_ONLY, "unconfirmed"),
        ("4", RESERVED, "notSent"),
        ("5", NOBODY, "unreachable"),
        ("6", "12345", "bad"),
        ("7", INGRID, "duplicate"),
        ("8", INGRID, "bad"),
        ("9", INGRID, "failed"),
    ]
    assert told[0][4] == "SMS_Failed_BarredReceiver"
    assert told[1][4] == "Email_Succeeded"


async def test_nothing_is_sent_before_the_right_number_is_confirmed(w: BulkWorld) -> None:
    draft = await w.upload(PEOPLE)
    for premature in (draft, (await w.checked(PEOPLE)).job):
        with pytest.raises(Rejected):
            await w.bulk.confirm(premature, rows=8, leave_out_bad=True)
    ready = await w.checked(PEOPLE)
    with pytest.raises(Rejected) as refused:
        await w.bulk.confirm(ready.job, rows=5, leave_out_bad=False)
    assert refused.value.code == "bad-rows"
    for _ in range(3):
        await w.turns.take_turn()
    assert await w.orders() == 0
    job = await w.bulk.confirm(ready.job, rows=5, leave_out_bad=True)
    assert (await w.bulk.confirm(job, rows=5, leave_out_bad=True)).confirmed_at == job.confirmed_at
    with pytest.raises(Rejected):
        await w.bulk.configure(job, TO_PEOPLE)
    await w.to_the_end(job)
    assert len(w.road.mail.sent + w.road.sms.sent) == 3


@pytest.mark.parametrize("killed_at", [0, 1, 150, 499, 500])
@pytest.mark.parametrize("then", ["go on", "pause", "stop"])
async def test_a_worker_killed_while_it_orders_loses_no_row_and_orders_none_twice(
    w: BulkWorld, killed_at: int, then: str
) -> None:
    job = await w.confirmed(addresses(700), TO_ADDRESSES)
    died, asked = asyncio.Event(), 0

    async def place(chain: Chain, orders: Sequence[Order]) -> ChainOutcome:
        nonlocal asked
        asked += 1
        if asked > killed_at:
            died.set()
            await asyncio.Event().wait()
        return await w.road._register.register_chain(chain, orders)

    turn = asyncio.create_task(w.worker(place).take_turn())
    await asyncio.wait([turn, asyncio.create_task(died.wait())], return_when=asyncio.FIRST_COMPLETED)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    await w.road._register.close()  # what was under way there is committed: a process may die right after
    assert await w.orders() <= 500
    w.turns = w.worker()
    if then == "go on":
        done = await w.to_the_end(job)
        assert done.progress.counts == {RowState.UNCONFIRMED: 700}
    elif then == "stop":
        await w.bulk.stop(job)
        done = await w.to_the_end(job)
        sent = len(w.road.mail.sent)
        assert done.progress.counts == {RowState.UNCONFIRMED: sent, RowState.STOPPED: 700 - sent}
    else:
        await w.bulk.pause(job)
        for _ in range(3):
            await w.turns.take_turn()
            await w.road.run()
        assert await w.orders() == len(w.road.mail.sent) == 700 - (await w.states(job))[RowState.READY]
        await w.bulk.resume(job)
        assert (await w.to_the_end(job)).progress[RowState.UNCONFIRMED] == 700
    assert max(Counter(message.to for message in w.road.mail.sent).values()) == 1
    assert await w.orders() == len(w.road.mail.sent)


async def test_many_workers_share_jobs_without_ordering_a_row_twice(w: BulkWorld) -> None:
    jobs = [await w.confirmed(addresses(1_200), TO_ADDRESSES) for _ in range(3)]
    workers = [w.worker() for _ in range(4)]
    for _ in range(9):
        await asyncio.gather(*(worker.take_turn() for worker in workers))
    assert await w.orders() == 3_600
    for job in jobs:
        assert (await w.to_the_end(job)).progress.counts == {RowState.UNCONFIRMED: 1_200}
    assert len(w.road.mail.sent) == 3_600


async def test_whoever_lost_its_turn_changes_nothing(w: BulkWorld) -> None:
    job = await w.confirmed(addresses(3), TO_ADDRESSES)
    slow = uuid4()
    async with w.road.db.autocommit() as conn:
        assert await store.take(conn, slow, lease=timedelta(), pause=timedelta())
        other = await store.take(conn, uuid4(), lease=LEASE, pause=timedelta())
        assert other
        assert other.id == job.id
        assert not await store.hold(conn, job.id, slow, lease=LEASE)
        assert not await store.doubt(conn, job.id, slow, 3)
        assert await store.take(conn, uuid4(), lease=LEASE, pause=timedelta()) is None


async def test_a_job_orders_no_further_ahead_than_it_may_and_pauses_resumes_and_stops(w: BulkWorld) -> None:
    w.ahead = 4
    w.turns = w.worker()
    job = await w.confirmed(addresses(10), TO_ADDRESSES)
    for _ in range(3):
        await w.turns.take_turn()
    assert await w.orders() == 4
    await w.bulk.pause(job)
    await w.road.run()
    for _ in range(3):
        await w.turns.take_turn()
    assert await w.states(job) == {RowState.UNCONFIRMED: 4, RowState.READY: 6}
    await w.bulk.resume(job)
    for _ in range(3):
        await w.turns.take_turn()
    assert await w.states(job) == {RowState.UNCONFIRMED: 4, RowState.ORDERED: 4, RowState.READY: 2}
    await w.bulk.stop(job)
    done = await w.to_the_end(job)
    assert done.job.state is JobState.STOPPED
    assert done.progress.counts == {RowState.UNCONFIRMED: 8, RowState.STOPPED: 2}
    for act in (w.bulk.pause, w.bulk.resume, w.bulk.stop):
        with pytest.raises(Rejected):
            await act(done.job)


async def test_a_job_waits_for_its_time(w: BulkWorld) -> None:
    at = w.road.clock.now() + timedelta(hours=3)
    job = await w.confirmed(addresses(2), replace(TO_ADDRESSES, send_at=at))
    for _ in range(3):
        await w.turns.take_turn()
    assert await w.orders() == 0
    w.road.clock.advance(timedelta(hours=3))
    assert (await w.to_the_end(job)).progress[RowState.UNCONFIRMED] == 2


async def test_a_job_that_meets_a_limit_goes_on_when_there_is_room_again(
    database: Database, clock: ManualClock
) -> None:
    limit = {Limited.EMAIL_RECIPIENTS: Limit.of(Limited.EMAIL_RECIPIENTS, 5)}
    async with bulk_world(database, clock, limits=lambda _: limit) as w:
        job = await w.confirmed(addresses(8), TO_ADDRESSES)
        for _ in range(4):
            await w.turns.take_turn()
        waiting = await w.bulk.standing(job.id, None)
        assert (await w.orders(), waiting.job.why_waits) == (5, Limited.EMAIL_RECIPIENTS)
        assert waiting.job.wake_at
        assert waiting.job.wake_at > clock.now()
        clock.advance(waiting.job.wake_at - clock.now())
        done = await w.to_the_end(job)
        assert (done.progress[RowState.UNCONFIRMED], done.job.why_waits) == (8, None)


async def test_while_a_register_is_down_check_and_sending_wait_and_lose_nothing(w: BulkWorld) -> None:
    w.road.directory.down = True
    job = await w.bulk.configure(await w.upload(PEOPLE), TO_PEOPLE)
    with pytest.raises(Unavailable):
        await w.turns.take_turn()
    assert (await w.bulk.find(job.id, None)).why_waits == "registry"
    w.road.directory.down = False
    while (await w.bulk.find(job.id, None)).state is JobState.CHECKING:
        await w.turns.take_turn()
    job = await w.bulk.confirm(await w.bulk.find(job.id, None), rows=5, leave_out_bad=True)
    w.road.directory.down = True
    with pytest.raises(Unavailable):
        await w.turns.take_turn()
    assert (await w.bulk.find(job.id, None)).why_waits == "registry"
    w.road.directory.down = False
    done = await w.to_the_end(job)
    assert (done.progress.settled, done.job.why_waits) == (5, None)


async def test_a_row_is_handed_over_until_its_provider_says_more(w: BulkWorld) -> None:
    w.road.settle_after = timedelta(hours=6)
    job = await w.confirmed(addresses(2), TO_ADDRESSES)
    await w.turns.take_turn()
    await w.road.run()
    await w.turns.take_turn()
    assert await w.states(job) == {RowState.HANDED: 2}
    w.road.mail.answers = lambda _: Accepted()
    w.road.clock.advance(timedelta(hours=7))
    assert (await w.to_the_end(job)).progress.counts == {RowState.UNCONFIRMED: 2}
    assert {row.channel for row in await w.road.rows()} == {Channel.EMAIL}


async def test_a_fate_that_evidence_corrects_is_told_at_once_in_the_result_and_counted_later(w: BulkWorld) -> None:
    w.road.mail.confirms = Confirms.ARRIVAL
    job = await w.confirmed(addresses(2), TO_ADDRESSES)
    await w.turns.take_turn()
    await w.road.run()
    first, second = await w.road.rows()
    for row in (first, second):
        await w.road.report(row.id, Verdict.DELIVERED)
    assert (await w.to_the_end(job)).progress.counts == {RowState.DELIVERED: 2}
    await w.road.report(second.id, Verdict.FAILED)
    await w.road.run()
    assert [line.split(",")[2] for line in await w.results(job)] == ["fate", "delivered", "failed"]
    assert await w.states(job) == {RowState.DELIVERED: 2}
    assert await see_corrections(w.road.db, w.road.clock, timedelta(days=14)) == 0
    assert await w.states(job) == {RowState.DELIVERED: 1, RowState.FAILED: 1}


async def test_a_file_that_cannot_be_read_leaves_nothing_and_a_job_is_its_creators_alone(w: BulkWorld) -> None:
    with pytest.raises(BadFile):
        await w.upload("email\r\n" + "p@example.com\r\n" * 2_000 + "\x00\r\n")
    with pytest.raises(BadFile):
        await w.upload("email\r\n")
    assert await w.bulk.newest(None) == []
    assert await w.road.value("SELECT count(*) FROM bulk_row") == 0
    job = await w.upload(addresses(1))
    with pytest.raises(NoSuchJob):
        await w.bulk.find(job.id, "other")
    assert await w.bulk.newest("other") == []
    assert [each.id for each in await w.bulk.newest("ttd")] == [job.id]


async def test_jobs_are_forgotten_with_their_rows_drafts_first(w: BulkWorld) -> None:
    done = await w.to_the_end(await w.confirmed(addresses(2), TO_ADDRESSES))
    open_ = await w.confirmed(addresses(2), TO_ADDRESSES)
    await w.upload(addresses(2))
    kept, drafts = timedelta(days=90), timedelta(days=7)
    assert await prune_bulk(w.road.db, w.road.clock, kept, drafts) == 0
    w.road.clock.advance(timedelta(days=8))
    assert await prune_bulk(w.road.db, w.road.clock, kept, drafts) == 1
    w.road.clock.advance(timedelta(days=90))
    assert await prune_bulk(w.road.db, w.road.clock, kept, drafts) == 1
    assert [job.id for job in await w.bulk.newest(None)] == [open_.id]
    assert await w.road.value("SELECT count(*) FROM bulk_row") == 2
    assert done.job.id != open_.id
