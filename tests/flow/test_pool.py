"""A channel's pool on the road: failover, breakers, pauses, shared limits and moving weights (channels 1.7-1.9)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest

from fakes import FakeProvider
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery import balance_store
from varsel.delivery.balance import Balancer
from varsel.delivery.bucket import Bucket
from varsel.delivery.choice import Routing
from varsel.delivery.pool import Pool
from varsel.delivery.ports import Accepted, Blame, Deferred, Email, SendResult, Unknown
from varsel.domain.ids import uuid7
from varsel.domain.notification import Channel
from varsel.domain.order import Lane, OrderChannel, Recipient, SmsTemplate

DOWN = Deferred("connection refused", Blame.PROVIDER)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


def second(road: Road, answers: Callable[[str], SendResult] = lambda _: Accepted(), weight: int = 50) -> FakeProvider:
    """Another email provider beside the road's own."""
    provider = FakeProvider("second", answers=answers)
    road.more_mail = [(provider, Routing(weight=weight))]
    return provider


async def emails(road: Road, count: int, creator: str = "ttd") -> None:
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(count))
    await road.place(creator=creator, recipients=people)


async def change(road: Road, sql: str) -> None:
    """Of rows in machine time, which tests do not move."""
    async with road.db.autocommit() as conn:
        await conn.execute(sql.encode())


# Failover


@pytest.mark.assertion("channels-faults", 10)
async def test_what_one_provider_cannot_take_another_sends_at_once(road: Road) -> None:
    road.mail.answers = lambda _: DOWN
    other = second(road)
    await emails(road, 30)
    await road.run()
    assert Counter(await road.outcomes()) == {("email", "accepted"): 30}
    assert len({message.to for message in other.sent}) == len(other.sent) == 30
    assert {row.attempts for row in await road.rows()} == {1}  # nobody charged the messages for the outage


