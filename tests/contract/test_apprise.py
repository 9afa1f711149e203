"""Services through Apprise, the library itself among what is tested (channels 2.6, 4.3.5)."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from conformance.peers import Peer
from gateways import NOW, Inbox, sms, tools
from varsel.delivery.ports import Accepted, Blame, Confirms, Deferred, Email, File, Refused, Unknown
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.notification import Reason
from varsel.domain.order import ContentType
from varsel.providers.apprise import SECURE, AppriseProvider, AppriseProviderSettings


def service(url: str, channel: str = "sms", **changes: Any) -> AppriseProviderSettings:
    values = {"name": "chat", "channel": channel, "url": url, "timeout": 20}
    return AppriseProviderSettings.model_validate(values | changes)


def email(content_type: ContentType = ContentType.HTML, **changes: Any) -> Email:
    values: dict[str, Any] = {
        "id": NotificationId(uuid7()),
        "order": OrderId(uuid7()),
        "creator": "ttd",
        "sender": "Etaten <noreply@etat.example>",
        "to": "kari&co@blåbær.example",
        "subject": "Nytt brev \\n",
        "body": "<p>Hei \\n</p>",
        "content_type": content_type,
        "expires_at": NOW + timedelta(days=2),
    }
    return Email(**values | changes)


@asynccontextmanager
async def provider(settings: AppriseProviderSettings) -> AsyncIterator[AppriseProvider]:
    made = AppriseProvider(settings, tools(Inbox()))
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def answering(status: int = 200) -> AsyncIterator[tuple[int, list[tuple[str, Any]]]]:
    """A web service that Apprise's JSON plug-in calls: port, and the paths and bodies that came."""
    heard: list[tuple[str, Any]] = []

    async def receive(request: web.Request) -> web.Response:
        heard.append((request.rel_url.raw_path, json.loads(await request.read())))
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], heard
    finally:
        await runner.cleanup()


async def test_an_sms_reaches_the_service_under_the_number_of_its_recipient() -> None:
    async with answering() as (port, heard), provider(service(f"json://127.0.0.1:{port}/send/{{to}}")) as chat:
        (result,) = await chat.send([sms(text="Hei – \\n " + "a" * 160)])
        assert (chat.name, chat.max_batch, chat.step, chat.confirms) == ("chat", 1, 5, Confirms.NOTHING)
    assert result == Accepted(segments=2)
    ((path, body),) = heard
    assert path == "/send/+4799999500"
    assert (body["title"], body["message"]) == ("", "Hei - \\n " + "a" * 160)


async def test_an_email_reaches_it_with_its_subject_and_files_and_its_address_quoted() -> None:
    async with answering() as (port, heard), provider(service(f"json://127.0.0.1:{port}/{{to}}", "email")) as chat:
        file = File("brev.txt", "text/plain", b"vedlegg")
        (result,) = await chat.send([email(files=(file,))])
    assert result == Accepted()
    ((path, body),) = heard
    assert path == "/kari&co@xn--blbr-roah.example"
    assert body["title"] == "Nytt brev \\n"
    assert "Hei \\n" in body["message"]
    assert [a["filename"] for a in body["attachments"]] == ["brev.txt"]


async def test_a_service_that_fails_is_tried_three_times_and_then_it_is_the_message() -> None:
    message = sms()
    async with answering(500) as (port, heard), provider(service(f"json://127.0.0.1:{port}/{{to}}")) as chat:
        results = [(await chat.send([message]))[0] for _ in range(4)]
    assert results[:3] == [Deferred("the service failed", Blame.PROVIDER)] * 3
    assert results[3] == Refused(Reason.UNSPECIFIED, "the service failed again and again")
    assert len(heard) == 4


async def test_a_redirect_is_not_followed() -> None:
    async with answering(302) as (port, heard), provider(service(f"json://127.0.0.1:{port}/{{to}}")) as chat:
        (result,) = await chat.send([sms()])
    assert isinstance(result, Deferred)
    assert [path for path, _ in heard] == ["/+4799999500"]


