"""Amazon SES and SNS, row by row (channels 2.5, 4.3.3, 5.3; fault F32), and beside Amazon's own package."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials
from cryptography.x509 import Certificate, load_pem_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from answering import Reply, answering
from conformance.bench import NOW, REFERENCE, TOOLS
from conformance.ses import CERT_URL, SesBench, known
from postal import shape
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    File,
    Refused,
    Report,
    SendResult,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.providers.aws_signature import Credentials, Signature
from varsel.providers.kind import ReportAnswer, ReportRequest
from varsel.providers.ses import PROVIDER, SesProvider, SesProviderSettings
from varsel.providers.ses_reports import BOUNCES, COMPLAINTS, SesReports
from varsel.providers.sns import Certificates, Unfetched, is_amazons
from varsel.simulators.ses import SesSimulator
from varsel.simulators.sns import TOPIC, pair, signature, signed

BENCH = SesBench()
FAULT = Deferred(blame=Blame.FAULT)
DOWN = Deferred(blame=Blame.PROVIDER)


def throttled(seconds: float) -> Deferred:
    return Deferred(blame=Blame.PROVIDER, retry_after=timedelta(seconds=seconds))


@asynccontextmanager
async def provider(port: int, **changes: object) -> AsyncIterator[SesProvider]:
    made = PROVIDER.make(SesProviderSettings.model_validate({**BENCH.settings(port), **changes}), TOOLS)
    assert isinstance(made, SesProvider)
    try:
        yield made
    finally:
        await made.close()


def error(status: int, name: str, message: str = "No", **headers: str) -> Reply:
    told = {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/", **headers}
    return Reply(status, json.dumps({"message": message}), told)


# Sending


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(200, json.dumps({"MessageId": "0110-1"})), Accepted()),
        (Reply(200, "{}"), Unknown()),
        (Reply(200, "nonsense"), Unknown()),
        (error(429, "TooManyRequestsException"), throttled(2)),
        (error(429, "TooManyRequestsException", **{"Retry-After": "7"}), throttled(7)),
        (error(429, "TooManyRequestsException", "Maximum sending rate exceeded."), throttled(2)),
        (error(429, "TooManyRequestsException", "Daily message quota exceeded."), throttled(900)),
        (error(400, "LimitExceededException"), throttled(60)),
        (
            error(400, "BadRequestException", "Domain has an illegal character: a@b"),
            Refused(Reason.INVALID_EMAIL_FORMAT),
        ),
        (error(400, "BadRequestException", "Illegal address"), Refused(Reason.INVALID_EMAIL_FORMAT)),
        (error(400, "InvalidParameterValue", "Local part is wrong"), Refused(Reason.INVALID_EMAIL_FORMAT)),
        (error(400, "BadRequestException", "Configuration set address"), Refused(Reason.UNSPECIFIED)),
        (error(400, "BadRequestException", "Message length is more than 10 bytes"), Refused(Reason.PAYLOAD_TOO_LARGE)),
        (error(400, "MessageRejected", "Message contains a virus"), Refused(Reason.FILTERED_SPAM)),
        (error(400, "MessageRejected"), Refused(Reason.UNSPECIFIED)),
        (error(400, "MessageRejected", "Email address is not verified. a@b"), Deferred()),
        (error(400, "MailFromDomainNotVerifiedException"), Deferred()),
        (error(400, "AccountSuspendedException"), FAULT),
        (error(400, "SendingPausedException"), FAULT),
        (error(404, "NotFoundException"), FAULT),
        (error(403, "SignatureDoesNotMatch"), FAULT),
        (error(400, "ExpiredTokenException"), FAULT),
        (error(401, ""), FAULT),
        (Reply(403, json.dumps({"__type": "com.amazon#UnrecognizedClientException"})), FAULT),
        (Reply(413), Refused(Reason.PAYLOAD_TOO_LARGE)),
        (error(500, "InternalServiceErrorException"), DOWN),
        (error(503, "ServiceUnavailable", **{"Retry-After": "9"}), throttled(9)),
        (Reply(502), Unknown()),
        (Reply(504), Unknown()),
        (Reply(400, "<html>"), Deferred()),
        (Reply(404, "<html>"), FAULT),
        (Reply(302, "", {"Location": "http://127.0.0.1:1/"}), FAULT),
    ],
)
async def test_each_answer_means_what_the_table_says(reply: Reply, expected: SendResult) -> None:
    async with answering(reply) as heard, provider(heard.port) as ses:
        (result,) = await ses.send([BENCH.message()])
    assert shape(result) == expected
    assert "a@b" not in repr(result)


async def test_senders_that_are_not_verified_wait_and_three_of_them_are_the_account() -> None:
    async with SesSimulator(login=("AKIDEXAMPLE", BENCH.secrets[0])) as amazon, provider(amazon.port) as ses:

        async def unverified(creator: str) -> SendResult:
            (result,) = await ses.send([replace(BENCH.message("unverified@mottaker.example"), creator=creator)])
            return shape(result)

        assert [await unverified(creator) for creator in ("ttd", "ttd", "nav", "skd", "ttd")] == [
            Deferred(),
            Deferred(),
            Deferred(),
            FAULT,
            FAULT,
        ]
        await ses.send([BENCH.message()])
        assert await unverified("dibk") == Deferred()


async def test_the_request_carries_our_mail_our_tag_and_the_configuration_set() -> None:
    email = replace(
        BENCH.message("kari@blåbær.example"),
        subject="Ny post €",
        body="<p>Hei <b>du</b></p>",
        content_type=ContentType.HTML,
        files=(File("brev.pdf", "application/pdf", b"%PDF"),),
        unsubscribe="https://varsel.example/u/abc",
    )
    async with answering(Reply(200, '{"MessageId": "1"}')) as heard, provider(heard.port) as ses:
        assert await ses.send([email]) == [Accepted("1")]
    [(method, path, headers, body)] = heard.requests
    assert (method, path) == ("POST", "/v2/email/outbound-emails")
    assert headers["Content-Type"] == "application/json"
    document = json.loads(body)
    mail = message_from_bytes(base64.b64decode(document.pop("Content")["Raw"]["Data"]), policy=policy.default)
    assert document == {
        "FromEmailAddress": "noreply@etat.example",
        "Destination": {"ToAddresses": ["kari@xn--blbr-roah.example"]},
        "ConfigurationSetName": "varsel",
        "EmailTags": [{"Name": "nid", "Value": str(email.id)}],
    }
    assert mail["From"] == "Etaten <noreply@etat.example>"
    assert mail["To"] == "kari@xn--blbr-roah.example"
    assert mail["Subject"] == "Ny post €"
    assert mail["List-Unsubscribe"] == "<https://varsel.example/u/abc>"
    assert [part.get_content_type() for part in mail.walk()][-1] == "application/pdf"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"to": "ikke en adresse"}, Refused(Reason.INVALID_EMAIL_FORMAT)),
        ({"to": "ægir@mottaker.example"}, Refused(Reason.INVALID_EMAIL_FORMAT)),
        ({"sender": "ikke en adresse"}, Refused(Reason.UNSPECIFIED)),
        ({"body": "x" * 10_000}, Refused(Reason.PAYLOAD_TOO_LARGE)),
        ({"files": (File("a", "text/plain", b"x" * 9_000),)}, Refused(Reason.PAYLOAD_TOO_LARGE)),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_leaves(
    change: Mapping[str, Any], expected: SendResult
) -> None:
    async with answering(Reply(200)) as heard, provider(heard.port, max_message_bytes=9_000) as ses:
        (result,) = await ses.send([replace(BENCH.message(), **change)])
        assert not heard.requests
    assert shape(result) == expected


@pytest.mark.assertion("channels", 4)
async def test_a_clock_that_is_wrong_is_our_fault_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    behind = timedelta(minutes=10)
    async with (
        SesSimulator(login=("AKIDEXAMPLE", BENCH.secrets[0]), behind=behind) as amazon,
        provider(amazon.port) as ses,
    ):
        (result,) = await ses.send([BENCH.message()])
        assert not amazon.sent
    assert shape(result) == FAULT
    [record] = [r for r in caplog.records if r.message == "provider refuses our login"]
    assert record.__dict__["fields"]["clocks"].startswith(("ours is +599", "ours is +600", "ours is +601"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "https://email.eu-north-1.amazonaws.com/v2/email/outbound-emails"),
        ({"region": "cn-north-1"}, "https://email.cn-north-1.amazonaws.com.cn/v2/email/outbound-emails"),
        ({"endpoint": "https://vpce.example/"}, "https://vpce.example/v2/email/outbound-emails"),
    ],
)
def test_the_address_is_the_regions_unless_it_is_told(changes: Mapping[str, str], expected: str) -> None:
    settings = {name: value for name, value in BENCH.settings(1).items() if name != "endpoint"}
    made = SesProvider(SesProviderSettings.model_validate({**settings, **changes}), TOOLS.clock)
    assert str(made._url) == expected


def test_without_topics_no_arrival_is_confirmed() -> None:
    settings = SesProviderSettings.model_validate({**BENCH.settings(1), "topic_arns": ""})
    assert SesProvider(settings, TOOLS.clock).confirms is Confirms.NOTHING


@pytest.mark.parametrize(
    "change",
    [{"region": "eu-north-1.evil.example/"}, {"configuration_set": "a b"}, {"endpoint": "http://email.example"}],
)
def test_settings_that_lead_elsewhere_are_refused(change: Mapping[str, str]) -> None:
    with pytest.raises(ValidationError):
        SesProviderSettings.model_validate({**BENCH.settings(1), **change})


# The signature


@settings(max_examples=40, deadline=None)
@given(
    body=st.binary(max_size=200),
    token=st.none() | st.from_regex(r"[A-Za-z0-9+/=]{1,40}", fullmatch=True),
    region=st.sampled_from(["eu-north-1", "us-east-1"]),
    port=st.sampled_from(["", ":443", ":8443"]),
)
def test_the_signature_is_the_one_that_amazons_package_makes(
    body: bytes, token: str | None, region: str, port: str
) -> None:
    url = f"https://email.{region}.amazonaws.com{port}/v2/email/outbound-emails"
    headers = {"Content-Type": "application/json"}
    theirs = AWSRequest("POST", url, data=body, headers=dict(headers))
    SigV4Auth(TheirCredentials("AKIDEXAMPLE", "secret/+", token), "ses", region).add_auth(theirs)
    now = datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = Signature(Credentials("AKIDEXAMPLE", b"secret/+", token), region, "ses")
    assert ours.sign("POST", URL(url), headers, body, now) == {name: theirs.headers[name] for name in theirs.headers}


async def test_amazons_package_sends_against_the_simulator_what_we_send() -> None:
    email = BENCH.message()

    def send(endpoint: str, request: dict[str, Any]) -> str:
        client = botocore.session.get_session().create_client(
            "sesv2",
            region_name="eu-north-1",
            endpoint_url=endpoint,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key=BENCH.secrets[0],
        )
        try:
            return str(client.send_email(**request)["MessageId"])
        finally:
            client.close()

    async with SesSimulator(login=("AKIDEXAMPLE", BENCH.secrets[0])) as amazon, provider(amazon.port) as ses:
        (ours,) = await ses.send([email])
        [sent] = amazon.sent
        request = {**sent.request, "Content": {"Raw": {"Data": sent.raw}}}
        theirs = await asyncio.to_thread(send, amazon.url, request)
        assert [s.id for s in amazon.sent] == [ours.reference if isinstance(ours, Accepted) else None, theirs]
        assert (amazon.sent[1].request, amazon.sent[1].raw) == (sent.request, sent.raw)


# Events


def event(kind: str, **more: object) -> dict[str, Any]:
    return {"eventType": kind, "mail": {"messageId": REFERENCE, "tags": {}}, **more}


async def reported(told: object) -> Report | None:
    answer = await BENCH.reader().read(BENCH.authentic(json.dumps(told).encode()))
    assert answer.status == 200
    return answer.reports[0] if answer.reports else None


def bounce(type_: str, subtype: str) -> dict[str, Any]:
    bounced = [{"emailAddress": "kari@mottaker.example", "status": "5.1.1", "diagnosticCode": "smtp; 550 No"}]
    return event("Bounce", bounce={"bounceType": type_, "bounceSubType": subtype, "bouncedRecipients": bounced})


def complaint(type_: str | None = None, subtype: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"complaintFeedbackType": type_, "complaintSubType": subtype, "complainedRecipients": [{}]}
    return event("Complaint", complaint=told)


FAILED = Verdict.FAILED
SPAM, FULL = Reason.FILTERED_SPAM, Reason.PAYLOAD_TOO_LARGE
LISTED = (FAILED, Reason.SUPPRESSED_RECIPIENT, Suppress.PROVIDER_LIST)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (event("Delivery", delivery={"recipients": ["a"], "smtpResponse": "250 Ok"}), (Verdict.DELIVERED, None, None)),
        *(
            (event("DeliveryDelay", deliveryDelay={"delayType": type_}), (Verdict.DELAYED, None, None))
            for type_ in ("InternalFailure", "MailboxFull", "SendingDeferral", "Invented")
        ),
        (bounce("Permanent", "General"), (FAILED, Reason.BOUNCED, Suppress.HARD_BOUNCE)),
        (bounce("Permanent", "NoEmail"), (FAILED, Reason.BOUNCED, Suppress.HARD_BOUNCE)),
        (bounce("Permanent", "Suppressed"), LISTED),
        (bounce("Permanent", "OnAccountSuppressionList"), LISTED),
        (bounce("Permanent", "OnTenantSuppressionList"), LISTED),
        (
            bounce("Permanent", "UnsubscribedRecipient"),
            (FAILED, Reason.SUPPRESSED_RECIPIENT, Suppress.UNSUBSCRIBE),
        ),
        (bounce("Transient", "General"), (FAILED, Reason.BOUNCED, None)),
        (bounce("Transient", "MailboxFull"), (FAILED, Reason.BOUNCED, None)),
        (bounce("Transient", "CustomTimeoutExceeded"), (FAILED, Reason.BOUNCED, None)),
        (bounce("Transient", "MessageTooLarge"), (FAILED, FULL, None)),
        (bounce("Transient", "AttachmentRejected"), (FAILED, SPAM, None)),
        (bounce("Transient", "ContentRejected"), (FAILED, SPAM, None)),
        (bounce("Undetermined", "Undetermined"), (FAILED, Reason.BOUNCED, None)),
        (bounce("Permanent", "Invented"), (Verdict.UNRECOGNISED, None, None)),
        *(
            (complaint(type_), (Verdict.COMPLAINT, None, Suppress.COMPLAINT))
            for type_ in ("abuse", "fraud", "virus", "other", "auth-failure", None)
        ),
        (complaint("not-spam"), (Verdict.COMPLAINT, None, None)),
        (complaint("invented"), (Verdict.UNRECOGNISED, None, None)),
        (
            complaint("abuse", "OnAccountSuppressionList"),
            (FAILED, Reason.SUPPRESSED_RECIPIENT, Suppress.COMPLAINT),
        ),
        (event("Reject", reject={"reason": "Bad content"}), (FAILED, SPAM, None)),
        (event("Reject", reject={"reason": "Invented"}), (Verdict.UNRECOGNISED, None, None)),
        (event("Rendering Failure"), (FAILED, Reason.UNSPECIFIED, None)),
        (event("Invented"), (Verdict.UNRECOGNISED, None, None)),
        ({"mail": {"messageId": REFERENCE}}, (Verdict.UNRECOGNISED, None, None)),
        ({"eventType": "Delivery"}, (Verdict.UNRECOGNISED, None, None)),
    ],
)
@pytest.mark.assertion("channels", 9, 63)
async def test_each_event_means_what_the_table_says(told: Mapping[str, Any], expected: tuple[object, ...]) -> None:
    report = await reported(told)
    assert report is not None
    assert (report.verdict, report.reason, report.suppress) == expected
    assert len(BOUNCES) == 13
    assert len(COMPLAINTS) == 7


@pytest.mark.parametrize("kind", ["Send", "Open", "Click", "Subscription"])
async def test_events_that_say_nothing_new_are_passed_over(kind: str) -> None:
    assert await reported(event(kind)) is None


async def test_what_ses_says_to_try_its_topic_is_passed_over() -> None:
    answer = await BENCH.reader().read(BENCH.authentic(b"Successfully validated SNS topic for event publishing."))
    assert (answer.status, list(answer.reports)) == (200, [])


async def test_a_report_names_our_message_by_its_tag_and_by_their_reference() -> None:
    ours = BENCH.message().id
    told = {**bounce("Permanent", "General"), "mail": {"messageId": REFERENCE, "tags": {"nid": [str(ours)]}}}
    report = await reported(told)
    assert report is not None
    assert (report.notification, report.reference) == (ours, REFERENCE)
    assert report.raw_state == "Bounce Permanent General"
    assert report.detail == "5.1.1 smtp; 550 No"
    other = await reported({**told, "mail": {"messageId": REFERENCE, "tags": {"nid": ["no uuid"]}}})
    assert other is not None
    assert (other.notification, other.reference) == (None, REFERENCE)


async def test_a_notification_of_an_identity_says_the_same_as_an_event() -> None:
    told = bounce("Permanent", "General")
    told["notificationType"] = told.pop("eventType")
    report = await reported(told)
    assert report is not None
    assert report.suppress is Suppress.HARD_BOUNCE


# SNS


@asynccontextmanager
async def site(**changes: Any) -> AsyncIterator[tuple[SesSimulator, SesReports]]:
    """The simulator vouches for its messages by its own host, which only tests trust."""
    async with SesSimulator() as amazon:
        certificates = Certificates(lambda url, _topic: url.host == "127.0.0.1" and url.port == amazon.port)
        yield amazon, SesReports("bench", [TOPIC], certificates, **changes)


def post(told: Mapping[str, Any], *, now: datetime | None = None) -> ReportRequest:
    base = BENCH.authentic(b"")
    return replace(base, body=json.dumps(told).encode(), now=now or datetime.now(UTC))


def delivered(cert_url: str, **how: Any) -> dict[str, Any]:
    return signed("Notification", json.dumps(event("Delivery")), cert_url=cert_url, **how)


async def read(reader: SesReports, told: Mapping[str, Any], **how: Any) -> ReportAnswer:
    return await reader.read(post(told, **how))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES"])
@pytest.mark.assertion("channels", 64)
async def test_both_versions_of_the_signature_hold(version: str, subject: str | None) -> None:
    async with site() as (amazon, reader):
        told = delivered(amazon.cert_url, version=version)
        if subject:
            told["Subject"] = subject
            told["Signature"] = signature(told, pair().key)
        answer = await read(reader, told)
        assert (answer.status, len(answer.reports)) == (200, 1)
        assert answer.reports[0].event_key == told["MessageId"]


async def test_the_first_version_can_be_refused() -> None:
    async with site(require_v2=True) as (amazon, reader):
        assert (await read(reader, delivered(amazon.cert_url, version="1"))).status == 401
        assert (await read(reader, delivered(amazon.cert_url, version="2"))).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "{}"},
        {"MessageId": "other"},
        {"Timestamp": "2026-11-23T10:00:00.000Z"},
        {"TopicArn": TOPIC + "x"},
        {"Subject": "added"},
        {"Signature": "AAAA"},
        {"Signature": "not base64"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": 2},
        {"MessageId": None},
        {"Timestamp": "yesterday"},
        {"Timestamp": "2026-11-23T10:00:00"},
        {"SigningCertURL": None},
        {"SigningCertURL": "http://[bad"},
        {"SigningCertURL": "https://sns.eu-north-1.amazonaws.com.evil.example/a.pem"},
    ],
    ids=str,
)
@pytest.mark.assertion("channels", 64)
async def test_a_message_that_was_changed_is_refused(change: Mapping[str, object]) -> None:
    async with site() as (amazon, reader):
        answer = await read(reader, {**delivered(amazon.cert_url), **change})
        assert (answer.status, list(answer.reports)) == (401, [])


@pytest.mark.assertion("channels", 64)
async def test_a_topic_that_may_not_report_is_refused_and_nothing_is_fetched() -> None:
    async with site() as (amazon, reader):
        foreign = delivered(amazon.cert_url, topic=TOPIC.replace("varsel", "other"))
        assert (await read(reader, foreign)).status == 401
        assert amazon.fetched == 0


@pytest.mark.parametrize(
    "path", ["redirecting.pem", "expired.pem", "nothing.pem", "certificate.pem?", "confirm?t=.pem"]
)
@pytest.mark.assertion("channels", 64)
async def test_a_certificate_that_does_not_hold_is_refused(path: str) -> None:
    async with site() as (amazon, reader):
        answer = await read(reader, delivered(f"{amazon.url}/{path}"))
        assert answer.status == (200 if path == "certificate.pem?" else 401)
        assert amazon.fetched == (path == "certificate.pem?")


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://sns.eu-north-1.amazonaws.com/a.pem", True),
        ("https://SNS.EU-North-1.amazonaws.com:443/a.pem", True),
        ("http://sns.eu-north-1.amazonaws.com/a.pem", False),
        ("https://sns.eu-north-1.amazonaws.com:8443/a.pem", False),
        ("https://sns.eu-west-1.amazonaws.com/a.pem", False),  # not the topic's region
        ("https://user@sns.eu-north-1.amazonaws.com/a.pem", False),
        ("https://sns.eu-north-1.amazonaws.com@evil.example/a.pem", False),
        ("https://sns.eu-north-1.amazonaws.com.evil.example/a.pem", False),
        ("https://evilsns.eu-north-1.amazonaws.com/a.pem", False),
        ("https://sns-eu-north-1.amazonaws.com/a.pem", False),
        ("https://sns.eu-north-1.amazonaws.com./a.pem", False),
        ("https://s3.eu-north-1.amazonaws.com/bucket/a.pem", False),
        ("https://sns.eu-north-1.amazonaws.com.cn/a.pem", True),
        ("https://sns.eu-north-1.amazonaws.c\u043em/a.pem", False),
        ("//sns.eu-north-1.amazonaws.com/a.pem", False),
        ("", False),
    ],
)
@pytest.mark.assertion("channels", 64, 65)
@pytest.mark.assertion("channels-faults", 32)
def test_only_amazons_own_host_in_the_topics_region_is_called(url: str, *, trusted: bool) -> None:
    assert is_amazons(URL(url), TOPIC) is trusted


def test_a_topic_that_is_none_is_no_reason_to_call_anybody() -> None:
    assert not is_amazons(URL(CERT_URL), "arn:aws:sns:eu-north-1")
    assert not is_amazons(URL(CERT_URL), "")


@pytest.mark.assertion("channels", 64, 65)
@pytest.mark.assertion("channels-faults", 32)
async def test_a_look_alike_host_is_never_called() -> None:
    called = []

    async def fetch(url: URL) -> Any:
        called.append(str(url))
        return await known(url)

    reader = SesReports("bench", [TOPIC], Certificates(fetch=fetch), auto_confirm=True)
    for host in ("sns.eu-north-1.amazonaws.com.evil.example", "sns.eu-nоrth-1.amazonaws.com", "127.0.0.1"):
        assert (await read(reader, delivered(f"https://{host}/a.pem"))).status == 401
        told = signed("SubscriptionConfirmation", "Hi", cert_url=CERT_URL, subscribe_url=f"https://{host}/?t=1")
        assert (await read(reader, told)).status == 401
    assert set(called) == {CERT_URL}


async def test_a_key_that_is_too_short_signs_nothing() -> None:
    async def fetch(_url: URL) -> Certificate:
        return load_pem_x509_certificate(pair(bits=bits).pem)

    for bits, status in ((1024, 401), (3072, 200)):
        reader = SesReports("bench", [TOPIC], Certificates(fetch=fetch))
        assert (await read(reader, delivered(CERT_URL, key=pair(bits=bits).key))).status == status


async def test_a_certificate_is_fetched_once_a_day_whoever_asks() -> None:
    now = 0.0
    async with SesSimulator() as amazon:
        certificates = Certificates(lambda _url, _topic: True, monotonic=lambda: now)
        reader = SesReports("bench", [TOPIC], certificates)
        answers = await asyncio.gather(*(read(reader, delivered(amazon.cert_url)) for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert amazon.fetched == 1
        now = 24 * 3600.0 + 1
        assert (await read(reader, delivered(amazon.cert_url))).status == 200
        assert amazon.fetched == 2


async def test_what_could_not_be_fetched_is_not_asked_for_again_at_once_and_no_flood_reaches_them() -> None:
    now, called = 0.0, []

    async def fetch(url: URL) -> None:
        called.append(str(url))
        if "down" in str(url):
            raise Unfetched

    reader = SesReports("bench", [TOPIC], Certificates(fetch=fetch, monotonic=lambda: now))
    base = "https://sns.eu-north-1.amazonaws.com"
    for _ in range(3):
        assert (await read(reader, delivered(f"{base}/down.pem"))).status == 503
        assert (await read(reader, delivered(f"{base}/none.pem"))).status == 401
    assert len(called) == 2
    statuses = [(await read(reader, delivered(f"{base}/{n}.pem"))).status for n in range(50)]
    assert len(called) == 10
    assert statuses[-1] == 503
    now = 61.0
    assert (await read(reader, delivered(f"{base}/none.pem"))).status == 401
    assert len(called) == 11


@pytest.mark.parametrize(
    ("age", "status"), [(timedelta(minutes=59), 200), (timedelta(hours=2), 401), (-timedelta(minutes=10), 401)]
)
async def test_an_old_message_is_not_taken(age: timedelta, status: int) -> None:
    async with site() as (amazon, reader):
        now = datetime.now(UTC)
        assert (await read(reader, delivered(amazon.cert_url, at=now - age), now=now)).status == status


async def test_a_message_that_comes_again_is_the_same_event() -> None:
    async with site() as (amazon, reader):
        told = delivered(amazon.cert_url)
        keys = {(await read(reader, told)).reports[0].event_key for _ in range(2)}
        assert keys == {told["MessageId"]}


def asking(amazon: SesSimulator, kind: str = "SubscriptionConfirmation", path: str = "confirm?t=1") -> dict[str, Any]:
    return signed(kind, "You have chosen", cert_url=amazon.cert_url, subscribe_url=f"{amazon.url}/{path}")


async def test_a_subscription_is_confirmed_where_that_is_wanted() -> None:
    async with site(auto_confirm=True) as (amazon, reader):
        answer = await read(reader, asking(amazon))
        assert (answer.status, list(answer.reports), amazon.confirmed) == (200, [], ["1"])
        assert (await read(reader, asking(amazon, path="nothing"))).status == 503
        forged = {**asking(amazon), "Token": "other"}
        assert (await read(reader, forged)).status == 401
        assert amazon.confirmed == ["1"]


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
async def test_a_subscription_waits_for_an_operator_where_it_is_not(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(auto_confirm=kind == "UnsubscribeConfirmation") as (amazon, reader):
        answer = await read(reader, asking(amazon, kind))
        assert answer.status == 200
        assert [(report.verdict, report.raw_state) for report in answer.reports] == [(Verdict.UNRECOGNISED, kind)]
        assert answer.reports[0].payload["SubscribeURL"] == f"{amazon.url}/confirm?t=1"
        assert amazon.confirmed == []
    assert "sns subscription changed" in caplog.text


@pytest.mark.assertion("channels", 65)
async def test_a_subscription_is_never_confirmed_at_another_host() -> None:
    async with SesSimulator() as other, site(auto_confirm=True) as (amazon, reader):
        told = signed(
            "SubscriptionConfirmation", "Hi", cert_url=amazon.cert_url, subscribe_url=f"{other.url}/confirm?t=2"
        )
        assert (await read(reader, told)).status == 401
        assert other.confirmed == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"method": "GET"}, 405),
        ({"headers": {"content-type": "text/html"}}, 415),
        ({"headers": {"content-type": "application/json"}}, 200),
        ({"headers": {}}, 200),
        ({"body": b""}, 400),
        ({"body": b"[]"}, 400),
        ({"body": b'{"Type": "Other"}'}, 400),
        ({"body": b'{"Type": ["Notification"]}'}, 400),
        ({"body": b'{"Type": "Notification"}'}, 401),
    ],
)
async def test_what_is_no_message_is_told_so(change: Mapping[str, Any], status: int) -> None:
    request = replace(BENCH.authentic(json.dumps(event("Delivery")).encode()), now=NOW)
    assert (await BENCH.reader().read(replace(request, **change))).status == status
