"""Orders, and registers that keep us waiting, fail, or are down for long (processing 3.5, design 8, registries 9)."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from fakes import FakeDirectory
from road import Road, until
from serving import PRICES, RULES
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.identifiers import synthetic_person_id
from varsel.domain.order import EmailTemplate, Lane, OrderChannel, Recipient
from varsel.preview.preview import Previewer
from varsel.recipients.directory import OrOurCopy, Outages
from varsel.recipients.load.folder import load_personas
from varsel.recipients.local import LocalDirectory
from varsel.recipients.ports import OrganisationContact, Pair, PersonContact, UserContact
from varsel.settings import RegistrySettings

KARI, OLA, ORG = "14838510036", "22957713118", "310001007"
BIG = [synthetic_person_id(1, n) for n in range(4_500)]  # three pieces of 2 000 at most


@dataclass
class SlowDirectory(FakeDirectory):
    """Live registers: each question about persons waits for `go`; what is in `broken` is down."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    questions: int = 0
    broken: set[str] = field(default_factory=set)
    fails_from: int = 1_000_000  # the question about persons that is the first to fail

    def __post_init__(self) -> None:
        self.go.set()

    async def persons(self, ids: Collection[str], *, allow_stale: bool, now: datetime) -> Mapping[str, PersonContact]:
        if ids:
            self.questions += 1
            await self.go.wait()
            self.require("persons")
            if self.questions >= self.fails_from:
                raise RegistryUnavailable("persons")
        return await super().persons(ids, allow_stale=allow_stale, now=now)

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        self.require("organisations", numbers)
        return await super().organisations(numbers)

    async def user_addresses(self, numbers: Collection[str], resource_id: str) -> Mapping[str, list[UserContact]]:
        self.require("users", numbers)
        return await super().user_addresses(numbers, resource_id)

    async def permitted(
        self, pairs: Collection[Pair], *, resource_id: str, action: str, now: datetime
    ) -> frozenset[Pair]:
        self.require("authorizer", pairs)
        return await super().permitted(pairs, resource_id=resource_id, action=action, now=now)

    async def names(self, identifiers: Collection[str]) -> Mapping[str, str]:
        self.require("names", identifiers)
        return await super().names(identifiers)

    def require(self, register: str, about: Collection[Any] = ("something",)) -> None:
        if about and register in self.broken:
            raise RegistryUnavailable(register)


def person(id_: str) -> PersonContact:
    return PersonContact(False, email=f"{id_[-5:]}@example.com")


@pytest.fixture
def registers() -> SlowDirectory:
    return SlowDirectory(people={id_: person(id_) for id_ in (KARI, OLA, *BIG)})


@pytest.fixture
def road(database: Database, clock: ManualClock, registers: SlowDirectory) -> Road:
    return Road(database, clock, registers=registers)


def to(*ids: str) -> tuple[Recipient, ...]:
    return tuple(Recipient(national_identity_number=id_) for id_ in ids)


