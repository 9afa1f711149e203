"""The operations pages: is traffic flowing, what could not be matched, and who did what."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import product

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from browser import Page, browser_page
from orders_world import Visitor, World, visitor, world
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, execute, fetch
from varsel.delivery import pool_admin_store, pool_store
from varsel.settings import LinkProviderSettings, SandboxSettings, Settings, SmtpProviderSettings
from varsel.ui import providers
from varsel.ui.access import Role
from varsel.ui.providers_store import Minute
from varsel.ui.pulse import MINUTES, pulse_of
from varsel.ui.site import site_routes


def settings(*, sandbox: bool = False) -> Settings:
    return Settings(
        sandbox=SandboxSettings(enabled=sandbox),
        providers=(
            SmtpProviderSettings(name="Nordpost", host="127.0.0.1", port=9, tls="none", weight=70),
            SmtpProviderSettings(name="Brevdue", host="127.0.0.1", port=9, tls="none", weight=30),
            LinkProviderSettings(
                name="Fjordgate",
                url="http://127.0.0.1:9/",
                username="u",
                password=SecretStr("p"),
                report_username="r",
                report_password=SecretStr("q"),
            ),
        ),
    )


@asynccontextmanager
async def site(database: Database, *, sandbox: bool = False) -> AsyncIterator[World]:
    """The pages of a service with three providers."""
    async with world(database) as w:
        parts = ui_parts(database, w.road.clock, settings(sandbox=sandbox))
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
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


async def shown(by: Visitor, path: str, status: int = 200) -> str:
    return said(await by.get(path, status))


async def audited(w: World) -> list[tuple[str, str, str]]:
    async with w.road.db.reading() as conn:
        sql = "SELECT actor, action, detail FROM audit WHERE action <> 'sign-in' ORDER BY id"
        return await fetch(conn, sql, {}, lambda *row: row)


async def enlisted(w: World) -> None:
    async with w.road.db.autocommit() as conn:
        await pool_store.enlist(conn, ["Nordpost", "Brevdue"], "email")
        await pool_store.enlist(conn, ["Fjordgate"], "sms")


async def opened(w: World, name: str = "Fjordgate", detail: str = "time-out after 30 s") -> None:
    await enlisted(w)
    async with w.road.db.autocommit() as conn:
        await pool_store.open_breaker(
            conn, name, first=timedelta(minutes=9), longest=timedelta(minutes=10), detail=detail
        )


# Providers


async def test_a_service_without_traffic_says_who_is_set_up(jonas: Visitor) -> None:
    page = await shown(jonas, providers.PATH)
    for told in ("Nordpost", "Fjordgate", "Not in use yet", "Rests at 70", "Nothing waits", "Nothing has changed."):
        assert told in page


async def test_a_provider_that_takes_nothing_stands_on_top_with_cause_and_consequence(w: World, jonas: Visitor) -> None:
    await opened(w)
    page = await shown(jonas, providers.PATH)
    assert "1 provider does not take messages as it should." in page
    assert "We stopped sending to Fjordgate" in page
    assert "Reason: time-out after 30 s." in page
    assert "We try single messages from" in page
    assert "No other takes SMS: they wait here, and nothing is lost." in page
    assert "0 of 1 take messages" in page
    await opened(w, "Brevdue")
    page = await shown(jonas, providers.PATH)
    assert "All email goes through Nordpost meanwhile." in page
    assert "1 of 2 take messages" in page


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("paused_until = now() + interval '1 hour'", "Fjordgate asked for a pause"),
        ("breaker_until = now() - interval '1 s', failures = 1", "Fjordgate is on trial"),
        ("stopped = true", "Fjordgate is stopped by hand"),
    ],
)
async def test_each_way_of_not_taking_messages_has_its_words(w: World, jonas: Visitor, columns: str, told: str) -> None:
    await enlisted(w)
    async with w.road.db.autocommit() as conn:
        await execute(conn, f"UPDATE provider SET {columns} WHERE name = 'Fjordgate'", {})
    assert told in await shown(jonas, providers.PATH)


async def test_the_pulse_and_the_last_minute_are_what_was_counted(w: World, jonas: Visitor) -> None:
    await enlisted(w)
    async with w.road.db.autocommit() as conn:
        await pool_store.count(conn, "Nordpost", 40, 10)
        sql = "INSERT INTO provider_window VALUES ('Nordpost', now() - interval '25 min', 1200, 0)"
        await execute(conn, sql, {})
    page = await jonas.get(providers.PATH)
    assert "Nordpost in the last hour: 1,240 tries, 10 errors" in page
    assert "Brevdue: no traffic in the last hour" in page
    assert "Tries/min 40" in said(page)
    assert "Errors/min 10" in said(page)


async def test_what_waits_is_counted_by_channel(w: World, jonas: Visitor) -> None:
    await enlisted(w)
    assert "Nothing waits" in await shown(jonas, providers.PATH)
    await w.letter()
    await w.run()
    sql = "UPDATE notification SET state = 'new', wake_at = NULL, reason = NULL"
    async with w.road.db.autocommit() as conn:
        assert await execute(conn, sql, {}) == 1
    assert "1 is ready" in await shown(jonas, providers.PATH)
    async with w.road.db.autocommit() as conn:
        await execute(conn, "UPDATE notification SET wake_at = now()", {})
    assert "0 are ready, 1 waits to be tried again" in await shown(jonas, providers.PATH)


async def test_an_operator_stops_and_starts_and_moves_with_a_reason_that_is_kept(w: World, jonas: Visitor) -> None:
    for form, told in (
        ({"do": "stop", "why": "Maintenance"}, "Nordpost gets no more messages"),
        ({"do": "start", "why": "Done"}, "Nordpost takes messages"),
        ({"do": "weight", "weight": "20", "why": "Slow"}, "Nordpost has another share"),
    ):
        status, _, location = await jonas.post(providers.PATH, name="Nordpost", **form)
        assert status == 303
        page = await shown(jonas, location)
        assert told in page
        assert form["why"] in page
    assert [(action, detail) for _, action, detail in await audited(w)] == [
        ("provider stop", "Nordpost: Maintenance"),
        ("provider start", "Nordpost: Done"),
        ("provider weight", "Nordpost 20: Slow"),
    ]
    async with w.road.db.reading() as conn:
        (state,) = await pool_admin_store.states(conn)
        changes = await pool_admin_store.changes(conn, "Nordpost", limit=9)
    assert (state.takes, state.weight) == (True, 20)
    assert [(c.kind, c.detail, c.author) for c in changes] == [
        ("weight", "Slow", "Marit Haugen"),
        ("started", "Done", "Marit Haugen"),
        ("stopped", "Maintenance", "Marit Haugen"),
    ]
    assert "Rests at 70, and drifts back" in await shown(jonas, providers.PATH)


async def test_nothing_changes_without_a_reason_a_known_name_and_a_sensible_share(w: World, jonas: Visitor) -> None:
    await enlisted(w)
    status, page, _ = await jonas.post(providers.PATH, name="Nordpost", do="stop", why="  ")
    assert (status, "Write why" in page) == (422, True)
    for share in ("101", "-1", "x", "", "٣", "1.5"):
        status, page, _ = await jonas.post(providers.PATH, name="Nordpost", do="weight", weight=share, why="w")
        assert (status, "from 0 to 100" in page) == (422, True)
    assert (await jonas.post(providers.PATH, name="Nobody", do="stop", why="w"))[0] == 404
    assert (await jonas.post(providers.PATH, name="Nordpost", do="burn", why="w"))[0] == 303
    for query in ("?done=stop&name=Nobody", "?done=burn&name=Nordpost", "?done=stop"):
        assert "gets no more messages" not in await shown(jonas, providers.PATH + query)
    assert await audited(w) == []
    async with w.road.db.reading() as conn:
        assert all(state.takes and state.weight is None for state in await pool_admin_store.states(conn))


async def test_a_provider_that_left_the_settings_is_shown_and_alarms_nobody(w: World, jonas: Visitor) -> None:
    await enlisted(w)
    async with w.road.db.autocommit() as conn:
        await pool_store.enlist(conn, ["Oldgate"], "sms")
        await pool_admin_store.stop(conn, "Oldgate", why="closed", author="me")
    page = await shown(jonas, providers.PATH)
    assert "No longer in the settings." in page
    assert "Every provider takes messages." in page
    assert "1 of 1 take messages" in page


async def test_operations_are_for_operators_alone(w: World) -> None:
    async with visitor(w, Role.CASEWORKER) as caseworker:
        await caseworker.get(providers.PATH, 403)
        status, _, _ = await caseworker.post(providers.PATH, name="Nordpost", do="stop", why="w")
        assert status == 403
    assert await audited(w) == []


def test_a_pulse_has_a_bar_for_each_minute_and_failures_within_it() -> None:
    pulse = pulse_of([Minute("P", 0, 100, 50), Minute("P", 59, 1, 0), Minute("P", 60, 9, 9)])
    assert len(pulse.bars) == MINUTES
    assert [bar.x for bar in pulse.bars] == [4 * n for n in range(MINUTES)]
    first, last = pulse.bars[0], pulse.bars[-1]
    assert (last.height, last.bad) == (30, 15)
    assert first.height >= 3
    assert not first.bad
    assert (pulse.attempts, pulse.errors) == (101, 50)
    assert [s.attempts for s in pulse.stretches] == [1, 0, 0, 0, 0, 100]


async def test_an_operator_finds_a_stuck_provider_in_two_steps_by_keyboard(database: Database) -> None:
    async with site(database, sandbox=True) as w, browser_page() as page:
        await opened(w)
        for script, language in product((True, False), ("nb", "en")):
            await page.look(language=language, script=script)
            await page.goto(f"{w.url}/ui/orders")
            await _press_to(page, "/ui/ops/providers")
            await page.until("document.querySelector('main .notice')")  # step 1: the cause is on top
            notice = await page.evaluate("document.querySelector('main .notice').innerText")
            assert "Fjordgate" in notice
            assert "time-out after 30 s" in notice
            await _press_to(page, "#p-Fjordgate")  # step 2: the provider, and what to do
            await page.until("location.hash === '#p-Fjordgate'")
            assert await page.evaluate("document.querySelector(':target form button').textContent.length > 0")
        assert page.errors == []


async def _press_to(page: Page, href: str) -> None:
    """Tab to a link, and follow it."""
    for _ in range(40):
        await page.press("Tab")
        if await page.evaluate("document.activeElement.getAttribute('href')") == href:
            await page.press("Enter")
            return
    raise AssertionError(f"no key leads to {href}")


async def test_no_page_breaks_in_any_width_theme_or_language(database: Database) -> None:
    async with site(database, sandbox=True) as w, browser_page() as page:
        await opened(w, detail="a-very-long-word-without-any-blank-in-it-" * 3)
        for path, (width, dark), language in product(
            (providers.PATH,), ((320, False), (768, True), (1280, False)), ("nb", "en")
        ):
            await page.look(width=width, dark=dark, language=language)
            await page.goto(w.url + path)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width, (path, width, language)
            assert await page.evaluate("document.querySelectorAll('h1').length") == 1
            assert await page.evaluate(
                "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
                " === document.querySelectorAll('[id]').length"
            )
        assert page.errors == []
