"""Order chains are stored whole and once, however many ask at once, in however many processes (http-api 11, O-16)."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from road import Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.domain.ids import ChainId, uuid7
from varsel.domain.order import Chain, EmailTemplate, Order, OrderFamily, OrderKind, Recipient
from varsel.orders.chain_store import Shipment
from varsel.orders.register import ChainOutcome, Register, Registered, Repeated, Unreachable
from varsel.recipients.ports import PersonContact

KARI, NOBODY = "14838510036", "01916012086"


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.people = {KARI: PersonContact(reserved=False, email="kari@example.com")}
    yield road
    await road.waker.close()


@pytest.fixture
async def registers(road: Road) -> AsyncIterator[Sequence[Register]]:
    """Two processes over one database."""
    registers = [Register(road.db, road.directory, road.clock, road.waker) for _ in range(2)]
    yield registers
    for register in registers:
        await register.close()


def request(
    road: Road, key: str = "i", *, reminders: int = 1, body: str = "b", **changes: Any
) -> tuple[Chain, list[Order]]:
    """A chain that a caller has just sent: of equal requests, each makes its own ids."""
    values: dict[str, Any] = {"creator": "ttd", "family": OrderFamily.CHAIN, **changes}
    recipients = values.pop("recipients", (Recipient(email="kari@example.com"),))
    id_ = ChainId(uuid7())
    chain = Chain(id=id_, idempotency_id=key, request_hash=hashlib.sha256(body.encode()).digest(), **values)
    orders = [road.order(creator=chain.creator, chain=id_, senders_reference=body, recipients=recipients)]
    for number in range(reminders):
        late = road.clock.now() + timedelta(days=number + 1)
        orders.append(
            road.order(
                creator=chain.creator,
                chain=id_,
                kind=OrderKind.REMINDER,
                requested_send_time=late,
                recipients=recipients,
            )
        )
    return chain, orders


def told(chain: Chain, orders: Sequence[Order], outcome: ChainOutcome) -> tuple[ChainId, tuple[Shipment, ...]]:
    """What the caller is answered."""
    if isinstance(outcome, Registered):
        return outcome.id, tuple(Shipment(order.id, order.senders_reference) for order in orders)
    assert isinstance(outcome, Repeated)
    return outcome.first.id, outcome.first.shipments


@pytest.mark.assertion("processing", 17)
@pytest.mark.parametrize("processes", [1, 2])
async def test_of_twenty_requests_at_once_one_is_stored_and_all_are_told_its_ids(
    road: Road, registers: Sequence[Register], processes: int
) -> None:
    for round_ in range(5):
        sent = [request(road, f"i{round_}", body=f"b{n % 3}", reminders=n % 4) for n in range(20)]
        outcomes = await asyncio.gather(
            *(registers[n % processes].register_chain(*each) for n, each in enumerate(sent))
        )
        answers = {told(*each, outcome) for each, outcome in zip(sent, outcomes, strict=True)}
        assert len(answers) == 1
        ((_, shipments),) = answers
        assert Counter(type(outcome) for outcome in outcomes) == {Registered: 1, Repeated: 19}
        winner = next(chain for (chain, _), o in zip(sent, outcomes, strict=True) if isinstance(o, Registered))
        for (chain, _), outcome in zip(sent, outcomes, strict=True):
            if isinstance(outcome, Repeated):
                assert outcome.same == (chain.request_hash == winner.request_hash)
        assert await road.value("SELECT count(*) FROM order_chain WHERE idempotency_id = %(i)s", i=f"i{round_}") == 1
        kept = await road.value("SELECT array_agg(id ORDER BY id) FROM orders WHERE chain_id = %(c)s", c=winner.id)
        assert kept == sorted(shipment.id for shipment in shipments)
    assert await road.value("SELECT count(*) FROM orders WHERE chain_id NOT IN (SELECT id FROM order_chain)") == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(("ttd", "xyz")), st.sampled_from(OrderFamily), st.integers(0, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_each_creator_family_and_id_has_one_chain_however_requests_are_mixed(
    road: Road, registers: Sequence[Register], runner: asyncio.Runner, sent: list[tuple[int, str, OrderFamily, int]]
) -> None:
    run = str(uuid7())  # examples share a database: their ids differ

    async def check() -> None:
        requests = [
            request(road, f"{run} {key}", creator=creator, family=family, reminders=reminders)
            for key, creator, family, reminders in sent
        ]
        outcomes = await asyncio.gather(*(registers[n % 2].register_chain(*r) for n, r in enumerate(requests)))
        answers: dict[tuple[int, str, OrderFamily], set[object]] = {}
        for (key, creator, family, _), each, outcome in zip(sent, requests, outcomes, strict=True):
            answers.setdefault((key, creator, family), set()).add(told(*each, outcome))
        assert all(len(ids) == 1 for ids in answers.values())
        stored = await road.value(
            "SELECT count(*) FROM order_chain WHERE starts_with(idempotency_id, %(run)s)", run=run
        )
        assert stored == len(answers)

    runner.run(check())


@pytest.mark.assertion("processing", 16)
async def test_an_id_serves_once_in_each_family(road: Road, registers: Sequence[Register]) -> None:
    for family in OrderFamily:
        outcomes = [await registers[0].register_chain(*request(road, family=family)) for _ in range(2)]
        assert [type(outcome) for outcome in outcomes] == [Registered, Repeated]


@pytest.mark.assertion("processing", 12, 13)
async def test_nothing_of_a_chain_is_stored_when_one_of_its_orders_cannot_be(
    road: Road, registers: Sequence[Register]
) -> None:
    good, bad = request(road, "good", reminders=2), request(road, "bad", reminders=2)
    late = bad[1][2]
    bad[1][2] = road.order(id=late.id, chain=late.chain, email=EmailTemplate("a@example.com", "s", "a NUL: \x00"))
    outcomes = await asyncio.gather(
        *(registers[0].register_chain(*each) for each in (good, bad)), return_exceptions=True
    )
    assert isinstance(outcomes[0], Registered)
    assert isinstance(outcomes[1], Exception)
    assert await road.value("SELECT array_agg(idempotency_id) FROM order_chain") == ["good"]
    assert await road.value("SELECT count(*) FROM orders") == 3
    assert await road.value("SELECT count(*) FROM order_content") == 3


@pytest.mark.assertion("processing", 18, 20)
async def test_an_unreachable_recipient_names_whom_and_spoils_no_neighbour(
    road: Road, registers: Sequence[Register]
) -> None:
    people = [(Recipient(national_identity_number=nin),) for nin in (KARI, NOBODY)]
    sent = [request(road, f"i{n}", recipients=people[n % 2]) for n in range(10)]
    outcomes = await asyncio.gather(*(registers[0].register_chain(*each) for each in sent))
    assert [type(outcome) for outcome in outcomes] == [Registered, Unreachable] * 5
    assert outcomes[1] == Unreachable((NOBODY, NOBODY))  # the main order's, and the reminder's
    assert await road.value("SELECT count(*) FROM order_chain") == 5


async def test_a_chain_too_big_for_company_is_stored_once_too(road: Road, registers: Sequence[Register]) -> None:
    sent = [request(road, reminders=80) for _ in range(6)]
    outcomes = await asyncio.gather(*(registers[n % 2].register_chain(*each) for n, each in enumerate(sent)))
    assert len({told(*each, outcome) for each, outcome in zip(sent, outcomes, strict=True)}) == 1
    assert await road.value("SELECT count(*) FROM orders") == 81


async def test_a_chain_whose_client_left_is_found_by_the_next_try(road: Road, registers: Sequence[Register]) -> None:
    first = request(road)
    leaving = asyncio.ensure_future(registers[0].register_chain(*first))
    await asyncio.sleep(0)
    leaving.cancel()
    await registers[0].close()
    outcome = await registers[1].register_chain(*request(road))
    assert isinstance(outcome, Repeated)
    assert outcome.first.id == first[0].id
