"""Conformance of SMS providers (channels 1.4), and LINK's answers row by row (channels 3.3, 8.3; assertions 1, 2, 4,
10, 71-78, 81)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from varsel.clock import ManualClock
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Indeterminate,
    Refused,
    SendResult,
    Sms,
    SmsProvider,
    Unknown,
)
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Reason
from varsel.domain.sms_text import Alphabet, clean, fits_link
from varsel.providers.http_gateway import retry_after
from varsel.providers.link import LinkProvider
from varsel.settings import LinkProviderSettings
from varsel.simulators.link import LinkSimulator, Submitted

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
PASSWORD = "pass & <word> æ"
TEXT = "Du har fått et nytt brev"
ORDER = OrderId(uuid7())


def sms(to: str = "+4799999500", text: str = TEXT, sender: str = "Altinn", left: float = 172_800) -> Sms:
    expires = NOW + timedelta(seconds=left)
    return Sms(NotificationId(uuid7()), ORDER, creator="ttd", sender=sender, to=to, text=text, expires_at=expires)


def scripted(*digits: str) -> list[Sms]:
    return [sms(f"+4799999{script}") for script in digits]


def settings_for(
    url: str, *, password: str = PASSWORD, timeout: float = 10, connections: int = 10
) -> LinkProviderSettings:
    return LinkProviderSettings(
        name="link-main",
        url=url,
        username="varsel",
        password=SecretStr(password),
        report_username="gateway",
        report_password=SecretStr("reports"),
        connections=connections,
        timeout=timedelta(seconds=timeout),
    )


@asynccontextmanager
async def provider(
    url: str, *, password: str = PASSWORD, timeout: float = 10, connections: int = 10
) -> AsyncIterator[SmsProvider]:
    made: SmsProvider = LinkProvider(
        settings_for(url, password=password, timeout=timeout, connections=connections), ManualClock(NOW)
    )
    try:
        yield made
    finally:
        await made.close()


def gateway() -> LinkSimulator:
    return LinkSimulator({"varsel": PASSWORD}, None, time_factor=0.01)


async def send(*messages: Sms, timeout: float = 10) -> tuple[list[SendResult], LinkSimulator]:
    async with gateway() as simulator, provider(simulator.url, timeout=timeout) as link:
        return await link.send(messages), simulator


@asynccontextmanager
async def answering(answer: Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A gateway that does what the test says; yields its URL."""

    async def receive(request: web.Request) -> web.StreamResponse:
        return await answer(request, await request.read())

    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def xml(body: str) -> Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]:
    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(text=body, content_type="text/xml")

    return answer


def all_accepted(count: int) -> web.Response:
    listed = "".join(f"<MSG><ID>{n}</ID><REF>R{n}</REF><STATUS>OK</STATUS></MSG>" for n in range(1, count + 1))
    return web.Response(text=f"<SESSION><LOGON>OK</LOGON><MSGLST>{listed}</MSGLST></SESSION>", content_type="text/xml")


async def test_it_says_what_it_takes_and_can_confirm() -> None:
    async with provider("https://gateway.example/") as link:
        assert (link.name, link.max_batch, link.step) == ("link-main", 100, 1000)
        assert link.confirms is Confirms.ARRIVAL
        assert link.on_indeterminate is Indeterminate.RESEND


@pytest.mark.assertion("channels", 1)
async def test_each_message_gets_one_result_in_order() -> None:
    results, simulator = await send(*scripted("500", "201", "501", "202", "502"))
    taken = {message.receiver: message.reference for message in simulator.submitted}
    assert [type(result) for result in results] == [Accepted, Refused, Accepted, Refused, Accepted]
    for result, number in zip(results[::2], ("4799999500", "4799999501", "4799999502"), strict=True):
        assert isinstance(result, Accepted)
        assert result.reference == taken[number]


async def test_nothing_to_send_is_no_document() -> None:
    results, simulator = await send()
    assert results == []
    assert not simulator.documents


@pytest.mark.assertion("channels", 1)
@pytest.mark.assertion("channels-faults", 21)
async def test_answers_in_another_order_are_matched_by_id() -> None:
    results, simulator = await send(*scripted("500", "205", "501"))
    taken = {message.receiver: message.reference for message in simulator.submitted}
    assert [result.reference for result in results if isinstance(result, Accepted)] == [
        taken["4799999500"],
        taken["4799999205"],
        taken["4799999501"],
    ]


