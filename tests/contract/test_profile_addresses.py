"""The addresses where users want messages that concern their organisations (registries 4.1, 4.2)."""

import asyncio
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from profile_data import COLLEAGUE, LEADER, O1, O2, O5, O6, PARTIES, STRANGER, USERS, Users, personas
from serving import Api
from varsel.db import execute
from varsel.issuer import CREATE_SCOPE, ENDUSER_READ_SCOPE, ENDUSER_SCOPE
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings

EMAIL = "mitt.valg@example.com"
PHONE = "+4799999599"
RESOURCE = "urn:altinn:resource:demo-resource"

BROKEN: Final[list[tuple[Any, str]]] = [
    ({}, "EmailAddress"),
    ({"emailAddress": "  ", "phoneNumber": None}, "EmailAddress"),
    ({"emailAddress": "nobody"}, "EmailAddress"),
    ({"emailAddress": f"{'a' * 390}@example.com"}, "EmailAddress"),
    ({"phoneNumber": "1234567"}, "PhoneNumber"),
    ({"phoneNumber": "+47"}, "PhoneNumber"),
    ({"phoneNumber": "٩٩٩٩٩٥٩٩"}, "PhoneNumber"),
    ({"phoneNumber": "+" + "4" * 26}, "PhoneNumber"),
    ({"emailAddress": EMAIL, "resourceIncludeList": [RESOURCE, RESOURCE]}, "ResourceIncludeList"),
    ({"emailAddress": EMAIL, "resourceIncludeList": ["demo-resource"]}, "ResourceIncludeList[0]"),
    (
        {"emailAddress": EMAIL, "resourceIncludeList": [RESOURCE, "urn:altinn:resource:abc"]},
        "ResourceIncludeList[1]",
    ),
    ({"emailAddress": EMAIL, "resourceIncludeList": ["urn:altinn:resource:Demo"]}, "ResourceIncludeList[0]"),
    (
        {"emailAddress": EMAIL, "resourceIncludeList": [f"{RESOURCE}{n}" for n in range(1001)]},
        "ResourceIncludeList",
    ),
]


@pytest.fixture
async def users(api: Api) -> Users:
    await personas(api.road.db, api.road.clock)
    users = Users(api.client, api.road.db)
    await users.verify("email", EMAIL)
    await users.verify("sms", PHONE)
    return users


async def test_who_names_no_user_learns_nothing(users: Users) -> None:
    for scopes, status in (((), 403), ((CREATE_SCOPE,), 403), ((ENDUSER_READ_SCOPE,), 403), ((ENDUSER_SCOPE,), 200)):
        assert (await users.call("GET", PARTIES, scopes=scopes)).status == status
    assert (await users.client.aget(PARTIES, headers={"Authorization": None})).status == 401
    organisation = await users.client.aget(PARTIES, scopes=(ENDUSER_SCOPE,))
    assert (organisation.status, organisation.json["detail"]) == (400, "The token names no user.")


@pytest.mark.assertion("registries", 65)
async def test_an_address_is_created_once_and_then_replaced(users: Users) -> None:
    party = await users.party(O1)
    body = {"emailAddress": EMAIL, "phoneNumber": PHONE, "resourceIncludeList": [RESOURCE]}
    created = await users.call("PUT", f"{PARTIES}/{party}", body)
    assert (created.status, created.content) == (201, b"")
    assert created.headers["Location"] == f"http://localhost:5090{PARTIES}/{party}"
    again = await users.call("PUT", f"{PARTIES}/{party}", body)
    assert (again.status, again.content) == (204, b"")
    read = await users.call("GET", f"{PARTIES}/{party}")
    assert read.json == {
        "userId": LEADER,
        "partyUuid": str(party),
        "organizationNumber": O1,
        **body,
        "lastChanged": "2026-11-23T10:00:00Z",
        "needsConfirmation": False,
        "emailVerificationStatus": "Verified",
        "smsVerificationStatus": "Verified",
    }
    replaced = await users.call("PUT", f"{PARTIES}/{party}", {"phoneNumber": PHONE})
    assert replaced.status == 204
    read = await users.call("GET", f"{PARTIES}/{party}")
    assert read.json["resourceIncludeList"] == []
    assert "emailAddress" not in read.json
    assert "emailVerificationStatus" not in read.json


