"""Orders and recipients in a real browser: from a question to its answer, by keyboard, on paper, without a script."""

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import product

import pytest

from axe import faults
from browser import Page, browser_page
from orders_world import INGRID, World, fill, world
from varsel.db import Database
from varsel.domain.ids import OrderId

SECRET = "+47 400 00 417"
SHOWN = f"document.body.innerText.includes({SECRET!r})"
SAID = "document.querySelector('.verdict .say').innerText"


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    async with world(database, ago=timedelta(minutes=40)) as made:
        yield made


@pytest.fixture
async def filled(w: World) -> dict[str, OrderId]:
    return await fill(w)


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser_page() as page:
        await page.look()
        yield page


async def enter(w: World, page: Page) -> None:
    """Signed in, on the list of orders."""
    await page.goto(await w.link())
    await page.click_through("main form button")
    await page.goto(f"{w.url}/ui/orders")
    page.errors.clear()


async def search(page: Page, text: str) -> None:
    """As a person does it: a slash, the text, Enter."""
    await page.press("/")
    assert await page.evaluate("document.activeElement.id") == "find"
    await page.send("Input.insertText", text=text)
    page._loaded.clear()
    await page.press("Enter")
    await page.loaded()


async def reveal(page: Page) -> None:
    await page.evaluate("document.querySelector('.revealer button[value=mobile]').form.id = 'wanted'")
    await page.click_through("#wanted button")
    await page.evaluate("document.querySelector('#case').value = '26/1183'")
    await page.click_through("form.case .btn.main")


async def test_did_she_get_it_is_answered_in_one_step_and_explained_in_two(
    w: World, filled: dict[str, OrderId], page: Page
) -> None:
    await enter(w, page)
    await search(page, "148385 10036")
    assert (await page.evaluate(SAID)).startswith("Overlevert. Leverandøren tok imot det siste varselet kl.")
    assert INGRID[:6] not in await page.evaluate("location.href + document.title")
    for _ in range(40):
        await page.press("Tab")
        if await page.evaluate("document.activeElement.matches('a.go')"):
            break
    await page.press("j")
    await page.press("ArrowDown")
    assert await page.evaluate("[...document.querySelectorAll('a.go')].indexOf(document.activeElement)") == 2
    row = "getComputedStyle(document.activeElement.closest('tr')).outlineStyle"
    assert await page.evaluate(row) == "solid"
    page._loaded.clear()
    await page.press("Enter")
    await page.loaded()
    assert await page.evaluate(SAID) == "Nei. E-posttjeneren svarte at postboksen ikke finnes."
    assert str(filled["bounced"]) in await page.evaluate("location.href")
    assert page.errors == []


async def test_a_reference_lands_on_its_order_at_once(w: World, filled: dict[str, OrderId], page: Page) -> None:
    await enter(w, page)
    await search(page, "FVK-otp")
    assert await page.evaluate("location.pathname") == f"/ui/orders/{filled['late']}"
    assert (await page.evaluate(SAID)).startswith("Ja. Varselet kom fram på SMS kl.")


async def test_what_was_revealed_is_covered_when_its_time_is_over_and_never_printed(
    w: World, filled: dict[str, OrderId], page: Page
) -> None:
    await enter(w, page)
    await search(page, INGRID)
    assert not await page.evaluate(SHOWN)
    await reveal(page)
    assert await page.evaluate(SHOWN)
    await page.send("Emulation.setEmulatedMedia", media="print")
    assert not await page.evaluate(SHOWN)
    assert await page.evaluate("document.querySelector('.mask.open > .mask').offsetHeight > 0")
    await page.send("Emulation.setEmulatedMedia", media="")
    await page.click_through(".extend button")
    assert await page.evaluate(SHOWN)
    later = "(() => { const now = Date.now; Date.now = () => now() + 31000; })()"
    await page.evaluate(later)
    await page.until(f"document.readyState === 'complete' && !{SHOWN}")
    assert await page.evaluate("document.querySelector('[data-revealed]')") is None
    assert page.errors == []


async def test_everything_works_without_a_script(w: World, filled: dict[str, OrderId], page: Page) -> None:
    await page.look(script=False)
    await page.goto(await w.link())
    await page.click_through("main form button")
    await page.goto(f"{w.url}/ui/recipients")
    await page.evaluate(f"document.querySelector('#who').value = {INGRID!r}")
    await page.click_through("main form button")
    await reveal(page)
    assert await page.evaluate(SHOWN)
    assert await page.evaluate("document.querySelector('meta[http-equiv=refresh]').content.startsWith('30;')")
    where = await page.evaluate("document.querySelector('.countdown').dataset.url")
    await page.goto(w.url + where)
    assert not await page.evaluate(SHOWN)
    await page.goto(f"{w.url}/ui/orders/{filled['planned']}?confirm=cancel")
    await page.click_through("#cancelling .danger")
    assert (await page.evaluate(SAID)).startswith("Ikke sendt.")


async def test_no_page_breaks_in_any_width_theme_or_language(w: World, filled: dict[str, OrderId], page: Page) -> None:
    await enter(w, page)
    paths = ["/ui/orders?state=Cancelled", *(f"/ui/orders/{filled[name]}" for name in ("many", "planned"))]
    for path, language in product(paths, ("nb", "en")):  # the walk has seen the others
        await page.look(language=language)
        await page.goto(w.url + path)
        assert await faults(page, language) == [], path
    assert page.errors == []
