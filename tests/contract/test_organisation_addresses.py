"""Official addresses changed by users: the register is told first, and confirms by its feed (registries 3.7)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feeds import Feeds, running_feeds
from profile_data import LEADER, O1, O2, STRANGER, Users, personas
from serving import Client, Orders, Reply, make_parts, serving
from varsel.api.app import create_app
from varsel.api.organisation_addresses import RESOURCE
from varsel.clock import ManualClock
from varsel.db import Database, execute
from varsel.issuer import CREATE_SCOPE
from varsel.providers.business_addresses import BusinessReception
from varsel.providers.feed_http import FeedClient
from varsel.recipients.local import LocalDirectory
from varsel.recipients.personas import OFFICIAL_ADDRESSES
from varsel.registry_sync.ports import AddressReception
from varsel.settings import RegistrySettings
from varsel.simulators.business_addresses import DEFINE, REPLACE
from varsel.simulators.world import World

POST, VARSEL = "post.fjell@example.com", "varsel.fjell@example.com"  # the emails of O1; it has two numbers too
NEW = {"email": "ny.adresse@example.com"}
NUMBER = {"countryCode": "+47", "phone": "99999588"}


def path(org_no: str = O1, id_: object = "") -> str:
    tail = f"/{id_}" if id_ != "" else ""
    return f"/profile/api/v1/organizations/{org_no}/notificationaddresses/mandatory{tail}"


@dataclass(frozen=True)
class Book:
    users: Users
    feeds: Feeds

    async def call(self, method: str, where: str, body: object = None, *, user: int = LEADER) -> Reply:
        return await self.users.call(method, where, body, user=user)

    async def listed(self, org_no: str = O1) -> dict[str, int]:
        """Ids by address."""
        reply = await self.call("GET", path(org_no))
        assert reply.status == 200
        return {
            entry.get("email") or entry.get("countryCode", "") + entry["phone"]: entry["notificationAddressId"]
            for entry in reply.json["notificationAddresses"]
        }

    async def looked_up(self) -> set[str]:
        """What a message to the organisation would be sent to."""
        found = await LocalDirectory(self.feeds.db, RegistrySettings()).organisations([O1])
        return {*found[O1].emails, *found[O1].mobiles}

    async def follow(self) -> None:
        """The feed is read, after the register's own delay."""
        self.feeds.business.set_clock(lambda: self.feeds.clock.now() + timedelta(minutes=1))
        report = await self.feeds.addresses().run()
        assert report is not None
        assert report.outcome == "done"

    @property
    def told(self) -> list[tuple[str, Any]]:
        """What the register was told: path and body."""
        asked = self.feeds.business.requests
        return [(a.path, a.body) for a in asked if a.path == DEFINE or a.path.startswith(REPLACE)]

    async def row(self, address_: str) -> tuple[Any, ...]:
        sql = """SELECT id, registry_id, accepted, deleted, source FROM registry.org_address
                  WHERE org_no = %(org)s AND address = %(address)s"""
        [row] = await self.feeds.rows(sql, org=O1, address=address_)
        found: tuple[Any, ...] = row
        return found


async def opened(database: Database, clock: ManualClock, home: Path, reception: AddressReception | None) -> Any:
    await personas(database, clock)
    directory = LocalDirectory(database, RegistrySettings())
    parts = make_parts(home, clock, database, Orders().register, directory=directory)
    return replace(parts, reception=reception)


@pytest.fixture
async def book(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Book]:
    """A register stands above our copy."""
    async with running_feeds(database, companies=World.personas(clock.now())) as feeds:
        parts = await opened(database, clock, tmp_path, feeds.reception())
        await feeds.addresses().run()
        async with serving(create_app(parts)) as port:
            assert parts.issuer
            yield Book(Users(Client(port, parts.issuer), database), feeds)
        await parts.feed.close()


@pytest.fixture
async def local(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Book]:
    """Nobody stands above it."""
    async with running_feeds(database) as feeds:
        parts = await opened(database, clock, tmp_path, None)
        async with serving(create_app(parts)) as port:
            assert parts.issuer
            yield Book(Users(Client(port, parts.issuer), database), feeds)
        await parts.feed.close()


