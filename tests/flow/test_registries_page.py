"""The page of registries: how fresh is what we know, what could not be read, and trying it again."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from axe import faults
from browser import browser_page
from sandbox_site import Site, sandbox_site
from varsel.db import Database, execute, fetch_value
from varsel.domain.identifiers import check_digits
from varsel.ui.registries import PATH

P1 = "14838510036"
NOW = datetime.now(UTC)
PERSON = {
    "personidentifikator": P1,
    "reservasjon": "NEI",
    "status": "AKTIV",
    "kontaktinformasjon": {"epostadresse": "eva@example.com", "epostadresse_oppdatert": "2026-11-01T10:00:00Z"},
}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with sandbox_site(database) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(site.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


async def text_of(client: aiohttp.ClientSession, path: str = PATH, status: int = 200, language: str = "en") -> str:
    async with client.get(path, headers={"Accept-Language": language}) as answer:
        assert answer.status == status
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", await answer.text()))


async def form_of(client: aiohttp.ClientSession, **fields: str) -> dict[str, str]:
    """A form of the page, as it would be sent."""
    async with client.get(PATH) as answer:
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', await answer.text())
    return {"form_token": found[1] if found else "", **fields}


async def set_aside(database: Database, *, payload: Any = PERSON, reason: str = "bad_time", feed: str = "krr") -> int:
    sql = """INSERT INTO registry.quarantine
                    (feed, upstream_id, reason, payload, generation, position, ordinal, first_seen_at, last_seen_at)
             VALUES (%(feed)s, %(id)s, %(reason)s, %(payload)s, 1, 7, 0, %(now)s, %(now)s) RETURNING id"""
    content = None if payload is None else json.dumps(payload)
    params = {"feed": feed, "id": P1, "reason": reason, "payload": content, "now": NOW}
    async with database.autocommit() as conn:
        return int(await fetch_value(conn, sql, params))


async def followed(database: Database, **columns: object) -> None:
    """The people's register as a run has left it."""
    values = {"state": "idle", "last_started_at": NOW, "last_success_at": NOW, **columns}
    assigned = ", ".join(f"{name} = %({name})s" for name in values)
    async with database.autocommit() as conn:
        await execute(conn, f"UPDATE registry.sync_cursor SET {assigned} WHERE feed = 'krr'", values)


async def person_email(database: Database) -> object:
    async with database.reading() as conn:
        return await fetch_value(conn, "SELECT email FROM registry.person", {})


async def test_the_first_sentence_says_how_things_are(site: Site, client: aiohttp.ClientSession) -> None:
    assert "We know nobody yet." in await text_of(client)
    async with site.database.autocommit() as conn:
        sql = (
            "INSERT INTO registry.person (subject_key, reserved, source, changed_at) VALUES ('1', false, 'file', now())"
        )
        await execute(conn, sql, {})
    assert "What we know comes from files." in await text_of(client)
    await followed(site.database)
    assert "nothing is wrong" in await text_of(client)
    await set_aside(site.database)
    assert "1 record could not be read." in await text_of(client)
    await followed(site.database, state="error", last_error="upstream_down", last_error_at=NOW, consecutive_failures=3)
    shown = await text_of(client)
    assert "we keep trying" in shown
    assert "upstream_down" in shown
    assert "3 times in a row" in shown
    await followed(site.database, state="needs_resync")
    assert "must be read from its beginning" in await text_of(client)
    assert "må leses fra begynnelsen" in await text_of(client, language="nb")


async def test_a_feed_shows_its_cursor_and_its_age(site: Site, client: aiohttp.ClientSession) -> None:
    await followed(
        site.database,
        position=12_345,
        upstream_latest=12_400,
        last_success_at=datetime.now(UTC) - timedelta(hours=3, minutes=5),
    )
    shown = await text_of(client)
    for told in ("12345", "Changes to read 55", "Age of our copy 3 hours and 5 minutes", "Up to date", "Not followed"):
        assert told in shown
    await followed(site.database, lease_until=datetime.now(UTC) + timedelta(minutes=1), state="running")
    assert "Being read" in await text_of(client)


async def test_a_record_is_tried_again_and_taken_in(site: Site, client: aiohttp.ClientSession) -> None:
    id_ = await set_aside(site.database)
    shown = await text_of(client)
    assert "A time in it is not written correctly." in shown
    assert "148385*****" in shown
    assert P1 not in shown
    async with client.post(f"{PATH}/retry", data=await form_of(client, id=str(id_)), allow_redirects=False) as answer:
        assert answer.status == 303
        after = answer.headers["Location"]
    assert "1 was taken in." in await text_of(client, after)
    assert "There are none." in await text_of(client)
    assert await person_email(site.database) == "eva@example.com"


