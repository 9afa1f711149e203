"""100 000 identities from the upload to every row's fate, on a real `varsel up --sandbox` that is killed on the way.

Not for its rate alone: afterwards every row must have one fate, and an order of its own.
"""

import asyncio
import csv
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

from bench.figures import Figure
from bench.ground import Ground
from bench.processes import Failed, finished, running
from varsel.cli.bulk_client import BulkService
from varsel.cli.startup import free_port
from varsel.issuer import CREATE_SCOPE, DevelopmentIssuer
from varsel.recipients.generate import Population, write

_ROWS: Final = 100_000
_KILLED_AT: Final = 0.3  # of the rows, ordered
_READY_WITHIN: Final = 120.0
_ENDED_WITHIN: Final = 1_800.0
_PAUSE: Final = 0.5
_QUIET: Final = 15.0  # s
_HOURS: Final = timedelta(hours=2)
_WISH: Final = {
    "recipientColumn": "fnr",
    "recipientKind": "person",
    "channelSchema": "EmailPreferred",
    "emailSettings": {"subject": "Sak {sak}", "body": "Hei. Du har fått et svar i sak {sak}."},
    "smsSettings": {"body": "Du har fått et svar i sak {sak}.", "sendingTimePolicy": "Anytime"},
}
_OPEN: Final = ("new", "ready", "ordered", "handed")


@dataclass
class _Memory:
    """The highest resident memory of each kind of process, in MiB."""

    peaks: Counter[str] = field(default_factory=Counter)

    def look(self, up: int) -> None:
        for pid in _children(up):
            with suppress(OSError, IndexError, StopIteration):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                kind = words[words.index(b"varsel") + 1].decode() if b"varsel" in words else "postgres"
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
                self.peaks[kind] = max(self.peaks[kind], peak // 1024)


@dataclass
class _Quiet:
    """Nothing more will come by itself. `since`: when the last row moved."""

    since: float = 0.0
    last: Any = None

    def reached(self, told: Any) -> bool:
        counts, now = told["counts"], time.monotonic()
        if counts != self.last:
            self.last, self.since = counts, now
        under_way = counts["ready"] + counts["ordered"]
        return "done" in told or (not under_way and now - self.since > _QUIET)


async def run(ground: Ground) -> list[Figure]:
    rows = ground.size.of(_ROWS)
    with tempfile.TemporaryDirectory(prefix="varsel-bulk-") as folder:
        return await asyncio.to_thread(_measure, Path(folder), rows)


def _measure(folder: Path, rows: int) -> list[Figure]:
    folder.chmod(0o755)  # the database's own user goes through
    home, file, memory, port = folder / "home", folder / "rows.csv", _Memory(), free_port("127.0.0.1")
    with _up(home, port) as process:
        people = _people(folder, home, rows)
        _write(file, people)
        service = BulkService(f"http://127.0.0.1:{port}", DevelopmentIssuer(home).mint("ttd", (CREATE_SCOPE,), _HOURS))
        look = partial(memory.look, process.pid)
        began = time.monotonic()
        job = service.upload(file, lambda _: None)
        uploaded = time.monotonic()
        service.configure(job["id"], _WISH)
        ready = _until(service, job["id"], lambda told: told["state"] == "ready", look)
        checked = time.monotonic()
        service.confirm(job["id"], ready["toSend"], leave_out_bad=True)
        _until(service, job["id"], lambda told: told["ordered"] >= _KILLED_AT * rows, look)
        _kill_all(process.pid)
    killed = time.monotonic()
    with _up(home, port) as process:
        again = time.monotonic()
        look = partial(memory.look, process.pid)
        quiet = _Quiet()
        told = _until(service, job["id"], quiet.reached, look)
        ended, lost = quiet.since, told["counts"]["handed"]
        _advance(port)  # reports died with the simulators: the messages that wait for them come to their end
        done = _until(service, job["id"], lambda told: "done" in told, look)
        service.save_result(job["id"], folder / "result.csv")
        look()
    _verify(folder / "result.csv", done, rows)
    sending = ended - checked - (again - killed)
    return [
        Figure("bulk: a file of identities, upload", rows / (uploaded - began), "rows/s"),
        Figure("bulk: check and look-up", rows / (checked - uploaded), "rows/s"),
        Figure(
            "bulk: from confirmation to every row's fate, all processes killed once",
            rows / sending,
            "rows/s",
            details={
                "s in all": ended - began,
                "s away": again - killed,
                "rows whose reports died with the simulators": lost,
                **{f"{kind} MiB at most": peak for kind, peak in sorted(memory.peaks.items())},
                **{f"rows {state}": n for state, n in done["counts"].items() if n},
            },
        ),
    ]


@contextmanager
def _up(home: Path, port: int) -> Iterator["Popen[str]"]:
    with running(
        *("varsel", "up", "--sandbox", "--port", str(port), "--home", home), VARSEL_LOG_LEVEL="ERROR"
    ) as process:
        assert process.stdout
        deadline = time.monotonic() + _READY_WITHIN
        while "Varsel is ready" not in (said := process.stdout.readline()):
            if not said or time.monotonic() > deadline:
                raise Failed("varsel up did not become ready")
        yield process


def _people(folder: Path, home: Path, rows: int) -> list[str]:
    registers = folder / "registers"
    registers.mkdir()
    write(Population(rows, 0, 2026, datetime.now(UTC).date()), registers, lambda _: None)
    finished("varsel", "import", "all", registers, "--home", home)
    with (registers / "persons.csv").open(encoding="utf-8", newline="") as lines:
        return [row["id"] for row in csv.DictReader(lines)]


def _write(file: Path, people: list[str]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter=";")
        writer.writerow(("fnr", "sak"))
        writer.writerows((person, number) for number, person in enumerate(people))


def _until(service: BulkService, job: str, reached: Callable[[Any], bool], look: Callable[[], object]) -> Any:
    deadline = time.monotonic() + _ENDED_WITHIN
    while not reached(told := service.get(job)):
        if time.monotonic() > deadline:
            raise Failed(f"after {_ENDED_WITHIN} s it stands so: {told['state']}, {told['counts']}")
        look()
        time.sleep(_PAUSE)
    return told


def _advance(port: int) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=600)) as connection:
        body = json.dumps({"advance": "P3D"})
        connection.request("POST", "/sandbox/clock", body, {"Content-Type": "application/json"})
        if connection.getresponse().status >= 300:
            raise Failed("the clock did not move")


def _kill_all(up: int) -> None:
    """As when the machine loses its power, but for the kernel."""
    for pid in [up, *_children(up)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """All below a process."""
    try:
        own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return own + [below for child in own for below in _children(child)]


def _verify(result: Path, done: Any, rows: int) -> None:
    """Every row is told once, with a fate, and no two have one order."""
    with result.open(encoding="utf-8-sig", newline="") as lines:
        told = list(csv.DictReader(lines))
    orders = Counter(row["orderId"] for row in told if row["orderId"])
    fates = Counter(row["fate"] for row in told)
    if len(told) != rows or len({row["line"] for row in told}) != rows:
        raise Failed(f"{len(told)} rows are told, not {rows}")
    if any(fates[state] for state in _OPEN) or sum(done["counts"].values()) != rows:
        raise Failed(f"rows without a fate: {fates}")
    if orders and max(orders.values()) > 1:
        raise Failed("two rows have one order")
