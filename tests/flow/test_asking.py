"""Messages whose provider is asked what became of them (channels 1.5, 2.4; faults F2, F12, F13, F15)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from fakes import FakeProvider
from instants import ApiProcess
from road import LIFETIME, UNKNOWN_WAIT, Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.asking import Asker
from varsel.delivery.outcome import Rules
from varsel.delivery.ports import (
    Accepted,
    Asked,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    Pending,
    Refused,
    SendResult,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Lane, Recipient
from varsel.domain.schedule import SendWindow
from varsel.orders.register import Registered, Repeated
from varsel.status.explain import tell
from varsel.status.explain_store import find_facts
from varsel.status.gauges import Gauges
from varsel.status.gauges_store import read_gauges

PENDING = Pending("operation-1", ask_after=timedelta(seconds=8))


@dataclass
class AskedMail(FakeProvider):
    """`told` decides by how often it was asked about the message."""

    name: str = "mail"
    answers: Callable[[str], SendResult] = lambda _: PENDING
    told: Callable[[int], SendResult] = lambda _: Accepted("operation-1")
    questions: list[Asked] = field(default_factory=list)
    silent: asyncio.Event | None = None  # set: questions wait here

    async def ask(self, batch: Sequence[Asked]) -> list[SendResult]:
        self.questions.extend(batch)
        answers = [self.told(sum(q.id == asked.id for q in self.questions)) for asked in batch]
        if self.silent:
            await self.silent.wait()
        return answers


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.mail = AskedMail()
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


def mail_of(road: Road) -> AskedMail:
    assert isinstance(road.mail, AskedMail)
    return road.mail


async def placed(road: Road, people: int = 1) -> OrderId:
    order = road.order(recipients=tuple(Recipient(email=f"p{n}@example.com") for n in range(people)))
    await road._register.register_order(order)
    await road.run()
    return order.id


async def after(road: Road, **time: float) -> None:
    road.clock.advance(timedelta(**time))
    await road.run()


async def gauges(road: Road) -> Gauges:
    async with road.db.reading() as conn:
        return await read_gauges(conn, now=road.clock.now(), opened=road.clock.now())


async def test_a_message_that_its_provider_works_on_is_asked_for_until_it_is_taken(road: Road) -> None:
    mail_of(road).told = lambda times: PENDING if times < 3 else Accepted("operation-1", "handed on")
    order = await placed(road)
    assert await road.outcomes() == [("email", "unknown")]
    await after(road, seconds=7)
    assert not mail_of(road).questions
    for _ in range(3):
        await after(road, seconds=8)
    [row] = await road.rows()
    assert (row.state, row.provider_ref, row.attempts, row.wake_at) == ("accepted", "operation-1", 1, None)
    assert [(q.reference, q.tries, q.failures) for q in mail_of(road).questions] == [("operation-1", 1, 0)] * 3
    assert await road.state(order) == "Processed"
    await road.report(None, Verdict.DELIVERED, reference="operation-1")
    await road.run()
    assert await road.outcomes() == [("email", "delivered")]
    assert await road.state(order) == "Completed"
    assert len(mail_of(road).sent) == 1


@pytest.mark.assertion("channels", 59)
@pytest.mark.assertion("processing", 116)
@pytest.mark.assertion("channels-faults", 12)
async def test_a_question_that_fails_is_asked_again_and_sends_nothing(road: Road) -> None:
    mail_of(road).told = lambda times: Unknown("no answer") if times < 4 else Accepted()
    await placed(road)
    for _ in range(4):
        assert await road.outcomes() == [("email", "unknown")]
        await after(road, seconds=15)
    assert await road.outcomes() == [("email", "accepted")]
    assert len(mail_of(road).sent) == 1


async def test_what_the_provider_refused_later_fails_and_completes_its_order(road: Road) -> None:
    mail_of(road).told = lambda _: Refused(Reason.SUPPRESSED_RECIPIENT, "on their list", Suppress.PROVIDER_LIST)
    order = await placed(road)
    await after(road, seconds=8)
    assert await road.outcomes() == [("email", "Failed_SupressedRecipient")]
    assert await road.state(order) == "Completed"
    [entry] = await road.feed()
    assert entry["recipients"][0]["status"] == "Email_Failed_SuppressedRecipient"


async def test_a_provider_that_confirms_nothing_settles_what_it_took(road: Road) -> None:
    mail_of(road).confirms = Confirms.NOTHING
    order = await placed(road)
    await after(road, seconds=8)
    [row] = await road.rows()
    assert (row.state, row.settled) == ("accepted", False)
    await after(road, hours=6)
    assert [row.settled for row in await road.rows()] == [True]
    assert await road.state(order) == "Completed"


async def test_what_never_came_there_is_sent_again_under_the_same_key(road: Road) -> None:
    mail = mail_of(road)
    mail.answers = lambda _: Unknown("no answer in time") if len(mail.sent) == 1 else PENDING
    mail.told = lambda times: Deferred("they do not know it") if times == 1 else Accepted("operation-1")
    await placed(road)
    await after(road, seconds=59)
    assert not mail.questions
    await after(road, seconds=1)
    assert [(q.reference, q.failures) for q in mail.questions] == [(None, 0)]
    await after(road, seconds=40)  # as after any failed try of a message
    await after(road, seconds=8)
    assert await road.outcomes() == [("email", "accepted")]
    assert [(m.id, m.failures) for m in mail.sent if isinstance(m, Email)] == [(mail.sent[0].id, 0)] * 2
    doubts = (await gauges(road)).doubts
    assert (doubts.uncertain_tries, doubts.possible_duplicates) == (1, 0)


async def test_a_known_failure_gives_the_next_try_another_key(road: Road) -> None:
    mail = mail_of(road)
    results: list[SendResult] = [Deferred("500"), Deferred("500"), Unknown("lost"), PENDING]
    mail.answers = lambda _: results[len(mail.sent) - 1]
    await placed(road)
    await after(road, seconds=40)
    await after(road, minutes=3)
    assert [m.failures for m in mail.sent if isinstance(m, Email)] == [0, 1, 2]
    await after(road, seconds=60)
    assert [q.failures for q in mail.questions] == [2]
    assert await road.outcomes() == [("email", "accepted")]


@pytest.mark.parametrize("policy", list(Indeterminate))
async def test_what_was_taken_and_then_forgotten_is_sent_again_only_where_that_is_allowed(
    road: Road, policy: Indeterminate
) -> None:
    mail = mail_of(road)
    mail.on_indeterminate = policy
    mail.told = lambda _: Deferred("they do not know it")
    await placed(road)
    await after(road, seconds=8)
    await after(road, seconds=40)
    assert len(mail.sent) == (1 if policy is Indeterminate.HOLD else 2)
    assert await road.outcomes() == [("email", "unknown")]


async def test_a_message_in_doubt_is_asked_for_whatever_the_policy_says_of_others(road: Road) -> None:
    mail = mail_of(road)
    mail.on_indeterminate = Indeterminate.HOLD
    mail.answers = lambda _: Unknown("no answer")
    await placed(road)
    await after(road, seconds=60)
    assert await road.outcomes() == [("email", "accepted")]
    assert len(mail.sent) == len(mail.questions) == 1


@pytest.mark.assertion("channels-faults", 13)
async def test_questions_come_less_and_less_often_and_end_at_expiry(road: Road) -> None:
    mail = mail_of(road)
    mail.told = lambda _: PENDING
    expires_at = road.clock.now() + LIFETIME
    order = await placed(road)
    pauses = []
    for _ in range(25):
        [row] = await road.rows()
        assert row.wake_at is not None
        pauses.append((row.wake_at - road.clock.now()).total_seconds())
        road.clock.set(row.wake_at)
        await road.run()
    assert pauses[:5] == [8.0] * 5
    assert pauses == sorted(pauses)
    assert sum(pauses[: pauses.index(60.0)]) == pytest.approx(300, abs=60)
    assert pauses[-1] == 60
    road.clock.set(expires_at)
    await road.run()
    [row] = await road.rows()
    assert (row.state, row.wake_at) == ("unknown", None)
    asked = len(mail.questions)
    await after(road, minutes=5)
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(order) == "Completed"
    assert len(mail.questions) == asked
    assert len(mail.sent) == 1


async def test_the_provider_says_how_long_to_wait(road: Road) -> None:
    mail_of(road).told = lambda _: Pending("operation-1", "throttled", timedelta(seconds=90))
    await placed(road)
    await after(road, seconds=8)
    [row] = await road.rows()
    assert row.wake_at == road.clock.now() + timedelta(seconds=90)


async def test_a_message_that_is_worked_on_is_in_no_doubt(road: Road) -> None:
    mail_of(road).told = lambda _: PENDING
    order = await placed(road)
    told = await gauges(road)
    assert (told.queues.unknown, told.queues.working, told.queues.oldest_unknown) == (0, 1, None)
    assert (told.doubts.uncertain_tries, told.doubts.possible_duplicates) == (0, 0)
    assert await road.value("SELECT unknowns FROM notification") == 0
    async with road.db.reading() as conn:
        facts = await find_facts(conn, "ttd", order)
    assert facts is not None
    assert [n.name.v2 for n in facts.notifications] == ["Email_Sending"]
    story = tell(facts, {"mail"})
    assert "attempt.accepted" in [event.kind for event in story.past]
    assert [event.kind for event in story.ahead] == ["notification.asked", "notification.expires"]


async def test_a_report_that_comes_first_ends_the_questions(road: Road) -> None:
    await placed(road)
    await road.report(None, Verdict.FAILED, reference="operation-1")
    await road.run()
    await after(road, seconds=8)
    assert await road.outcomes() == [("email", "Failed_Bounced")]
    assert not mail_of(road).questions


async def test_a_report_that_comes_during_the_question_stands(road: Road) -> None:
    mail = mail_of(road)
    mail.silent = asyncio.Event()
    mail.told = lambda _: Refused(Reason.BOUNCED)
    await placed(road)
    road.clock.advance(timedelta(seconds=8))
    asker = asker_of(road)
    asking = asyncio.create_task(asker.ask_due())
    await until(lambda: bool(mail.questions))
    await road.report(None, Verdict.DELIVERED, reference="operation-1")
    assert await asker_of(road).ask_due() == 0  # it is held
    await road.run()
    mail.silent.set()
    assert await asking == 1
    assert await road.outcomes() == [("email", "delivered")]


async def test_an_answer_that_comes_after_its_time_changes_nothing(road: Road) -> None:
    mail = mail_of(road)
    mail.silent = asyncio.Event()
    mail.told = lambda times: Deferred("never heard of it") if times == 1 else PENDING
    await placed(road)
    road.clock.advance(timedelta(seconds=8))
    first = asyncio.create_task(asker_of(road).ask_due())
    await until(lambda: len(mail.questions) == 1)
    road.clock.advance(timedelta(minutes=2))  # whoever asks next takes the first one for dead
    second = asyncio.create_task(asker_of(road).ask_due())
    await until(lambda: len(mail.questions) == 2)
    mail.silent.set()
    assert await first == await second == 1
    assert await road.outcomes() == [("email", "unknown")]
    assert len(mail.sent) == 1


async def test_a_stopping_worker_waits_for_no_answer_and_another_asks(road: Road) -> None:
    mail = mail_of(road)
    mail.silent = asyncio.Event()
    await placed(road)
    road.clock.advance(timedelta(seconds=8))
    asker = asker_of(road)
    asking = asyncio.create_task(asker.ask_due())
    await until(lambda: bool(mail.questions))
    asker.halt()
    assert await asking == 0
    assert await asker.ask_due() == 0
    mail.silent = None
    await after(road, minutes=2)
    assert await road.outcomes() == [("email", "accepted")]


async def test_an_adapter_that_fails_or_answers_too_little_is_asked_again(
    road: Road, caplog: pytest.LogCaptureFixture
) -> None:
    mail = mail_of(road)

    def fail(times: int) -> SendResult:
        if times == 1:
            raise ValueError("a bug")
        return Accepted()

    mail.told = fail
    await placed(road)
    await after(road, seconds=8)
    assert "provider raised" in caplog.text
    assert await road.outcomes() == [("email", "unknown")]
    await after(road, seconds=8)
    assert await road.outcomes() == [("email", "accepted")]


@pytest.mark.parametrize("policy", list(Indeterminate))
@pytest.mark.assertion("channels-faults", 2)
async def test_a_worker_that_dies_after_handing_over_leaves_what_can_be_asked_for(
    road: Road, policy: Indeterminate
) -> None:
    mail = mail_of(road)
    mail.on_indeterminate = policy
    mail.gate = asyncio.Event()  # it has the message, and the worker never hears
    await road.place()
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await until(lambda: worker.resolution.idle)
    await worker.mail.send_due()
    await until(lambda: len(mail.sent) == 1)
    await worker.mail.stop(timedelta())
    assert await road.sweeper(shift=timedelta(minutes=1)).release_lapsed() == 1
    assert await road.outcomes() == [("email", "unknown")]
    mail.gate = None
    await after(road, seconds=60)
    assert await road.outcomes() == [("email", "accepted")]
    assert [(q.reference, q.failures) for q in mail.questions] == [(None, 0)]
    assert len(mail.sent) == 1
    await worker.end(road)


async def test_without_asker_a_message_in_doubt_goes_the_way_of_all_others(road: Road) -> None:
    mail = mail_of(road)
    mail.told = lambda _: PENDING
    await placed(road)
    road.mail = FakeProvider("mail")  # a setting was changed: it can no longer be asked
    await after(road, seconds=UNKNOWN_WAIT.total_seconds())
    assert await road.outcomes() == [("email", "accepted")]


async def test_a_thousand_are_asked_for_by_several_workers_once_each(road: Road) -> None:
    mail = mail_of(road)
    await placed(road, people=1_000)
    road.clock.advance(timedelta(seconds=8))
    askers = [asker_of(road) for _ in range(4)]

    async def ask(asker: Asker) -> int:
        total = 0
        while done := await asker.ask_due():
            total += done
        return total

    assert sum(await asyncio.gather(*map(ask, askers))) == 1_000
    assert len({q.id for q in mail.questions}) == len(mail.questions) == 1_000
    assert {state for _, state in await road.outcomes()} == {"accepted"}


def asker_of(road: Road) -> Asker:
    rules = Rules(road.settle_after, UNKNOWN_WAIT, 60, SendWindow())
    return Asker(road.db, mail_of(road), Channel.EMAIL, road.clock, road.waker, rules)


async def test_an_instant_email_that_is_worked_on_stands_and_is_asked_for_like_any_other(road: Road) -> None:
    process = await ApiProcess.begin(road)
    placed = await process.email()
    assert isinstance(placed, Registered)
    repeated = await process.email()
    assert isinstance(repeated, Repeated)
    assert repeated.first.id == placed.id
    assert await road.outcomes() == [("email", "unknown")]
    await after(road, seconds=8)
    assert await road.outcomes() == [("email", "accepted")]
    assert len(mail_of(road).sent) == len(mail_of(road).questions) == 1
    await process.end()
