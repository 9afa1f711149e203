"""What our adapters ask of Altinn's services: within their limits, with their credentials, no oftener than needed."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr, ValidationError

from feeds import CLIENT_ID, jwk, private_key
from registers import Registers, platform_key, running_registers
from varsel.clock import ManualClock
from varsel.domain.errors import RegistryUnavailable
from varsel.domain.identifiers import synthetic_organisation_number, synthetic_person_id
from varsel.providers.altinn_access import ExchangedToken, PlatformToken
from varsel.providers.altinn_register import AltinnRegister, party_memory
from varsel.providers.maskinporten import Maskinporten
from varsel.providers.registry_http import Limits, RegistryClient, in_parts
from varsel.providers.registry_memory import Memory
from varsel.recipients.directory import WithMainUnits
from varsel.recipients.load.rows import Organisation, Person, Role, Rule, UserAddress
from varsel.recipients.names import NameStyle
from varsel.recipients.personas import DEMO_RESOURCE, ORGANISATIONS, PERSONS
from varsel.recipients.ports import ContactDirectory, OrganisationContact, Pair
from varsel.settings import AltinnSettings, RegistrySettings, Settings
from varsel.simulators import register
from varsel.simulators.maskinporten import EXCHANGE, Client, MaskinportenSimulator
from varsel.simulators.register import RegisterSimulator
from varsel.simulators.world import World

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
O1, O2, O5 = ORGANISATIONS["O1"], ORGANISATIONS["O2"], ORGANISATIONS["O5"]
P1 = PERSONS["P1"]
MANY_PERSONS = [synthetic_person_id(3, n) for n in range(2_300)]
MANY_UNITS = [synthetic_organisation_number(3, n) for n in range(1_300)]


def unit(number: str, party_id: int | None = None) -> Organisation:
    return Organisation(number, f"LAG {number}", None, party_id, None, None, deleted=False)


@pytest.fixture
async def registers() -> AsyncIterator[Registers]:
    async with running_registers(World.personas(NOW), ManualClock(NOW)) as running:
        yield running


async def may_read(directory: ContactDirectory, *pairs: Pair) -> frozenset[Pair]:
    return await directory.permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW)


def sizes(registers: Registers, path: str, member: str) -> list[int]:
    site = registers.register if "parties" in path else registers.profile
    return sorted((len(asked.body[member]) for asked in site.asked(path)), reverse=True)


# Limits


async def test_persons_and_organisations_are_asked_for_in_bounded_parts(registers: Registers) -> None:
    directory = registers.directory()
    await directory.persons(MANY_PERSONS, allow_stale=False, now=NOW)
    await directory.organisations(MANY_UNITS)
    assert sizes(registers, "users/contactpoint/lookup", "nationalIdentityNumbers") == [2_000, 300]
    assert sizes(registers, "notificationaddresses/lookup", "organizationNumbers") == [1_000, 300]


@pytest.mark.assertion("registries", 102)
async def test_users_addresses_of_more_than_100_organisations_are_asked_for_in_parts(registers: Registers) -> None:
    world, numbers = registers.profile.world, MANY_UNITS[:230]
    for number in numbers:
        world.put(unit(number))
        world.put(UserAddress(number, 101, f"leder.{number}@example.com", None, [], None))
    found = await registers.directory().user_addresses([*numbers, "123456789"], DEMO_RESOURCE)
    assert found.keys() == set(numbers)
    assert sizes(registers, "units/contactpoint/lookup", "organizationNumbers") == [100, 100, 30]


@pytest.mark.assertion("registries", 94)
async def test_names_are_asked_for_a_thousand_at_a_time(registers: Registers) -> None:
    for number in MANY_PERSONS:
        registers.register.world.put(Person(number, first_name="ROLIG", last_name="FJORD"))
    found = await registers.directory().names(MANY_PERSONS)
    assert found == dict.fromkeys(MANY_PERSONS, "ROLIG FJORD")
    assert sizes(registers, "parties/nameslookup", "parties") == [1_000, 1_000, 300]


@pytest.mark.assertion("registries", 81)
@pytest.mark.assertion("processing", 71)
async def test_1201_pairs_make_three_decisions_and_each_permit_counts_once(registers: Registers) -> None:
    world, numbers = registers.authorization.world, [*MANY_UNITS[:1_200]]
    for place, number in enumerate(numbers):
        world.put(unit(number, 200_000 + place))
        world.put(Role(number, 900, "daglig-leder", "-infinity", "infinity"))
    pairs = [*((number, 900) for number in numbers), (numbers[0], 901)]
    assert await may_read(registers.directory(), *pairs, *pairs) == {(number, 900) for number in numbers}
    asked = [a.body["request"]["multiRequests"]["requestReference"] for a in registers.authorization.asked("decision")]
    assert sorted(map(len, asked)) == [201, 500, 500]
    assert sizes(registers, "parties/query", "data") == [100] * 12


@pytest.mark.assertion("registries-faults", 36)
@pytest.mark.assertion("registries", 103)
async def test_party_ids_of_some_are_an_answer_although_others_are_unknown(registers: Registers) -> None:
    adapter = registers.register_adapter()
    assert await adapter.party_ids([O1, ORGANISATIONS["O8"], "123456789"]) == {O1: 50_001}
    (asked,) = registers.register.asked("parties/query")
    assert asked.status == 206


@pytest.mark.assertion("registries", 84)
@pytest.mark.assertion("processing", 69)
async def test_an_app_is_asked_about_by_its_owner_and_its_whole_name(registers: Registers) -> None:
    world = registers.authorization.world
    world.put(Rule("app_ttd_my_app", "instantiate", "daglig-leder"))
    permitted = await registers.directory().permitted(
        [(O5, 101)], resource_id="app_ttd_my_app", action="instantiate", now=NOW
    )
    assert permitted == {(O5, 101)}
    (asked,) = registers.authorization.asked("decision")
    attributes = {a["attributeId"]: a["value"] for a in asked.body["request"]["resource"][0]["attribute"]}
    assert attributes == {"urn:altinn:org": "ttd", "urn:altinn:app": "my_app", "urn:altinn:partyid": "50005"}


class Counting:
    """Answers parts, and knows how many it was asked for at once."""

    def __init__(self) -> None:
        self.now = self.most = self.done = 0

    async def ask(self, part: list[int]) -> list[int]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            if 7 in part:
                raise RegistryUnavailable("seven")
            self.done += 1
            return part
        finally:
            self.now -= 1


async def test_four_parts_are_asked_for_at_once_and_answered_in_order() -> None:
    counting = Counting()
    parts = await in_parts(range(10, 35), 2, counting.ask)
    assert [member for part in parts for member in part] == list(range(10, 35))
    assert counting.most == 4


async def test_the_first_failure_is_raised_and_ends_the_others() -> None:
    counting = Counting()
    with pytest.raises(RegistryUnavailable, match="seven"):
        await in_parts(range(100), 1, counting.ask)
    assert counting.now == 0
    assert counting.done < 12


# Credentials


@pytest.mark.assertion("registries", 101)
async def test_each_service_is_shown_what_it_asks_for_and_nothing_else(registers: Registers) -> None:
    directory = registers.directory()
    await directory.persons([P1], allow_stale=False, now=NOW)
    await directory.names([P1])
    await may_read(directory, (O5, 101))
    secrets = {"authorization", "platformaccesstoken", "ocp-apim-subscription-key"}
    shown = {
        site: {name for asked in simulator.requests for name in asked.headers} & secrets
        for site, simulator in vars(registers).items()
        if site in {"profile", "register", "authorization"}
    }
    assert shown == {
        "profile": set(),
        "register": {"platformaccesstoken"},
        "authorization": {"ocp-apim-subscription-key"},
    }
    assert {asked.status for s in (registers.profile, registers.register) for asked in s.requests} <= {200, 206}
    assert all(asked.headers["user-agent"].startswith("varsel/") for asked in registers.profile.requests)


@pytest.mark.assertion("registries", 101)
async def test_a_platform_token_names_our_component_and_is_used_until_shortly_before_its_end() -> None:
    seconds = time.time()
    token = PlatformToken(
        SecretStr(platform_key().as_pem(private=True).decode()), "notifications", clock=lambda: seconds
    )
    first = (await token.headers(renew=False))["PlatformAccessToken"]
    claims = jwt.decode(first, platform_key(), algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["urn:altinn:app"]) == (
        "platform",
        "platform.altinn.no",
        "notifications",
    )
    assert claims["exp"] - claims["nbf"] == 305
    seconds += 294
    assert (await token.headers(renew=False))["PlatformAccessToken"] == first
    seconds += 2
    assert (await token.headers(renew=False))["PlatformAccessToken"] != first


def test_a_key_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="no RSA key") as refused:
        PlatformToken(SecretStr("-----BEGIN SECRET-----"), "notifications")
    assert "SECRET" not in str(refused.value)


async def test_a_refused_token_is_renewed_once(registers: Registers) -> None:
    registers.register.fail("status", "nameslookup", status=401)
    assert await registers.directory().names([P1]) == {P1: "ROLIG FJORD"}
    assert [asked.status for asked in registers.register.requests] == [401, 200]


async def test_from_outside_the_platform_a_token_of_maskinporten_is_exchanged() -> None:
    client = Client(RSAKey.import_key(private_key("client").as_dict(private=False)), [register.SCOPE])
    theirs = MaskinportenSimulator({CLIENT_ID: client}, key=private_key("maskinporten"))
    async with theirs, RegisterSimulator(World.personas(NOW), bearer_claims=theirs.claims) as simulator:
        ours = Maskinporten(issuer=theirs.issuer, token_url=theirs.token_url, client_id=CLIENT_ID, jwk=jwk())
        token = ExchangedToken(ours.scope(register.SCOPE), theirs.url.rstrip("/") + EXCHANGE)
        http = RegistryClient("register", simulator.url.rstrip("/") + register.BASE, Limits(), token)
        adapter = AltinnRegister(http, AltinnSettings(), NameStyle(), party_memory())
        assert await adapter.names([P1]) == {P1: "ROLIG FJORD"}
        assert await adapter.names([O1]) == {O1: "FJELL OG FJORD AS"}
        assert len(theirs.asked(EXCHANGE)) == 1
        theirs.expire_tokens()
        assert await adapter.names([O5]) == {O5: "BRUKERNES LAG"}
        theirs.fail("status", EXCHANGE, status=503, times=10)
        theirs.expire_tokens()
        with pytest.raises(RegistryUnavailable):
            await adapter.names([O2])
        for part in (http, token, ours):
            await part.close()


# What is kept, and for how long


async def test_a_name_is_kept_for_six_hours_and_that_there_is_none_for_ten_minutes(registers: Registers) -> None:
    directory, nobody = registers.directory(), PERSONS["P10"]
    for _ in range(2):
        assert await directory.names([P1, nobody]) == {P1: "ROLIG FJORD"}
    registers.register.world.put(Person(nobody, first_name="NY", last_name="NABO"))
    registers.seconds.now += 601
    assert await directory.names([P1, nobody]) == {P1: "ROLIG FJORD", nobody: "NY NABO"}
    registers.seconds.now += 6 * 3_600
    await directory.names([P1])
    asked = [[p["ssn"] for p in asked.body["parties"]] for asked in registers.register.asked("nameslookup")]
    assert asked == [[P1, nobody], [nobody], [P1]]


async def test_rights_are_asked_for_every_time_and_party_ids_once_in_ten_minutes(registers: Registers) -> None:
    directory, world = registers.directory(), registers.authorization.world
    assert await may_read(directory, (O5, 102)) == {(O5, 102)}
    world.put(Role(O5, 102, "kontaktperson", "-infinity", NOW))  # it ends
    assert await may_read(directory, (O5, 102)) == frozenset()
    assert len(registers.register.asked("parties/query")) == 1
    registers.seconds.now += 601
    await may_read(directory, (O5, 102))
    assert len(registers.register.asked("parties/query")) == 2


async def test_party_ids_that_come_with_addresses_are_not_asked_for_again(registers: Registers) -> None:
    directory = registers.directory()
    await directory.user_addresses([O5], DEMO_RESOURCE)
    assert await may_read(directory, (O5, 101), (O5, 103)) == {(O5, 101)}
    assert not registers.register.requests


class Addresses:
    """Official addresses of some organisations."""

    def __init__(self, *known: str) -> None:
        self.known = known

    async def organisations(self, numbers: Collection[str]) -> Mapping[str, OrganisationContact]:
        return {n: OrganisationContact((f"{n}@example.com",), (), n) for n in numbers if n in self.known}


@pytest.mark.assertion("registries", 55)
async def test_where_units_are_not_known_here_register_tells_the_main_unit(registers: Registers) -> None:
    organisations = WithMainUnits(Addresses(O1, O5), registers.register_adapter())
    for _ in range(2):
        found = await organisations.organisations([O1, O2, O5, ORGANISATIONS["O8"], ORGANISATIONS["O4"]])
        assert {number: contact.origin for number, contact in found.items()} == {O1: O1, O2: O1, O5: O5}
    asked = [a.body["data"][-9:] for a in registers.register.asked("main-units")]
    assert sorted(asked) == sorted([O2, ORGANISATIONS["O8"], ORGANISATIONS["O4"]])
    registers.seconds.now += 61  # "none" is kept for a minute, a main unit for ten
    await organisations.organisations([O2, ORGANISATIONS["O4"]])
    assert len(registers.register.asked("main-units")) == 4


async def test_a_register_of_main_units_that_fails_is_no_answer(registers: Registers) -> None:
    registers.register.fail("status", "main-units", status=404, times=9)
    with pytest.raises(RegistryUnavailable):
        await WithMainUnits(Addresses(), registers.register_adapter()).organisations([O2])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 40)), max_size=30))
@settings(max_examples=50)
def test_a_memory_says_what_was_last_kept_and_forgets_in_time(steps: list[tuple[str, bool, int]]) -> None:
    now = 0.0
    memory = Memory[int](timedelta(seconds=60), timedelta(seconds=10), max_entries=2, monotonic=lambda: now)
    kept: dict[str, tuple[float, int | None]] = {}
    for number, (key, found, later) in enumerate(steps):
        memory.keep([key], {key: number} if found else {})
        kept[key] = (now + (60 if found else 10), number if found else None)
        now += later
        known, unknown = memory.recall("abc")
        for asked in "abc":
            until, value = kept.get(asked, (0.0, None))
            assert known.get(asked) in {None, value}
            assert asked in unknown or until > now
        assert (key in unknown) == (kept[key][0] <= now)  # of two entries, the newest is never the one that is dropped


# Names


@pytest.mark.assertion("registries", 93)
async def test_in_short_order_the_register_writes_the_name(registers: Registers) -> None:
    short = NameStyle.from_settings(RegistrySettings(person_name_order="short"))
    assert await registers.register_adapter(style=short).names([PERSONS["P14"]]) == {
        PERSONS["P14"]: "O'NEILL SÁRA MÁRET"
    }


async def test_names_in_title_case_leave_organisations_as_they_are(registers: Registers) -> None:
    for order in ("display", "short"):
        settings = RegistrySettings(person_name_order=order, person_name_case="title")
        names = await registers.register_adapter(style=NameStyle.from_settings(settings)).names([P1, O1])
        assert names == {P1: "Rolig Fjord" if order == "display" else "Fjord Rolig", O1: "FJELL OG FJORD AS"}


@pytest.mark.assertion("registries", 34)
async def test_whoever_asks_profile_only_for_what_is_fresh_loses_the_reserved_with_stale_addresses(
    registers: Registers,
) -> None:
    """The quirk of Profile that `always_request_stale` is against: without it, this is the setting's price."""
    registers.settings = AltinnSettings(always_request_stale=False)
    assert await registers.directory().persons([PERSONS["P8"]], allow_stale=False, now=NOW) == {}
    registers.settings = AltinnSettings()
    found = await registers.directory().persons([PERSONS["P8"]], allow_stale=False, now=NOW)
    assert found[PERSONS["P8"]].reserved


# Settings


@pytest.mark.parametrize(
    ("provider", "named"),
    [
        ({"person_provider": "altinn"}, "altinn.profile_url"),
        ({"name_provider": "altinn"}, "altinn.register_url, altinn.platform_token_key"),
        ({"authz_provider": "altinn"}, "altinn.authorization_url, altinn.subscription_key"),
    ],
)
def test_a_provider_without_its_address_or_key_is_refused_at_the_start(provider: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Settings.model_validate({"registry": provider})


def test_identities_go_nowhere_in_the_clear() -> None:
    with pytest.raises(ValidationError, match="https"):
        Settings.model_validate({"altinn": {"profile_url": "http://profile.example/profile/api/v1/"}})
