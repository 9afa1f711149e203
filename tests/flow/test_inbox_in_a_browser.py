"""The inbox page in a real browser: what a person sees, by keyboard, live, and without a script."""

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise, product
from typing import Any

import pytest

from axe import faults
from browser import CHROMIUM, Page, browser_page
from inbox_data import LETTER, Fate, capture, fill, mail, notification, sms
from sandbox_site import Site, sandbox_site
from varsel.db import Database, execute
from varsel.domain.notification import Channel, State
from varsel.simulators import store
from varsel.simulators.store import Search

FOCUSED = "document.activeElement.dataset.id"
OPEN = "document.querySelector('.pane').dataset.id"
BAR = "document.querySelector('.fresh')"


def test_there_is_a_browser() -> None:
    assert CHROMIUM.exists(), "install Debian's package chromium"


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with sandbox_site(database) as site:
        yield site


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser_page() as page:
        await page.look()
        yield page


async def text(page: Page, selector: str) -> str:
    return str(await page.evaluate(f"document.querySelector({selector!r}).innerText"))


async def test_no_page_breaks_in_any_width_theme_or_language(site: Site, page: Page) -> None:
    ids = await fill(site.database)
    paths = (f"/sandbox?id={ids[5]}", f"/sandbox?id={ids[-1]}&view=text", "/sandbox?q=finnesikke")
    for path, language in product(paths, ("nb", "en")):
        await page.look(language=language)
        await page.goto(site.url + path)
        assert await faults(page, language) == [], path
    assert page.errors == []


async def test_a_person_finds_and_reads_a_message_by_keyboard(site: Site, page: Page) -> None:
    ids = [str(id_) for id_ in await fill(site.database)]
    await page.goto(f"{site.url}/sandbox")
    assert await page.evaluate(OPEN) == ids[-1]
    for _ in range(30):
        await page.press("Tab")
        if await page.evaluate(FOCUSED):
            break
    assert await page.evaluate(FOCUSED) == ids[-1]
    await page.press("ArrowDown")
    await page.press("j")
    await page.press("ArrowDown")
    await page.press("k")
    assert await page.evaluate(FOCUSED) == ids[-3]
    assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    await page.press("Enter")
    await page.until(f"{OPEN} === {ids[-3]!r}")
    assert await page.evaluate(FOCUSED) == ids[-3]  # the reader goes on from there
    assert "bounce@solbakken.example" in await text(page, "#message-title")
    assert await page.evaluate("document.querySelector('.msg[aria-current]').dataset.id") == ids[-3]
    await page.press("Escape")
    assert await page.evaluate("document.activeElement.id") == "q"


async def test_on_a_phone_the_list_and_the_message_take_turns(site: Site, page: Page) -> None:
    ids = await fill(site.database)
    await page.look(width=390, height=844)
    await page.goto(f"{site.url}/sandbox")

    async def visible() -> list[bool]:
        return [bool(await page.evaluate(f"document.querySelector('{s}').offsetHeight")) for s in (".list", ".pane")]

    assert await visible() == [True, False]
    await page.evaluate(f"document.querySelector('[data-id=\"{ids[2]}\"]').click()")
    await page.until("document.activeElement.id === 'message-title'")
    assert await visible() == [False, True]
    await page.evaluate("document.querySelector('.goback').click()")
    await page.until(f"{FOCUSED} === '{ids[2]}'")
    assert await visible() == [True, False]
    await page.evaluate("history.back()")
    await page.until("document.querySelector('.pane').offsetHeight > 0")


async def test_a_new_message_is_told_and_nothing_moves_until_asked(site: Site, page: Page) -> None:
    await fill(site.database)
    await page.goto(f"{site.url}/sandbox")
    before = await page.evaluate("[...document.querySelectorAll('.msg')].map(m => m.dataset.id)")
    await page.evaluate(f"document.querySelector('[data-id=\"{before[2]}\"]').focus()")
    await capture(site.database, sms("+4740000500", "Ny melding"))
    await page.until(f"!{BAR}.hidden")
    assert await text(page, ".fresh") == "1 ny melding. Vis den"
    await capture(site.database, sms("+4740000500", "Enda en"))
    await page.until(f"{BAR}.innerText.startsWith('2 nye')")
    assert await page.evaluate("[...document.querySelectorAll('.msg')].map(m => m.dataset.id)") == before
    assert await page.evaluate(FOCUSED) == before[2]
    assert await text(page, ".sub .n") == "10"
    await page.click_through(".fresh a")
    assert "Enda en" in await text(page, ".msg")


