"""The suppression list on a real database: what holds, for how long, and for whom (channels 6.5)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.db import Database, execute, fetch_value
from varsel.delivery import suppression_store as store
from varsel.delivery.ports import Suppress
from varsel.delivery.suppression import Entry, Ground, NewEntry, SuppressionKey, ground_of
from varsel.domain.notification import Channel

NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
DAY: Final = timedelta(days=1)
KEY: Final = SuppressionKey(b"a key of this test")


def entry(
    ground: Ground = Ground.HARD_BOUNCE,
    address: str = "kari@example.com",
    *,
    channel: Channel = Channel.EMAIL,
    now: datetime = NOW,
) -> NewEntry:
    made = KEY.entry(ground, channel, address, creator="ttd", provider="relay", source="a test", now=now)
    assert made
    return made


async def add(database: Database, *entries: NewEntry, now: datetime = NOW) -> None:
    async with database.transaction() as conn:
        await store.add(conn, entries, now=now)


async def found(database: Database, address: str = "kari@example.com", *, now: datetime = NOW) -> list[Entry]:
    hashed = KEY.hash_of(Channel.EMAIL, address)
    assert hashed
    async with database.reading() as conn:
        return await store.find(conn, [hashed], now=now)


# What is compared


@pytest.mark.parametrize(
    ("channel", "one", "other"),
    [
        (Channel.EMAIL, "Kari.Nordmann@Example.COM", " kari.nordmann@example.com "),
        (Channel.EMAIL, "kari@blåbær.example", "KARI@XN--BLBR-ROAH.example"),
        (Channel.SMS, "+47 99 99 95 01", "004799999501"),
        (Channel.SMS, "99999501", "+4799999501"),
    ],
)
def test_an_address_is_the_same_however_it_is_written(channel: Channel, one: str, other: str) -> None:
    assert KEY.hash_of(channel, one) == KEY.hash_of(channel, other) is not None


@given(st.sampled_from(Channel), st.text(max_size=30))
def test_whatever_is_no_address_has_no_place_on_the_list(channel: Channel, text: str) -> None:
    hashed = KEY.hash_of(channel, text)
    assert hashed is None or len(hashed) == 32


def test_other_addresses_channels_and_keys_have_other_hashes() -> None:
    hashes = {
        KEY.hash_of(Channel.EMAIL, "kari@example.com"),
        KEY.hash_of(Channel.EMAIL, "ola@example.com"),
        KEY.hash_of(Channel.EMAIL, "kari@example.org"),
        KEY.hash_of(Channel.SMS, "+4799999501"),
        SuppressionKey(b"another").hash_of(Channel.EMAIL, "kari@example.com"),
    }
    assert len(hashes) == 5
    assert None not in hashes


def test_every_reason_of_a_provider_has_a_ground_on_the_list() -> None:
    assert {ground_of(suppress) for suppress in Suppress} == set(Ground) - {Ground.MANUAL}


# How long it holds


@pytest.mark.parametrize(
    ("ground", "days"), [(Ground.HARD_BOUNCE, 30), (Ground.DISABLED, 7), (Ground.PROVIDER_LIST, 7), (Ground.BARRED, 30)]
)
async def test_an_entry_holds_for_its_time_and_not_longer(database: Database, ground: Ground, days: int) -> None:
    await add(database, entry(ground))
    assert len(await found(database, now=NOW + days * DAY - timedelta(seconds=1))) == 1
    assert await found(database, now=NOW + days * DAY) == []


@pytest.mark.parametrize("ground", [Ground.COMPLAINT, Ground.UNSUBSCRIBE, Ground.MANUAL])
async def test_what_a_person_said_holds_until_it_is_removed(database: Database, ground: Ground) -> None:
    await add(database, entry(ground))
    (held,) = await found(database, now=NOW + 3_000 * DAY)
    async with database.transaction() as conn:
        assert not await store.remove(conn, held.id, "somebody else", by="somebody else", now=NOW)
        assert await store.remove(conn, held.id, held.creator, by="creator ttd", now=NOW)
        assert not await store.remove(conn, held.id, None, by="operator", now=NOW)
    assert await found(database) == []


async def test_a_hard_bounce_that_comes_again_holds_twice_as_long_up_to_a_year(database: Database) -> None:
    now, days = NOW, []
    for _ in range(6):
        await add(database, entry(now=now), now=now)
        (held,) = await found(database, now=now)
        assert held.expires_at
        days.append((held.expires_at - now) // DAY)
        now = held.expires_at + DAY
    assert days == [30, 60, 120, 240, 365, 365]


async def test_what_is_found_out_again_while_it_holds_changes_nothing(database: Database) -> None:
    await add(database, entry())
    later = NOW + 5 * DAY
    await add(database, entry(now=later), entry(now=later), now=later)
    (held,) = await found(database, now=later)
    assert held.expires_at == NOW + 30 * DAY


async def test_an_arrival_lifts_a_bounce_and_a_barred_number_and_nothing_else(database: Database) -> None:
    grounds = set(Ground)
    await add(database, *map(entry, grounds))
    async with database.transaction() as conn:
        hashed = {e.address_hash for e in await found(database)}
        assert await store.lift_by_arrival(conn, hashed, by="arrival", now=NOW) == 2
    assert {e.ground for e in await found(database)} == grounds - {Ground.HARD_BOUNCE, Ground.BARRED}
    await add(database, entry())  # begins anew, at 30 days
    (again,) = [e for e in await found(database) if e.ground is Ground.HARD_BOUNCE]
    assert again.expires_at == NOW + 30 * DAY


# Whom it concerns


@pytest.mark.assertion("channels", 98)
@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("creator", ["ttd", "skd"])
@pytest.mark.parametrize("ground", Ground)
async def test_an_entry_concerns_those_whom_its_ground_concerns(
    database: Database, ground: Ground, creator: str, optional: bool
) -> None:
    await add(database, entry(ground))
    (held,) = await found(database)
    said_by_a_reader = ground in (Ground.COMPLAINT, Ground.UNSUBSCRIBE)
    assert held.concerns(creator, optional=optional) is (not said_by_a_reader or (optional and creator == "ttd"))
    assert held.provider == ("relay" if ground is Ground.PROVIDER_LIST else None)


# What is kept


async def test_the_list_holds_no_address_and_shows_a_masked_one(database: Database) -> None:
    await add(database, entry(), entry(Ground.BARRED, "+4799999501", channel=Channel.SMS))
    async with database.reading() as conn:
        rows = await fetch_value(conn, "SELECT string_agg(s::text, ' ') FROM suppression s", {})
        shown = await store.listed(conn, None, now=NOW)
    assert "kari@" not in rows
    assert "99999501" not in rows
    assert {one.masked for one in shown} == {"ka***@example.com", "+47******01"}


async def test_hits_are_counted_by_entry(database: Database) -> None:
    await add(database, entry(), entry(address="ola@example.com"))
    (kari,), (ola,) = await found(database), await found(database, "ola@example.com")
    later = NOW + DAY
    async with database.transaction() as conn:
        await store.count_hits(conn, [kari.id, ola.id, kari.id], now=later)
        await store.count_hits(conn, [kari.id], now=later)
    async with database.reading() as conn:
        hits = {one.id: (one.hits, one.last_hit_at) for one in await store.listed(conn, None, now=later)}
    assert hits == {kari.id: (3, later), ola.id: (1, later)}


async def test_entries_are_shown_to_whom_they_belong_newest_first_page_by_page(database: Database) -> None:
    async def mine(creator: str | None, **how: object) -> list[str]:
        async with database.reading() as conn:
            shown = await store.listed(conn, creator, now=NOW, **how)  # type: ignore[arg-type]  # named by the test
        return [one.masked for one in shown]

    for name in ("anna", "berit", "carl"):
        await add(database, entry(Ground.COMPLAINT, f"{name}@example.com"))
    await add(database, entry(address="dora@example.com"))  # everybody's
    assert await mine("ttd") == ["ca***@example.com", "be***@example.com", "an***@example.com"]
    assert await mine("skd") == []
    assert await mine(None) == ["do***@example.com", *(await mine("ttd"))]
    async with database.reading() as conn:
        first, *_ = await store.listed(conn, "ttd", now=NOW, limit=1)
    assert await mine("ttd", before=first.id, limit=1) == ["be***@example.com"]
    assert await mine("ttd", address_hash=KEY.hash_of(Channel.EMAIL, "dora@example.com")) == ["do***@example.com"]
    assert await mine("ttd", address_hash=KEY.hash_of(Channel.EMAIL, "nobody@example.com")) == []


async def test_what_has_ended_is_shown_on_demand_and_forgotten_in_time(database: Database) -> None:
    await add(database, entry(), entry(Ground.MANUAL, "ola@example.com"))
    after = NOW + 40 * DAY
    async with database.reading() as conn:
        assert [one.masked for one in await store.listed(conn, None, now=after)] == ["ol***@example.com"]
        assert len(await store.listed(conn, None, now=after, ended=True)) == 2
    async with database.transaction() as conn:
        assert await store.forget(conn, before=NOW + 30 * DAY - timedelta(seconds=1)) == 0
        assert await store.forget(conn, before=NOW + 30 * DAY) == 1
    assert len(await found(database, "ola@example.com")) == 1


async def test_many_writers_at_once_make_one_entry_of_each_kind(database: Database) -> None:
    names = [f"p{n}@example.com" for n in range(40)]

    async def write(order: int) -> None:
        mixed = names if order % 2 else names[::-1]
        for _ in range(3):
            await add(database, *(entry(address=name) for name in mixed))

    await asyncio.gather(*(write(n) for n in range(6)))
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT count(*) FROM suppression", {}) == len(names)


async def test_the_look_up_reads_the_index_alone(database: Database) -> None:
    rows = [entry(address=f"p{n}@example.com")._replace(address_hash=n.to_bytes(32)) for n in range(20_000)]
    await add(database, *rows)
    async with database.autocommit() as conn:
        await execute(conn, "ANALYZE suppression", {})
        plan = await fetch_value(
            conn,
            "EXPLAIN (FORMAT JSON) " + store.FIND,
            {"hashes": [UUID(int=n).bytes * 2 for n in range(500)], "now": NOW},
        )
    assert "Seq Scan" not in str(plan)
    assert "suppression_entry" in str(plan)
