"""A bounce's road: our provider, the simulated mail server, its report by SMTP, our listener, the stored reports
(channels 2.3, 5.1, assertions 39-42, 46-54; design 8 on relayed)."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Self
from uuid import UUID

import aiosmtplib
import pytest
from aiosmtplib import SMTPDataError, SMTPRecipientRefused, SMTPResponseException
from psycopg.rows import scalar_row
from pydantic import SecretStr

from road import Road, Row
from varsel.api.bounces import BounceListener
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Email, Report, SendResult, Unknown, Verdict
from varsel.delivery.report import Inbox
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.providers.smtp import SmtpProvider
from varsel.providers.smtp_session import Limits
from varsel.providers.verp import Verp
from varsel.settings import BounceSettings, SmtpProviderSettings
from varsel.simulators.smtp import SmtpSimulator
from varsel.simulators.smtp_notices import Original, compose
from varsel.simulators.smtp_script import Notice
from varsel.wakeup import Waker

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ORDER = OrderId(UUID("019ab000-0000-7000-8000-0000000000aa"))
BOUNCES = BounceSettings(port=0, domain="bounce.varsel.example", keys=(SecretStr("key"),))
VERP = Verp("bounce.varsel.example", [b"key"])
BOUNCE = "Subject: Undeliverable\r\n\r\nNo delivery: 550 5.1.1 unknown\r\n"


@dataclass
class Reported:
    """What the listener stored. `failures`: how many times it is out of order first. `gate`: storing waits for it."""

    reports: list[Report] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    failures: int = 0
    gate: asyncio.Event | None = None
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def store(self, reports: Sequence[Report]) -> None:
        self.called.set()
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database")
        if self.gate is not None:
            await self.gate.wait()
        self.reports.extend(reports)

    async def count_dropped(self, kind: str) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database")
        self.dropped.append(kind)

    def of(self, message: Email) -> list[tuple[Verdict, Reason | None]]:
        return [(report.verdict, report.reason) for report in self.reports if report.notification == message.id]


@dataclass
class Post:
    provider: SmtpProvider
    server: SmtpSimulator
    listener: BounceListener
    reported: Reported

    async def send(self, *local_parts: str) -> list[tuple[Email, SendResult]]:
        """Send one mail each, and wait until no report is on its way."""
        messages = [email(local_part) for local_part in local_parts]
        results = await self.provider.send(messages)
        await self.server.idle()
        return list(zip(messages, results, strict=True))


def email(local_part: str) -> Email:
    return Email(
        id=NotificationId(uuid7()),
        order=ORDER,
        creator="ttd",
        sender="noreply@etat.example",
        to=f"{local_part}@mottaker.example",
        subject="Ny post",
        body="Hei",
        content_type=ContentType.PLAIN,
        expires_at=NOW + timedelta(days=2),
    )


@asynccontextmanager
async def listening(
    reported: Reported, settings: BounceSettings = BOUNCES, *, relayed_is_delivered: bool = False
) -> AsyncIterator[BounceListener]:
    listener = BounceListener(settings, reported, relayed_is_delivered=relayed_is_delivered)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


@asynccontextmanager
async def office(reported: Reported | None = None, **settings: bool) -> AsyncIterator[Post]:
    reported = reported or Reported()
    async with (
        listening(reported, relayed_is_delivered=settings.get("relayed_is_delivered", False)) as listener,
        SmtpSimulator(dsn_to=("127.0.0.1", listener.port), time_factor=0.001) as server,
    ):
        provider = SmtpProvider(
            SmtpProviderSettings(
                name="smtp-main",
                host="127.0.0.1",
                port=server.port,
                tls="none",
                success_dsn=settings.get("success_dsn", True),
            ),
            BOUNCES,
            ManualClock(NOW),
            limits=Limits(final=0.3),
        )
        yield Post(provider, server, listener, reported)
        await provider.close()


DELIVERED = (Verdict.DELIVERED, None)
BOUNCED = (Verdict.FAILED, Reason.BOUNCED)
DELAYED = (Verdict.DELAYED, None)
COMPLAINT = (Verdict.COMPLAINT, None)

REPORTED: dict[str, list[tuple[Verdict, Reason | None]]] = {
    "ok": [DELIVERED],
    "someone": [DELIVERED],
    "quiet": [],
    "dsn-ok": [DELIVERED],
    "dsn-relayed": [(Verdict.RELAYED, None)],
    "dsn-fail": [BOUNCED],
    "dsn-full": [BOUNCED],
    "dsn-delay": [DELAYED],
    "dsn-expired": [DELAYED, BOUNCED],
    "dsn-late-5": [DELIVERED, BOUNCED],
    "dsn-dup": [DELIVERED, DELIVERED],
    "dsn-early": [DELIVERED],
    "dsn-novrp": [BOUNCED],  # the envelope id still names it
    "dsn-garbage": [(Verdict.UNRECOGNISED, None)],
    "dsn-loose": [BOUNCED],
    "arf": [DELIVERED, COMPLAINT],  # kept, without effect
    "arf-notspam": [DELIVERED, COMPLAINT],
    "ooo": [DELIVERED],
}


@pytest.mark.assertion("channels", 39)
async def test_every_scripted_address_is_reported_as_its_script_says() -> None:
    async with office() as post:
        sent = await post.send(*REPORTED)
        assert all(isinstance(result, Accepted) for _, result in sent)
        found = {script: post.reported.of(message) for script, (message, _) in zip(REPORTED, sent, strict=True)}
        assert found == REPORTED
        assert {notice.reply for notice in post.server.notices} == {250}


async def test_the_same_report_twice_has_one_key_and_no_two_others_share_one() -> None:
    async with office() as post:
        await post.send(*REPORTED)
        keys = [report.event_key for report in post.reported.reports]
        assert len(set(keys)) == len(keys) - 1  # dsn-dup


@pytest.mark.assertion("channels", 52)
async def test_a_report_can_overtake_the_answer_to_its_message() -> None:
    async with office() as post:
        message = email("dsn-early")
        await post.provider.send([message])
        assert post.reported.of(message) == [DELIVERED]  # without waiting for anything more


@pytest.mark.parametrize("local_part", ["hang", "drop"])
@pytest.mark.assertion("channels", 42)
@pytest.mark.assertion("channels-faults", 3)
async def test_a_message_of_unknown_fate_is_settled_by_its_report_and_left_once(local_part: str) -> None:
    async with office() as post:
        [(message, result)] = await post.send(local_part)
        assert isinstance(result, Unknown)
        assert post.reported.of(message) == [DELIVERED]
        assert len(post.server.stored) == 1


async def test_relayed_is_delivered_where_the_setting_says_so() -> None:
    async with office(relayed_is_delivered=True) as post:
        [(message, _)] = await post.send("dsn-relayed")
        assert post.reported.of(message) == [DELIVERED]


async def test_success_is_not_reported_when_it_was_not_asked_for() -> None:
    async with office(success_dsn=False) as post:
        await post.send("ok")
        assert post.reported.reports == []


@pytest.mark.assertion("channels", 53)
async def test_a_report_that_could_not_be_stored_is_kept_by_its_sender_and_taken_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with office(Reported(failures=2)) as post:
        [(message, _)] = await post.send("dsn-fail")
        assert post.reported.of(message) == [BOUNCED]
        assert [notice.reply for notice in post.server.notices] == [250]
    assert [record.levelno for record in caplog.records if record.name == "varsel.api.bounces"] == [logging.ERROR] * 2


@pytest.mark.assertion("channels", 52)
async def test_an_event_is_stored_once_in_the_database(database: Database) -> None:
    waker = Waker(database)
    inbox = Inbox(database, ManualClock(NOW), waker)
    listener = BounceListener(BOUNCES, inbox)
    await listener.start()
    message = email("x")
    for _ in range(3):
        await hand_in(listener.port, VERP.make(message.id), BOUNCE)
    await listener.stop()
    await waker.close()
    async with database.autocommit() as conn:
        cursor = conn.cursor(row_factory=scalar_row)
        await cursor.execute("SELECT notification_id FROM delivery_report")
        assert await cursor.fetchall() == [message.id]


# --- on the road ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def travelled(database: Database) -> AsyncIterator[tuple[Road, Row, BounceListener]]:
    """An email that left and was reported delivered, and the listener of its bounces."""
    road = Road(database, ManualClock(NOW))
    await road.place()
    await road.run()
    [row] = await road.rows()
    await road.report(row.id, Verdict.DELIVERED)
    await road.run()
    listener = BounceListener(BOUNCES, Inbox(database, road.clock, road.waker))
    await listener.start()
    try:
        yield road, row, listener
    finally:
        await listener.stop()
        await road.waker.close()


def notice(return_path: str, *, content: bytes = b"To: kari@example.com\r\n\r\n") -> bytes:
    return compose(Notice("failed", "5.1.1"), return_path, Original(return_path, "kari@example.com", "", content))


async def told(database: Database) -> list[tuple[object, ...]]:
    async with database.autocommit() as conn:
        cursor = await conn.execute(
            "SELECT state, state_reason, suppress, notification_id FROM delivery_report ORDER BY id DESC LIMIT 1"
        )
        return await cursor.fetchall()


@pytest.mark.assertion("channels-faults", 18)
async def test_a_bounce_ten_minutes_after_arrival_corrects_the_outcome(database: Database) -> None:
    async with travelled(database) as (road, row, listener):
        road.clock.advance(timedelta(minutes=10))
        path = VERP.make(NotificationId(row.id))
        await hand_in(listener.port, path, notice(path))
        await road.run()
        [bounced] = await road.rows()
        assert (bounced.state, bounced.reason) == ("failed", Reason.BOUNCED)
        assert await told(database) == [("applied", "correction", "hard_bounce", row.id)]
        async with database.autocommit() as conn:
            cursor = await conn.execute("SELECT body ? 'correction' FROM status_feed ORDER BY seq")
            assert await cursor.fetchall() == [(False,), (True,)]


@pytest.mark.assertion("channels-faults", 36)
async def test_a_bounce_with_a_forged_token_is_a_dead_report_and_moves_nothing(database: Database) -> None:
    async with travelled(database) as (road, row, listener):
        forged = Verp("bounce.varsel.example", [b"stranger"]).make(NotificationId(row.id))
        await hand_in(listener.port, forged, notice(forged))
        await road.run()
        assert [(row.state, row.reason) for row in await road.rows()] == [("delivered", None)]
        assert await told(database) == [("dead", "INVALID_NOTIFICATION_IDENTIFIER", None, None)]


# --- the listener alone ----------------------------------------------------------------------------------------------


class Lines:
    """A sender that speaks line by line, for what no client library says."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert await self._answer() == 220
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def say(self, line: str) -> int:
        self._writer.write(f"{line}\r\n".encode())
        return await self._answer()

    async def _answer(self) -> int:
        while True:
            line = await self._reader.readline()
            if line[3:4] != b"-":
                return int(line[:3])


