"""The whole road on a real database: an order is placed, resolved, sent, reported on, and completes."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from fakes import FakeProvider
from road import GRACE, LIFETIME, UNKNOWN_WAIT, Road
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Refused,
    SendResult,
    Unknown,
    Verdict,
)
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import OrderChannel, Recipient, SendingTime
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.recipients.ports import OrganisationContact, PersonContact, UserContact
from varsel.resolution.ports import Verdict as Condition

KARI, OLA = "14838510036", "01916012086"
ORG = "310001007"


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


@pytest.mark.assertion("processing", 103, 104)
async def test_an_email_to_a_direct_address_is_sent_and_its_report_completes_the_order(road: Road) -> None:
    placed = await road.place()
    assert placed.lookup is None
    await road.run()
    (row,) = await road.rows()
    assert (row.state, row.attempts) == ("accepted", 1)
    assert await road.state(placed.order_id) == "Processed"
    await road.report(row.id, Verdict.DELIVERED)
    await road.run()
    assert await road.outcomes() == [("email", "delivered")]
    assert await road.state(placed.order_id) == "Completed"
    (entry,) = await road.feed()
    assert entry["shipmentId"] == str(placed.order_id)
    assert entry["status"] == "Order_Completed"
    assert [(r["destination"], r["status"]) for r in entry["recipients"]] == [("kari@example.com", "Email_Delivered")]


@pytest.mark.assertion("processing", 35)
async def test_an_order_for_later_leaves_at_its_time_and_not_before(road: Road) -> None:
    at = road.clock.now() + timedelta(hours=3)
    placed = await road.place(requested_send_time=at)
    road.clock.set(at - timedelta(milliseconds=1))
    await road.run()
    assert await road.state(placed.order_id) == "Registered"
    road.clock.set(at)
    await road.run()
    assert len(road.mail.sent) == 1


async def test_with_a_grace_an_order_is_taken_before_its_time(road: Road) -> None:
    road.due_grace = timedelta(seconds=60)
    at = road.clock.now() + timedelta(hours=3)
    await road.place(requested_send_time=at)
    road.clock.set(at - timedelta(seconds=61))
    await road.run()
    assert road.mail.sent == []
    road.clock.set(at - timedelta(seconds=60))
    await road.run()
    assert len(road.mail.sent) == 1


async def test_a_cancelled_order_is_never_sent(road: Road) -> None:
    at = road.clock.now() + timedelta(hours=3)
    placed = await road.place(requested_send_time=at)
    limit = timedelta(minutes=5)
    now = road.clock.now()
    assert await cancel_order(road.db, "xyz", placed.order_id, now=now, limit=limit) is Cancellation.NOT_FOUND
    for _ in range(2):
        assert await cancel_order(road.db, "ttd", placed.order_id, now=now, limit=limit) is Cancellation.CANCELLED
    road.clock.set(at + timedelta(days=1))
    await road.run()
    assert road.mail.sent == []
    assert await road.feed() == []


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(minutes=5), timedelta()])
async def test_an_order_due_within_five_minutes_cannot_be_cancelled(road: Road, ahead: timedelta) -> None:
    now = road.clock.now()
    placed = await road.place(requested_send_time=now + ahead)
    answer = await cancel_order(road.db, "ttd", placed.order_id, now=now, limit=timedelta(minutes=5))
    assert answer is Cancellation.PROHIBITED


@pytest.mark.assertion("processing", 41)
async def test_a_reserved_person_is_reported_at_once_and_not_sent_to_later(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(reserved=True, email="kari@example.com")}
    placed = await road.place(recipients=(Recipient(national_identity_number=KARI),))
    assert placed.lookup is not None
    assert (placed.lookup.status, placed.lookup.is_reserved, placed.lookup.missing_contact) == ("Failed", (KARI,), ())
    await road.run()
    assert road.mail.sent == []
    assert [(r.reason, r.address) for r in await road.rows()] == [("Failed_RecipientReserved", "")]
    assert await road.state(placed.order_id) == "Completed"
    assert len(await road.feed()) == 1


@pytest.mark.assertion("processing", 5)
async def test_ignoring_the_reservation_sends_all_the_same(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(reserved=True, email="kari@example.com")}
    placed = await road.place(recipients=(Recipient(national_identity_number=KARI),), ignore_reservation=True)
    assert placed.lookup is not None
    assert placed.lookup.is_reserved == (KARI,)
    await road.run()
    assert [m.to for m in road.mail.sent] == ["kari@example.com"]


@pytest.mark.assertion("processing", 68, 69)
async def test_only_permitted_users_get_what_an_organisation_gets(road: Road) -> None:
    road.directory.official = {ORG: OrganisationContact(("post@example.com",), (), ORG)}
    road.directory.users = {
        ORG: [
            UserContact(101, "in@example.com", None),
            UserContact(102, "out@example.com", None),
            UserContact(103, "POST@example.com", "+4799999501"),
        ]
    }
    road.directory.rights = {(ORG, 101), (ORG, 103)}
    await road.place(
        recipients=(Recipient(organisation_number=ORG),),
        channel=OrderChannel.EMAIL_PREFERRED,
        resource_id="urn:altinn:resource:app_ttd_demo",
    )
    await road.run()
    assert sorted(m.to for m in road.mail.sent) == ["in@example.com", "post@example.com"]
    assert [m.to for m in road.sms.sent] == ["+4799999501"]
    assert "permitted app_ttd_demo read" in road.directory.asked


@pytest.mark.assertion("processing", 81, 82, 84)
async def test_keywords_are_filled_for_people_and_organisations_and_stay_for_direct_addresses(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(False, email="kari@example.com")}
    road.directory.official = {ORG: OrganisationContact(("post@example.com",), (), ORG)}
    road.directory.known_names = {KARI: "Kari <b>", ORG: "Vik & sønn"}
    template = road.order().email
    assert template is not None
    await road.place(
        email=type(template)("a@example.com", "Til $recipientName$", "$recipientName$ ($recipientNumber$)"),
        recipients=(
            Recipient(national_identity_number=KARI),
            Recipient(organisation_number=ORG),
            Recipient(email="ola@example.com"),
        ),
    )
    await road.run()
    texts = {m.to: getattr(m, "body", "") for m in road.mail.sent}
    assert texts == {
        "kari@example.com": "Kari <b> ()",
        "post@example.com": f"Vik & sønn ({ORG})",
        "ola@example.com": "$recipientName$ ($recipientNumber$)",
    }


@pytest.mark.assertion("processing", 43)
async def test_when_a_register_is_down_nothing_is_sent_and_the_order_is_tried_again(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(False, email="kari@example.com")}
    placed = await road.place(recipients=(Recipient(national_identity_number=KARI),))
    road.directory.down = True
    await road.run()
    assert await road.state(placed.order_id) == "Registered"
    assert await road.rows() == []
    road.directory.down = False
    road.clock.advance(timedelta(seconds=59))
    await road.run()
    assert road.mail.sent == []
    road.clock.advance(timedelta(seconds=1))
    await road.run()
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("processing", 118)
async def test_a_register_that_stays_down_until_expiry_still_lets_the_order_end(road: Road) -> None:
    placed = await road.place(recipients=(Recipient(national_identity_number=KARI),))
    road.directory.down = True
    await road.run()
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(placed.order_id) == "Completed"
    assert len(await road.feed()) == 1


async def test_a_daytime_sms_waits_for_the_window_and_is_checked_again_when_it_starts(road: Road) -> None:
    road.clock.set(datetime(2026, 11, 22, 16, 30, tzinfo=UTC))  # 17:30 in Oslo, a Sunday
    await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    assert road.sms.sent == []
    road.clock.set(datetime(2026, 11, 23, 8, 0, tzinfo=UTC))  # exactly 09:00: still closed
    await road.run()
    assert road.sms.sent == []
    road.clock.advance(timedelta(microseconds=1))
    await road.run()
    assert len(road.sms.sent) == 1


@pytest.mark.assertion("processing", 96)
async def test_an_anytime_sms_leaves_at_night(road: Road) -> None:
    road.clock.set(datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    await road.place(
        channel=OrderChannel.SMS,
        recipients=(Recipient(mobile="+4799999501"),),
        sending_time=SendingTime.ANYTIME,
    )
    await road.run()
    assert len(road.sms.sent) == 1


async def test_a_refused_message_fails_and_completes_its_order(road: Road) -> None:
    road.mail.answers = lambda _: Refused(Reason.BOUNCED, "550 5.1.1")
    placed = await road.place()
    await road.run()
    assert await road.outcomes() == [("email", "Failed_Bounced")]
    assert await road.state(placed.order_id) == "Completed"
    assert await road.value("SELECT outcome FROM attempt") == "refused"


@pytest.mark.assertion("channels", 96)
async def test_a_deferred_message_waits_and_is_tried_again_until_it_expires(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("450 4.2.0")
    placed = await road.place()
    await road.run()
    (row,) = await road.rows()
    assert row.state == "new"
    assert timedelta(seconds=24) <= (row.wake_at or road.clock.now()) - road.clock.now() <= timedelta(seconds=36)
    road.clock.advance(timedelta(minutes=1))
    await road.run()
    assert len(road.mail.sent) == 2
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(placed.order_id) == "Completed"


@pytest.mark.assertion("processing", 90)
@pytest.mark.assertion("channels", 17)
async def test_a_provider_that_cannot_be_reached_rests_and_costs_the_message_nothing(road: Road) -> None:
    road.mail.answers = lambda _: Deferred("login refused", Blame.FAULT)
    await road.place()
    await road.run()
    (row,) = await road.rows()
    assert (row.state, row.attempts) == ("new", 0)
    assert row.wake_at == road.clock.now() + timedelta(seconds=5)  # so that it is not the first to come back
    assert await road.value("SELECT breaker_until > statement_timestamp() FROM provider WHERE name = 'mail'")
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("processing", 100)
async def test_an_unknown_outcome_waits_and_is_sent_again_only_where_that_is_allowed(road: Road) -> None:
    results: list[SendResult] = [Unknown("lost after DATA"), Accepted()]
    road.mail.answers = lambda _: results.pop(0)
    await road.place()
    await road.run()
    assert await road.outcomes() == [("email", "unknown")]
    road.clock.advance(UNKNOWN_WAIT)
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]
    assert len({m.id for m in road.mail.sent}) == 1


async def test_a_message_whose_outcome_stays_unknown_is_sent_again_only_twice(road: Road) -> None:
    road.mail.answers = lambda _: Unknown("lost after DATA")
    await road.place()
    for _ in range(6):
        await road.run()
        road.clock.advance(UNKNOWN_WAIT)
    assert len(road.mail.sent) == 3
    road.clock.advance(LIFETIME + GRACE)
    await road.run()
    assert await road.outcomes() == [("email", "expired")]


@pytest.mark.assertion("channels", 27)  # overridden: nobody knows that it failed
async def test_a_message_that_nobody_can_report_on_settles_though_its_provider_confirms_others(road: Road) -> None:
    road.mail.answers = lambda _: Accepted(silent=True)
    placed = await road.place()
    await road.run()
    road.clock.advance(timedelta(hours=6))
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]
    assert await road.state(placed.order_id) == "Completed"
    road.clock.advance(LIFETIME + GRACE)  # nobody takes it for a failure, however long it is ago
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]


async def test_one_message_that_its_provider_always_gives_back_does_not_stop_the_others(road: Road) -> None:
    def answer(to: str) -> SendResult:
        return Deferred("429", Blame.PROVIDER) if to.startswith("bad") else Accepted()

    road.mail.answers = answer
    await road.place(recipients=(Recipient(email="bad@example.com"),))
    for i in range(3):
        await road.place(recipients=(Recipient(email=f"good{i}@example.com"),))
    await road.run()
    assert sorted(state for _, state in await road.outcomes()) == ["accepted", "accepted", "accepted", "new"]


@pytest.mark.assertion("processing", 119)
@pytest.mark.assertion("channels", 96)
async def test_under_hold_an_unknown_outcome_is_never_sent_again_and_ends_at_expiry(road: Road) -> None:
    road.mail.on_indeterminate = Indeterminate.HOLD
    road.mail.answers = lambda _: Unknown("lost after DATA")
    placed = await road.place()
    await road.run()
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes() == [("email", "unknown")]
    road.clock.advance(GRACE)
    await road.run()
    assert await road.outcomes() == [("email", "expired")]
    assert len(road.mail.sent) == 1
    assert await road.state(placed.order_id) == "Completed"


async def test_a_report_ends_the_doubt_about_an_unknown_outcome(road: Road) -> None:
    road.mail.answers = lambda _: Unknown("lost after DATA")
    await road.place()
    await road.run()
    (row,) = await road.rows()
    await road.report(row.id, Verdict.DELIVERED)
    await road.run()
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes() == [("email", "delivered")]
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("channels", 26)
async def test_without_confirmation_a_message_settles_and_a_later_bounce_corrects_it(road: Road) -> None:
    road.mail.confirms = Confirms.NOTHING
    placed = await road.place()
    await road.run()
    assert await road.state(placed.order_id) == "Processed"
    road.clock.advance(timedelta(hours=6))
    await road.run()
    (row,) = await road.rows()
    assert (row.state, row.settled) == ("accepted", True)
    assert await road.state(placed.order_id) == "Completed"
    await road.report(row.id, Verdict.FAILED)
    await road.run()
    assert await road.outcomes() == [("email", "Failed_Bounced")]
    ordinary, correction = await road.feed()
    assert "correction" not in ordinary
    assert correction["correction"] is True
    assert [r["status"] for r in correction["recipients"]] == ["Email_Failed_Bounced"]


async def test_settling_at_once_completes_the_order_with_the_acceptance(road: Road) -> None:
    road.mail.confirms = Confirms.NOTHING
    road.settle_after = timedelta()
    placed = await road.place()
    await road.run()
    assert await road.state(placed.order_id) == "Completed"
    assert await road.outcomes() == [("email", "accepted")]


@pytest.mark.assertion("processing", 117)
async def test_a_confirming_provider_that_stays_silent_means_expired_after_the_grace(road: Road) -> None:
    placed = await road.place()
    await road.run()
    road.clock.advance(LIFETIME + GRACE - timedelta(seconds=1))
    await road.run()
    assert await road.outcomes() == [("email", "accepted")]
    road.clock.advance(timedelta(seconds=31))
    await road.run()
    assert await road.outcomes() == [("email", "expired")]
    assert await road.state(placed.order_id) == "Completed"


@pytest.mark.assertion("processing", 112)
@pytest.mark.assertion("channels", 106)
async def test_a_report_that_matches_nothing_is_tried_seven_times_and_is_then_dead(road: Road) -> None:
    await road.report(None, Verdict.DELIVERED, reference="nobody-knows")
    began = road.clock.now()
    for _ in range(8):
        await road.run()
        wake_at = await road.value("SELECT wake_at FROM delivery_report WHERE state = 'parked'")
        if wake_at is None:
            break
        road.clock.set(wake_at)
    assert road.clock.now() - began == timedelta(seconds=316)
    assert await road.value("SELECT state_reason FROM delivery_report") == "RETRY_THRESHOLD_EXCEEDED"
    assert await road.value("SELECT tries FROM delivery_report") == 7


@pytest.mark.assertion("processing", 108)
@pytest.mark.assertion("channels", 83)
@pytest.mark.assertion("channels-faults", 15)
async def test_a_report_that_overtakes_its_reference_is_applied_when_the_reference_is_stored(road: Road) -> None:
    road.sms.answers = lambda _: Accepted("REF-1")
    await road.report(None, Verdict.DELIVERED, reference="REF-1", provider="sms", channel=Channel.SMS)
    await road.run()
    assert await road.value("SELECT state FROM delivery_report") == "parked"
    await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    road.clock.advance(timedelta(seconds=1))  # when the report is looked at again
    await road.run()
    assert await road.outcomes() == [("sms", "delivered")]


async def test_a_reference_found_twice_is_applied_to_neither(road: Road) -> None:
    road.sms.answers = lambda _: Accepted("REF-1")
    people = (Recipient(mobile="+4799999501"), Recipient(mobile="+4799999502"))
    await road.place(channel=OrderChannel.SMS, recipients=people)
    await road.run()
    await road.report(None, Verdict.DELIVERED, reference="REF-1", provider="sms", channel=Channel.SMS)
    await road.run()
    assert await road.outcomes() == [("sms", "accepted"), ("sms", "accepted")]
    assert await road.value("SELECT state_reason FROM delivery_report") == "AMBIGUOUS_REFERENCE"


@pytest.mark.assertion("processing", 109)
@pytest.mark.assertion("channels", 25)
async def test_the_same_report_twice_changes_nothing(road: Road) -> None:
    await road.place()
    await road.run()
    (row,) = await road.rows()
    for _ in range(2):
        await road.report(row.id, Verdict.DELIVERED, event_key="same")
        await road.report(row.id, Verdict.DELIVERED)
        await road.run()
    assert await road.value("SELECT count(*) FROM delivery_report") == 3
    assert len(await road.feed()) == 1


@pytest.mark.assertion("processing", 47)
async def test_a_condition_that_is_not_met_stops_the_order_with_one_feed_entry(road: Road) -> None:
    road.conditions.answers = [Condition.NOT_MET]
    placed = await road.place(condition_endpoint="https://condition.example/x")
    await road.run()
    assert await road.state(placed.order_id) == "SendConditionNotMet"
    (entry,) = await road.feed()
    assert (entry["status"], entry["recipients"]) == ("Order_SendConditionNotMet", [])
    assert road.mail.sent == []


@pytest.mark.assertion("processing", 48)
async def test_an_inconclusive_condition_is_asked_once_more_after_a_minute_and_then_counts_as_met(road: Road) -> None:
    road.conditions.answers = [Condition.INCONCLUSIVE, Condition.INCONCLUSIVE]
    await road.place(condition_endpoint="https://condition.example/x")
    await road.run()
    assert road.mail.sent == []
    road.clock.advance(timedelta(seconds=60))
    await road.run()
    assert len(road.conditions.asked) == 2
    assert len(road.mail.sent) == 1


@pytest.mark.assertion("processing", 44)
async def test_one_order_that_cannot_be_resolved_does_not_hold_up_its_neighbours(road: Road) -> None:
    orders = [await road.place(recipients=(Recipient(email=f"p{i}@example.com"),)) for i in range(4)]
    bad = await road.place(recipients=(Recipient(national_identity_number=KARI),))
    road.directory.poison = KARI
    await road.run()
    assert len(road.mail.sent) == len(orders)
    assert await road.state(bad.order_id) == "Registered"
    road.clock.advance(LIFETIME)
    await road.run()
    assert await road.outcomes(bad.order_id) == [("email", "expired")]


@pytest.mark.assertion("processing", 44)
async def test_an_order_without_the_template_that_its_channel_needs_fails_at_once(road: Road) -> None:
    placed = await road.place(channel=OrderChannel.SMS, sms=None, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    assert await road.outcomes() == [("sms", "Failed")]
    assert await road.state(placed.order_id) == "Completed"


async def test_a_text_that_is_empty_after_its_keywords_fails_instead_of_leaving(road: Road) -> None:
    road.directory.people = {KARI: PersonContact(False, email="kari@example.com")}
    road.directory.known_names = {KARI: ""}
    template = road.order().email
    assert template is not None
    await road.place(
        email=type(template)("a@example.com", "Til", "$recipientName$"),
        recipients=(Recipient(national_identity_number=KARI),),
    )
    await road.run()
    assert road.mail.sent == []
    assert await road.outcomes() == [("email", "Failed")]


async def test_a_big_order_is_resolved_in_pieces_and_every_recipient_gets_one_notification(road: Road) -> None:
    people = tuple(Recipient(email=f"p{i}@example.com") for i in range(4_500))
    road.mail = FakeProvider("mail", max_batch=50, step=500)
    placed = await road.place(recipients=people)
    await road.run()
    assert len({m.to for m in road.mail.sent}) == len(road.mail.sent) == 4_500
    assert await road.value("SELECT pending FROM orders WHERE id = %(o)s", o=placed.order_id) == 4_500
