"""The route that every type of provider shares for its reports (channels 5.1, assertion 108, faults F25-F27)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

import aiohttp
import pytest
from starlette.applications import Starlette

from serving import serving
from varsel.api.frame import Frame
from varsel.api.provider_reports import Instance, provider_report_routes
from varsel.api.report_intake import Limits
from varsel.api.reports import report_routes
from varsel.delivery.ports import Report, Verdict
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Channel
from varsel.providers.kind import ReportAnswer, ReportRequest

BASE = "https://varsel.example"
PATH = "/notifications/sms/api/v1/reports/echo/Gate.Way"
LIMIT = 1000

Stream = AsyncIterator[bytes]


@dataclass
class Echo:
    """A type of provider whose secret is `right` and whose reports are lines of text."""

    max_bytes: int = LIMIT
    requests: list[ReportRequest] = field(default_factory=list)

    async def read(self, request: ReportRequest) -> ReportAnswer:
        self.requests.append(request)
        if request.headers.get("x-secret") != "right":
            return ReportAnswer(401, body=b"Wrong secret.", headers={"WWW-Authenticate": "Secret"})
        reports = [
            Report("Gate.Way", line, Channel.SMS, Verdict.DELIVERED, line) for line in request.body.decode().split()
        ]
        return ReportAnswer(200, reports, b"<ok/>", "application/xml", {"X-Taken": str(len(reports))})


@dataclass
class Inbox:
    """`gate`: storing waits for it. `failures`: how many times it is out of order first."""

    stored: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def store(self, reports: Sequence[Report]) -> None:
        self.called.set()
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database", retry_after=timedelta(seconds=7))
        self.stored += [report.event_key for report in reports]


@dataclass
class Ticks:
    now: float = 0.0


@dataclass
class Site:
    origin: str
    inbox: Inbox
    reader: Echo
    session: aiohttp.ClientSession
    clock: Ticks

    async def send(
        self,
        path: str = PATH,
        body: bytes | Stream = b"a b",
        *,
        method: str = "POST",
        wrong: bool = False,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes, dict[str, str]]:
        headers = {"X-Secret": "wrong" if wrong else "right", **headers}
        async with self.session.request(method, self.origin + path, data=body, headers=headers) as response:
            return response.status, await response.read(), {k.lower(): v for k, v in response.headers.items()}

    async def statuses(self, count: int, *, wrong: bool = False) -> list[int]:
        return [(await self.send(wrong=wrong))[0] for _ in range(count)]


@asynccontextmanager
async def site(*, per_second: int = 10_000, failures: int = 0) -> AsyncIterator[Site]:
    inbox, reader = Inbox(failures=failures), Echo()
    instances = {("sms", "echo", "gate.way"): Instance("Gate.Way", reader)}
    clock = Ticks()
    limits = Limits(per_second, lambda: clock.now)
    routes = [
        *report_routes((), inbox.store, limits),
        *provider_report_routes(instances, inbox.store, limits, BASE + "/"),
    ]
    async with serving(Frame(Starlette(routes=routes))) as port, aiohttp.ClientSession() as session:
        yield Site(f"http://127.0.0.1:{port}", inbox, reader, session, clock)


async def test_an_instance_reads_its_reports_and_its_answer_is_given_once_they_are_stored() -> None:
    async with site() as here:
        here.inbox.gate.clear()
        answering = asyncio.create_task(here.send())
        await here.inbox.called.wait()
        assert not answering.done()
        here.inbox.gate.set()
        status, body, headers = await answering
    assert (status, body, headers["content-type"], headers["x-taken"]) == (200, b"<ok/>", "application/xml", "2")
    assert here.inbox.stored == ["a", "b"]


async def test_a_reader_gets_the_address_as_its_caller_wrote_it() -> None:
    async with site() as here:
        await here.send("/Notifications/SMS/api/v1/Reports/Echo/Gate.Way/Part/2?Token=A%20b&c=%C3%A6", method="OPTIONS")
    (request,) = here.reader.requests
    expected = f"{BASE}/Notifications/SMS/api/v1/Reports/Echo/Gate.Way/Part/2?Token=A%20b&c=%C3%A6"
    assert (request.method, request.url, request.rest) == ("OPTIONS", expected, "part/2")
    assert dict(request.query) == {"Token": "A b", "c": "æ"}
    assert (request.headers["x-secret"], request.peer, request.body) == ("right", "127.0.0.1", b"a b")


@pytest.mark.parametrize(
    "path",
    [
        "/notifications/sms/api/v1/reports/echo/other",
        "/notifications/email/api/v1/reports/echo/Gate.Way",
        "/notifications/sms/api/v1/reports/link/Gate.Way",
        "/notifications/sms/api/v1/reports/echo/other/rest",
    ],
)
async def test_an_instance_that_is_not_there_is_404(path: str) -> None:
    async with site() as here:
        assert (await here.send(path))[0] == 404
    assert not here.reader.requests


@pytest.mark.assertion("channels", 108)
async def test_a_body_over_the_limit_of_its_type_is_never_read_to_its_end() -> None:
    offered = 0

    async def chunks() -> Stream:
        nonlocal offered
        for _ in range(64):
            offered += 1
            yield b" " * 1024 * 1024

    async with site() as here:
        assert (await here.send(body=b"a".ljust(LIMIT)))[0] == 200
        assert (await here.send(body=b"a".ljust(LIMIT + 1)))[0] == 413
        try:
            status = (await here.send(body=chunks()))[0]
        except aiohttp.ClientOSError:  # we hung up before the client had read our answer
            status = 413
    assert status == 413
    assert offered < 64
    assert len(here.reader.requests) == 1


async def test_a_compressed_body_is_not_taken() -> None:
    async with site() as here:
        assert (await here.send(headers={"Content-Encoding": "gzip"}))[0] == 415
    assert not here.reader.requests


@pytest.mark.assertion("channels-faults", 27)
async def test_while_the_database_is_away_a_report_is_answered_503_and_comes_again() -> None:
    async with site(failures=1) as here:
        status, _, headers = await here.send()
        assert (status, headers["retry-after"]) == (503, "7")
        assert not here.inbox.stored
        assert (await here.send())[0] == 200
    assert here.inbox.stored == ["a", "b"]


@pytest.mark.assertion("channels-faults", 26)
async def test_after_ten_failed_logins_a_minute_a_peer_is_told_429_and_genuine_reports_still_pass() -> None:
    async with site() as here:
        assert await here.statuses(10, wrong=True) == [401] * 10
        status, _, headers = await here.send(wrong=True)
        assert status == 429
        assert 1 <= int(headers["retry-after"]) <= 60
        assert (await here.send())[0] == 200
    assert here.inbox.stored == ["a", "b"]


async def test_more_reports_a_second_than_an_instance_may_send_are_told_429_until_the_second_is_over() -> None:
    async with site(per_second=2) as here:
        assert await here.statuses(3) == [200, 200, 429]
        assert (await here.send())[2]["retry-after"] == "1"
        here.clock.now = 1.0
        assert await here.statuses(3) == [200, 200, 429]
    assert here.inbox.stored == ["a", "b"] * 4


async def test_failed_logins_do_not_use_up_what_an_instance_may_send() -> None:
    async with site(per_second=1) as here:
        await here.statuses(20, wrong=True)
        assert (await here.send())[0] == 200
