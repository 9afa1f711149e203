"""What every `ContactDirectory` answers for the personas (registries 2.6, 2.7, 3.5, 3.6, 4.5-4.7, 5).

A later provider joins `PROVIDERS` with a function that makes it over the same people and organisations.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from feeds import CLIENT_ID, SCOPES, jwk, running_feeds
from registers import running_registers
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.providers.registers import Registers
from varsel.recipients.load.folder import load_personas
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import DEMO_RESOURCE, GUEST, OLD_USER, ORGANISATIONS, PERSONS
from varsel.recipients.ports import ContactDirectory, ExternalContact, OrganisationContact, UserContact
from varsel.settings import RegistrySettings, Settings
from varsel.simulators.krr import LOOKUP
from varsel.simulators.world import World

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
O1, O5, O6 = ORGANISATIONS["O1"], ORGANISATIONS["O5"], ORGANISATIONS["O6"]


@asynccontextmanager
async def local(database: Database) -> AsyncIterator[ContactDirectory]:
    await load_personas(database, clock=ManualClock(NOW))
    yield LocalDirectory(database, RegistrySettings())


@asynccontextmanager
async def altinn(_database: Database) -> AsyncIterator[ContactDirectory]:
    async with running_registers(World.personas(NOW), ManualClock(NOW)) as registers:
        yield registers.directory()


@asynccontextmanager
async def krr_direct(database: Database) -> AsyncIterator[ContactDirectory]:
    """Persons by KRR's look-up, the others by our copies, as the settings have it."""
    await load_personas(database, clock=ManualClock(NOW))
    async with running_feeds(database, World.personas(NOW), now=lambda: NOW) as feeds:
        registry = {
            "person_provider": "krr-direct",
            "krr_lookup_url": feeds.krr.url.rstrip("/") + LOOKUP,
            "maskinporten_issuer": feeds.maskinporten.issuer,
            "maskinporten_token_url": feeds.maskinporten.token_url,
            "maskinporten_client_id": CLIENT_ID,
            "maskinporten_jwk": jwk(),
            "maskinporten_scope_krr": SCOPES,
        }
        settings = Settings.model_validate({"registry": registry})
        registers = Registers(settings, database, ManualClock(NOW), patience=timedelta(seconds=5))
        assert registers.live
        yield registers.directory
        await registers.close()


@asynccontextmanager
async def followed(database: Database) -> AsyncIterator[ContactDirectory]:
    """Our copies again, but what registers tell has come by their feeds; files add names, users and rights."""
    async with running_feeds(database, World.personas(NOW), World.personas(NOW)) as feeds:
        for sync in (feeds.persons(), feeds.addresses()):
            report = await sync.run()
            assert report is not None
            assert (report.outcome, report.counts.quarantined) == ("done", 0)
    await load_personas(database, clock=ManualClock(NOW))
    yield LocalDirectory(database, RegistrySettings())


Provider = Callable[[Database], AbstractAsyncContextManager[ContactDirectory]]
PROVIDERS: Final[dict[str, Provider]] = {
    "local": local,
    "local, followed": followed,
    "altinn": altinn,
    "krr-direct": krr_direct,
}