async def test_a_fate_changes_in_place(site: Site, page: Page) -> None:
    sent = await notification(site.database, Channel.SMS, "+4740000417", Fate(State.ACCEPTED), reference="A")
    await capture(site.database, replace(sms("+4740000417", "Hei"), notification_id=sent))
    await page.goto(f"{site.url}/sandbox")
    assert "Overlevert" in await text(page, ".msg")
    async with site.database.autocommit() as conn:
        await execute(conn, "UPDATE notification SET state = 'delivered' WHERE id = %(id)s", {"id": sent})
    await page.until("document.querySelector('.msg').innerText.includes('Kom fram')")
    assert "Kom fram" in await text(page, ".pane > header")
    assert "Mobilnettet bekreftet" in await text(page, ".about")
    assert (await text(page, ".sent")).startswith("Levert")


async def test_the_first_message_appears_by_itself(site: Site, page: Page) -> None:
    await page.goto(f"{site.url}/sandbox")
    assert "Ingen meldinger ennå" in await text(page, "main")
    await capture(site.database, sms("+4740000417", "Hei"))
    await page.until("document.querySelector('.msg')")
    assert "Hei" in await text(page, ".bubble")


async def test_a_lost_server_is_said_and_forgotten_when_it_is_back(site: Site, page: Page) -> None:
    await fill(site.database)
    await page.goto(f"{site.url}/sandbox")
    offline: dict[str, Any] = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    await page.send("Network.emulateNetworkConditions", offline=True, **offline)
    await page.until(f"{BAR}.classList.contains('lost')")
    assert "Ikke direkte" in await text(page, ".fresh")
    await page.send("Network.emulateNetworkConditions", offline=False, **offline)
    await page.until(f"{BAR}.hidden")


@pytest.mark.assertion("channels", 110)
async def test_a_foreign_mail_runs_nothing_and_fetches_nothing(site: Site, page: Page) -> None:
    [id_] = await capture(site.database, mail("a@example.com", "Brev", "Hei", html=LETTER))
    await page.goto(f"{site.url}/sandbox/messages/{id_}/html")
    assert "Plass i Solbakken barnehage" in await text(page, "body")
    assert "a script ran" not in await text(page, "body")
    refused = " ".join(page.errors)
    assert "tracker.example" in refused
    assert "Content Security Policy" in refused


async def test_a_mail_is_shown_as_wide_as_a_phone_or_a_screen(site: Site, page: Page) -> None:
    await capture(site.database, mail("a@example.com", "Brev", "Hei", html=LETTER))
    await page.goto(f"{site.url}/sandbox")
    assert await page.evaluate("document.querySelector('iframe').clientWidth") == 375
    await page.evaluate("document.querySelector('#wide').click()")
    assert await page.evaluate("document.querySelector('iframe').clientWidth") == 640


async def test_raw_data_is_copied_and_says_so(site: Site, page: Page) -> None:
    [id_] = await capture(site.database, mail("a@example.com", "Brev", "Hei"))
    here = (await page.send("Target.getTargetInfo"))["targetInfo"]["browserContextId"]
    may = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    await page.send("Browser.grantPermissions", permissions=may, browserContextId=here)
    await page.goto(f"{site.url}/sandbox?id={id_}&view=raw")
    await page.evaluate("document.querySelector('[data-copies]').click()")
    await page.until("document.querySelector('.codebar [role=status]').textContent === 'Kopiert'")
    assert "MIME-Version" in await page.evaluate("navigator.clipboard.readText()")


