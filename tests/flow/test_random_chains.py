"""Random chains on the whole road: each order leaves at its instant, and ends once (processing 3.7, 8.1; G3, G4)."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes import FakeConditions
from road import Road, Row
from varsel.api.bodies import parse
from varsel.api.future_bodies import ChainBody, Defaults
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Refused, SendResult, Verdict
from varsel.domain.ids import OrderId
from varsel.domain.notification import Reason
from varsel.domain.order import Order
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.orders.register import Register, Registered
from varsel.recipients.ports import ExternalContact, PersonContact
from varsel.resolution.ports import Answer
from varsel.resolution.ports import Verdict as Condition
from varsel.settings import SenderSettings

# Nights in which the clocks of Oslo change, the days around them, and a leap day.
STARTS: Final = [
    datetime(2026, 10, 24, 21, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC),
    datetime(2027, 3, 27, 22, tzinfo=UTC),
    datetime(2027, 3, 28, 1, tzinfo=UTC),
    datetime(2028, 2, 28, 12, tzinfo=UTC),
]
KARI, OLA = "14838510036", "01916012086"
LIV, PER = "05854515049", "22957713118"  # whose mail bounces, at once and after it had arrived
OLD_NAME: Final = "urn:altinn:username:olduser1"
EMAIL: Final = {"subject": "s", "body": "b"}
MICROSECOND: Final = timedelta(microseconds=1)

_numbers = itertools.count(1)


@dataclass
class ConditionsByUrl(FakeConditions):
    """`yes` and `no` at once; `maybe-` no usable answer first; `never` none at all, which counts as yes."""

    async def check(self, url: str) -> Answer:
        self.asked.append(url)
        if "never" in url or ("maybe" in url and self.asked.count(url) == 1):
            return Answer(Condition.INCONCLUSIVE, 500)
        return Answer(Condition.NOT_MET if "no." in url else Condition.MET, 200)


def send(address: str) -> SendResult:
    return Refused(Reason.INVALID_EMAIL_FORMAT) if address.startswith("refused") else Accepted()


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock, conditions=ConditionsByUrl())
    road.mail.answers = send
    road.directory.people = {
        KARI: PersonContact(reserved=False, email="kari@example.com", mobile="+4799999501"),
        OLA: PersonContact(reserved=True, email="ola@example.com"),
        LIV: PersonContact(reserved=False, email="bounced.liv@example.com", mobile="+4799999502"),
        PER: PersonContact(reserved=False, email="revoked.per@example.com", mobile="+4799999503"),
    }
    road.directory.externals = {OLD_NAME: ExternalContact("old@example.com", None)}
    yield road
    await road.waker.close()


# Bodies, as a client writes them


def sms(policy: str) -> dict[str, str]:
    return {"body": "b", "sendingTimePolicy": policy}


def identified(kind: str, identifier: dict[str, str], channel: str, policy: str, falls_back: bool) -> dict[str, Any]:
    settings = {"channelSchema": channel, "emailSettings": EMAIL, "smsSettings": sms(policy)}
    return {kind: {**identifier, **settings, "fallbackOnFailure": falls_back and channel.endswith("Preferred")}}


CHANNELS = st.sampled_from(["EmailPreferred", "Email", "EmailPreferred", "SmsPreferred", "EmailAndSms"])
POLICIES = st.sampled_from(["Daytime", "Anytime"])
PEOPLE = st.builds(
    lambda nin, *how: identified("recipientPerson", {"nationalIdentityNumber": nin}, *how),
    st.sampled_from([LIV, PER, KARI, OLA]),
    CHANNELS,
    POLICIES,
    st.sampled_from([True, True, False]),
)
RECIPIENTS = st.one_of(
    PEOPLE,
    PEOPLE,
    st.sampled_from(["delivered", "refused", "bounced", "silent", "revoked"]).map(
        lambda name: {"recipientEmail": {"emailAddress": f"{name}@example.com", "emailSettings": EMAIL}}
    ),
    POLICIES.map(lambda policy: {"recipientSms": {"phoneNumber": "+4799999501", "smsSettings": sms(policy)}}),
    st.builds(
        lambda *how: identified("recipientExternalIdentity", {"externalIdentity": OLD_NAME}, *how),
        CHANNELS,
        POLICIES,
        st.booleans(),
    ),
)
CONDITIONS = st.sampled_from(
    [None, None, *(f"https://{n}.example/" for n in ("yes", "no", "maybe-yes", "maybe-no", "never"))]
)
PARTS = st.fixed_dictionaries({"recipient": RECIPIENTS, "conditionEndpoint": CONDITIONS})


@dataclass(frozen=True)
class Late:
    """A reminder: how its time is written, and how many seconds after the main order, or after the request, it is."""

    part: dict[str, Any]
    form: str
    seconds: int
    cancelled: bool

    def written(self, now: datetime) -> dict[str, Any]:
        match self.form:
            case "days":
                return {**self.part, "delayDays": self.seconds // 86_400}
            case "duration":
                return {**self.part, "delay": f"P{self.seconds // 86_400}DT{self.seconds % 86_400}S"}
            case _:
                return {**self.part, "requestedSendTime": (now + timedelta(seconds=self.seconds)).isoformat()}

    def due(self, now: float, main: float) -> float:
        """In seconds since 1970, where no zone can play a trick."""
        match self.form:
            case "days":
                return main + self.seconds // 86_400 * 86_400
            case "duration":
                return main + self.seconds
            case _:
                return now + self.seconds


LATE = st.builds(
    Late, PARTS, st.sampled_from(["days", "duration", "instant"]), st.integers(86_400, 40 * 86_400), st.booleans()
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    start=st.sampled_from(STARTS),
    ahead=st.integers(0, 3 * 86_400),
    main=PARTS,
    reminders=st.lists(LATE, max_size=3),
)
def test_every_order_of_a_chain_leaves_at_its_instant_and_ends_once(
    road: Road,
    runner: asyncio.Runner,
    start: datetime,
    ahead: int,
    main: dict[str, Any],
    reminders: list[Late],
) -> None:
    runner.run(_live_through(road, start, ahead, main, reminders))


async def _live_through(road: Road, start: datetime, ahead: int, main: dict[str, Any], reminders: list[Late]) -> None:
    assert isinstance(road.clock, ManualClock)
    road.clock.set(start)
    send_at = start + timedelta(seconds=ahead)
    sent = {
        "idempotencyId": str(uuid4()),
        **_asking(main),
        "requestedSendTime": send_at.isoformat(),
        "reminders": [_asking(late.written(start)) for late in reminders],
    }
    orders = await _registered(road, sent)
    expected = [send_at.timestamp(), *(late.due(start.timestamp(), send_at.timestamp()) for late in reminders)]
    assert [order.requested_send_time.timestamp() for order in orders] == expected
    cancelled = {order.id for order, late in zip(orders[1:], reminders, strict=True) if late.cancelled}
    for order in cancelled:
        limit = timedelta(minutes=5)
        answer = await cancel_order(road.db, orders[0].creator, order, now=start, limit=limit)
        assert answer is Cancellation.CANCELLED
    await _pass_each_instant(road, orders, cancelled)
    await _come_to_rest(road, orders)
    await _assert_each_ended_once(road, orders, cancelled)


def _asking(part: dict[str, Any]) -> dict[str, Any]:
    """Each order asks a URL of its own, so that its first answer is told from its second."""
    condition = part["conditionEndpoint"]
    return {**part, "conditionEndpoint": condition and f"{condition}{next(_numbers)}"}


async def _registered(road: Road, sent: object) -> Sequence[Order]:
    now = road.clock.now()
    body = await parse(ChainBody, json.dumps(sent).encode(), now)
    creator = f"creator-{next(_numbers)}"  # examples share a database: each has a feed of its own
    chain, orders = await body.to_chain(creator, now, Defaults(SenderSettings(), always_stale=False))
    register = Register(road.db, road.directory, road.clock, road.waker)
    assert isinstance(await register.register_chain(chain, orders), Registered)
    await register.close()
    return orders


async def _pass_each_instant(road: Road, orders: Sequence[Order], cancelled: set[OrderId]) -> None:
    """Just before an order's time nothing of it exists; at its time it does."""
    assert isinstance(road.clock, ManualClock)
    for due in sorted({order.requested_send_time for order in orders}):
        road.clock.set(max(road.clock.now(), due - MICROSECOND))
        await road.run()
        for order in orders:
            if order.requested_send_time >= due and order.requested_send_time > road.clock.now():
                assert await road.state(order.id) == ("Cancelled" if order.id in cancelled else "Registered")
        road.clock.set(due)
        await road.run()
        for order in orders:
            if order.requested_send_time == due and order.id not in cancelled:
                waits = {"Registered"} if _unsure(order) else set()
                assert await road.state(order.id) in {"Processed", "Completed", "SendConditionNotMet", *waits}
        await _hear_of(road, orders)


