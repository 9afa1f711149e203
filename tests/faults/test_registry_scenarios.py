"""Fault scenarios of registries 9 that span the register, our copy and an order; the others stand beside their subject.

`make assertions` says which test proves which.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from feeds import NOW, Feeds, person, running_feeds
from registry_files import emails, people, run, write
from road import Road, until
from serving import ORDERS, Client, make_parts, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database, DatabaseError, execute, fetch_value
from varsel.domain.identifiers import synthetic_person_id
from varsel.domain.order import Recipient
from varsel.recipients.load.rows import Kind
from varsel.recipients.local import LocalDirectory
from varsel.settings import RegistrySettings

P1 = synthetic_person_id(1, 1)
FOLLOWED = RegistrySettings(
    krr_sync_enabled=True,
    krr_changes_url="https://krr.example/",
    maskinporten_issuer="https://maskinporten.example/",
    maskinporten_token_url="https://maskinporten.example/token",
    maskinporten_client_id="varsel",
    maskinporten_jwk=SecretStr("secret"),
)
HOUR = timedelta(hours=1)


@pytest.fixture
async def feeds(database: Database) -> AsyncIterator[Feeds]:
    """One person is registered."""
    async with running_feeds(database) as feeds:
        feeds.krr.change(person(1))
        await feeds.persons().run()
        yield feeds


@pytest.fixture
def road(database: Database, clock: ManualClock) -> Road:
    return Road(database, clock, registers=LocalDirectory(database, FOLLOWED))


async def place(road: Road, *, in_: timedelta) -> Any:
    recipients = (Recipient(national_identity_number=P1),)
    return await road.place(recipients=recipients, requested_send_time=road.clock.now() + in_)


async def grow_old(feeds: Feeds, age: timedelta) -> None:
    async with feeds.db.autocommit() as conn:
        sql = "UPDATE registry.sync_cursor SET last_success_at = statement_timestamp() - %(age)s"
        await execute(conn, sql, {"age": age})


# Between the order and its time


@pytest.mark.assertion("registries-faults", 30)
async def test_a_copy_that_fell_behind_takes_no_orders(feeds: Feeds, road: Road, tmp_path: Path) -> None:
    await grow_old(feeds, timedelta(hours=25))
    parts = make_parts(tmp_path, road.clock, feeds.db, road._register.register_order)
    body = {"subject": "S", "body": "B", "recipients": [{"nationalIdentityNumber": P1}]}
    async with serving(create_app(parts)) as port:
        client = Client(port, parts.issuer)  # type: ignore[arg-type]  # it has one
        reply = await client.apost(f"{ORDERS}/email", body)
        assert reply.status == 503
        assert await road.value("SELECT count(*) FROM orders") == 0
        await grow_old(feeds, timedelta())
        assert (await client.apost(f"{ORDERS}/email", body)).status == 202


@pytest.mark.assertion("registries-faults", 31)
async def test_a_copy_that_fell_behind_lets_due_orders_wait(feeds: Feeds, road: Road, clock: ManualClock) -> None:
    placed = await place(road, in_=HOUR)
    await grow_old(feeds, timedelta(hours=25))
    clock.advance(HOUR)
    await road.run()
    assert (await road.state(placed.order_id), await road.rows()) == ("Registered", [])
    await grow_old(feeds, timedelta())
    clock.advance(timedelta(minutes=2))
    await road.run()
    assert [message.to for message in road.mail.sent] == ["p1.v0@example.com"]


@pytest.mark.assertion("registries-faults", 39)
async def test_who_reserves_before_the_time_has_come_gets_nothing(feeds: Feeds, road: Road, clock: ManualClock) -> None:
    placed = await place(road, in_=HOUR)
    assert placed.lookup is not None
    assert (placed.lookup.status, placed.lookup.is_reserved) == ("Success", ())
    feeds.krr.change(person(1, version=1, reserved=True))
    await feeds.persons().run()
    clock.advance(HOUR)
    await road.run()
    assert await road.outcomes() == [("email", "Failed_RecipientReserved")]
    assert road.mail.sent == []


@pytest.mark.assertion("registries-faults", 40)
async def test_an_address_that_is_too_old_by_then_is_not_used(feeds: Feeds, road: Road, clock: ManualClock) -> None:
    feeds.krr.change(person(1, email_updated_at=NOW - timedelta(days=540)))  # a week is left of its 18 months
    await feeds.persons().run()
    placed = await place(road, in_=timedelta(days=10))
    assert placed.lookup is not None
    assert placed.lookup.status == "Success"
    clock.advance(timedelta(days=10))
    await road.run()
    assert await road.outcomes() == [("email", "Failed_RecipientNotIdentified")]


# Loads


@pytest.mark.assertion("registries-faults", 29)
async def test_a_look_up_during_a_merge_sees_the_state_before_and_waits_for_nothing(
    database: Database, tmp_path: Path
) -> None:
    """A trigger holds the merge up when all of it is written, and nothing committed."""
    before, after = (
        write(tmp_path / f"{name}.csv", [{**row, "email": f"{name}.{row['id']}@example.com"} for row in people(500)])
        for name in ("old", "new")
    )
    await run(database, Kind.PERSONS, before)
    directory = LocalDirectory(database, RegistrySettings(), max_wait=timedelta(seconds=2))
    keys = [synthetic_person_id(1, n) for n in range(500)]

    async def found() -> set[str]:
        contacts = await directory.persons(keys, allow_stale=True, now=NOW)
        return {(contact.email or "").partition(".")[0] for contact in contacts.values()}

    async with database.autocommit() as conn:
        await execute(conn, "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
                            " $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$", {})  # fmt: skip
        await execute(conn, "CREATE TRIGGER hold AFTER UPDATE ON registry.person EXECUTE FUNCTION hold()", {})
        await execute(conn, "SELECT pg_advisory_lock(1)", {})
        loading = asyncio.create_task(run(database, Kind.PERSONS, after))
        await until(lambda: is_held_up(database))
        assert await found() == {"old"}
        await execute(conn, "SELECT pg_advisory_unlock(1)", {})
    assert (await loading).updated == 500
    assert await found() == {"new"}


async def is_held_up(database: Database) -> bool:
    async with database.reading() as conn:
        return bool(
            await fetch_value(conn, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", {})
        )


@pytest.mark.assertion("registries-faults", 25)
async def test_a_disk_that_is_full_fails_the_load_and_the_next_one_works(dsn: str, tmp_path: Path) -> None:
    """The server's process may make no file longer than one of its write-ahead log. That it says by another code."""
    narrow = Database(make_conninfo(dsn, options="-c temp_buffers=100"), size=1, name="test")
    await narrow.open()
    try:
        await run(narrow, Kind.PERSONS, write(tmp_path / "old.csv", people(10)))
        many = write(tmp_path / "many.csv", [{**row, "first_name": "Å" * 190} for row in people(40_000)])
        async with narrow.autocommit() as conn:
            server = int(await fetch_value(conn, "SELECT pg_backend_pid()", {}))
        limit_files(server, "17000000")
        with pytest.raises(DatabaseError, match="Check free disk space"):
            await run(narrow, Kind.PERSONS, many)
        assert len(await emails(narrow)) == 10
        limit_files(server, "unlimited")
        assert (await run(narrow, Kind.PERSONS, many)).inserted == 39_990
    finally:
        await narrow.close()


def limit_files(pid: int, size: str) -> None:
    """Of a process of any user: as that user."""
    owner = Path(f"/proc/{pid}").stat()
    command = ["prlimit", f"--pid={pid}", f"--fsize={size}:"]
    subprocess.run(command, user=owner.st_uid, group=owner.st_gid, check=True)
