"""The sandbox's registers: somebody is changed there, and the page says when the change has come to us."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
import pytest
from starlette.applications import Starlette

from axe import faults
from browser import browser_page
from feeds import NOW, Feeds, running_feeds
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, fetch
from varsel.domain.identifiers import check_digits, synthetic_organisation_number
from varsel.recipients.personas import ORGANISATIONS, PERSONS
from varsel.settings import RegistrySettings, SandboxSettings, Settings
from varsel.simulators.business_addresses import FEED
from varsel.simulators.krr import CHANGES
from varsel.simulators.world import World
from varsel.ui.sandbox_registries import PATH
from varsel.ui.site import site_routes

ROLIG = PERSONS["P1"]
FJELL = ORGANISATIONS["O1"]


@dataclass(frozen=True)
class Sandbox:
    url: str
    feeds: Feeds
    http: aiohttp.ClientSession

    async def page(self, path: str = PATH, status: int = 200) -> str:
        async with self.http.get(path) as answer:
            assert answer.status == status
            return said(await answer.text())

    async def put(self, status: int = 200, **fields: str) -> str:
        """What the page says when a form of it is posted."""
        async with self.http.get(PATH) as answer:
            found = re.search(r'name="form_token" value="([0-9a-f]+)"', await answer.text())
        assert found
        headers = {"Sec-Fetch-Site": "same-origin"}
        async with self.http.post(PATH, data={"form_token": found[1], **fields}, headers=headers) as answer:
            assert answer.status == status, said(await answer.text())
            return said(await answer.text())

    async def read(self) -> None:
        """As a worker does: both feeds, a minute later."""
        self.feeds.clock.advance(timedelta(minutes=1))
        await self.feeds.persons().run(at_once=True)
        await self.feeds.addresses().run(at_once=True)


def said(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@asynccontextmanager
async def sandbox(database: Database, *, follows: bool = True) -> AsyncIterator[Sandbox]:
    world = World.personas(NOW)
    async with running_feeds(database, world, world) as feeds:
        registry = RegistrySettings(
            krr_sync_enabled=follows,
            krr_changes_url=feeds.krr.url.rstrip("/") + CHANGES,
            business_sync_enabled=follows,
            business_feed_url=feeds.business.url.rstrip("/") + FEED,
        )
        parts = ui_parts(database, feeds.clock, Settings(sandbox=SandboxSettings(enabled=True), registry=registry))
        jar = aiohttp.CookieJar(unsafe=True)
        async with (
            serving(Starlette(routes=site_routes(parts))) as port,
            aiohttp.ClientSession(
                f"http://127.0.0.1:{port}", cookie_jar=jar, headers={"Accept-Language": "en"}
            ) as http,
        ):
            yield Sandbox(f"http://127.0.0.1:{port}", feeds, http)


@pytest.fixture
async def here(database: Database) -> AsyncIterator[Sandbox]:
    async with sandbox(database) as made:
        await made.read()
        yield made


async def person(here: Sandbox, key: str) -> tuple[str | None, str | None, bool, bool]:
    sql = "SELECT email, mobile, reserved, deleted FROM registry.person WHERE subject_key = %(key)s"
    async with here.feeds.db.reading() as conn:
        (found,) = await fetch(conn, sql, {"key": key}, lambda *row: row)
    return found


async def test_without_a_register_to_follow_the_page_says_how_to_have_one(database: Database) -> None:
    async with sandbox(database, follows=False) as here:
        page = await here.page()
        assert "No register is followed here" in page
        assert "VARSEL_REGISTRY__KRR_SYNC_ENABLED=true" in page


async def test_a_change_of_somebody_goes_through_the_register_and_is_told_when_it_comes(here: Sandbox) -> None:
    assert "rolig.fjord@example.com" in await here.page()
    page = await here.put(
        do="person", id="148385 10036", email="nytt@example.com", mobile="+4799999501", reserved="yes"
    )
    assert "The register has it" in page
    assert "Not yet here" in page
    assert (await person(here, ROLIG))[0] == "rolig.fjord@example.com"
    await here.read()
    assert await person(here, ROLIG) == ("nytt@example.com", "+4799999501", True, False)
    page = await here.page()
    assert "Not yet here" not in page
    assert "Came at" in page


async def test_somebody_new_comes_and_goes(here: Sandbox) -> None:
    nobody = PERSONS["P10"]
    await here.put(do="person", id=nobody, email="ny@example.com")
    await here.read()
    assert (await person(here, nobody))[0] == "ny@example.com"
    page = await here.put(do="person", id=nobody, deleted="yes")
    assert page.count("Not yet here") == 1
    await here.read()
    assert (await person(here, nobody))[3] is True
    assert "Not yet here" not in await here.page()


async def test_an_address_of_an_organisation_is_put_in_changed_and_removed(here: Sandbox) -> None:
    number = synthetic_organisation_number(5, 5)
    await here.put(do="address", org_no=number, name="Ny Bedrift AS", address="post@ny.example")
    await here.read()
    page = await here.page()
    assert "post@ny.example" in page
    assert "Came at" in page
    async with here.feeds.db.reading() as conn:
        sql = "SELECT registry_id FROM registry.org_address WHERE org_no = %(org)s"
        (id_,) = await fetch(conn, sql, {"org": number}, str)
    page = await here.put(do="open_address", registry_id=id_, org_no=number, address="post@ny.example")
    await here.put(do="address", registry_id=id_, org_no=number, address="annen@ny.example")
    await here.read()
    assert "annen@ny.example" in await here.page()
    await here.put(do="remove_address", registry_id=id_, org_no=number, address="annen@ny.example")
    assert "Not yet here" in await here.page()
    await here.read()
    assert "Not yet here" not in await here.page()
    async with here.feeds.db.reading() as conn:
        sql = "SELECT 1 FROM registry.org_address WHERE org_no = %(org)s AND NOT deleted"
        assert await fetch(conn, sql, {"org": number}, int) == []
    assert "post.fjell@example.com" in await here.page()  # those of others stand


async def test_what_no_register_would_take_is_refused_with_what_was_written_kept(here: Sandbox) -> None:
    real = f"010107501{check_digits('010107501')}"
    for wrong in (real, "123", ""):
        page = await here.put(422, do="person", id=wrong, email="a@example.com")
        assert "The register does not take it" in page
    page = await here.put(422, do="address", org_no=FJELL, address="neither")
    assert "The register does not take it" in page
    assert "Not yet here" not in await here.page()
    await here.put(do="nothing known")


async def test_a_register_that_is_away_is_told(here: Sandbox) -> None:
    await here.feeds.krr.stop()
    page = await here.put(503, do="person", id=ROLIG, email="a@example.com")
    assert "The simulated register does not answer" in page


async def test_in_a_browser_the_change_comes_by_itself(here: Sandbox) -> None:
    async with browser_page() as page:
        await page.look(language="en")
        await page.goto(here.url + PATH)
        await page.evaluate("document.querySelector('#p-id').focus()")
        await page.send("Input.insertText", text=ROLIG)
        await page.evaluate("document.querySelector('#p-email').focus()")
        await page.send("Input.insertText", text="nytt@example.com")
        page._loaded.clear()
        await page.press("Enter")
        await page.loaded()
        await page.until("document.querySelector('.arrivals').innerText.includes('Not yet here')")
        await here.read()
        await page.until("document.querySelector('.arrivals').innerText.includes('Came at')")
        assert page.errors == []


async def test_the_page_breaks_in_no_width_theme_or_language(here: Sandbox) -> None:
    await here.put(do="person", id=ROLIG, email="nytt@example.com")
    await here.read()
    await here.put(do="person", id=ROLIG, deleted="yes")
    async with browser_page() as page:
        for language in ("nb", "en"):
            await page.look(language=language)
            await page.goto(f"{here.url}{PATH}?done=yes")
            assert await faults(page, language) == []
        assert page.errors == []
