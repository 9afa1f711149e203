"""The client's core without sockets and without time: what is tried again, for how long, and what one is told."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel import client
from varsel.client import (
    Conflict,
    EmailSettings,
    InstantSms,
    Invalid,
    LimitReached,
    NotEnded,
    OrderChain,
    RecipientEmail,
    RecipientSms,
    Refused,
    Reminder,
    SmsSettings,
    Unauthorised,
    Unavailable,
    Unexpected,
    Varsel,
    read_webhook,
)
from varsel.client.calls import Calls
from varsel.client.exchange import Lost, Pause, Reply, Request, Steps
from varsel.client.repeat import Clock
from varsel.client.wire import Unreadable, decode, encode
from varsel.domain.signatures import headers_of, new_secret, shown

T = TypeVar("T")

ORDER: Final = OrderChain(
    recipient=RecipientEmail(email_address="kari@example.com", email_settings=EmailSettings(subject="S", body="B"))
)
SHIPMENT: Final = UUID(int=7)
TAKEN: Final = Reply(
    201,
    {},
    json.dumps({"notificationOrderId": str(UUID(int=6)), "notification": {"shipmentId": str(SHIPMENT)}}).encode(),
)
UNSURE: Final = (Lost("the connection broke", sent=True), Reply(500, {}, b""), Reply(502, {}, b"<html>"))
SURE: Final = (Lost("refused", sent=False), Reply(503, {"retry-after": "1"}, b""), Reply(429, {}, b"{}"))


@dataclass
class World:
    """Answers as it was told, the last one for ever; a request takes a second, and a pause as long as it takes."""

    answers: Iterator[Reply | Lost]
    now: float = 1_000.0
    requests: list[Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    @property
    def calls(self) -> Calls:
        return Calls(Clock(lambda: self.now, lambda: 1.0), within=60)

    def run(self, steps: Steps[T]) -> T:
        heard: Reply | Lost | None = None
        while True:
            try:
                step = steps.send(heard)
            except StopIteration as end:
                found: T = end.value
                return found
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds
                heard = None
            else:
                assert step.patience > 0
                self.requests.append(step)
                self.now += 1
                heard = next(self.answers)


def world(*answers: Reply | Lost) -> World:
    def forever() -> Iterable[Reply | Lost]:
        yield from answers
        while True:
            yield answers[-1]

    return World(iter(forever()))


def shipment(status: str) -> Reply:
    body = {"shipmentId": str(SHIPMENT), "type": "Notification", "status": status, "recipients": []}
    return Reply(200, {}, json.dumps({**body, "lastUpdate": "2026-11-25T18:16:19.87273Z"}).encode())


def bodies(asked: World) -> list[Any]:
    return [json.loads(request.body or b"null") for request in asked.requests]


@given(st.lists(st.sampled_from(UNSURE + SURE), max_size=5))
def test_whatever_goes_wrong_first_the_same_request_is_made_until_it_is_answered(faults: list[Reply | Lost]) -> None:
    asked = world(*faults, TAKEN)
    receipt = asked.run(asked.calls.order(ORDER))
    assert receipt.shipment_id == SHIPMENT
    assert receipt.created
    assert len(asked.requests) == len(faults) + 1
    assert {request.body for request in asked.requests} == {asked.requests[0].body}
    assert bodies(asked)[0]["idempotencyId"] == receipt.idempotency_id


@given(st.lists(st.sampled_from(UNSURE + SURE), min_size=1, max_size=8))
def test_when_the_time_is_over_one_is_told_whether_the_order_may_stand_and_how_to_repeat_it(
    faults: list[Reply | Lost],
) -> None:
    asked = world(*faults, Lost("refused", sent=False))
    with pytest.raises(Unavailable) as told:
        asked.run(asked.calls.order(ORDER))
    assert asked.now <= 1_060 + 1  # the last try may take its second
    assert told.value.outcome_unknown == any(fault in UNSURE for fault in faults)
    assert told.value.idempotency_id == bodies(asked)[0]["idempotencyId"]


def test_each_call_has_an_id_of_its_own_unless_the_order_has_one() -> None:
    asked = world(TAKEN)
    for order in (ORDER, ORDER, OrderChain(recipient=ORDER.recipient, idempotency_id="mine")):
        asked.run(asked.calls.order(order))
    first, second, third = (body["idempotencyId"] for body in bodies(asked))
    assert first != second
    assert third == "mine"


def test_pauses_grow_and_are_never_shorter_than_the_service_asks_for() -> None:
    asked = world(*[Lost("refused", sent=False)] * 3, Reply(503, {"retry-after": "7"}, b""), TAKEN)
    asked.run(asked.calls.order(ORDER))
    assert asked.pauses == [0.2, 0.4, 0.8, 7]


def test_a_limit_that_ends_after_our_time_is_told_at_once() -> None:
    problem = {"title": "Too Many Requests", "limitName": "smsRecipientsPerDay", "limit": 5}
    body = json.dumps({**problem, "resetTime": "2030-09-02T22:00:00Z"}).encode()
    asked = world(Reply(429, {"retry-after": "3600"}, body))
    with pytest.raises(LimitReached) as told:
        asked.run(asked.calls.order(ORDER))
    assert len(asked.requests) == 1
    assert (told.value.limit_name, told.value.limit) == ("smsRecipientsPerDay", 5)
    assert told.value.reset_time == datetime(2030, 9, 2, 22, tzinfo=UTC)


@pytest.mark.parametrize(("status", "kind"), [(400, Invalid), (401, Unauthorised), (409, Conflict), (418, Refused)])
def test_a_refusal_is_told_at_once(status: int, kind: type[Refused]) -> None:
    asked = world(Reply(status, {}, b""))
    with pytest.raises(kind):
        asked.run(asked.calls.order(ORDER))
    assert len(asked.requests) == 1


def test_a_refusal_names_the_fields() -> None:
    problem = {
        "title": "One or more validation errors occurred.",
        "errors": {"Recipient.RecipientSms": ["No.", "Not."]},
    }
    with pytest.raises(Invalid) as told:
        (asked := world(Reply(400, {}, json.dumps(problem).encode()))).run(asked.calls.order(ORDER))
    assert told.value.errors == {"Recipient.RecipientSms": ("No.", "Not.")}
    assert "Recipient.RecipientSms: No. Not." in str(told.value)


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["notification", "shipmentId", "errors", "notificationOrderId"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_answers_in_the_place_of_the_service_is_told_in_a_sentence(content: bytes) -> None:
    for status in (200, 301, 400, 429):
        asked = world(Reply(status, {"retry-after": "99"}, content))
        with pytest.raises((Unexpected, Refused)):
            asked.run(asked.calls.order(ORDER))


def test_a_fate_is_waited_for_and_each_change_is_told() -> None:
    steps = ["Order_Registered", "Order_Registered", "Order_Processing", "Order_Completed"]
    asked = world(*map(shipment, steps))
    seen: list[str] = []
    found = asked.run(asked.calls.wait_for_fate(SHIPMENT, 60, lambda one: seen.append(one.status)))
    assert found.ended
    assert seen == ["Order_Registered", "Order_Processing", "Order_Completed"]


@pytest.mark.parametrize("then", [shipment("Order_Registered"), Lost("refused", sent=False)])
def test_a_fate_that_does_not_come_in_time_is_told_with_what_was_seen_last(then: Reply | Lost) -> None:
    asked = world(shipment("Order_Registered"), then)
    with pytest.raises(NotEnded) as told:
        asked.run(asked.calls.wait_for_fate(SHIPMENT, 60, None))
    assert told.value.shipment.status == "Order_Registered"
    assert asked.now <= 1_062


def test_who_follows_the_feed_waits_for_a_service_that_is_away_for_an_hour() -> None:
    entry = {"sequenceNumber": 9, "shipmentId": str(SHIPMENT), "status": "Order_Completed", "recipients": []}
    page = json.dumps([{**entry, "shipmentType": "Reminder", "lastUpdate": "2026-11-25T18:16:19Z"}]).encode()
    asked = world(*[Lost("refused", sent=False)] * 400, Reply(200, {}, b"[]"), Reply(200, {}, page))
    assert asked.run(asked.calls.feed_page(8, follow=True)) == ()
    assert asked.now > 1_000 + 3_600
    (found,) = asked.run(asked.calls.feed_page(8, follow=True))
    assert found.sequence_number == 9


def test_a_feed_that_never_lets_one_wait_is_not_asked_without_end() -> None:
    asked = world(Reply(200, {}, b"[]"))
    calls = Calls(Clock(lambda: 5.0, lambda: 1.0), within=60)
    asked.run(calls.feed_page(0, follow=True))
    assert asked.pauses == [1.0]


# Values


def test_orders_are_written_as_the_api_wants_them() -> None:
    order = OrderChain(
        senders_reference="case-1",
        requested_send_time=datetime(2030, 1, 1, tzinfo=UTC),
        recipient=ORDER.recipient,
        reminders=[
            Reminder(
                delay=timedelta(days=1, milliseconds=500),
                recipient=RecipientSms(phone_number="+4799999500", sms_settings=SmsSettings(body="B")),
            )
        ],
    )
    assert encode(order.body()) == {
        "sendersReference": "case-1",
        "requestedSendTime": "2030-01-01T00:00:00+00:00",
        "recipient": {
            "recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": {"subject": "S", "body": "B"}}
        },
        "reminders": [
            {
                "delay": "PT86400.5S",
                "recipient": {"recipientSms": {"phoneNumber": "+4799999500", "smsSettings": {"body": "B"}}},
            }
        ],
    }
    assert InstantSms(phone_number="+4799999500", text="B", time_to_live=timedelta(minutes=5)).body() == {
        "recipientSms": {"phoneNumber": "+4799999500", "timeToLiveInSeconds": 300, "smsSettings": {"body": "B"}}
    }


def test_a_time_without_a_zone_is_refused_before_anything_is_sent() -> None:
    order = OrderChain(recipient=ORDER.recipient, requested_send_time=datetime(2030, 1, 1))  # noqa: DTZ001 - that is it
    with pytest.raises(ValueError, match="zone"):
        (asked := world(TAKEN)).run(asked.calls.order(order))
    assert not asked.requests


def test_what_the_api_adds_later_does_no_harm_and_is_there() -> None:
    told = json.loads(TAKEN.content) | {"newerThanUs": {"a": 1}}
    receipt = decode(client.OrderReceipt, told)
    assert receipt.raw == told
    assert decode(tuple[client.OrderReceipt, ...], [told]) == (receipt,)
    with pytest.raises(Unreadable, match=r"\$\.notification\.shipmentId"):
        decode(client.OrderReceipt, told | {"notification": {"shipmentId": "secret"}})


@pytest.mark.parametrize(
    "url", ["notify.example", "ftp://notify.example", "https://", "https://a@b.example", "http://x:y"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's words for some
        Varsel(url, "token")


# Webhooks


def test_only_what_is_signed_just_now_is_an_event() -> None:
    secret, now = new_secret(), datetime(2026, 11, 25, 12, tzinfo=UTC)
    data = {"shipmentId": str(SHIPMENT), "sequenceNumber": 3, "shipmentType": "Instant", "status": "Order_Completed"}
    data |= {"lastUpdate": "2026-11-25T11:59:59Z", "truncated": True}
    messages = [{"notificationId": str(uuid4()), "status": "SMS_Delivered", "lastUpdate": "2026-11-25T11:59:59Z"}]
    event = {
        "id": "1",
        "type": "order.completed.v1",
        "time": "2026-11-25T12:00:00Z",
        "data": {**data, "recipients": messages},
    }
    body = json.dumps(event).encode()
    signed = {name.title(): value for name, value in headers_of("1", body, [secret], at=int(now.timestamp())).items()}
    found = read_webhook(shown(secret), signed, body, now=now)
    assert found.entry
    assert found.truncated
    assert found.entry.sequence_number == 3
    assert found.entry.recipients[0].arrived
    ping = json.dumps({**event, "type": "ping.v1", "data": {}}).encode()
    assert (
        read_webhook(shown(secret), headers_of("1", ping, [secret], at=int(now.timestamp())), ping, now=now).entry
        is None
    )
    for headers, wrong, at in (
        (signed, body + b" ", now),
        ({}, body, now),
        (signed, body, now + timedelta(minutes=6)),
        (headers_of("1", b"[]", [secret], at=int(now.timestamp())), b"[]", now),
    ):
        with pytest.raises(client.NotGenuine):
            read_webhook(shown(secret), headers, wrong, now=at)


# The package


def test_whoever_waits_needs_nothing_but_the_standard_library() -> None:
    code = """
import sys
before = set(sys.modules)
import varsel.client
varsel.client.Varsel("http://127.0.0.1:1", "token")
foreign = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
assert foreign <= {"varsel"}, foreign
assert {n for n in sys.modules if n.startswith("varsel.") and not n.startswith("varsel.client")} <= {
    "varsel.domain", "varsel.domain.signatures"}
from varsel.client import AsyncVarsel
assert all(hasattr(varsel.client, name) for name in varsel.client.__all__)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