@pytest.mark.assertion("channels", 2)
@pytest.mark.assertion("channels-faults", 20)
async def test_a_message_that_the_answer_leaves_out_is_unknown_and_its_neighbours_are_settled() -> None:
    results, _ = await send(*scripted("500", "203", "501"))
    assert [type(result) for result in results] == [Accepted, Unknown, Accepted]


def deferred(detail: str, blame: Blame = Blame.PROVIDER, pause: float | None = None) -> Deferred:
    return Deferred(detail, blame, None if pause is None else timedelta(seconds=pause))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("201", Refused(Reason.INVALID_RECIPIENT, "the gateway refused it: Invalid RCV")),
        ("202", Refused(Reason.UNSPECIFIED, "the gateway refused it: Blocked by the operator")),
        ("203", Unknown("the gateway's answer leaves the message out")),
        ("204", Accepted(None, "without a reference: no report can follow", 1, silent=True)),
        ("301", deferred("the gateway answered 500", Blame.MESSAGE)),
        ("302", Unknown("the gateway answered 504")),
        ("303", deferred("the gateway answered 429", pause=2)),
        ("304", deferred("the gateway answered 403", Blame.FAULT)),
        ("305", Unknown("the gateway's answer is not XML")),
        ("306", Unknown("the gateway's answer is not XML")),
        ("307", deferred("the gateway refused the login", Blame.FAULT)),
        ("308", deferred("the gateway refused the login", Blame.FAULT)),
        ("310", Unknown("the connection to the gateway was lost")),
    ],
)
@pytest.mark.assertion("channels", 81)
async def test_each_answer_of_the_gateway_has_its_result(script: str, expected: SendResult) -> None:
    results, _ = await send(*scripted(script))
    assert results == [expected]


async def test_a_gateway_that_took_the_document_and_stays_silent_leaves_it_unknown() -> None:
    results, simulator = await send(*scripted("309"), timeout=0.2)
    assert results == [Unknown("the gateway did not answer in time")]
    assert len(simulator.submitted) == 1


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (302, {"Location": "https://gateway.example/"}, deferred("the gateway answered 302")),
        (401, {}, deferred("the gateway answered 401", Blame.FAULT)),
        (404, {}, deferred("the gateway answered 404")),
        (429, {}, deferred("the gateway answered 429", pause=60)),
        (502, {}, Unknown("the gateway answered 502")),
        (503, {}, deferred("the gateway answered 503")),
        (503, {"Retry-After": "7"}, deferred("the gateway answered 503", pause=7)),
        (503, {"Retry-After": "Mon, 23 Nov 2020 10:00:00 GMT"}, deferred("the gateway answered 503", pause=1)),
        (400, {}, Refused(Reason.UNSPECIFIED, "the gateway answered 400")),
    ],
)
async def test_each_status_has_its_result(status: int, headers: dict[str, str], expected: SendResult) -> None:
    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with answering(answer) as url, provider(url) as link:
        assert await link.send([sms()]) == [expected]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<SESSION><LOGON> ok </LOGON><MSGLST><MSG><ID>1</ID><STATUS>ok</STATUS></MSG></MSGLST></SESSION>", Accepted),
        ("<SESSION><MSGLST><MSG><ID>1</ID><STATUS>OK</STATUS></MSG></MSGLST></SESSION>", Unknown),
        ("<SESSION><LOGON>OK</LOGON><MSGLST><MSG><ID>1</ID></MSG></MSGLST></SESSION>", Unknown),
        ("<SESSION><LOGON>OK</LOGON></SESSION>", Unknown),
        ("<SESSION><LOGON>OK</LOGON><MSGLST><MSG><ID>01</ID><STATUS>OK</STATUS></MSG></MSGLST></SESSION>", Unknown),
        ("<SESSION>", Unknown),
        ("<!DOCTYPE SESSION [<!ENTITY x 'OK'>]><SESSION><LOGON>&x;</LOGON></SESSION>", Unknown),
        (f"<SESSION><LOGON>OK</LOGON><!--{'x' * 300_000}--></SESSION>", Unknown),
    ],
)
async def test_an_answer_that_says_nothing_of_a_message_leaves_it_unknown(body: str, expected: type) -> None:
    async with answering(xml(body)) as url, provider(url) as link:
        assert [type(result) for result in await link.send([sms()])] == [expected]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("Invalid RCV", Reason.INVALID_RECIPIENT),
        (" INVALID rcv 4799999500", Reason.INVALID_RECIPIENT),
        ("Invalid SND: Altinn", Reason.REJECTED),
        ("4799999500 is not known", Reason.UNSPECIFIED),
        ("", Reason.UNSPECIFIED),
    ],
)
async def test_a_refusal_has_its_reason_and_repeats_no_number(info: str, reason: Reason) -> None:
    answer = f"<MSG><ID>1</ID><STATUS>FAIL</STATUS><INFO>{info}</INFO></MSG>"
    document = f"<SESSION><LOGON>OK</LOGON><MSGLST>{answer}</MSGLST></SESSION>"
    async with answering(xml(document)) as url, provider(url) as link:
        (result,) = await link.send([sms()])
    assert isinstance(result, Refused)
    assert result.reason is reason
    assert "4799999500" not in result.detail


