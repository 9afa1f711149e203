"""Due orders: conditions first, all or nothing, one worker each; and messages that meet a pause, a window or a race.

Sources: processing 3, 6, 7.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes import FakeProvider
from road import LIFETIME, Road
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.delivery.ports import Accepted, Blame, Deferred, Refused, Verdict
from varsel.domain.notification import Reason
from varsel.domain.order import Lane, OrderChannel, Recipient
from varsel.recipients.ports import PersonContact
from varsel.resolution.ports import Verdict as Condition

KARI = "14838510036"
CONDITION = "https://condition.example/x"


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.people = {KARI: PersonContact(False, email="kari@example.com")}
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def refuse(road: Road, event: str, which: str) -> None:
    """From now on the database fails for notifications of which this holds."""
    async with road.db.autocommit() as conn:
        await execute(
            conn,
            """CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN RAISE EXCEPTION 'corrupt'; END $$""",
            {},
        )
        when = f"BEFORE {event} ON notification FOR EACH ROW WHEN ({which})"
        await execute(conn, f"CREATE TRIGGER refuse {when} EXECUTE FUNCTION refuse()", {})


async def relent(road: Road) -> None:
    async with road.db.autocommit() as conn:
        await execute(conn, "DROP TRIGGER refuse ON notification", {})


# All or nothing, and each order once


@pytest.mark.assertion("processing", 37)
async def test_of_many_workers_at_once_each_order_is_resolved_by_one(road: Road) -> None:
    for _ in range(120):
        await road.place()
    workers = [await road.worker() for _ in range(4)]
    await asyncio.gather(*(worker.resolution.resolve_due(Lane.ORDINARY) for worker in workers))
    assert await road.value("SELECT count(*) FROM orders WHERE state = 'Processed'") == 120
    assert len(await road.rows()) == 120


@pytest.mark.assertion("processing", 40, 43)
async def test_an_order_is_resolved_whole_or_not_at_all(road: Road) -> None:
    people = tuple(Recipient(email=f"p{number}@example.com") for number in range(9))
    placed = await road.place(recipients=(*people, Recipient(email="last@example.com")))
    await refuse(road, "INSERT", "NEW.address = 'last@example.com'")
    for _ in range(2):
        await road.run()
        assert await road.rows() == []
        assert await road.state(placed.order_id) == "Registered"
        road.clock.advance(timedelta(minutes=3))
    await relent(road)
    await road.run()
    assert len(road.mail.sent) == 10


@pytest.mark.assertion("processing", 42)
async def test_an_order_with_messages_under_way_is_processed_and_not_yet_in_the_feed(road: Road) -> None:
    placed = await road.place()
    await road.run()
    assert await road.state(placed.order_id) == "Processed"
    assert await road.feed() == []


@pytest.mark.assertion("processing", 45)
async def test_an_order_stays_as_it_was_given_and_addresses_stand_on_notifications_alone(road: Road) -> None:
    content = "SELECT to_jsonb(c) FROM order_content c WHERE order_id = %(o)s"
    placed = await road.place(recipients=(Recipient(national_identity_number=KARI),))
    before = await road.value(content, o=placed.order_id)
    await road.run()
    (row,) = await road.rows()
    await road.report(row.id, Verdict.DELIVERED)
    await road.run()
    assert row.address == "kari@example.com"
    after = await road.value(content, o=placed.order_id)
    assert after == before
    assert "kari@example.com" not in str(after)


# Conditions


@pytest.mark.assertion("processing", 46)
async def test_without_a_condition_nobody_is_asked(road: Road) -> None:
    await road.place()
    await road.run()
    assert road.conditions.asked == []
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("processing", 47)
async def test_a_condition_that_is_met_lets_the_order_go_on(road: Road) -> None:
    road.conditions.answers = [Condition.MET]
    await road.place(condition_endpoint=CONDITION)
    await road.run()
    assert road.conditions.asked == [CONDITION]
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("processing", 49)
async def test_the_second_answer_of_a_condition_decides(road: Road) -> None:
    road.conditions.answers = [Condition.INCONCLUSIVE, Condition.NOT_MET]
    placed = await road.place(condition_endpoint=CONDITION)
    await road.run()
    road.clock.advance(timedelta(seconds=60))
    await road.run()
    assert await road.state(placed.order_id) == "SendConditionNotMet"
    assert road.mail.sent == []


@pytest.mark.parametrize(
    ("closed", "state"),
    [(("TTD",), "SendConditionNotMet"), (("*",), "SendConditionNotMet"), (("skd",), "Processed"), ((), "Processed")],
    ids=["named", "all", "another", "nobody"],
)
async def test_a_creator_may_want_orders_stopped_whose_condition_gives_no_usable_answer(
    road: Road, closed: tuple[str, ...], state: str
) -> None:
    road.fail_closed_creators = closed
    road.conditions.answers = [Condition.INCONCLUSIVE, Condition.INCONCLUSIVE]
    placed = await road.place(condition_endpoint=CONDITION)
    await road.run()
    assert await road.state(placed.order_id) == "Registered"  # and waits
    road.clock.advance(timedelta(seconds=60))
    await road.run()
    assert await road.state(placed.order_id) == state
    assert bool(road.mail.sent) == (state == "Processed")
    feed = "SELECT count(*) FROM status_feed WHERE order_id = %(o)s"
    assert await road.value(feed, o=placed.order_id) == (state == "SendConditionNotMet")


async def test_a_condition_is_asked_before_any_register(road: Road) -> None:
    road.conditions.answers = [Condition.NOT_MET]
    await road.place(condition_endpoint=CONDITION, recipients=(Recipient(national_identity_number=KARI),))
    road.directory.asked.clear()
    await road.run()
    assert road.conditions.asked == [CONDITION]
    assert road.directory.asked == []


# Pauses, windows, ends


async def pause(road: Road) -> timedelta:
    """What is left of the provider's pause, in machine time."""
    left: timedelta = await road.value("SELECT paused_until - statement_timestamp() FROM provider WHERE name = 'mail'")
    return left


