"""Late fallback: when nobody was reached, the other channel is tried once, and the order waits for it (design 6)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from road import LIFETIME, Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Refused, Verdict
from varsel.delivery.suppression import Entry, Ground
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import OrderChannel, Recipient, SendingTime
from varsel.recipients.ports import OrganisationContact, PersonContact, UserContact

KARI, OLA, FIRM = "14838510036", "01916012086", "310001058"
NUMBER, MAIL = "+4799999501", "kari@example.com"
WITHIN = timedelta(hours=24)


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    road.directory.people = {KARI: PersonContact(reserved=False, email=MAIL, mobile=NUMBER)}
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


async def placed(road: Road, **changes: Any) -> OrderId:
    """An order that prefers email, and may fall back within a day."""
    now = road.clock.now()
    values = {
        "channel": OrderChannel.EMAIL_PREFERRED,
        "recipients": (Recipient(national_identity_number=KARI),),
        "sending_time": SendingTime.DAYTIME,
        "fallback_until": now + WITHIN,
    }
    order = (await road.place(**{**values, **changes})).order_id
    await road.run()
    return order


async def reported(road: Road, order: OrderId, channel: str, verdict: Verdict, **changes: Any) -> None:
    """Of every message of the order on this channel."""
    for row in await road.rows(order):
        if row.channel == channel:
            await road.report(row.id, verdict, channel=Channel(channel), **changes)
    await road.run()


async def entries(road: Road, order: OrderId) -> list[tuple[bool, list[str]]]:
    """Of each of the order's entries in the feed: whether it is a correction, and the statuses of its recipients."""
    return [
        (body.get("correction", False), [recipient["status"] for recipient in body["recipients"]])
        for body in await road.feed()
        if body["shipmentId"] == str(order)
    ]


async def outcome(road: Road) -> str | None:
    found: str | None = await road.value("SELECT outcome FROM fallback")
    return found


def later(road: Road, by: timedelta) -> None:
    assert isinstance(road.clock, ManualClock)
    road.clock.advance(by)


async def test_who_is_not_reached_by_email_gets_an_sms_and_the_order_waits_for_it(road: Road) -> None:
    order = await placed(road)
    await reported(road, order, "email", Verdict.FAILED)
    assert [m.to for m in road.sms.sent] == [NUMBER]
    assert await road.state(order) == "Processed"
    assert await entries(road, order) == []
    await reported(road, order, "sms", Verdict.DELIVERED)
    assert await road.state(order) == "Completed"
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced", "SMS_Delivered"])]
    assert await outcome(road) == "sent"


async def test_a_refusal_at_send_time_is_a_failure_too(road: Road) -> None:
    road.mail.answers = lambda _: Refused(Reason.INVALID_EMAIL_FORMAT)
    order = await placed(road)
    assert await road.outcomes(order) == [("email", "Failed_InvalidEmailFormat"), ("sms", "accepted")]


async def test_who_is_not_reached_by_sms_gets_an_email(road: Road) -> None:
    order = await placed(road, channel=OrderChannel.SMS_PREFERRED)
    assert road.mail.sent == []
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    assert [m.to for m in road.mail.sent] == [MAIL]
    await reported(road, order, "email", Verdict.DELIVERED)
    assert await entries(road, order) == [(False, ["Email_Delivered", "SMS_Failed_Undelivered"])]


async def test_who_had_to_be_tried_on_the_other_channel_at_once_is_tried_on_the_preferred_one(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(reserved=False, mobile=NUMBER)}
    order = await placed(road)
    road.directory.people = {KARI: PersonContact(reserved=False, email=MAIL, mobile=NUMBER)}
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    assert [m.to for m in road.mail.sent] == [MAIL]
    assert len(road.sms.sent) == 1


async def test_an_order_that_does_not_ask_for_it_ends_with_its_failure(road: Road) -> None:
    order = await placed(road, fallback_until=None)
    await reported(road, order, "email", Verdict.FAILED)
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced"])]
    assert road.sms.sent == []


async def test_a_failure_after_the_time_that_was_given_is_the_end(road: Road) -> None:
    order = await placed(road)
    later(road, WITHIN + timedelta(seconds=1))
    await reported(road, order, "email", Verdict.FAILED)
    assert road.sms.sent == []
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced"])]


@pytest.mark.parametrize("ground", [Ground.UNSUBSCRIBE, Ground.COMPLAINT, Ground.MANUAL])
async def test_who_wants_no_message_gets_none_on_the_other_channel_either(road: Road, ground: Ground) -> None:
    entry = Entry(uuid4(), b"", ground, None, None, None)
    road.mail.answers = lambda _: Refused(Reason.SUPPRESSED_RECIPIENT, entry.words)
    order = await placed(road)
    assert road.sms.sent == []
    assert await entries(road, order) == [(False, ["Email_Failed_SuppressedRecipient"])]


