"""Every page there is, from the table of routes: both languages and themes, narrow and wide, for eyes, ears and keys.

With `VARSEL_SCREENSHOTS` set to a folder the same walk takes the pictures of the documentation (`make screenshots`).
"""

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import inbox_data
from axe import faults, violations
from browser import Page, browser_page
from orders_world import BAKERY, INGRID, RESERVED, World, fill, world
from serving import serving
from site_parts import ui_parts
from varsel.bulk.job import JobId
from varsel.bulk.owner import Bulk
from varsel.clock import SystemClock
from varsel.db import Database, execute
from varsel.delivery import pool_store
from varsel.domain.ids import OrderId, WebhookId, uuid7
from varsel.domain.schemes import NORWEGIAN
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.resolution.plan import Rules
from varsel.settings import PagesSettings, SandboxSettings, Settings, SmtpProviderSettings
from varsel.timeshift.advance import ClockControl
from varsel.ui.access import Role, Who
from varsel.ui.sandbox import sandbox_routes
from varsel.ui.site import site_routes
from varsel.webhooks.event import Kind
from varsel.webhooks.owner import Owners
from varsel.webhooks.owner_store import Wish

# What is fetched, but is no page: files, streams, JSON, and addresses that only lead elsewhere.
NO_PAGES: Final = frozenset(
    {
        "/ui",
        "/ui/events",
        "/ui/orders.csv",
        "/ui/orders/{id}/cancel",
        "/ui/recipients/{handle}/reveal",
        "/ui/send/bulk/{id}/result.csv",
        "/ui/sign-in/done",
        "/ui/static/{digest}/{name}",
        "/sandbox/clock",
        "/sandbox/hooks",
        "/sandbox/messages",
        "/sandbox/messages/{id:uuid}",
        "/sandbox/messages/{id:uuid}/html",
        "/sandbox/messages/{id:uuid}/raw",
    }
)
FOR_TESTS: Final = ("/sandbox/files/", "/sandbox/hooks/")
LANGUAGES: Final = ("nb", "en")
SETTLED: Final = "document.readyState === 'complete'"


@dataclass(frozen=True)
class Walk:
    """The pages of a sandbox in which something has happened. `paths`: an address of each page, by its route."""

    url: str
    world: World
    routes: Sequence[BaseRoute]
    paths: Mapping[str, str]

    def pages(self) -> list[str]:
        """The routes that somebody can look at."""
        found = [r.path for r in self.routes if isinstance(r, Route) and "GET" in (r.methods or ())]
        return [path for path in dict.fromkeys(found) if path not in NO_PAGES and not path.startswith(FOR_TESTS)]


def settings() -> Settings:
    return Settings(
        sandbox=SandboxSettings(enabled=True),
        providers=(
            SmtpProviderSettings(name="Nordpost", host="127.0.0.1", port=9, tls="none", weight=70),
            SmtpProviderSettings(name="Brevdue", host="127.0.0.1", port=9, tls="none", weight=30),
        ),
    )


@asynccontextmanager
async def walk(database: Database) -> AsyncIterator[Walk]:
    async with world(database, ago=timedelta(minutes=40)) as w:
        await inbox_data.fill(database)
        orders = await fill(w)
        hook = await _operations(w)
        job = await _many(w)
        rules = Rules(w.road.window, timedelta(hours=48), timedelta(seconds=60))
        parts = replace(
            ui_parts(database, w.road.clock, settings()),
            directory=w.road.directory,
            previewer=Previewer(w.road.directory, w.road.clock, rules, Prices("NOK", None, {})),
        )
        control = ClockControl(database, SystemClock())
        routes = [*site_routes(parts), *sandbox_routes(database, control, parts.pages)]
        async with serving(Starlette(routes=routes)) as port:
            yield Walk(f"http://127.0.0.1:{port}", w, routes, _paths(orders, hook, job))


