"""Email through Amazon SES on the road: handed over, and reported by SNS (channels 8.5; assertions 63, 64)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from starlette.applications import Starlette

from road import UNKNOWN_WAIT, Road
from serving import serving
from varsel.api.frame import Frame
from varsel.api.provider_reports import Instance, provider_report_routes
from varsel.api.report_intake import Limits
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.report import Inbox
from varsel.domain.order import Recipient
from varsel.providers.ses import SesProvider, SesProviderSettings
from varsel.providers.ses_reports import SesReports
from varsel.providers.sns import Certificates
from varsel.simulators.ses import SesSimulator
from varsel.simulators.ses_script import SCRIPTS
from varsel.simulators.sns import TOPIC


@dataclass
class Amazon:
    road: Road
    simulator: SesSimulator

    async def send(self, *scripts: str) -> None:
        people = tuple(Recipient(email=f"{script}@mottaker.example") for script in scripts)
        await self.road.place(recipients=people)
        await self.settle()

    async def settle(self) -> None:
        """Until nothing is due, and no message of SNS is on its way."""
        await self.road.run()
        await self.simulator.idle()
        await self.road.run()

    async def wait(self, time: timedelta) -> None:
        self.road.clock.advance(time)
        await self.settle()

    async def outcomes(self) -> dict[str, str]:
        return {row.address.partition("@")[0]: row.reason or row.state for row in await self.road.rows()}

    async def resume(self) -> None:
        """As if the pause were over: it is in machine time, which tests do not move."""
        async with self.road.db.autocommit() as conn:
            await conn.execute("UPDATE provider SET paused_until = NULL, breaker_until = NULL, failures = 0")


@pytest.fixture
async def amazon(database: Database, clock: ManualClock) -> AsyncIterator[Amazon]:
    road = Road(database, clock)
    inbox = Inbox(database, clock, road.waker)
    async with SesSimulator(time_factor=0.01) as simulator:
        settings = SesProviderSettings(
            name="amazon",
            region="eu-north-1",
            access_key_id=simulator.login[0],
            secret_access_key=simulator.login[1],  # type: ignore[arg-type]  # as it stands in a file
            configuration_set="varsel",
            endpoint=simulator.url,
            topic_arns=(TOPIC,),
        )
        certificates = Certificates(lambda url, _topic: url.port == simulator.port)
        instances = {("email", "ses", "amazon"): Instance("amazon", SesReports("amazon", [TOPIC], certificates))}
        routes = provider_report_routes(instances, inbox.store, Limits(10_000), "https://varsel.example")
        async with serving(Frame(Starlette(routes=routes))) as port:
            simulator.sns.url = f"http://127.0.0.1:{port}/notifications/email/api/v1/reports/ses/amazon"
            provider = SesProvider(settings, clock)
            road.mail = provider  # type: ignore[assignment]  # the road's own is a fake of the same port
            yield Amazon(road, simulator)
            await provider.close()
    assert await road.wrong_counters() == 0
    await road.waker.close()


ENDS = {
    "ok": "delivered",
    "bounce": "Failed_Bounced",
    "suppressed": "Failed_SupressedRecipient",
    "unsubscribed": "Failed_SupressedRecipient",
    "mailboxfull": "Failed_Bounced",
    "content": "Failed_FilteredSpam",
    "complaint": "delivered",
    "delay": "delivered",
    "reject": "Failed_FilteredSpam",
    "invented": "accepted",
    "badaddress": "Failed_InvalidEmailFormat",
    "refused": "Failed",
    "reset": "delivered",
    "bounce-after-delivery": "Failed_Bounced",
    "badsig": "delivered",
    "replay": "delivered",
    "stale": "delivered",
    "oldsig": "delivered",
}
WAITING = {"throttle", "quota", "paused", "unverified", "err500"}


@pytest.mark.assertion("channels", 5, 63, 64)
async def test_every_scripted_address_ends_as_the_table_says(amazon: Amazon) -> None:
    assert ENDS.keys() | WAITING == SCRIPTS.keys()
    await amazon.send(*ENDS)
    assert await amazon.outcomes() == ENDS
    refused = [published for published in amazon.simulator.published if published.status == 401]
    assert len(refused) == 2 * len(["badsig", "stale"])  # each with two events
    states = "SELECT count(*) FROM delivery_report WHERE state = %(state)s"
    assert await amazon.road.value(states, state="dead") == len(["invented"])
    assert await amazon.road.value(states, state="parked") == 0
    assert len(amazon.simulator.sent) == len(ENDS) - len(["badaddress", "refused"])
    [sent] = [sent for sent in amazon.simulator.sent if sent.recipient.startswith("ok@")]
    [row] = [row for row in await amazon.road.rows() if row.address.startswith("ok@")]
    assert (sent.mail["X-Notification-Id"], row.provider_ref) == (str(row.id), sent.id)


async def test_a_lost_answer_is_settled_by_the_event_and_nothing_is_sent_again(amazon: Amazon) -> None:
    await amazon.send("reset")
    assert await amazon.outcomes() == {"reset": "delivered"}
    await amazon.wait(UNKNOWN_WAIT * 2)
    assert len(amazon.simulator.sent) == 1
    assert (await amazon.road.rows())[0].provider_ref is None


@pytest.mark.parametrize("script", sorted(WAITING))
async def test_what_is_no_fault_of_the_message_makes_it_wait(amazon: Amazon, script: str) -> None:
    await amazon.send(script)
    assert await amazon.outcomes() == {script: "new"}
    assert not amazon.simulator.sent
    charged = script == "unverified"
    assert [row.attempts for row in await amazon.road.rows()] == [int(charged)]
    for _ in range(4):
        await amazon.resume()
        await amazon.wait(timedelta(minutes=20))
    passing = script in {"throttle", "quota"}
    assert await amazon.outcomes() == {script: "delivered" if passing else "new"}
    assert len(amazon.simulator.sent) == passing


async def test_a_bounce_after_arrival_is_told_as_a_correction(amazon: Amazon) -> None:
    await amazon.send("bounce-after-delivery")
    entries = await amazon.road.feed()
    assert [entry["recipients"][0]["status"] for entry in entries] in (
        ["Email_Delivered", "Email_Failed_Bounced"],
        ["Email_Failed_Bounced"],
    )
    assert await amazon.outcomes() == {"bounce-after-delivery": "Failed_Bounced"}


async def test_a_subscription_that_nobody_asked_for_waits_for_an_operator(amazon: Amazon) -> None:
    assert await amazon.simulator.subscribe() == 200
    await amazon.settle()
    assert amazon.simulator.confirmed == []
    dead = "SELECT payload ->> 'SubscribeURL' FROM delivery_report WHERE state = 'dead'"
    assert await amazon.road.value(dead) == f"{amazon.simulator.url}/confirm?t=1"
