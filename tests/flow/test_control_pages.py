"""Webhooks, quotas and settings on the pages: do senders hear from us, who may do how much, and what is set?"""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette

from axe import faults
from browser import browser_page
from orders_world import Visitor, World, visitor, world
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, execute, fetch, fetch_one
from varsel.domain.ids import CreatorId, WebhookId, uuid7
from varsel.domain.quota import Counter, Limit
from varsel.domain.schedule import oslo_day
from varsel.orders import quota_store
from varsel.orders.quota_store import Key
from varsel.providers.webhook import WebhookProviderSettings
from varsel.settings import (
    AuthSettings,
    CreatorQuotaSettings,
    QuotaSettings,
    SandboxSettings,
    ServerSettings,
    Settings,
    SmtpProviderSettings,
)
from varsel.ui import quotas, settings_page, webhooks
from varsel.ui.access import Role
from varsel.ui.site import site_routes
from varsel.webhooks.event import Kind
from varsel.webhooks.owner import Owners
from varsel.webhooks.owner_store import Wish

KOMMUNE: Final = "Fjordvik kommune"
SECRETS: Final = ("hunter2hunter2", "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "Bearer abc", "topsecretkey")


def chosen(**changes: Any) -> Settings:
    return Settings(
        database_url=SecretStr("postgresql://varsel:hunter2hunter2@db.example/varsel"),
        server=ServerSettings(base_url="http://varsel.example"),
        auth=AuthSettings(platform_keys={"platform": "https://user:hunter2hunter2@keys.example/jwks?key=topsecretkey"}),
        quotas=QuotaSettings(
            sms_requests_per_minute=60, creators={"Havneetaten": CreatorQuotaSettings(email_recipients_per_day=100)}
        ),
        providers=(
            SmtpProviderSettings(name="Nordpost", host="127.0.0.1", port=9, tls="none", password=SecretStr(SECRETS[0])),
            WebhookProviderSettings(
                name="Krok",
                channel="sms",
                url="http://127.0.0.1:9/",
                secret=SecretStr(SECRETS[1]),
                headers={"Authorization": SecretStr(SECRETS[2])},
            ),
        ),
        **changes,
    )


@asynccontextmanager
async def site(database: Database, *, sandbox: bool = False) -> AsyncIterator[World]:
    async with world(database) as w:
        settings = chosen(sandbox=SandboxSettings(enabled=sandbox))
        parts = replace(ui_parts(database, w.road.clock, settings), variables=frozenset({"VARSEL_SERVER__BASE_URL"}))
        async with serving(Starlette(routes=site_routes(parts))) as port:
            yield World(f"http://127.0.0.1:{port}", w.road)


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    async with site(database) as made:
        yield made


@pytest.fixture
async def jonas(w: World) -> AsyncIterator[Visitor]:
    async with visitor(w, Role.OPERATOR) as somebody:
        yield somebody


def said(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


async def shown(by: Visitor, path: str, status: int = 200) -> str:
    return said(await by.get(path, status))


async def audited(w: World) -> list[tuple[str, str, str, str]]:
    async with w.road.db.reading() as conn:
        sql = "SELECT actor, action, creator, detail FROM audit WHERE action LIKE 'webhook%%' ORDER BY id"
        return await fetch(conn, sql, {}, lambda *row: row)


async def hooked(
    w: World, creator: str = KOMMUNE, url: str = "https://hooks.example/in?token=topsecretkey", **is_: Any
) -> WebhookId:
    """A webhook; `is_`: columns as something has left them."""
    owners = Owners(w.road.db, w.road.clock, lambda _: None)
    webhook, _ = await owners.create(creator, Wish(url, (Kind.ORDER_COMPLETED,), "Sakssystemet", True))
    values = {"state": "active", "confirmed": True, **is_}
    columns = ", ".join(f"{name} = %({name})s" for name in values)
    async with w.road.db.autocommit() as conn:
        await execute(conn, f"UPDATE webhook SET {columns} WHERE id = %(id)s", {**values, "id": webhook.id})
    return webhook.id


async def tried(w: World, hook: WebhookId, **is_: object) -> None:
    values = {
        "webhook_id": hook,
        "event_id": uuid7(),
        "seq": 17,
        "order_id": uuid7(),
        "kind": "order.completed.v1",
        "happened": w.road.clock.now(),
        "state": "waiting",
        "attempts": 3,
        "last_at": w.road.clock.now(),
        "next_at": w.road.clock.now() + timedelta(minutes=5),
        "status": 503,
        "detail": "Service Unavailable",
        **is_,
    }
    columns = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    async with w.road.db.autocommit() as conn:
        await execute(conn, f"INSERT INTO webhook_delivery ({columns}) VALUES ({places})", values)


async def stands(w: World, hook: WebhookId) -> tuple[str, str | None, int | None]:
    async with w.road.db.reading() as conn:
        sql = "SELECT state, reason, replay_from::int FROM webhook WHERE id = %(id)s"
        found = await fetch_one(conn, sql, {"id": hook}, lambda *row: row)
    assert found
    return found


# Webhooks


async def test_without_webhooks_the_page_says_how_senders_hear_from_us(jonas: Visitor) -> None:
    page = await shown(jonas, webhooks.PATH)
    assert "Nobody has a webhook. Senders read the status feed." in page
    assert "Senders make them over the API." in page


async def test_those_that_need_somebody_stand_first_and_no_secret_of_an_address_is_shown(
    w: World, jonas: Visitor
) -> None:
    well = await hooked(w, "Aasen skole")
    ill = await hooked(w, "Ørland", failures=3, resting_until=w.road.clock.now() + timedelta(minutes=2))
    await tried(w, ill)
    page = await jonas.get(webhooks.PATH)
    assert page.index(str(ill)) < page.index(str(well))
    assert "1 webhook does not take what we send." in said(page)
    assert "https://hooks.example/in?…" in page
    assert "topsecretkey" not in page
    assert "topsecretkey" not in await jonas.get(f"{webhooks.PATH}/{ill}")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "Fjordvik kommune hears from us."),
        ({"failures": 2}, "The last 2 tries failed. We go on trying for a day, and nothing is lost."),
        ({"state": "pending", "confirmed": False}, "Fjordvik kommune has not answered our ping yet."),
        ({"state": "paused", "reason": "owner"}, "Fjordvik kommune gets nothing while it is paused."),
        ({"state": "paused", "reason": "failing"}, "We gave up on the webhook of Fjordvik kommune."),
        ({"state": "disabled", "reason": "gone"}, "It answered 410. Resuming pings it first."),
    ],
)
async def test_one_webhook_says_how_it_stands_and_why(
    w: World, jonas: Visitor, columns: dict[str, Any], told: str
) -> None:
    hook = await hooked(w, **columns)
    await tried(w, hook)
    page = await shown(jonas, f"{webhooks.PATH}/{hook}")
    assert told in page
    assert "1 event waits for another try." in page
    for part in ("No. 17", "Service Unavailable", "503", "3 tries", "Sakssystemet", "also recipients' addresses"):
        assert part in page


