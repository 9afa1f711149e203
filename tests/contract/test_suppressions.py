"""The suppression list over HTTP, and unsubscribing (channels 6.5, 6.6)."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from browser import browser_page
from operations import KEY, anonymous, serving_with
from serving import Api, Client, Reply, keyed
from varsel.delivery.guard import Guard
from varsel.delivery.ports import Email
from varsel.delivery.unsubscribe import LIFETIME, UnsubscribeLinks
from varsel.domain.ids import NotificationId
from varsel.settings import Settings

PATH: Final = "/notifications/api/v1/suppressions"
OPERATORS: Final = "/notifications/api/v1/operations/suppressions"
CHAINS: Final = "/notifications/api/v1/future/orders"
KARI: Final = {"emailAddress": "kari@example.com"}
CLICK: Final = b"List-Unsubscribe=One-Click"
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def api(api: Api) -> Api:
    """The workers of the road have the key of the API."""
    api.road.guard = Guard.configured(keyed(Settings()))
    return api


async def entries(client: Client, path: str = PATH, **how: Any) -> list[dict[str, Any]]:
    reply = await client.aget(path, **how)
    assert reply.status == 200, reply.content
    found: list[dict[str, Any]] = reply.json["suppressions"]
    return found


async def delete(client: Client, path: str, **how: Any) -> Reply:
    return await asyncio.to_thread(client.call, "DELETE", path, **how)


async def order(api: Api, *, unsubscribable: bool = False, body: str = "Text", **how: Any) -> Reply:
    """An email to Kari, and all that becomes of it."""
    settings = {"subject": "News", "body": body, **({"unsubscribable": True} if unsubscribable else {})}
    recipient = {"recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": settings}}
    count = len(api.road.mail.sent) + len(await api.road.rows())
    reply = await api.client.apost(CHAINS, {"idempotencyId": f"order {count}", "recipient": recipient}, **how)
    assert reply.status == 201, reply.content
    await api.road.run()
    return reply


# The list


async def test_a_creator_puts_an_address_on_the_list_and_takes_it_off(api: Api) -> None:
    added = await api.client.apost(PATH, KARI)
    assert added.status == 200
    entry = added.json
    assert entry == {
        "id": entry["id"],
        "channel": "Email",
        "address": "ka***@example.com",
        "scope": "creator",
        "creator": "ttd",
        "reason": "manual",
        "source": "creator ttd",
        "created": "2026-11-23T10:00:00Z",
        "hits": 0,
    }
    assert await entries(api.client) == [entry]
    assert await entries(api.client, org="skd") == []
    await order(api)
    await order(api, org="skd")
    assert len(api.road.mail.sent) == 1  # of the other creator
    assert [(e["hits"], e["lastHit"]) for e in await entries(api.client)] == [(1, "2026-11-23T10:00:00Z")]
    assert (await delete(api.client, f"{PATH}/{entry['id']}", org="skd")).status == 404
    removed = await delete(api.client, f"{PATH}/{entry['id']}")
    assert (removed.status, removed.json["removedBy"], removed.json["removed"]) == (
        200,
        "creator ttd",
        "2026-11-23T10:00:00Z",
    )
    assert (await delete(api.client, f"{PATH}/{entry['id']}")).status == 404
    assert await entries(api.client) == []
    assert [e["removedBy"] for e in await entries(api.client, f"{PATH}?ended=true")] == ["creator ttd"]
    await order(api)
    assert len(api.road.mail.sent) == 2


async def test_the_same_address_again_gets_the_new_end(api: Api) -> None:
    first = (await api.client.apost(PATH, KARI)).json
    again = (await api.client.apost(PATH, {**KARI, "expires": "2026-12-01T12:00:00+02:00"})).json
    assert (again["id"], again["expires"]) == (first["id"], "2026-12-01T10:00:00Z")
    assert "expires" not in (await api.client.apost(PATH, KARI)).json


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({}, "EmailAddress"),
        ({**KARI, "mobileNumber": "+4799999501"}, "EmailAddress"),
        ({"emailAddress": "kari"}, "EmailAddress"),
        ({"mobileNumber": "12"}, "MobileNumber"),
        ({**KARI, "expires": "2026-11-23T09:59:59Z"}, "Expires"),
        ({**KARI, "expires": "2027-01-01T00:00:00"}, "Expires"),
    ],
)
async def test_a_wrong_entry_is_refused_with_the_property_that_is_wrong(api: Api, body: object, key: str) -> None:
    assert list((await api.client.apost(PATH, body)).errors) == [key]


@pytest.mark.parametrize("query", ["before=1", "limit=0", "limit=1001", "limit=x", "ended=maybe"])
async def test_a_wrong_parameter_is_refused_by_its_name(api: Api, query: str) -> None:
    assert list((await api.client.aget(f"{PATH}?{query}")).errors) == [query.partition("=")[0]]
    assert list((await delete(api.client, f"{PATH}/1")).errors) == ["id"]


async def test_a_long_list_is_read_page_by_page(api: Api) -> None:
    for n in range(5):
        await api.client.apost(PATH, {"emailAddress": f"p{n}.person@example.com"})
    seen: list[str] = []
    page = (await api.client.aget(f"{PATH}?limit=2")).json
    while True:
        seen += [entry["id"] for entry in page["suppressions"]]
        if "next" not in page:
            break
        page = (await api.client.aget(f"{PATH}?limit=2&before={page['next']}")).json
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


async def test_an_address_is_looked_up_in_a_body_and_shows_what_stops_a_creator(api: Api) -> None:
    await api.client.apost(PATH, KARI)
    await api.client.apost(PATH, KARI, org="skd")
    await api.client.apost(OPERATORS, KARI, headers=anonymous())
    reply = await api.client.apost(f"{PATH}/lookup", {"emailAddress": "KARI@example.com"})
    assert [entry["scope"] for entry in reply.json["suppressions"]] == ["global", "creator"]
    assert (await api.client.apost(f"{PATH}/lookup", {"mobileNumber": "+4799999501"})).json == {"suppressions": []}
    every = await api.client.apost(f"{OPERATORS}/lookup", KARI, headers=anonymous())
    assert len(every.json["suppressions"]) == 3


async def test_an_operator_keeps_everybodys_entries_and_is_written_down(api: Api) -> None:
    added = await api.client.apost(f"{OPERATORS}?operator=Ada", {"mobileNumber": "+4799999501"}, headers=anonymous())
    assert (added.json["scope"], added.json["source"]) == ("global", "operator Ada")
    one = await api.client.apost(OPERATORS, {**KARI, "creator": "skd"}, headers=anonymous())
    assert (one.json["creator"], one.json["source"]) == ("skd", "operator")
    assert len(await entries(api.client, OPERATORS, headers=anonymous())) == 2
    assert len(await entries(api.client, f"{OPERATORS}?creator=skd", headers=anonymous())) == 1
    assert (await delete(api.client, f"{PATH}/{added.json['id']}")).status == 404  # a creator may not
    removed = await delete(api.client, f"{OPERATORS}/{added.json['id']}?operator=Bo", headers=anonymous())
    assert removed.json["removedBy"] == "operator Bo"
    assert list((await api.client.apost(f"{OPERATORS}?operator={'x' * 101}", KARI)).errors) == ["operator"]


async def test_without_the_secret_nobody_is_an_operator(api: Api, tmp_path: Path) -> None:
    async with serving_with(api, tmp_path, open_to="nobody", secret=SecretStr(KEY)) as client:
        for method, path in (("GET", OPERATORS), ("POST", OPERATORS), ("POST", f"{OPERATORS}/lookup")):
            body = KARI if method == "POST" else None
            call = client.apost(path, body) if method == "POST" else client.aget(path)
            assert (await call).status == 401
        assert (await delete(client, f"{OPERATORS}/{UUID(int=1)}")).status == 401
        assert (await client.aget(OPERATORS, headers=anonymous(**{"X-Operations-Secret": KEY}))).status == 200
        assert (await client.aget(PATH, headers=anonymous())).status == 401


async def test_no_address_is_in_a_log_or_an_answer(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await api.client.apost(PATH, KARI)
    await order(api)
    assert "kari@example.com" not in caplog.text
    assert "kari@" not in (await api.client.aget(PATH)).content.decode()


# Unsubscribing


LINK: Final = re.compile(r"http://localhost:5090(/notifications/api/v1/unsubscribe/[a-z2-7]+)")


async def link_of(api: Api, **how: Any) -> str:
    """The path of the link in an email that was sent just now."""
    await order(api, unsubscribable=True, body="No more? $unsubscribeUrl$", **how)
    email = api.road.mail.sent[-1]
    assert isinstance(email, Email)
    assert email.body == f"No more? {email.unsubscribe}"
    found = LINK.fullmatch(email.unsubscribe or "")
    assert found
    return found[1]


async def click(api: Api, path: str, body: bytes = CLICK, **headers: str) -> Reply:
    return await api.client.apost(path, body, headers=anonymous(**{**FORM, **headers}))


@pytest.mark.assertion("channels", 100)
async def test_one_click_unsubscribes_as_often_as_it_comes(api: Api) -> None:
    path = await link_of(api)
    for _ in range(2):
        reply = await click(api, path)
        assert reply.status == 200
        assert not reply.headers.get("Location")
        assert not reply.headers.get("Set-Cookie")
    assert [(e["reason"], e["source"]) for e in await entries(api.client)] == [("unsubscribe", "the recipient")]
    sent = len(api.road.mail.sent)
    await order(api, unsubscribable=True)
    assert len(api.road.mail.sent) == sent
    assert ("email", "Failed_SupressedRecipient") in await api.road.outcomes()
    await order(api)  # what has to be sent
    await order(api, unsubscribable=True, org="skd")
    assert len(api.road.mail.sent) == sent + 2


@pytest.mark.assertion("channels", 100)
async def test_looking_changes_nothing(api: Api) -> None:
    path = await link_of(api)
    for method in ("GET", "HEAD"):
        reply = await asyncio.to_thread(api.client.call, method, path, headers=anonymous())
        assert reply.status == 200
    assert await entries(api.client) == []


async def test_a_form_may_come_in_parts_and_from_a_browser(api: Api) -> None:
    path = await link_of(api)
    page = (await api.client.aget(path, headers=anonymous())).content.decode()
    (name, value) = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page)[0]
    part = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n--b--\r\n'.encode()
    assert (await click(api, path, part, **{"Content-Type": "multipart/form-data; boundary=b"})).status == 200
    assert len(await entries(api.client)) == 1


@pytest.mark.assertion("channels", 100)
async def test_a_link_that_is_not_ours_is_not_found(api: Api) -> None:
    path = await link_of(api)
    other = UnsubscribeLinks(b"another key", "").url(NotificationId(UUID(int=1)), "ttd", now=api.road.clock.now())
    assert api.road.guard.links
    nobody = api.road.guard.links.url(NotificationId(UUID(int=1)), "ttd", now=api.road.clock.now())
    unknown = nobody.removeprefix("http://localhost:5090")
    for bad in (path[:-1], f"{path}a", path[:-3] + "aaa", other, unknown, f"{path.rpartition('/')[0]}/x"):
        assert (await click(api, bad)).status == 404, bad
        assert (await api.client.aget(bad, headers=anonymous())).status == 404
    api.road.clock.advance(LIFETIME + timedelta(days=1))
    assert (await click(api, path)).status == 404
    assert await entries(api.client) == []


@pytest.mark.parametrize("body", [b"", b"List-Unsubscribe=No", b"list-unsubscribe=One-Click", b"x=y"])
async def test_without_its_field_a_request_is_bad(api: Api, body: bytes) -> None:
    path = await link_of(api)
    assert list((await click(api, path, body)).errors) == ["List-Unsubscribe"]
    assert (await click(api, path, CLICK, **{"Content-Type": "text/plain"})).status == 400
    assert (await click(api, path, b"x" * 20_000)).status == 413
    assert await entries(api.client) == []


@pytest.mark.parametrize(
    ("accept", "language", "title"),
    [
        (None, "nb", "Meld deg av"),
        ("nn-NO,nn;q=0.9", "nb", "Meld deg av"),
        ("en-GB,en;q=0.9", "en", "Unsubscribe"),
        ("fr,de;q=0.5", "en", "Unsubscribe"),
        ("de,nb;q=0.5", "nb", "Meld deg av"),
    ],
)
async def test_the_page_speaks_the_readers_language(api: Api, accept: str | None, language: str, title: str) -> None:
    reply = await api.client.aget(await link_of(api), headers=anonymous(**{"Accept-Language": accept}))
    page = reply.content.decode()
    assert f'<html lang="{language}">' in page
    assert f"<title>{title}</title>" in page
    assert f"<h1>{title}</h1>" in page
    assert "ttd" in page
    assert "kari" not in page
    assert "script" not in page
    assert "default-src 'none'" in reply.headers["Content-Security-Policy"]


@pytest.mark.parametrize(("language", "dark"), [("nb", False), ("en", True)])
async def test_the_page_works_by_keyboard_on_a_small_screen_without_scripts(
    api: Api, language: str, dark: bool
) -> None:
    path = await link_of(api)
    async with browser_page() as page:
        await page.look(width=320, height=640, dark=dark, language=language, script=False)
        await page.goto(f"http://127.0.0.1:{api.client.port}{path}")
        assert await page.evaluate("document.documentElement.lang") == language
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing to scroll sideways
        assert await page.evaluate("document.querySelectorAll('h1, main').length") == 2
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.tagName") == "BUTTON"
        assert await page.evaluate("document.activeElement.offsetHeight >= 44")
        assert await page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2")
        await page.press("Enter")
        await page.until("document.querySelector('[role=status]')")
        assert await page.evaluate("document.cookie") == ""
        assert page.errors == []
    assert len(await entries(api.client)) == 1


async def test_a_creators_name_cannot_write_on_the_page(api: Api) -> None:
    path = await link_of(api, org="<b>ttd")
    assert "<b>ttd" not in (await api.client.aget(path, headers=anonymous())).content.decode()


async def test_other_emails_have_no_link(api: Api) -> None:
    await order(api, body="No more? $unsubscribeUrl$")
    email = api.road.mail.sent[-1]
    assert isinstance(email, Email)
    assert (email.unsubscribe, email.body) == (None, "No more? $unsubscribeUrl$")


async def test_the_page_is_not_in_the_published_document_and_the_list_is(api: Api) -> None:
    document = json.loads((await api.client.aget("/swagger/v1/swagger.json")).content)
    assert PATH in document["paths"]
    assert not [path for path in document["paths"] if "unsubscribe" in path or "operations" in path]
    properties = document["components"]["schemas"]["EmailSettingsBody"]["properties"]
    assert properties["unsubscribable"] == {"default": False, "type": "boolean"}


# Tokens

MOMENT: Final = datetime(2026, 11, 23, tzinfo=UTC)
LINKS: Final = UnsubscribeLinks(b"a secret", "https://varsel.example")


@given(
    st.uuids(),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.timedeltas(timedelta(), LIFETIME),
)
def test_a_token_says_whose_message_it_was_until_its_year_is_over(id_: UUID, creator: str, later: timedelta) -> None:
    url = LINKS.url(NotificationId(id_), creator, now=MOMENT)
    token = url.removeprefix("https://varsel.example/notifications/api/v1/unsubscribe/")
    assert re.fullmatch("[a-z2-7]+", token)
    named = LINKS.read(token, now=MOMENT)
    assert named
    assert (named.notification, named.creator) == (id_, creator)
    assert LINKS.read(token, now=MOMENT + LIFETIME + timedelta(days=1)) is None


@given(st.text() | st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=60, max_size=120))
def test_whatever_else_is_no_token(text: str) -> None:
    assert LINKS.read(text, now=MOMENT) is None


@given(st.data())
def test_a_changed_token_is_none(data: st.DataObject) -> None:
    token = LINKS.url(NotificationId(UUID(int=7)), "ttd", now=MOMENT).rpartition("/")[2]
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(lambda c: c != token[at]))
    assert LINKS.read(token[:at] + letter + token[at + 1 :], now=MOMENT) is None
