"""SMPP against the simulated SMSC, answer by answer, part by part and receipt by receipt (channels 3.4, 4.4.3; 8.4)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from gateways import NOW, Inbox, scripted, sms, tools
from road import until
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Parts,
    Refused,
    SendResult,
    Unknown,
    Verdict,
)
from varsel.domain.notification import Reason
from varsel.domain.sms_text import clean, segment
from varsel.providers.smpp import SmppProvider, SmppProviderSettings
from varsel.providers.smpp_message import bodies
from varsel.simulators.smpp import Habits, SmscSimulator
from varsel.smpp.pdu import NOBODY, Command, Message, Status, Tag, read_message

PASSWORD = "secret!!"
ACCOUNTS = {"varsel": PASSWORD}


def account(port: int = 2775, **changes: Any) -> SmppProviderSettings:
    values = {"name": "smsc-1", "host": "127.0.0.1", "port": port, "tls": "none", "system_id": "varsel"}
    return SmppProviderSettings.model_validate({**values, "password": PASSWORD, **changes})


@asynccontextmanager
async def provider(port: int, inbox: Inbox | None = None, **changes: Any) -> AsyncIterator[SmppProvider]:
    made = SmppProvider(account(port, **changes), tools(inbox or Inbox()))
    try:
        yield made
    finally:
        await made.close()


def smsc(time_factor: float = 0.001, **habits: Any) -> SmscSimulator:
    return SmscSimulator(ACCOUNTS, time_factor, habits=Habits(**habits))


@asynccontextmanager
async def road(
    *, failures: int = 0, habits: dict[str, Any] | None = None, **changes: Any
) -> AsyncIterator[tuple[SmppProvider, SmscSimulator, Inbox]]:
    inbox = Inbox(failures=failures)
    async with smsc(**(habits or {})) as center, provider(center.port, inbox, **changes) as made:
        yield made, center, inbox


def deferred(status: str, blame: Blame = Blame.MESSAGE, pause: float | None = None) -> Deferred:
    detail = f"the gateway answered {status}"
    return Deferred(detail, blame, None if pause is None else timedelta(seconds=pause))


def refused(reason: Reason, status: str) -> Refused:
    return Refused(reason, f"the gateway answered {status}")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("020", refused(Reason.INVALID_RECIPIENT, "0x0b")),
        ("021", deferred("0x58", Blame.PROVIDER, 1)),
        ("022", deferred("0x14", Blame.PROVIDER, 5)),
        ("023", deferred("0x45")),
        ("024", refused(Reason.REJECTED, "0x0a")),
        ("025", refused(Reason.REJECTED, "0x65")),
        ("026", deferred("0x401")),
        ("031", Unknown("the SMSC did not answer")),
        ("038", Unknown("the SMSC did not answer")),
        ("039", deferred("0x08")),
    ],
)
async def test_each_answer_of_the_smsc_has_its_result(script: str, expected: SendResult) -> None:
    async with road() as (made, _, _):
        assert await made.send(scripted(script)) == [expected]


async def test_no_answer_in_time_leaves_the_message_unknown() -> None:
    async with road(answer_timeout=timedelta(seconds=0.2)) as (made, center, _):
        assert await made.send(scripted("030")) == [Unknown("the SMSC did not answer")]
        assert len(center.arrived) == 1


async def test_messages_are_taken_in_order_each_with_a_reference() -> None:
    async with road() as (made, center, _):
        results = await made.send(scripted("000", "020", "001"))
        taken = {s.message.destination.value[-3:]: str(s.id) for s in center.submitted}
    assert results[0] == Accepted(taken["000"], segments=1)
    assert isinstance(results[1], Refused)
    assert results[2] == Accepted(taken["001"], segments=1)


async def test_a_vendors_own_status_means_what_the_settings_say() -> None:
    async with road(vendor_statuses={"0x401": "no_such_recipient"}) as (made, _, _):
        (result,) = await made.send(scripted("026"))
    assert isinstance(result, Refused)
    assert result.reason is Reason.BARRED_RECEIVER


async def test_what_fails_inside_the_smsc_three_times_has_failed() -> None:
    (message,) = scripted("023")
    async with road() as (made, _, _):
        results = [(await made.send([message]))[0] for _ in range(3)]
    assert [type(result) for result in results] == [Deferred, Deferred, Refused]


@pytest.mark.assertion("channels", 4)
async def test_a_wrong_password_opens_the_breaker_and_fails_no_message() -> None:
    async with road(password="wrong") as (made, center, _):
        results = await made.send(scripted("000", "000"))
        assert results == [Deferred("the SMSC refused the bind: 0x0e", Blame.FAULT)] * 2
        assert not center.submitted


async def test_a_submit_is_as_the_order_wants_it() -> None:
    message = sms("004799999000", "Hei – 5 €", "Etaten", left=90_061)
    async with road() as (made, center, _):
        await made.send([message])
        (taken,) = center.submitted
    assert taken.message.short_message == b"Hei - 5 \x1b\x65"
    assert (taken.message.destination.ton, taken.message.destination.npi) == (1, 1)
    assert taken.message.destination.value == "4799999000"
    assert (taken.message.source.ton, taken.message.source.npi, taken.message.source.value) == (5, 0, "Etaten")
    assert taken.message.validity == "000001010101000R"
    assert (taken.message.registered_delivery, taken.message.data_coding, taken.message.esm_class) == (1, 0, 0)


@pytest.mark.parametrize(
    ("sender", "ton", "npi", "value"),
    [
        ("+4799999999", 1, 1, "4799999999"),
        ("4799999999", 1, 1, "4799999999"),
        ("26112", 3, 0, "26112"),
        ("Etaten & co", 5, 0, "Etaten & co"),
    ],
)
def test_a_sender_is_a_number_a_short_code_or_a_name(sender: str, ton: int, npi: int, value: str) -> None:
    prepared = bodies(sms(sender=sender), concat="udh", max_segments=1, receipts=True, now=NOW)
    assert not isinstance(prepared, Refused)
    source = read_message(prepared[0]).source
    assert (source.ton, source.npi, source.value) == (ton, npi, value)


@pytest.mark.parametrize("sender", ["", "Twelve chars", "Ålesund", "A\0B", "12", "1" * 16, "....", "a\nb"])
async def test_a_sender_that_cannot_be_written_is_refused_before_anything_leaves(sender: str) -> None:
    async with road() as (made, center, _):
        (result,) = await made.send([sms(sender=sender)])
    assert isinstance(result, Refused)
    assert result.reason is Reason.REJECTED
    assert not center.binds


@pytest.mark.parametrize(
    ("left", "validity"), [(0.2, "000000000001000R"), (-9, "000000000001000R"), (8e7, "000030000000000R")]
)
def test_a_validity_is_what_is_left_between_a_second_and_thirty_days(left: float, validity: str) -> None:
    prepared = bodies(sms(left=left), concat="udh", max_segments=1, receipts=True, now=NOW)
    assert not isinstance(prepared, Refused)
    assert read_message(prepared[0]).validity == validity


async def test_what_the_smsc_cannot_carry_is_refused_before_it_leaves() -> None:
    async with road(max_segments=2) as (made, center, _):
        results = await made.send([sms(text="a" * 305), sms("12345")])
    assert [r.reason for r in results if isinstance(r, Refused)] == [Reason.UNSPECIFIED, Reason.INVALID_RECIPIENT]
    assert not center.binds


# Parts

LONG = {
    "gsm": "a" * 152 + "€" + "b" * 151 + "€" + "c" * 94,  # a euro where every segment would end
    "gsm 153": "a" * 153 + "€" + "b" * 152 + "€" + "c" * 93,
    "ucs": "ж" * 65 + "\U0001f600" + "ж" * 65 + "\U0001f600" + "я" * 10,
    "ucs 67": "ж" * 66 + "\U0001f600" + "ж" * 66 + "\U0001f600" + "я" * 10,
}


@pytest.mark.parametrize("concat", ["udh", "sar", "payload"])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.assertion("channels", 86)
async def test_a_long_text_arrives_as_it_was_written(concat: str, text: str) -> None:
    """The SMSC refuses segments that would not fit into 140 octets with their header."""
    async with road(concat=concat) as (made, center, _):
        (result,) = await made.send([sms(text=text)])
        (arrived,) = center.arrived
        submits = len(center.submitted)
    assert arrived.text == clean(text) == text
    assert isinstance(result, Accepted)
    assert result.segments == (len(segment(text).parts) if concat == "payload" else submits)
    assert (result.parts is None) == (concat == "payload")


async def test_each_part_has_a_reference_of_its_own() -> None:
    async with road() as (made, center, _):
        (result,) = await made.send([sms(text="a" * 400)])
    references = tuple(str(taken.id) for taken in center.submitted)
    assert result == Accepted(None, segments=3, parts=Parts(references, 3))
    assert len(set(references)) == 3


async def test_the_number_that_joins_parts_is_the_same_on_every_try_and_another_for_another_message() -> None:
    message, other = sms(text="a" * 200), sms(text="a" * 200)
    async with road() as (made, center, _):
        for each in (message, message, other):
            await made.send([each])
        keys = [taken.piece.key for taken in center.submitted]
    assert keys[0] == keys[1] == keys[2] == keys[3] != keys[4]


@pytest.mark.assertion("channels-faults", 31)
async def test_after_a_part_that_is_refused_no_more_leave_and_the_message_has_failed() -> None:
    message = sms("+4799999035", "a" * 400)
    async with road() as (made, center, _):
        (result,) = await made.send([message])
    assert result == Refused(
        Reason.REJECTED, "part 2 of 3: the gateway answered 0x65", parts=Parts((str(center.submitted[0].id),), 3)
    )
    assert len(center.submitted) == 1


async def test_a_later_part_that_is_put_off_is_tried_again_for_the_first_cannot_be_taken_back() -> None:
    async with road() as (made, center, _):
        center.next(1, "000")
        center.next(1, "021")
        (result,) = await made.send([sms("+4799999500", "a" * 200)])
    assert isinstance(result, Accepted)
    assert [taken.piece.number for taken in center.submitted] == [1, 2]


async def test_a_session_that_is_lost_between_parts_leaves_the_message_unknown_with_what_was_taken() -> None:
    async with road() as (made, center, _):
        center.next(1, "000")
        center.next(1, "031")
        (result,) = await made.send([sms(text="a" * 200)])
    assert result == Unknown("part 2 of 2: the SMSC did not answer", Parts((str(center.submitted[0].id),), 2))


# Receipts


@pytest.mark.parametrize("tlvs", [True, False])
@pytest.mark.parametrize("style", ["standard", "seconds", "lowercase", "extra-keys"])
@pytest.mark.assertion("channels", 87)
async def test_receipts_are_stored_as_reports_with_the_reference_of_their_message(style: str, tlvs: bool) -> None:
    async with road(habits={"style": style, "tlvs": tlvs}) as (made, center, inbox):
        results = await made.send(scripted("000", "003", "006"))
        await center.idle()
    references = [result.reference for result in results if isinstance(result, Accepted)]
    assert inbox.states(references[0]) == ["DELIVRD"]
    assert inbox.states(references[1]) == ["UNDELIV"]
    assert inbox.states(references[2]) == ["ACCEPTD", "DELIVRD"]
    assert {report.provider for report in inbox.reports} == {"smsc-1"}


@pytest.mark.parametrize(
    ("habits", "id_format"),
    [
        ({"receipt_ids": "hex"}, "auto"),
        ({"receipt_ids": "hex"}, "hex_to_dec"),
        ({"submit_ids": "hex"}, "auto"),
        ({"submit_ids": "hex"}, "dec_to_hex"),
        ({"submit_ids": "padded"}, "auto"),
        ({"receipt_ids": "padded"}, "auto"),
        ({}, "same"),
    ],
)
@pytest.mark.assertion("channels", 87)
async def test_a_receipt_names_its_message_whichever_way_it_writes_ids(habits: dict[str, Any], id_format: str) -> None:
    async with road(habits=habits, receipt_id_format=id_format) as (made, center, inbox):
        (result,) = await made.send(scripted("000"))
        await center.idle()
    assert isinstance(result, Accepted)
    (report,) = inbox.reports
    assert result.reference in (report.reference, *report.other_references)


@pytest.mark.assertion("channels", 90)
@pytest.mark.assertion("channels-faults", 27)
async def test_a_receipt_is_answered_once_it_is_stored_and_comes_again_when_it_could_not_be() -> None:
    async with road(failures=2) as (made, center, inbox):
        await made.send(scripted("000"))
        await center.idle()
    assert list(center.receipts) == [
        ("DELIVRD", Status.TEMPORARY_APPLICATION_ERROR),
        ("DELIVRD", Status.TEMPORARY_APPLICATION_ERROR),
        ("DELIVRD", Status.OK),
    ]
    assert len(inbox.reports) == 1


async def test_a_receipt_that_overtakes_the_answer_is_stored_before_it() -> None:
    async with road() as (made, _, inbox):
        (result,) = await made.send(scripted("032"))
        assert isinstance(result, Accepted)
        assert inbox.states(result.reference) == ["DELIVRD"]


async def test_the_same_receipt_twice_is_one_event_and_one_for_nobody_is_stored_all_the_same() -> None:
    async with road() as (made, center, inbox):
        twice, stranger = await made.send(scripted("033", "034"))
        await center.idle()
    assert isinstance(twice, Accepted)
    assert isinstance(stranger, Accepted)
    keys = [report.event_key for report in inbox.reports if report.reference == twice.reference]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert [report.reference for report in inbox.reports if report.reference != twice.reference] == [
        "999999999",
        stranger.reference,
    ]


async def test_a_receipt_that_cannot_be_read_is_answered_and_kept_for_an_operator() -> None:
    async with road() as (made, center, inbox):
        await made.send(scripted("037"))
        await center.idle()
    assert [status for _, status in center.receipts] == [Status.OK]
    assert [(r.verdict, r.detail) for r in inbox.reports] == [(Verdict.UNRECOGNISED, "malformed: no id")]


async def test_receipts_come_although_nothing_is_sent_and_as_data_too() -> None:
    body = Message(NOBODY, NOBODY, b"", esm_class=4).to_bytes()
    data = b"\0" + bytes(3) + bytes(3) + b"\x04\0\0" + b"\0\x1e\0\x03" + b"77\0" + b"\x04\x27\0\x01\x02"
    async with road() as (made, center, inbox):
        made.start()
        assert await center.send_in(body) == Status.OK
        assert await center.send_in(data, Command.DATA_SM) == Status.OK
    assert [(report.reference, report.verdict) for report in inbox.reports] == [
        (None, Verdict.UNRECOGNISED),
        ("77", Verdict.DELIVERED),
    ]


async def test_what_people_write_back_is_taken_and_forgotten_and_what_is_no_message_is_refused_for_good() -> None:
    async with road() as (made, center, inbox):
        made.start()
        assert await center.send_in(Message(NOBODY, NOBODY, b"Takk!").to_bytes()) == Status.OK
        assert await center.send_in(b"nonsense") == Status.PERMANENT_APPLICATION_ERROR
    assert not inbox.reports


async def test_many_receipts_at_once_are_stored_together() -> None:
    calls = 0

    class Counting(Inbox):
        async def store(self, reports: Any) -> None:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0)
            await super().store(reports)

    inbox = Counting()
    async with smsc() as center, provider(center.port, inbox) as made:
        made.start()
        receipts = [
            Message(NOBODY, NOBODY, esm_class=4, tlvs={Tag.RECEIPTED_MESSAGE_ID: b"%d" % n, Tag.MESSAGE_STATE: b"\2"})
            for n in range(80)
        ]
        statuses = await asyncio.gather(*(center.send_in(receipt.to_bytes()) for receipt in receipts))
    assert set(statuses) == {Status.OK}
    assert len(inbox.reports) == 80
    assert calls < 40


# Sessions


async def test_bytes_that_come_one_by_one_are_pdus_all_the_same() -> None:
    async with road(habits={"one_by_one": True}) as (made, center, inbox):
        results = await made.send(scripted("000", "001"))
        await center.idle()
    assert [type(result) for result in results] == [Accepted, Accepted]
    assert len(inbox.reports) == 2


@pytest.mark.assertion("channels-faults", 28)
async def test_a_lost_session_leaves_unanswered_submits_unknown_and_is_made_again() -> None:
    """The receipt of what the SMSC had taken comes on the next bind."""
    async with road(habits={"latency": 0.2}) as (made, center, inbox):
        made.start()
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(made.send([sms() for _ in range(10)]))
            await until(lambda: len(center.submitted) == 10, 60)
            center.cut()
        results = sending.result()
        assert results == [Unknown("the SMSC did not answer")] * 10
        await inbox.wait_for(10)
        await until(lambda: center.binds == 2, 60)
        (after,) = await made.send([sms()])
    assert isinstance(after, Accepted)


async def test_while_there_is_no_session_messages_are_put_off_and_the_provider_is_to_blame() -> None:
    async with smsc() as center, provider(center.port) as made:
        await made.send([sms()])
        await center.stop()
        results = [(await made.send([sms()]))[0] for _ in range(3)]
    assert {(type(r), r.blame) for r in results if isinstance(r, Deferred)} == {(Deferred, Blame.PROVIDER)}


async def test_at_most_a_window_of_submits_waits_for_answers() -> None:
    async with road(habits={"latency": 0.02, "window": 3}, window=3) as (made, center, _):
        assert made.step == 3
        results = await made.send([sms() for _ in range(30)])
    assert all(isinstance(result, Accepted) for result in results)
    assert len(center.arrived) == 30


async def test_several_binds_share_the_messages() -> None:
    async with road(habits={"latency": 0.02}, binds=3, window=2) as (made, center, _):
        made.start()
        assert made.step == 6
        await made.send([sms() for _ in range(2)])
        await made.send([sms() for _ in range(30)])
        assert center.binds == 3
        assert center.sessions == 3


async def test_both_sides_ask_whether_the_other_is_there() -> None:
    async with road(habits={"enquire_every": 0.01}) as (made, center, _):
        made.start()
        await until(lambda: center.enquiries_answered > 2, 60)
    async with road(enquire_link=timedelta(seconds=0.01)) as (made, center, _):
        made.start()
        await until(lambda: center.enquiries > 2, 60)
    assert center.binds == 1


async def test_an_smsc_that_answers_no_enquiry_is_left_and_bound_anew() -> None:
    async with smsc() as center:
        center.deaf = True
        changes: dict[str, Any] = {"enquire_link": timedelta(seconds=0.01), "bind_timeout": timedelta(seconds=0.2)}
        async with provider(center.port, **changes) as made:
            made.start()
            await until(lambda: center.binds == 2, 60)


async def test_it_says_goodbye() -> None:
    async with smsc() as center:
        async with provider(center.port) as made:
            await made.send([sms()])
        await until(lambda: center.sessions == 0, 60)
        assert center.unbinds == 1


@pytest.mark.assertion("channels-faults", 29)
async def test_a_throttling_storm_fails_no_message_and_most_of_what_is_allowed_gets_through() -> None:
    """Second by second of the SMSC's clock: we rest as long as our answer says, and go on."""
    now, allowed, sent = 0.0, 20, 0
    async with smsc(rate=allowed, monotonic=lambda: now) as center:
        made = SmppProvider(account(center.port, window=5), tools(Inbox()), monotonic=lambda: now)
        for _ in range(20):
            results = await made.send([sms() for _ in range(5)])
            sent += sum(isinstance(result, Accepted) for result in results)
            throttled = [r for r in results if isinstance(r, Deferred)]
            assert all(r.blame is Blame.PROVIDER and r.retry_after for r in throttled)
            assert len(throttled) == len([r for r in results if not isinstance(r, Accepted)])
            now += max((r.retry_after.total_seconds() for r in throttled if r.retry_after), default=0.01)
        await made.close()
    assert sent >= 0.8 * allowed * now


# Settings


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"host": "smsc.example"}, "trusted_network"),
        ({"password": "nine char"}, "more than 8"),
        ({"system_id": "s" * 16}, "more than 15"),
        ({"system_id": "ø"}, "ASCII"),
        ({"error_causes": {"027": "invented"}}, "no cause 'invented'"),
        ({"vendor_statuses": {"1025": "other"}}, "pattern"),
        ({"receipt_id_format": "octal"}, "receipt_id_format"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        account(**changes)
    assert account(host="smsc.example", trusted_network=True)
    assert account(host="smsc.example", tls="implicit")


async def test_without_receipts_nothing_can_be_confirmed() -> None:
    async with road(receipts=False) as (made, center, _):
        await made.send([sms()])
        assert made.confirms is Confirms.NOTHING
    assert center.submitted[0].message.registered_delivery == 0