@pytest.mark.assertion("channels", 4)
async def test_a_wrong_password_fails_no_message_and_charges_the_provider() -> None:
    async with gateway() as simulator, provider(simulator.url, password="other") as link:
        results = await link.send(scripted("500", "501"))
    assert results == [deferred("the gateway refused the login", Blame.FAULT)] * 2


async def test_no_connection_charges_the_provider_and_nothing_has_left() -> None:
    async with gateway() as simulator:
        url = simulator.url
    async with provider(url) as link:
        assert await link.send([sms()]) == [deferred("no connection to the gateway")]


async def test_a_peer_without_tls_gets_nothing() -> None:
    async with gateway() as simulator, provider(simulator.url.replace("http:", "https:")) as link:
        assert await link.send([sms()]) == [deferred("no connection to the gateway")]
    assert not simulator.documents


async def test_a_peer_that_never_finishes_the_handshake_gets_nothing() -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, provider(f"https://127.0.0.1:{port}/", timeout=0.2) as link:
        assert await link.send([sms()]) == [deferred("no connection to the gateway")]


async def test_a_redirect_is_not_followed() -> None:
    async with gateway() as other:

        async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": other.url})

        async with answering(answer) as url, provider(url) as link:
            assert await link.send([sms()]) == [deferred("the gateway answered 307")]
    assert not other.documents


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    (result,), _ = await send(sms())
    assert isinstance(result, Accepted)