# Who may


def test_the_sandboxs_leader_has_the_right() -> None:
    assert RESOURCE == OFFICIAL_ADDRESSES


async def test_only_a_user_with_the_right_reads_or_writes(book: Book) -> None:
    id_ = (await book.listed())[POST]
    for method, where, body in (
        ("GET", path(), None),
        ("GET", path(id_=id_), None),
        ("POST", path(), NEW),
        ("PUT", path(id_=id_), NEW),
        ("DELETE", path(id_=id_), None),
    ):
        assert (await book.call(method, where, body, user=STRANGER)).status == 403, method
        anonymous = {"Authorization": None}
        reply = await asyncio.to_thread(book.users.client.call, method, where, body, headers=anonymous)
        assert reply.status == 401, method
        assert (await book.users.call(method, where, body, scopes=(CREATE_SCOPE,))).status == 403, method
    assert book.told == []


async def test_a_reader_may_not_write(book: Book) -> None:
    async with book.feeds.db.autocommit() as conn:
        await execute(conn, "DELETE FROM registry.resource_rule WHERE action = 'write'", {})
    assert (await book.call("GET", path())).status == 200
    assert (await book.call("POST", path(), NEW)).status == 403


# Reading


async def test_addresses_are_shown_with_what_they_are(book: Book) -> None:
    reply = await book.call("GET", path())
    assert reply.json["organizationNumber"] == O1
    shown = reply.json["notificationAddresses"]
    assert [sorted(entry) for entry in shown] == [["email", "notificationAddressId"]] * 2 + [
        ["countryCode", "notificationAddressId", "phone"]
    ] * 2
    assert (shown[2]["countryCode"], shown[2]["phone"]) == ("+47", "99999521")
    one = await book.call("GET", path(id_=shown[0]["notificationAddressId"]))
    assert one.json == shown[0]
    assert (await book.call("GET", path(id_=999_999))).status == 404
    assert (await book.call("GET", path(id_="x"))).status == 404


async def test_a_subunit_without_addresses_has_an_empty_list_and_an_unknown_organisation_none(book: Book) -> None:
    assert await book.listed(O2) == {}
    async with book.feeds.db.autocommit() as conn:
        await execute(conn, "DELETE FROM registry.organisation WHERE org_no = %(org)s", {"org": O2})
        sql = """INSERT INTO registry.role_assignment (org_no, user_id, role, source, changed_at)
                 VALUES (%(org)s, 101, 'daglig-leder', 'file', now())"""
        await execute(conn, sql, {"org": O2})
    assert (await book.call("GET", path(O2))).status == 404


# Adding


@pytest.mark.assertion("registries", 58)
@pytest.mark.parametrize(
    ("body", "address_"), [(NEW, "ny.adresse@example.com"), (NUMBER, "+4799999588")], ids=["email", "phone"]
)
async def test_a_new_address_is_pushed_to_the_register_and_counts_once_its_feed_confirms_it(
    book: Book, body: dict[str, str], address_: str
) -> None:
    reply = await book.call("POST", path(), body)
    assert reply.status == 201
    id_ = reply.json["notificationAddressId"]
    assert reply.json == {"notificationAddressId": id_, **body}
    assert reply.headers["Location"] == f"http://localhost:5090{path(id_=id_)}"
    [(where, told)] = book.told
    assert where == DEFINE
    unit = told["Kontaktinformasjon"]["kontaktinformasjonForEnhet"]["enhetsidentifikator"]
    assert unit == {"type": "ORGANISASJONSNUMMER", "verdi": O1}
    assert (await book.row(address_))[2:] == (False, False, "user")
    assert address_ not in await book.looked_up()
    assert address_ in await book.listed()
    await book.follow()
    assert (await book.row(address_))[2:] == (True, False, "business-addresses")
    assert (await book.row(address_))[0] == id_
    assert address_ in await book.looked_up()


@pytest.mark.assertion("registries", 57)
async def test_an_address_that_is_there_in_another_case_is_answered_and_the_register_not_asked(book: Book) -> None:
    reply = await book.call("POST", path(), {"email": POST.upper()})
    assert reply.status == 200
    assert reply.json == {"notificationAddressId": (await book.listed())[POST], "email": POST}
    assert book.told == []