async def hand_in(port: int, recipient: str, mail: str | bytes, sender: str = "") -> str:
    """Returns the last answer; raises what aiosmtplib makes of a refusal."""
    async with aiosmtplib.SMTP(
        hostname="127.0.0.1", port=port, start_tls=False, local_hostname="relay.example"
    ) as relay:
        await relay.mail(sender)
        await relay.rcpt(recipient)
        return (await relay.data(mail)).message


async def test_only_mail_for_the_bounce_domain_is_taken() -> None:
    async with listening(Reported()) as listener:
        for foreign in ("ola@example.com", f"{VERP.make(email('x').id)}.example", "postmaster@[127.0.0.1]"):
            with pytest.raises(SMTPRecipientRefused) as refused:
                await hand_in(listener.port, foreign, BOUNCE)
            assert refused.value.code == 550
            assert refused.value.message.startswith("5.1.1")


async def test_a_forged_token_names_no_message() -> None:
    reported = Reported()
    forged = Verp("bounce.varsel.example", [b"stranger"]).make(email("x").id)
    async with listening(reported) as listener:
        await hand_in(listener.port, forged, BOUNCE)
    [report] = reported.reports
    assert report.notification is None


async def test_a_token_folded_to_upper_case_still_names_its_message() -> None:
    reported, message = Reported(), email("x")
    async with listening(reported) as listener:
        await hand_in(listener.port, VERP.make(message.id).upper(), BOUNCE)
    assert reported.of(message) == [BOUNCED]