@pytest.mark.assertion("processing", 92)
@pytest.mark.assertion("channels", 17)
async def test_a_provider_that_names_a_pause_gets_it_and_the_message_waits(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("429", Blame.PROVIDER, retry_after=timedelta(seconds=120))
    await road.place()
    await road.run()
    assert timedelta(seconds=110) < await pause(road) <= timedelta(seconds=120)
    assert [(row.state, row.attempts) for row in await road.rows()] == [("new", 0)]


@pytest.mark.assertion("processing", 91)
async def test_a_shorter_pause_does_not_end_a_longer_one(road: Road) -> None:
    pauses = [timedelta(minutes=10), timedelta(minutes=1)]
    road.mail = FakeProvider("mail", step=2)
    road.mail.answers = lambda _: Deferred("429", Blame.PROVIDER, retry_after=pauses.pop(0))
    await road.place(recipients=(Recipient(email="a@example.com"), Recipient(email="b@example.com")))
    await road.run()
    assert pauses == []
    assert await pause(road) > timedelta(minutes=9)


@pytest.mark.assertion("processing", 8, 95)
async def test_no_daytime_sms_begins_after_the_window_has_closed(road: Road) -> None:
    road.clock.set(datetime(2026, 11, 23, 15, 59, 30, tzinfo=UTC))  # 16:59:30 in Oslo
    road.sms = FakeProvider("sms", max_batch=100, step=100)
    started: list[datetime] = []

    def answer(_to: str) -> Accepted:
        started.append(road.clock.now())
        road.clock.advance(timedelta(milliseconds=100))  # 300 of 5 000 until 17:00
        return Accepted()

    road.sms.answers = answer
    people = tuple(Recipient(mobile=f"+47999{number:05d}") for number in range(90_000, 95_000))
    await road.place(channel=OrderChannel.SMS, recipients=people)
    await road.run()
    closing = datetime(2026, 11, 23, 16, tzinfo=UTC)
    late = [at for at in started if at >= closing]
    assert 300 <= len(started) < 5_000
    assert len(late) < 100  # of the one request to the gateway that was begun in time


@pytest.mark.assertion("processing", 118)
async def test_what_an_outage_outlasts_expires_and_completes(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("connection refused", Blame.PROVIDER)
    placed = await road.place()
    await road.run()
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(placed.order_id) == "Completed"


@pytest.mark.assertion("processing", 120)
async def test_one_corrupt_row_does_not_keep_others_from_expiring(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("later")
    placed = [await road.place(recipients=(Recipient(email=f"p{number}@example.com"),)) for number in range(100)]
    await road.run()
    await refuse(road, "UPDATE", "OLD.address = 'p42@example.com'")
    road.clock.advance(LIFETIME + timedelta(minutes=6))
    await road.sweeper().expire()
    states = [await road.state(order.order_id) for order in placed]
    assert states.count("Completed") == 99
    assert states[42] == "Processed"
    await relent(road)
    await road.sweeper().expire()
    assert await road.state(placed[42].order_id) == "Completed"


@pytest.mark.assertion("processing", 121)
async def test_two_messages_that_end_at_the_same_instant_make_one_entry(road: Road) -> None:
    for attempt in range(5):
        placed = await road.place(
            channel=OrderChannel.EMAIL_AND_SMS,
            recipients=(Recipient(email=f"k{attempt}@example.com", mobile="+4799999501"),),
        )
        road.mail.answers = road.sms.answers = lambda _: Refused(Reason.UNSPECIFIED)
        await road.run()  # both channels at once, each in its own transaction
        assert await road.state(placed.order_id) == "Completed"
    assert len(await road.feed()) == 5


@pytest.mark.assertion("processing", 105, 107)
async def test_the_reason_of_a_report_is_the_result(road: Road) -> None:
    reasons = [
        Reason.BOUNCED,
        Reason.FILTERED_SPAM,
        Reason.QUARANTINED,
        Reason.SUPPRESSED_RECIPIENT,
        Reason.UNSPECIFIED,
    ]
    expected: list[Any] = []
    for reason in reasons:
        placed = await road.place()
        await road.run()
        (row,) = await road.rows(placed.order_id)
        await road.report(row.id, Verdict.FAILED, reason=reason)
        await road.run()
        expected.append(("email", reason.value))
        assert await road.outcomes(placed.order_id) == [expected[-1]]
    assert [word for _, word in expected] == [
        *("Failed_Bounced", "Failed_FilteredSpam", "Failed_Quarantined", "Failed_SupressedRecipient", "Failed")
    ]


@pytest.mark.assertion("processing", 36)  # overridden: no batches of 50, and creators take turns
async def test_all_that_is_due_is_taken_in_one_turn(road: Road) -> None:
    for number in range(120):
        await road.place(creator="ttd" if number % 2 else "skd")
    worker = await road.worker()
    assert await worker.resolution.resolve_due(Lane.ORDINARY) == 120
    assert await worker.resolution.resolve_due(Lane.ORDINARY) == 0


@pytest.mark.assertion("channels", 21)
async def test_a_pause_of_email_holds_up_no_sms(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("429", Blame.PROVIDER, retry_after=timedelta(minutes=10))
    await road.place(
        channel=OrderChannel.EMAIL_AND_SMS,
        recipients=(Recipient(email="k@example.com", mobile="+4799999501"),),
    )
    await road.run()
    await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999502"),))
    await road.run()
    assert [message.to for message in road.sms.sent] == ["+4799999501", "+4799999502"]
