"""A gateway of Twilio's kind, answer by answer and callback by callback (channels 3.5, 4.4.4, 5.4; 8.5)."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from gateways import BASE, NOW, Inbox, reporting, scripted, sms, tools
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Refused,
    SendResult,
    Sms,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.ids import uuid7
from varsel.domain.notification import Reason
from varsel.domain.sms_text import clean
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.providers.twilio import TwilioProvider, TwilioProviderSettings
from varsel.providers.twilio_reports import TwilioReports, signature
from varsel.simulators.twilio import TwilioSimulator

SID = "AC00000000000000000000000000000001"
TOKEN = "token of the account"


FORM = "application/x-www-form-urlencoded"
words = st.text(min_size=1, max_size=100) | st.sampled_from(["a&From=b", "x=y", "%26To=+47", "\r\nBody: b"])


def account(url: str = "https://gateway.example/", **changes: Any) -> TwilioProviderSettings:
    values: dict[str, Any] = {"name": "Twi-1", "url": url, "account_sid": SID, "auth_token": SecretStr(TOKEN)}
    return TwilioProviderSettings(**values | changes)


@asynccontextmanager
async def provider(settings: TwilioProviderSettings) -> AsyncIterator[TwilioProvider]:
    made = TwilioProvider(settings, tools(Inbox()))
    try:
        yield made
    finally:
        await made.close()


def simulator(time_factor: float = 0.001) -> TwilioSimulator:
    return TwilioSimulator(SID, TOKEN, time_factor, logins={"SK1": "key secret"})


async def send(*messages: Sms, **changes: Any) -> tuple[list[SendResult], TwilioSimulator]:
    async with simulator() as gateway:
        gateway.send_to = "http://127.0.0.1:1"  # callbacks lead nowhere here
        async with provider(account(gateway.url, **changes)) as twilio:
            return await twilio.send(messages), gateway


def refused(reason: Reason, code: int, suppress: Suppress | None = None) -> Refused:
    return Refused(reason, f"the gateway answered 400: {code}", suppress)


def deferred(what: str, blame: Blame = Blame.PROVIDER, pause: float | None = None) -> Deferred:
    return Deferred(f"the gateway answered {what}", blame, None if pause is None else timedelta(seconds=pause))


RESULTS: list[tuple[str, SendResult]] = [
    ("101", refused(Reason.INVALID_RECIPIENT, 21211)),
    ("102", refused(Reason.INVALID_RECIPIENT, 21614)),
    ("103", refused(Reason.UNDELIVERED, 21408)),
    ("104", refused(Reason.UNDELIVERED, 21612)),
    ("105", refused(Reason.BARRED_RECEIVER, 21610, Suppress.BARRED)),
    ("106", deferred("400: 21611", pause=60)),
    ("107", refused(Reason.REJECTED, 21212)),
    ("108", refused(Reason.REJECTED, 21606)),
    ("109", refused(Reason.REJECTED, 21607)),
    ("110", refused(Reason.UNSPECIFIED, 21602)),
    ("111", refused(Reason.UNSPECIFIED, 21617)),
    ("112", refused(Reason.UNSPECIFIED, 21999)),
    ("113", deferred("401: 20003", Blame.FAULT)),
    ("114", deferred("429: 20429", pause=7)),
    ("115", deferred("500")),
    ("116", deferred("503")),
    ("117", Unknown("the gateway answered 504")),
    ("118", deferred("404")),
    ("119", deferred("302")),
    ("310", Unknown("the gateway did not answer in time")),
    ("311", Unknown("the connection to the gateway was lost")),
    ("312", Unknown("the gateway's answer names no message")),
]


@pytest.mark.parametrize(("script", "expected"), RESULTS)
async def test_each_answer_of_the_gateway_has_its_result(script: str, expected: SendResult) -> None:
    silent = script == "310"
    async with simulator(1.0 if silent else 0.001) as gateway:
        gateway.next(1, script)
        async with provider(account(gateway.url, timeout=timedelta(seconds=0.3 if silent else 20))) as twilio:
            assert await twilio.send([sms()]) == [expected]


async def test_messages_are_taken_with_a_reference_and_their_parts_in_order() -> None:
    results, gateway = await send(*scripted("309", "101", "309"), sms("+4799999309", "a" * 161))
    taken = [message.sid for message in gateway.journal]
    assert [type(result) for result in results] == [Accepted, Refused, Accepted, Accepted]
    accepted = [result for result in results if isinstance(result, Accepted)]
    assert sorted(str(result.reference) for result in accepted) == sorted(taken)
    assert [result.segments for result in accepted] == [1, 1, 2]


async def test_the_request_has_what_the_gateway_reads() -> None:
    message = sms("004799999309", "Hei & «velkommen» = 1–2", "+47 99 99", left=61)
    _, gateway = await send(message)
    (taken,) = gateway.journal
    assert taken.form == {
        "To": "+4799999309",
        "From": "+47 99 99",
        "Body": 'Hei & "velkommen" = 1-2',
        "SmartEncoded": "false",
        "ValidityPeriod": "61",
        "StatusCallback": f"{BASE}/notifications/sms/api/v1/reports/twilio/Twi-1/{message.id}",
    }


@pytest.mark.parametrize(
    ("sender", "sent"),
    [("Altinn", "Altinn"), ("4799999999", "+4799999999"), ("+4799999999", "+4799999999"), ("26112", "26112")],
)
async def test_a_number_that_sends_has_its_plus_and_a_short_code_has_none(sender: str, sent: str) -> None:
    _, gateway = await send(sms("+4799999309", sender=sender))
    assert gateway.journal[0].form["From"] == sent


@pytest.mark.parametrize(("left", "told"), [(0.5, "1"), (-5, "1"), (36_000, "36000"), (172_800, "36000")])
async def test_the_validity_is_what_is_left_within_what_the_gateway_takes(left: float, told: str) -> None:
    _, gateway = await send(sms("+4799999309", left=left))
    assert gateway.journal[0].form["ValidityPeriod"] == told


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=20))
def test_no_text_can_add_a_parameter(written: list[tuple[str, str]]) -> None:
    messages = [sms("+4799999309", text, sender) for text, sender in written]
    _, gateway = asyncio.run(send(*messages))
    names = {"To", "Body", "SmartEncoded", "From", "ValidityPeriod", "StatusCallback"}
    assert all(taken.form.keys() == names for taken in gateway.journal)
    assert sorted(taken.form["Body"] for taken in gateway.journal) == sorted(
        clean(text) for text, _ in written if clean(text)
    )


async def test_what_the_gateway_cannot_carry_is_refused_before_it_leaves() -> None:
    results, gateway = await send(sms(text="a" * 1601), sms("12345"), sms("++4799999500"))
    assert [result.reason for result in results if isinstance(result, Refused)] == [
        Reason.UNSPECIFIED,
        Reason.INVALID_RECIPIENT,
        Reason.INVALID_RECIPIENT,
    ]
    assert not gateway.journal


@pytest.mark.assertion("channels", 4)
async def test_a_wrong_password_opens_the_breaker_and_fails_no_message() -> None:
    results, gateway = await send(*scripted("309", "309"), auth_token=SecretStr("other"))
    assert results == [deferred("401: 20003", Blame.FAULT)] * 2
    assert not gateway.journal


async def test_an_api_key_can_log_in_instead_of_the_account() -> None:
    results, _ = await send(sms("+4799999309"), api_key="SK1", api_secret=SecretStr("key secret"))
    assert [type(result) for result in results] == [Accepted]
    with pytest.raises(ValidationError, match="belong together"):
        account(api_key="SK1")


async def test_a_sender_that_our_settings_choose_is_our_fault_when_it_is_refused() -> None:
    results, gateway = await send(*scripted("107", "309"), messaging_service_sid="MG1")
    assert results[0] == deferred("400: 21212", Blame.FAULT)
    assert gateway.journal[0].form["MessagingServiceSid"] == "MG1"
    assert "From" not in gateway.journal[0].form


async def test_without_callbacks_nothing_can_be_confirmed() -> None:
    async with provider(account(status_callbacks=False)) as twilio:
        assert twilio.confirms is Confirms.NOTHING
    _, gateway = await send(sms("+4799999309"), status_callbacks=False)
    assert "StatusCallback" not in gateway.journal[0].form


async def test_a_gateway_that_cannot_be_reached_is_charged_and_no_message() -> None:
    async with provider(account("http://127.0.0.1:1")) as twilio:
        assert twilio.confirms is Confirms.ARRIVAL
        assert await twilio.send([sms()]) == [Deferred("no connection to the gateway", Blame.PROVIDER)]


# Callbacks


@asynccontextmanager
async def road(*, failures: int = 0, **changes: Any) -> AsyncIterator[tuple[TwilioProvider, TwilioSimulator, Inbox]]:
    inbox = Inbox(failures=failures)
    async with simulator() as gateway:
        chosen = account(gateway.url, **changes)
        async with reporting(inbox, chosen) as origin, provider(chosen) as twilio:
            gateway.send_to = origin
            yield twilio, gateway, inbox


FATES: dict[str, tuple[str, Verdict, Reason | None, bool, Suppress | None]] = {
    "500": ("delivered", Verdict.DELIVERED, None, False, None),
    "201": ("undelivered", Verdict.FAILED, Reason.UNSPECIFIED, True, None),
    "202": ("undelivered", Verdict.FAILED, Reason.UNSPECIFIED, True, None),
    "203": ("undelivered", Verdict.FAILED, Reason.UNDELIVERED, False, None),
    "204": ("undelivered", Verdict.FAILED, Reason.BARRED_RECEIVER, False, Suppress.BARRED),
    "205": ("undelivered", Verdict.FAILED, Reason.BARRED_RECEIVER, False, Suppress.BARRED),
    "206": ("undelivered", Verdict.FAILED, Reason.INVALID_RECIPIENT, False, None),
    "207": ("undelivered", Verdict.FAILED, Reason.REJECTED, False, None),
    "208": ("undelivered", Verdict.FAILED, Reason.UNSPECIFIED, True, None),
    "209": ("undelivered", Verdict.FAILED, Reason.REJECTED, False, None),
    "210": ("undelivered", Verdict.FAILED, Reason.REJECTED, False, None),
    "211": ("undelivered", Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER, False, None),
    "212": ("undelivered", Verdict.FAILED, Reason.UNDELIVERED, False, None),
    "221": ("undelivered", Verdict.FAILED, Reason.UNDELIVERED, False, None),
    "222": ("failed", Verdict.FAILED, Reason.UNSPECIFIED, False, None),
    "223": ("canceled", Verdict.FAILED, Reason.DELETED, False, None),
    "224": ("read", Verdict.DELIVERED, None, False, None),
    "225": ("invented", Verdict.UNRECOGNISED, None, False, None),
}


@pytest.mark.assertion("channels", 9)
async def test_each_status_and_error_code_is_stored_with_its_meaning() -> None:
    messages = scripted(*FATES)
    async with road() as (twilio, gateway, inbox):
        results = await twilio.send(messages)
        await gateway.idle()
    told = {
        report.notification: (report.raw_state, report.verdict, report.reason, report.soft, report.suppress)
        for report in inbox.reports
        if report.raw_state != "sent"
    }
    assert told == {message.id: fate for message, fate in zip(messages, FATES.values(), strict=True)}
    references = {result.reference for result in results if isinstance(result, Accepted)}
    assert {report.reference for report in inbox.reports} == references
    assert {report.provider for report in inbox.reports} == {"Twi-1"}
    assert {call.status for call in gateway.calls} == {204}


@pytest.mark.assertion("channels", 93)
async def test_a_callback_that_says_sent_never_ends_a_message() -> None:
    async with road() as (twilio, gateway, inbox):
        await twilio.send(scripted("301"))
        await gateway.idle()
    assert [(r.raw_state, r.verdict) for r in inbox.reports] == [
        ("delivered", Verdict.DELIVERED),
        ("sent", Verdict.DELAYED),
    ]


async def test_the_same_callback_twice_is_one_event() -> None:
    async with road() as (twilio, gateway, inbox):
        await twilio.send(scripted("304"))
        await gateway.idle()
    first, second = inbox.reports
    assert first.event_key == second.event_key


@pytest.mark.parametrize("script", ["305", "306", "308", "310", "311", "312"])
@pytest.mark.assertion("channels", 92)
async def test_however_the_answer_ends_a_signed_callback_names_its_message(script: str) -> None:
    """Over the public address, which is not the one that we listen on, and with every parameter."""
    (message,) = scripted(script)
    async with road(timeout=timedelta(seconds=20)) as (twilio, gateway, inbox):
        await twilio.send([message])
        await gateway.idle()
    assert {report.notification for report in inbox.reports} == {message.id}
    assert inbox.reports[-1].verdict is Verdict.DELIVERED
    assert {call.status for call in gateway.calls} == {204}


@pytest.mark.parametrize("script", ["303", "307"])
@pytest.mark.assertion("channels", 92)
async def test_a_wrong_signature_or_a_missing_parameter_is_401_and_nothing_is_stored(script: str) -> None:
    async with road() as (twilio, gateway, inbox):
        await twilio.send(scripted(script))
        await gateway.idle()
    assert not inbox.reports
    assert {call.status for call in gateway.calls} <= {401, 429}


async def test_an_unsigned_callback_is_refused_and_the_signed_one_taken() -> None:
    async with road() as (twilio, gateway, inbox):
        await twilio.send(scripted("302"))
        await gateway.idle()
    assert [call.status for call in gateway.calls] == [401, 204] * 3
    assert [report.raw_state for report in inbox.reports] == ["sent", "delivered"]


async def test_a_callback_that_could_not_be_stored_comes_again() -> None:
    async with road(failures=1) as (twilio, gateway, inbox):
        gateway.next(1, "305")
        await twilio.send([sms()])
        await gateway.idle()
    assert [call.status for call in gateway.calls] == [503, 204]
    assert len(inbox.reports) == 1


async def test_a_signed_callback_without_a_status_is_kept_for_an_operator() -> None:
    async with road() as (twilio, gateway, inbox):
        await twilio.send(scripted("313"))
        await gateway.idle()
    assert {call.status for call in gateway.calls} == {400}
    assert {(r.verdict, r.detail) for r in inbox.reports} == {
        (Verdict.UNRECOGNISED, "malformed: MessageSid or MessageStatus is missing")
    }
    assert {r.payload.get("To") for r in inbox.reports} == {None}


async def test_the_token_before_a_change_still_signs() -> None:
    changed: dict[str, Any] = {"auth_token": SecretStr("new"), "previous_auth_token": SecretStr(TOKEN)}
    async with road(**changed, api_key="SK1", api_secret=SecretStr("key secret")) as (twilio, gateway, inbox):
        await twilio.send(scripted("305"))
        await gateway.idle()
    assert [report.raw_state for report in inbox.reports] == ["delivered"]


# The reader, by itself


def request(url: str, body: bytes, headers: dict[str, str], method: str = "POST") -> ReportRequest:
    query = dict(parse_qsl(url.partition("?")[2]))
    return ReportRequest(method, url, str(uuid7()), query, headers, body, "127.0.0.1", NOW)


async def read(url: str, body: bytes, **headers: str) -> ReportAnswer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await TwilioReports("t", [TOKEN]).read(request(url, body, names))


def test_the_documented_example_is_signed_as_there() -> None:
    parameters = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675310"),
        ("Digits", "1234"),
        ("From", "+14158675310"),
        ("To", "+18005551212"),
    ]
    assert (
        signature(b"12345", "https://example.com/myapp.php?foo=1&bar=2", parameters) == "L/OH5YylLD5NRKLltdqwSvS0BnU="
    )


@pytest.mark.parametrize("signed_as", ["https://varsel.example:443/r?x=1", "https://varsel.example/r?x=1"])
@pytest.mark.parametrize("known_as", ["https://varsel.example:443/r?x=1", "https://varsel.example/r?x=1"])
async def test_a_port_that_goes_without_saying_may_be_signed_or_not(signed_as: str, known_as: str) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    signed = signature(TOKEN.encode(), signed_as, list(form.items()))
    answer = await read(
        known_as, urlencode(form).encode(), content_type="application/x-www-form-urlencoded", x_twilio_signature=signed
    )
    assert answer.status == 204


@pytest.mark.assertion("channels", 92)
@given(
    st.binary(max_size=300),
    st.sampled_from([FORM, "application/json", FORM + "; charset=utf-8", "text/xml", ""]),
    st.text(),
)
def test_no_bytes_without_a_signature_give_a_report(body: bytes, content_type: str, given: str) -> None:
    answer = asyncio.run(read("https://varsel.example/r", body, content_type=content_type, x_twilio_signature=given))
    assert answer.status in {400, 401, 415}
    assert not answer.reports


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=10), st.binary(max_size=200))
def test_whatever_is_signed_is_answered(fields: dict[str, str], raw: bytes) -> None:
    fields = {k: v.encode("utf-8", "replace").decode() for k, v in fields.items()}
    url = "https://varsel.example/r"
    body = urlencode(fields, errors="replace").encode() + b"&" + raw
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    signed = signature(TOKEN.encode(), url, pairs)
    answer = asyncio.run(read(url, body, content_type=FORM, x_twilio_signature=signed))
    assert answer.status in {204, 400}
    assert all(report.verdict is Verdict.UNRECOGNISED for report in answer.reports)


def test_nothing_of_an_account_is_shown() -> None:
    shown = repr(account(api_key="SK1", api_secret=SecretStr("key secret")))
    assert TOKEN not in shown
    assert "key secret" not in shown
    assert base64.b64encode(TOKEN.encode()).decode() not in shown