@pytest.mark.assertion("registries", 59)
async def test_an_address_that_was_deleted_is_the_same_row_again(book: Book) -> None:
    id_ = (await book.listed())[VARSEL]
    assert (await book.call("DELETE", path(id_=id_))).status == 200
    reply = await book.call("POST", path(), {"email": VARSEL})
    assert (reply.status, reply.json["notificationAddressId"]) == (201, id_)
    assert (await book.row(VARSEL))[2:4] == (False, False)
    await book.follow()
    assert (await book.row(VARSEL))[0] == id_
    assert VARSEL in await book.looked_up()


@pytest.mark.assertion("registries", 63)
async def test_what_the_register_refuses_is_not_stored(book: Book) -> None:
    before = await book.feeds.rows("SELECT * FROM registry.org_address ORDER BY id")
    book.feeds.business.fail("refused")
    assert (await book.call("POST", path(), NEW)).status == 502
    await book.follow()
    assert await book.feeds.rows("SELECT * FROM registry.org_address ORDER BY id") == before
    book.feeds.business.fail("status", status=503)
    assert (await book.call("POST", path(), NEW)).status == 502
    book.feeds.business.fail("drop")
    assert (await book.call("PUT", path(id_=(await book.listed())[POST]), NEW)).status == 502
    assert await book.feeds.rows("SELECT * FROM registry.org_address ORDER BY id") == before


@pytest.mark.assertion("registries", 63)
async def test_an_organisation_number_that_the_register_does_not_know_is_400(book: Book) -> None:
    wrong = "310001002"
    async with book.feeds.db.autocommit() as conn:
        sql = """INSERT INTO registry.role_assignment (org_no, user_id, role, source, changed_at)
                 VALUES (%(org)s, 101, 'daglig-leder', 'file', now())"""
        await execute(conn, sql, {"org": wrong})
    reply = await book.call("POST", path(wrong), NEW)
    assert (reply.status, reply.json["title"]) == (400, "Invalid Organization Number")


async def test_a_feed_that_is_quicker_than_our_answer_makes_no_second_row(book: Book) -> None:
    book.feeds.business.lag = timedelta()
    book.feeds.business.fail("delay", path=DEFINE, seconds=0.5)
    adding = asyncio.create_task(book.call("POST", path(), NEW))
    while not book.told:  # noqa: ASYNC110 - the request comes over a socket
        await asyncio.sleep(0.01)
    await book.follow()
    reply = await adding
    assert reply.status == 201
    assert (await book.row(NEW["email"]))[2:4] == (True, False)


@pytest.mark.assertion("registries-faults", 37)
async def test_a_change_that_only_the_register_has_is_accepted_and_healed_by_the_feed(book: Book) -> None:
    """F37: our database refuses the row after the register has taken the address."""
    async with book.feeds.db.autocommit() as conn:
        await execute(conn, "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
                            " $$ BEGIN RAISE EXCEPTION 'cut' USING ERRCODE = '57P01'; END $$", {})  # fmt: skip
        await execute(conn, "CREATE TRIGGER no BEFORE INSERT ON registry.org_address EXECUTE FUNCTION no()", {})
    reply = await book.call("POST", path(), NEW)
    assert reply.status == 202
    assert "register has the change" in reply.json["detail"]
    async with book.feeds.db.autocommit() as conn:
        await execute(conn, "DROP TRIGGER no ON registry.org_address", {})
    await book.follow()
    assert NEW["email"] in await book.looked_up()
    again = await book.call("POST", path(), NEW)
    assert again.status == 200
    assert len(book.told) == 1


