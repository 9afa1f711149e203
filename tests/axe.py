"""What is wrong with a page: axe-core's WCAG 2.2 AA and good practice, in the browser of the tests, in every look."""

from pathlib import Path
from typing import Final

from browser import Page

AXE: Final = Path(__file__).parent / "node/node_modules/axe-core/axe.min.js"

_ALL: Final = "{}"
_COLOURS: Final = '{runOnly: ["color-contrast", "link-in-text-block"]}'  # all that a theme changes
_RUN: Final = """
axe.run(document, {resultTypes: ["violations"], preload: false, iframes: false, ...%s}).then(({violations}) =>
  violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(" ")} ${n.failureSummary.split("\\n")[1] || ""}`)))
"""
_LOOKS: Final = ((1280, False, _ALL), (1280, True, _COLOURS), (320, True, _COLOURS), (320, False, _ALL))
_MIDDLE: Final = 768
_SHAPE: Final = """
(() => {
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  return [document.documentElement.lang, document.querySelectorAll("h1").length, ids.length - new Set(ids).size];
})()
"""
_SEEN: Final = "[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"


async def violations(page: Page, rules: str = _ALL) -> list[str]:
    """Each with its rule and where it is. Empty is what every page wants."""
    assert AXE.exists(), "axe-core is missing: `make axe` installs it, and wants npm"
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE.read_text(encoding="utf-8") + "; true")
    found: list[str] = await page.evaluate(_RUN % rules)
    return found


async def faults(page: Page, language: str) -> list[str]:
    """What is wrong with the page that is open, wide and narrow, light and dark. It is left narrow and light."""
    lang, headings, twice = await page.evaluate(_SHAPE)
    found = [
        *([] if lang == language else [f"in {lang}"]),
        *([] if headings == 1 else [f"{headings} headings of the first level"]),
        *([] if not twice else [f"{twice} ids are not the only ones of their name"]),
    ]
    await page.window(width=_MIDDLE)
    wide, _ = await page.evaluate(_SEEN)
    found += [f"{wide} px wide in a window of {_MIDDLE}"] if wide > _MIDDLE else []
    grounds = set()
    for width, dark, rules in _LOOKS:
        await page.window(width=width)
        await page.theme(dark=dark)
        look = f"{width} {'dark' if dark else 'light'}"
        found += [f"{look}: {violation}" for violation in await violations(page, rules)]
        wide, ground = await page.evaluate(_SEEN)
        found += [f"{look}: {wide} px wide"] if wide > width else []
        grounds.add((ground, dark))
    return found if len(grounds) == 2 else [*found, f"the grounds of the themes are {grounds}"]
