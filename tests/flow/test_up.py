"""`varsel up`: one command runs everything, heals itself, and stops at one signal (design 4)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

from varsel.embedded import running_dsn

VARSEL = (sys.executable, "-P", "-m", "varsel")
READY = "Varsel is ready: API http://localhost:"


@contextmanager
def up(home: Path, *options: str, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A running `varsel up`, on a free port unless one is named."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}
    with (
        (home / "log").open("ab") as log,
        subprocess.Popen(
            [*VARSEL, "up", "--home", home, "--port", str(port), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def wait_until_ready(process: subprocess.Popen[str]) -> int:
    """The port."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith(READY):
            return int(line.removeprefix(READY).split()[0])
    raise AssertionError("it ended before it was ready")


def get(port: int, path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def children(pid: int) -> dict[str, int]:
    """What the process has started, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if words[0].endswith(b"postgres"):
            found["postgres"] = int(child)
        elif len(words) > 4 and words[4] != b"up":  # else it has just been forked, or has ended
            found[words[4].decode()] = int(child)
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(what: str, condition: object, seconds: float = 20) -> None:
    """Other processes come and go by themselves; nothing tells us."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def answers(port: int) -> bool:
    try:
        status, body = get(port, "/health/ready")
    except OSError:
        return False
    return status == 200 and json.loads(body)["workers"] > 0


def test_one_command_is_ready_one_signal_stops_it_and_nothing_is_left(home: Path) -> None:
    with up(home, "--workers", "2") as process:
        port = wait_until_ready(process)
        assert answers(port)
        family = children(process.pid)
        assert family.keys() == {"postgres", "api", "worker"}
        assert running_dsn(home)
        started = time.monotonic()
        process.terminate()
        assert process.wait(15) == 0
        assert time.monotonic() - started < 10
    assert not any(runs(pid) for pid in family.values())
    assert running_dsn(home) is None


def test_whatever_is_killed_comes_back_and_the_address_stays(home: Path) -> None:
    with up(home) as process:
        port = wait_until_ready(process)
        for victim in ("api", "worker", "postgres"):
            before = children(process.pid)
            os.kill(before[victim], signal.SIGKILL)
            wait_for(f"a new {victim}", lambda b=before, v=victim: children(process.pid).get(v, b[v]) != b[v])
            wait_for("an answer", lambda: answers(port))
            assert process.poll() is None


def test_kill_9_of_the_supervisor_ends_all_and_the_next_start_takes_over(home: Path) -> None:
    with up(home) as process:
        port = wait_until_ready(process)
        family = children(process.pid)
        process.kill()
        process.wait()
        with up(home, port=port) as successor:
            assert wait_until_ready(successor) == port
            assert answers(port)
            assert not any(runs(pid) for pid in family.values())


def test_a_second_one_in_the_same_home_is_refused_and_the_first_goes_on(home: Path) -> None:
    with up(home) as process:
        port = wait_until_ready(process)
        second = subprocess.run(
            [*VARSEL, "up", "--home", home, "--port", "0"], check=False, capture_output=True, text=True
        )
        assert second.returncode == 2
        assert "another varsel" in second.stderr
        assert answers(port)


def test_a_port_that_is_taken_is_told_before_anything_is_started(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = subprocess.run(
            [*VARSEL, "up", "--home", home, "--port", str(port)], check=False, capture_output=True, text=True
        )
    assert refused.returncode == 2
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert list(home.iterdir()) == []


def test_migrate_finds_the_database_of_the_running_home(home: Path) -> None:
    with up(home) as process:
        wait_until_ready(process)
        said = subprocess.run([*VARSEL, "migrate", "--home", home], capture_output=True, text=True, check=True).stdout
    assert said == "The schema is up to date.\n"
