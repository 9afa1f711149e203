"""The start page: the search, what waits, and what needs somebody."""

import re
from collections.abc import AsyncIterator

import pytest

from axe import faults
from browser import browser_page
from road import Road
from sandbox_site import Site, sandbox_site
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.delivery.ports import Verdict


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with sandbox_site(database) as site:
        yield site


async def test_a_stuck_provider_is_one_step_away(site: Site, database: Database, clock: ManualClock) -> None:
    road = Road(database, clock)
    await road.report(None, Verdict.DELIVERED)
    await road.run()
    async with database.autocommit() as conn:
        await conn.execute(
            """INSERT INTO provider (name, channel, breaker_until, failures, detail)
               VALUES ('fjordgate', 'sms', statement_timestamp() + interval '10 min', 3, 'connection refused')"""
        )
    async with browser_page() as page:
        await page.look(language="en")
        await page.goto(f"{site.url}/ui/")
        text = re.sub(r"\s+", " ", await page.evaluate("document.querySelector('main').innerText"))
        assert "fjordgate takes no messages connection refused." in text
        assert "No worker is alive" in text
        assert "1 delivery report could not be matched" in text
        await page.click_through("a[href='/ui/ops/providers']")
        assert "fjordgate" in await page.evaluate("document.querySelector('main').innerText")
        assert page.errors == []
    await road.waker.close()


async def test_before_anything_happened_the_page_breaks_in_no_width_theme_or_language(site: Site) -> None:
    async with browser_page() as page:
        for language in ("nb", "en"):
            await page.look(language=language)
            await page.goto(f"{site.url}/ui/")
            assert await faults(page, language) == []
        assert page.errors == []