@pytest.fixture(params=PROVIDERS)
async def directory(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[ContactDirectory]:
    async with PROVIDERS[request.param](database) as directory:
        yield directory


async def test_a_fresh_person_has_both_addresses(directory: ContactDirectory) -> None:
    person = (await directory.persons([PERSONS["P1"]], allow_stale=False, now=NOW))[PERSONS["P1"]]
    assert (person.reserved, person.email, person.mobile) == (False, "rolig.fjord@example.com", "+4799999501")
    assert not person.email_stale
    assert not person.mobile_stale


@pytest.mark.assertion("registries", 36)
async def test_a_reserved_person_keeps_the_addresses(directory: ContactDirectory) -> None:
    person = (await directory.persons([PERSONS["P2"]], allow_stale=False, now=NOW))[PERSONS["P2"]]
    assert person.reserved
    assert person.email
    assert person.mobile


@pytest.mark.parametrize(
    ("persona", "email", "mobile"),
    [("P3", True, False), ("P4", False, True), ("P5", False, False), ("P15", True, True), ("P16", True, True)],
)
async def test_a_person_has_the_addresses_that_are_registered_and_no_others(
    directory: ContactDirectory, persona: str, email: bool, mobile: bool
) -> None:
    person = (await directory.persons([PERSONS[persona]], allow_stale=False, now=NOW))[PERSONS[persona]]
    assert (person.email is not None, person.mobile is not None) == (email, mobile)
    assert not person.reserved


@pytest.mark.assertion("registries", 33)
async def test_only_the_stale_address_is_withheld(directory: ContactDirectory) -> None:
    person = (await directory.persons([PERSONS["P6"]], allow_stale=False, now=NOW))[PERSONS["P6"]]
    assert (person.email, person.email_stale) == (None, True)
    assert (person.mobile, person.mobile_stale) == ("+4799999506", False)


@pytest.mark.assertion("registries", 34)
@pytest.mark.parametrize(("persona", "reserved"), [("P7", False), ("P8", True)])
async def test_a_person_whose_addresses_are_all_stale_is_still_known_with_the_true_reservation(
    directory: ContactDirectory, persona: str, reserved: bool
) -> None:
    person = (await directory.persons([PERSONS[persona]], allow_stale=False, now=NOW))[PERSONS[persona]]
    assert (person.reserved, person.email, person.mobile) == (reserved, None, None)
    assert person.email_stale
    assert person.mobile_stale


@pytest.mark.assertion("registries", 35)
async def test_stale_addresses_are_given_with_their_flags_to_who_asks_for_them(directory: ContactDirectory) -> None:
    person = (await directory.persons([PERSONS["P7"]], allow_stale=True, now=NOW))[PERSONS["P7"]]
    assert (person.email, person.mobile) == ("gammel.furu@example.com", "+4799999507")
    assert person.email_stale
    assert person.mobile_stale


@pytest.mark.assertion("registries", 38)
async def test_deleted_and_unregistered_persons_are_absent(directory: ContactDirectory) -> None:
    assert await directory.persons([PERSONS["P9"], PERSONS["P10"]], allow_stale=True, now=NOW) == {}


async def test_addresses_come_as_registered_good_or_bad(directory: ContactDirectory) -> None:
    found = await directory.persons(PERSONS.values(), allow_stale=False, now=NOW)
    assert found[PERSONS["P11"]].mobile == "99999511"
    assert found[PERSONS["P12"]].mobile == "+47123"
    assert found[PERSONS["P13"]].email == "norsk.tone@blåbærskog.example"


@pytest.mark.assertion("registries", 37, 39, 82)
async def test_repeats_are_answered_once_and_nothing_is_answered_for_nothing(directory: ContactDirectory) -> None:
    assert len(await directory.persons([PERSONS["P1"]] * 3, allow_stale=False, now=NOW)) == 1
    assert await directory.persons([], allow_stale=False, now=NOW) == {}
    assert len(await directory.organisations([O1] * 3)) == 1
    assert await directory.organisations([]) == {}
    assert len((await directory.user_addresses([O5, O5], DEMO_RESOURCE))[O5]) == 3
    assert await directory.user_addresses([], DEMO_RESOURCE) == {}
    assert await directory.permitted([], resource_id=DEMO_RESOURCE, action="read", now=NOW) == frozenset()
    assert await directory.names([]) == {}


async def test_an_organisation_has_its_official_addresses_in_a_stable_order(directory: ContactDirectory) -> None:
    assert (await directory.organisations([O1]))[O1] == OrganisationContact(
        ("post.fjell@example.com", "varsel.fjell@example.com"), ("+4799999521", "+4799999522"), O1
    )


@pytest.mark.assertion("registries", 55)
async def test_a_subunit_without_any_row_is_reached_through_its_main_unit(directory: ContactDirectory) -> None:
    found = await directory.organisations([ORGANISATIONS["O2"], O1])
    assert found[ORGANISATIONS["O2"]] == found[O1]
    assert found[ORGANISATIONS["O2"]].origin == O1


@pytest.mark.assertion("registries", 53, 54)
async def test_a_subunit_with_unusable_rows_only_is_present_and_gets_no_fallback(directory: ContactDirectory) -> None:
    number = ORGANISATIONS["O3"]
    assert await directory.organisations([number]) == {number: OrganisationContact((), (), number)}


async def test_addresses_that_differ_in_case_only_are_all_given(directory: ContactDirectory) -> None:
    found = await directory.organisations([ORGANISATIONS["O4"]])
    assert found[ORGANISATIONS["O4"]].emails == ("post.dobbel@example.com", "Post.Dobbel@example.com")


async def test_an_organisation_unknown_to_every_register_is_absent(directory: ContactDirectory) -> None:
    number = ORGANISATIONS["O8"]
    assert await directory.organisations([number]) == {}
    assert await directory.user_addresses([number], DEMO_RESOURCE) == {}
    assert await directory.names([number]) == {}


@pytest.mark.assertion("registries", 77)
async def test_users_are_given_whose_addresses_are_for_all_resources_or_for_this_one(
    directory: ContactDirectory,
) -> None:
    for_demo = await directory.user_addresses([O5, O1], DEMO_RESOURCE)
    assert for_demo == {
        O5: [
            UserContact(101, "rolig.fjord.jobb@example.com", "+4799999531"),
            UserContact(102, "glad.bekk.jobb@example.com", None),
            UserContact(103, None, "+4799999533"),
        ]
    }
    for_another = await directory.user_addresses([O5], "another-resource")
    assert [user.user_id for user in for_another[O5]] == [101, 103]


@pytest.mark.assertion("registries", 77)
async def test_the_case_of_a_resource_id_counts(directory: ContactDirectory) -> None:
    found = await directory.user_addresses([O5], DEMO_RESOURCE.upper())
    assert [user.user_id for user in found[O5]] == [101, 103]


@pytest.mark.assertion("registries", 80)
async def test_only_permitted_pairs_remain_and_a_right_holds_for_its_organisation_only(
    directory: ContactDirectory,
) -> None:
    pairs = {(O5, 101), (O5, 102), (O5, 103), (O6, 101), (O6, 102)}
    permitted = await directory.permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW)
    assert permitted == {(O5, 101), (O5, 102), (O6, 101)}