async def test_an_address_that_is_left_alone_because_nobody_was_there_is_a_reason(road: Road) -> None:
    entry = Entry(uuid4(), b"", Ground.HARD_BOUNCE, None, None, road.clock.now())
    road.mail.answers = lambda _: Refused(Reason.SUPPRESSED_RECIPIENT, entry.words)
    await placed(road)
    assert len(road.sms.sent) == 1


async def test_it_is_tried_once(road: Road) -> None:
    order = await placed(road)
    await reported(road, order, "email", Verdict.FAILED)
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    assert (len(road.mail.sent), len(road.sms.sent)) == (1, 1)
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced", "SMS_Failed_Undelivered"])]
    assert await road.state(order) == "Completed"


async def test_the_address_is_the_one_that_the_register_knows_by_then(road: Road) -> None:
    order = await placed(road)
    road.directory.people = {KARI: PersonContact(reserved=False, email="new@example.com", mobile="+4799999502")}
    await reported(road, order, "email", Verdict.FAILED)
    assert [m.to for m in road.sms.sent] == ["+4799999502"]


async def test_who_has_reserved_himself_meanwhile_is_left_alone(road: Road) -> None:
    order = await placed(road)
    road.directory.people = {KARI: PersonContact(reserved=True, email=MAIL, mobile=NUMBER)}
    await reported(road, order, "email", Verdict.FAILED)
    assert road.sms.sent == []
    assert await outcome(road) == "reserved"
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced"])]


async def test_who_cannot_be_reached_there_either_is_told_as_he_stands(road: Road) -> None:
    order = await placed(road)
    road.directory.people = {KARI: PersonContact(reserved=False, email=MAIL)}
    await reported(road, order, "email", Verdict.FAILED)
    assert await outcome(road) == "unreachable"
    assert await road.state(order) == "Completed"
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced"])]


@pytest.mark.parametrize(("policy", "sent"), [(SendingTime.DAYTIME, 0), (SendingTime.ANYTIME, 1)])
async def test_an_sms_that_falls_back_at_night_keeps_to_its_hours(road: Road, policy: SendingTime, sent: int) -> None:
    assert isinstance(road.clock, ManualClock)
    order = await placed(road, sending_time=policy)
    road.clock.set(datetime(2026, 11, 23, 20, tzinfo=UTC))
    await reported(road, order, "email", Verdict.FAILED)
    assert len(road.sms.sent) == sent
    road.clock.set(datetime(2026, 11, 24, 8, 0, 1, tzinfo=UTC))  # nine in Oslo
    await road.run()
    assert len(road.sms.sent) == 1


async def test_while_its_register_is_down_it_waits_and_the_order_with_it(road: Road) -> None:
    order = await placed(road)
    road.directory.down = True
    await reported(road, order, "email", Verdict.FAILED)
    later(road, timedelta(minutes=1))
    await road.run()
    assert await road.state(order) == "Processed"
    road.directory.down = False
    later(road, timedelta(minutes=2))
    await road.run()
    assert len(road.sms.sent) == 1


async def test_a_register_that_stays_down_does_not_keep_the_order_open_for_ever(road: Road) -> None:
    order = await placed(road)
    road.directory.down = True
    await reported(road, order, "email", Verdict.FAILED)
    later(road, LIFETIME + timedelta(hours=1))
    await road.run()
    assert await outcome(road) == "expired"
    assert await road.state(order) == "Completed"
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced"])]


async def test_a_message_that_falls_back_expires_with_its_order(road: Road) -> None:
    order = await placed(road)
    later(road, timedelta(hours=23))
    await reported(road, order, "email", Verdict.FAILED)
    assert road.sms.sent[0].expires_at == datetime(2026, 11, 25, 10, tzinfo=UTC)
    later(road, timedelta(hours=26))
    await road.run()
    assert await entries(road, order) == [(False, ["Email_Failed_Bounced", "SMS_Failed_TTL"])]


async def test_what_bounces_after_it_had_arrived_is_corrected_and_so_is_what_comes_of_the_other_channel(
    road: Road,
) -> None:
    order = await placed(road)
    await reported(road, order, "email", Verdict.DELIVERED)
    done = await road.value("SELECT state_at FROM orders")
    later(road, timedelta(hours=1))
    await reported(road, order, "email", Verdict.FAILED)
    assert len(road.sms.sent) == 1
    assert (await road.state(order), await road.value("SELECT pending FROM orders")) == ("Completed", 1)
    await reported(road, order, "sms", Verdict.DELIVERED)
    assert await entries(road, order) == [
        (False, ["Email_Delivered"]),
        (True, ["Email_Failed_Bounced"]),
        (True, ["Email_Failed_Bounced", "SMS_Delivered"]),
    ]
    assert (await road.state(order), await road.value("SELECT state_at FROM orders")) == ("Completed", done)