async def test_a_message_that_is_deferred_for_its_own_sake_goes_elsewhere_when_it_comes_back(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("greylisted")
    road.mail_routing = Routing(weight=100)
    other = second(road, weight=0)
    await emails(road, 1)
    await road.run()
    assert (len(road.mail.sent), len(other.sent)) == (1, 0)
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    assert (len(road.mail.sent), len(other.sent)) == (1, 1)


async def test_a_message_that_may_have_left_is_no_ones_but_its_providers_until_that_is_decided(road: Road) -> None:
    road.mail.answers = lambda _: Unknown("lost after DATA")
    road.mail_routing = Routing(weight=100)
    other = second(road, weight=0)
    await emails(road, 1)
    await road.run()
    assert await road.outcomes() == [("email", "unknown")]
    assert other.sent == []


async def test_with_every_provider_down_messages_wait_and_none_fails(road: Road) -> None:
    road.mail.answers = lambda _: DOWN
    other = second(road, lambda _: DOWN)
    await emails(road, 30)
    await road.run()
    assert Counter(await road.outcomes()) == {("email", "new"): 30}
    assert max(Counter(m.to for m in [*road.mail.sent, *other.sent]).values()) <= 2  # by each once, then they wait


async def test_messages_that_no_provider_takes_wait_outside_the_queue_and_others_pass(road: Road) -> None:
    road.mail_routing = Routing(creators=frozenset({"ttd"}))
    await emails(road, 600, creator="skd")
    await emails(road, 5)
    await road.run()
    assert len(road.mail.sent) == 5
    assert await road.value("SELECT count(*) FROM notification WHERE state = 'new' AND wake_at IS NULL") == 0


# Breakers


async def breaker(road: Road) -> bool:
    return bool(await road.value("SELECT breaker_until > statement_timestamp() FROM provider WHERE name = 'mail'"))


async def test_single_errors_do_not_open_a_breaker(road: Road) -> None:
    road.mail.answers = lambda to: DOWN if to in {f"p{i}@example.com" for i in range(9)} else Accepted()
    await emails(road, 200)
    await road.run()
    assert not await breaker(road)
    assert Counter(await road.outcomes()) == {("email", "accepted"): 191, ("email", "new"): 9}


@pytest.mark.assertion("channels", 17)
async def test_however_often_a_provider_asks_for_time_no_breaker_opens_and_its_weight_stays(road: Road) -> None:
    road.mail = FakeProvider(
        "mail", step=100, answers=lambda _: Deferred("429", Blame.PROVIDER, retry_after=timedelta(seconds=2))
    )
    second(road)
    await emails(road, 200)
    await road.run()
    assert len(road.mail.sent) > 50  # errors of so many would open it, and move its weight
    assert await road.value("SELECT breaker_until FROM provider WHERE name = 'mail'") is None
    assert await road.value("SELECT weight FROM provider WHERE name = 'mail'") is None
    assert {row.attempts for row in await road.rows()} == {1}  # those of the other one


@pytest.mark.assertion("channels", 16)
async def test_an_open_breaker_lets_nothing_through_and_then_one_message_at_a_time(road: Road) -> None:
    road.mail = FakeProvider("mail", step=1, answers=lambda _: DOWN)
    await emails(road, 60)
    await road.run()
    assert await breaker(road)
    before = len(road.mail.sent)
    assert before < 60
    road.clock.advance(timedelta(minutes=10))  # all may be tried again
    await road.run()
    assert len(road.mail.sent) == before
    await change(road, "UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    await road.run()
    assert len(road.mail.sent) == before + 1
    assert await breaker(road)  # for longer than the first time
    left = await road.value("SELECT breaker_until - statement_timestamp() FROM provider WHERE name = 'mail'")
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)


@pytest.mark.assertion("channels-faults", 5)
async def test_three_good_trials_close_a_breaker_and_all_goes_on(road: Road) -> None:
    road.mail = FakeProvider("mail", answers=lambda _: Deferred("login refused", Blame.FAULT))
    await emails(road, 40)
    await road.run()
    assert await breaker(road)
    road.mail.answers = lambda _: Accepted()
    road.clock.advance(timedelta(minutes=10))
    await change(road, "UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    for _ in range(5):
        await road.run()
    assert Counter(await road.outcomes()) == {("email", "accepted"): 40}
    kinds = await road.value("SELECT array_agg(kind ORDER BY id) FROM provider_change")
    assert kinds == ["opened", "closed"]


@pytest.mark.assertion("channels-faults", 24)
async def test_a_channel_that_has_had_no_provider_for_a_while_is_an_alarm_until_it_has_one(
    road: Road, caplog: pytest.LogCaptureFixture
) -> None:
    two = [(FakeProvider(name), Routing()) for name in ("mail", "spare")]
    pools = [
        Pool[Email](road.db, Channel.EMAIL, two, alarm_after=after) for after in (timedelta(), timedelta(minutes=5))
    ]

    async def alarms(stopped: str) -> int:
        await change(road, f"UPDATE provider SET stopped = name = ANY('{stopped}')")
        caplog.clear()
        for pool in pools:
            pool.look_again()
            await pool.look()
        return sum(record.message == "channel without provider" for record in caplog.records)

    assert await alarms("{}") == 0
    assert await alarms("{mail}") == 0
    assert await alarms("{mail,spare}") == 1  # the other one waits for five minutes
    assert await alarms("{spare}") == 0


async def test_a_trial_that_comes_to_nothing_leaves_room_for_another(road: Road) -> None:
    road.mail = FakeProvider("mail", answers=lambda _: Deferred("login refused", Blame.FAULT))
    await emails(road, 1)
    await road.run()
    assert await breaker(road)
    road.mail.answers = lambda _: Accepted()
    await change(road, "DELETE FROM order_content")  # it has no text any more, so it cannot be sent
    road.clock.advance(timedelta(minutes=10))
    await change(road, "UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    await road.run()
    assert await road.outcomes() == [("email", "Failed")]
    assert await road.value("SELECT trial_until FROM provider WHERE name = 'mail'") is None
    await emails(road, 1)
    await road.run()
    assert len(road.mail.sent) == 2


@pytest.mark.assertion("channels", 4)
@pytest.mark.assertion("channels-faults", 5)
async def test_a_refused_login_fails_no_message_and_opens_the_breaker_at_once(road: Road) -> None:
    road.mail = FakeProvider("mail", step=1, answers=lambda _: Deferred("535", Blame.FAULT))
    await emails(road, 50)
    await road.run()
    assert len(road.mail.sent) == 1
    assert Counter(await road.outcomes()) == {("email", "new"): 50}


@pytest.mark.assertion("channels", 21)
@pytest.mark.assertion("channels-faults", 10)
async def test_a_paused_email_provider_does_not_delay_sms(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("429", Blame.PROVIDER, retry_after=timedelta(minutes=5))
    await emails(road, 1)
    await road.run()
    await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999500"),))
    await emails(road, 1)
    await road.run()
    assert [state for channel, state in await road.outcomes() if channel == "sms"] == ["accepted"]
    assert len(road.mail.sent) == 1


# Limits


@pytest.mark.assertion("channels", 19)
async def test_three_processes_together_let_no_more_out_than_the_bucket_gives(road: Road) -> None:
    rate, burst = 200.0, 50
    await change(road, "INSERT INTO provider (name, channel) VALUES ('mail', 'email')")
    buckets = [Bucket(road.db, "mail", Routing(rate=rate, burst=burst)) for _ in range(3)]
    taken: list[int] = []
    began = await road.value("SELECT statement_timestamp()")

    async def drain(bucket: Bucket) -> None:
        while len(taken) < 150:
            assert await bucket.take(1, lambda: False)
            taken.append(1)

    await asyncio.gather(*map(drain, buckets))
    ended: datetime = await road.value("SELECT statement_timestamp()")
    assert 150 <= len(taken) <= burst + rate * (ended - began).total_seconds()
    assert await road.value("SELECT day_used FROM provider") >= len(taken)


@pytest.mark.assertion("channels", 20)
async def test_limits_of_sms_count_parts(road: Road) -> None:
    await change(road, "INSERT INTO provider (name, channel) VALUES ('sms', 'sms')")
    road.sms = FakeProvider("sms", max_batch=1, step=10)
    limited = Routing(per_day=7)
    road.more_sms = [(FakeProvider("limited", max_batch=1, step=10), limited)]
    road.sms_routing = Routing(creators=frozenset({"nobody"}))
    for _ in range(3):
        await road.place(
            channel=OrderChannel.SMS,
            recipients=(Recipient(mobile="+4799999500"),),
            sms=SmsTemplate("Varsel", "a" * 320),
        )
    await road.run()
    assert await road.value("SELECT day_used FROM provider WHERE name = 'limited'") in {6, 7}  # leased, or used
    assert Counter(await road.outcomes()) == {("sms", "accepted"): 2, ("sms", "new"): 1}
    assert await road.value("SELECT paused_until > statement_timestamp() FROM provider WHERE name = 'limited'")


# Weights


async def weights(road: Road) -> dict[str, int | None]:
    rows = await road.value("SELECT jsonb_object_agg(name, weight) FROM provider WHERE channel = 'email'")
    return dict(rows)


@pytest.mark.assertion("channels", 13)
async def test_many_errors_move_ten_points_once_a_minute(road: Road) -> None:
    road.mail = FakeProvider("mail", answers=lambda to: DOWN if int(to[1:].partition("@")[0]) % 6 == 0 else Accepted())
    other = second(road, weight=49)
    road.mail_routing = Routing(weight=51)
    await emails(road, 900)
    await road.run()
    assert await weights(road) == {"mail": 41, "second": 59}
    assert len(other.sent) > 400


@pytest.mark.assertion("channels", 14)
async def test_weights_drift_back_after_a_quiet_while_and_stop_where_they_rest(road: Road) -> None:
    resting = {"mail": 51, "second": 49}
    await change(road, "INSERT INTO provider (name, channel) VALUES ('mail', 'email'), ('second', 'email')")

    async def drift() -> bool:
        async with road.db.transaction() as conn:
            return await balance_store.drift(conn, resting)

    async with road.db.transaction() as conn:
        assert await balance_store.shift(conn, resting, "mail", why="errors")
        assert not await balance_store.shift(conn, resting, "mail", why="errors")
    await change(road, "UPDATE provider SET weight_at = weight_at - interval '61 s'")
    async with road.db.transaction() as conn:
        assert await balance_store.shift(conn, resting, "mail", why="errors")
    assert await weights(road) == {"mail": 31, "second": 69}
    assert not await drift()
    await change(road, "UPDATE provider SET weight_at = weight_at - interval '15 min'")
    assert await drift()
    assert not await drift()
    assert await weights(road) == {"mail": 41, "second": 59}
    for _ in range(3):
        await change(road, "UPDATE provider SET drifted_at = drifted_at - interval '5 min'")
        await drift()
    assert await weights(road) == resting


@pytest.mark.assertion("channels", 15)
@pytest.mark.parametrize("slow", [("mail",), ("mail", "second"), ()])
async def test_slow_reports_of_one_of_two_move_points_and_of_both_nothing(road: Road, slow: tuple[str, ...]) -> None:
    second(road)
    pool = road.mail_pool()
    await pool.look()
    await emails(road, 100)
    await road.run()
    road.changed_by_hand = True
    for name in ("mail", "second"):
        late = "interval '6 min'" if name in slow else "interval '1 s'"
        await change(
            road,
            f"UPDATE notification SET state = 'delivered', state_at = accepted_at + {late} WHERE provider = '{name}'",
        )
    aged = f"{(uuid7().int >> 80) - 600_000:012x}"
    await change(  # ten minutes old, by the time of their ids
        road,
        f"UPDATE notification SET id = ('{aged}' || substr(replace(id::text, '-', ''), 13))::uuid",
    )
    await change(road, "UPDATE orders SET pending = 0")
    moved = await Balancer(road.db, road.clock, (pool, road.sms_pool())).balance()
    expected: dict[str, int | None] = (
        {"mail": 40, "second": 60} if slow == ("mail",) else {"mail": None, "second": None}
    )
    assert (moved, {name: (await weights(road))[name] for name in expected}) == (int(slow == ("mail",)), expected)


# Many at once


async def test_two_workers_share_a_pool_and_nothing_is_sent_twice(road: Road) -> None:
    other = second(road)
    await emails(road, 500)
    workers = [await road.worker() for _ in range(2)]
    while await workers[0].resolution.resolve_due(Lane.ORDINARY) + await workers[0].resolution.resolve_due(Lane.BULK):
        await until(lambda: workers[0].resolution.idle)

    async def work(number: int) -> None:
        while await workers[number].mail.send_due():
            pass
        await until(lambda: workers[number].mail.idle)

    await asyncio.gather(work(0), work(1))
    await asyncio.gather(*(worker.end(road) for worker in workers))
    sent = Counter(message.to for message in [*road.mail.sent, *other.sent])
    assert len(sent) == sent.total() == 500
    assert min(len(road.mail.sent), len(other.sent)) > 150