async def waiting_transactions(road: Road) -> int:
    return int(await road.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"))


@pytest.mark.parametrize("recipients", [(KARI, OLA), BIG], ids=["small order", "big order"])
async def test_no_transaction_is_open_while_a_register_is_asked(
    road: Road, registers: SlowDirectory, recipients: list[str]
) -> None:
    road.recipients_a_turn = 2_000
    order = await road.place(recipients=to(*recipients), creator="ttd")
    registers.go.clear()
    worker = await road.worker()
    asked = registers.questions
    resolving = asyncio.create_task(worker.round())
    await until(lambda: registers.questions > asked)
    assert await waiting_transactions(road) == 0
    assert await road.state(order.order_id) == "Processing"
    assert await road.rows() == []
    registers.go.set()
    await resolving
    await worker.end(road)
    assert await road.state(order.order_id) == "Processed"
    assert len(await road.rows(order.order_id)) == len(recipients)
    assert await road.wrong_counters() == 0


@pytest.mark.parametrize("live", [True, False])
async def test_a_big_order_is_stored_as_a_whole_or_not_at_all(
    database: Database, clock: ManualClock, registers: SlowDirectory, live: bool
) -> None:
    road = Road(database, clock, registers, registers=registers if live else None, recipients_a_turn=2_000)
    order = await road.place(recipients=to(*BIG))
    registers.fails_from = registers.questions + 3  # the last of its three pieces
    await road.run()
    assert await road.rows() == []
    assert await road.state(order.order_id) == "Registered"
    registers.fails_from = 1_000_000
    clock.advance(timedelta(minutes=1))
    await road.run()
    assert len({row.address for row in await road.rows(order.order_id)}) == len({id_[-5:] for id_ in BIG})
    assert len(await road.rows(order.order_id)) == len(BIG)
    assert len(road.mail.sent) == len(BIG)
    assert await road.state(order.order_id) == "Processed"


@pytest.mark.parametrize("recipients", [(KARI,), BIG], ids=["small order", "big order"])
@pytest.mark.assertion("processing", 39)
async def test_a_worker_that_lost_its_orders_while_it_asked_stores_nothing(
    road: Road, registers: SlowDirectory, recipients: list[str]
) -> None:
    road.recipients_a_turn = 2_000
    order = await road.place(recipients=to(*recipients))
    registers.go.clear()
    slow = await road.worker()
    asked = registers.questions
    resolving = asyncio.create_task(slow.round())
    await until(lambda: registers.questions > asked)
    await road.sweeper().release_own(slow.id)  # as if its lease had lapsed
    registers.go.set()
    await resolving
    assert await road.rows() == []
    await road.run()
    assert len(await road.rows(order.order_id)) == len(recipients)
    await slow.end(road)


@pytest.mark.assertion("registries", 83)
@pytest.mark.parametrize(
    ("broken", "waits"),
    [
        ("persons", {"person", "named"}),
        ("organisations", {"organisation", "with resource"}),
        ("users", {"with resource"}),
        ("authorizer", {"with resource"}),
        ("names", {"named"}),
    ],
)
async def test_only_orders_that_need_a_register_wait_for_it(
    road: Road, registers: SlowDirectory, clock: ManualClock, broken: str, waits: set[str]
) -> None:
    registers.official = {ORG: OrganisationContact(("post@example.com",), (), ORG)}
    registers.users = {ORG: [UserContact(101, "leder@example.com", None)]}
    registers.rights = {(ORG, 101)}
    registers.known_names = {KARI: "Kari"}
    organisation = (Recipient(organisation_number=ORG),)
    orders = {
        "direct": await road.place(),
        "person": await road.place(recipients=to(OLA)),
        "organisation": await road.place(recipients=organisation),
        "with resource": await road.place(recipients=organisation, resource_id="app_ttd_demo"),
        "named": await road.place(
            recipients=to(KARI), email=EmailTemplate("noreply@example.com", "Hei $recipientName$", "Body")
        ),
    }
    registers.broken = {broken}
    await road.run()
    states = {name: await road.state(order.order_id) for name, order in orders.items()}
    assert {name for name, state in states.items() if state == "Registered"} == waits
    assert {name for name, state in states.items() if state == "Processed"} == orders.keys() - waits
    registers.broken = set()
    clock.advance(timedelta(minutes=1))
    await road.run()
    assert all([await road.state(order.order_id) == "Processed" for order in orders.values()])
    assert len(road.mail.sent) == len(orders) + 1  # the organisation's user


@pytest.mark.parametrize("recipients", [1, 60], ids=["batched", "alone"])
async def test_at_order_time_only_who_needs_a_register_that_is_down_is_refused(
    road: Road, registers: SlowDirectory, recipients: int
) -> None:
    registers.broken = {"persons"}
    placed = await asyncio.gather(
        road.place(recipients=to(*BIG[:recipients])),
        road.place(),
        road.place(recipients=(Recipient(organisation_number=ORG),)),
        return_exceptions=True,
    )
    assert [isinstance(result, RegistryUnavailable) for result in placed] == [True, False, False]
    assert await road.value("SELECT count(*) FROM orders") == 2


async def test_an_order_to_addresses_does_not_wait_for_a_register_that_others_wait_for(
    road: Road, registers: SlowDirectory
) -> None:
    registers.go.clear()
    asked = registers.questions
    waiting = asyncio.create_task(road.place(recipients=to(KARI)))
    await until(lambda: registers.questions > asked)
    async with asyncio.timeout(10):
        await road.place()
    assert not waiting.done()
    registers.go.set()
    await waiting


async def test_orders_to_addresses_that_are_due_do_not_wait_either(road: Road, registers: SlowDirectory) -> None:
    person = await road.place(recipients=to(KARI))
    direct = await road.place()
    registers.go.clear()
    worker = await road.worker()
    resolving = asyncio.create_task(worker.round())

    async def resolved() -> bool:
        return await road.state(direct.order_id) == "Processed"

    await until(resolved)
    assert await road.state(person.order_id) == "Processing"
    registers.go.set()
    await resolving
    await worker.end(road)


# What creators want while a register is down


@pytest.fixture
def copies() -> FakeDirectory:
    return FakeDirectory(
        people={KARI: PersonContact(False, email="copied@example.com")},
        official={ORG: OrganisationContact(("copied.post@example.com",), (), ORG)},
        users={ORG: [UserContact(101, "copied.leder@example.com", None)]},
        rights={(ORG, 101)},
        known_names={KARI: "Kari"},
    )


@pytest.fixture
def lenient_road(database: Database, clock: ManualClock, registers: SlowDirectory, copies: FakeDirectory) -> Road:
    outages = Outages(("skd",), OrOurCopy(registers, copies))
    return Road(database, clock, registers=registers, outages=outages)


async def test_while_a_register_is_down_a_creator_may_be_served_from_our_copy_and_others_wait(
    lenient_road: Road, registers: SlowDirectory
) -> None:
    road = lenient_road
    patient = await road.place(recipients=to(KARI))
    lenient = await road.place(recipients=to(KARI), creator="SKD")
    registers.broken = {"persons"}
    await road.run()
    assert [message.to for message in road.mail.sent] == ["copied@example.com"]
    assert await road.state(lenient.order_id) == "Processed"
    assert await road.state(patient.order_id) == "Registered"


async def test_our_copy_is_not_asked_while_the_register_answers(lenient_road: Road, copies: FakeDirectory) -> None:
    await lenient_road.place(recipients=to(KARI), creator="skd")
    await lenient_road.run()
    assert copies.asked == []
    assert [message.to for message in lenient_road.mail.sent] == [person(KARI).email]


async def test_at_order_time_too_the_creators_wish_decides(lenient_road: Road, registers: SlowDirectory) -> None:
    registers.broken = {"persons"}
    answers = await asyncio.gather(
        lenient_road.place(recipients=to(KARI)),
        lenient_road.place(recipients=to(KARI), creator="skd"),
        return_exceptions=True,
    )
    assert isinstance(answers[0], RegistryUnavailable)
    assert not isinstance(answers[1], BaseException)
    assert answers[1].lookup
    assert answers[1].lookup.status == "Success"


async def test_a_copy_with_nothing_in_it_does_not_answer(
    database: Database, clock: ManualClock, registers: SlowDirectory
) -> None:
    outages = Outages(("skd",), OrOurCopy(registers, LocalDirectory(database, RegistrySettings())))
    road = Road(database, clock, registers=registers, outages=outages)
    placed = await road.place(recipients=to(KARI), creator="skd")
    registers.broken = {"persons"}
    await road.run()
    assert (await road.state(placed.order_id), await road.rows()) == ("Registered", [])
    await load_personas(database, clock=clock)
    clock.advance(timedelta(minutes=2))
    await road.run()
    assert [message.to for message in road.mail.sent] == ["rolig.fjord@example.com"]


async def test_a_preview_says_that_our_copy_answers_and_how_old_it_is(
    registers: SlowDirectory, clock: ManualClock, database: Database
) -> None:
    await load_personas(database, clock=clock)
    yesterday = clock.now() - timedelta(days=1)
    async with database.autocommit() as conn:
        await execute(
            conn,
            """INSERT INTO registry.sync_cursor (feed, last_success_at) VALUES ('krr', %(at)s)
               ON CONFLICT (feed) DO UPDATE SET last_success_at = %(at)s""",
            {"at": yesterday},
        )
    following = RegistrySettings(max_copy_age=timedelta())
    outages = Outages(("skd",), OrOurCopy(registers, LocalDirectory(database, following)))
    previewer = Previewer(registers, clock, RULES, PRICES, outages=outages)
    order = Road(database, clock).order(recipients=to(KARI), creator="skd")
    registers.broken = {"persons"}
    (message,) = (await previewer.preview(order)).recipients[0].messages
    evidence = message.evidence
    assert evidence
    assert (message.address, evidence.source, evidence.changed_at) == ("rolig.fjord@example.com", "file", clock.now())
    assert (evidence.stands_in, evidence.as_of) == (True, yesterday)
    registers.broken = set()
    (message,) = (await previewer.preview(order)).recipients[0].messages
    assert message.address == person(KARI).email
    registers.broken = {"persons"}
    with pytest.raises(RegistryUnavailable):
        await previewer.preview(replace(order, creator="ttd"))


async def test_a_right_is_never_taken_from_a_copy(lenient_road: Road, registers: SlowDirectory) -> None:
    road = lenient_road
    registers.official = {ORG: OrganisationContact(("post@example.com",), (), ORG)}
    registers.users = {ORG: [UserContact(101, "leder@example.com", None)]}
    registers.rights = {(ORG, 101)}
    order = await road.place(
        recipients=(Recipient(organisation_number=ORG),), resource_id="app_ttd_demo", creator="skd"
    )
    registers.broken = {"authorizer"}
    await road.run()
    assert await road.state(order.order_id) == "Registered"
    assert road.mail.sent == []


async def test_a_big_order_of_such_a_creator_goes_on_from_the_copy(
    lenient_road: Road, registers: SlowDirectory, copies: FakeDirectory
) -> None:
    road = lenient_road
    road.recipients_a_turn = 2_000
    copies.people = {id_: person(id_) for id_ in BIG}
    order = await road.place(recipients=to(*BIG), creator="skd", channel=OrderChannel.EMAIL)
    registers.fails_from = registers.questions + 2
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.BULK)
    await worker.end(road)
    assert len(await road.rows(order.order_id)) == len(BIG)