async def test_it_is_paused_resumed_pinged_and_replayed_and_who_did_it_is_written_down(
    w: World, jonas: Visitor
) -> None:
    hook = await hooked(w, position=40)
    path = f"{webhooks.PATH}/{hook}"
    for act, after in (("pause", "It is paused"), ("resume", "It goes on"), ("ping", "A ping is on its way")):
        status, _, location = await jonas.post(path, do=act)
        assert status == 303
        assert after in await shown(jonas, location)
    assert (await stands(w, hook))[0] == "active"
    assert (await jonas.post(path, do="replay", seq="12"))[0] == 303
    assert await stands(w, hook) == ("active", None, 12)
    acts = [(actor, action, creator) for actor, action, creator, _ in await audited(w)]
    assert acts == [("Marit Haugen", f"webhook {act}", KOMMUNE) for act in ("pause", "resume", "ping", "replay")]
    async with visitor(w, Role.OPERATOR) as other:
        assert "replayed a webhook" in await shown(other, "/ui/ops/audit")


async def test_what_cannot_be_replayed_is_told_beside_the_field(w: World, jonas: Visitor) -> None:
    hook = await hooked(w, position=40)
    for seq, told in (("", "Write a number"), ("x", "Write a number"), ("42", "The feed has not come so far")):
        status, page, _ = await jonas.post(f"{webhooks.PATH}/{hook}", do="replay", seq=seq)
        assert status == 422
        assert told in said(page)
    assert await stands(w, hook) == ("active", None, None)


async def test_what_is_not_there_or_means_nothing_does_no_harm(w: World, jonas: Visitor) -> None:
    hook = await hooked(w)
    for id_ in (uuid4(), "x"):
        await jonas.get(f"{webhooks.PATH}/{id_}", 404)
        assert (await jonas.post(f"{webhooks.PATH}/{id_}", do="pause"))[0] == 404
    assert (await jonas.post(f"{webhooks.PATH}/{hook}", do="delete"))[0] == 303
    assert await stands(w, hook) == ("active", None, None)
    assert await audited(w) == []