@pytest.mark.assertion("channels", 50)
async def test_a_vacation_reply_is_taken_and_dropped() -> None:
    reported = Reported()
    async with listening(reported) as listener:
        answer = await hand_in(listener.port, VERP.make(email("x").id), "Subject: Fra kontoret\r\n\r\nBortreist")
        assert "dropped" in answer
    assert (reported.reports, reported.dropped) == ([], ["other"])


@pytest.mark.assertion("channels-faults", 37)
async def test_a_bounce_of_a_bounce_is_dropped_and_counted_in_the_database(database: Database) -> None:
    """Nothing is sent: the listener has no way to."""
    waker = Waker(database)
    listener = BounceListener(BOUNCES, Inbox(database, ManualClock(NOW), waker))
    await listener.start()
    address = VERP.make(email("x").id)
    for _ in range(2):
        await hand_in(listener.port, address, BOUNCE, sender=address)
    await listener.stop()
    await waker.close()
    async with database.autocommit() as conn:
        cursor = await conn.execute("SELECT kind, count, last_at FROM dropped_mail")
        assert await cursor.fetchall() == [("loop", 2, NOW)]
        cursor = await conn.execute("SELECT count(*) FROM delivery_report")
        assert await cursor.fetchone() == (0,)


@pytest.mark.assertion("channels", 54)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
async def test_a_transaction_has_one_recipient_and_one_answer(protocol: Literal["smtp", "lmtp"]) -> None:
    reported, messages = Reported(), [email("x"), email("y")]
    settings = BOUNCES.model_copy(update={"protocol": protocol})
    async with listening(reported, settings) as listener, Lines(listener.port) as relay:
        assert await relay.say("LHLO relay.example" if protocol == "lmtp" else "EHLO relay.example") == 250
        for message in messages:
            assert await relay.say("MAIL FROM:<>") == 250
            assert await relay.say(f"RCPT TO:<{VERP.make(message.id)}>") == 250
            assert await relay.say(f"RCPT TO:<{VERP.make(email('z').id)}>") == 452
            assert await relay.say("DATA") == 354
            assert await relay.say(f"{BOUNCE}.") == 250
            assert await relay.say("NOOP") == 250  # the next answer, so there was one to the content
    assert [report.notification for report in reported.reports] == [message.id for message in messages]


