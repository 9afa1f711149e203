"""Who may see the pages: sign-in by link and by OpenID Connect, sessions, roles, forms (issue of the pages' access)."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette

from serving import serving
from site_parts import ui_parts
from varsel.clock import SystemClock
from varsel.db import Database, fetch_value
from varsel.settings import PagesSettings, SandboxSettings, ServerSettings, Settings
from varsel.ui.access import COOKIE, NotFound, Role, Who, issue_ticket
from varsel.ui.access_store import About
from varsel.ui.site import site_routes

PAGE = "/ui/ops/registries"
KEY = RSAKey.generate_key(2048, parameters={"kid": "one"})


@dataclass
class Browser:
    """Follows no redirect by itself. Sends what a browser sends with a form of the same site."""

    http: aiohttp.ClientSession

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        """Status, text, and where it leads."""
        async with self.http.get(path, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def post(self, path: str, form: dict[str, str] | None = None, site: str = "same-origin") -> tuple[int, str]:
        headers = {"Sec-Fetch-Site": site}
        async with self.http.post(path, data=form or {}, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", "")

    async def token(self, path: str = PAGE) -> str:
        """Of the forms of a page."""
        _, text, _ = await self.get(path)
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', text)
        assert found, text
        return found[1]


@dataclass
class Provider:
    """An identity provider. `claims`: of the next person who signs in."""

    claims: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    nonce: str = ""
    key: RSAKey = field(default_factory=lambda: KEY)

    async def discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
        )

    async def keys(self, _: web.Request) -> web.Response:
        return web.json_response({"keys": [KEY.as_dict(private=False)]})

    async def token(self, request: web.Request) -> web.Response:
        self.asked.append({name: str(value) for name, value in (await request.post()).items()})
        now = int(time.time())
        claims = {"iss": self.url, "aud": "varsel", "sub": "kari", "name": "Kari Nordmann", "iat": now, "exp": now + 60}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, "nonce": self.nonce, **self.claims}, self.key)
        return web.json_response({"id_token": token, "access_token": "x", "token_type": "Bearer"})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", provider.discovery)
    app.router.add_get("/keys", provider.keys)
    app.router.add_post("/token", provider.token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


async def visiting(database: Database, settings: Settings) -> AsyncIterator[Browser]:
    parts = ui_parts(database, SystemClock(), settings)
    async with (
        serving(Starlette(routes=site_routes(parts))) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=aiohttp.CookieJar(unsafe=True)) as http,
    ):
        yield Browser(http)
    await parts.access.close()


@pytest.fixture
async def browser(database: Database) -> AsyncIterator[Browser]:
    async for browser in visiting(database, Settings()):
        yield browser


@pytest.fixture
async def federated(database: Database, provider: Provider) -> AsyncIterator[Browser]:
    pages = PagesSettings(
        issuer=provider.url,
        client_id="varsel",
        roles={"operator": ("drift",), "caseworker": ("saksbehandler",), "creator-admin": ("tjenesteeier",)},
    )
    async for browser in visiting(database, Settings(pages=pages, server=ServerSettings())):
        yield browser


async def enter(browser: Browser, database: Database, *roles: Role, creator: str | None = None) -> None:
    link = await issue_ticket(database, "Kari Nordmann", frozenset(roles), creator)
    assert await browser.post(link) == (303, "/ui/")


async def begin(browser: Browser, provider: Provider, to: str = "") -> str:
    """Off to the provider; the state that comes back."""
    status, location = await browser.post("/ui/sign-in/begin", {"to": to})
    assert status == 303
    query = parse_qs(urlsplit(location).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"][0].endswith("/ui/sign-in/done")
    provider.nonce = query["nonce"][0]
    return query["state"][0]


# By link


async def test_nobody_sees_a_page_without_signing_in(browser: Browser) -> None:
    status, _, location = await browser.get(f"{PAGE}?x=1")
    assert (status, location) == (303, "/ui/sign-in?to=/ui/ops/registries%3Fx%3D1")
    status, text, _ = await browser.get("/ui/sign-in", **{"Accept-Language": "en"})
    assert status == 200
    assert "varsel sign-in" in text


async def test_a_link_signs_in_once_and_looking_at_it_uses_nothing_up(browser: Browser, database: Database) -> None:
    link = await issue_ticket(database, "Kari Nordmann", frozenset({Role.OPERATOR}), None)
    for _ in range(2):
        status, text, _ = await browser.get(link)
        assert status == 200
        assert "Kari Nordmann" in text
    assert await browser.post(link, site="cross-site") == (403, "")
    assert await browser.post(link) == (303, "/ui/")
    assert (await browser.get(PAGE))[0] == 200
    status, _, _ = await browser.get(link)
    assert status == 404
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT actor || ' ' || action FROM audit", {}) == "Kari Nordmann sign-in"


async def test_a_link_is_good_for_ten_minutes(browser: Browser, database: Database) -> None:
    link = await issue_ticket(database, "Kari", frozenset({Role.OPERATOR}), None)
    async with database.autocommit() as conn:
        await conn.execute("UPDATE page_ticket SET expires_at = expires_at - interval '10 min'")
    assert await browser.post(link) == (404, "")


async def test_a_role_that_is_not_enough_is_told_so(browser: Browser, database: Database) -> None:
    await enter(browser, database, Role.CASEWORKER)
    status, text, _ = await browser.get(PAGE)
    assert status == 403
    assert 'href="/ui/ops/registries"' not in text  # nor does the menu have what is not for them


async def test_signing_out_ends_the_session_for_good(browser: Browser, database: Database) -> None:
    await enter(browser, database, Role.OPERATOR)
    token = await browser.token()
    cookie = next(c.value for c in browser.http.cookie_jar if c.key == COOKIE)
    assert await browser.post("/ui/sign-out", {"form_token": token}) == (303, "/ui/sign-in")
    status, _, location = await browser.get(PAGE, Cookie=f"{COOKIE}={cookie}")
    assert (status, location.partition("?")[0]) == (303, "/ui/sign-in")


@pytest.mark.parametrize(
    "change",
    ["seen_at = seen_at - interval '61 min'", "expires_at = statement_timestamp() - interval '1 s'"],
)
async def test_a_session_ends_when_it_is_idle_or_old(browser: Browser, database: Database, change: str) -> None:
    await enter(browser, database, Role.OPERATOR)
    async with database.autocommit() as conn:
        await conn.execute(f"UPDATE page_session SET {change}".encode())
    assert (await browser.get(PAGE))[0] == 303


async def test_the_cookie_is_out_of_a_scripts_reach_and_its_secret_is_not_stored(
    browser: Browser, database: Database
) -> None:
    await enter(browser, database, Role.OPERATOR)
    cookie = next(c for c in browser.http.cookie_jar if c.key == COOKIE)
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "lax"
    async with database.reading() as conn:
        kept = await fetch_value(conn, "SELECT string_agg(s::text, ' ') FROM page_session s", {})
    assert cookie.value not in kept


async def test_sessions_that_are_over_are_forgotten_with_the_next_sign_in(browser: Browser, database: Database) -> None:
    await enter(browser, database, Role.OPERATOR)
    async with database.autocommit() as conn:
        await conn.execute("UPDATE page_session SET expires_at = statement_timestamp() - interval '1 s'")
    await enter(browser, database, Role.OPERATOR)
    async with database.reading() as conn:
        assert await fetch_value(conn, "SELECT count(*) FROM page_session", {}) == 1


# Forms


@pytest.mark.parametrize(("site", "good"), [("same-origin", False), ("cross-site", True)])
async def test_a_form_that_is_not_ours_changes_nothing(
    browser: Browser, database: Database, site: str, good: bool
) -> None:
    await enter(browser, database, Role.OPERATOR)
    token = await browser.token() if good else "0" * 64
    status, _ = await browser.post("/ui/sign-out", {"form_token": token}, site)
    assert status == 403
    assert (await browser.get(PAGE))[0] == 200


# Handles


async def test_a_handle_opens_in_its_own_session_alone_and_not_for_long(database: Database) -> None:
    parts = ui_parts(database, SystemClock(), Settings(sandbox=SandboxSettings(enabled=True)))
    async for one in visiting(database, Settings(sandbox=SandboxSettings(enabled=True))):
        assert (await one.get(PAGE))[0] == 200  # the sandbox lets everybody in
    async with database.reading() as conn:
        session = await fetch_value(conn, "SELECT id FROM page_session", {})
    who = _who(bytes(session))
    handle = await parts.access.handle(who, About("person", "14838510036"))
    assert "148385" not in handle
    assert await parts.access.open(who, handle) == About("person", "14838510036")
    for somebody, change in ((_who(b"else"), ""), (who, "UPDATE page_handle SET expires_at = statement_timestamp()")):
        if change:
            async with database.autocommit() as conn:
                await conn.execute(change.encode())
        with pytest.raises(NotFound):
            await parts.access.open(somebody, handle)


# By OpenID Connect


async def test_who_comes_from_the_provider_has_the_roles_of_its_claims(federated: Browser, provider: Provider) -> None:
    provider.claims = {"roles": ["Drift", "something else"]}
    state = await begin(federated, provider, PAGE)
    status, _, location = await federated.get(f"/ui/sign-in/done?code=c&state={state}")
    assert (status, location) == (303, PAGE)
    assert (await federated.get(PAGE))[0] == 200
    [asked] = provider.asked
    assert asked["grant_type"] == "authorization_code"
    assert len(asked["code_verifier"]) >= 32


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://else.example"},
        {"aud": "another"},
        {"nonce": "another"},
        {"exp": 1},
        {"sub": None},
    ],
)
async def test_a_token_that_is_not_for_this_sign_in_lets_nobody_in(
    federated: Browser, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = {"roles": ["drift"], **claims}
    state = await begin(federated, provider)
    assert (await federated.get(f"/ui/sign-in/done?code=c&state={state}"))[0] == 403
    assert (await federated.get(PAGE))[0] == 303


async def test_a_token_of_another_key_lets_nobody_in(federated: Browser, provider: Provider) -> None:
    provider.claims, provider.key = {"roles": ["drift"]}, RSAKey.generate_key(2048, parameters={"kid": "one"})
    state = await begin(federated, provider)
    assert (await federated.get(f"/ui/sign-in/done?code=c&state={state}"))[0] == 403


async def test_an_answer_to_nobodys_question_lets_nobody_in(federated: Browser, provider: Provider) -> None:
    provider.claims = {"roles": ["drift"]}
    await begin(federated, provider)
    assert (await federated.get("/ui/sign-in/done?code=c&state=guessed"))[0] == 403
    federated.http.cookie_jar.clear()
    state = await begin(federated, provider)
    federated.http.cookie_jar.clear()
    assert (await federated.get(f"/ui/sign-in/done?code=c&state={state}"))[0] == 403
    assert provider.asked == []


async def test_somebody_without_a_role_is_told_so(federated: Browser, provider: Provider) -> None:
    provider.claims = {"roles": ["kantine"]}
    state = await begin(federated, provider)
    status, text, _ = await federated.get(f"/ui/sign-in/done?code=c&state={state}", **{"Accept-Language": "en"})
    assert status == 403
    assert "has no role here" in text


async def test_the_way_back_leads_only_to_our_own_pages(federated: Browser, provider: Provider) -> None:
    provider.claims = {"roles": ["drift"]}
    state = await begin(federated, provider, "//evil.example/ui/")
    assert (await federated.get(f"/ui/sign-in/done?code=c&state={state}"))[2] == "/ui/"


def _who(session: bytes) -> Who:
    return Who(session, "Kari", "kari", frozenset({Role.CASEWORKER}), None, "", "")


async def test_who_sends_a_form_after_the_session_is_over_is_told_and_comes_back_to_its_page(browser: Browser) -> None:
    headers = {"Cookie": f"{COOKIE}=over", "Referer": "http://localhost/ui/ops/providers?x=1"}
    async with browser.http.post("/ui/ops/providers", headers=headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/ui/sign-in?ended=yes&to=/ui/ops/providers")
    _, text, _ = await browser.get(answer.headers["Location"])
    assert "Økten din er over" in text
    for odd in ("http://[", "https://elsewhere.example/else", ""):
        headers["Referer"] = odd
        async with browser.http.post("/ui/ops/providers", headers=headers, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/ui/sign-in?ended=yes"
