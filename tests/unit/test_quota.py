"""What an order uses of its creator's limits, and who is served when little is left (channels 6.3)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.ids import OrderId, uuid7
from varsel.domain.order import EmailTemplate, Order, OrderChannel, OrderKind, Recipient, SmsTemplate
from varsel.domain.quota import Counter, Limit, Shortage, Slot, hand_out, requests_of, share_of, wait_for
from varsel.domain.schedule import oslo_day

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
PERSON = Recipient(national_identity_number="14838510036")
BOTH = Recipient(email="a@example.com", mobile="+4799999501")
FOREIGN = Recipient(mobile="+46701740605")
EVERY = tuple(Counter)

COUNTERS = st.sampled_from([Counter.EMAIL_RECIPIENTS, Counter.SMS_RECIPIENTS, Counter.INTERNATIONAL_SMS])
SHARES = st.dictionaries(COUNTERS, st.integers(1, 5), min_size=1)
WISHES = st.lists(st.tuples(st.sampled_from(["a", "b"]), SHARES), max_size=12)
GRANTS = st.fixed_dictionaries({Slot(c, counter): st.floats(0, 15) for c in "ab" for counter in EVERY})


def order(channel: OrderChannel, *recipients: Recipient, kind: OrderKind = OrderKind.NOTIFICATION) -> Order:
    return Order(
        OrderId(uuid7()),
        "ttd",
        kind,
        channel,
        NOW,
        NOW,
        recipients,
        email=EmailTemplate("a@example.com", "Subject", "Body"),
        sms=SmsTemplate("Varsel", "a" * 200),
    )


@given(GRANTS, WISHES)
def test_a_wish_is_served_whole_or_not_at_all_and_nothing_is_handed_out_twice(
    granted: dict[Slot, float], wishes: list[tuple[str, dict[Counter, int]]]
) -> None:
    rest = dict(granted)
    short = hand_out(rest, wishes)
    for slot, before in granted.items():
        served = sum(
            share.get(slot.counter, 0)
            for (creator, share), refused in zip(wishes, short, strict=True)
            if creator == slot.creator and not refused
        )
        assert rest[slot] == pytest.approx(before - served)
        assert rest[slot] >= 0


@given(GRANTS, WISHES)
def test_who_is_refused_is_told_a_limit_that_is_short_of_what_he_wants(
    granted: dict[Slot, float], wishes: list[tuple[str, dict[Counter, int]]]
) -> None:
    for (creator, share), refused in zip(wishes, hand_out(granted, wishes), strict=True):
        if refused:
            assert refused.slot.creator == creator
            assert refused.wanted == share[refused.slot.counter] > refused.left


@given(GRANTS, WISHES)
def test_refusing_one_takes_nothing_from_those_who_come_after(
    granted: dict[Slot, float], wishes: list[tuple[str, dict[Counter, int]]]
) -> None:
    short = hand_out(dict(granted), wishes)
    served = [wish for wish, refused in zip(wishes, short, strict=True) if not refused]
    assert not any(hand_out(dict(granted), served))


@pytest.mark.parametrize(
    ("asked", "counter", "used"),
    [
        (order(OrderChannel.EMAIL, PERSON, BOTH), Counter.EMAIL_RECIPIENTS, 2),
        (order(OrderChannel.EMAIL, PERSON, BOTH), Counter.SMS_RECIPIENTS, 0),
        (order(OrderChannel.SMS, PERSON), Counter.SMS_RECIPIENTS, 1),
        (order(OrderChannel.EMAIL_AND_SMS, PERSON), Counter.EMAIL_RECIPIENTS, 1),
        (order(OrderChannel.EMAIL_AND_SMS, PERSON), Counter.SMS_RECIPIENTS, 1),
        (order(OrderChannel.SMS_PREFERRED, PERSON), Counter.SMS_RECIPIENTS, 1),
        (order(OrderChannel.SMS_PREFERRED, PERSON), Counter.EMAIL_RECIPIENTS, 0),
        (order(OrderChannel.EMAIL_PREFERRED, PERSON, BOTH), Counter.EMAIL_RECIPIENTS, 2),
        (order(OrderChannel.EMAIL_PREFERRED, PERSON, BOTH), Counter.SMS_RECIPIENTS, 1),
        (order(OrderChannel.SMS, FOREIGN, BOTH, PERSON), Counter.INTERNATIONAL_SMS, 2),
        (order(OrderChannel.EMAIL, FOREIGN), Counter.INTERNATIONAL_SMS, 0),
        (order(OrderChannel.SMS, BOTH, kind=OrderKind.INSTANT), Counter.INSTANT_SMS, 1),
        (order(OrderChannel.SMS, BOTH, kind=OrderKind.INSTANT), Counter.SMS_RECIPIENTS, 0),
    ],
)
def test_each_recipient_counts_where_the_order_tries_first(asked: Order, counter: Counter, used: int) -> None:
    assert share_of(asked, EVERY).get(counter, 0) == used


def test_what_is_unlimited_is_not_counted() -> None:
    assert share_of(order(OrderChannel.EMAIL_AND_SMS, FOREIGN), [Counter.EMAIL_RECIPIENTS]) == {
        Counter.EMAIL_RECIPIENTS: 1
    }


def test_a_chain_is_one_request_on_each_channel_that_it_begins_with() -> None:
    orders = [order(OrderChannel.EMAIL, PERSON), order(OrderChannel.EMAIL_PREFERRED, PERSON)]
    assert requests_of(orders) == {Counter.EMAIL_REQUESTS: 1}
    assert requests_of([*orders, order(OrderChannel.SMS, PERSON)])[Counter.SMS_REQUESTS] == 1


@pytest.mark.parametrize(("configured", "size"), [(3, 2), (3_000, 1_000), (90, 31)])
def test_a_bucket_holds_a_third_of_a_minute_and_one_more(configured: int, size: int) -> None:
    limit = Limit.of(Counter.SMS_REQUESTS, configured)
    assert (limit.most, limit.refill) == (size, configured / 60)


def test_who_waits_for_a_bucket_waits_for_what_is_missing_and_others_for_midnight() -> None:
    night = timedelta(hours=9)
    bucket, day = Limit.of(Counter.SMS_REQUESTS, 60), Limit.of(Counter.SMS_RECIPIENTS, 60)
    assert wait_for(Shortage(Slot("a", Counter.SMS_REQUESTS), 1, 0.25), bucket, night) == timedelta(seconds=0.75)
    assert wait_for(Shortage(Slot("a", Counter.SMS_RECIPIENTS), 1, 0), day, night) == night


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-23", 24)])
def test_a_day_is_oslos_calendar_day(day: str, hours: int) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00Z")
    start, end = oslo_day(noon)
    assert end - start == timedelta(hours=hours)
    assert start <= noon < end
    assert oslo_day(end)[0] == end
    assert oslo_day(end - timedelta(microseconds=1))[0] == start