async def test_the_open_message_stands_in_sight_in_the_list(site: Site, page: Page) -> None:
    ids = await capture(site.database, *(sms("+4740000417", f"nr. {n}") for n in range(50)))
    await page.goto(f"{site.url}/sandbox?id={ids[10]}")
    row, edge = [
        await page.evaluate(f"document.querySelector('{s}').getBoundingClientRect().bottom")
        for s in (".msg[aria-current]", "#messages")
    ]
    assert row <= edge


async def test_emptying_asks_first_with_the_safe_answer_in_focus(site: Site, page: Page) -> None:
    await fill(site.database)
    await page.goto(f"{site.url}/sandbox")
    await page.evaluate("document.querySelector('[data-opens]').click()")
    assert await page.evaluate("document.activeElement.innerText") == "Behold dem"
    await page.press("Escape")
    assert not await page.evaluate("document.querySelector('dialog').open")
    await page.evaluate("document.querySelector('[data-opens]').click()")
    assert await text(page, "dialog h2") == "Slette 8 meldinger?"
    await page.click_through("dialog .danger")
    assert "Ingen meldinger ennå" in await text(page, "main")


async def test_the_clock_is_moved_from_the_page(site: Site, page: Page) -> None:
    await fill(site.database)
    await page.goto(f"{site.url}/sandbox?kind=sms")
    await page.click_through("[name=advance][value=P1D]")
    assert await text(page, ".clock .tiny") == "Klokka her er 1 dag foran"
    assert (await page.evaluate("location.search")) == "?kind=sms"


async def test_the_theme_switches_at_once_and_is_remembered(site: Site, page: Page) -> None:
    await page.look(dark=True)
    await page.goto(f"{site.url}/sandbox")
    await page.evaluate("document.querySelector('[data-theme-switch]').click()")
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"
    await page.goto(f"{site.url}/sandbox")
    assert await page.evaluate("document.documentElement.dataset.theme") == "light"


async def test_everything_works_without_the_script(site: Site, page: Page) -> None:
    ids = await fill(site.database)
    await page.look(script=False)
    await page.goto(f"{site.url}/sandbox")
    await page.click_through(f'[data-id="{ids[5]}"]')
    assert "bounce@solbakken.example" in await text(page, "#message-title")
    await page.click_through('[data-view="raw"]')
    assert "MIME-Version" in await text(page, "#raw")
    await page.evaluate("document.querySelector('#q').value = 'Strandveien'")
    await page.click_through(".seek button")
    assert "2 treff på «Strandveien»" in await text(page, ".hits")
    await page.click_through("[name=advance][value=PT1H]")
    assert "1 time foran" in await text(page, ".clock")
    await page.click_through("[data-theme-switch]")
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.click_through(".lang")
    assert await text(page, "h1") == "Inbox"
    await page.click_through("[data-opens]")
    await page.click_through("dialog .danger")
    async with site.database.reading() as conn:
        assert (await store.count(conn, Search())).all == 0


async def test_everything_has_a_name_that_a_screen_reader_says(site: Site, page: Page) -> None:
    ids = await fill(site.database)
    await page.send("Accessibility.enable")
    for path in ("/sandbox", f"/sandbox?id={ids[5]}", f"/sandbox?id={ids[-1]}&view=raw", "/sandbox?q=finnesikke"):
        await page.goto(site.url + path)
        nodes = [n for n in (await page.send("Accessibility.getFullAXTree"))["nodes"] if not n["ignored"]]
        spoken = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes]
        roles = [role for role, _ in spoken]
        for role, name in spoken:
            if role in {"button", "link", "searchbox", "radio", "navigation", "search", "region", "Iframe", "heading"}:
                assert name, (path, role)
        assert [roles.count(role) for role in ("banner", "main", "contentinfo")] == [1, 1, 1]
        levels = await page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].filter(h => h.offsetHeight).map(h => +h.tagName[1])"
        )
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        small = await page.evaluate(
            """[...document.querySelectorAll('a, button, input:not([type=hidden]):not([type=radio])')]
               .filter(e => e.offsetHeight && !e.closest('p') && Math.min(e.offsetWidth, e.offsetHeight) < 24)
               .map(e => e.outerHTML)"""
        )
        assert small == []