async def _operations(w: World) -> WebhookId:
    """A provider that is stopped, a webhook that fails, a report that matches nothing."""
    async with w.road.db.autocommit() as conn:
        await pool_store.enlist(conn, ["Nordpost", "Brevdue"], "email")
        await pool_store.open_breaker(
            conn, "Brevdue", first=timedelta(minutes=9), longest=timedelta(minutes=10), detail="time-out after 30 s"
        )
    owners = Owners(w.road.db, w.road.clock, lambda _: None)
    wish = Wish("https://hooks.fjordvik.example/varsel", (Kind.ORDER_COMPLETED,), "Sakssystemet", True)
    webhook, _ = await owners.create("Fjordvik kommune", wish)
    tried = """INSERT INTO webhook_delivery
                      (webhook_id, event_id, seq, order_id, kind, happened, state, attempts, last_at, next_at, status,
                       detail)
               VALUES (%(id)s, %(event)s, 1, %(event)s, 'order.completed.v1', now(), 'waiting', 3, now(), now(), 503,
                       'Service Unavailable')"""
    async with w.road.db.autocommit() as conn:
        sql = "UPDATE webhook SET state = 'active', confirmed = true, failures = 3 WHERE id = %(id)s"
        await execute(conn, sql, {"id": webhook.id})
        await execute(conn, tried, {"id": webhook.id, "event": uuid7()})
    return webhook.id


async def _many(w: World) -> JobId:
    """A file of recipients that waits for its text."""
    bulk = Bulk(w.road.db, w.road.clock, NORWEGIAN, max_rows=10)
    job = await bulk.upload("Fjordvik kommune", "brev.csv", BytesIO(f"fnr;navn;sak\n{INGRID};Ingrid;4471\n".encode()))
    return job.id


def _paths(orders: Mapping[str, OrderId], hook: WebhookId, job: JobId) -> dict[str, str]:
    return {
        "/ui/orders/{id}": f"/ui/orders/{orders['bounced']}",
        "/ui/recipients/{handle}": "search",
        "/ui/ops/webhooks/{id}": f"/ui/ops/webhooks/{hook}",
        "/ui/send/bulk/{id}": f"/ui/send/bulk/{job}",
        "/ui/sign-in/with/{ticket}": "/ui/sign-in/with/none",
        "/ui/{nowhere:path}": "/ui/nowhere",
    }


async def arrive(page: Page, w: Walk, route: str) -> None:
    """On the page, as somebody comes there."""
    path = w.paths.get(route, route)
    assert "{" not in path, f"the walk needs an address for {route}"
    if path == "search":
        await page.goto(f"{w.url}/ui/orders")
        await page.evaluate(f"document.querySelector('#find').value = '{INGRID}'")
        page._loaded.clear()
        await page.evaluate("document.querySelector('#find').form.submit()")
        await page.loaded()
    else:
        await page.goto(w.url + path)
    await page.until(SETTLED)


def unexpected(page: Page, route: str) -> list[str]:
    """What the page complained of; an address that leads nowhere is told so."""
    wanted = "404" if route in {"/ui/{nowhere:path}", "/ui/sign-in/with/{ticket}"} else "nothing"
    found = [error for error in page.errors if wanted not in error]
    page.errors.clear()
    return found


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_page_is_whole_in_every_language_theme_and_width(database: Database, language: str) -> None:
    async with walk(database) as w, browser_page() as page:
        wrong: list[object] = []
        for route in w.pages():
            await page.look(language=language)
            await arrive(page, w, route)
            wrong += [(route, found) for found in await faults(page, language)]
            wrong += [(route, error) for error in unexpected(page, route)]
        assert not wrong, "\n".join(map(str, wrong))


