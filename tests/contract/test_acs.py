"""Azure Communication Services, row by row (channels 2.4, 4.3.2, 5.4), and beside Microsoft's own package."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import pytest
from azure.communication.email import EmailClient
from azure.communication.email._shared.policy import HMACCredentialsPolicy
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline import PipelineContext, PipelineRequest
from azure.core.pipeline.transport import HttpRequest
from pydantic import ValidationError
from yarl import URL

from answering import Reply, answering
from conformance.acs import KEY, AcsBench
from conformance.bench import NOW, REFERENCE, TOOLS
from postal import shape
from varsel.delivery.ports import (
    Accepted,
    Asked,
    Blame,
    Confirms,
    Deferred,
    Email,
    File,
    Pending,
    Refused,
    Report,
    SendResult,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.providers.acs import MAX_REQUEST_BYTES, PROVIDER, AcsProvider, AcsProviderSettings, operation_id
from varsel.providers.acs_auth import SignedLogin, read_key
from varsel.providers.acs_reports import STATUSES
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.simulators.acs import AcsSimulator

BENCH = AcsBench()
FAULT = Deferred(blame=Blame.FAULT)
DOWN = Deferred(blame=Blame.PROVIDER)
SUPPRESSED = Refused(Reason.SUPPRESSED_RECIPIENT, suppress=Suppress.PROVIDER_LIST)


def throttled(seconds: float) -> Deferred:
    return Deferred(blame=Blame.PROVIDER, retry_after=timedelta(seconds=seconds))


@asynccontextmanager
async def provider(connection_string: str | None = None, **settings: object) -> AsyncIterator[AcsProvider]:
    made = PROVIDER.make(
        AcsProviderSettings.model_validate({"name": "acs-main", "connection_string": connection_string, **settings}),
        TOOLS,
    )
    assert isinstance(made, AcsProvider)
    try:
        yield made
    finally:
        await made.close()


def at(port: int) -> str:
    return f"endpoint=http://127.0.0.1:{port};accesskey={KEY}"


def error(code: str, message: str = "No") -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def asked(email: Email, *, reference: str | None = None, failures: int = 0) -> Asked:
    return Asked(email.id, reference, failures + 1, NOW, failures)


# Sending


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(202, json.dumps({"id": REFERENCE, "status": "Running"}), {"retry-after": "3"}), Pending()),
        (Reply(202, "not JSON"), Pending()),
        (Reply(429, error("TooManyRequests"), {"Retry-After": "7"}), throttled(7)),
        (Reply(429), throttled(60)),
        (Reply(429, "", {"Retry-After": "Mon, 23 Nov 2020 10:00:00 GMT"}), throttled(1)),
        (Reply(400, error("TooManyRequests")), throttled(60)),
        (Reply(400, error("EmailDroppedAllRecipientsSuppressed")), SUPPRESSED),
        (Reply(500, error("EmailDroppedAllRecipientsSuppressed")), SUPPRESSED),
        (
            Reply(400, error("BadRequest", "Invalid format for email address: a@b")),
            Refused(Reason.INVALID_EMAIL_FORMAT),
        ),
        (Reply(413), Refused(Reason.PAYLOAD_TOO_LARGE)),
        (Reply(500, error("InternalServerError")), DOWN),
        (Reply(503, error("ServiceUnavailable")), DOWN),
        (Reply(503, "", {"Retry-After": "9"}), throttled(9)),
        (Reply(502), Unknown()),
        (Reply(504), Unknown()),
        (Reply(408), DOWN),
        (Reply(401, error("Denied")), FAULT),
        (Reply(403, error("Denied")), FAULT),
        (Reply(400, error("BadRequest")), Refused(Reason.UNSPECIFIED)),
        (Reply(404, error("DomainNotLinked")), Refused(Reason.UNSPECIFIED)),
        (Reply(400, "", {"x-ms-error-code": "BadRequest"}), Refused(Reason.UNSPECIFIED)),
        (Reply(400, "<html>"), Deferred()),
        (Reply(404, "<html>"), FAULT),
        (Reply(307, "", {"Location": "http://127.0.0.1:1/"}), FAULT),
    ],
)
@pytest.mark.assertion("channels", 58)
async def test_each_answer_to_a_message_means_what_the_table_says(reply: Reply, expected: SendResult) -> None:
    async with answering(reply) as heard, provider(at(heard.port)) as acs:
        (result,) = await acs.send([BENCH.message()])
    assert shape(result) == expected
    assert "a@b" not in repr(result)


async def test_what_was_taken_has_its_name_there_and_is_asked_for_when_they_say() -> None:
    email = BENCH.message()
    taken = Reply(202, json.dumps({"id": REFERENCE, "status": "Running"}), {"retry-after": "3"})
    async with answering(taken, Reply(202)) as heard, provider(at(heard.port)) as acs:
        first, second = [await acs.send([email]) for _ in range(2)]
    assert first == [Pending(REFERENCE, "", timedelta(seconds=3))]
    assert second == [Pending(operation_id(email.id, 0), "", timedelta(seconds=8))]


async def test_the_request_says_all_that_was_ordered() -> None:
    email = replace(
        BENCH.message(),
        subject="Ny\npost €",
        body="<p>Hei <b>du</b></p>",
        content_type=ContentType.HTML,
        files=(File("../brev\r\n.pdf", "application/pdf", b"%PDF"),),
        unsubscribe="https://varsel.example/u/abc",
    )
    async with answering(Reply(202)) as heard, provider(at(heard.port), api_version="2025-09-01") as acs:
        await acs.send([email])
    [(method, path, headers, body)] = heard.requests
    assert (method, path) == ("POST", "/emails:send?api-version=2025-09-01")
    assert headers["Operation-Id"] == operation_id(email.id, 0)
    assert json.loads(body) == {
        "senderAddress": "noreply@etat.example",
        "recipients": {"to": [{"address": "ok@mottaker.example"}]},
        "content": {"subject": "Ny post €", "html": "<p>Hei <b>du</b></p>", "plainText": "Hei du"},
        "headers": {
            "X-Notification-Id": str(email.id),
            "List-Unsubscribe": "<https://varsel.example/u/abc>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        },
        "attachments": [
            {
                "name": "..brev  .pdf",
                "contentType": "application/pdf",
                "contentInBase64": base64.b64encode(b"%PDF").decode(),
            }
        ],
        "userEngagementTrackingDisabled": True,
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"to": "ikke en adresse"}, Refused(Reason.INVALID_EMAIL_FORMAT)),
        ({"to": "a@b.example\r\nBcc: c@d.example"}, Refused(Reason.INVALID_EMAIL_FORMAT)),
        ({"sender": "ikke en adresse"}, Refused(Reason.UNSPECIFIED)),
        ({"body": "x" * MAX_REQUEST_BYTES}, Refused(Reason.PAYLOAD_TOO_LARGE)),
        ({"files": (File("a", "text/plain", b"x" * 8_000_000),)}, Refused(Reason.PAYLOAD_TOO_LARGE)),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_leaves(
    change: Mapping[str, Any], expected: SendResult
) -> None:
    async with answering(Reply(202)) as heard, provider(at(heard.port)) as acs:
        (result,) = await acs.send([replace(BENCH.message(), **change)])
        assert not heard.requests
    assert shape(result) == expected


async def test_a_domain_goes_out_in_ascii() -> None:
    async with AcsSimulator() as azure, provider(azure.connection_string) as acs:
        await acs.send([BENCH.message("kari@blåbær.example")])
        assert [sent.recipient for sent in azure.sent] == ["kari@xn--blbr-roah.example"]


@pytest.mark.assertion("channels", 57)
async def test_the_same_try_leaves_once_and_one_after_a_known_failure_is_another() -> None:
    email = BENCH.message()
    async with AcsSimulator() as azure, provider(azure.connection_string) as acs:
        for _ in range(3):
            await acs.send([email])
        assert len(azure.sent) == 1
        await acs.send([replace(email, failures=1)])
        assert len(azure.sent) == 2
    assert UUID(azure.sent[0].operation).version == 5
    assert azure.sent[0].operation != azure.sent[1].operation


# Asking


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(200, json.dumps({"status": "NotStarted"})), Pending()),
        (Reply(200, json.dumps({"status": "Running"})), Pending()),
        (Reply(200, json.dumps({"status": "Succeeded"})), Accepted()),
        (Reply(200, json.dumps({"status": "Canceled"})), Refused(Reason.UNSPECIFIED)),
        (Reply(200, json.dumps({"status": "Failed"})), Refused(Reason.UNSPECIFIED)),
        (
            Reply(200, json.dumps({"status": "Failed", **json.loads(error("EmailDropped"))})),
            Refused(Reason.UNSPECIFIED),
        ),
        (
            Reply(200, json.dumps({"status": "Failed", **json.loads(error("EmailDroppedAllRecipientsSuppressed"))})),
            SUPPRESSED,
        ),
        (
            Reply(
                200,
                json.dumps({"status": "Failed", **json.loads(error("X", "Invalid format for email address"))}),
            ),
            Refused(Reason.INVALID_EMAIL_FORMAT),
        ),
        (Reply(200, json.dumps({"status": "Invented"})), Unknown()),
        (Reply(200, "[]"), Unknown()),
        (Reply(404, error("OperationNotFound")), Deferred()),
        (Reply(404, "<html>"), Unknown()),
        (Reply(429, error("TooManyRequests")), Pending()),
        (Reply(500, error("InternalServerError")), Unknown()),
        (Reply(503, error("ServiceUnavailable")), Unknown()),
        (Reply(401, error("Denied")), Unknown()),
        (Reply(302, ""), Unknown()),
    ],
)
@pytest.mark.assertion("channels", 58)
@pytest.mark.assertion("processing", 116)
async def test_each_answer_to_a_question_means_what_the_table_says(reply: Reply, expected: SendResult) -> None:
    async with answering(reply) as heard, provider(at(heard.port)) as acs:
        (result,) = await acs.ask([asked(BENCH.message(), reference=REFERENCE)])
    assert shape(result) == expected
    [(method, path, _, body)] = heard.requests
    assert (method, path, body) == ("GET", f"/emails/operations/{REFERENCE}?api-version=2023-03-31", b"")


async def test_a_lost_answer_is_asked_for_by_our_own_name() -> None:
    email = BENCH.message("reset@mottaker.example")
    async with AcsSimulator() as azure, provider(azure.connection_string) as acs:
        (result,) = await acs.send([email])
        assert isinstance(result, Unknown)
        questions = [asked(email), asked(BENCH.message()), asked(email, failures=1)]
        assert [type(answer) for answer in await acs.ask(questions)] == [Pending, Deferred, Deferred]
        assert await acs.ask([asked(email)]) == [Accepted(operation_id(email.id, 0))]
        assert len(azure.sent) == 1


async def test_no_answer_to_a_question_decides_nothing() -> None:
    async with answering(Reply()) as heard:
        pass
    async with provider(at(heard.port)) as acs:
        assert [type(answer) for answer in await acs.ask([asked(BENCH.message())])] == [Unknown]


async def test_when_they_are_asked_too_much_nothing_is_asked_for_a_while() -> None:
    async with (
        answering(Reply(429, error("TooManyRequests"), {"Retry-After": "300"})) as heard,
        provider(at(heard.port), connections=1) as acs,
    ):
        answers = await acs.ask([asked(BENCH.message()) for _ in range(20)])
        assert len(heard.requests) == 1
    assert all(isinstance(answer, Pending) for answer in answers)
    assert min(answer.ask_after for answer in answers if isinstance(answer, Pending)) > timedelta(seconds=250)


# Logging in


@pytest.mark.parametrize(("method", "path"), [("POST", "/emails:send"), ("GET", f"/emails/operations/{REFERENCE}")])
@pytest.mark.assertion("channels", 56)
async def test_the_signature_is_the_one_that_microsofts_package_makes(method: str, path: str) -> None:
    body = '{"content": {"subject": "Æ €"}}' if method == "POST" else ""
    address = f"https://acs.example{path}?api-version=2023-03-31"
    theirs = HttpRequest(method, address, data=body or None)
    HMACCredentialsPolicy("https://acs.example", KEY).on_request(
        PipelineRequest(theirs, PipelineContext(transport=None))
    )
    login = SignedLogin(read_key(KEY), now=lambda: parsedate_to_datetime(theirs.headers["x-ms-date"]))
    ours = await login.headers(method, URL(address, encoded=True), body.encode())
    assert dict(ours) == {name: theirs.headers[name] for name in ours}
    assert {"x-ms-date", "x-ms-content-sha256", "Authorization"} == ours.keys()


async def test_microsofts_package_sends_and_asks_against_the_simulator() -> None:
    message = {
        "senderAddress": "noreply@etat.example",
        "content": {"subject": "Hei", "plainText": "Tekst"},
        "recipients": {"to": [{"address": "ok@mottaker.example"}]},
    }

    def send(endpoint: str, key: str) -> Mapping[str, Any]:
        with EmailClient(endpoint, AzureKeyCredential(key)) as client:  # its connection strings know https alone
            result: Mapping[str, Any] = client.begin_send(message, polling_interval=0.01).result()
            return result

    async with AcsSimulator() as azure:
        result = await asyncio.to_thread(send, azure.url, azure.key)
        assert result["status"] == "Succeeded"
        assert [(sent.recipient, sent.subject, sent.plain_text) for sent in azure.sent] == [
            ("ok@mottaker.example", "Hei", "Tekst")
        ]


@pytest.mark.assertion("channels", 4)
@pytest.mark.assertion("channels-faults", 14)
async def test_a_clock_that_is_wrong_is_our_fault_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with AcsSimulator(behind=timedelta(minutes=10)) as azure, provider(azure.connection_string) as acs:
        (result,) = await acs.send([BENCH.message()])
        assert not azure.sent
    assert shape(result) == FAULT
    [record] = [r for r in caplog.records if r.message == "provider refuses our login"]
    assert record.__dict__["fields"]["clocks"].startswith(("ours is +599", "ours is +600", "ours is +601"))


def entra(azure: AcsSimulator, **changes: str) -> dict[str, str]:
    settings = {
        "endpoint": azure.url,
        "tenant": "etat.example",
        "client_id": "client",
        "client_secret": "secret",
        "authority": azure.url,
    }
    return {**settings, **changes}


async def test_a_token_is_used_until_it_is_refused_and_then_renewed_once() -> None:
    async with AcsSimulator() as azure, provider(**entra(azure)) as acs:
        for _ in range(2):
            assert isinstance((await acs.send([BENCH.message()]))[0], Pending)
        assert len(azure._tokens) == 1
        azure.expire_tokens()
        assert isinstance((await acs.send([BENCH.message()]))[0], Pending)
        assert len(azure.sent) == 3
        azure.next(5, "refused")
        assert isinstance((await acs.send([BENCH.message()]))[0], Refused)


async def test_a_client_that_entra_does_not_know_is_our_fault() -> None:
    async with AcsSimulator() as azure, provider(**entra(azure, client_secret="other")) as acs:
        (result,) = await acs.send([BENCH.message()])
        assert azure.tries == 0
    assert shape(result) == FAULT
    assert "other" not in repr(result)


async def test_a_token_that_is_refused_twice_is_our_fault() -> None:
    token = Reply(200, json.dumps({"access_token": "abc", "expires_in": 3600}))
    async with answering(token) as tokens, answering(Reply(401, error("Denied"))) as heard:
        endpoint = f"http://127.0.0.1:{heard.port}"
        settings = {"endpoint": endpoint, "tenant": "t", "client_id": "c", "client_secret": "s"}
        settings["authority"] = f"http://127.0.0.1:{tokens.port}"
        made = AcsProvider(AcsProviderSettings.model_validate({"name": "acs-main", **settings}))
        (result,) = await made.send([BENCH.message()])
        await made.close()
        assert len(heard.requests) == len(tokens.requests) == 2
    assert shape(result) == FAULT


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"connection_string": ""},
        {"connection_string": "endpoint=https://acs.example"},
        {"connection_string": f"endpoint=http://acs.example/;accesskey={KEY}"},
        {"connection_string": "endpoint=https://acs.example;accesskey=not base64!"},
        {"connection_string": f"endpoint=https://acs.example;accesskey={KEY}", "endpoint": "https://acs.example"},
        {"endpoint": "https://acs.example", "tenant": "t", "client_id": "c"},
        {"endpoint": "http://acs.example", "tenant": "t", "client_id": "c", "client_secret": "s"},
        {"endpoint": "https://acs.example", "tenant": "../x", "client_id": "c", "client_secret": "s"},
    ],
)
def test_settings_without_a_way_to_log_in_are_refused(settings: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError):
        AcsProviderSettings.model_validate({"name": "acs-main", **settings})


@pytest.mark.parametrize("names", ["endpoint accesskey", "Endpoint AccessKey", "ENDPOINT ACCESSKEY"])
def test_a_connection_string_is_read_in_any_letter_case(names: str) -> None:
    endpoint, key = names.split()
    settings = AcsProviderSettings.model_validate(
        {"name": "a", "connection_string": f"{endpoint}=https://acs.example/;{key}={KEY}"}
    )
    assert settings.signed_by() == ("https://acs.example/", base64.b64decode(KEY))
    assert AcsProvider(settings).confirms is Confirms.NOTHING


# Reports


async def read(request: ReportRequest) -> ReportAnswer:
    return await BENCH.reader().read(request)


def event(status: str | None = "Delivered", **data: object) -> dict[str, Any]:
    told = {"messageId": REFERENCE, "status": status, "recipient": "kari@mottaker.example", **data}
    return {
        "id": "event-1",
        "eventType": "Microsoft.Communication.EmailDeliveryReportReceived",
        "data": {name: value for name, value in told.items() if value is not None},
    }


def posted(*events: object) -> ReportRequest:
    return BENCH.authentic(json.dumps(list(events)).encode())


async def reported(*events: object) -> Sequence[Report]:
    answer = await read(posted(*events))
    assert answer.status == 200
    return answer.reports


@pytest.mark.parametrize(
    ("status", "verdict", "reason", "suppress"),
    [
        ("Delivered", Verdict.DELIVERED, None, None),
        ("Bounced", Verdict.FAILED, Reason.BOUNCED, Suppress.HARD_BOUNCE),
        ("Suppressed", Verdict.FAILED, Reason.SUPPRESSED_RECIPIENT, Suppress.PROVIDER_LIST),
        ("FilteredSpam", Verdict.FAILED, Reason.FILTERED_SPAM, None),
        ("Quarantined", Verdict.FAILED, Reason.QUARANTINED, None),
        ("Failed", Verdict.FAILED, Reason.UNSPECIFIED, None),
        ("Expanded", Verdict.FAILED, Reason.UNSPECIFIED, None),
        ("delivered", Verdict.UNRECOGNISED, None, None),
        ("Invented", Verdict.UNRECOGNISED, None, None),
        (None, Verdict.UNRECOGNISED, None, None),
    ],
)
@pytest.mark.assertion("channels", 9, 58)
async def test_each_status_means_what_the_table_says(
    status: str | None, verdict: Verdict, reason: Reason | None, suppress: Suppress | None
) -> None:
    [report] = await reported(event(status))
    assert (report.verdict, report.reason, report.suppress) == (verdict, reason, suppress)
    assert (report.reference, report.provider, report.event_key) == (REFERENCE, "bench", "event-1")
    assert len(STATUSES) == 7


@pytest.mark.parametrize("spelling", ["deliveryAttemptTimeStamp", "deliveryAttemptTimestamp"])
@pytest.mark.assertion("channels", 61)
async def test_both_spellings_of_the_time_are_read(spelling: str) -> None:
    [report] = await reported(event(**{spelling: "2026-11-23T10:00:00Z"}))
    assert report.payload["attemptedAt"] == "2026-11-23T10:00:00Z"


async def test_an_event_of_the_other_schema_says_the_same() -> None:
    cloud = {**event(), "type": "Microsoft.Communication.EmailDeliveryReportReceived", "specversion": "1.0"}
    del cloud["eventType"]
    alone = BENCH.authentic(json.dumps(cloud).encode())
    alone = replace(alone, headers={"content-type": "application/cloudevents+json; charset=utf-8"})
    answer = await read(alone)
    assert answer.reports == await reported(event()) == await reported(cloud)


async def test_a_bad_event_costs_its_neighbours_nothing_and_others_are_passed_over() -> None:
    engaged = {"id": "e", "eventType": "Microsoft.Communication.EmailEngagementTrackingReportReceived", "data": {}}
    reports = await reported(
        event(), {**event(messageId=None), "id": "2"}, engaged, {"id": "x"}, {**event("Bounced"), "id": "3"}
    )
    assert [(r.event_key, r.verdict, r.reference) for r in reports] == [
        ("event-1", Verdict.DELIVERED, REFERENCE),
        ("2", Verdict.UNRECOGNISED, None),
        ("3", Verdict.FAILED, REFERENCE),
    ]


async def test_what_is_kept_of_a_report_can_be_stored_and_shown() -> None:
    details = {
        "statusMessage": "550 <kari@mottaker.example>\x00 13918399999 unknown \ud800",
        "recipientMailServerHostName": "mx",
    }
    [report] = await reported(event("Bounced\x00", deliveryStatusDetails=details))
    assert report.detail == "550 <ka***@mottaker.example> *********** unknown ?"
    assert report.payload["mailServer"] == "mx"
    assert "\x00" not in repr(report)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"nonsense", 400), (b"1", 400), (b"[1]", 400), (b"[" + b"{}," * 5_000 + b"{}]", 400), (b"[]", 200)],
)
async def test_what_is_no_list_of_events_is_refused_and_kept_for_an_operator(body: bytes, status: int) -> None:
    answer = await read(BENCH.authentic(body))
    assert answer.status == status
    assert [report.verdict for report in answer.reports] == [Verdict.UNRECOGNISED] * (status == 400)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "PUT"}, 405),
        ({"headers": {"content-type": "text/xml"}}, 415),
        ({"query": {}}, 401),
        ({"query": {"accesskey": ""}}, 401),
        ({"query": {"accesskey": "ø"}}, 401),
        ({"query": {}, "headers": {"content-type": "application/json", "x-report-secret": "rapport-passord"}}, 200),
    ],
)
async def test_who_may_report_shows_the_secret_in_the_address_or_in_a_header(
    change: Mapping[str, Any], status: int
) -> None:
    assert (await read(replace(posted(event()), **change))).status == status


async def test_a_secret_that_is_changed_holds_until_it_is_taken_away() -> None:
    settings = AcsProviderSettings.model_validate(
        {**BENCH.settings(1), "report_secret": "new", "previous_report_secret": "rapport-passord"}
    )
    assert PROVIDER.reports
    reader = PROVIDER.reports(settings, TOOLS)
    for secret in ("new", "rapport-passord"):
        assert (await reader.read(replace(posted(event()), query={"accesskey": secret}))).status == 200


async def test_without_a_secret_nobody_may_report() -> None:
    settings = {name: value for name, value in BENCH.settings(1).items() if name != "report_secret"}
    assert PROVIDER.reports
    reader = PROVIDER.reports(AcsProviderSettings.model_validate(settings), TOOLS)
    for query in ({}, {"accesskey": ""}, {"accesskey": "rapport-passord"}):
        assert (await reader.read(replace(posted(event()), query=query))).status == 401


VALIDATION = {
    "id": "v",
    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "data": {"validationCode": "code-1", "validationUrl": "https://eventgrid.invalid/validate"},
}


@pytest.mark.assertion("channels", 62)
async def test_event_grids_question_is_answered_only_to_who_knows_the_secret() -> None:
    answer = await read(posted(VALIDATION))
    assert (answer.status, answer.media_type) == (200, "application/json")
    assert json.loads(answer.body) == {"validationResponse": "code-1"}
    assert not answer.reports
    refused = await read(replace(posted(VALIDATION), query={}))
    assert (refused.status, b"code-1" in refused.body) == (401, False)


@pytest.mark.assertion("channels", 62)
async def test_cloud_events_question_is_answered_only_to_who_knows_the_secret() -> None:
    headers = {"webhook-request-origin": "eventgrid.azure.net", "webhook-request-rate": "120"}
    question = replace(posted(), method="OPTIONS", headers=headers, body=b"")
    answer = await read(question)
    assert (answer.status, answer.headers["WebHook-Allowed-Origin"]) == (200, "eventgrid.azure.net")
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    assert (await read(replace(question, query={}))).status == 401
    assert (await read(replace(question, headers={}))).status == 400
    hostile = {"webhook-request-origin": "a\r\nSet-Cookie: b"}
    assert (await read(replace(question, headers=hostile))).status == 400