async def test_a_right_to_read_is_no_right_to_anything_else(directory: ContactDirectory) -> None:
    assert not await directory.permitted([(O5, 101)], resource_id=DEMO_RESOURCE, action="write", now=NOW)


@pytest.mark.assertion("registries", 92)
async def test_names_of_persons_and_organisations_are_asked_together(directory: ContactDirectory) -> None:
    asked = [PERSONS["P1"], PERSONS["P14"], PERSONS["P10"], O1, ORGANISATIONS["O8"]]
    assert await directory.names(asked) == {
        PERSONS["P1"]: "ROLIG FJORD",
        PERSONS["P14"]: "SÁRA MÁRET O'NEILL",
        O1: "FJELL OG FJORD AS",
    }


LOGIN: Final = "urn:altinn:person:idporten-email:"


@pytest.mark.assertion("registries", 87, 88)
async def test_who_logs_in_by_email_is_reached_there_whether_registered_or_not(directory: ContactDirectory) -> None:
    known = [LOGIN + GUEST, LOGIN + GUEST.upper().replace("@", "%40")]
    unknown = LOGIN + "new%2Bcomer%40example.com"
    assert await directory.external_identities([*known, unknown]) == {
        known[0]: ExternalContact(GUEST, "+4799999541"),
        known[1]: ExternalContact(GUEST.upper(), "+4799999541"),
        unknown: ExternalContact("new+comer@example.com", None),
    }


@pytest.mark.assertion("registries", 89)
async def test_the_forms_of_a_user_name_find_the_same_person_in_any_case(directory: ContactDirectory) -> None:
    prefixes = ("urn:altinn:party:username:", "urn:altinn:username:", "urn:altinn:person:legacy-selfidentified:")
    urns = [prefix + name for prefix in prefixes for name in (OLD_USER, OLD_USER.upper(), "Olduse%721")]
    contact = ExternalContact("gammel.bruker@example.com", "+4799999542")
    assert await directory.external_identities(urns) == dict.fromkeys(urns, contact)


@pytest.mark.assertion("registries", 90)
async def test_what_names_nobody_is_left_out(directory: ContactDirectory) -> None:
    known = f"urn:altinn:username:{OLD_USER}"
    nobody = ["urn:altinn:username:nobody", "urn:altinn:username:", f"URN:altinn:username:{OLD_USER}", LOGIN + "x"]
    assert set(await directory.external_identities([*nobody, "urn:altinn:username:a%00b", "", known])) == {known}
    assert await directory.external_identities([]) == {}


@pytest.mark.assertion("registries", 114)
async def test_of_every_persona_the_copies_answer_as_live_registers_do(database: Database) -> None:
    """Nobody asks over HTTP for what our tables say (design 8); whoever asks through the port hears the same."""

    async def answers(directory: ContactDirectory) -> list[object]:
        people, units = list(PERSONS.values()), list(ORGANISATIONS.values())
        pairs = [(unit, user) for unit in units for user in (101, 102, 103)]
        urns = [LOGIN + GUEST, f"urn:altinn:username:{OLD_USER}", "urn:altinn:username:nobody"]
        return [
            *[await directory.persons(people, allow_stale=stale, now=NOW) for stale in (True, False)],
            # an organisation without any address is known to our tables, and not to the register of addresses
            {n: found for n, found in (await directory.organisations(units)).items() if found.emails or found.mobiles},
            await directory.external_identities(urns),
            *[await directory.user_addresses(units, resource) for resource in (DEMO_RESOURCE, "another")],
            await directory.permitted(pairs, resource_id=DEMO_RESOURCE, action="read", now=NOW),
        ]

    async with local(database) as copies, altinn(database) as live:
        assert await answers(copies) == await answers(live)


async def test_each_answer_tells_how_old_its_addresses_are_and_who_wrote_the_record(
    directory: ContactDirectory,
) -> None:
    persons = await directory.persons([PERSONS["P6"], PERSONS["P5"]], allow_stale=False, now=NOW)
    official = (await directory.organisations([O1]))[O1].record
    users = (await directory.user_addresses([O5], DEMO_RESOURCE))[O5]
    record = persons[PERSONS["P6"]].record
    assert record is not None
    if record.source != "altinn":  # which does not tell
        assert record.email_fresh_at == NOW - timedelta(days=700)  # known although the stale address itself is withheld
        assert record.mobile_fresh_at == NOW - timedelta(days=90)
    for found in (record, persons[PERSONS["P5"]].record, official, *(user.record for user in users)):
        assert found is not None
        assert found.source
        assert found.changed_at == NOW
