"""What axe-core finds on a page: WCAG 2.2 AA and its own good practice, in the browser of the tests."""

from pathlib import Path
from typing import Final

from browser import Page

AXE: Final = Path(__file__).parent / "node/node_modules/axe-core/axe.min.js"

_RUN: Final = """
axe.run(document, {resultTypes: ["violations"], preload: false, iframes: false}).then(({violations}) =>
  violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.target.join(" ")} ${n.failureSummary.split("\\n")[1] || ""}`)))
"""


async def violations(page: Page) -> list[str]:
    """Each with its rule and where it is. Empty is what every page wants."""
    assert AXE.exists(), "axe-core is missing: `make axe` installs it, and wants npm"
    if not await page.evaluate("typeof axe === 'object'"):
        await page.evaluate(AXE.read_text(encoding="utf-8") + "; true")
    found: list[str] = await page.evaluate(_RUN)
    return found
