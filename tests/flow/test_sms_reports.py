"""A report's road: our provider, the gateway's simulator, its call to our route, the stored reports (channels 5.1, 5.2,
8.3 and assertions 79, 80, 82-85, 108; http-api 21.1)."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from varsel.api.reports import MAX_BODY_BYTES, PATH, report_routes
from varsel.clock import ManualClock
from varsel.delivery.ports import Accepted, Report, SendResult, Sms, Verdict
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Reason
from varsel.providers.link import LinkProvider
from varsel.settings import LinkProviderSettings
from varsel.simulators.link import LinkSimulator

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
REPORT = (
    b'<?xml version="1.0"?><MSGLST><MSG><ID>1</ID><REF>984342374</REF><RCV>4790000000</RCV><STATE>DELIVRD</STATE>'
    b"<DELIVERYTIME>2026.08.20 13:05:12</DELIVERYTIME></MSG></MSGLST>"
)
PASSWORD = "new:word"
OK = b'<?xml version="1.0"?><MSGLST><MSG><ID>1</ID><STATUS>OK</STATUS></MSG></MSGLST>'


def link_settings(
    name: str = "link-main", report_password: str = PASSWORD, url: str = "https://x.example/"
) -> LinkProviderSettings:
    return LinkProviderSettings(
        name=name,
        url=url,
        username="varsel",
        password=SecretStr("secret"),
        report_username="gateway",
        report_password=SecretStr(report_password),
        previous_report_password=SecretStr("old word"),
        timeout=timedelta(seconds=10),
    )


@dataclass
class Inbox:
    """What the route stored. `failures`: how many times it is out of order first. `gate`: storing waits for it."""

    reports: list[Report] = field(default_factory=list)
    failures: int = 0
    gate: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def store(self, reports: Sequence[Report]) -> None:
        self.called.set()
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database", retry_after=timedelta(seconds=7))
        if self.gate is not None:
            await self.gate.wait()
        self.reports.extend(reports)

    def states(self, reference: str | None) -> list[str]:
        return [report.raw_state for report in self.reports if report.reference == reference]


@asynccontextmanager
async def serving(inbox: Inbox, *providers: LinkProviderSettings) -> AsyncIterator[str]:
    """Our API with these routes alone; yields the address of the reports."""
    app = Starlette(routes=report_routes(providers or [link_settings()], inbox.store))
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await server.startup([listening])  # not `serve`, which looks every 0.1 s whether to stop
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
        finally:
            server.force_exit = True
            await server.shutdown([listening])


@dataclass
class Road:
    """Everything from the provider to the inbox."""

    inbox: Inbox
    simulator: LinkSimulator
    provider: LinkProvider

    async def send(self, *scripts: str) -> list[str | None]:
        """Send one message for each script; returns the references."""
        results: list[SendResult] = await self.provider.send([message(script) for script in scripts])
        assert all(isinstance(result, Accepted) for result in results)
        return [result.reference for result in results if isinstance(result, Accepted)]


def message(script: str) -> Sms:
    expires = NOW + timedelta(days=2)
    return Sms(NotificationId(uuid7()), OrderId(uuid7()), "ttd", "Altinn", f"+4799999{script}", "Hei", expires)


@asynccontextmanager
async def road(failures: int = 0) -> AsyncIterator[Road]:
    inbox = Inbox(failures=failures)
    async with (
        serving(inbox) as reports,
        LinkSimulator({"varsel": "secret"}, reports, ("gateway", PASSWORD), time_factor=0.001) as simulator,
    ):
        provider = LinkProvider(link_settings(url=simulator.url), ManualClock(NOW))
        try:
            yield Road(inbox, simulator, provider)
        finally:
            await provider.close()


STATES = {
    "500": ("DELIVRD", Verdict.DELIVERED, None),
    "101": ("EXPIRED", Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER),
    "102": ("DELETED", Verdict.FAILED, Reason.DELETED),
    "103": ("UNDELIV", Verdict.FAILED, Reason.UNDELIVERED),
    "104": ("REJECTD", Verdict.FAILED, Reason.REJECTED),
    "105": ("FAILED", Verdict.FAILED, Reason.UNSPECIFIED),
    "106": ("NULL", Verdict.FAILED, Reason.UNSPECIFIED),
    "107": ("UNKNOWN", Verdict.FAILED, Reason.UNSPECIFIED),
    "108": ("BARRED", Verdict.FAILED, Reason.BARRED_RECEIVER),
    "109": ("BARREDA", Verdict.FAILED, Reason.REJECTED),
    "110": ("ZEROBAL", Verdict.FAILED, Reason.UNSPECIFIED),
    "111": ("INVENTD", Verdict.UNRECOGNISED, None),
    "416": ("1", Verdict.UNRECOGNISED, None),
}


@pytest.mark.assertion("channels", 79)
async def test_each_state_of_the_gateway_is_stored_with_its_meaning_and_acknowledged_at_once() -> None:
    async with road() as way:
        references = await way.send(*STATES)
        await way.simulator.idle()
    stored = {r.reference: (r.raw_state, r.verdict, r.reason) for r in way.inbox.reports}
    assert stored == dict(zip(references, STATES.values(), strict=True))
    assert all((sent.attempt, sent.status, sent.acknowledged) == (1, 200, True) for sent in way.simulator.reports)


@pytest.mark.assertion("channels", 83)
async def test_a_report_that_overtakes_the_answer_is_stored_before_it() -> None:
    async with road() as way:
        (reference,) = await way.send("401")
        assert way.inbox.states(reference) == ["DELIVRD"]


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ("402", ["DELIVRD"]),
        ("403", []),
        ("404", ["DELIVRD", "DELIVRD"]),
        ("405", ["UNDELIV", "DELIVRD"]),
        ("406", ["NULL", "DELIVRD"]),
        ("408", ["DELIVRD"]),
        ("410", ["DELIVRD"]),
    ],
)
async def test_each_habit_of_the_gateway_ends_in_its_reports(script: str, states: list[str]) -> None:
    async with road() as way:
        (reference,) = await way.send(script)
        await way.simulator.idle()
    assert way.inbox.states(reference) == states


async def test_a_report_of_a_message_nobody_knows_is_stored_all_the_same() -> None:
    async with road() as way:
        (reference,) = await way.send("408")
        await way.simulator.idle()
    first, second = way.inbox.reports
    assert first.reference != reference == second.reference


async def test_the_same_report_twice_is_one_event() -> None:
    async with road() as way:
        await way.send("404")
        await way.simulator.idle()
    first, second = way.inbox.reports
    assert first.event_key == second.event_key


@pytest.mark.assertion("channels", 80)
async def test_three_messages_in_one_report_are_all_stored_and_all_acknowledged() -> None:
    async with road() as way:
        references = await way.send("407", "407", "407")
        await way.simulator.idle()
    (sent,) = way.simulator.reports
    assert [report.reference for report in way.inbox.reports] == references
    assert (sent.references, sent.acknowledged) == (tuple(references), True)


@pytest.mark.parametrize("script", ["409", "411", "412", "414"])
@pytest.mark.assertion("channels-faults", 25)
async def test_a_report_that_cannot_be_read_is_refused_and_kept_for_an_operator(script: str) -> None:
    async with road() as way:
        await way.send(script)
        await way.simulator.idle()
    assert [(sent.attempt, sent.status) for sent in way.simulator.reports] == [(n, 400) for n in range(1, 5)]
    assert {(r.verdict, r.reference) for r in way.inbox.reports} == {(Verdict.UNRECOGNISED, None)}
    assert all(report.detail.startswith("malformed: ") for report in way.inbox.reports)


@pytest.mark.assertion("channels-faults", 25)
async def test_a_report_of_five_mebibytes_is_not_stored() -> None:
    async with road() as way:
        await way.send("413")
        await way.simulator.idle()
    assert not way.inbox.reports
    assert not any(sent.acknowledged for sent in way.simulator.reports)


async def test_a_gateway_with_a_wrong_password_comes_back_with_the_right_one() -> None:
    async with road() as way:
        (reference,) = await way.send("415")
        await way.simulator.idle()
    assert [sent.status for sent in way.simulator.reports] == [401, 200]
    assert way.inbox.states(reference) == ["DELIVRD"]


async def test_a_report_that_could_not_be_stored_is_answered_503_and_comes_again() -> None:
    async with road(failures=2) as way:
        (reference,) = await way.send("500")
        await way.simulator.idle()
    assert [sent.status for sent in way.simulator.reports] == [503, 503, 200]
    assert way.inbox.states(reference) == ["DELIVRD"]


def basic(username: str, password: str, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}


GOOD = {**basic("gateway", PASSWORD), "Content-Type": "application/xml"}


async def post(
    url: str, headers: dict[str, str] = GOOD, body: bytes | AsyncIterator[bytes] = REPORT
) -> tuple[int, bytes, dict[str, str]]:
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        return response.status, await response.read(), {k.lower(): v for k, v in response.headers.items()}


async def test_the_report_of_the_contract_gets_the_answer_of_the_contract() -> None:
    inbox = Inbox()
    async with serving(inbox) as url:
        status, body, headers = await post(url)
    assert (status, body, headers["content-type"]) == (200, OK, "application/xml")
    assert [report.provider for report in inbox.reports] == ["link-main"]


WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": ""},
    {"Authorization": "Basic"},
    {"Authorization": "Basic ?"},
    {"Authorization": "Basic Z2F0ZXdheQ=="},
    basic("gateway", "wrong"),
    basic("other", PASSWORD),
    basic("gateway", ""),
    basic("", ""),
    basic("gateway", PASSWORD, scheme="Bearer"),
]


@pytest.mark.assertion("channels", 84)
async def test_wrong_or_missing_credentials_are_refused_before_the_body_is_read() -> None:
    inbox = Inbox()
    for body in (REPORT, b"no xml"):
        async with serving(inbox) as url:
            for headers in WRONG:
                status, _, answered = await post(url, {**headers, "Content-Type": "application/json"}, body)
                assert status == 401
                assert answered["www-authenticate"].startswith("Basic ")
    assert not inbox.called.is_set()


@pytest.mark.assertion("channels-faults", 26)
async def test_a_flood_of_wrong_passwords_is_told_429_and_genuine_reports_pass() -> None:
    inbox = Inbox()
    async with serving(inbox) as url:
        wrong = [(await post(url, basic("gateway", "wrong")))[0] for _ in range(30)]
        assert (await post(url))[0] == 200
    assert wrong == [401] * 10 + [429] * 20
    assert len(inbox.reports) == 1


@pytest.mark.assertion("channels", 84)
async def test_both_passwords_of_a_change_are_right() -> None:
    async with serving(Inbox()) as url:
        for headers in (basic("gateway", PASSWORD, "bAsIc"), basic("gateway", "old word")):
            assert (await post(url, headers))[:2] == (200, OK)


async def test_the_credentials_say_which_instance_speaks_and_the_path_can_name_it() -> None:
    inbox = Inbox()
    first, second = link_settings("first", "one"), link_settings("second", "two")
    async with serving(inbox, first, second) as url:
        assert (await post(url, basic("gateway", "two")))[0] == 200
        assert (await post(f"{url}/first", basic("gateway", "one")))[0] == 200
        assert (await post(f"{url}/first", basic("gateway", "two")))[0] == 401
        assert (await post(f"{url}/third", basic("gateway", "one")))[0] == 404
        shared = await post(url, basic("gateway", "old word"))
        assert (await post(f"{url}/second", basic("gateway", "old word")))[0] == 200
    assert shared[0] == 404
    assert b"name one in the path" in shared[1]
    assert [report.provider for report in inbox.reports] == ["second", "first", "second"]


CONTENT_TYPES = {
    "application/xml": 200,
    "text/plain; charset=iso-8859-1": 200,
    "Application/XML; charset=UTF-8": 200,
    None: 200,
    "application/json": 415,
    "text/html": 415,
}


async def test_the_content_types_of_the_contract_are_taken_and_no_others() -> None:
    async with serving(Inbox()) as url:
        for content_type, status in CONTENT_TYPES.items():
            headers = basic("gateway", PASSWORD) | ({"Content-Type": content_type} if content_type else {})
            assert (await post(url, headers))[0] == status


async def test_a_compressed_body_is_not_taken() -> None:
    async with serving(Inbox()) as url:
        assert (await post(url, {**GOOD, "Content-Encoding": "gzip"}))[0] == 415


async def test_a_malformed_document_gets_a_reason_in_plain_text() -> None:
    async with serving(Inbox()) as url:
        status, body, headers = await post(url, body=b"<MSGLST><MSG><ID>1</ID></MSG></MSGLST>")
    assert (status, body) == (400, b"Not a delivery report: a MSG needs ID, REF, RCV and STATE.")
    assert headers["content-type"].startswith("text/plain")


async def test_a_body_at_the_limit_is_taken_and_one_beyond_is_not() -> None:
    async with serving(Inbox()) as url:
        assert (await post(url, body=REPORT.ljust(MAX_BODY_BYTES)))[0] == 200
        assert (await post(url, body=REPORT.ljust(MAX_BODY_BYTES + 1)))[0] == 413


@pytest.mark.assertion("channels", 108)
async def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    offered = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal offered
        for _ in range(64):
            offered += 1
            yield b" " * 1024 * 1024

    inbox = Inbox()
    async with serving(inbox) as url:
        try:
            status = (await post(url, body=chunks()))[0]
        except aiohttp.ClientOSError:  # we hung up before the client had read our answer
            status = 413
    assert status == 413
    assert offered < 64
    assert not inbox.called.is_set()


async def test_the_answer_comes_after_the_reports_are_stored() -> None:
    inbox = Inbox(gate=asyncio.Event())
    async with serving(inbox) as url:
        answering = asyncio.create_task(post(url))
        await inbox.called.wait()
        assert not inbox.reports
        assert not answering.done()
        assert inbox.gate is not None
        inbox.gate.set()
        assert (await answering)[0] == 200
    assert len(inbox.reports) == 1


async def test_a_store_that_is_out_of_order_is_said_with_a_time_to_come_back() -> None:
    async with serving(Inbox(failures=1)) as url:
        status, _, headers = await post(url)
    assert (status, headers["retry-after"]) == (503, "7")