# What a person can reach with Tab: everything that acts and is to be seen; of a group of choices, one. Each has a
# number, and where the focus goes is written down.
CONTROLS: Final = """
(() => {
  const found = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')];
  const lit = (e, up) => e && up && (getComputedStyle(e).outlineStyle !== 'none' || lit(e.parentElement, up - 1));
  const note = () => {
    const here = document.activeElement;
    trail.push([here.dataset.reach ?? null, here.className, Boolean(here === document.body || lit(here, 6)),
                here.outerHTML.slice(0, 120)]);
  };
  const top = document.body.insertBefore(document.createElement('i'), document.body.firstChild);
  top.tabIndex = -1;
  top.focus();
  top.remove();  // the next Tab goes on from where it was
  if (!window.trail) {
    document.addEventListener('focusin', note);
    window.addEventListener('blur', note);  // a frame has it
  }
  window.trail = [];
  document.querySelectorAll('[data-reach]').forEach(e => delete e.dataset.reach);
  return found.filter(e => e.checkVisibility({visibilityProperty: true}) && !e.disabled && e.tabIndex >= 0
                           && !(e.type === 'radio' && !e.checked))
              .map((e, n) => { e.dataset.reach = n; return n; }).length;
})()
"""


async def test_every_control_of_every_page_is_reached_by_keyboard_and_seen_there(database: Database) -> None:
    async with walk(database) as w, browser_page() as page:
        wrong: list[object] = []
        await page.look(language="en")
        for route in w.pages():
            await arrive(page, w, route)
            for width in (320, 1280):
                await page.window(width=width)
                wrong += [(route, width, found) for found in await _tabbed(page)]
        assert not wrong, "\n".join(map(str, wrong))


async def _tabbed(page: Page) -> list[str]:
    count = await page.evaluate(CONTROLS)
    trail: list[tuple[str | None, str, bool, str]] = []
    for presses in (count + 2, 20, 40):  # also through what is no control, and around
        await page.tab(presses)
        trail = await page.evaluate("trail")
        reached = {number for number, *_ in trail if number is not None}
        if len(reached) == count:
            break
    wrong = [f"the focus cannot be seen on {what}" for *_, lit, what in trail if not lit]
    if trail[0][1] != "skip":
        wrong.append(f"Tab leads first to {trail[0][3]}, not to the skip link")
    missed = [n for n in range(count) if str(n) not in reached]
    what = "(n) => document.querySelector(`[data-reach='${n}']`)?.outerHTML.slice(0, 120)"
    left = await page.evaluate(f"{missed}.map({what}).filter(Boolean)")  # without what the page has replaced meanwhile
    wrong += [f"not reached: {each}" for each in left[:5]]
    return wrong


async def test_the_skip_link_leads_past_the_menu(database: Database) -> None:
    async with walk(database) as w, browser_page() as page:
        await page.look(language="en")
        await page.goto(f"{w.url}/ui/orders")
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.getBoundingClientRect().top >= 0")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'main'")


# Pages that only somebody without a session, or without a role, sees; and what is shown when something breaks.