async def test_what_a_user_chose_is_where_messages_go(users: Users, api: Api) -> None:
    party = await users.party(O5)
    assert (await users.call("PUT", f"{PARTIES}/{party}", {"emailAddress": EMAIL})).status == 204
    sql = "SELECT email, source FROM registry.user_org_contact WHERE user_id = 101 AND org_no = %(org_no)s"
    async with api.road.db.reading() as conn:
        (row,) = [tuple(row) for row in await (await conn.execute(sql, {"org_no": O5})).fetchall()]
    assert row == (EMAIL, "user")


async def test_all_of_a_users_addresses_are_listed_also_for_what_the_register_forgot(users: Users, api: Api) -> None:
    listed = (await users.call("GET", PARTIES)).json
    assert [entry["organizationNumber"] for entry in listed] == [O5, O6]
    async with api.road.db.autocommit() as conn:
        await execute(conn, "DELETE FROM registry.organisation WHERE org_no = %(org_no)s", {"org_no": O5})
    listed = (await users.call("GET", PARTIES)).json
    assert [entry["organizationNumber"] for entry in listed] == [O5, O6]
    assert (await users.call("DELETE", f"{PARTIES}/{listed[0]['partyUuid']}")).status == 200
    assert [entry["organizationNumber"] for entry in (await users.call("GET", PARTIES)).json] == [O6]


@pytest.mark.assertion("registries", 66)
async def test_an_address_that_nobody_verified_changes_nothing(users: Users) -> None:
    party = await users.party(O1)
    for body in ({"emailAddress": "a@example.com"}, {"emailAddress": EMAIL, "phoneNumber": "+4799999598"}):
        for method in ("PUT", "PATCH"):
            refused = await users.call(method, f"{PARTIES}/{party}", body)
            assert refused.status == 422
            assert refused.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert b"verified" in refused.content
    assert (await users.call("GET", f"{PARTIES}/{party}")).status == 404


@pytest.mark.assertion("registries", 79)
async def test_a_legacy_address_is_used_and_refused_when_it_is_put_again_unchanged(users: Users, api: Api) -> None:
    party = await users.party(O5)
    used = await LocalDirectory(api.road.db, RegistrySettings()).user_addresses([O5], "demo-resource")
    assert [contact.user_id for contact in used[O5]] == [LEADER, COLLEAGUE, STRANGER]
    before = (await users.call("GET", f"{PARTIES}/{party}")).json
    assert before["emailVerificationStatus"] == "Legacy"
    body = {"emailAddress": before["emailAddress"], "phoneNumber": before["phoneNumber"]}
    assert (await users.call("PUT", f"{PARTIES}/{party}", body)).status == 422


@pytest.mark.assertion("registries", 67)
async def test_a_put_that_breaks_a_rule_is_refused_by_the_name_of_the_property(users: Users) -> None:
    party = await users.party(O1)
    for body, path in BROKEN:
        refused = await users.call("PUT", f"{PARTIES}/{party}", body)
        assert list(refused.errors) == [path], body


async def test_a_put_takes_numbers_and_addresses_in_all_forms(users: Users) -> None:
    party = await users.party(O1)
    phones, emails = ["12345", "99999599", "004799999599"], ["a|b@example.com", '"a b"@example.com', "a@127.0.0.1"]
    await users.verify("sms", *phones)
    await users.verify("email", *emails, "a@æøå.example")
    bodies = [{"phoneNumber": phone} for phone in phones]
    bodies += [{"emailAddress": email} for email in (*emails, "a@æøå.example", "A@ÆØÅ.example")]
    for body in bodies:
        assert (await users.call("PUT", f"{PARTIES}/{party}", body)).status in (201, 204), body


