"""What a support desk looks up, and what is written down about it (registries 4.8, 7.7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import pytest

from profile_data import O1, O2, O5, O6, P1, P3, personas
from serving import Api, Client, Reply
from varsel.db import execute, fetch
from varsel.domain.identifiers import pseudonym
from varsel.issuer import CREATE_SCOPE, SUPPORT_SCOPE
from varsel.recipients.personas import GUEST, ORGANISATIONS, PERSONS
from varsel.recipients.profile import store
from varsel.recipients.profile.access import log_key
from varsel.settings import Settings

PATH = "/profile/api/v1/dashboard"
KEY = log_key(Settings()) or b""


@dataclass(frozen=True)
class Desk:
    client: Client
    api: Api

    async def get(self, path: str, headers: Mapping[str, str | None] | None = None) -> Reply:
        return await self.client.aget(f"{PATH}{path}", scopes=(SUPPORT_SCOPE,), headers=headers)

    async def log(self) -> list[tuple[str, str, int, int, str | None]]:
        sql = "SELECT actor, kind, asked, found, subject FROM registry.lookup_log ORDER BY id, subject"
        async with self.api.road.db.reading() as conn:
            return await fetch(conn, sql, {}, lambda *row: row)


@pytest.fixture
async def desk(api: Api) -> Desk:
    await personas(api.road.db, api.road.clock)
    return Desk(api.client, api)


async def test_support_alone_may_look(desk: Desk) -> None:
    for path in (f"/organizations/{O1}/notificationaddresses", "/users/contactinformation"):
        assert (await desk.client.aget(f"{PATH}{path}", scopes=(CREATE_SCOPE,))).status == 403
        assert (await desk.client.aget(f"{PATH}{path}", headers={"Authorization": None})).status == 401
    assert await desk.log() == []


async def test_an_organisations_addresses_are_those_that_messages_go_to(desk: Desk) -> None:
    own = (await desk.get(f"/organizations/{O1}/notificationaddresses")).json
    assert [entry.get("email") or entry.get("phone") for entry in own] == [
        "post.fjell@example.com",
        "varsel.fjell@example.com",
        "+4799999521",
        "+4799999522",
    ]
    assert {entry["requestedOrgNumber"] for entry in own} == {entry["sourceOrgNumber"] for entry in own} == {O1}
    main_unit = (await desk.get(f"/organizations/{O2}/notificationaddresses")).json
    assert {entry["sourceOrgNumber"] for entry in main_unit} == {O1}
    assert {entry["requestedOrgNumber"] for entry in main_unit} == {O2}
    assert [e["notificationAddressId"] for e in main_unit] == [e["notificationAddressId"] for e in own]
    for nothing in (ORGANISATIONS["O3"], ORGANISATIONS["O8"]):
        assert (await desk.get(f"/organizations/{nothing}/notificationaddresses")).status == 404


async def test_organisations_are_found_by_an_address_whatever_its_case(desk: Desk) -> None:
    found = (
        await desk.get("/organizations/notificationaddresses/email", {"emailAddress": "POST.fjell@example.com"})
    ).json
    assert len(found) == 4
    assert {entry["requestedOrgNumber"] for entry in found} == {O1}
    by_phone = "/organizations/notificationaddresses/phonenumber"
    assert len((await desk.get(by_phone, {"phoneNumber": "99999521"})).json) == 4
    without_code = (await desk.get(by_phone, {"phoneNumber": "99999527", "countrycode": "+47"})).json
    assert [entry["requestedOrgNumber"] for entry in without_code] == [ORGANISATIONS["O7"]]
    assert (await desk.get(by_phone, {"phoneNumber": "99999521", "countrycode": "+46"})).status == 404
    assert (await desk.get("/organizations/notificationaddresses/email", {"emailAddress": "a@b.example"})).status == 404


async def test_users_are_found_by_organisation_and_by_what_they_registered(desk: Desk) -> None:
    found = (await desk.get(f"/organizations/{O5}/contactinformation")).json
    assert [entry.get("nationalIdentityNumber") for entry in found] == [P1, P3, PERSONS["P4"]]
    assert found[0]["name"]
    assert found[1]["resourceIncludeList"] == ["urn:altinn:resource:demo-resource"]
    email = {"emailAddress": "Rolig.Fjord.Jobb@example.com"}
    by_email = (await desk.get("/organizations/contactinformation/email", email)).json
    assert [entry["organizationNumber"] for entry in by_email] == [O5, O6]
    by_phone = (await desk.get("/organizations/contactinformation/phonenumber", {"phoneNumber": "99999533"})).json
    assert [entry["phone"] for entry in by_phone] == ["+4799999533"]
    assert (await desk.get(f"/organizations/{O1}/contactinformation")).status == 404


async def test_a_person_is_found_with_the_dates_of_the_register(desk: Desk) -> None:
    path = "/users/contactinformation"
    found = (await desk.get(path, {"nationalIdentityNumber": P1})).json
    assert found["nationalIdentityNumber"] == P1
    assert found["isReserved"] is False
    assert {"email", "emailLastUpdated", "phone", "phoneLastUpdated"} <= found.keys()
    for gone in ("P9", "P10"):
        assert (await desk.get(path, {"nationalIdentityNumber": PERSONS[gone]})).status == 404
    assert list((await desk.get(path, {"nationalIdentityNumber": "1"})).errors) == ["nationalIdentityNumber"]
    assert list((await desk.get(path)).errors) == ["nationalIdentityNumber"]


async def test_everybody_with_an_email_address_is_found_or_nobody(desk: Desk) -> None:
    path = "/users/contactinformation/email"
    person = (await desk.get("/users/contactinformation", {"nationalIdentityNumber": P1})).json
    same = (await desk.get(path, {"emailAddress": person["email"].upper()})).json
    assert [entry["nationalIdentityNumber"] for entry in same] == [PERSONS["P16"], P1]
    old_user = (await desk.get(path, {"emailAddress": "gammel.bruker@example.com"})).json
    assert old_user == [
        {
            "userName": "olduser1",
            "isReserved": False,
            "email": "gammel.bruker@example.com",
            "phone": "+4799999542",
        }
    ]
    (guest,) = (await desk.get(path, {"emailAddress": GUEST.upper()})).json
    assert (guest["userName"], guest["email"]) == (f"epost:{GUEST}", GUEST)
    nobody = await desk.get(path, {"emailAddress": "nobody@example.com"})
    assert (nobody.status, nobody.json) == (200, [])


@pytest.mark.assertion("registries", 111)
async def test_each_look_up_is_written_down_and_each_person_in_it(desk: Desk) -> None:
    await desk.get(f"/organizations/{O1}/notificationaddresses")
    await desk.get(f"/organizations/{O5}/contactinformation")
    await desk.get("/users/contactinformation", {"nationalIdentityNumber": PERSONS["P10"]})
    log = await desk.log()
    people = sorted(pseudonym(PERSONS[key], KEY) for key in ("P1", "P3", "P4"))
    assert sorted(log, key=lambda row: (row[1], row[4] or "")) == [
        ("ttd", "organisation-addresses", 1, 4, None),
        ("ttd", "person", 1, 0, None),
        ("ttd", "person", 1, 0, pseudonym(PERSONS["P10"], KEY)),
        ("ttd", "user-addresses", 1, 3, None),
        *[("ttd", "user-addresses", 1, 3, person) for person in people],
    ]
    text = str(await desk.api.road.value("SELECT string_agg(l::text, ' ') FROM registry.lookup_log l"))
    assert P1 not in text
    assert "@" not in text


async def test_the_log_is_kept_for_a_year_and_codes_for_a_day(desk: Desk) -> None:
    clock, db = desk.api.road.clock, desk.api.road.db
    await desk.get(f"/organizations/{O1}/notificationaddresses")
    async with db.autocommit() as conn:
        await execute(
            conn,
            """INSERT INTO registry.verification_code (user_id, address, kind, hash, created_at, expires_at)
               VALUES (1, 'a@example.com', 'email', 'x', %(now)s, %(now)s)""",
            {"now": clock.now()},
        )
    clock.advance(timedelta(hours=24))
    async with db.autocommit() as conn:
        assert await store.prune(conn, now=clock.now()) == 0
        clock.advance(timedelta(seconds=1))
        assert await store.prune(conn, now=clock.now()) == 1
        clock.advance(timedelta(days=364))
        assert await store.prune(conn, now=clock.now()) == 1
    assert await desk.log() == []


def test_production_without_a_key_has_no_log_to_write_and_so_no_look_ups() -> None:
    assert log_key(Settings(environment="production")) is None
    keyed = Settings.model_validate({"environment": "production", "registry": {"log_key": "secret words"}})
    assert log_key(keyed) == b"secret words"
