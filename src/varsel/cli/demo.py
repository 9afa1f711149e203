"""`varsel demo`: the whole road in front of your eyes, with synthetic people, over HTTP alone.

Starts `varsel up --sandbox` in a fresh home, loads the personas, places the orders of `demo_orders.py`, waits for
their fates, and prints them with what was expected.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
from rich import box
from rich.console import Console
from rich.table import Table

from varsel.cli.demo_orders import DIRECT, SCENARIOS, USER_ADDRESSES, Scenario
from varsel.cli.startup import free_port
from varsel.embedded.place import remove_home

_READY_WITHIN: Final = 60.0
_FATES_WITHIN: Final = 60.0
_FINAL: Final = frozenset(
    {
        "Order processing is completed. All notifications have a final status.",
        "Order processing was stopped due to order being cancelled.",
    }
)

console = Console(width=None if sys.stdout.isatty() else 132)


@dataclass(slots=True)
class Placed:
    """An order of the demo, and what has become of it. `fates`: (address or "", status) of each notification."""

    scenario: Scenario
    order_id: str
    told: str
    fates: list[tuple[str, str]]

    @property
    def as_expected(self) -> bool:
        seen = sorted(status for _, status in self.fates)
        return self.told == self.scenario.told and seen == sorted(self.scenario.fates)


class Failed(click.ClickException):
    """The demo could not be shown to its end."""


@click.command()
@click.option("--exit", "ends", is_flag=True, help="End after the table: status 0 if every fate was the expected one.")
@click.option("--port", type=click.IntRange(0, 65535), default=5090, show_default=True, help="0 takes a free one.")
def demo(ends: bool, port: int) -> None:
    """Show the service at work, with synthetic people."""
    home = Path(tempfile.mkdtemp(prefix="varsel-demo-"))
    try:
        with _service(home, port or free_port("127.0.0.1")) as base:
            placed = asyncio.run(_show(base, home))
            good = all(p.as_expected for p in placed)
            if not ends:
                _stay(base)
    finally:
        remove_home(home)
    if not good:
        raise Failed("not every order met its expected fate")


@contextlib.contextmanager
def _service(home: Path, port: int) -> Iterator[str]:
    """`varsel up --sandbox` while the block runs. Its log is in the home."""
    log_file = home / "up.log"
    with log_file.open("wb") as log, _working("Starting Varsel: database, API, worker, mail server, SMS gateway"):
        command = [sys.executable, "-m", "varsel", "up", "--sandbox", "--home", str(home), "--port", str(port)]
        child = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        base = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(base, child, log_file)
        except BaseException:
            _end(child)
            raise
    try:
        yield base
    finally:
        _end(child)


def _wait_until_ready(base: str, child: "subprocess.Popen[bytes]", log_file: Path) -> None:
    async def ready() -> bool:
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{base}/health/ready") as answer:
                body: dict[str, Any] = await answer.json()
                return answer.status == 200 and bool(body.get("workers"))
        except (aiohttp.ClientError, TimeoutError):
            return False

    deadline = time.monotonic() + _READY_WITHIN
    while not asyncio.run(ready()):
        if child.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-15:])
            raise Failed(f"the service did not start. Its last words:\n{tail}")
        time.sleep(0.1)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(timeout=15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


async def _show(base: str, home: Path) -> list[Placed]:
    with _working("Loading synthetic people and organisations"):
        _load(home)
    token = _run("token", "--org", "ttd", "--home", str(home)).strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(base, headers=headers) as http:
        with _working(f"Placing {len(SCENARIOS)} orders over HTTP"):
            placed = [await _place(http, scenario) for scenario in SCENARIOS]
        with _working("Waiting for their fates"):
            await asyncio.gather(*(_follow(http, each) for each in placed))
    _print(placed, base)
    return placed


def _load(home: Path) -> None:
    _run("import", "personas", "--home", str(home))
    file = home / "user_addresses.csv"
    file.write_text(USER_ADDRESSES)
    _run("import", "user_addresses", str(file), "--home", str(home))


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "varsel", *command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"varsel {command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


async def _place(http: aiohttp.ClientSession, scenario: Scenario) -> Placed:
    async with http.post(f"/notifications/api/v1/{scenario.path}", json=scenario.body()) as answer:
        body: dict[str, Any] = await answer.json()
        if answer.status != 202:
            raise Failed(f"{scenario.title}: the order was answered {answer.status}: {body}")
    if scenario.cancelled:
        async with http.put(f"/notifications/api/v1/orders/{body['orderId']}/cancel") as answer:
            if answer.status != 200:
                raise Failed(f"{scenario.title}: cancelling was answered {answer.status}")
    return Placed(scenario, body["orderId"], _told(body.get("recipientLookup")), [])


def _told(lookup: dict[str, Any] | None) -> str:
    """What the sender learned at once, in words."""
    if lookup is None:
        return DIRECT
    if lookup["isReserved"]:
        return "reserved"
    return "no contact details" if lookup["missingContact"] else "can be reached"


async def _follow(http: aiohttp.ClientSession, placed: Placed) -> None:
    """Until the order says that everything has a final status, and all that was expected has come about."""
    path = f"/notifications/api/v1/orders/{placed.order_id}"
    deadline = time.monotonic() + _FATES_WITHIN
    while time.monotonic() < deadline:
        async with http.get(f"{path}/status") as answer:
            status = (await answer.json())["processingStatus"]
        placed.fates = []
        for channel, key in (("email", "emailAddress"), ("sms", "mobileNumber")):
            async with http.get(f"{path}/notifications/{channel}") as answer:
                found = (await answer.json())["notifications"]
            placed.fates += [(n["recipient"][key], n["sendStatus"]["status"]) for n in found]
        if status["status"] == "Cancelled":
            placed.fates = [("", "Cancelled")]
        if status["description"] in _FINAL and placed.as_expected:
            return
        await asyncio.sleep(0.1)


def _print(placed: Sequence[Placed], base: str) -> None:
    table = Table(title="What became of the orders", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("Order", "Told at once", "Sent to", "Fate", "As expected"):
        table.add_column(heading, overflow="fold")
    for each in placed:
        addresses = "\n".join(address or "–" for address, _ in each.fates)
        fates = "\n".join(_coloured(status) for _, status in each.fates)
        mark = "[green]yes[/]" if each.as_expected else f"[bold red]no: {_expected(each.scenario)}[/]"
        table.add_row(each.scenario.title, each.told, addresses, fates or "none", mark)
    console.print(table)
    good = sum(each.as_expected for each in placed)
    console.print(f"{good} of {len(placed)} orders met their expected fate.")
    console.print(
        f"Look at the messages: [link]{base}/sandbox[/link]   API description: {base}/swagger/v1/swagger.json"
    )


def _expected(scenario: Scenario) -> str:
    return f"{scenario.told}; {', '.join(scenario.fates)}"


def _coloured(status: str) -> str:
    colour = (
        "green" if status == "Delivered" else "yellow" if status in ("Cancelled", "Succeeded", "Accepted") else "red"
    )
    return f"[{colour}]{status}[/]"


def _stay(base: str) -> None:
    console.print(f"\nVarsel runs at {base} until you press Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


@contextlib.contextmanager
def _working(what: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(what + " …") if console.is_terminal else contextlib.nullcontext():
        yield
    console.print(f"[green]✓[/] {what} [dim]({time.monotonic() - began:.1f} s)[/]")