@pytest.mark.assertion("registries-faults", 38)
async def test_a_register_that_keeps_us_waiting_is_502_and_the_same_request_may_come_again(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    """It has taken the address, but we do not hear of it."""
    async with running_feeds(database, companies=World.personas(clock.now())) as feeds:
        impatient = FeedClient(total=timedelta(seconds=0.3))
        parts = await opened(database, clock, tmp_path, BusinessReception(feeds.business.url, impatient))
        await feeds.addresses().run()
        feeds.business.fail("stall", path=DEFINE)
        async with serving(create_app(parts)) as port:
            assert parts.issuer
            book = Book(Users(Client(port, parts.issuer), database), feeds)
            assert (await book.call("POST", path(), NEW)).status == 502
            assert NEW["email"] not in await book.listed()
            await book.follow()
            assert NEW["email"] in await book.looked_up()
            assert (await book.call("POST", path(), NEW)).status == 200
            assert len(book.told) == 1
        await parts.feed.close()
        await impatient.close()


# Changing


async def test_a_changed_address_is_replaced_in_the_register_too(book: Book) -> None:
    id_ = (await book.listed())[VARSEL]
    reply = await book.call("PUT", path(id_=id_), NEW)
    assert (reply.status, reply.json) == (200, {"notificationAddressId": id_, **NEW})
    [(where, _)] = book.told
    assert where == f"{REPLACE}persona-2"
    assert (await book.call("PUT", path(id_=id_), NEW)).status == 200
    assert len(book.told) == 1, "nothing new"
    await book.follow()
    assert NEW["email"] in await book.looked_up()
    assert VARSEL not in await book.looked_up()


async def test_an_older_entry_of_the_feed_does_not_undo_a_change_or_a_deletion(book: Book) -> None:
    """What is read again because of the overlap is what the register said before."""
    ids = await book.listed()
    book.feeds.business.lag = timedelta(hours=1)  # it tells of our changes much later
    await book.call("PUT", path(id_=ids[VARSEL]), NEW)
    await book.call("DELETE", path(id_=ids[POST]))
    report = await book.feeds.addresses().run()
    assert report is not None
    assert report.counts.unchanged > 0
    assert {NEW["email"]} == {a for a in await book.looked_up() if "@" in a}


@pytest.mark.assertion("registries", 60)
async def test_a_value_that_another_address_has_is_refused_with_where_it_is(book: Book) -> None:
    ids = await book.listed()
    reply = await book.call("PUT", path(id_=ids[VARSEL]), {"email": POST.title()})
    assert reply.status == 409
    assert reply.json["instance"] == path(id_=ids[POST])
    assert book.told == []


async def test_a_value_that_a_deleted_address_had_brings_that_row_back(book: Book) -> None:
    ids = await book.listed()
    await book.call("DELETE", path(id_=ids[VARSEL]))
    reply = await book.call("PUT", path(id_=ids[POST]), {"email": VARSEL})
    assert (reply.status, reply.json["notificationAddressId"]) == (200, ids[VARSEL])
    assert {a for a in await book.listed() if "@" in a} == {VARSEL}


async def test_an_address_that_is_not_there_cannot_be_changed(book: Book) -> None:
    ids = await book.listed()
    await book.call("DELETE", path(id_=ids[VARSEL]))
    for id_ in (ids[VARSEL], 999_999):
        assert (await book.call("PUT", path(id_=id_), NEW)).status == 404
        assert (await book.call("DELETE", path(id_=id_))).status == 404
    assert (await book.call("PUT", path(O2, ids[POST]), NEW)).status == 404, "another organisation's"


# Deleting


@pytest.mark.assertion("registries", 62)
async def test_a_deleted_address_is_taken_back_with_an_empty_body(book: Book) -> None:
    id_ = (await book.listed())[VARSEL]
    reply = await book.call("DELETE", path(id_=id_))
    assert (reply.status, reply.json) == (200, {"notificationAddressId": id_, "email": VARSEL})
    assert book.told == [(f"{REPLACE}persona-2", None)]
    assert VARSEL not in await book.looked_up()
    await book.follow()
    assert await book.feeds.value("SELECT count(*) FROM registry.org_address WHERE id = %(id)s", id=id_) == 0


@pytest.mark.assertion("registries", 61)
async def test_an_organisation_keeps_its_last_address(book: Book) -> None:
    ids = list((await book.listed()).values())
    for id_ in ids[1:]:
        assert (await book.call("DELETE", path(id_=id_))).status == 200
    before = len(book.told)
    reply = await book.call("DELETE", path(id_=ids[0]))
    assert (reply.status, reply.json["detail"]) == (409, "An organisation keeps its last address.")
    assert len(book.told) == before


# Bodies


@pytest.mark.assertion("registries", 64)
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "Email"),
        ({"email": "  "}, "Email"),
        ({"email": "a@example.com", **NUMBER}, "Email"),
        ({"email": "a@example.com", "countryCode": "+47"}, "CountryCode"),
        ({"email": "nobody"}, "Email"),
        ({"email": "a@127.0.0.1"}, "Email"),
        ({"email": '"a b"@example.com'}, "Email"),
        ({"email": "a|b@example.com"}, "Email"),
        ({"email": "å@example.com"}, "Email"),
        ({"email": f"{'a' * 400}@example.com"}, "Email"),
        ({"phone": "99999588"}, "CountryCode"),
        ({"phone": "99999588", "countryCode": "47"}, "CountryCode"),
        ({"phone": "99999588", "countryCode": "+4700"}, "CountryCode"),
        ({"phone": "9999958", "countryCode": "+47"}, "Phone"),
        ({"phone": "22999588", "countryCode": "+47"}, "Phone"),
        ({"phone": "999 99 588", "countryCode": "+47"}, "Phone"),
        ({"phone": "٩٩٩٩٩٥٨٨", "countryCode": "+47"}, "Phone"),
        ({"phone": "1", "countryCode": "+46"}, "Phone"),
    ],
)
async def test_what_is_no_address_is_refused_by_its_field(local: Book, body: dict[str, str], field: str) -> None:
    reply = await local.call("POST", path(), body)
    assert list(reply.errors) == [field]


