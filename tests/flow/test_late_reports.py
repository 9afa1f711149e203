"""Reports that come late, early, or after another (processing 7; design 8 "States, completion, evidence")."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from pydantic import SecretStr

from fakes import FakeProvider
from road import GRACE, LIFETIME, Road, until
from serving import Client, Orders, make_parts, serving
from varsel.api.app import create_app
from varsel.api.reports import PATH, report_routes
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Accepted, Indeterminate, SendResult, Unknown, Verdict
from varsel.delivery.report import Inbox, Reports
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Lane, OrderChannel, Recipient
from varsel.issuer import DevelopmentIssuer
from varsel.settings import LinkProviderSettings
from varsel.status.gauges_store import read_gauges

REPORT: Final = (
    b'<?xml version="1.0"?><MSGLST><MSG><ID>1</ID><REF>REF-1</REF><RCV>4799999501</RCV><STATE>DELIVRD</STATE>'
    b"</MSG></MSGLST>"
)
BASIC: Final = {"Authorization": f"Basic {base64.b64encode(b'gateway:word').decode()}", "Content-Type": "text/plain"}


@pytest.fixture
async def road(database: Database, clock: ManualClock) -> AsyncIterator[Road]:
    road = Road(database, clock)
    yield road
    assert await road.wrong_counters() == 0
    await road.waker.close()


@pytest.mark.assertion("processing", 110)
@pytest.mark.assertion("channels", 22)
@pytest.mark.assertion("channels-faults", 17)
async def test_an_answer_after_the_report_of_arrival_changes_nothing(road: Road) -> None:
    road.mail = FakeProvider("mail", gate=asyncio.Event())
    await road.place()
    worker = await road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    await worker.mail.send_due()
    await until(lambda: len(road.mail.sent) == 1)
    await road.report(road.mail.sent[0].id, Verdict.DELIVERED)
    await Reports(road.db, road.clock, road.waker, timedelta(days=14)).apply_reports()
    assert await road.outcomes() == [("email", "delivered")]
    assert road.mail.gate
    road.mail.gate.set()  # only now the provider says that it took the message
    await until(lambda: worker.mail.idle)
    assert await road.outcomes() == [("email", "delivered")]
    assert await road.value("SELECT state FROM delivery_report") == "applied"
    await worker.end(road)


@pytest.mark.parametrize("verdict", [Verdict.RELAYED, Verdict.DELAYED])
@pytest.mark.assertion("channels-faults", 17)
async def test_older_news_that_comes_after_the_report_of_arrival_changes_nothing(road: Road, verdict: Verdict) -> None:
    await road.place()
    await road.run()
    (row,) = await road.rows()
    for told in (Verdict.DELIVERED, verdict):
        await road.report(row.id, told)
        await road.run()
    assert await road.outcomes() == [("email", "delivered")]
    assert [entry.get("correction") for entry in await road.feed()] == [None]


@pytest.mark.assertion("channels-faults", 22)
@pytest.mark.parametrize("policy", list(Indeterminate))
async def test_a_report_of_a_reference_that_a_time_out_kept_from_us_is_dead_and_the_policy_decides(
    road: Road, policy: Indeterminate
) -> None:
    answers: list[SendResult] = [Unknown("no answer in time"), Accepted("REF-2")]
    road.sms.on_indeterminate = policy
    road.sms.answers = lambda _: answers.pop(0)
    await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    await road.report(None, Verdict.DELIVERED, reference="REF-1", provider="sms", channel=Channel.SMS)
    for _ in range(8):
        await road.run()
        road.clock.advance(timedelta(minutes=2))
    assert await states(road) == ["dead"]
    assert await road.value("SELECT state_reason FROM delivery_report") == "RETRY_THRESHOLD_EXCEEDED"
    await road.run()
    again = policy is Indeterminate.RESEND
    assert len(road.sms.sent) == 1 + again
    async with road.db.reading() as conn:
        told = await read_gauges(conn, now=road.clock.now(), opened=road.clock.now())
    assert (told.doubts.possible_duplicates, told.queues.unknown) == (int(again), int(not again))
    road.clock.advance(LIFETIME + GRACE)
    await road.run()
    assert await road.outcomes() == [("sms", "expired")]  # of the second one nobody has heard either


@pytest.mark.assertion("processing", 111)  # overridden: evidence counts
async def test_a_bounce_after_arrival_corrects_it_with_a_further_entry(road: Road) -> None:
    placed = await road.place()
    await road.run()
    (row,) = await road.rows()
    for verdict in (Verdict.DELIVERED, Verdict.FAILED):
        await road.report(row.id, verdict)
        await road.run()
    assert await road.outcomes() == [("email", "Failed_Bounced")]
    assert await road.state(placed.order_id) == "Completed"
    assert [entry.get("correction") for entry in await road.feed()] == [None, True]


@pytest.mark.assertion("processing", 113)  # overridden: evidence counts
@pytest.mark.assertion("channels", 24)
async def test_an_arrival_after_expiry_corrects_it_for_fourteen_days(road: Road) -> None:
    placed = [await road.place(recipients=(Recipient(email=f"{name}@example.com"),)) for name in ("soon", "late")]
    await road.run()
    road.clock.advance(LIFETIME + GRACE + timedelta(minutes=1))
    await road.run()
    assert await road.outcomes() == [("email", "expired"), ("email", "expired")]
    soon, late = await road.rows(placed[0].order_id), await road.rows(placed[1].order_id)
    await road.report(soon[0].id, Verdict.DELIVERED)
    await road.run()
    road.clock.advance(timedelta(days=13))
    await road.report(late[0].id, Verdict.DELIVERED)
    await road.run()
    assert await road.outcomes(placed[0].order_id) == [("email", "delivered")]
    assert await road.outcomes(placed[1].order_id) == [("email", "expired")]
    assert sorted(await states(road)) == ["applied", "late"]


async def states(road: Road) -> list[str]:
    found: list[str] = await road.value("SELECT array_agg(state::text) FROM delivery_report")
    return found


@pytest.mark.assertion("processing", 106)
@pytest.mark.assertion("http-api", 152)
async def test_the_gateways_report_makes_its_sms_delivered(
    road: Road, database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    road.sms.answers = lambda _: Accepted("REF-1")
    placed = await road.place(channel=OrderChannel.SMS, recipients=(Recipient(mobile="+4799999501"),))
    await road.run()
    link = LinkProviderSettings(
        name="sms",
        url="https://gateway.example/",
        username="varsel",
        password=SecretStr("secret"),
        report_username="gateway",
        report_password=SecretStr("word"),
    )
    parts = make_parts(tmp_path, clock, database, Orders().register)
    app = create_app(parts, report_routes([link], Inbox(database, clock, road.waker).store))
    async with serving(app) as port:
        client = Client(port, DevelopmentIssuer(tmp_path))
        shipment = f"/notifications/api/v1/future/shipment/{placed.order_id}"
        assert (await client.aget(shipment)).json["recipients"][0]["status"] == "SMS_Accepted"
        anonymous = {"Authorization": None, "Content-Type": "application/xml"}
        assert (await client.apost(PATH, REPORT, headers=anonymous)).status == 401
        assert (await client.apost(PATH, b"", headers=BASIC)).status == 400
        reply = await client.apost(PATH, REPORT, headers=BASIC)
        assert (reply.status, b"<STATUS>OK</STATUS>" in reply.content) == (200, True)
        await road.run()
        (recipient,) = (await client.aget(shipment)).json["recipients"]
        assert (recipient["type"], recipient["status"]) == ("SMS", "SMS_Delivered")


@pytest.mark.parametrize("channel", [Channel.EMAIL, Channel.SMS])
@pytest.mark.assertion("channels", 9)
async def test_a_state_that_nobody_knows_is_no_outcome(road: Road, channel: Channel) -> None:
    await road.place(
        channel=OrderChannel.EMAIL if channel is Channel.EMAIL else OrderChannel.SMS,
        recipients=(Recipient(email="kari@example.com", mobile="+4799999501"),),
    )
    await road.run()
    (row,) = await road.rows()
    await road.report(row.id, Verdict.UNRECOGNISED, channel=channel, provider=channel.value, reason=Reason.UNSPECIFIED)
    await road.run()
    assert [state for _, state in await road.outcomes()] == ["accepted"]