async def test_a_document_refused_for_one_message_costs_its_neighbours_nothing() -> None:
    async def answer(_request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(status=400) if b"4799999666" in body else all_accepted(body.count(b"<MSG>"))

    async with answering(answer) as url, provider(url) as link:
        results = await link.send(scripted("500", "666", "501"))
    assert results == [Accepted("R1", "", 1), Refused(Reason.UNSPECIFIED, "the gateway answered 400"), results[0]]


async def test_a_gateway_that_refuses_every_document_fails_no_message() -> None:
    async def answer(_request: web.Request, _body: bytes) -> web.StreamResponse:
        return web.Response(status=400)

    async with answering(answer) as url, provider(url) as link:
        results = await link.send(scripted("500", "501"))
    assert results == [deferred("the gateway answers 400 to every message")] * 2


@pytest.mark.assertion("channels", 78)
async def test_a_big_batch_goes_out_in_documents_of_at_most_a_hundred() -> None:
    results, simulator = await send(*[sms() for _ in range(250)])
    assert all(isinstance(result, Accepted) for result in results)
    assert len({result.reference for result in results if isinstance(result, Accepted)}) == 250
    assert sorted(document.count(b"<MSG>") for document in simulator.documents) == [50, 100, 100]


async def test_no_more_documents_are_on_their_way_than_there_are_connections() -> None:
    on_their_way, most = 0, 0
    full = asyncio.Event()

    async def answer(_request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal on_their_way, most
        on_their_way += 1
        most = max(most, on_their_way)
        if on_their_way == 2:
            full.set()
        await full.wait()  # the first two are open together before either is answered
        on_their_way -= 1
        return all_accepted(body.count(b"<MSG>"))

    async with answering(answer) as url, provider(url, connections=2) as link:
        results = await link.send([sms() for _ in range(500)])
    assert len(results) == 500
    assert most == 2


async def test_cancelling_lets_go_at_once_and_the_provider_goes_on() -> None:
    arrived, hold = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.Request, body: bytes) -> web.StreamResponse:
        if b"4799999309" in body:
            arrived.set()
            await hold.wait()
        return all_accepted(1)

    async with answering(answer) as url, provider(url, connections=1) as link:
        sending = asyncio.create_task(link.send(scripted("309")))
        await arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await link.send([sms()]) == [Accepted("R1", "", 1)]
        hold.set()


async def only_submitted(message: Sms) -> Submitted:
    (result,), simulator = await send(message)
    assert isinstance(result, Accepted)
    return simulator.submitted[0]


@pytest.mark.assertion("channels", 74)
async def test_the_document_is_the_gateways() -> None:
    _, simulator = await send(sms("+47 99 99 99 12", "a & b < c > d ]]> €", sender="+4799999999"))
    assert simulator.documents[0] == (
        '<?xml version="1.0" encoding="ISO-8859-1"?><SESSION><CLIENT>varsel</CLIENT>'
        "<PW>pass &amp; &lt;word&gt; æ</PW><MSGLST><MSG><ID>1</ID>"
        "<TEXT>a &amp; b &lt; c &gt; d ]]&gt; &#8364;</TEXT><SND>4799999999</SND><RCV>4799999912</RCV>"
        "<TTL>2880</TTL><RCPREQ>Y</RCPREQ></MSG></MSGLST></SESSION>"
    ).encode("iso-8859-1")


async def test_the_content_type_says_what_the_document_says() -> None:
    seen = []

    async def answer(request: web.Request, _body: bytes) -> web.StreamResponse:
        seen.append(request.headers["Content-Type"])
        return all_accepted(1)

    async with answering(answer) as url, provider(url) as link:
        await link.send([sms()])
    assert seen == ["text/xml; charset=iso-8859-1"]


@pytest.mark.parametrize(
    ("left", "minutes"), [(172_800, 2880), (61, 2), (60, 1), (20, 1), (0, 1), (-5, 1), (1e6, 2880)]
)
@pytest.mark.assertion("channels", 75)
async def test_the_time_to_live_is_in_minutes_rounded_up_and_never_zero(left: float, minutes: int) -> None:
    assert (await only_submitted(sms(left=left))).ttl == minutes


async def test_a_text_of_the_small_alphabet_arrives_intact() -> None:
    message = await only_submitted(sms(text="Hei €5 Δ"))
    assert (message.text, message.op, message.flags) == ("Hei €5 Δ", "", frozenset())


@pytest.mark.assertion("channels", 76)
async def test_a_text_of_another_alphabet_goes_out_in_hex() -> None:
    (result,), simulator = await send(sms(text="Привет"))
    message = simulator.submitted[0]
    assert (message.text, message.op, message.flags) == ("Привет", "9", frozenset())
    assert isinstance(result, Accepted)
    assert b"<TEXT>041F04400438043204350442</TEXT>" in simulator.documents[0]


foreign = st.characters(codec="utf-8") | st.sampled_from("\x00\x07\x1b\r\n\t<>&\"'€[]—“\ufffe\uffff\u2028")


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(foreign | st.characters(categories=["Cs"]), max_size=60), min_size=1, max_size=20))
@pytest.mark.assertion("channels", 76, 77)
def test_every_text_arrives_as_it_was_cleaned_whatever_it_holds(texts: list[str]) -> None:
    results, simulator = asyncio.run(send(*[sms(text=text) for text in texts]))
    assert all(isinstance(result, Accepted) for result in results)
    assert [message.text for message in simulator.submitted] == [clean(text) for text in texts]
    assert not any(message.flags for message in simulator.submitted)


@settings(max_examples=30, deadline=None)
@given(sender=st.text(foreign, max_size=12))
def test_no_sender_makes_the_document_ill_formed(sender: str) -> None:
    (result,), _ = asyncio.run(send(sms(sender=sender)))
    assert isinstance(result, Accepted) or result == Refused(Reason.REJECTED, "the gateway refused it: Invalid SND")


@pytest.mark.parametrize("number", ["0047 99 99 95 00", "+4799999500", "+47 99-99-95-00 ", "99999500"])
@pytest.mark.assertion("channels", 72)
async def test_a_number_goes_out_as_digits_however_it_was_written(number: str) -> None:
    assert (await only_submitted(sms(number))).receiver == "4799999500"


