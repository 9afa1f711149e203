"""The operations pages: is traffic flowing, what could not be matched, and who did what."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette

from axe import faults
from browser import Page, browser_page
from orders_world import INGRID, Visitor, World, visitor, world
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, execute, fetch
from varsel.delivery import pool_admin_store, pool_store
from varsel.delivery.deadletters import covered
from varsel.delivery.ports import Verdict
from varsel.domain.ids import uuid7
from varsel.domain.notification import Channel, State
from varsel.domain.order import OrderChannel
from varsel.settings import LinkProviderSettings, SandboxSettings, Settings, SmtpProviderSettings
from varsel.ui import access_store, audit, deadletters, providers
from varsel.ui.access import Role
from varsel.ui.access_store import About
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


async def test_the_cause_is_that_of_the_stop_and_not_a_later_change(w: World, jonas: Visitor) -> None:
    await enlisted(w)
    await jonas.post(providers.PATH, name="Fjordgate", do="stop", why="Maintenance")
    async with w.road.db.autocommit() as conn:
        await pool_admin_store.set_weight(conn, "Fjordgate", 40, why="slow", author="varsel")
    page = await shown(jonas, providers.PATH)
    assert "Marit Haugen did it at" in page
    assert "It happened by itself" not in page


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


async def test_no_page_of_long_words_breaks_in_any_width_theme_or_language(database: Database) -> None:
    async with site(database, sandbox=True) as w, browser_page() as page:
        await opened(w, detail="a-very-long-word-without-any-blank-in-it-" * 3)
        await came(w, reference="a-very-long-word-without-any-blank-in-it-" * 3, tries=9)
        async with w.road.db.autocommit() as conn:
            await access_store.note(
                conn, actor="x" * 60, subject="", action="search", about=About("address", f"{'y' * 60}@example.com")
            )
        for path, language in product((providers.PATH, deadletters.PATH, audit.PATH), ("nb", "en")):
            await page.look(language=language)
            await page.goto(w.url + path)
            assert await faults(page, language) == [], path
        assert page.errors == []


# Dead letters


async def came(w: World, *, tries: int = 9, **changes: Any) -> None:
    """A report about a message that nobody knows; tried until it is parked or given up."""
    values = {
        "provider": "Kystlink",
        "channel": Channel.SMS,
        "payload": {"reference": "ref-1", "receiver": "4740000417"},
    }
    await w.road.report(None, Verdict.DELIVERED, **{**values, **changes})
    for _ in range(tries):
        await w.run(after=timedelta(days=1))


async def report_states(w: World) -> list[str]:
    async with w.road.db.reading() as conn:
        return await fetch(conn, "SELECT state FROM delivery_report ORDER BY id", {}, str)


async def test_dead_letters_say_why_and_cover_who_they_are_about(w: World, jonas: Visitor) -> None:
    assert "No dead letters" in await shown(jonas, deadletters.PATH)
    await came(w, reference="ref-1", tries=9)
    await came(w, tries=1)
    page = await jonas.get(deadletters.PATH)
    assert "2 delivery reports could not be matched." in page
    assert "we have tried often enough" in page
    assert "It names no message at all." in page
    assert "ref-1" in page
    assert "40000417" not in page
    assert "•••••" in page


async def test_a_report_that_waits_is_in_a_list_of_its_own(w: World, jonas: Visitor) -> None:
    await came(w, reference="ref-1", tries=1)
    assert "No dead letters" in await shown(jonas, deadletters.PATH)
    page = await shown(jonas, f"{deadletters.PATH}?state=parked")
    assert "a message that we do not know yet" in page
    assert "Next try" in page
    status, _, location = await jonas.post(
        deadletters.PATH, do="replay", state="parked", ids=await _ids_on(jonas, "?state=parked")
    )
    assert (status, await report_states(w)) == (303, ["pending"])
    assert "1 report is tried again" in await shown(jonas, location)


async def _ids_on(by: Visitor, query: str = "") -> str:
    """What the first form of the page names: all that it shows."""
    found = re.search(r'name="ids" value="([^"]+)"', await by.get(deadletters.PATH + query))
    assert found
    return found[1]


@pytest.mark.assertion("channels", 107)
async def test_a_replay_is_applied_like_any_report_and_a_second_press_does_nothing(w: World, jonas: Visitor) -> None:
    await came(w, reference="late-ref", tries=9, provider="sms")
    assert await report_states(w) == ["dead"]
    order = await w.letter(channel=OrderChannel.SMS)
    await w.run()
    async with w.road.db.autocommit() as conn:  # the message that it was about is known after all
        await execute(conn, "UPDATE notification SET provider = 'sms', provider_ref = 'late-ref'", {})
    ids = await _ids_on(jonas)
    for expected in ("n=1", "n=0"):
        status, _, location = await jonas.post(deadletters.PATH, do="replay", ids=ids)
        assert (status, expected in location) == (303, True)
    assert "Nothing was left to do" in await shown(jonas, location)
    await w.run()
    assert (await report_states(w), (await w.road.rows(order))[0].state) == (["applied"], State.DELIVERED)
    assert [action for _, action, _ in await audited(w)] == ["report replay"]
    await jonas.post(deadletters.PATH, do="replay", ids=ids)
    assert await report_states(w) == ["applied"]


async def test_one_that_matches_nothing_still_comes_back_and_can_be_put_away(w: World, jonas: Visitor) -> None:
    await came(w, tries=1)
    ids = await _ids_on(jonas)
    await jonas.post(deadletters.PATH, do="replay", ids=ids)
    await w.run()
    assert await report_states(w) == ["dead"]
    _, _, location = await jonas.post(deadletters.PATH, do="put_away", ids=ids)
    page = await shown(jonas, location)
    assert "1 report is put away" in page
    assert "No dead letters" in page
    assert [action for _, action, _ in await audited(w)] == ["report replay", "report put away"]
    for odd in ("", "x", "'", str(uuid7())):
        assert (await jonas.post(deadletters.PATH, do="replay", ids=odd))[0] == 303
    assert await report_states(w) == ["rejected"]


async def test_dead_letters_are_paged_without_gaps_or_repeats(w: World, jonas: Visitor) -> None:
    for _ in range(3):
        await came(w, tries=0)
    await w.run()
    async with w.road.db.autocommit() as conn:
        sql = """INSERT INTO delivery_report
                        (id, provider, event_key, channel, verdict, raw_state, payload, received_at, state)
                 SELECT overlay(id::text PLACING lpad(n::text, 6, '0') FROM 31)::uuid, provider, event_key || n,
                        channel, verdict, raw_state, payload, received_at, state
                   FROM (SELECT * FROM delivery_report LIMIT 1) d, generate_series(1, 104) n"""
        await execute(conn, sql, {})
    path, seen = deadletters.PATH, []
    for expected in (50, 50, 7):
        page = await jonas.get(path)
        found = re.findall(
            r'name="ids" value="([0-9a-f-]{36})"><button class="btn mini" name="do" value="replay"', page
        )
        assert len(found) == expected
        seen += found
        following = re.search(r'class="more-rows"><a class="btn quiet" href="([^"]+)"', page)
        path = html.unescape(following[1]) if following else ""
    assert (len(set(seen)), path) == (107, "")
    for odd in ("?at=x&id=y", "?at=2026-01-01&id=" + seen[0], "?at=&id=", "?done=burn&n=1", "?done=replay&n=x"):
        await jonas.get(deadletters.PATH + odd)


@given(
    st.dictionaries(
        st.sampled_from(["state", "receiver", "document", "to", "x"]), st.text() | st.integers(), max_size=5
    )
)
def test_only_harmless_words_of_a_report_are_shown(payload: dict[str, str | int]) -> None:
    for name, value in covered(payload).items():
        assert value == "•••••" or (name == "state" and "@" not in str(value))


# The audit log


async def test_the_log_says_who_did_what_and_covers_whom(w: World, jonas: Visitor) -> None:
    assert "Marit Haugen signed in" in await shown(jonas, audit.PATH)
    order = await w.letter(requested_send_time=w.road.clock.now() + timedelta(days=2))
    async with visitor(w, Role.CASEWORKER) as caseworker:
        await caseworker.post("/ui/case", case="2026/114")
        await caseworker.get(await caseworker.search(INGRID))
        assert (await caseworker.post(f"/ui/orders/{order}/cancel"))[0] == 303
        await caseworker.get(audit.PATH, 403)
    await jonas.post(providers.PATH, name="Nordpost", do="stop", why="Maintenance")
    page = await jonas.get(audit.PATH)
    told = said(page)
    for what in (
        "Marit Haugen searched Person 148385 ••••• hidden case 2026/114",
        "looked at what was sent",
        "cancelled an order",
        "stopped a provider Nordpost: Maintenance",
    ):
        assert what in told
    assert INGRID[6:] not in page
    assert f'href="/ui/orders/{order}"' in page
    assert told.index("stopped a provider") < told.index("cancelled an order") < told.index("searched")


async def test_the_log_is_paged_without_gaps_or_repeats(w: World, jonas: Visitor) -> None:
    async with w.road.db.autocommit() as conn:
        sql = """INSERT INTO audit (actor, subject, action)
                 SELECT 'n' || n || '.', '', 'new act' FROM generate_series(1, 120) n"""
        await execute(conn, sql, {})
    path, seen = audit.PATH, []
    while path:
        page = await jonas.get(path)
        seen += re.findall(r"<b>n(\d+)\.</b>", page)
        following = re.search(r'class="more-rows"><a class="btn quiet" href="([^"]+)"', page)
        path = html.unescape(following[1]) if following else ""
    assert [int(n) for n in seen] == list(range(120, 0, -1))
    assert "new act" in page
    assert "Nothing is written down here" in await shown(jonas, f"{audit.PATH}?before=0")
    for odd in ("-1", "x", "9" * 30, "٣"):
        await jonas.get(f"{audit.PATH}?before={odd}")