async def test_a_late_message_that_nobody_confirms_expires_and_is_told_as_a_correction(road: Road) -> None:
    order = await placed(road)
    await reported(road, order, "email", Verdict.DELIVERED)
    await reported(road, order, "email", Verdict.FAILED)
    later(road, LIFETIME + timedelta(hours=1))
    await road.run()
    assert (await entries(road, order))[-1] == (True, ["Email_Failed_Bounced", "SMS_Failed_TTL"])
    assert len(await entries(road, order)) == 3


async def test_a_late_fallback_of_which_nothing_comes_is_not_told_twice(road: Road) -> None:
    order = await placed(road)
    await reported(road, order, "email", Verdict.DELIVERED)
    road.directory.people = {KARI: PersonContact(reserved=True, email=MAIL, mobile=NUMBER)}
    await reported(road, order, "email", Verdict.FAILED)
    assert await entries(road, order) == [(False, ["Email_Delivered"]), (True, ["Email_Failed_Bounced"])]
    assert await road.value("SELECT pending FROM orders") == 0


async def test_a_failure_that_may_be_overruled_is_no_reason_until_it_is_certain(road: Road) -> None:
    order = await placed(road, channel=OrderChannel.SMS_PREFERRED)
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNSPECIFIED, soft=True)
    assert await road.state(order) == "Completed"
    assert road.mail.sent == []
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    assert len(road.mail.sent) == 1
    await reported(road, order, "email", Verdict.DELIVERED)
    assert (await entries(road, order))[-1] == (True, ["Email_Delivered", "SMS_Failed_Undelivered"])


async def firm(road: Road) -> OrderId:
    """An organisation with two emails, one user with both, and one with a mobile alone."""
    road.directory.official = {FIRM: OrganisationContact(("a@example.com", "b@example.com"), (NUMBER,), FIRM)}
    road.directory.users = {
        FIRM: [UserContact(1, "c@example.com", "+4799999503"), UserContact(2, None, "+4799999504")],
    }
    road.directory.rights = {(FIRM, 1), (FIRM, 2)}
    return await placed(
        road,
        recipients=(Recipient(organisation_number=FIRM),),
        resource_id="urn:altinn:resource:app",
        sending_time=SendingTime.ANYTIME,
    )


async def test_one_address_that_fails_is_no_reason_while_another_was_reached(road: Road) -> None:
    order = await firm(road)
    first, *rest = [row for row in await road.rows(order) if row.channel == "email"]
    await road.report(first.id, Verdict.DELIVERED)
    for row in rest:
        await road.report(row.id, Verdict.FAILED)
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    assert await road.state(order) == "Completed"
    assert await road.value("SELECT count(*) FROM fallback") == 0


async def test_when_all_addresses_fail_those_are_tried_that_were_not(road: Road) -> None:
    order = await firm(road)
    assert [m.to for m in road.sms.sent] == ["+4799999504"]
    await reported(road, order, "sms", Verdict.FAILED, reason=Reason.UNDELIVERED)
    await reported(road, order, "email", Verdict.FAILED)
    assert sorted(m.to for m in road.sms.sent) == [NUMBER, "+4799999503", "+4799999504"]
    assert await road.state(order) == "Processed"
    for row in await road.rows(order):
        if row.state == "accepted":
            await road.report(row.id, Verdict.DELIVERED, channel=Channel.SMS)
    await road.run()
    assert len(await entries(road, order)) == 1
    assert await road.state(order) == "Completed"


async def test_an_order_without_its_texts_does_not_hang(road: Road) -> None:
    order = await placed(road)
    async with road.db.autocommit() as conn:
        await conn.execute("DELETE FROM order_content")
    await reported(road, order, "email", Verdict.FAILED)
    assert await outcome(road) == "unreachable"
    assert await road.state(order) == "Completed"


async def test_an_order_that_shows_a_bug_of_ours_holds_up_no_other_and_ends(road: Road) -> None:
    road.directory.people[OLA] = PersonContact(reserved=False, email="ola@example.com", mobile="+4799999505")
    bad = await placed(road)
    good = await placed(road, recipients=(Recipient(national_identity_number=OLA),))
    road.directory.poison = KARI
    for row in await road.rows():
        await road.report(row.id, Verdict.FAILED)
    await road.run()
    assert [m.to for m in road.sms.sent] == ["+4799999505"]
    assert [await road.state(order) for order in (bad, good)] == ["Processed", "Processed"]
    later(road, LIFETIME + timedelta(hours=1))
    await road.run()
    assert await road.state(bad) == "Completed"
