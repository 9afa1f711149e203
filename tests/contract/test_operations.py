"""What operators and their jobs call: triggers, the demo condition, /metrics; and who is let in."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from fakes import FakeProvider
from operations import KEY, anonymous, serving_with
from road import until
from serving import ORDERS, Api, Front, Reply
from varsel.api.operators import Operators
from varsel.api.problems import Refusal
from varsel.db import execute
from varsel.delivery.ports import Blame, Deferred, Unknown, Verdict
from varsel.domain.order import Lane
from varsel.settings import OperationsSettings, Settings
from varsel.wakeup import Work

TRIGGER: Final = "/notifications/api/v1/trigger"
PAGE: Final = "/notifications/api/v1/metrics"
CONDITION: Final = "/notifications/api/v1/tests/sendcondition"
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [{"emailAddress": "kari@example.com"}]}
TEXT: Final = {"body": "Thank you, $recipientNumber$", "recipients": [{"mobileNumber": "+4799999501"}]}


# Triggers and the demo condition


@pytest.mark.assertion("http-api", 144)
@pytest.mark.parametrize(
    ("path", "work"),
    [
        ("pastdueorders", Work.ORDERS),
        ("sendemail", Work.NOTIFICATIONS),
        ("sendsms", Work.NOTIFICATIONS),
        ("sendsmsdaytime", Work.NOTIFICATIONS),
        ("sendsmsanytime", Work.NOTIFICATIONS),
        ("terminateexpirednotifications", Work.NOTIFICATIONS),
        ("deleteoldstatusfeedrecords", Work.FEED),
    ],
)
async def test_each_trigger_wakes_the_workers_and_answers_empty(api: Api, path: str, work: Work) -> None:
    heard: list[str | None] = []

    async def listen() -> None:
        async for message in api.road.db.listen(work.value):
            heard.append(message)  # noqa: PERF401 - it never ends

    listening = asyncio.create_task(listen())
    await until(lambda: heard == [None])
    reply = await api.client.apost(f"{TRIGGER}/{path}", None, headers=anonymous())
    assert (reply.status, reply.content) == (200, b"")
    await until(lambda: heard == [None, f"{work.value}:"])
    listening.cancel()
    assert (await api.client.aget(f"{TRIGGER}/{path}", headers=anonymous())).status == 405
    assert (await api.client.apost(f"{TRIGGER}/{path}", b"x", headers={"Content-Type": "text/plain"})).status == 415


@pytest.mark.assertion("http-api", 148)
@pytest.mark.parametrize(
    ("query", "met"),
    [
        ("?conditionMet=true&subscription-key=k", True),
        ("?CONDITIONMET=True", True),
        ("?conditionMet=false", False),
        ("?conditionMet=1", False),
        ("", False),
    ],
)
def test_the_demo_condition_answers_what_it_is_told(front: Front, query: str, met: bool) -> None:
    reply = front.client.get(f"{CONDITION}{query}", headers=anonymous())
    assert (reply.status, reply.json) == (200, {"sendNotification": met})


def test_operators_routes_are_not_in_the_published_document(front: Front) -> None:
    paths = json.loads(front.client.get("/swagger/v1/swagger.json").content)["paths"]
    assert not [path for path in paths if re.search(r"trigger|metrics|sendcondition", path)]


# Who is let in


def request_from(host: str | None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (host, 1) if host else None})


def let_in(request: Request, environment: Any = "development", **operations: Any) -> bool:
    operators = Operators(Settings(environment=environment, operations=OperationsSettings(**operations)))
    try:
        operators.require(request)
    except Refusal as refusal:
        return refusal.status != 401
    return True


@pytest.mark.parametrize(
    ("host", "environment", "open_to", "expected"),
    [
        ("127.0.0.1", "development", None, True),
        ("::1", "development", None, True),
        ("192.0.2.7", "development", None, False),
        (None, "development", None, False),
        ("127.0.0.1", "production", None, False),
        ("127.0.0.1", "production", "loopback", True),
        ("192.0.2.7", "production", "everybody", True),
        ("127.0.0.1", "development", "nobody", False),
    ],
)
def test_operators_are_let_in_by_where_they_come_from(
    host: str | None, environment: str, open_to: str | None, expected: bool
) -> None:
    assert let_in(request_from(host), environment, open_to=open_to) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_operations_secret": KEY}, True),
        ({"authorization": f"Bearer {KEY}"}, True),
        ({"authorization": f"Basic {KEY}"}, False),
        ({"x_operations_secret": KEY[:-1]}, False),
        ({"x_operations_secret": ""}, False),
        ({}, False),
    ],
)
def test_operators_are_let_in_by_the_secret(headers: dict[str, str], expected: bool) -> None:
    assert let_in(request_from("192.0.2.7", **headers), secret=SecretStr(KEY)) is expected
    assert not let_in(request_from("192.0.2.7", **headers))


async def test_without_the_secret_nothing_of_the_operators_is_served(api: Api, tmp_path: Path) -> None:
    async with serving_with(api, tmp_path, open_to="nobody", secret=SecretStr(KEY)) as client:
        calls: list[tuple[str, str, object]] = [
            ("POST", f"{TRIGGER}/sendsms", None),
            ("GET", PAGE, None),
            ("POST", PAGE, b"month=1&year=2026"),
            ("GET", "/metrics", None),
        ]
        for method, path, body in calls:
            form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}

            async def call(**more: str | None) -> Reply:
                headers = anonymous(**form, **more)  # noqa: B023 - awaited at once
                return await asyncio.to_thread(client.call, method, path, body, headers=headers)  # noqa: B023

            assert (await call()).status == 401
            assert (await call(**{"X-Operations-Secret": KEY})).status == 200


# /metrics


def figures(reply: Reply) -> dict[str, float]:
    assert reply.status == 200, reply.content
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    lines = [line for line in reply.content.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def scrape(api: Api, tmp_path: Path) -> Callable[[], Any]:
    """What a fresh process tells: nothing is remembered from the scrape before."""

    async def fresh() -> dict[str, float]:
        async with serving_with(api, tmp_path) as client:
            return figures(await client.aget("/metrics", headers=anonymous()))

    return fresh


async def test_an_idle_service_has_no_ages_and_no_depths(scrape: Callable[[], Any]) -> None:
    told = await scrape()
    assert told["varsel_database_up"] == 1
    ours = [value for name, value in told.items() if re.match("varsel_(?!database_up|processes_alive)", name)]
    assert len(ours) > 12
    assert set(ours) == {0}
    assert told["process_open_fds"] > 0


async def test_every_figure_is_explained(api: Api, scrape: Callable[[], Any]) -> None:
    api.road.mail = FakeProvider("mail", answers=lambda _: Deferred("no route", Blame.PROVIDER))
    await api.client.apost(f"{ORDERS}/email", MAIL)
    await api.road.run()
    async with api.road.db.autocommit() as conn:
        sql = "UPDATE registry.sync_cursor SET last_started_at = now(), last_success_at = now(), upstream_latest = 1"
        await execute(conn, sql, {})
        await execute(conn, "INSERT INTO dropped_mail VALUES ('other', 1, now())", {})
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    told = {name.partition("{")[0] for name in await scrape() if name.startswith("varsel_")}
    assert told == set(re.findall(r"`(varsel_\w+)`", page))


async def test_what_waits_shows_by_age_and_depth(api: Api, scrape: Callable[[], Any]) -> None:
    api.road.mail = FakeProvider("mail", answers=lambda _: Unknown("no answer"))
    await api.client.apost(f"{ORDERS}/email", MAIL)
    api.road.clock.advance(timedelta(seconds=90))
    told = await scrape()
    assert (told["varsel_oldest_due_order_age_seconds"], told["varsel_due_orders"]) == (90, 1)
    assert told["varsel_scheduled_recipients"] == 1
    worker = await api.road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    api.road.clock.advance(timedelta(seconds=30))
    told = await scrape()
    assert told["varsel_oldest_due_order_age_seconds"] == 0
    assert told['varsel_oldest_unclaimed_notification_age_seconds{channel="email"}'] == 30
    assert told['varsel_unclaimed_notifications{channel="email"}'] == 1
    assert told['varsel_unclaimed_notifications{channel="sms"}'] == 0
    assert told['varsel_notifications{bucket="open",channel="email"}'] == 1
    assert (told["varsel_scheduled_recipients"], told['varsel_notifications{bucket="open",channel="sms"}']) == (0, 0)
    assert told['varsel_processes_alive{kind="worker"}'] == 1
    await worker.mail.send_due()
    await until(lambda: worker.mail.idle)
    await worker.end(api.road)
    api.road.clock.advance(timedelta(seconds=45))
    told = await scrape()
    assert told["varsel_oldest_unknown_notification_age_seconds"] == 45
    assert (told["varsel_unknown_notifications"], told["varsel_uncertain_tries_total"]) == (1, 1)
    assert told["varsel_possible_duplicates_total"] == 0
    api.road.mail = FakeProvider("mail")
    api.road.clock.advance(timedelta(hours=1))
    await api.road.run()
    told = await scrape()
    assert (told["varsel_unknown_notifications"], told["varsel_possible_duplicates_total"]) == (0, 1)
    assert told['varsel_notifications{bucket="accepted",channel="email"}'] == 1


async def test_an_order_that_waits_for_its_register_is_old_and_one_for_later_is_not(
    api: Api, scrape: Callable[[], Any]
) -> None:
    at = (api.road.clock.now() + timedelta(minutes=1)).isoformat()
    recipients = [{"nationalIdentityNumber": "01817012345"}]
    await api.client.apost(f"{ORDERS}/email", {**MAIL, "recipients": recipients, "requestedSendTime": at})
    assert (await scrape())["varsel_oldest_due_order_age_seconds"] == 0
    api.road.clock.advance(timedelta(minutes=2))
    api.road.directory.down = True
    await api.road.run()
    assert (await scrape())["varsel_oldest_due_order_age_seconds"] == 60


async def test_an_sms_that_waited_for_the_window_is_as_old_as_the_window(api: Api, scrape: Callable[[], Any]) -> None:
    api.road.clock.set(datetime(2026, 11, 22, 22, tzinfo=UTC))
    await api.client.apost(f"{ORDERS}/sms", TEXT)
    worker = await api.road.worker()
    await worker.resolution.resolve_due(Lane.ORDINARY)
    api.road.clock.set(datetime(2026, 11, 23, 8, 0, 10, tzinfo=UTC))
    await api.road.sweeper().wake_due()
    await worker.end(api.road)
    told = await scrape()
    assert told['varsel_unclaimed_notifications{channel="sms"}'] == 1
    assert told['varsel_oldest_unclaimed_notification_age_seconds{channel="sms"}'] == pytest.approx(10, abs=0.1)


async def test_providers_and_reports_show_when_they_are_in_trouble(api: Api, scrape: Callable[[], Any]) -> None:
    api.road.mail = FakeProvider("mail", answers=lambda _: Deferred("login refused", Blame.FAULT))
    await api.client.apost(f"{ORDERS}/email", MAIL)
    await api.road.run()
    await api.road.report(None, Verdict.DELIVERED)
    await api.road.report(None, Verdict.DELIVERED, reference="x")
    await api.road.run()
    told = await scrape()
    assert told['varsel_provider_paused{channel="email",provider="mail"}'] == 1
    assert told['varsel_provider_failures{channel="email",provider="mail"}'] >= 1
    assert (told["varsel_dead_reports"], told["varsel_parked_reports"]) == (1, 1)


async def test_one_reading_serves_for_five_seconds(api: Api) -> None:
    async def told() -> dict[str, float]:
        return figures(await api.client.aget("/metrics", headers=anonymous()))

    assert (await told())["varsel_due_orders"] == 0
    await api.client.apost(f"{ORDERS}/email", MAIL)
    assert (await told())["varsel_due_orders"] == 0


def test_without_a_database_the_metrics_say_so(front: Front) -> None:
    told = figures(front.client.get("/metrics", headers=anonymous()))
    assert told["varsel_database_up"] == 0
    assert not [name for name in told if name.startswith("varsel_") and name != "varsel_database_up"]