@given(st.text())
def test_any_address_can_be_shown(url: str) -> None:
    assert "@" not in webhooks.shown_address(f"https://{url}").partition("://")[2].partition("/")[0]


# Quotas


async def used(w: World, creator: str, counter: Counter, amount: int, most: int) -> None:
    now = w.road.clock.now()
    async with w.road.db.autocommit() as conn:
        sql = """INSERT INTO creator (name, created_at) VALUES (%(name)s, now())
                 ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id"""
        (id_,) = await fetch(conn, sql, {"name": creator}, int)
    key, limit = Key(CreatorId(id_), counter), Limit.of(counter, most)
    async with w.road.db.autocommit() as conn:
        await quota_store.take(conn, {key: amount}, {key: limit}, now=now, day=oslo_day(now)[0], whole=False)


async def test_limits_are_shown_with_what_is_used_of_them(w: World, jonas: Visitor) -> None:
    page = await shown(jonas, quotas.PATH)
    assert "Nobody is near a limit." in page
    assert "Havneetaten Own limits" in page
    assert "0 of 100" in page
    assert "SMS orders a minute 60" in page
    assert "Email orders a minute None" in page
    await used(w, KOMMUNE, Counter.EMAIL_RECIPIENTS, 1_200, 1_000_000)
    await used(w, "Havneetaten", Counter.EMAIL_RECIPIENTS, 95, 100)
    page = await shown(jonas, quotas.PATH)
    assert "1 sender is near a limit." in page
    assert "1,200 of 1,000,000" in page
    assert page.index("Havneetaten") < page.index(KOMMUNE)
    assert "95 %" in page
    found = await shown(jonas, f"{quotas.PATH}?q=havne")
    assert KOMMUNE not in found
    assert "No sender is called so" in await shown(jonas, f"{quotas.PATH}?q=zzz")


async def test_a_used_up_limit_says_so_and_a_new_day_begins_at_nothing(w: World, jonas: Visitor) -> None:
    await used(w, "Havneetaten", Counter.EMAIL_RECIPIENTS, 100, 100)
    assert "Used up" in await shown(jonas, quotas.PATH)
    w.road.clock.advance(timedelta(days=1))
    assert "0 of 100" in await shown(jonas, quotas.PATH)


# Settings


async def test_settings_are_shown_with_their_source_and_meaning_but_never_a_secret(jonas: Visitor) -> None:
    page = await jonas.get(settings_page.PATH)
    for secret in SECRETS:
        assert secret not in page
    told = said(page)
    assert "server.base_url what links in answers begin with http://varsel.example Variable" in told
    assert "server.port 0: any free one 5090 Default" in told
    assert "Secret, set" in told
    assert "providers: Nordpost" in told
    assert "https://keys.example/jwks?•••••" in told


async def test_settings_are_found_and_narrowed_down(jonas: Visitor) -> None:
    page = await shown(jonas, f"{settings_page.PATH}?only=chosen")
    assert "server.base_url" in page
    assert "server.port" not in page
    page = await shown(jonas, f"{settings_page.PATH}?q=idle")
    assert "pages.idle_time" in page
    assert "server.port" not in page
    assert "No setting matches" in await shown(jonas, f"{settings_page.PATH}?q=nothing+like+it")


def test_of_what_was_set_alone_it_is_said_that_it_was() -> None:
    sections = settings_page._sections(Settings(), frozenset())
    assert [row.name for section in sections for row in section.rows if row.source != "default"] == []


def test_every_setting_has_a_meaning_on_the_page() -> None:
    known = settings_page.meanings()
    for section in settings_page._sections(chosen(), frozenset()):
        if not section.name.startswith("providers"):
            assert {row.name for row in section.rows} <= known.keys()


# All of them


async def test_only_operators_see_them(w: World) -> None:
    for role in (Role.VIEWER, Role.CASEWORKER, Role.CREATOR_ADMIN):
        async with visitor(w, role) as other:
            for path in (webhooks.PATH, quotas.PATH, settings_page.PATH):
                await other.get(path, 403)


async def test_they_break_in_no_width_theme_or_language(database: Database) -> None:
    async with site(database, sandbox=True) as w, browser_page() as page:
        hook = await hooked(w, "Et kommunalt foretak med et navn som ikke tar slutt AS", failures=3)
        await tried(w, hook)
        await used(w, "Havneetaten", Counter.EMAIL_RECIPIENTS, 100, 100)
        paths = (webhooks.PATH, f"{webhooks.PATH}/{hook}", quotas.PATH)  # the walk has seen the settings
        for path, language in product(paths, ("nb", "en")):
            await page.look(language=language)
            await page.goto(w.url + path)
            assert await faults(page, language) == [], path
        assert page.errors == []