@pytest.mark.assertion("registries", 68)
async def test_a_patch_keeps_what_is_absent_and_empties_what_is_null(users: Users) -> None:
    one = f"{PARTIES}/{await users.party(O1)}"
    body = {"emailAddress": EMAIL, "phoneNumber": PHONE, "resourceIncludeList": [RESOURCE]}
    assert (await users.call("PATCH", one, body)).status == 201
    assert (await users.call("PATCH", one, {"phoneNumber": None})).status == 204
    read = (await users.call("GET", one)).json
    assert (read["emailAddress"], read["resourceIncludeList"]) == (EMAIL, [RESOURCE])
    assert "phoneNumber" not in read
    assert (await users.call("PATCH", one, {"resourceIncludeList": None})).status == 204
    assert (await users.call("GET", one)).json["resourceIncludeList"] == []
    for last in ({"emailAddress": None}, {"emailAddress": " "}, {"emailAddress": None, "phoneNumber": ""}):
        assert "EmailAddress" in (await users.call("PATCH", one, last)).errors
    assert (await users.call("GET", one)).json["emailAddress"] == EMAIL
    assert (await users.call("PATCH", one, {"phoneNumber": "99999599"})).errors.keys() == {"PhoneNumber"}
    assert (await users.call("PATCH", one, {"phoneNumber": "+4712345678"})).errors.keys() == {"PhoneNumber"}


@pytest.mark.assertion("registries", 69)
async def test_who_may_not_represent_the_party_can_only_delete(users: Users) -> None:
    await users.verify("email", EMAIL, user=STRANGER)
    one = f"{PARTIES}/{await users.party(O5)}"
    for method, body in (("GET", None), ("PUT", {"emailAddress": EMAIL}), ("PATCH", {"emailAddress": EMAIL})):
        assert (await users.call(method, one, body, user=STRANGER)).status == 403
    assert (await users.call("GET", f"{PARTIES}/byorgnumber/{O5}", user=STRANGER)).status == 403
    gone = await users.call("DELETE", one, user=STRANGER)
    assert (gone.status, gone.content) == (200, b"")
    assert (await users.call("DELETE", one, user=STRANGER)).status == 404
    assert (await users.call("GET", one, user=LEADER)).status == 200  # others keep theirs


async def test_a_role_for_the_main_unit_represents_the_subunit_and_a_right_alone_its_organisation(
    users: Users, api: Api
) -> None:
    subunit = f"{PARTIES}/{await users.party(O2)}"
    assert (await users.call("PUT", subunit, {"emailAddress": EMAIL})).status == 201  # leads O1, its main unit
    async with api.road.db.autocommit() as conn:
        await execute(
            conn,
            """INSERT INTO registry.delegation (org_no, user_id, resource_id, action, source, changed_at, valid_to)
               VALUES (%(org)s, 103, 'demo-resource', 'read', 'file', now(), %(to)s)""",
            {"org": O5, "to": api.road.clock.now() + timedelta(days=1)},
        )
    one = f"{PARTIES}/byorgnumber/{O5}"
    assert (await users.call("GET", one, user=STRANGER)).status == 200
    api.road.clock.advance(timedelta(days=1))
    assert (await users.call("GET", one, user=STRANGER)).status == 403


async def test_by_number_also_with_the_scope_to_read(users: Users) -> None:
    read = await users.call("GET", f"{PARTIES}/byorgnumber/{O5}", scopes=(ENDUSER_READ_SCOPE,))
    assert (read.status, read.json["organizationNumber"]) == (200, O5)
    assert (await users.call("GET", f"{PARTIES}/byorgnumber/{O1}")).status == 404
    assert (await users.call("GET", f"{PARTIES}/byorgnumber/310001082")).status == 403
    assert (await users.call("GET", f"{PARTIES}/byorgnumber/{O5}", scopes=(CREATE_SCOPE,))).status == 403


