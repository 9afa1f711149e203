"""Suppressed addresses on the road: found out, left alone, told of, and written to again (channels 6.5)."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fakes import FakeProvider
from instants import NUMBER, ApiProcess
from road import Road
from varsel.clock import ManualClock, SystemClock
from varsel.db import Database
from varsel.delivery import suppression_store as store
from varsel.delivery.choice import Routing
from varsel.delivery.guard import Guard
from varsel.delivery.ports import Accepted, Blame, Deferred, Refused, SendResult, Suppress, Verdict
from varsel.delivery.suppression import Ground
from varsel.delivery.suppression_store import Listed
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import EmailTemplate, OrderChannel, Recipient, SendingTime
from varsel.preview.outcome import Why
from varsel.settings import Settings
from varsel.status.explain import EventKind, tell
from varsel.status.explain_store import find_facts
from varsel.wiring import open_parts

KARI = "kari@example.com"
OFFER = EmailTemplate("noreply@example.com", "An offer", "Body", unsubscribable=True)
SUPPRESSED = [("email", "Failed_SupressedRecipient")]
KEYED = Settings.model_validate({"suppression": {"key": "a key of this test"}})


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock, guard=Guard.configured(KEYED))
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def placed(road: Road, **changes: Any) -> OrderId:
    """An order, with everything that becomes of it now."""
    order = (await road.place(**changes)).order_id
    await road.run()
    return order


async def entries(road: Road, *, ended: bool = False) -> list[Listed]:
    async with road.db.reading() as conn:
        return await store.listed(conn, None, now=road.clock.now(), ended=ended)


async def suppress(road: Road, ground: Ground, to: str = KARI, channel: Channel = Channel.EMAIL) -> None:
    assert road.guard.key
    now = road.clock.now()
    made = road.guard.key.entry(ground, channel, to, creator="ttd", provider="mail", source="a test", now=now)
    assert made
    async with road.db.transaction() as conn:
        await store.add(conn, [made], now=now)


def refusing(suppress: Suppress | None) -> FakeProvider:
    """A mail server that knows nobody."""
    refused: SendResult = Refused(Reason.BOUNCED, "550 5.1.1", suppress=suppress)
    return FakeProvider("mail", answers=lambda _to: refused)


# Left alone


@pytest.mark.assertion("channels", 97)
async def test_a_suppressed_address_reaches_no_provider_until_its_entry_is_removed(road: Road) -> None:
    await suppress(road, Ground.MANUAL)
    order = await placed(road, recipients=(Recipient(email="Kari@EXAMPLE.com"), Recipient(email="ola@example.com")))
    assert [message.to for message in road.mail.sent] == ["ola@example.com"]
    assert ("email", "Failed_SupressedRecipient") in await road.outcomes(order)
    (held,) = await entries(road)
    assert (held.hits, held.last_hit_at) == (1, road.clock.now())
    async with road.db.transaction() as conn:
        assert await store.remove(conn, held.id, None, by="operator", now=road.clock.now())
    await placed(road)
    assert [message.to for message in road.mail.sent] == ["ola@example.com", KARI]


async def test_a_suppressed_number_is_a_barred_receiver(road: Road) -> None:
    await suppress(road, Ground.BARRED, "+4799999501", Channel.SMS)
    sms = {"channel": OrderChannel.SMS, "recipients": (Recipient(mobile="0047 99 99 95 01"),)}
    order = await placed(road, sending_time=SendingTime.ANYTIME, **sms)
    assert await road.outcomes(order) == [("sms", "Failed_BarredReceiver")]
    assert road.sms.sent == []


async def test_an_email_address_and_a_number_are_suppressed_apart(road: Road) -> None:
    await suppress(road, Ground.MANUAL)
    await placed(road, channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    assert len(road.sms.sent) == 1


async def test_without_a_key_nothing_is_suppressed(road: Road) -> None:
    await suppress(road, Ground.MANUAL)
    road.guard = Guard.configured(Settings())
    await placed(road)
    assert len(road.mail.sent) == 1


async def test_the_explanation_says_in_words_why_nothing_was_sent(road: Road) -> None:
    await suppress(road, Ground.HARD_BOUNCE)
    order = await placed(road)
    async with road.db.reading() as conn:
        facts = await find_facts(conn, "ttd", order)
    assert facts
    story = {event.kind: event for event in tell(facts).past}
    told = story[EventKind.ATTEMPT_SUPPRESSED]
    assert told.text == "The address is on the suppression list: nothing was sent."
    assert told.detail == "hard_bounce: an earlier message found nobody there, until 2026-12-23"
    assert EventKind.NOTIFICATION_UNREACHABLE not in story
    assert story[EventKind.NOTIFICATION_FAILED].code == "Email_Failed_SuppressedRecipient"
    assert facts.notifications[0].attempts == 0  # nothing was tried


async def test_a_message_that_waited_meets_the_list_of_the_moment(road: Road) -> None:
    at = road.clock.now() + timedelta(days=1)
    order = await road.place(requested_send_time=at)
    await suppress(road, Ground.MANUAL)
    road.clock.set(at)
    await road.run()
    assert await road.outcomes(order.order_id) == SUPPRESSED


async def test_a_preview_tells_what_will_be_suppressed_when_it_is_due(road: Road, dsn: str) -> None:
    await suppress(road, Ground.HARD_BOUNCE)
    await suppress(road, Ground.PROVIDER_LIST, "ola@example.com")
    account = {"type": "smtp", "name": "mail", "host": "127.0.0.1", "port": 1, "tls": "none"}
    to = (Recipient(email=KARI), Recipient(email="ola@example.com"), Recipient(email="per@example.com"))
    for providers, reached in (([account], 1), ([account, {**account, "name": "spare"}], 2)):
        settings = Settings.model_validate({"suppression": {"key": "a key of this test"}, "providers": providers})
        parts = await open_parts(settings, dsn, name="test", connections=2)
        try:
            parts.clock.offset = road.clock.now() - SystemClock().now()
            previewer = parts.previewer()
            now = await previewer.preview(road.order(recipients=to))
            later = road.clock.now() + timedelta(days=31)
            then = await previewer.preview(road.order(recipients=to, requested_send_time=later))
        finally:
            await parts.close()
        assert (now.totals.reached, then.totals.reached) == (reached, 3)
        (message,) = now.recipients[0].messages
        assert (message.why, message.name.v2) == (Why.SUPPRESSED, "Email_Failed_SuppressedRecipient")


# Instant messages, and several providers


async def test_an_instant_message_is_answered_and_never_sent(road: Road) -> None:
    process = await ApiProcess.begin(road)
    await suppress(road, Ground.BARRED, NUMBER, Channel.SMS)
    await process.sms()
    assert road.sms.sent == []
    assert await road.outcomes() == [("sms", "Failed_BarredReceiver")]
    assert (await entries(road))[0].hits == 1
    await process.end()


@pytest.mark.parametrize("instant", [False, True])
async def test_what_one_provider_refuses_to_send_another_one_is_asked_to(road: Road, instant: bool) -> None:
    spare = FakeProvider("spare")
    road.more_mail = [(spare, Routing(group=2))]
    await suppress(road, Ground.PROVIDER_LIST)
    if instant:
        process = await ApiProcess.begin(road)
        await process.email()
        await process.end()
    else:
        await placed(road)
        road.clock.advance(timedelta(minutes=1))
        await road.run()
    assert (road.mail.sent, [message.to for message in spare.sent]) == ([], [KARI])
    assert await road.outcomes() == [("email", "accepted")]


async def test_what_one_provider_refuses_to_send_waits_for_another_one_that_rests(road: Road) -> None:
    spare = FakeProvider("spare", answers=lambda _: Deferred("login refused", Blame.FAULT))
    road.more_mail = [(spare, Routing(group=2))]
    await suppress(road, Ground.PROVIDER_LIST)
    await placed(road)
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    assert (len(spare.sent), await road.outcomes()) == (1, [("email", "new")])  # its breaker is open
    road.clock.advance(timedelta(hours=1))
    await road.run()
    assert (len(spare.sent), await road.outcomes()) == (1, [("email", "new")])
    spare.answers = lambda _: Accepted()
    async with road.db.autocommit() as conn:  # machine time, which tests do not move
        await conn.execute("UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    road.clock.advance(timedelta(hours=1))
    await road.run()
    assert (road.mail.sent, await road.outcomes()) == ([], [("email", "accepted")])


@pytest.mark.parametrize("instant", [False, True])
async def test_what_the_only_provider_does_not_send_is_suppressed(road: Road, instant: bool) -> None:
    await suppress(road, Ground.PROVIDER_LIST)
    if instant:
        process = await ApiProcess.begin(road)
        await process.email()
        await process.end()
    else:
        await placed(road)
    assert road.mail.sent == []
    assert await road.outcomes() == SUPPRESSED


# Found out


async def test_a_refusal_of_an_unknown_recipient_suppresses_the_address(road: Road) -> None:
    road.mail = refusing(Suppress.HARD_BOUNCE)
    assert await road.outcomes(await placed(road)) == [("email", "Failed_Bounced")]
    (held,) = await entries(road)
    assert (held.ground, held.creator, held.masked) == (Ground.HARD_BOUNCE, None, "ka***@example.com")
    assert held.source.startswith("refusal of mail, notification ")
    road.mail = FakeProvider("mail")
    assert await road.outcomes(await placed(road)) == SUPPRESSED
    road.clock.advance(timedelta(days=30))
    await placed(road)
    assert len(road.mail.sent) == 1


async def test_a_refusal_that_says_nothing_of_the_address_suppresses_nobody(road: Road) -> None:
    road.mail = refusing(None)
    await placed(road)
    assert await entries(road) == []


async def test_a_bounce_suppresses_and_a_confirmed_delivery_lifts_it(road: Road) -> None:
    first, second = await placed(road), await placed(road)
    (bounced,), (arrived,) = await road.rows(first), await road.rows(second)
    await road.report(bounced.id, Verdict.FAILED, suppress=Suppress.HARD_BOUNCE)
    await road.run()
    assert [held.ground for held in await entries(road)] == [Ground.HARD_BOUNCE]
    await road.report(arrived.id, Verdict.DELIVERED)
    await road.run()
    assert await entries(road) == []
    (ended,) = await entries(road, ended=True)
    assert (ended.removed_by, ended.removed_at) == ("a delivery that was confirmed", road.clock.now())


@pytest.mark.parametrize("last", [Verdict.DELIVERED, Verdict.FAILED])
async def test_of_reports_that_come_together_the_last_one_counts(road: Road, last: Verdict) -> None:
    orders = [await placed(road) for _ in range(2)]
    rows = [(await road.rows(order))[0] for order in orders]
    bounce = {"suppress": Suppress.HARD_BOUNCE}
    first = Verdict.FAILED if last is Verdict.DELIVERED else Verdict.DELIVERED
    for row, verdict in zip(rows, (first, last), strict=True):
        await road.report(row.id, verdict, **(bounce if verdict is Verdict.FAILED else {}))
    await road.run()
    assert len(await entries(road)) == (1 if last is Verdict.FAILED else 0)


async def test_a_report_that_changes_no_fate_still_concerns_the_address(road: Road) -> None:
    order = await placed(road)
    (row,) = await road.rows(order)
    await road.report(row.id, Verdict.FAILED)
    await road.run()
    await road.report(row.id, Verdict.FAILED, suppress=Suppress.DISABLED)
    await road.run()
    (held,) = await entries(road)
    assert held.ground is Ground.DISABLED


@pytest.mark.assertion("channels", 51, 98)
async def test_a_complaint_stops_offers_of_its_creator_alone_and_leaves_the_rest(road: Road) -> None:
    order = await placed(road, email=OFFER)
    (row,) = await road.rows(order)
    await road.report(row.id, Verdict.DELIVERED)
    await road.report(row.id, Verdict.COMPLAINT, suppress=Suppress.COMPLAINT)
    await road.run()
    assert await road.outcomes(order) == [("email", "delivered")]
    (held,) = await entries(road)
    assert (held.ground, held.creator, held.expires_at) == (Ground.COMPLAINT, "ttd", None)
    assert await road.outcomes(await placed(road, email=OFFER)) == SUPPRESSED
    for may in ({}, {"email": OFFER, "creator": "skd"}):
        assert await road.outcomes(await placed(road, **may)) == [("email", "accepted")]


async def test_a_soft_failure_suppresses_nobody(road: Road) -> None:
    road.sms = FakeProvider("sms", answers=lambda _to: Accepted("ref-1"))
    order = await placed(
        road,
        channel=OrderChannel.SMS,
        recipients=(Recipient(mobile="+4799999501"),),
        sending_time=SendingTime.ANYTIME,
    )
    (row,) = await road.rows(order)
    await road.report(row.id, Verdict.FAILED, channel=Channel.SMS, provider="sms", soft=True)
    await road.run()
    assert await entries(road) == []
