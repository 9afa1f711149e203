"""Numbers of people without an identity number (registries 4.4)."""

from datetime import timedelta

import pytest

from profile_data import GUEST, LEADER, OLD_USER, USERS, Users, personas
from serving import Api
from varsel.db import execute
from varsel.domain.external_identity import email_username
from varsel.recipients.local import LocalDirectory
from varsel.recipients.ports import ExternalContact
from varsel.settings import RegistrySettings

PATH = f"{USERS}/notificationsettings/private/phonenumber"
URN = "urn:altinn:person:idporten-email:guest%40example.test"
CHANGED = "SELECT phone_changed_at FROM registry.self_identified_contact WHERE user_id = 201"


@pytest.fixture
async def users(api: Api) -> Users:
    await personas(api.road.db, api.road.clock)
    return Users(api.client, api.road.db)


async def test_a_number_is_where_messages_go_until_it_is_taken_away(users: Users, api: Api) -> None:
    directory = LocalDirectory(api.road.db, RegistrySettings())
    before = (await directory.external_identities([URN]))[URN]
    for phone in ("+4799999599", None):
        reply = await users.call("PUT", PATH, {"value": phone}, user=GUEST)
        assert (reply.status, reply.json) == (200, {"value": phone})
        found = await directory.external_identities([URN])
        assert found[URN] == ExternalContact(before.email, phone)


async def test_the_row_is_made_with_the_first_number(users: Users, api: Api) -> None:
    async with api.road.db.autocommit() as conn:
        await execute(conn, "DELETE FROM registry.self_identified_contact", {})
    assert (await users.call("PUT", PATH, {"value": "+4799999599"}, user=GUEST)).status == 200
    assert (await users.call("PUT", PATH, {"value": "+4799999598"}, user=OLD_USER)).status == 200
    sql = "SELECT username, user_id, email, phone FROM registry.self_identified_contact ORDER BY user_id"
    async with api.road.db.reading() as conn:
        rows = [tuple(row) for row in await (await conn.execute(sql)).fetchall()]
    email = "guest@example.test"
    assert rows == [
        (email_username(email), GUEST, email, "+4799999599"),
        ("olduser1", OLD_USER, None, "+4799999598"),
    ]


async def test_the_time_of_change_moves_only_with_the_number(users: Users, api: Api) -> None:
    assert (await users.call("PUT", PATH, {"value": "+4799999599"}, user=GUEST)).status == 200
    first = await users.value(CHANGED)
    assert first == api.road.clock.now()
    api.road.clock.advance(timedelta(hours=1))
    assert (await users.call("PUT", PATH, {"value": " +4799999599 "}, user=GUEST)).status == 200
    assert await users.value(CHANGED) == first
    assert (await users.call("PUT", PATH, {"value": "+4799999598"}, user=GUEST)).status == 200
    assert await users.value(CHANGED) == api.road.clock.now()


async def test_only_people_without_an_identity_number_have_one(users: Users) -> None:
    assert (await users.call("PUT", PATH, {"value": "+4799999599"}, user=LEADER)).status == 403
    assert (await users.call("PUT", PATH, {"value": "+4799999599"}, user=999)).status == 404


async def test_a_number_has_its_country_code_and_may_exist(users: Users) -> None:
    for wrong in ("99999599", "004799999599", "+4712345678", "+47", "", "nobody"):
        assert list((await users.call("PUT", PATH, {"value": wrong}, user=GUEST)).errors) == ["Value"], wrong
    assert list((await users.call("PUT", PATH, {}, user=GUEST)).errors) == ["Value"]