def _unsure(order: Order) -> bool:
    return any(word in (order.condition_endpoint or "") for word in ("maybe", "never"))


async def _come_to_rest(road: Road, orders: Sequence[Order]) -> None:
    """Conditions are asked again; then the next daytime for SMS, and the end of all patience."""
    assert isinstance(road.clock, ManualClock)
    for ahead in (timedelta(), timedelta(minutes=2), timedelta(days=1), timedelta(days=5)):
        road.clock.advance(ahead)
        await road.run()
        await _hear_of(road, orders)


async def _hear_of(road: Road, orders: Sequence[Order]) -> None:
    """Reports for those who are to get one, and each again. What had arrived for `revoked` comes back after all."""
    rows = [row for order in orders for row in await road.rows(order.id) if row.state == "accepted"]
    for row in rows:
        if not row.address.startswith("silent"):
            await _twice(road, row, Verdict.FAILED if row.address.startswith("bounced") else Verdict.DELIVERED)
    await road.run()
    if revoked := [row for row in rows if row.address.startswith("revoked")]:
        for row in revoked:
            await _twice(road, row, Verdict.FAILED)
        await road.run()


async def _twice(road: Road, row: Row, verdict: Verdict) -> None:
    await road.report(row.id, verdict)
    await road.report(row.id, verdict)


async def _assert_each_ended_once(road: Road, orders: Sequence[Order], cancelled: set[OrderId]) -> None:
    entries = [(entry["shipmentId"], entry.get("correction", False)) for entry in await road.feed()]
    sent = Counter((message.order, message.to) for message in [*road.mail.sent, *road.sms.sent])
    assert set(sent.values()) <= {1}
    for order in orders:
        stopped = "no." in (order.condition_endpoint or "")
        states = {"Cancelled"} if order.id in cancelled else {"SendConditionNotMet" if stopped else "Completed"}
        assert {await road.state(order.id)} == states
        assert entries.count((str(order.id), False)) == (0 if order.id in cancelled else 1)
        rows = await road.rows(order.id)
        assert all(row.state in ("delivered", "failed", "expired") for row in rows)
        late = await road.value("SELECT count(*) FROM fallback WHERE late AND order_id = %(id)s", id=order.id)
        revoked = sum(row.address.startswith("revoked") for row in rows)
        assert entries.count((str(order.id), True)) == revoked + late
        assert bool(rows) == (order.id not in cancelled and not stopped)
    assert await road.wrong_counters() == 0
