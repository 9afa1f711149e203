"""What the simulated registers answer, and that they answer the same each time (registries 3.5, 6.2, 8, 10)."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from feeds import NOW, SCOPES
from registers import SUBSCRIPTION_KEY
from varsel.domain.identifiers import synthetic_organisation_number, synthetic_person_id
from varsel.recipients.generate import Population, write
from varsel.simulators import authorization, profile, register
from varsel.simulators.authorization import AuthorizationSimulator
from varsel.simulators.business_addresses import DEFINE, FEED, READ, BusinessAddressesSimulator
from varsel.simulators.krr import CHANGES, LOOKUP, KrrSimulator
from varsel.simulators.profile import ProfileSimulator
from varsel.simulators.register import SCOPE, RegisterSimulator
from varsel.simulators.registry_server import RegistrySimulator
from varsel.simulators.world import World

PROFILE: Final = profile.BASE
ORGANISATIONS: Final = f"{PROFILE}organizations/notificationaddresses/lookup"
PEOPLE: Final = [synthetic_person_id(7, n) for n in range(30)]
UNITS: Final = [synthetic_organisation_number(7, n) for n in range(12)]

Call = tuple[str, str, str, Any]
"""Whose, method, path and body."""


@pytest.mark.assertion("registries", 56)
@pytest.mark.parametrize(
    "body",
    [{"organizationNumbers": bad} for bad in (None, [], [""], [UNITS[0], " "], UNITS[0])] + [{}, None],
)
async def test_profile_refuses_a_question_about_no_organisation(body: object) -> None:
    async with ProfileSimulator(World()) as simulator, aiohttp.ClientSession() as http:
        answer = await http.post(simulator.url.rstrip("/") + ORGANISATIONS, json=body)
        assert answer.status == 400


@pytest.mark.assertion("registries", 115)
async def test_the_same_seed_and_the_same_calls_give_the_same_bodies(tmp_path: Path) -> None:
    first = await answers(tmp_path, seed=7)
    assert first == await answers(tmp_path, seed=7)
    assert len([body for body in first if len(body) > 200]) > 10, "there is something in them"
    assert first != await answers(tmp_path, seed=8)


async def answers(folder: Path, seed: int) -> list[bytes]:
    """The bodies of all calls, in a world of this seed."""
    write(Population(30, 12, seed, NOW.date()), folder, lambda _: None)
    world = World.read(folder, NOW)
    async with AsyncExitStack() as stack:
        simulators: Mapping[str, RegistrySimulator] = {
            "krr": KrrSimulator(world, lambda _: {"scope": SCOPES}, now=lambda: NOW, page_size=20),
            "business": BusinessAddressesSimulator(world, now=lambda: NOW),
            "profile": ProfileSimulator(world, now=lambda: NOW),
            "register": RegisterSimulator(world, bearer_claims=lambda _: {"scope": SCOPE}, now=lambda: NOW),
            "authorization": AuthorizationSimulator(world, subscription_key=SUBSCRIPTION_KEY, now=lambda: NOW),
        }
        for simulator in simulators.values():
            await stack.enter_async_context(simulator)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        found = []
        for whose, method, path, body in calls():
            site = simulators[whose].url.rstrip("/")
            headers = {"Ocp-Apim-Subscription-Key": SUBSCRIPTION_KEY}
            async with http.request(method, site + path, json=body, headers=headers) as answer:
                found.append((await answer.read()).replace(site.encode(), b"SITE"))
        return found


def calls() -> list[Call]:
    """Every question, before and after the world and the clock were moved, and with its entries in another order."""
    steering: list[Call] = []
    for whose in ("krr", "business", "profile", "register", "authorization"):
        steering.append((whose, "POST", "/_sim/clock", {"advance": "P500D"}))
        steering.append((whose, "POST", "/_sim/faults", {"kind": "reorder", "times": 3}))
    row = {"id": PEOPLE[3], "email": "ny@example.com", "email_updated": NOW.isoformat()}
    return [*questions(), ("krr", "POST", "/_sim/rows/persons", [row]), *steering, *questions(), *questions()]


def questions() -> list[Call]:
    unit = {"enhetsidentifikator": {"type": "ORGANISASJONSNUMMER", "verdi": UNITS[0]}}
    address = {"epostadresse": {"brukernavn": "ny", "domenenavn": "example.com"}}
    contact = {"digitalVarslingsinformasjon": address, "kontaktinformasjonForEnhet": unit}
    names = [{"ssn": number} for number in PEOPLE] + [{"orgNo": number} for number in UNITS]
    urns = [f"urn:altinn:organization:identifier-no:{number}" for number in UNITS]
    query = "/register/api/v2/internal/parties/query?fields=id,uuid,org-id"
    return [
        ("krr", "POST", CHANGES, {"fraEndringsId": 0}),
        ("krr", "POST", CHANGES, {"fraEndringsId": 20}),
        ("krr", "POST", LOOKUP, {"personidentifikatorer": PEOPLE}),
        ("business", "GET", f"{FEED}?pageSize=5", None),
        ("business", "GET", f"{READ}{UNITS[0]}", None),
        ("business", "POST", DEFINE, {"Kontaktinformasjon": contact}),
        ("profile", "POST", f"{PROFILE}users/contactpoint/lookup", {"nationalIdentityNumbers": PEOPLE}),
        ("profile", "POST", f"{PROFILE}users/contactpoint/availability", {"nationalIdentityNumbers": PEOPLE}),
        ("profile", "POST", ORGANISATIONS, {"organizationNumbers": UNITS}),
        (
            "profile",
            "POST",
            f"{PROFILE}units/contactpoint/lookup",
            {"organizationNumbers": UNITS, "resourceId": "demo"},
        ),
        ("register", "POST", f"{register.BASE}parties/nameslookup", {"parties": names}),
        ("register", "POST", query, {"data": urns}),
        ("authorization", "POST", f"{authorization.BASE}decision", decision()),
    ]


def decision() -> dict[str, Any]:
    """May the first users read, for the first organisations?"""
    users, parties, numbers = range(1_000, 1_005), range(100_000, 100_005), range(5)
    told = {
        "accessSubject": [category(f"s{n}", "urn:altinn:userid", user) for n, user in enumerate(users)],
        "action": [category("a", "urn:oasis:names:tc:xacml:1.0:action:action-id", "read")],
        "resource": [
            category(f"r{n}", "urn:altinn:partyid", party, "urn:altinn:resource", "demo")
            for n, party in enumerate(parties)
        ],
        "multiRequests": {"requestReference": [{"referenceId": [f"s{n}", "a", f"r{n}"]} for n in numbers]},
    }
    return {"request": told}


def category(id_: str, *named: object) -> dict[str, Any]:
    pairs = zip(named[::2], named[1::2], strict=True)
    return {"id": id_, "attribute": [{"attributeId": name, "value": str(value)} for name, value in pairs]}
