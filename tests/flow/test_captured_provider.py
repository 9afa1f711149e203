"""The provider for tests: messages lie in our own table, outcomes are scripted (channels 2.7, 3.7, 8.2, 8.3)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError

from gateways import NOW, Inbox, scripted, sms, tools
from varsel.db import Database
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    File,
    Refused,
    Report,
    Suppress,
    Unknown,
    Verdict,
)
from varsel.domain.captured import Captured
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import ContentType
from varsel.providers.captured import CapturedProvider, CapturedProviderSettings
from varsel.settings import Settings
from varsel.simulators import store
from varsel.simulators.keep import keep_at_once
from varsel.simulators.link_script import SCRIPTS as LINK_SCRIPTS
from varsel.simulators.smtp_script import SCRIPTS as SMTP_SCRIPTS


def email(local: str, **changes: Any) -> Email:
    values: dict[str, Any] = {
        "id": NotificationId(uuid7()),
        "order": OrderId(uuid7()),
        "creator": "ttd",
        "sender": "Etaten <noreply@etat.example>",
        "to": f"{local}@mottaker.example",
        "subject": "Nytt brev",
        "body": "<p>Hei <b>du</b></p>",
        "content_type": ContentType.HTML,
        "expires_at": NOW + timedelta(days=2),
    }
    return Email(**values | changes)


def account(channel: str, **changes: Any) -> CapturedProviderSettings:
    values = {"name": "captured", "channel": channel, "report_after": 0.001}
    return CapturedProviderSettings.model_validate(values | changes)


@asynccontextmanager
async def captured(
    channel: str, *, failures: int = 0, **changes: Any
) -> AsyncIterator[tuple[CapturedProvider, Inbox, list[Captured]]]:
    kept: list[Captured] = []

    async def capture(messages: Sequence[Captured]) -> None:
        kept.extend(messages)

    inbox = Inbox(failures=failures)
    provider = CapturedProvider(account(channel, **changes), tools(inbox, capture=capture))
    try:
        yield provider, inbox, kept
    finally:
        await provider.close()


def told(reports: Sequence[Report]) -> list[tuple[Verdict, Reason | None, bool, Suppress | None]]:
    return [(report.verdict, report.reason, report.soft, report.suppress) for report in reports]


DELIVERED = (Verdict.DELIVERED, None, False, None)
BOUNCED = (Verdict.FAILED, Reason.BOUNCED, False, None)
NO_SUCH = (Verdict.FAILED, Reason.BOUNCED, False, Suppress.HARD_BOUNCE)
DELAYED = (Verdict.DELAYED, None, False, None)
COMPLAINT = (Verdict.COMPLAINT, None, False, Suppress.COMPLAINT)


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("ok", [DELIVERED]),
        ("kari.nordmann", [DELIVERED]),
        ("OK+bounce", [DELIVERED]),
        ("slow-0", [DELIVERED]),
        ("quiet", []),
        ("dsn-fail", [NO_SUCH]),
        ("dsn-full", [BOUNCED]),
        ("dsn-delay", [DELAYED]),
        ("dsn-relayed", [(Verdict.RELAYED, None, False, None)]),
        ("dsn-expired", [DELAYED, BOUNCED]),
        ("dsn-late-0", [DELIVERED, BOUNCED]),
        ("dsn-dup", [DELIVERED, DELIVERED]),
        ("dsn-early", [DELIVERED]),
        ("arf", [DELIVERED, COMPLAINT]),
        ("perm-fail", [NO_SUCH]),
        ("temp-fail", [BOUNCED]),
    ],
)
async def test_an_address_chooses_what_is_reported_of_an_email(local: str, expected: list[Any]) -> None:
    message = email(local)
    async with captured("email") as (provider, inbox, kept):
        (result,) = await provider.send([message])
        await provider.idle()
    assert isinstance(result, Accepted)
    assert told(inbox.reports) == expected
    assert {report.notification for report in inbox.reports} <= {message.id}
    assert [one.notification_id for one in kept] == [message.id]


@pytest.mark.parametrize(
    ("local", "kind", "kept_too"),
    [
        *((local, Refused, False) for local in ("bounce", "disabled", "full", "badaddr", "badsender", "toolarge")),
        *((local, Refused, False) for local in ("spam", "refuse")),
        *((local, Deferred, False) for local in ("fullsoft", "norelay", "defer", "busy", "drop-rcpt", "junk")),
        *((local, Unknown, True) for local in ("hang", "drop")),
        ("drop-data", Unknown, False),
    ],
)
async def test_an_address_chooses_what_an_email_is_answered(local: str, kind: type, kept_too: bool) -> None:
    async with captured("email") as (provider, _, kept):
        (result,) = await provider.send([email(local)])
    assert type(result) is kind
    assert bool(kept) is kept_too


async def test_some_addresses_take_an_email_at_a_later_try() -> None:
    for local, tries in (("defer-2", 3), ("grey", 2), ("ratelimit", 2)):
        message = email(local)
        async with captured("email") as (provider, _, _):
            results = [(await provider.send([message]))[0] for _ in range(tries)]
        assert [type(result) for result in results] == [*[Deferred] * (tries - 1), Accepted]


SMS_FATES: dict[str, list[tuple[Verdict, Reason | None, bool, Suppress | None]]] = {
    "500": [DELIVERED],
    "101": [(Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER, False, None)],
    "106": [(Verdict.FAILED, Reason.UNSPECIFIED, True, None)],
    "108": [(Verdict.FAILED, Reason.BARRED_RECEIVER, False, Suppress.BARRED)],
    "111": [(Verdict.UNRECOGNISED, None, False, None)],
    "204": [],
    "401": [DELIVERED],
    "403": [],
    "404": [DELIVERED, DELIVERED],
    "405": [(Verdict.FAILED, Reason.UNDELIVERED, False, None), DELIVERED],
    "406": [(Verdict.FAILED, Reason.UNSPECIFIED, True, None), DELIVERED],
    "416": [(Verdict.UNRECOGNISED, None, False, None)],
}


async def test_a_number_chooses_what_is_reported_of_an_sms() -> None:
    messages = scripted(*SMS_FATES)
    async with captured("sms") as (provider, inbox, kept):
        results = await provider.send(messages)
        await provider.idle()
    assert all(isinstance(result, Accepted) for result in results)
    for message, expected in zip(messages, SMS_FATES.values(), strict=True):
        assert told([report for report in inbox.reports if report.notification == message.id]) == expected
    assert len(kept) == len(messages)


async def test_a_number_chooses_what_an_sms_is_answered() -> None:
    digits = ("201", "202", "203", "301", "302", "303", "304", "307", "309", "310")
    async with captured("sms") as (provider, _, kept):
        results = await provider.send(scripted(*digits))
    assert [type(result) for result in results] == [
        *(Refused, Refused, Unknown, Deferred, Unknown, Deferred, Deferred, Deferred, Unknown, Unknown)
    ]
    assert [r.blame for r in results if isinstance(r, Deferred)] == [
        *(Blame.MESSAGE, Blame.PROVIDER, Blame.FAULT, Blame.FAULT)
    ]
    assert [one.outcome for one in kept] == ["hangs"]


def test_what_the_simulators_know_is_known_here() -> None:
    """But for what is a matter of the wire alone."""
    from varsel.providers.captured_script import EMAIL, SMS

    wire = {"ok", "multi", "dsn-ok", "arf-notspam", "ooo"}
    assert SMTP_SCRIPTS.keys() - wire <= EMAIL.keys()
    assert LINK_SCRIPTS.keys() - {"205", "407", "408", *map(str, range(409, 416))} <= SMS.keys()


async def test_messages_are_in_the_table_that_the_inbox_shows(database: Database) -> None:
    inbox = Inbox()
    mail, text = (
        CapturedProvider(account(channel), tools(inbox, capture=partial(keep_at_once, database)))
        for channel in ("email", "sms")
    )
    await mail.send([email("ok", files=(File("a.txt", "text/plain", b"vedlegg"),))])
    await text.send([sms("004799999500", "Hei – " + "a" * 160, "Etaten")])
    for provider in (mail, text):
        await provider.idle()
        await provider.close()
    async with database.reading() as conn:
        found_sms, found_mail = await store.find(conn, store.Search(), limit=10)
        raw = await store.raw_message(conn, found_mail.id)
    assert (found_mail.channel, found_mail.recipient, found_mail.subject) == (
        Channel.EMAIL,
        "ok@mottaker.example",
        "Nytt brev",
    )
    assert (found_mail.text.strip(), found_mail.html) == ("Hei du", "<p>Hei <b>du</b></p>")
    assert raw
    assert b"Subject: Nytt brev\r\n" in raw
    assert b"a.txt" in raw
    assert (found_sms.recipient, found_sms.text, found_sms.parts) == ("+4799999500", "Hei - " + "a" * 160, 2)
    assert (found_sms.alphabet, found_sms.sender) == ("GSM-7", "Etaten")


async def test_a_report_that_could_not_be_stored_comes_again() -> None:
    async with captured("sms", failures=1) as (provider, inbox, _):
        await provider.send([sms()])
        await provider.idle()
    assert len(inbox.reports) == 1


async def test_without_reports_nothing_is_confirmed_and_none_comes() -> None:
    async with captured("sms", reports=False) as (provider, inbox, _):
        await provider.send([sms()])
        await provider.idle()
        assert provider.confirms is Confirms.NOTHING
    assert not inbox.reports


async def test_what_cannot_be_sent_is_refused_and_not_captured() -> None:
    async with captured("email") as (provider, _, kept):
        (address, sender) = await provider.send([email("a b"), email("ok", sender="nobody")])
    async with captured("sms") as (gateway, _, texts):
        (number,) = await gateway.send([sms("12345")])
    assert [r.reason for r in (address, sender, number) if isinstance(r, Refused)] == [
        Reason.INVALID_EMAIL_FORMAT,
        Reason.UNSPECIFIED,
        Reason.INVALID_RECIPIENT,
    ]
    assert not kept
    assert not texts


async def test_a_message_that_cannot_be_captured_has_not_been_sent() -> None:
    async def away(_messages: Sequence[Captured]) -> None:
        raise Unavailable("the database")

    provider = CapturedProvider(account("sms"), tools(Inbox(), capture=away))
    assert await provider.send([sms()]) == [Deferred("the table of messages is not there", Blame.PROVIDER)]


@pytest.mark.assertion("channels", 109)
def test_production_refuses_to_start_with_one() -> None:
    configured = {"providers": [{"type": "captured", "name": "inbox", "channel": "sms"}]}
    assert Settings.model_validate(configured).providers
    with pytest.raises(ValidationError, match="not in production: providers: inbox"):
        Settings.model_validate({**configured, "environment": "production"})
    with pytest.raises(ValueError, match="cannot be captured here"):
        CapturedProvider(account("sms"), tools(Inbox(), production=True))
