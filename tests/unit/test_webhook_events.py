"""What receivers get, where it may be sent, and how long a failure is left alone (channels 7; design 8)."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from varsel.api.webhook_bodies import EventName
from varsel.domain.ids import OrderId, uuid7
from varsel.webhooks.address import MAX_LENGTH, Addresses, read
from varsel.webhooks.backoff import GIVE_UP_AFTER, LONGEST, next_try, wait_after
from varsel.webhooks.event import (
    MAX_BYTES,
    SUBSCRIBABLE,
    Envelope,
    Event,
    Kind,
    Recipient,
    Shipment,
    body_of,
    event_id,
)

NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
ENVELOPE: Final = Envelope("https://varsel.example", "ttd", "", destinations=True)

recipients = st.builds(
    Recipient,
    st.none() | st.uuids().map(str),
    st.text(max_size=400),
    st.sampled_from(["Email_Delivered", "SMS_Failed_InvalidRecipient"]),
    st.just("2026-11-23T10:00:00.000000Z"),
)


def told(event: Event, envelope: Envelope = ENVELOPE) -> Any:
    return json.loads(body_of(event, envelope))


def about(found: tuple[Recipient, ...] = (), reference: str | None = None, count: int | None = None) -> Event:
    order = OrderId(uuid7())
    shipment = Shipment(
        order,
        1523,
        reference,
        "Notification",
        "Order_Completed",
        "2026-11-23T10:00:00.000000Z",
        found,
        len(found) if count is None else count,
    )
    return Event(event_id(order, 1523), Kind.ORDER_COMPLETED, NOW, shipment)


# Events


@given(st.lists(recipients, max_size=100).map(tuple), st.none() | st.text(max_size=30_000))
def test_every_event_is_small_and_says_what_it_leaves_out(found: tuple[Recipient, ...], reference: str | None) -> None:
    body = body_of(about(found, reference), ENVELOPE)
    assert len(body) <= MAX_BYTES
    data = json.loads(body)["data"]
    assert data["recipientCount"] == len(found)
    whole = len(data["recipients"]) == len(found) and data.get("sendersReference") == reference
    assert ("truncated" in data) == (not whole)
    assert [r["destination"] for r in data["recipients"]] == [r.destination for r in found[: len(data["recipients"])]]


def test_an_order_of_thousands_is_an_event_with_the_first_of_them() -> None:
    first = tuple(Recipient(str(uuid7()), f"p{n}@example.com", "Email_Delivered", "x") for n in range(100))
    data = told(about(first, count=10_000))["data"]
    assert (data["recipientCount"], data["truncated"]) == (10_000, True)
    assert 50 <= len(data["recipients"]) <= 100


def test_addresses_are_told_to_those_alone_who_asked_for_them() -> None:
    event = about((Recipient("n", "kari@example.com", "Email_Delivered", "x"),))
    without = Envelope("https://varsel.example", "ttd", "", destinations=False)
    assert "kari@example.com" in json.dumps(told(event))
    assert "kari@example.com" not in json.dumps(told(event, without))


def test_the_same_entry_is_the_same_event_and_another_is_another() -> None:
    order = OrderId(uuid7())
    assert event_id(order, 5) == event_id(order, 5)
    assert len({event_id(order, 5), event_id(order, 6), event_id(OrderId(uuid7()), 5)}) == 3


def test_names_of_creators_may_hold_anything() -> None:
    event = about()
    source = told(event, Envelope("https://varsel.example", "å/b?c", "", destinations=False))["source"]
    assert source == "https://varsel.example/notifications/creators/%C3%A5%2Fb%3Fc"


@given(st.lists(st.integers(1, 10**18), min_size=2, max_size=2))
def test_sequences_sort_as_texts_as_they_do_as_numbers(numbers: list[int]) -> None:
    texts = [f"{number:019}" for number in numbers]
    assert (texts[0] < texts[1]) == (numbers[0] < numbers[1])


def test_the_api_names_the_events_that_there_are() -> None:
    assert get_args(EventName) == tuple(kind.value for kind in SUBSCRIBABLE)


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "https://cases.example.com",
        "https://cases.example.com/",
        "https://cases.example.com/a/b;c?d=e&f=%20",
        "HTTPS://CASES.Example.com:443/x",
        "https://xn--brg-1na.example/x",
        "https://cases.example.com/" + "a" * (MAX_LENGTH - 26),
    ],
)
def test_plain_https_addresses_are_taken(url: str) -> None:
    assert Addresses().problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        *("", "cases.example.com", "ftp://cases.example.com/", "http://cases.example.com/", "//cases.example.com/"),
        *("https://user@cases.example.com/", "https://a:b@cases.example.com/", "https://cases.example.com/#f"),
        *("https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/"),
        *("https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://1.2.3.4.example:0x1bb/", "https://a.1/"),
        *("https://localhost/", "https://intranet/", "https://cases.example.com.", "https://.example.com/"),
        *("https://cases.example.com:8443/", "https://cases.example.com:0/", "https://cases.example.com:99999/"),
        *("https://cases.example.com\\@evil.example/", "https://cases.example.com /", " https://cases.example.com/"),
        *("https://cases.example.com/\n", "https://cases.example.com/\r\nHost: x", "https://cases.example.com/\x00"),
        *("https://cases.example.com/a b", "https://børg.example/", "https://cases_x.example.com/", "https:///x"),
        *("https://-cases.example.com/", "https://cases-.example.com/", f"https://{'a' * 64}.example.com/"),
        *(f"https://{'a.' * 126}example/", "https://cases.example.com/" + "a" * (MAX_LENGTH - 25)),
        *("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "https://cases。example.com/", "https://127。0。0。1/"),
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert Addresses().problem(url)


@given(st.text(max_size=60) | st.from_regex(r"https?://[a-z0-9.\[\]:@#/\\?-]{1,40}", fullmatch=True))
def test_what_is_taken_is_read_alike_by_the_client_that_calls_it(text: str) -> None:
    target = read(text)
    if target:
        url = URL(text, encoded=True)
        assert (url.scheme.lower(), (url.host or "").lower(), url.port) == (target.scheme, target.host, target.port)
        assert not url.user
        assert not url.password
        assert not url.fragment


def test_ports_and_hosts_are_those_of_the_settings() -> None:
    addresses = Addresses((".intern.example", "box:8080"), ports=(443, 8443), http=True)
    for url in (
        *("https://a.example:8443/", "https://a.intern.example/", "http://box:8080/", "https://box:8080/x"),
        "https://a.b.intern.example:443/",
    ):
        assert addresses.problem(url) is None, url
    for url in (
        *("https://box/", "http://box/", "https://a.example:8444/", "http://a.example/", "http://a.intern.example/"),
        *("https://a.intern.example:9/", "https://box:8081/"),
    ):
        assert addresses.problem(url), url
    assert addresses.trusts("a.intern.example", 443)
    assert not addresses.trusts("intern.example", 443)
    assert not addresses.trusts("a.intern.example.evil.example", 443)
    assert not addresses.trusts("a.intern.example", 80)


# Waiting


@given(st.integers(1, 1_000), st.floats(0, 1), st.none() | st.timedeltas(timedelta(), timedelta(days=400)))
def test_waits_grow_to_an_hour_and_a_wish_is_kept_up_to_a_day(
    failures: int, chance: float, wished: timedelta | None
) -> None:
    wait = wait_after(failures, wished, chance=chance)
    usual = wait_after(failures, None, chance=chance)
    assert timedelta(seconds=4.5) <= usual <= timedelta(hours=1.1)
    assert usual <= wait_after(failures + 1, None, chance=chance)
    assert wait == (max(usual, min(wished, LONGEST)) if wished else usual)


@given(st.lists(st.floats(0, 1), min_size=200, max_size=200))
def test_every_event_is_tried_last_when_its_day_is_over_and_not_too_often(chances: list[float]) -> None:
    now, tries = NOW, 1
    for failures, chance in enumerate(chances, 1):
        after = next_try(now, wait_after(failures, None, chance=chance), first=NOW)
        if after is None:
            break
        assert now < after <= NOW + GIVE_UP_AFTER
        now, tries = after, tries + 1
    assert now == NOW + GIVE_UP_AFTER
    assert 24 <= tries <= 34
