"""Through a real mail system and back (channels 8.6): our provider, Postfix, a mail server behind it, and Postfix's own
reports by LMTP to our listener (assertions 36, 39, 40, 46, 47, 53, 55)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from dkim_keys import genuine, rsa_key, written
from postal import email
from postfix import Relay, postfix
from varsel.api.bounces import BounceListener
from varsel.delivery.ports import Accepted, Email, Report, Suppress, Verdict
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Reason
from varsel.providers.smtp import SmtpProvider
from varsel.settings import BounceSettings, DkimSettings, SmtpProviderSettings
from varsel.simulators.smtp import ALL_EXTENSIONS, SmtpSimulator

BOUNCES = BounceSettings(port=0, protocol="lmtp", domain="bounce.varsel.example", keys=(SecretStr("key"),))
PATIENCE = 240  # seconds, on a machine that has much else to do


@dataclass
class Reported:
    """The inbox. `failures`: how many times it is out of order first."""

    reports: list[Report] = field(default_factory=list)
    failures: int = 0
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def store(self, reports: Sequence[Report]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the database")
        async with self.came:
            self.reports.extend(reports)
            self.came.notify_all()

    async def count_dropped(self, kind: str) -> None:
        raise AssertionError(kind)

    async def of(self, message: Email, *verdicts: Verdict) -> list[Report]:
        """The reports about a message, once there are those."""
        async with self.came, asyncio.timeout(PATIENCE):
            await self.came.wait_for(lambda: set(verdicts) <= {report.verdict for report in self._of(message)})
        return self._of(message)

    def _of(self, message: Email) -> list[Report]:
        return [report for report in self.reports if report.notification == message.id]


@dataclass
class Way:
    provider: SmtpProvider
    relay: Relay
    silent: SmtpSimulator  # it cannot report
    reported: Reported

    async def send(self, to: str) -> Email:
        message = email(to)
        [result] = await self.provider.send([message])
        assert isinstance(result, Accepted), result
        return message


@asynccontextmanager
async def way(dkim: dict[str, DkimSettings] | None = None, failures: int = 0) -> AsyncIterator[Way]:
    reported = Reported(failures=failures)
    listener = BounceListener(BOUNCES, reported)
    await listener.start()
    try:
        async with (
            SmtpSimulator(offer=ALL_EXTENSIONS - {"DSN"}) as silent,
            postfix({"*": silent.port}, bounce_domain=BOUNCES.domain, bounces=listener.port) as relay,
        ):
            account = SmtpProviderSettings(name="relay", host="127.0.0.1", port=relay.port, tls="none", dkim=dkim or {})
            provider = SmtpProvider(account, BOUNCES)
            yield Way(provider, relay, silent, reported)
            await provider.close()
    finally:
        await listener.stop()


@pytest.mark.assertion("channels", 39, 40, 46, 47, 55)
async def test_each_fate_that_a_real_mail_system_reports_finds_its_message() -> None:
    async with way() as road:
        refused = await road.send("bounce@mottaker.example")
        disabled = await road.send("disabled@mottaker.example")
        full = await road.send("full@mottaker.example")
        spam = await road.send("spam@mottaker.example")
        late = await road.send("defer@mottaker.example")
        relayed = await road.send("ok@mottaker.example")
        arrived = await road.send(f"ola@{road.relay.mailbox_domain}")

        [report] = await road.reported.of(refused, Verdict.FAILED)
        assert (report.raw_state, report.reason, report.suppress) == (
            "failed 5.1.1",
            Reason.BOUNCED,
            Suppress.HARD_BOUNCE,
        )
        [report] = await road.reported.of(disabled, Verdict.FAILED)
        assert (report.reason, report.suppress) == (Reason.BOUNCED, Suppress.DISABLED)
        [report] = await road.reported.of(full, Verdict.FAILED)
        assert (report.raw_state, report.reason, report.suppress) == ("failed 5.2.2", Reason.BOUNCED, None)
        [report] = await road.reported.of(spam, Verdict.FAILED)
        assert (report.reason, report.suppress) == (Reason.FILTERED_SPAM, None)
        [report] = await road.reported.of(relayed, Verdict.RELAYED)
        assert report.raw_state == "relayed 2.0.0"
        [report] = await road.reported.of(arrived, Verdict.DELIVERED)
        assert report.raw_state == "delivered 2.0.0"
        delayed, *more, given_up = await road.reported.of(late, Verdict.DELAYED, Verdict.FAILED)
        assert not more
        assert (delayed.verdict, delayed.raw_state) == (Verdict.DELAYED, "delayed 4.7.1")
        assert "willRetryUntil" in delayed.payload
        assert (given_up.raw_state, given_up.reason, given_up.suppress) == ("failed 4.7.1", Reason.BOUNCED, None)
        assert given_up.detail.startswith("expired-in-queue")
        assert len(road.silent.stored) == 1
        assert len(road.relay.mailbox()) == 1
        assert all(report.notification for report in road.reported.reports)


@pytest.mark.assertion("channels", 53)
@pytest.mark.assertion("channels-faults", 27)
async def test_a_real_mail_system_keeps_a_report_while_the_store_is_down() -> None:
    async with way(failures=2) as road:
        message = await road.send("bounce@mottaker.example")
        [report] = await road.reported.of(message, Verdict.FAILED)
        assert report.reason is Reason.BOUNCED
        assert road.relay.log().count("Not stored; try again later") >= 2


@pytest.mark.assertion("channels", 36)
async def test_a_signature_is_genuine_behind_a_real_mail_system(tmp_path: Path) -> None:
    key = rsa_key()
    async with way({"etat.example": written(key, tmp_path)}) as road:
        await road.send("ok@mottaker.example")
        arrived = await road.send(f"ola@{road.relay.mailbox_domain}")
        await road.reported.of(arrived, Verdict.DELIVERED)
        [kept] = road.relay.mailbox()
        assert kept.index(b"Received:") < kept.index(b"DKIM-Signature:")  # it went through
        assert genuine(kept, key, "etat.example")
        assert not genuine(kept.replace(b"Subject: Ny post", b"Subject: Ny lov"), key, "etat.example")