async def test_a_party_that_is_no_uuid_is_refused_and_an_unknown_one_forbidden(users: Users) -> None:
    for wrong in ("00000000-0000-0000-0000-000000000000", "O5", O5):
        for method in ("GET", "DELETE"):
            assert list((await users.call(method, f"{PARTIES}/{wrong}")).errors) == ["partyUuid"]
    unknown = f"{PARTIES}/{UUID(int=7)}"
    assert (await users.call("GET", unknown)).status == 403
    assert (await users.call("PUT", unknown, {"emailAddress": EMAIL})).status == 403
    assert (await users.call("DELETE", unknown)).status == 404


async def test_a_file_does_not_undo_what_a_user_chose(users: Users, api: Api) -> None:
    party = await users.party(O5)
    assert (await users.call("PUT", f"{PARTIES}/{party}", {"emailAddress": EMAIL})).status == 204
    await personas(api.road.db, api.road.clock)
    assert (await users.call("GET", f"{PARTIES}/{party}")).json["emailAddress"] == EMAIL


@pytest.mark.assertion("registries", 70)
async def test_old_addresses_ask_to_be_confirmed_unless_their_user_wants_peace(users: Users, api: Api) -> None:
    clock, one = api.road.clock, f"{PARTIES}/byorgnumber/{O1}"
    assert (await users.call("PUT", f"{PARTIES}/{await users.party(O1)}", {"emailAddress": EMAIL})).status == 201

    async def needs_confirmation() -> bool:
        needed: bool = (await users.call("GET", one)).json["needsConfirmation"]
        return needed

    clock.advance(timedelta(days=89))
    assert not await needs_confirmation()
    clock.advance(timedelta(days=1))
    assert await needs_confirmation()
    now = clock.now().isoformat().replace("+00:00", "Z")
    asked = await users.call("PATCH", f"{USERS}/profilesettings", {"ignoreUnitProfileDateTime": now})
    assert asked.json == {"ignoreUnitProfileDateTime": now}
    clock.advance(timedelta(days=365))
    assert not await needs_confirmation()
    clock.advance(timedelta(seconds=1))
    assert await needs_confirmation()


async def test_preferences_keep_what_is_absent(users: Users, api: Api) -> None:
    path = f"{USERS}/profilesettings"
    assert (await users.call("GET", path)).json == {}
    assert (await users.call("PATCH", path, {"language": "en"})).json == {"language": "en"}
    at = "2026-11-01T12:00:00Z"
    both = {"language": "en", "ignoreUnitProfileDateTime": at}
    assert (await users.call("PATCH", path, {"ignoreUnitProfileDateTime": at})).json == both
    assert (await users.call("GET", path)).json == both
    assert (await users.call("GET", path, user=COLLEAGUE)).json == {}
    assert (await users.call("PATCH", path, {"language": None})).json == {"ignoreUnitProfileDateTime": at}
    later = (api.road.clock.now() + timedelta(seconds=1)).isoformat()
    for wrong in ({"language": "de"}, {"ignoreUnitProfileDateTime": later}, {"ignoreUnitProfileDateTime": at[:-1]}):
        assert (await users.call("PATCH", path, wrong)).status == 400


async def test_of_patches_at_once_that_would_create_one_does_and_none_overwrites_what_it_did_not_see(
    users: Users,
) -> None:
    one = f"{PARTIES}/{await users.party(O1)}"
    halves = [{"emailAddress": EMAIL}, {"phoneNumber": PHONE}] * 4
    replies = await asyncio.gather(*(users.call("PATCH", one, half) for half in halves))
    statuses = [reply.status for reply in replies]
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 204, 409}
    read = (await users.call("GET", one)).json
    done = {name for half, status in zip(halves, statuses, strict=True) if status < 300 for name in half}
    assert {"emailAddress", "phoneNumber"} & read.keys() == done
