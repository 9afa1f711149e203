"""Emails with attachments, from the order to the mail server: real files, real mail, whatever the store does.

Processing 10.2 and F39; channels 2.2.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from conformance.acs import AcsBench
from road import UNKNOWN_WAIT, Road, until
from serving import serving
from varsel.api.server import Timeouts
from varsel.clock import ManualClock
from varsel.db import Database, fetch
from varsel.delivery import suppression_store
from varsel.delivery.choice import Routing
from varsel.delivery.composed import Composing
from varsel.delivery.guard import Guard
from varsel.delivery.outcome import Rules
from varsel.delivery.pool import Pool
from varsel.delivery.ports import Email, EmailProvider, Verdict
from varsel.delivery.suppression import Ground
from varsel.domain.attachments import FileStores
from varsel.domain.ids import ChainId, OrderId, WorkerId, uuid7
from varsel.domain.notification import Channel
from varsel.domain.order import Attachment, Chain, OrderFamily, OrderKind, Recipient
from varsel.heartbeat import beat
from varsel.orders.register import Register, Registered
from varsel.providers.attachments import HttpAttachments
from varsel.providers.smtp import SmtpProvider
from varsel.resolution.ports import Verdict as Condition
from varsel.settings import BounceSettings, Settings, SmtpProviderSettings
from varsel.simulators.blobs import BlobStore, content_of
from varsel.simulators.smtp import SmtpSimulator

DEFAULTS = Settings()
IMPATIENT = Timeouts(shutdown=timedelta())
SECRET = "sig=c2VjcmV0"
LAPSED = timedelta(minutes=1)
BINARY = bytes(range(256)) * 400 + b"\r\n.\r\n..\r\nFrom \n\r\n"


@dataclass
class Post:
    """A store, a mail server, and a worker that carries files from the one to the other."""

    road: Road
    blobs: BlobStore
    store: str  # its address
    server: SmtpSimulator
    worker: WorkerId
    composing: Composing
    register: Register

    async def order(self, *paths: str, to: str = "kari@example.com", creator: str = "ttd", **changes: Any) -> OrderId:
        """Order an email with the files that lie at these paths of the store."""
        attachments = tuple(
            Attachment(f"fil {n}.pdf", "application/pdf", f"{self.store}{path}{'&' if '?' in path else '?'}{SECRET}")
            for n, path in enumerate(paths)
        )
        chain = Chain(ChainId(uuid7()), creator, str(uuid7()), OrderFamily.COMPOSED, b"")
        values: dict[str, Any] = {
            "creator": creator,
            "kind": OrderKind.COMPOSED,
            "chain": chain.id,
            "recipients": (Recipient(email=to),),
            "attachments": attachments,
            "sms": None,
        }
        order = self.road.order(**(values | changes))
        assert isinstance(await self.register.register_chain(chain, [order]), Registered)
        return order.id

    async def work(self) -> None:
        """Everything that is due now."""
        await self.road.run()
        while await self.composing.send_due():
            await until(lambda: self.composing.idle)
        await self.road.run()

    async def pass_time(self, by: timedelta) -> None:
        self.road.clock.advance(by)
        await self.work()

    @property
    def mails(self) -> list[EmailMessage]:
        return [message_from_bytes(stored.content, policy=policy.default) for stored in self.server.stored]


@asynccontextmanager
async def post_office(
    database: Database,
    clock: ManualClock,
    *,
    max_bytes: int = 20_000_000,
    max_attempts: int = 60,
    size: int = 10_000_000,
    settings: Settings = DEFAULTS,
    beside: Sequence[EmailProvider] = (),
) -> AsyncIterator[Post]:
    road = Road(database, clock, guard=Guard.configured(settings))
    blobs = BlobStore()
    async with serving(blobs.app, IMPATIENT) as port, SmtpSimulator(max_bytes=size) as simulator:
        account = SmtpProviderSettings(name="mail", host="127.0.0.1", port=simulator.port, tls="none")
        provider = SmtpProvider(account, BounceSettings(), clock)
        files = HttpAttachments(
            FileStores(loopback_http=True),
            parallel=5,
            timeout=timedelta(seconds=20),
            max_bytes=max_bytes,
            private_hosts=True,
        )
        others = [(other, Routing()) for other in beside]
        pool = Pool[Email](database, Channel.EMAIL, [(provider, Routing(weight=0 if others else 50)), *others])
        worker = await beat.begin(database, kind="worker", lease=timedelta(seconds=30))
        rules = Rules(timedelta(hours=6), UNKNOWN_WAIT, max_attempts, road.window, gate=road.guard.gate)
        composing = Composing(database, pool, files, road.email, clock, road.waker, rules, worker, at_once=5)
        register = Register(database, road.directory, clock, road.waker)
        try:
            yield Post(road, blobs, f"http://127.0.0.1:{port}", simulator, worker, composing, register)
            await composing.stop(timedelta(seconds=5))
            assert await road.wrong_counters() == 0
        finally:
            for part in (register, files, provider, road.waker):
                await part.close()


@pytest.fixture
async def post(database: Database, clock: ManualClock) -> AsyncIterator[Post]:
    async with post_office(database, clock) as office:
        yield office


async def sizes(road: Road) -> list[int | None]:
    async with road.db.reading() as conn:
        return await fetch(conn, "SELECT attachment_bytes FROM notification ORDER BY id", {}, lambda size: size)


async def put(url: str, content: bytes) -> None:
    async with aiohttp.ClientSession() as session, session.put(url, data=BytesIO(content)) as response:
        assert response.status == 201


async def test_files_arrive_as_they_lie_in_the_store(post: Post) -> None:
    await put(f"{post.store}/ok/vedtak.pdf", BINARY)
    order = await post.order("/ok/vedtak.pdf", "/ok/%C3%A5.pdf")
    await post.work()
    [mail] = post.mails
    body, *files = mail.iter_parts()
    assert mail.get_content_type() == "multipart/mixed"
    assert body.get_content() == "Body\r\n"
    assert [file.get_payload(decode=True) for file in files] == [BINARY, content_of("å.pdf")]
    assert [file.get_filename() for file in files] == ["fil 0.pdf", "fil 1.pdf"]
    assert await post.road.outcomes(order) == [("email", "accepted")]
    assert await sizes(post.road) == [len(BINARY) + len(content_of("å.pdf"))]


@pytest.mark.assertion("processing", 89)
async def test_an_email_without_files_goes_the_ordinary_way(post: Post) -> None:
    await post.order()
    await post.work()
    assert len(post.road.mail.sent) == 1
    assert not post.mails


@pytest.mark.assertion("channels", 97)
async def test_for_a_suppressed_address_not_even_files_are_fetched(database: Database, clock: ManualClock) -> None:
    keyed = Settings.model_validate({"suppression": {"key": "a key of this test"}})
    async with post_office(database, clock, settings=keyed) as post:
        key = post.road.guard.key
        assert key
        now = clock.now()
        entry = key.entry(
            Ground.MANUAL, Channel.EMAIL, "kari@example.com", creator=None, provider=None, source="a test", now=now
        )
        assert entry
        async with database.transaction() as conn:
            await suppression_store.add(conn, [entry], now=now)
        order = await post.order("/ok/a.pdf")
        await post.work()
        assert await post.road.outcomes(order) == [("email", "Failed_SupressedRecipient")]
        assert not post.blobs.requests
        assert not post.mails


@pytest.mark.assertion("processing", 133)
async def test_a_file_that_may_not_be_had_ends_the_order_without_another_try(post: Post) -> None:
    order = await post.order("/ok/a.pdf", "/status/403/b.pdf")
    await post.work()
    assert await post.road.outcomes(order) == [("email", "Failed_InvalidSasUrl")]
    assert await post.road.state(order) == "Completed"
    [entry] = await post.road.feed()
    assert (entry["shipmentType"], entry["recipients"][0]["status"]) == ("Composed", "Email_Failed_InvalidSasUrl")
    await post.pass_time(timedelta(hours=1))
    assert sum("/status/" in path for path in post.blobs.requests) == 1
    assert not post.mails


@pytest.mark.assertion("processing", 133)
async def test_a_trial_whose_file_cannot_be_had_leaves_room_for_another(post: Post) -> None:
    await post.order("/ok/a.pdf")
    await post.work()
    async with post.road.db.autocommit() as conn:  # a breaker rests in machine time, which tests do not move
        await conn.execute("UPDATE provider SET breaker_until = statement_timestamp() - interval '1 s'")
    post.composing._pool.look_again()
    await post.order("/status/403/b.pdf")
    await post.work()
    assert await post.road.value("SELECT trial_until FROM provider WHERE name = 'mail'") is None
    await post.order("/ok/c.pdf")
    await post.work()
    assert len(post.mails) == 2


async def test_a_store_that_stumbles_once_delays_the_email_by_seconds(post: Post) -> None:
    order = await post.order("/once/503/a.pdf")
    await post.work()
    assert await post.road.outcomes(order) == [("email", "new")]
    await post.pass_time(timedelta(seconds=1.3))
    assert await post.road.outcomes(order) == [("email", "accepted")]
    assert len(post.mails) == 1


@pytest.mark.assertion("channels-faults", 38)
async def test_a_store_that_stumbles_twice_delays_the_email_and_its_address_is_in_no_log(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    order = await post.order("/once/503/a.pdf")
    await post.work()
    post.blobs._seen.clear()  # it stumbles once more
    await post.pass_time(timedelta(seconds=1.3))
    assert await post.road.outcomes(order) == [("email", "new")]
    await post.pass_time(timedelta(seconds=6.5))
    assert await post.road.outcomes(order) == [("email", "accepted")]
    assert (len(post.mails), len(post.blobs.requests)) == (1, 3)
    assert not [r for r in caplog.records if not r.name.startswith("uvicorn") and SECRET in str(vars(r))]


@pytest.mark.assertion("processing", 136)
async def test_tries_that_are_used_up_end_in_failure_and_complete_the_order(
    database: Database, clock: ManualClock
) -> None:
    async with post_office(database, clock, max_attempts=8) as post:
        order = await post.order("/status/503/a.pdf")
        await post.work()
        waits = [1, 5, 10, 60, 120, 120, 300]
        for tries, wait in enumerate(waits, start=1):
            assert len(post.blobs.requests) == tries
            await post.pass_time(timedelta(seconds=wait * 0.79))
            assert len(post.blobs.requests) == tries
            await post.pass_time(timedelta(seconds=wait * 0.42))
        assert len(post.blobs.requests) == 8
        assert await post.road.outcomes(order) == [("email", "Failed")]
        assert await post.road.state(order) == "Completed"


@pytest.mark.assertion("processing", 136)
async def test_an_address_that_lapses_between_tries_ends_in_its_own_failure(post: Post) -> None:
    lapses = f"{post.road.clock.now() + timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}"
    order = await post.order(f"/status/503/a.pdf?se={lapses}")
    await post.work()
    for _ in range(12):
        await post.pass_time(timedelta(minutes=2.5))
    assert await post.road.outcomes(order) == [("email", "Failed_InvalidSasUrl")]
    assert await post.road.state(order) == "Completed"


async def test_a_store_that_never_comes_back_lets_the_email_expire(post: Post) -> None:
    order = await post.order("/status/503/a.pdf")
    await post.work()
    await post.pass_time(timedelta(hours=49))
    assert await post.road.outcomes(order) == [("email", "expired")]
    assert await post.road.state(order) == "Completed"


async def test_more_than_may_be_attached_is_too_large(database: Database, clock: ManualClock) -> None:
    async with post_office(database, clock, max_bytes=2_000) as post:
        order = await post.order("/ok/a.pdf", "/ok/b.pdf")
        await post.work()
        assert await post.road.outcomes(order) == [("email", "Failed_PayloadTooLarge")]
        assert not post.mails


@pytest.mark.assertion("processing", 134)
@pytest.mark.parametrize("told", ["before", "after"])
async def test_what_the_mail_server_finds_too_large_fails_with_its_size(
    database: Database, clock: ManualClock, told: str
) -> None:
    limit = {"before": 100_000, "after": 10_000_000}[told]  # what the server says that it takes
    async with post_office(database, clock, size=limit) as post:
        to = {"before": "kari@example.com", "after": "toolarge@mottaker.example"}[told]
        await put(f"{post.store}/ok/a.pdf", BINARY)
        order = await post.order("/ok/a.pdf", to=to)
        await post.work()
        assert await post.road.outcomes(order) == [("email", "Failed_PayloadTooLarge")]
        assert await sizes(post.road) == [len(BINARY)]
        assert not post.mails


LARGE = b"%PDF" + bytes(8_000_000)  # in base64 it is over the 10 MiB that Azure takes


@pytest.mark.parametrize(("size", "outcome"), [(20_000_000, "accepted"), (9_000_000, "Failed_PayloadTooLarge")])
async def test_what_is_too_large_for_one_provider_goes_by_another_and_fails_when_it_is_for_all(
    database: Database, clock: ManualClock, size: int, outcome: str
) -> None:
    bench = AcsBench()
    async with bench.simulator() as azure, bench.provider(azure.port) as acs:
        async with post_office(database, clock, size=size, beside=[acs]) as post:
            await put(f"{post.store}/ok/stor.pdf", LARGE)
            await post.order("/ok/stor.pdf")
            await post.work()
            await post.pass_time(timedelta(minutes=5))
            assert [state for _, state in await post.road.outcomes()] == [outcome]
            assert len(post.server.stored) == (outcome == "accepted")
            tried = await post.road.value("SELECT array_agg(provider ORDER BY ended_at) FROM attempt")
            assert tried[0] == "bench"  # which was asked first
        assert not azure.taken()


@pytest.mark.assertion("processing", 135)
async def test_a_report_changes_nothing_of_the_size(post: Post) -> None:
    order = await post.order("/ok/a.pdf")
    await post.work()
    before = await sizes(post.road)
    [row] = await post.road.rows(order)
    await post.road.report(row.id, Verdict.DELIVERED)
    await post.work()
    assert await post.road.outcomes(order) == [("email", "delivered")]
    assert await sizes(post.road) == before == [len(content_of("a.pdf"))]


async def test_a_slow_store_holds_up_neither_other_files_nor_other_emails(post: Post) -> None:
    await post.order("/slow/a.pdf", to="slow@elsewhere.invalid")
    await post.order("/ok/b.pdf", to="quick@elsewhere.invalid")
    await post.road.place(recipients=(Recipient(email="ordinary@example.com"),))
    await post.road.run()
    assert [mail.to for mail in post.road.mail.sent] == ["ordinary@example.com"]
    while await post.composing.send_due():
        pass
    await until(lambda: len(post.server.stored) == 1)
    assert post.server.stored[0].recipient == "quick@elsewhere.invalid"
    assert not post.composing.idle


async def test_at_most_so_many_are_under_way_at_once(post: Post) -> None:
    for number in range(8):
        await post.order("/slow/a.pdf", to=f"{number}@elsewhere.invalid")
    await post.road.run()
    for _ in range(5):
        assert await post.composing.send_due() == 1
    waiting = asyncio.ensure_future(post.composing.send_due())
    await until(lambda: len(post.blobs.requests) == 5)
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    await post.composing.stop(timedelta(seconds=5))
    assert await waiting == 0


async def test_creators_take_turns(post: Post) -> None:
    for creator in ("ttd", "ttd", "ttd", "xyz", "abc"):
        await post.order(f"/slow/{creator}.pdf", creator=creator)
    await post.road.run()
    for _ in range(3):
        await post.composing.send_due()
    await until(lambda: len(post.blobs.requests) == 3)
    assert {path.partition(".")[0] for path in post.blobs.requests} == {"/slow/ttd", "/slow/xyz", "/slow/abc"}


async def test_a_worker_that_dies_while_it_fetches_leaves_the_email_free(post: Post) -> None:
    order = await post.order("/slow/a.pdf")
    await post.road.run()
    await post.composing.send_due()
    await until(lambda: len(post.blobs.requests) == 1)
    await post.composing.stop(timedelta())
    assert await post.road.outcomes(order) == [("email", "claimed")]
    await post.road.sweeper(shift=LAPSED).release_lapsed()
    [row] = await post.road.rows(order)
    assert (row.state, row.attempts) == ("new", 0)


async def test_a_worker_that_dies_while_it_sends_leaves_the_email_unknown(post: Post) -> None:
    order = await post.order("/ok/a.pdf", to="hang@mottaker.example")
    await post.road.run()
    await post.composing.send_due()
    await until(lambda: len(post.server.stored) == 1)
    await post.composing.stop(timedelta())
    await post.road.sweeper(shift=LAPSED).release_lapsed()
    assert await post.road.outcomes(order) == [("email", "unknown")]


async def test_a_gentle_stop_does_not_wait_for_a_store(post: Post) -> None:
    await post.order("/slow/a.pdf")
    await post.road.run()
    await post.composing.send_due()
    await until(lambda: len(post.blobs.requests) == 1)
    async with asyncio.timeout(2):
        await post.composing.stop(timedelta(seconds=60))


async def test_a_mail_server_out_of_reach_lets_files_be_fetched_again(post: Post) -> None:
    order = await post.order("/ok/a.pdf")
    await post.server.stop()
    await post.work()
    assert await post.road.outcomes(order) == [("email", "new")]
    await post.server.start()
    await post.pass_time(timedelta(minutes=5))
    assert await post.road.outcomes(order) == [("email", "accepted")]
    assert len(post.blobs.requests) == 2


async def test_a_condition_that_is_not_met_fetches_nothing(post: Post) -> None:
    post.road.conditions.answers = [Condition.NOT_MET]
    order = await post.order("/ok/a.pdf", condition_endpoint="http://localhost/x")
    await post.work()
    assert await post.road.state(order) == "SendConditionNotMet"
    assert not post.blobs.requests


@pytest.mark.parametrize("path", ["/ok/a.pdf", "/status/403/a.pdf"])
@pytest.mark.assertion("processing", 137)
@pytest.mark.assertion("channels-faults", 38)
async def test_addresses_are_never_logged_and_are_forgotten_when_all_is_over(
    post: Post, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    order = await post.order(path, path)
    other = await post.order("/ok/later.pdf", requested_send_time=post.road.clock.now() + timedelta(days=3))
    await post.work()
    sweeper = post.road.sweeper()
    if path == "/ok/a.pdf":
        assert await sweeper.forget_addresses() == 0  # it may have to be sent again
        [row] = await post.road.rows(order)
        await post.road.report(row.id, Verdict.DELIVERED)
        await post.work()
    assert await sweeper.forget_addresses() == 1
    assert await sweeper.forget_addresses() == 0
    left = "SELECT attachments::text FROM order_content WHERE order_id = %(order)s"
    kept = await post.road.value(left, order=order)
    assert "fil 0.pdf" in kept
    assert "fil 1.pdf" in kept
    assert SECRET not in kept
    assert SECRET in await post.road.value(left, order=other)
    ours = [str(vars(r)) for r in caplog.records if not r.name.startswith("uvicorn")]  # of the store
    assert not [text for text in ours if SECRET in text or post.store in text]
    everything = """SELECT string_agg(t, '') FROM (SELECT n::text FROM notification n
                                                   UNION ALL SELECT a::text FROM attempt a) AS t (t)"""
    assert SECRET not in await post.road.value(everything)