async def test_all_are_tried_again_and_what_cannot_be_read_stays(site: Site, client: aiohttp.ClientSession) -> None:
    await set_aside(site.database)
    await set_aside(site.database, payload={**PERSON, "status": "NY"}, reason="unknown_status")
    await set_aside(site.database, payload=None, reason="invented_later")
    shown = await text_of(client)
    assert "Content no longer kept" in shown
    assert "It could not be read. invented_later" in shown
    async with client.post(f"{PATH}/retry", data=await form_of(client, id="all")) as answer:
        assert answer.status == 200
    shown = await text_of(client)
    assert "unknown_status" in shown
    assert "bad_time" not in shown


async def test_a_real_person_is_not_taken_in(site: Site, client: aiohttp.ClientSession) -> None:
    real = f"010107501{check_digits('010107501')}"
    id_ = await set_aside(site.database, payload={**PERSON, "personidentifikator": real})
    async with client.post(f"{PATH}/retry", data=await form_of(client, id=str(id_))) as answer:
        assert answer.status == 409
        assert real not in await answer.text()
    assert await person_email(site.database) is None


async def test_other_sites_change_nothing_and_odd_addresses_do_no_harm(
    site: Site, client: aiohttp.ClientSession
) -> None:
    id_ = await set_aside(site.database)
    async with client.post(
        f"{PATH}/retry", data=await form_of(client, id=str(id_)), headers={"Sec-Fetch-Site": "cross-site"}
    ) as answer:
        assert answer.status == 403
    for odd in ("", "x", "-1", "9" * 30, "١"):
        async with client.post(f"{PATH}/retry", data=await form_of(client, id=odd), allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, PATH)
    assert await person_email(site.database) is None
    for query in (
        "?applied=1",
        "?applied=x&superseded=0&unreadable=0",
        "?applied=9999999999&superseded=0&unreadable=0",
    ):
        assert "read again" not in await text_of(client, PATH + query)


async def test_what_the_copies_hold_and_which_files_came_is_told(site: Site, client: aiohttp.ClientSession) -> None:
    async with site.database.autocommit() as conn:
        await execute(
            conn,
            """INSERT INTO registry.organisation (org_no, source, changed_at)
               SELECT (310000000 + n)::text, 'file', now() FROM generate_series(1, 60000) n""",
            {},
        )
        await execute(conn, "ANALYZE registry.organisation", {})
        await execute(
            conn,
            """INSERT INTO registry.import_job
                      (id, kind, file_name, checksum, state, rows, bad_rows, started_at, ended_at)
               VALUES (gen_random_uuid(), 'organisations', 'o.csv', '', 'done', 60000, 2, %(now)s, %(now)s)""",
            {"now": NOW},
        )
    shown = await text_of(client)
    assert "Organisations about 60,000" in shown
    assert "People 0" in shown
    assert "organisations 60,000 lines" in shown
    assert "2 bad lines" in shown


async def test_a_person_tries_a_record_again_by_keyboard_also_without_a_script(site: Site) -> None:
    async with browser_page() as page:
        for script in (True, False):
            id_ = await set_aside(site.database)
            async with site.database.autocommit() as conn:
                await execute(conn, "DELETE FROM registry.person", {})
            await page.look(language="en", script=script)
            await page.goto(site.url + PATH)
            for _ in range(30):
                await page.press("Tab")
                if await page.evaluate("document.activeElement.value") == str(id_):
                    break
            assert await page.evaluate("document.activeElement.getAttribute('aria-label')") == "Try again: 148385*****"
            await page.press("Enter")
            await page.until("document.querySelector('[role=status]') !== null")
            assert "1 was taken in." in await page.evaluate("document.querySelector('[role=status]').innerText")
            assert await person_email(site.database) == "eva@example.com"
        assert page.errors == []


async def test_the_inbox_leads_to_the_page_and_back(site: Site) -> None:
    async with browser_page() as page:
        await page.look(language="en")
        await page.goto(f"{site.url}/sandbox")
        await page.click_through("nav a[href='/ui/ops/providers']")
        await page.click_through(f"nav a[href='{PATH}']")
        assert await page.evaluate("document.querySelector('h1').innerText") == "Registries"
        await page.click_through("nav a[href='/sandbox']")
        assert await page.evaluate("document.querySelector('h1').innerText") == "Inbox"
        assert page.errors == []


async def test_the_page_breaks_in_no_width_theme_or_language(site: Site) -> None:
    await set_aside(site.database)
    await set_aside(site.database, feed="business-addresses", reason="bad_organisation_number")
    await followed(
        site.database, state="error", last_error="upstream_protocol_error", last_error_at=NOW, consecutive_failures=7
    )
    async with browser_page() as page:
        for language in ("nb", "en"):
            await page.look(language=language)
            await page.goto(site.url + PATH)
            assert await faults(page, language) == []
        assert page.errors == []