@asynccontextmanager
async def doors(database: Database, own: Database | None = None) -> AsyncIterator[World]:
    """Outside the sandbox, with a page that breaks. `own`: a database of the pages alone."""
    async with world(database) as w:
        chosen = Settings(pages=PagesSettings(issuer="http://localhost:9", client_id="v", roles={"viewer": ("v",)}))
        parts = ui_parts(own or database, w.road.clock, chosen)

        async def broken(_: Request, __: Who) -> Response:
            raise ZeroDivisionError("somebody@example.com")

        routes = [parts.access.page("/ui/broken", broken, Role.VIEWER), *site_routes(parts)]
        async with serving(Starlette(routes=routes)) as port:
            yield World(f"http://127.0.0.1:{port}", w.road)
        await parts.access.close()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_doors_and_dead_ends_are_whole_too(database: Database, language: str) -> None:
    async with doors(database) as w, browser_page() as page:
        await page.look(language=language)

        async def whole(told: str) -> None:
            assert told in await page.evaluate("document.body.innerText")
            assert await faults(page, language) == []

        nb = language == "nb"
        await page.goto(f"{w.url}/ui/orders")
        await whole("Logg inn" if nb else "Sign in")
        await page.click_through("main form button")
        await whole("Innloggingstjenesten svarer ikke" if nb else "The sign-in service does not answer")
        await page.goto(await w.link(Role.VIEWER))
        await whole("Marit Haugen")
        await page.click_through("main form button")
        await page.goto(f"{w.url}/ui/ops/providers")
        await whole("ikke for rollen din" if nb else "not for your role")
        await page.goto(f"{w.url}/ui/nowhere/at/all")
        await whole("Siden finnes ikke" if nb else "There is no such page")
        await page.goto(f"{w.url}/ui/broken")
        await whole("Noe gikk i stykker her" if nb else "Something broke here")
        assert "somebody@example.com" not in await page.evaluate("document.documentElement.outerHTML")
        await page.goto(f"{w.url}/ui/orders")
        await page.evaluate("document.querySelector('[name=form_token]').value = 'x'")
        await page.evaluate(
            "document.querySelector('form.find').id = 'old'; document.querySelector('#old input[name=q]').value = 'x'"
        )
        page._loaded.clear()
        await page.evaluate("document.querySelector('#old').submit()")
        await page.loaded()
        await whole("Siden var for gammel" if nb else "The page was too old")
        async with w.road.db.autocommit() as conn:
            await execute(conn, "DELETE FROM page_session", {})
        await page.goto(f"{w.url}/ui/orders")
        await whole("Økten din er over" if nb else "Your session is over")


async def test_without_the_database_the_pages_say_so(database: Database) -> None:
    own = Database(database.dsn, size=2, name="pages")
    await own.open()
    async with doors(database, own) as w, browser_page() as page:
        await page.look(language="en")
        await page.goto(await w.link(Role.VIEWER))
        await page.click_through("main form button")
        await own.close()
        await page.goto(f"{w.url}/ui/orders")
        assert "Varsel cannot answer right now" in await page.evaluate("document.body.innerText")
        assert await violations(page) == []


# Pictures


WATER: Final = "Vannet blir stengt i Strandveien 4-28 onsdag 25. november kl. 09-14. Tapp opp drikkevann før det."
PICTURES: Final = {
    "overview": "/ui/",
    "orders": "/ui/orders",
    "order": "/ui/orders/{id}",
    "recipient": "/ui/recipients/{handle}",
    "send": "/ui/send",
    "bulk": "/ui/send/bulk/{id}",
    "providers": "/ui/ops/providers",
    "webhook": "/ui/ops/webhooks/{id}",
    "inbox": "/sandbox",
}


async def write(page: Page) -> None:
    """An order, as somebody writes it."""
    fields = {
        "[name=creator]": "Fjordvik kommune",
        "#add": f"{INGRID}\n{BAKERY}\n{RESERVED}\n+4740000417",
        "#subject": "Vannet stenges i Strandveien onsdag",
        "#body": f"Hei\n\nVi bytter ut en vannledning. {WATER}",
        "#sms": f"Fjordvik kommune: {WATER} Mer på fjordvik.example/vann",
    }
    for selector, text in fields.items():
        await page.evaluate(f"document.querySelector('{selector}').value = {json.dumps(text)}")
    await page.click_through("[name=do][value=preview]:not(.sr)")


async def test_the_pictures_of_the_documentation_are_taken_and_small(database: Database, tmp_path: Path) -> None:
    folder = Path(os.environ.get("VARSEL_SCREENSHOTS") or tmp_path)
    async with walk(database) as w, browser_page() as page:
        await page.look(width=1200, height=900, language="en")
        for name, route in PICTURES.items():
            await arrive(page, w, route)
            if name == "send":
                await write(page)
            await page.evaluate("document.activeElement.blur()")
            picture = await page.picture()
            assert len(picture) < 150_000, name
            (folder / f"{name}.webp").write_bytes(picture)