async def test_lmtp_is_spoken_by_its_own_greeting_and_keeps_all_refusals() -> None:
    reported, address = Reported(failures=2), VERP.make(email("x").id)
    settings = BOUNCES.model_copy(update={"protocol": "lmtp"})
    async with listening(reported, settings) as listener, Lines(listener.port) as relay:
        assert await relay.say("EHLO relay.example") == 500
        assert await relay.say("LHLO relay.example") == 250
        assert await relay.say("MAIL FROM:<>") == 250
        assert await relay.say("RCPT TO:<ola@example.com>") == 550
        assert await relay.say(f"RCPT TO:<{address}>") == 250
        assert await relay.say("DATA") == 354
        assert await relay.say(BOUNCE + ("x" * 70 + "\r\n") * 16_000 + ".") == 552
        for mail, code in ((BOUNCE, 451), ("Subject: Svar\r\n\r\nBorte\r\n", 451), (BOUNCE, 250)):
            assert await relay.say("RSET") == 250
            assert await relay.say("MAIL FROM:<>") == 250
            assert await relay.say(f"RCPT TO:<{address}>") == 250
            assert await relay.say("DATA") == 354
            assert await relay.say(f"{mail}.") == code
    assert len(reported.reports) == 1


async def test_who_says_nothing_for_too_long_is_left() -> None:
    async with listening(Reported()) as listener:
        listener.idle_timeout = 0.05
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await asyncio.wait_for(reader.read(), 30)  # to its end
        writer.close()


async def test_the_answer_waits_for_the_commit_and_a_sender_that_hangs_up_does_not_undo_it() -> None:
    reported = Reported(gate=asyncio.Event())
    message = email("x")
    async with listening(reported) as listener:
        relay = aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.port, start_tls=False)
        await relay.connect()
        await relay.mail("")
        await relay.rcpt(VERP.make(message.id))
        answering = asyncio.create_task(relay.data(BOUNCE))
        await reported.called.wait()
        assert not answering.done()
        relay.close()
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await answering
        assert reported.gate is not None
        reported.gate.set()
    assert reported.of(message) == [BOUNCED]  # stop() finished it


async def test_mail_over_the_size_is_refused_and_long_lines_are_taken() -> None:
    reported, recipient = Reported(), VERP.make(email("x").id)
    async with listening(reported) as listener:
        await hand_in(listener.port, recipient, BOUNCE + "x" * 60_000 + "\r\n")
        with pytest.raises(SMTPDataError) as refused:
            await hand_in(listener.port, recipient, BOUNCE + ("x" * 70 + "\r\n") * 16_000)
        assert refused.value.code == 552
    assert len(reported.reports) == 1


async def test_one_connection_too_many_is_told_so_and_the_next_finds_room() -> None:
    async with listening(Reported()) as listener:
        relays = [aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.port, start_tls=False) for _ in range(21)]
        for relay in relays[:20]:
            await relay.connect()
        with pytest.raises(SMTPResponseException) as refused:
            await relays[20].connect()
        assert refused.value.code == 421
        await relays[0].quit()
        await relays[20].connect()
        for relay in relays[1:]:
            await relay.quit()


async def test_nothing_that_a_stranger_says_is_logged_or_stops_the_listener(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="varsel")
    reported, message = Reported(), email("x")
    async with listening(reported) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        for line in (
            b"\xff\xfe",
            b"EHLO x",
            b'MAIL FROM:<"@@ola.nordmann@example.com>',
            b"RCPT TO:<ola.nordmann",
            b"DATA",
        ):
            writer.write(line + b"\r\n")
        writer.write_eof()
        await reader.read()
        writer.close()
        await hand_in(listener.port, VERP.make(message.id), BOUNCE)
    assert reported.of(message) == [BOUNCED]
    assert "ola.nordmann" not in caplog.text


def test_without_a_key_there_is_no_listener() -> None:
    with pytest.raises(ValueError, match="key"):
        BounceListener(BounceSettings(port=0), Reported())
