"""A real browser for tests: Debian's headless Chromium, driven over its DevTools socket."""

import asyncio
import atexit
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiohttp

from varsel.embedded import die_with_parent

CHROMIUM: Final = Path("/usr/bin/chromium")
_LOOK_SECONDS: Final = 0.02
_WAIT_SECONDS: Final = 20
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-features=SpareRendererForSitePerProcess",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)


class Navigated(Exception):
    """The page was left while it answered."""


class Page:
    """One tab. What the page logs as an error, a failed load or a broken policy included, is kept in `errors`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.errors: list[str] = []

    async def goto(self, url: str) -> None:
        """Open an address, and wait until the page with its pictures and scripts has loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await self.loaded()

    async def loaded(self) -> None:
        async with asyncio.timeout(_WAIT_SECONDS):
            await self._loaded.wait()

    async def click_through(self, selector: str) -> None:
        """Click what loads another page, and wait for that page."""
        self._loaded.clear()
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        await self.loaded()

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, run as if a person had clicked; a promise is awaited."""
        how = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = await self.send("Runtime.evaluate", expression=expression, **how)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page. Asked from here: a page without scripts has no timers."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while True:
                try:
                    if await self.evaluate(f"Boolean({expression})"):
                        return
                except Navigated:
                    await self.loaded()
                await asyncio.sleep(_LOOK_SECONDS)

    async def press(self, key: str) -> None:
        """One key, as a person would: `Tab`, `Enter`, `ArrowDown`, `/` or a letter."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40}
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
        await self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    async def tab(self, times: int) -> None:
        """The Tab key again and again, without a look between."""
        event = {"type": "rawKeyDown", "key": "Tab", "windowsVirtualKeyCode": 9}
        await asyncio.gather(*(self.send("Input.dispatchKeyEvent", **event) for _ in range(times)))

    async def look(
        self, *, width: int = 1280, height: int = 900, dark: bool = False, language: str = "nb", script: bool = True
    ) -> None:
        """What the visitor has: a window, a theme, a language, and whether scripts run. Holds from the next page on."""
        await self.window(width=width, height=height)
        await self.theme(dark=dark)
        await self.send("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})
        await self.send("Emulation.setScriptExecutionDisabled", value=not script)

    async def window(self, *, width: int, height: int = 900) -> None:
        """Holds at once: the page that is open is laid out anew."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.send("Emulation.setDeviceMetricsOverride", **size)

    async def theme(self, *, dark: bool) -> None:
        """Holds at once. Nothing moves: a page at rest can be judged, and is not painted sixty times a second."""
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        listed = [{"name": name, "value": value} for name, value in features.items()]
        await self.send("Emulation.setEmulatedMedia", features=listed)

    async def screenshot(self) -> bytes:
        """The whole page, to its end, as PNG."""
        picture = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(picture["data"])

    async def picture(self) -> bytes:
        """What is in the window, as a small WebP."""
        picture = await self.send("Page.captureScreenshot", format="webp", quality=85)
        return base64.b64decode(picture["data"])

    async def send(self, method: str, **params: object) -> Any:
        """A DevTools command; see the DevTools protocol for what there is."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_WAIT_SECONDS + 10):
            return await answer

    async def listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answer(event)
            elif event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                self.errors.append(event["params"]["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(event["params"]["exceptionDetails"]))

    def _answer(self, event: dict[str, Any]) -> None:
        future = self._answers.pop(event["id"])
        if "navigated" in event.get("error", {}).get("message", ""):
            future.set_exception(Navigated())
        elif "error" in event:
            future.set_exception(AssertionError(event["error"]))
        else:
            future.set_result(event["result"])


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """A tab without any history, of which nothing is left. The browser itself serves all tests of this process."""
    chromium = _chromium()
    async with aiohttp.ClientSession() as session, _connected(session, chromium) as browser:
        context = (await browser.send("Target.createBrowserContext"))["browserContextId"]
        try:
            target = await browser.send("Target.createTarget", url="about:blank", browserContextId=context)
            tab = f"{chromium.rpartition('/devtools/')[0]}/devtools/page/{target['targetId']}"
            async with _connected(session, tab) as page:
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await page.send(f"{domain}.enable")
                await page.send("Emulation.setFocusEmulationEnabled", enabled=True)  # as the window in front
                yield page
        finally:
            await browser.send("Target.disposeBrowserContext", browserContextId=context)


@asynccontextmanager
async def _connected(session: aiohttp.ClientSession, address: str) -> AsyncIterator[Page]:
    async with session.ws_connect(address, max_msg_size=0) as socket:
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        try:
            yield page
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening


@cache
def _chromium() -> str:
    """The DevTools address of this process's browser, which is started for the first tab and ends with the process."""
    profile = tempfile.mkdtemp(prefix="varsel-browser-")
    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - allocates nothing in the child
    )
    atexit.register(_end, process, profile)
    note = Path(profile) / "DevToolsActivePort"  # a port and a path
    deadline = time.monotonic() + _WAIT_SECONDS
    while not note.exists() or len(lines := note.read_text().split()) < 2:
        assert process.poll() is None, "the browser ended before it listened"
        assert time.monotonic() < deadline, "the browser does not listen"
        time.sleep(_LOOK_SECONDS)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"


def _end(process: subprocess.Popen[bytes], profile: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with its children, which write into the profile
    process.wait()
    shutil.rmtree(profile, ignore_errors=True)
