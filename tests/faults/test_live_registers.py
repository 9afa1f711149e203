"""Live registers that fail, stall, repeat, reorder and throttle (registries 6.6, 9)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from registers import Registers, running_registers
from road import Road, until
from varsel.clock import ManualClock
from varsel.db import fetch_value
from varsel.domain.errors import RegistryProtocolError, RegistryRejected, RegistryUnavailable
from varsel.domain.identifiers import synthetic_person_id
from varsel.domain.order import Recipient
from varsel.providers.breaker import Breaker
from varsel.recipients.personas import DEMO_RESOURCE, GUEST, ORGANISATIONS, PERSONS
from varsel.recipients.ports import ContactDirectory
from varsel.settings import Settings
from varsel.simulators import profile
from varsel.simulators.world import World
from varsel.wiring import open_parts
from varsel.worker.run import run_worker

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
O1, O5 = ORGANISATIONS["O1"], ORGANISATIONS["O5"]
P1 = PERSONS["P1"]
URN = f"urn:altinn:person:idporten-email:{GUEST}"

Question = Callable[[ContactDirectory], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "persons": lambda d: d.persons([P1, PERSONS["P8"]], allow_stale=False, now=NOW),
    "organisations": lambda d: d.organisations([O1, O5]),
    "externals": lambda d: d.external_identities([URN]),
    "users": lambda d: d.user_addresses([O5], DEMO_RESOURCE),
    "permitted": lambda d: d.permitted([(O5, 101), (O5, 103)], resource_id=DEMO_RESOURCE, action="read", now=NOW),
    "names": lambda d: d.names([P1, O1]),
}
PATHS = {
    "persons": "users/contactpoint/lookup",
    "organisations": "notificationaddresses/lookup",
    "externals": "lookupsi",
    "users": "units/contactpoint/lookup",
    "permitted": "decision",
    "names": "nameslookup",
}
NOT_REPEATED = ("names", "bad-row")  # well-formed, but it leaves somebody out
every_question = pytest.mark.parametrize("question", QUESTIONS)


@pytest.fixture
async def registers() -> AsyncIterator[Registers]:
    async with running_registers(World.personas(NOW), ManualClock(NOW)) as running:
        yield running


def fail(registers: Registers, question: str, kind: str, **fault: Any) -> None:
    for simulator in (registers.profile, registers.register, registers.authorization):
        simulator.fail(kind, PATHS[question], **fault)


def asked(registers: Registers, question: str) -> list[int]:
    """The status of each answer; 0 where none came."""
    simulators = (registers.profile, registers.register, registers.authorization)
    return [asked.status for simulator in simulators for asked in simulator.asked(PATHS[question])]


@pytest.mark.assertion("registries-faults", 32)
@pytest.mark.assertion("registries", 32)
@every_question
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "times": 2},
        {"kind": "status", "status": 503},
        {"kind": "drop"},
        {"kind": "drop", "times": 2},
        {"kind": "truncate"},
        {"kind": "not-json"},
        {"kind": "malformed"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
async def test_a_fault_that_passes_is_not_seen(registers: Registers, question: str, fault: dict[str, Any]) -> None:
    expected = await QUESTIONS[question](registers.directory())
    fail(registers, question, **fault)
    assert await QUESTIONS[question](registers.directory()) == expected
    assert expected


@every_question
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 503}, RegistryUnavailable),
        ({"kind": "status", "status": 429}, RegistryUnavailable),
        ({"kind": "status", "status": 501}, RegistryUnavailable),
        ({"kind": "drop"}, RegistryUnavailable),
        ({"kind": "truncate"}, RegistryProtocolError),
        ({"kind": "not-json"}, RegistryProtocolError),
        ({"kind": "malformed"}, RegistryProtocolError),
        ({"kind": "bad-row"}, RegistryProtocolError),
        ({"kind": "status", "status": 400}, RegistryRejected),
        ({"kind": "status", "status": 403}, RegistryRejected),
        ({"kind": "status", "status": 404}, RegistryRejected),
        ({"kind": "status", "status": 302, "headers": {"Location": "/profile/api/v1/elsewhere"}}, RegistryRejected),
    ],
    ids=lambda case: "-".join(map(str, case.values())) if isinstance(case, dict) else "",
)
async def test_a_fault_that_stays_is_told_by_its_kind_and_there_is_no_partial_answer(
    registers: Registers, question: str, fault: dict[str, Any], error: type[RegistryUnavailable]
) -> None:
    fail(registers, question, **fault, times=100)
    with pytest.raises(RegistryUnavailable) as raised:
        await QUESTIONS[question](registers.directory())
    assert raised.type is error
    told_once = error is RegistryRejected or fault.get("status") == 501 or (question, fault["kind"]) == NOT_REPEATED
    assert len(asked(registers, question)) == (1 if told_once else 3)
    assert all("elsewhere" not in request.path for request in registers.profile.requests)


@every_question
async def test_a_register_that_does_not_answer_is_given_up_and_not_asked_again(
    registers: Registers, question: str
) -> None:
    fail(registers, question, "stall")
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS[question](registers.directory(read=timedelta(milliseconds=50)))
    assert asked(registers, question) == [0]


async def test_a_body_that_never_ends_is_given_up_in_time(registers: Registers) -> None:
    registers.profile.fail("slow-body", seconds=0.02, times=3)
    directory = registers.directory(read=timedelta(seconds=5), total=timedelta(milliseconds=200))
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["persons"](directory)


@every_question
@pytest.mark.parametrize("kind", ["repeat", "reorder"])
async def test_entries_that_come_twice_or_in_another_order_change_nothing(
    registers: Registers, question: str, kind: str
) -> None:
    expected = await QUESTIONS[question](registers.directory())
    fail(registers, question, kind)
    if (question, kind) == ("permitted", "repeat"):  # more results than pairs: who knows what they mean
        with pytest.raises(RegistryUnavailable):
            await QUESTIONS[question](registers.directory())
    else:
        assert await QUESTIONS[question](registers.directory()) == expected


async def test_one_part_that_fails_fails_the_whole(registers: Registers) -> None:
    registers.profile.fail("status", first=2, status=403)
    many = [synthetic_person_id(5, n) for n in range(4_100)]
    with pytest.raises(RegistryRejected):
        await registers.directory().persons(many, allow_stale=True, now=NOW)


# Throttling


async def test_a_short_throttle_is_waited_for_and_a_long_one_is_passed_on(registers: Registers) -> None:
    registers.profile.fail("status", status=429, headers={"Retry-After": "1"})
    directory = registers.directory(patience=timedelta(seconds=5))
    began = asyncio.get_running_loop().time()
    assert await QUESTIONS["persons"](directory)
    assert asyncio.get_running_loop().time() - began >= 1
    registers.profile.fail("status", status=429, headers={"Retry-After": "6"})
    with pytest.raises(RegistryUnavailable) as raised:
        await QUESTIONS["persons"](directory)
    assert raised.value.retry_after == timedelta(seconds=6)
    assert asked(registers, "persons") == [429, 200, 429]


# The decision point


@pytest.mark.assertion("registries-faults", 34, 35)
@pytest.mark.assertion("registries", 83)
@pytest.mark.parametrize("kind", ["indeterminate", "short"])
async def test_what_the_decision_point_leaves_open_is_no_refusal(registers: Registers, kind: str) -> None:
    fail(registers, "permitted", kind)
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["permitted"](registers.directory())


@pytest.mark.assertion("registries", 83)
async def test_for_a_single_pair_too_an_open_decision_is_no_refusal(registers: Registers) -> None:
    fail(registers, "permitted", "indeterminate")
    with pytest.raises(RegistryUnavailable):
        await registers.directory().permitted([(O5, 101)], resource_id=DEMO_RESOURCE, action="read", now=NOW)


@pytest.mark.assertion("registries", 83)
async def test_a_refusal_without_categories_drops_the_users_of_that_organisation_only(registers: Registers) -> None:
    registers.authorization.denied.add(O5)
    pairs = [(O5, 101), (O1, 101)]
    permitted = await registers.directory().permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW)
    assert permitted == {(O1, 101)}


@pytest.mark.assertion("registries", 82)
async def test_where_register_knows_no_party_nobody_is_asked(registers: Registers) -> None:
    pairs = [(ORGANISATIONS["O8"], 101)]
    assert not await registers.directory().permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW)
    assert not registers.authorization.requests


@pytest.mark.assertion("registries-faults", 33)
async def test_a_number_with_wrong_check_digits_costs_its_neighbours_nothing(registers: Registers) -> None:
    names = await registers.directory().names([P1, "14838510035", O1, "310001008", "abc", ""])
    assert names == {P1: "ROLIG FJORD", O1: "FJELL OG FJORD AS"}
    (request,) = registers.register.asked("nameslookup")
    assert request.status == 200


# The breaker


@pytest.mark.assertion("registries", 104)
async def test_after_ten_failures_nothing_is_asked_for_15_seconds_and_then_once(registers: Registers) -> None:
    directory = registers.directory(pauses=())
    registers.profile.fail("status", status=503, times=11)
    for _ in range(10):
        with pytest.raises(RegistryUnavailable):
            await QUESTIONS["persons"](directory)
    with pytest.raises(RegistryUnavailable) as raised:
        await QUESTIONS["persons"](directory)
    assert raised.value.retry_after
    assert len(asked(registers, "persons")) == 10
    registers.seconds.now += 15
    with pytest.raises(RegistryUnavailable):  # the one that tries fails too
        await QUESTIONS["persons"](directory)
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["organisations"](directory)
    assert len(registers.profile.requests) == 11
    registers.seconds.now += 15
    assert await QUESTIONS["persons"](directory)
    assert await QUESTIONS["organisations"](directory)


async def test_the_breaker_of_one_register_is_no_other_register_s(registers: Registers) -> None:
    directory = registers.directory(pauses=())
    registers.register.fail("drop", times=10)
    for _ in range(10):
        with pytest.raises(RegistryUnavailable):
            await QUESTIONS["names"](directory)
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["names"](directory)
    assert len(registers.register.requests) == 10
    assert await QUESTIONS["persons"](directory)


async def test_while_one_tries_whether_a_register_is_back_the_others_do_not(registers: Registers) -> None:
    directory = registers.directory(pauses=())
    registers.profile.fail("status", status=503, times=10)
    for _ in range(10):
        with pytest.raises(RegistryUnavailable):
            await QUESTIONS["persons"](directory)
    registers.seconds.now += 15
    registers.profile.fail("stall")
    trying = asyncio.ensure_future(QUESTIONS["persons"](directory))
    await until(lambda: len(registers.profile.requests) == 11)
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["persons"](directory)
    trying.cancel()
    await asyncio.wait([trying])
    assert await QUESTIONS["persons"](directory)  # who gave up told nothing: the next one tries


@given(st.lists(st.sampled_from(["failed", "succeeded", "abandoned", "later"]), max_size=60))
@settings(max_examples=200)
def test_a_breaker_is_open_exactly_when_the_last_three_failed_a_moment_ago(steps: list[str]) -> None:
    now, in_a_row, opened = 0.0, 0, -100.0
    breaker = Breaker(3, timedelta(seconds=15), lambda: now)
    for step in steps:
        if step == "later":
            now += 10
            continue
        shut = in_a_row >= 3 and now < opened + 15
        assert (breaker.enter() is not None) == shut
        if shut:
            continue
        getattr(breaker, step)()
        if step == "failed":
            in_a_row, opened = in_a_row + 1, now
        elif step == "succeeded":
            in_a_row = 0


# Ends


async def test_whoever_waits_for_a_register_hears_at_once_that_we_are_closing(registers: Registers) -> None:
    directory = registers.directory()
    registers.profile.fail("stall")
    waiting = asyncio.ensure_future(QUESTIONS["persons"](directory))
    await until(lambda: len(registers.profile.requests) == 1)
    await registers.close()
    async with asyncio.timeout(1):
        with pytest.raises(RegistryUnavailable):
            await waiting
    with pytest.raises(RegistryUnavailable):
        await QUESTIONS["persons"](directory)


async def test_a_worker_ends_within_its_grace_although_a_register_does_not_answer(
    registers: Registers, dsn: str
) -> None:
    settings = Settings.model_validate(
        {
            "registry": {"person_provider": "altinn"},
            "altinn": {"profile_url": registers.profile.url.rstrip("/") + profile.BASE},
            "delivery": {"grace": "PT0.2S"},
        }
    )
    parts = await open_parts(settings, dsn, name="test", connections=4)
    register = parts.register()
    order = Road(parts.db, ManualClock(parts.clock.now())).order(recipients=(Recipient(national_identity_number=P1),))
    await register.register_order(order)
    registers.profile.fail("stall", times=100)
    stop = asyncio.Event()
    working = asyncio.create_task(run_worker(parts, stop, ("resolve",)))
    await until(lambda: len(registers.profile.requests) == 2)
    stop.set()
    async with asyncio.timeout(5):
        await working
    async with parts.db.reading() as conn:
        assert await fetch_value(conn, "SELECT state FROM orders WHERE worker_id IS NULL", {}) == "Registered"
    await register.close()
    await parts.close()


@pytest.mark.assertion("registries", 12)
async def test_the_log_of_failures_holds_neither_identities_nor_addresses(
    registers: Registers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in ("malformed", "drop", "truncate"):
        for simulator in (registers.profile, registers.register):
            simulator.fail(kind, times=3)
        for question in ("persons", "names"):
            with pytest.raises(RegistryUnavailable) as raised:
                await QUESTIONS[question](registers.directory())
            assert P1 not in f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__context__!r}"
    records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    failures = [record for record in caplog.records if record.getMessage() == "register failed"]
    assert len(failures) == 18
    assert all(secret not in record for record in records for secret in (P1, "rolig.fjord", "+4799999501"))
    assert vars(failures[0])["fields"]["register"] == "profile (users/contactpoint/lookup)"
    assert vars(failures[0])["fields"]["items"] == 2


# The simulators' own controls


async def test_a_simulator_is_steered_over_http_by_faults_rows_and_its_clock(registers: Registers) -> None:
    directory = registers.directory(pauses=())
    site = registers.profile.url
    async with ClientSession() as http:
        fault = {"kind": "status", "status": 503, "path": "contactpoint/lookup"}
        assert (await http.post(f"{site}_sim/faults", json=fault)).status == 204
        with pytest.raises(RegistryUnavailable):
            await QUESTIONS["persons"](directory)
        row = {"id": P1, "email": "ny.adresse@example.com", "email_updated": NOW.isoformat()}
        assert (await http.post(f"{site}_sim/rows/persons", json=[row])).status == 204
        person = (await directory.persons([P1], allow_stale=False, now=NOW))[P1]
        assert (person.email, person.mobile) == ("ny.adresse@example.com", None)
        assert (await http.post(f"{site}_sim/clock", json={"advance": "P600D"})).status == 204
        person = (await directory.persons([P1], allow_stale=False, now=NOW))[P1]
        assert (person.email, person.email_stale) == (None, True)
        log = await (await http.get(f"{site}_sim/requests")).json()
        assert [entry["status"] for entry in log] == [503, 200, 200]
        for bad in ({"kind": "unheard-of"}, {"kind": "status", "status": 99}):
            assert (await http.post(f"{site}_sim/faults", json=bad)).status == 400
        real = [{"id": "01010112345"}]
        assert (await http.post(f"{site}_sim/rows/persons", json=real)).status == 400
