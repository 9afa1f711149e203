"""A gateway behind a generic webhook, answer by answer and report by report, for email and SMS (channels 3.6, 5.4)."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from gateways import BASE, NOW, Inbox, reporting, scripted, sms, tools
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    File,
    Refused,
    SendResult,
    Sms,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import ContentType
from varsel.domain.signatures import headers_of, secret_of
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.providers.webhook import PROVIDER, WebhookProvider, WebhookProviderSettings
from varsel.simulators.webhook import WebhookSimulator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()


def gateway(url: str = "https://gateway.example/", channel: str = "sms", **changes: Any) -> Any:
    values: dict[str, Any] = {"name": "Hook-1", "channel": channel, "url": url, "secret": SECRET}
    return WebhookProviderSettings.model_validate(values | changes)


def email(local: str = "ok", files: tuple[File, ...] = (), content_type: ContentType = ContentType.HTML) -> Email:
    return Email(
        NotificationId(uuid7()),
        OrderId(uuid7()),
        creator="ttd",
        sender="Etaten <noreply@etat.example>",
        to=f"{local}@blåbær.example",
        subject="Nytt brev",
        body="<p>Hei</p>",
        content_type=content_type,
        expires_at=NOW + timedelta(hours=1),
        files=files,
        unsubscribe="https://varsel.example/u/1",
    )


@asynccontextmanager
async def provider(settings: WebhookProviderSettings) -> AsyncIterator[WebhookProvider]:
    made = WebhookProvider(settings, tools(Inbox()))
    try:
        yield made
    finally:
        await made.close()


def simulator(time_factor: float = 0.001, **more: Any) -> WebhookSimulator:
    return WebhookSimulator(SECRET, time_factor, **more)


async def send(*messages: Sms | Email, **changes: Any) -> tuple[list[SendResult], WebhookSimulator]:
    async with simulator() as hook:
        hook.send_to = "http://127.0.0.1:1"  # reports lead nowhere here
        async with provider(gateway(hook.url, **changes)) as made:
            return await made.send(messages), hook


CAUSES: list[tuple[str, Reason, Reason, Suppress | None]] = [
    ("101", Reason.INVALID_RECIPIENT, Reason.INVALID_EMAIL_FORMAT, None),
    ("102", Reason.BARRED_RECEIVER, Reason.BOUNCED, Suppress.HARD_BOUNCE),
    ("103", Reason.BARRED_RECEIVER, Reason.SUPPRESSED_RECIPIENT, Suppress.PROVIDER_LIST),
    ("104", Reason.REJECTED, Reason.BOUNCED, None),
    ("105", Reason.REJECTED, Reason.FILTERED_SPAM, None),
    ("106", Reason.REJECTED, Reason.QUARANTINED, None),
    ("107", Reason.UNSPECIFIED, Reason.PAYLOAD_TOO_LARGE, None),
    ("108", Reason.UNSPECIFIED, Reason.INVALID_SAS_URL, None),
    ("109", Reason.EXPIRED_AT_PROVIDER, Reason.BOUNCED, None),
    ("110", Reason.DELETED, Reason.UNSPECIFIED, None),
    ("111", Reason.UNDELIVERED, Reason.BOUNCED, None),
    ("112", Reason.REJECTED, Reason.UNSPECIFIED, None),
    ("113", Reason.UNSPECIFIED, Reason.UNSPECIFIED, None),
    ("114", Reason.UNSPECIFIED, Reason.UNSPECIFIED, None),
]


async def test_each_cause_of_a_refusal_has_its_result_on_each_channel() -> None:
    texts, _ = await send(*scripted(*(script for script, *_ in CAUSES)))
    mails, _ = await send(*(email(script) for script, *_ in CAUSES), channel="email")
    barred = {Suppress.HARD_BOUNCE: Suppress.BARRED}  # as numbers are called that nobody has
    assert [(r.reason, r.suppress) for r in texts if isinstance(r, Refused)] == [
        (reason, barred.get(why, why) if why else None) for _, reason, _, why in CAUSES
    ]
    assert [(r.reason, r.suppress) for r in mails if isinstance(r, Refused)] == [(m, w) for _, _, m, w in CAUSES]


def deferred(status: int, blame: Blame = Blame.PROVIDER, pause: float | None = None) -> Deferred:
    return Deferred(f"the gateway answered {status}", blame, None if pause is None else timedelta(seconds=pause))


def refused(status: int) -> Refused:
    return Refused(Reason.UNSPECIFIED, f"the gateway answered {status}")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("203", refused(400)),
        ("204", deferred(401, Blame.FAULT)),
        ("205", deferred(403, Blame.FAULT)),
        ("206", deferred(404)),
        ("208", refused(413)),
        ("209", refused(422)),
        ("210", deferred(429, pause=7)),
        ("211", deferred(500)),
        ("212", Unknown("the gateway answered 502")),
        ("213", deferred(503)),
        ("214", Unknown("the gateway answered 504")),
        ("215", deferred(302)),
        ("401", Unknown("the gateway did not answer in time")),
        ("402", Unknown("the connection to the gateway was lost")),
        ("403", Unknown("the gateway's answer does not say what became of the message")),
        ("404", Unknown("the gateway's answer does not say what became of the message")),
    ],
)
async def test_each_answer_of_the_gateway_has_its_result(script: str, expected: SendResult) -> None:
    silent = script == "401"
    async with simulator(1.0 if silent else 0.001) as hook:
        hook.next(1, script)
        settings = gateway(hook.url, timeout=timedelta(seconds=0.3 if silent else 20), reports=False)
        async with provider(settings) as made:
            assert await made.send([sms()]) == [expected]


@pytest.mark.parametrize("script", ["201", "202", "400", "207"])
@pytest.mark.assertion("channels", 94)
async def test_what_was_accepted_now_or_before_is_accepted_with_its_reference(script: str) -> None:
    (result,), hook = await send(*scripted(script))
    assert isinstance(result, Accepted)
    assert (result.reference, result.segments) == (hook.journal[0].reference, 1)


@pytest.mark.assertion("channels", 94)
async def test_a_message_that_is_handed_over_twice_is_taken_once() -> None:
    message = sms()
    async with simulator() as hook, provider(gateway(hook.url, reports=False)) as made:
        (first,), (second,) = await made.send([message]), await made.send([message])
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert first.reference == second.reference
    assert len(hook.journal) == 1


async def test_an_sms_is_told_with_all_that_a_gateway_must_know() -> None:
    message = sms("004799999400", "Hei – " + "a" * 160, "Etaten", left=61)
    (result,), hook = await send(message, headers={"X-Account": "7"})
    (taken,) = hook.journal
    assert taken.message == {
        "id": str(message.id),
        "attemptId": str(message.id),
        "to": "+4799999400",
        "from": "Etaten",
        "text": "Hei - " + "a" * 160,
        "encoding": "GSM-7",
        "segments": 2,
        "validitySeconds": 61,
        "callbackUrl": f"{BASE}/notifications/sms/api/v1/reports/webhook/Hook-1",
    }
    assert taken.headers["Idempotency-Key"] == taken.headers["webhook-id"] == str(message.id)
    assert taken.headers["X-Account"] == "7"
    assert isinstance(result, Accepted)
    assert result.segments == 2


async def test_an_email_is_told_with_its_attachments_and_its_way_out() -> None:
    message = email("400", (File("brev.pdf", "application/pdf", b"%PDF\x00\xff"),))
    (result,), hook = await send(message, channel="email")
    assert hook.journal[0].message == {
        "id": str(message.id),
        "attemptId": str(message.id),
        "to": "400@xn--blbr-roah.example",
        "from": "Etaten <noreply@etat.example>",
        "subject": "Nytt brev",
        "body": "<p>Hei</p>",
        "contentType": "Html",
        "unsubscribeUrl": "https://varsel.example/u/1",
        "attachments": [
            {
                "filename": "brev.pdf",
                "mimeType": "application/pdf",
                "content": base64.b64encode(b"%PDF\x00\xff").decode(),
            }
        ],
        "validitySeconds": 3600,
        "callbackUrl": f"{BASE}/notifications/email/api/v1/reports/webhook/Hook-1",
    }
    assert result == Accepted(hook.journal[0].reference)


async def test_what_the_gateway_cannot_carry_is_refused_before_it_leaves() -> None:
    results, hook = await send(sms(text="a" * 307), sms("12345"), max_segments=2)
    mails, _ = await send(email("a b"), channel="email")
    assert [result.reason for result in [*results, *mails] if isinstance(result, Refused)] == [
        Reason.UNSPECIFIED,
        Reason.INVALID_RECIPIENT,
        Reason.INVALID_EMAIL_FORMAT,
    ]
    assert not hook.journal


@pytest.mark.assertion("channels", 4)
async def test_a_wrong_secret_opens_the_breaker_and_fails_no_message() -> None:
    results, hook = await send(sms(), secret=OTHER_SECRET)
    assert results == [deferred(401, Blame.FAULT)]
    assert not hook.journal


CLIENT: dict[str, Any] = {"client_id": "varsel", "client_secret": SecretStr("very secret")}


async def test_one_token_serves_until_it_is_refused_and_is_then_asked_for_anew() -> None:
    async with simulator(clients={"varsel": "very secret"}) as hook:
        settings = gateway(hook.url, token_url=f"{hook.url}/token", reports=False, **CLIENT)
        async with provider(settings) as made:
            first = await made.send([sms() for _ in range(5)])
            hook.forget_tokens()
            second = await made.send([sms()])
    assert [type(result) for result in first + second] == [Accepted] * 6
    assert hook.tokens_given == 2


async def test_a_client_that_the_token_service_refuses_is_our_fault_and_a_service_that_is_away_is_the_providers() -> (
    None
):
    async with simulator(clients={"varsel": "other"}) as hook:
        async with provider(gateway(hook.url, token_url=f"{hook.url}/token", **CLIENT)) as made:
            assert await made.send([sms()]) == [Deferred("the token service answered 401", Blame.FAULT)]
        async with provider(gateway(hook.url, token_url="http://127.0.0.1:1/token", **CLIENT)) as made:
            assert await made.send([sms()]) == [Deferred("the token service cannot be reached", Blame.PROVIDER)]
        assert not hook.journal


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"secret": "short"}, "a secret is whsec_"),
        ({"url": "http://gateway.example/"}, "https"),
        ({"token_url": "https://login.example/"}, "belong together"),
        ({"states": {"ok": "Arrived"}}, "no results of sms: Arrived"),
        ({"states": {"ok": "Failed_Bounced"}}, "no results of sms: Failed_Bounced"),
        ({"fields": {"text": "x"}}, "reference"),
        ({"headers": {"X-A": "a\r\nb"}}, "printable"),
        ({"headers": {"X A": "a"}}, "pattern"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        gateway(**changes)


async def test_a_gateway_that_does_not_report_confirms_nothing() -> None:
    async with provider(gateway(reports=False)) as made:
        assert made.confirms is Confirms.NOTHING
    async with provider(gateway()) as made:
        assert made.confirms is Confirms.ARRIVAL


# Reports


@asynccontextmanager
async def road(*, failures: int = 0, **changes: Any) -> AsyncIterator[tuple[WebhookProvider, WebhookSimulator, Inbox]]:
    inbox = Inbox(failures=failures)
    async with simulator() as hook:
        chosen = gateway(hook.url, **changes)
        async with reporting(inbox, chosen) as origin, provider(chosen) as made:
            hook.send_to = origin
            yield made, hook, inbox


FATES: dict[str, tuple[Verdict, Reason | None, Suppress | None]] = {
    "500": (Verdict.DELIVERED, None, None),
    "301": (Verdict.FAILED, Reason.UNSPECIFIED, None),
    "302": (Verdict.FAILED, Reason.INVALID_RECIPIENT, None),
    "303": (Verdict.FAILED, Reason.BARRED_RECEIVER, Suppress.BARRED),
    "304": (Verdict.FAILED, Reason.DELETED, None),
    "305": (Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER, None),
    "306": (Verdict.FAILED, Reason.UNDELIVERED, None),
    "307": (Verdict.FAILED, Reason.REJECTED, None),
    "308": (Verdict.DELAYED, None, None),
    "309": (Verdict.UNRECOGNISED, None, None),  # ours alone to say
    "310": (Verdict.UNRECOGNISED, None, None),  # names are exact
    "311": (Verdict.UNRECOGNISED, None, None),
}


@pytest.mark.assertion("channels", 9)
async def test_each_of_our_results_is_a_state_of_a_report() -> None:
    async with road() as (made, hook, inbox):
        results = await made.send(scripted(*FATES))
        await hook.idle()
    references = [result.reference for result in results if isinstance(result, Accepted)]
    told = {report.reference: (report.verdict, report.reason, report.suppress) for report in inbox.reports}
    assert told == dict(zip(references, FATES.values(), strict=True))
    assert {call.status for call in hook.calls} == {204}


async def test_an_email_is_reported_at_the_address_of_its_channel() -> None:
    async with road(channel="email") as (made, hook, inbox):
        await made.send([email("ok")])
        await hook.idle()
    assert [(r.channel, r.verdict, r.provider) for r in inbox.reports] == [(Channel.EMAIL, Verdict.DELIVERED, "Hook-1")]


async def test_a_report_may_name_its_message_by_our_id_or_overtake_the_answer() -> None:
    by_id, early = scripted("406", "405")
    async with road() as (made, hook, inbox):
        results = await made.send([by_id, early])
        await hook.idle()
    assert {(r.notification, r.reference) for r in inbox.reports} == {
        (by_id.id, None),
        (None, results[1].reference if isinstance(results[1], Accepted) else ""),
    }


@pytest.mark.parametrize(("script", "statuses"), [("407", [401, 204]), ("408", [401] * 4), ("409", [401] * 4)])
@pytest.mark.assertion("channels", 94)
async def test_a_report_that_is_unsigned_wrongly_signed_or_old_is_401(script: str, statuses: list[int]) -> None:
    async with road() as (made, hook, inbox):
        await made.send(scripted(script))
        await hook.idle()
    assert [call.status for call in hook.calls] == statuses
    assert len(inbox.reports) == statuses.count(204)


async def test_one_report_of_a_list_that_names_no_message_costs_its_neighbour_nothing() -> None:
    async with road() as (made, hook, inbox):
        await made.send(scripted("410"))
        await hook.idle()
    assert [report.verdict for report in inbox.reports] == [Verdict.UNRECOGNISED, Verdict.DELIVERED]


async def test_a_signed_body_that_is_no_report_is_kept_for_an_operator_without_its_words() -> None:
    async with road() as (made, hook, inbox):
        await made.send(scripted("411"))
        await hook.idle()
    assert {call.status for call in hook.calls} == {400}
    assert {(r.verdict, r.reference, str(r.payload)) for r in inbox.reports} == {(Verdict.UNRECOGNISED, None, "{}")}


async def test_a_report_that_could_not_be_stored_comes_again() -> None:
    async with road(failures=1) as (made, hook, inbox):
        await made.send([sms()])
        await hook.idle()
    assert [call.status for call in hook.calls] == [503, 204]
    assert len(inbox.reports) == 1


async def read(body: Any, *, secrets: tuple[str, ...] = (SECRET,), **changes: Any) -> ReportAnswer:
    payload = json.dumps(body).encode()
    keys = [secret_of(secret) for secret in secrets]
    headers = headers_of("msg_1", payload, keys, at=int(NOW.timestamp()))
    request = ReportRequest("POST", f"{BASE}/r", "", {}, headers, payload, "127.0.0.1", NOW)
    assert PROVIDER.reports
    return await PROVIDER.reports(gateway(**changes), tools(Inbox())).read(request)


async def test_another_shape_and_other_words_are_read_as_the_settings_say() -> None:
    answer = await read(
        {"CID": 17, "result": {"code": "3"}, "deliverytime": "2026-11-23 10:00"},
        fields={"reference": "CID", "state": "result.code", "time": "deliverytime"},
        states={"3": "Delivered", "4": "Failed_Undelivered"},
    )
    (report,) = answer.reports
    assert (report.reference, report.verdict, report.raw_state) == ("17", Verdict.DELIVERED, "3")


async def test_during_a_change_of_the_secret_both_are_right() -> None:
    report = {"reference": "r", "state": "Delivered"}
    for secret in (SECRET, OTHER_SECRET):
        answer = await read(report, secrets=(secret,), secret=OTHER_SECRET, previous_secret=SECRET)
        assert answer.status == 204


async def test_a_report_that_is_repeated_under_another_id_is_the_same_event() -> None:
    report = {"reference": "r", "state": "Delivered", "time": "t"}
    first, second, other = [await read(body) for body in (report, {**report, "detail": "x"}, {**report, "time": "u"})]
    assert first.reports[0].event_key == second.reports[0].event_key != other.reports[0].event_key