@pytest.mark.parametrize("number", ["", "++4799999500", "4799999500", "+4712345678", "x"])
@pytest.mark.assertion("channels", 72)
async def test_what_is_no_number_is_refused_before_anything_leaves(number: str) -> None:
    results, simulator = await send(sms(number), sms())
    assert results[0] == Refused(Reason.INVALID_RECIPIENT, "not a valid number")
    assert isinstance(results[1], Accepted)
    assert len(simulator.submitted) == 1


def too_long(unit: str) -> str:
    return unit * next(n for n in range(4000) if not fits_link(unit * n))


@pytest.mark.parametrize(
    "text", [too_long("a"), too_long("€"), too_long("ж")], ids=["septets", "pairs", "sixteen bits"]
)
@pytest.mark.assertion("channels", 71)
async def test_a_text_over_the_limit_is_refused_and_one_at_it_arrives_whole(text: str) -> None:
    results, simulator = await send(sms(text=text), sms(text=text[:-1]))
    assert results[0] == Refused(Reason.UNSPECIFIED, "the text is longer than the gateway carries", unfit=True)
    assert results[1] == Accepted(simulator.submitted[0].reference, "", 16)
    assert simulator.submitted[0].text == text[:-1]
    assert simulator.submitted[0].alphabet is (Alphabet.UCS_2 if "ж" in text else Alphabet.GSM_7)


async def test_no_log_or_result_holds_a_number_a_text_or_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripts = ("201", "202", "203", "204", "301", "303", "305", "307", "310", "500")
    said = []
    async with gateway() as simulator, provider(simulator.url) as link:
        for script in scripts:
            said += await link.send(scripted(script))
    everything = caplog.text + repr([result.detail for result in said])
    for secret in (PASSWORD, "pass &amp;", TEXT, "4799999"):
        assert secret not in everything


@pytest.mark.parametrize("url", ["http://gateway.example/", "ftp://127.0.0.1/", "gateway.example", ""])
async def test_a_gateway_that_would_get_the_password_in_the_clear_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        async with provider(url):
            pass


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 7 ", 7),
        ("0", 1),
        ("86400", 3600),
        ("9" * 400, 3600),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 1),
        ("Mon, 23 Nov 2026 23:00:00 GMT", 3600),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
@pytest.mark.assertion("channels", 18)
def test_a_pause_is_read_in_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(value, NOW) == expected


@pytest.mark.assertion("channels-faults", 23)
@pytest.mark.parametrize("trouble", ["nobody there", "301"])
async def test_while_the_first_host_is_down_the_other_one_takes_the_messages_for_five_minutes(trouble: str) -> None:
    now = 1000.0
    async with gateway() as first, gateway() as second:
        made = LinkProvider(
            settings_for(first.url).model_copy(update={"failover_url": second.url}),
            ManualClock(NOW),
            monotonic=lambda: now,
        )
        first.next(1, trouble) if trouble.isdigit() else await first.stop()
        results = [(await made.send([sms()]))[0] for _ in range(3)]
        assert [type(result) for result in results] == [Accepted] * 3
        assert len(second.submitted) == 3
        assert len(first.documents) == (1 if trouble.isdigit() else 0)
        now += 301
        await made.send([sms()])
        assert len(first.submitted) == (1 if trouble.isdigit() else 0)
        assert len(second.submitted) == (3 if trouble.isdigit() else 4)
        await made.close()


async def test_what_the_first_host_may_have_taken_is_not_given_to_the_other() -> None:
    async with gateway() as first, gateway() as second:
        made = LinkProvider(settings_for(first.url).model_copy(update={"failover_url": second.url}), ManualClock(NOW))
        for script, kind in (
            ("302", Unknown),
            ("310", Unknown),
            ("203", Unknown),
            ("303", Deferred),
            ("307", Deferred),
        ):
            first.next(1, script)
            (result,) = await made.send([sms()])
            assert type(result) is kind
        assert not second.documents
        await made.close()


async def test_where_both_hosts_are_down_the_provider_is_to_blame() -> None:
    made = LinkProvider(
        settings_for("http://127.0.0.1:1/").model_copy(update={"failover_url": "http://127.0.0.1:2/"}), ManualClock(NOW)
    )
    assert await made.send([sms()]) == [deferred("no connection to the gateway")]
    await made.close()
    with pytest.raises(ValueError, match="https"):
        LinkProvider(
            settings_for("https://x.example/").model_copy(update={"failover_url": "http://y.example/"}),
            ManualClock(NOW),
        )
