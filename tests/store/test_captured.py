"""Captured messages: kept as they came, found however they are sought."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_data import Fate, capture, mail, notification, sms
from varsel.db import Database, execute
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, uuid7
from varsel.domain.notification import Channel
from varsel.simulators import store
from varsel.simulators.keep import Keeper
from varsel.simulators.recipient import as_written, sought_words, spellings
from varsel.simulators.store import Counts, Message, Search

EVERYTHING = Search()


async def found(database: Database, search: Search = EVERYTHING, limit: int = 100) -> list[Message]:
    async with database.reading() as conn:
        return await store.find(conn, search, limit=limit)


async def test_a_message_is_kept_as_it_came(database: Database) -> None:
    known = NotificationId(uuid7())
    came = mail("ingrid@example.com", "Emne", "Hei", html="<p>Hei</p>", notification=known, outcome="bounce")
    [id_] = await capture(database, came)
    async with database.reading() as conn:
        kept = await store.get(conn, id_)
        raw = await store.raw_message(conn, id_)
    assert kept == Message(
        id=id_,
        channel=Channel.EMAIL,
        reference=None,
        notification_id=known,
        sender=came.sender,
        recipient="ingrid@example.com",
        subject="Emne",
        text="Hei",
        html="<p>Hei</p>",
        parts=1,
        alphabet=None,
        outcome="bounce",
        received_at=came.received_at,
    )
    assert raw == came.raw


async def test_the_newest_comes_first(database: Database) -> None:
    ids = await capture(database, *(sms("+4740000001", f"nr. {n}") for n in range(5)))
    assert [m.id for m in await found(database, limit=3)] == ids[::-1][:3]
    assert [m.id for m in await found(database, Search(after=ids[2]))] == [ids[4], ids[3]]


async def test_text_that_is_no_text_is_kept_all_the_same(database: Database) -> None:
    await capture(database, sms("+4740000001", "a\0b"))
    await capture(database, replace(sms("+4740000001", "c"), text="half \ud83d of a pair", recipient="\udcff"))
    assert [m.text for m in await found(database)] == ["half ? of a pair", "a\ufffdb"]


@pytest.mark.parametrize(
    "sought", ["+4740000417", " 4740000417", "4740000417", "004740000417", "40000417", "+47 400 00 417"]
)
async def test_a_number_is_found_however_it_is_written(database: Database, sought: str) -> None:
    id_, _ = await capture(database, sms("+4740000417", "Hei"), sms("+4740000418", "Nei"))
    assert [m.id for m in await found(database, Search(to=spellings(sought)))] == [id_]


@pytest.mark.parametrize("sought", ["Kari@blåbær.example", "kari@xn--blbr-roah.example", " kari@BLÅBÆR.example "])
async def test_an_address_is_found_however_it_is_written(database: Database, sought: str) -> None:
    await capture(database, mail("Kari@blåbær.example", "Hei", "Hei"), mail("ola@blåbær.example", "Hei", "Hei"))
    assert [m.recipient for m in await found(database, Search(to=spellings(sought)))] == ["Kari@blåbær.example"]


@given(st.text(), st.sampled_from(Channel))
def test_whoever_is_kept_is_found_by_what_is_shown(recipient: str, channel: Channel) -> None:
    written = as_written(channel, recipient)
    if channel is Channel.EMAIL and "@" in recipient:
        assert written.strip().lower() in spellings(written)
    assert as_written(channel, written) == written or "xn--" in written.lower()


async def test_words_are_found_anywhere_and_stand_for_themselves(database: Database) -> None:
    await capture(
        database,
        mail("ingrid@example.com", "100 % plass", "Brev", sender="post@fjordvik.example"),
        mail("ola@example.com", "100 kr", "under_strek"),
        sms("+4740000417", "Koden er 481 207"),
    )

    async def sought(words: str) -> list[str]:
        return [m.recipient for m in await found(database, Search(words=sought_words(words)))]

    assert await sought("100 %") == ["ingrid@example.com"]
    assert await sought("r_s") == ["ola@example.com"]
    assert await sought("INGRID") == ["ingrid@example.com"]
    assert await sought("post@fjordvik") == ["ingrid@example.com"]
    assert await sought("400 00 417") == ["+4740000417"]
    assert await sought("\\") == []


async def test_counts_are_by_channel(database: Database) -> None:
    await capture(database, sms("+4740000001", "a"), sms("+4740000002", "b"), mail("a@example.com", "c", "a"))
    async with database.reading() as conn:
        assert await store.count(conn, Search()) == Counts(email=1, sms=2)
        assert await store.count(conn, Search(words="b")) == Counts(email=0, sms=1)
        assert (await store.count(conn, Search())).all == 3


async def test_the_gateways_reference_leads_to_the_notification(database: Database) -> None:
    [id_] = await capture(database, replace(sms("+4740000417", "Hei"), reference="REF-1"))
    assert [m.notification_id for m in await found(database)] == [None]  # its sender has not stored it yet
    sent = await notification(database, Channel.SMS, "+4740000417", Fate(), reference="A")
    async with database.autocommit() as conn:
        await execute(conn, "UPDATE notification SET provider_ref = 'REF-1' WHERE id = %(id)s", {"id": sent})
    async with database.reading() as conn:
        message = await store.get(conn, id_)
    assert message
    assert message.notification_id == sent


async def test_a_message_is_dated_by_the_sandboxs_clock(database: Database) -> None:
    async with database.autocommit() as conn:
        await execute(conn, "UPDATE sandbox_clock SET shift = '2 days'", {})
    came = sms("+4740000417", "Hei")
    await capture(database, came)
    assert [m.received_at for m in await found(database)] == [came.received_at + timedelta(days=2)]


async def test_what_a_recipient_got_just_before_comes_oldest_first(database: Database) -> None:
    ids = await capture(
        database,
        sms("+4740000417", "1"),
        sms("+4740000417", "2"),
        sms("+4740000417", "from another", sender="Havn"),
        sms("+4740000418", "to another"),
        sms("+4740000417", "3"),
        sms("+4740000417", "4"),
    )
    async with database.reading() as conn:
        last = await store.get(conn, ids[-1])
        assert last
        assert [m.text for m in await store.earlier(conn, last, limit=2)] == ["2", "3"]


async def test_what_is_deleted_is_what_matched(database: Database) -> None:
    ids = await capture(database, sms("+4740000001", "a"), sms("+4740000002", "b"), mail("a@example.com", "c", "d"))
    async with database.autocommit() as conn:
        assert await store.delete(conn, Search(to=("+4740000001",))) == 1
        assert await store.delete_one(conn, ids[1])
        assert not await store.delete_one(conn, ids[1])
    assert [m.id for m in await found(database)] == [ids[2]]


async def test_only_the_newest_are_kept(database: Database) -> None:
    async with Keeper(database, kept=3) as keeper:
        for n in range(5):
            await keeper.keep([sms("+4740000001", str(n))])
    async with Keeper(database, kept=3):
        assert [m.text for m in await found(database)] == ["4", "3", "2"]


async def test_many_a_thousand_messages_leave_no_more_than_are_kept(database: Database) -> None:
    async with Keeper(database, kept=100) as keeper:
        for _ in range(3):
            await keeper.keep([sms("+4740000001", "Hei")] * 500)
        assert 100 <= len(await found(database, limit=2000)) < 1100


async def test_a_message_can_be_seen_when_its_simulator_answers(database: Database) -> None:
    async with Keeper(database) as keeper:

        async def keep_and_look(n: int) -> bool:
            await keeper.keep([sms("4740000417", f"nr. {n}")])
            return any(m.text == f"nr. {n}" for m in await found(database, Search(to=("+4740000417",))))

        assert all(await asyncio.gather(*(keep_and_look(n) for n in range(20))))


async def test_a_simulator_hears_that_its_message_was_not_stored(database: Database) -> None:
    async with Keeper(database) as keeper:
        await database.close()
        with pytest.raises(Unavailable):
            await keeper.keep([sms("+4740000417", "Hei")])
