"""`varsel send`: the whole way of a file from a terminal, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bulk_world import INGRID, NOBODY, RESERVED, BulkWorld, bulk_world, lines
from serving import make_parts, serving
from varsel.api.app import create_app
from varsel.cli.main import cli
from varsel.clock import ManualClock
from varsel.db import Database

PEOPLE = lines(
    ["fnr", "navn"], [INGRID, "Ingrid"], [RESERVED, "Siri"], [NOBODY, "Nils"], ["12", "Feil"], [INGRID, "Ingrid"]
)
TEXTS = ("--sms", "Hei {navn}", "--subject", "Hei", "--email", "Hei {navn}")


@dataclass
class Terminal:
    """`varsel send` in a folder, with a service that works meanwhile."""

    bulk: BulkWorld
    port: int
    home: Path

    async def send(self, *arguments: str, **options: Any) -> Result:
        asked = ["send", *arguments, "--url", f"http://127.0.0.1:{self.port}", "--org", "ttd", "--home", str(self.home)]
        return await asyncio.to_thread(CliRunner().invoke, cli, asked, **options)

    def file(self, text: str = PEOPLE) -> str:
        file = self.home / f"{len(text)}.csv"
        file.write_text(text, encoding="utf-8")
        return str(file)


@pytest.fixture
async def terminal(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Terminal]:
    async with bulk_world(database, clock) as bulk:
        road = bulk.road
        parts = make_parts(tmp_path, clock, database, road._register.register_order)
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                await bulk.turns.take_turn()
                await road.run()
                await asyncio.sleep(0.01)

        async with serving(create_app(parts)) as port:
            working = asyncio.create_task(work())
            yield Terminal(bulk, port, tmp_path)
            over.set()
            await working


async def test_a_file_is_checked_told_sent_and_watched_to_the_last_fate(terminal: Terminal) -> None:
    result = terminal.home / "result.csv"
    done = await terminal.send(
        *("--csv", terminal.file(), *TEXTS, "--anytime", "--yes", "--leave-out-bad", "--watch"),
        *("--result", str(result)),
    )
    assert done.exit_code == 0, done.output
    assert "line 5, fnr: This is no national identity number" in done.stderr
    assert "3 rows: 1 by email, 1 reserved, 1 without contact details, 1 repeats, left out" in done.stdout
    assert "is finished: 1 bad, 1 duplicate, 1 unconfirmed, 1 notSent, 1 unreachable" in done.stdout
    assert len(result.read_text(encoding="utf-8-sig").splitlines()) == 6
    assert len(terminal.bulk.road.mail.sent) == 1


async def test_nothing_is_sent_without_a_word_of_consent(terminal: Terminal) -> None:
    for arguments, told in (
        ((), "say --leave-out-bad"),
        (("--leave-out-bad",), "nobody is here to ask"),
        (("--yes", "--column", "navn"), "--leave-out-bad"),
        (("--yes", "--sms", "{ukjent}"), "SmsSettings.Body: The file has no column {ukjent}."),
    ):
        refused = await terminal.send("--csv", terminal.file(), *TEXTS, *arguments)
        assert refused.exit_code == 2
        assert told in refused.stderr
    assert await terminal.bulk.orders() == 0


async def test_a_job_that_is_there_is_paused_resumed_and_shown_as_json(terminal: Terminal) -> None:
    later = ("--at", "2026-11-24T10:00:00Z")
    sent = await terminal.send("--csv", terminal.file(), *TEXTS, "--yes", "--leave-out-bad", "--json", *later)
    assert sent.exit_code == 0, sent.output
    job = json.loads(sent.stdout)
    for act, state in (("pause", "paused"), ("resume", "sending"), ("stop", "stopping")):
        acted = await terminal.send("--job", job["id"], "--do", act, "--json")
        assert json.loads(acted.stdout)["state"] == state
    stopped = await terminal.send("--job", job["id"], "--watch")
    assert "is stopped: 1 bad, 1 duplicate, 3 stopped" in stopped.stdout
    assert (await terminal.send("--job", job["id"], "--do", "pause")).exit_code == 2


async def test_what_is_wrong_with_the_words_of_the_command_is_told(terminal: Terminal) -> None:
    for arguments, told in (
        ((), "give --csv FILE, or --job ID"),
        (("--csv", terminal.file()), "there is no text"),
        (("--csv", terminal.file("navn\r\nNils\r\n"), *TEXTS), "say which --column has the recipients"),
        (("--csv", terminal.file("a;a\r\n"), *TEXTS), "Column 2 has the name of an earlier one"),
        (("--job", "01a2b3c4-d5e6-7f80-9a0b-1c2d3e4f5a04"), "Not Found"),
    ):
        refused = await terminal.send(*arguments)
        assert refused.exit_code == 2
        assert told in refused.output + refused.stderr
