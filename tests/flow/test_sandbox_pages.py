"""The sandbox over HTTP: the JSON API of captured messages, the clock, and the inbox page without its script."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest

from inbox_data import LETTER, Fate, capture, fill, mail, notification, sms, waiting_order
from sandbox_site import Site, sandbox_site
from varsel.db import Database, execute
from varsel.domain.ids import NotificationId, uuid7
from varsel.domain.notification import Channel
from varsel.domain.schedule import OSLO
from varsel.heartbeat import beat

MESSAGES = "/sandbox/messages"


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    async with sandbox_site(database) as site:
        yield site


@pytest.fixture
async def client(site: Site) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser's cookies, and no following of redirects."""
    async with aiohttp.ClientSession(site.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


async def listed(client: aiohttp.ClientSession, query: str = "") -> list[Any]:
    async with client.get(MESSAGES + query) as answer:
        assert answer.status == 200
        messages: list[Any] = await answer.json()
        return messages


async def page(client: aiohttp.ClientSession, path: str = "/sandbox", **headers: str) -> str:
    async with client.get(path, headers={"Accept-Language": "nb"} | headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def test_messages_come_as_json_newest_first(site: Site, client: aiohttp.ClientSession) -> None:
    known = NotificationId(uuid7())
    older, newer = await capture(
        site.database,
        mail("ingrid@example.com", "Emne", "Hei", html="<p>Hei</p>", notification=known),
        came := sms("+4740000417", "Koden er 481 207"),
    )
    first, second = await listed(client)
    assert first == {
        "id": str(newer),
        "channel": "sms",
        "to": "+4740000417",
        "from": "Fjordvik",
        "subject": None,
        "text": "Koden er 481 207",
        "html": None,
        "parts": 1,
        "notificationId": None,
        "receivedAt": came.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    assert (second["id"], second["notificationId"]) == (str(older), str(known))
    assert (second["subject"], second["html"]) == ("Emne", "<p>Hei</p>")
    assert await (await client.get(f"{MESSAGES}/{newer}")).json() == first


async def test_messages_are_chosen_by_recipient_channel_and_words(site: Site, client: aiohttp.ClientSession) -> None:
    await capture(site.database, sms("+4740000417", "a"), sms("+4740000418", "b"), mail("a@example.com", "c", "d"))
    assert [m["text"] for m in await listed(client, "?to=+4740000417")] == ["a"]
    assert [m["text"] for m in await listed(client, "?to=%2B4740000417")] == ["a"]
    assert [m["text"] for m in await listed(client, "?channel=sms&limit=1")] == ["b"]
    assert [m["text"] for m in await listed(client, "?q=example")] == ["d"]
    newest = (await listed(client))[0]["id"]
    assert await listed(client, f"?after={newest}") == []


async def test_who_waits_is_answered_when_the_message_comes(site: Site, client: aiohttp.ClientSession) -> None:
    waiting = asyncio.create_task(listed(client, "?to=4740000417&wait=20"))
    await listed(client)  # the one that waits has been heard
    assert not waiting.done()
    await capture(site.database, sms("+4740000417", "Hei"))
    assert [m["text"] for m in await asyncio.wait_for(waiting, 10)] == ["Hei"]


async def test_who_waits_in_vain_gets_an_empty_list(client: aiohttp.ClientSession) -> None:
    assert await listed(client, "?to=4740000417&wait=0.1") == []


async def test_who_waits_learns_the_notification_that_the_gateway_did_not_name(
    site: Site, client: aiohttp.ClientSession
) -> None:
    sent = await notification(site.database, Channel.SMS, "+4740000417", Fate(), reference="A")
    await capture(site.database, replace(sms("+4740000417", "Hei"), reference="REF-1"))
    waiting = asyncio.create_task(listed(client, "?wait=20"))
    assert [m["notificationId"] for m in await listed(client)] == [None]
    async with site.database.autocommit() as conn:
        await execute(conn, "UPDATE notification SET provider_ref = 'REF-1' WHERE id = %(id)s", {"id": sent})
    assert [m["notificationId"] for m in await waiting] == [str(sent)]


@pytest.mark.parametrize("query", ["?wait=61", "?wait=soon", "?limit=0", "?limit=501", "?channel=fax", "?after=1"])
async def test_a_wrong_parameter_is_named(client: aiohttp.ClientSession, query: str) -> None:
    async with client.get(MESSAGES + query) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert query[1:].split("=", maxsplit=1)[0] in (await answer.json(content_type=None))["detail"]


async def test_messages_are_deleted_one_by_one_by_choice_or_all(site: Site, client: aiohttp.ClientSession) -> None:
    one, *_ = await capture(site.database, *(sms(f"+474000041{n}", "Hei") for n in range(4)))
    assert (await client.delete(f"{MESSAGES}/{one}")).status == 204
    assert (await client.delete(f"{MESSAGES}/{one}")).status == 404
    assert await (await client.delete(f"{MESSAGES}?to=4740000411")).json() == {"deleted": 1}
    assert await (await client.delete(MESSAGES)).json() == {"deleted": 2}
    assert await listed(client) == []


async def test_what_is_not_there_is_not_found(site: Site, client: aiohttp.ClientSession) -> None:
    [text] = await capture(site.database, sms("+4740000417", "Hei"))
    nobody = uuid7()
    for path in (f"{nobody}", f"{nobody}/html", f"{nobody}/raw", f"{text}/html"):
        assert (await client.get(f"{MESSAGES}/{path}")).status == 404


@pytest.mark.assertion("channels", 110)
async def test_foreign_html_is_served_harmless(site: Site, client: aiohttp.ClientSession) -> None:
    [id_] = await capture(site.database, mail("a@example.com", "Brev", "Hei", html=LETTER))
    async with client.get(f"{MESSAGES}/{id_}/html") as answer:
        assert await answer.text() == LETTER
        policy = {d.strip().partition(" ")[0]: d.strip() for d in answer.headers["Content-Security-Policy"].split(";")}
    assert policy["default-src"] == "default-src 'none'"
    assert policy["img-src"] == "img-src data:"
    assert policy["sandbox"] == "sandbox"
    assert "script-src" not in policy


async def test_the_raw_message_comes_as_a_file(site: Site, client: aiohttp.ClientSession) -> None:
    came = mail("a@example.com", "Brev", "Hei")
    [id_] = await capture(site.database, came)
    async with client.get(f"{MESSAGES}/{id_}/raw") as answer:
        assert await answer.read() == came.raw
        assert answer.content_type == "message/rfc822"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{id_}.eml"'


async def test_the_clock_moves_by_a_duration(site: Site, client: aiohttp.ClientSession) -> None:
    async with client.post("/sandbox/clock", json={"advance": "P1DT2H"}) as answer:
        assert answer.status == 200
        moved = await answer.json()
    assert moved["offset"] == "P1DT2H"
    assert abs(datetime.fromisoformat(moved["now"]) - datetime.now(UTC) - timedelta(hours=26)) < timedelta(minutes=1)
    assert (await (await client.get("/sandbox/clock")).json())["version"] == moved["version"] == 1
    assert site.clock.offset == timedelta(hours=26)


@pytest.mark.parametrize("body", ['{"advance": "-P1D"}', '{"advance": "1 day"}', '{"advance": "PT"}', "{}", "no", "[]"])
async def test_a_wrong_move_is_refused(client: aiohttp.ClientSession, body: str) -> None:
    async with client.post("/sandbox/clock", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json(content_type=None))["detail"]


async def test_a_move_that_somebody_does_not_follow_says_who(site: Site, client: aiohttp.ClientSession) -> None:
    worker = await beat.begin(site.database, kind="worker", lease=timedelta(seconds=30))
    async with client.post("/sandbox/clock", json={"advance": "P1D"}) as answer:
        assert answer.status == 503
        assert f"worker {worker} is not idle" in (await answer.json(content_type=None))["detail"]
    async with client.post("/sandbox/move", data={"advance": "P1D"}) as answer:
        assert answer.status == 503
        assert "Klokka kom ikke helt fram" in await answer.text()


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
async def test_another_sites_page_changes_nothing(
    site: Site, client: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    [id_] = await capture(site.database, sms("+4740000417", "Hei"))
    attempts = [
        client.post("/sandbox/clear", headers=headers),
        client.post("/sandbox/move", data={"advance": "P1D"}, headers=headers),
        client.post("/sandbox/clock", data='{"advance": "P1D"}', headers=headers),
        client.delete(MESSAGES, headers=headers),
        client.delete(f"{MESSAGES}/{id_}", headers=headers),
    ]
    assert [(await attempt).status for attempt in attempts] == [403] * len(attempts)
    assert len(await listed(client)) == 1
    assert site.clock.offset == timedelta()


async def test_the_page_shows_each_fate_in_words(site: Site, client: aiohttp.ClientSession) -> None:
    await fill(site.database)
    shown = await page(client)
    assert shown.count('class="pill ') == 8 + 1  # the list, and the open message
    for word in ("Kom fram", "Kom i retur", "Utløp", "Overlevert", "Sendes"):
        assert word in shown
    assert "Mobilnettet bekreftet at SMS-en kom fram til telefonen." in shown
    english = await page(client, **{"Accept-Language": "en-GB,en;q=0.9"})
    for word in ("Arrived", "Bounced", "Expired", "Handed over", "Sending"):
        assert word in english


async def test_the_page_shows_one_message_in_each_of_its_views(site: Site, client: aiohttp.ClientSession) -> None:
    ids = await fill(site.database)
    phone = await page(client, f"/sandbox?id={ids[-1]}")
    assert "<u>fjordvik.example/post</u>" in phone
    assert "Koden din er 481 207" in phone  # what came before, from the same sender
    assert "148385 10036" in phone
    text = await page(client, f"/sandbox?id={ids[-1]}&view=text")
    assert "Del 1 av 2" in text
    assert "153 tegn" in text
    letter = await page(client, f"/sandbox?id={ids[5]}")
    assert re.search(rf'<iframe src="{MESSAGES}/{ids[5]}/html" sandbox title="[^"]+"></iframe>', letter)
    assert "Message-ID" in letter
    assert "multipart/alternative" in await page(client, f"/sandbox?id={ids[5]}&view=raw")


async def test_the_page_filters_and_searches(site: Site, client: aiohttp.ClientSession) -> None:
    await fill(site.database)
    assert len(re.findall(r"<li><a class=.msg", await page(client, "/sandbox?kind=sms"))) == 4
    found = await page(client, "/sandbox?q=400+00+417")
    assert "2 treff på «400 00 417»" in found
    assert "Ingen meldinger passer" in await page(client, "/sandbox?q=finnesikke")


async def test_the_list_shows_more_when_asked(site: Site, client: aiohttp.ClientSession) -> None:
    await capture(site.database, *(sms("+4740000417", f"nr. {n}") for n in range(120)))
    first = await page(client)
    assert first.count('class="msg"') == 50
    assert "Vis 50 til" in first
    more = await page(client, "/sandbox?n=100")
    assert more.count('class="msg"') == 100
    assert "Vis 20 til" in more


@pytest.mark.parametrize(
    "query",
    [
        "?id=no",
        "?id=019aafb2-7c31-7e44-9d0b-5be1f2a86c17",
        "?kind=fax",
        "?n=-1",
        "?n=99999999999",
        "?n=x",
        "?view=none",
        "?q=%00%27",
        "?lang=",
    ],
)
async def test_a_strange_address_shows_the_inbox_all_the_same(
    site: Site, client: aiohttp.ClientSession, query: str
) -> None:
    await capture(site.database, sms("+4740000417", "Hei"))
    assert "Innboks" in await page(client, f"/sandbox{query}")


async def test_what_a_message_holds_is_text_and_never_markup(site: Site, client: aiohttp.ClientSession) -> None:
    evil = "<script>alert(1)</script>"
    mails = await capture(
        site.database,
        mail("a@example.com", evil, evil, outcome=evil),
        sms("+4740000417", f"{evil} https://fjordvik.example/{evil}", sender=evil),
    )
    for id_ in mails:
        for view in ("phone", "mail", "text", "raw"):
            shown = await page(client, f"/sandbox?id={id_}&view={view}&q={evil}")
            assert evil not in shown
            assert "&lt;script&gt;" in shown


class _Inline(HTMLParser):
    """Finds what a policy without inline code would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self.found += [f"{tag} {name}" for name in names if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)


async def test_no_page_holds_inline_code(site: Site, client: aiohttp.ClientSession) -> None:
    ids = await fill(site.database)
    for path in ("/sandbox", f"/sandbox?id={ids[5]}", f"/sandbox?id={ids[-1]}&view=raw", "/sandbox?confirm=clear"):
        async with client.get(path) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            parser = _Inline()
            parser.feed(await answer.text())
            assert parser.found == []


async def test_files_of_the_page_are_kept_for_a_year_under_the_hash_of_their_content(
    client: aiohttp.ClientSession,
) -> None:
    urls = set(re.findall(r"/ui/static/[0-9a-f]{12}/[a-z]+\.[a-z]+", await page(client)))
    assert {url.rpartition(".")[2] for url in urls} == {"css", "js", "svg"}
    size = 0
    for url in urls:
        async with client.get(url) as answer:
            assert answer.status == 200
            assert "immutable" in answer.headers["Cache-Control"]
            assert answer.headers["Content-Encoding"] == "gzip"
            size += int(answer.headers["Content-Length"])
        assert (await client.get(re.sub(r"[0-9a-f]{12}", "0" * 12, url))).status == 404
    assert size < 30_000  # on the wire: half of what the pages' brief allows


async def test_the_language_is_the_browsers_until_another_is_chosen(client: aiohttp.ClientSession) -> None:
    assert '<html lang="nb">' in await page(client, **{"Accept-Language": "de"})
    assert '<html lang="nb">' in await page(client, **{"Accept-Language": "nn-NO, en;q=0.5"})
    assert '<html lang="en">' in await page(client, **{"Accept-Language": "nb;q=0.2, en"})
    async with client.get("/sandbox?q=a&lang=en", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/sandbox?q=a")
    assert '<html lang="en">' in await page(client)


async def test_the_theme_is_remembered(client: aiohttp.ClientSession) -> None:
    assert "data-theme=" not in (await page(client)).partition("<head>")[0]
    for theme in ("dark", "light", "dark"):
        async with client.post("/ui/theme", data={"to": "/sandbox?q=a"}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/sandbox?q=a")
        assert f'<html lang="nb" data-theme="{theme}">' in await page(client)


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_a_form_leads_to_this_site_alone(client: aiohttp.ClientSession, to: str) -> None:
    for path in ("/ui/theme", "/sandbox/move"):
        async with client.post(path, data={"to": to, "advance": "PT1H"}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_the_inbox_is_emptied_after_a_question(site: Site, client: aiohttp.ClientSession) -> None:
    await capture(site.database, sms("+4740000417", "a"), sms("+4740000417", "b"))
    asked = await page(client, "/sandbox?confirm=clear")
    assert "Slette 2 meldinger?" in asked
    assert re.search(r"<dialog[^>]* open>", asked)
    assert not re.search(r"<dialog[^>]* open>", await page(client))
    async with client.post("/sandbox/clear") as answer:
        emptied = await answer.text()
    assert "Ingen meldinger ennå" in emptied or "No messages yet" in emptied
    assert await listed(client) == []


async def test_the_pages_buttons_move_the_clock(site: Site, client: aiohttp.ClientSession) -> None:
    due = datetime.now(UTC) + timedelta(days=3)
    await waiting_order(site.database, due)
    for step, offset in (("PT1H", timedelta(hours=1)), ("P1D", timedelta(hours=25))):
        async with client.post("/sandbox/move", data={"advance": step, "to": "/sandbox"}) as answer:
            assert answer.status == 200
        assert site.clock.offset == offset
    await client.post("/sandbox/move", data={"advance": "next", "to": "/sandbox"})
    assert timedelta() <= site.clock.now() - due < timedelta(minutes=1)
    assert "3 dager" in await page(client)


async def test_the_clock_moves_to_a_time_on_norwegian_clocks(site: Site, client: aiohttp.ClientSession) -> None:
    wanted = (site.clock.now() + timedelta(days=2)).astimezone(OSLO).replace(second=0, microsecond=0, tzinfo=None)
    async with client.post("/sandbox/move", data={"advance": "at", "at": wanted.isoformat()}) as answer:
        assert answer.status == 200
    assert timedelta() <= site.clock.now() - wanted.replace(tzinfo=OSLO) < timedelta(minutes=1)
    for odd in ("", "x", "2020-01-01T10:00", "9999-12-31T23:59", "0001-01-01T00:00"):
        async with client.post("/sandbox/move", data={"advance": "at", "at": odd}) as answer:
            assert answer.status == 409


async def test_a_button_that_is_none_moves_nothing(site: Site, client: aiohttp.ClientSession) -> None:
    for step in ("next", "P1000D", "", "-P1D"):
        async with client.post("/sandbox/move", data={"advance": step}) as answer:
            assert answer.status == 409
            assert "Klokka ble ikke flyttet" in await answer.text()
    assert site.clock.offset == timedelta()