@pytest.mark.assertion("registries", 64)
@pytest.mark.parametrize(
    "body",
    [
        {"phone": "701740605", "countryCode": "+46"},
        {"email": "post@blåbærskog.example"},
        {"email": " o'neill+post@a.b.example "},
        {"email": "post@example.com", "phone": None, "countryCode": ""},
    ],
)
async def test_addresses_of_many_forms_are_taken(local: Book, body: dict[str, Any]) -> None:
    assert (await local.call("POST", path(), body)).status == 201


# Without a register above


async def test_without_a_register_above_an_address_counts_at_once(local: Book) -> None:
    assert (await local.call("POST", path(), NEW)).status == 201
    assert NEW["email"] in await local.looked_up()
    assert (await local.row(NEW["email"]))[2:] == (True, False, "file")
    assert local.told == []


async def test_an_address_can_be_changed_deleted_and_made_again_without_confusion(local: Book) -> None:
    first = (await local.call("POST", path(), NEW)).json["notificationAddressId"]
    assert (await local.call("PUT", path(id_=first), {"email": "annen@example.com"})).status == 200
    second = await local.call("POST", path(), NEW)
    assert second.status == 201
    assert second.json["notificationAddressId"] != first
    assert (await local.call("DELETE", path(id_=first))).status == 200
    third = await local.call("POST", path(), {"email": "annen@example.com"})
    assert (third.status, third.json["notificationAddressId"]) == (201, first)
    assert {NEW["email"], "annen@example.com"} <= await local.looked_up()


async def test_of_two_last_addresses_only_one_can_be_deleted_however_quickly(local: Book) -> None:
    ids = list((await local.listed()).values())
    for id_ in ids[2:]:
        await local.call("DELETE", path(id_=id_))
    replies = await asyncio.gather(*(local.call("DELETE", path(id_=id_)) for id_ in ids[:2]))
    assert sorted(reply.status for reply in replies) == [200, 409]
    assert len(await local.listed()) == 1


async def test_a_row_of_a_file_never_causes_a_call(book: Book) -> None:
    async with book.feeds.db.autocommit() as conn:
        await execute(conn, "UPDATE registry.org_address SET source = 'file'", {})
    ids = await book.listed()
    assert (await book.call("PUT", path(id_=ids[POST]), NEW)).status == 200
    assert (await book.call("DELETE", path(id_=ids[VARSEL]))).status == 200
    assert book.told == []