async def test_a_service_that_takes_the_message_and_stays_silent_leaves_it_unknown_or_failed() -> None:
    """The library does not always tell a silence from a failure."""
    async with (
        Peer(waits=True, stays=True) as peer,
        provider(service(f"json://127.0.0.1:{peer.port}/{{to}}", timeout=0.5)) as chat,
    ):
        (result,) = await chat.send([sms()])
        assert peer.heard
    assert isinstance(result, Unknown | Deferred)


async def test_messages_go_out_side_by_side_and_without_the_librarys_pauses() -> None:
    async with answering() as (port, heard), provider(service(f"json://127.0.0.1:{port}/{{to}}")) as chat:
        results = await chat.send([sms() for _ in range(12)])
    assert results == [Accepted(segments=1)] * 12
    assert len(heard) == 12


async def test_what_cannot_be_sent_is_refused_before_anything_leaves() -> None:
    async with answering() as (port, heard):
        async with provider(service(f"json://127.0.0.1:{port}/{{to}}", max_segments=1)) as chat:
            texts = await chat.send([sms("12345"), sms(text="a" * 161)])
        async with provider(service(f"json://127.0.0.1:{port}/{{to}}", "email")) as mail:
            mails = await mail.send([email(to="a b@c.example"), email(to="a/../b@c.example")])
    assert [r.reason for r in (*texts, *mails) if isinstance(r, Refused)] == [
        Reason.INVALID_RECIPIENT,
        Reason.UNSPECIFIED,
        Reason.INVALID_EMAIL_FORMAT,
        Reason.INVALID_EMAIL_FORMAT,
    ]
    assert not heard


async def test_an_address_that_the_library_cannot_use_is_our_fault() -> None:
    async with provider(service("twilio://{to}")) as chat:
        (result,) = await chat.send([sms()])
    assert result == Deferred("the address of the service cannot be used", Blame.FAULT)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("syslog://{to}", "must begin with one of"),
        ("rsyslog://log.example/{to}", "must begin with one of"),
        ("smpp://u:p@smsc.example/{to}", "must begin with one of"),
        ("dbus://{to}", "must begin with one of"),
        ("file:///etc/{to}", "must begin with one of"),
        ("json://service.example/{to}", "must begin with one of"),
        ("{to}", "must begin with one of"),
        ("JSONS://service.example/{to}", "must begin with one of"),
        ("jsons://secret:word@service.example/", "must stand once"),
        ("jsons://service.example/{to}/{to}", "must stand once"),
    ],
)
def test_only_services_elsewhere_over_tls_may_be_named(url: str, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as refused:
        service(url)
    assert "word" not in refused.value.errors()[0]["msg"]


def test_every_allowed_schema_is_one_that_the_library_knows() -> None:
    import apprise

    known = {
        schema
        for plugin in apprise.Apprise().details()["schemas"]
        for schema in (*(plugin["protocols"] or ()), *(plugin["secure_protocols"] or ()))
    }
    assert known >= SECURE


async def test_nothing_is_logged_and_no_setting_shows_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with answering(500) as (port, _):
        settings = service(f"json://user:riktig@127.0.0.1:{port}/{{to}}")
        assert "riktig" not in repr(settings)
        async with provider(settings) as chat:
            results = await chat.send([sms(text="hemmelig tekst")])
    said = "".join(str(vars(record)) for record in caplog.records) + repr(results)
    for secret in ("riktig", "99999500", "hemmelig"):
        assert secret not in said


async def test_it_can_be_closed_while_a_call_is_late() -> None:
    async with (
        Peer(waits=True, stays=True) as peer,
        provider(service(f"json://127.0.0.1:{peer.port}/{{to}}", timeout=1)) as chat,
    ):
        sending = asyncio.create_task(chat.send([sms()]))
        await peer.asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
