"""The sandbox's mail server and gateway stand where the settings point, and what they get can be seen."""

import asyncio
import base64
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from aiohttp import web
from pydantic import SecretStr

from varsel.cli.child_settings import toml
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Sms
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.providers.link import LinkProvider
from varsel.settings import (
    LinkProviderSettings,
    SandboxSettings,
    ServerSettings,
    Settings,
    SmtpProviderSettings,
)
from varsel.simulators import store
from varsel.simulators.sandbox import NotLoopback, run_simulators
from varsel.simulators.store import Message, Search


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def sandbox_settings(*, api_port: int = 1, host: str = "127.0.0.1") -> Settings:
    link = LinkProviderSettings(
        name="sms",
        url=f"http://127.0.0.1:{free_port()}/",
        username="varsel",
        password=SecretStr("secret"),
        report_username="gateway",
        report_password=SecretStr("reported"),
    )
    return Settings(
        sandbox=SandboxSettings(enabled=True),
        server=ServerSettings(port=api_port),
        providers=(SmtpProviderSettings(name="mail", host=host, port=free_port(), tls="none"), link),
    )


async def kept(database: Database) -> list[Message]:
    async with database.reading() as conn:
        return await store.find(conn, Search(), limit=10)


async def send_mail(settings: Settings, notification: NotificationId) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "post@fjordvik.example", "kari@xn--blbr-roah.example", "Møte"
    mail["X-Notification-Id"] = str(notification)
    mail.set_content("Velkommen til møte")
    provider = settings.providers[0]
    assert isinstance(provider, SmtpProviderSettings)
    await aiosmtplib.send(mail, hostname=provider.host, port=provider.port, start_tls=False)


async def send_sms(settings: Settings) -> str:
    """Returns the gateway's reference."""
    link = settings.providers[1]
    assert isinstance(link, LinkProviderSettings)
    provider = LinkProvider(link, SystemClock())
    expires = datetime.now(UTC) + timedelta(days=2)
    message = Sms(NotificationId(uuid7()), OrderId(uuid7()), "ttd", "Fjordvik", "+4799999500", "Hei på deg", expires)
    [result] = await provider.send([message])
    await provider.close()
    assert isinstance(result, Accepted)
    assert result.reference
    return result.reference


@asynccontextmanager
async def report_listener() -> AsyncIterator[tuple[int, asyncio.Future[web.Request]]]:
    """Where the gateway reports; the first report that comes."""
    came: asyncio.Future[web.Request] = asyncio.get_running_loop().create_future()

    async def receive(request: web.Request) -> web.Response:
        if not came.done():
            came.set_result(request)
        return web.Response(status=503)

    app = web.Application()
    app.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], came
    finally:
        await runner.cleanup()


async def test_mail_and_sms_are_kept_as_people_write_their_addresses(database: Database) -> None:
    settings, notification = sandbox_settings(), NotificationId(uuid7())
    async with run_simulators(settings, database):
        await send_mail(settings, notification)
        reference = await send_sms(settings)
        sms, mail = await kept(database)
    assert (mail.recipient, mail.subject, mail.text.strip()) == ("kari@blåbær.example", "Møte", "Velkommen til møte")
    assert (mail.sender, mail.notification_id) == ("post@fjordvik.example", notification)
    assert (sms.recipient, sms.sender, sms.text) == ("+4799999500", "Fjordvik", "Hei på deg")
    assert (sms.reference, sms.parts, sms.alphabet) == (reference, 1, "GSM-7")


async def test_the_gateway_reports_to_our_api_with_the_credentials_of_the_settings(database: Database) -> None:
    async with report_listener() as (port, came):
        settings = sandbox_settings(api_port=port)
        async with run_simulators(settings, database):
            await send_sms(settings)
            request = await asyncio.wait_for(came, 10)
    assert request.path == "/notifications/sms/api/v1/reports/sms"
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == b"gateway:reported"


async def test_nothing_starts_when_a_provider_is_on_another_machine(database: Database) -> None:
    settings = sandbox_settings(host="mail.example")
    with pytest.raises(NotLoopback):
        async with run_simulators(settings, database):
            pass


async def test_the_command_serves_until_it_is_told_to_stop(database: Database, dsn: str, tmp_path: Path) -> None:
    settings = sandbox_settings()
    secrets = {"password": "secret", "report_password": "reported"}
    shown = [p.model_dump(mode="json", exclude_none=True) for p in settings.providers]
    providers = [p | {k: v for k, v in secrets.items() if k in p} for p in shown]
    config = tmp_path / "sandbox.toml"
    config.write_text(toml({"database_url": dsn, "sandbox": {"enabled": True}, "providers": providers}))
    environment = os.environ | {"VARSEL_CONFIG": str(config)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "varsel", "simulators", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    heard = 0
    while heard < 2:
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        assert line, "it ended before it listened"
        heard += "simulator listens" in line
    await send_mail(settings, NotificationId(uuid7()))
    assert [m.subject for m in await kept(database)] == ["Møte"]
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_the_command_refuses_to_run_outside_the_sandbox(dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "varsel", "simulators"),
        env=os.environ | {"VARSEL_DATABASE_URL": dsn},
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    assert b"VARSEL_SANDBOX__ENABLED" in complaint
