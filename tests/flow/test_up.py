"""`varsel up`: one command runs everything, heals itself, and stops at one signal (design 4)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType

import pytest

from varsel.embedded import running_dsn

VARSEL = (sys.executable, "-P", "-m", "varsel")
READY = "Varsel is ready: API http://localhost:"


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*VARSEL, *words], check=False, capture_output=True, text=True, env=plain_environment())


@contextmanager
def up(
    home: Path, *options: str, port: int = 0, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[str]]:
    """A running `varsel up`, on a free port unless one is named."""
    with (
        (home / "log").open("ab") as log,
        subprocess.Popen(
            [*VARSEL, "up", "--home", home, "--port", str(port), *options],
            env={**plain_environment(), **variables},
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
    with closing(HTTPConnection("127.0.0.1", port, timeout=40)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()


def post(port: int, path: str, body: object, token: str) -> int:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        return connection.getresponse().status


def children(pid: int) -> dict[str, int]:
    """What the process has started, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except FileNotFoundError:  # it has gone since it was listed
            continue
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


@pytest.fixture(scope="module")
def running(shared_home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """One that several tests look at, and its port."""
    with up(shared_home, "--sandbox") as process:
        yield process, wait_until_ready(process)


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


def test_in_the_sandbox_an_order_placed_over_http_is_captured_by_the_simulators(
    running: tuple[subprocess.Popen[str], int], shared_home: Path
) -> None:
    port = running[1]
    token = run("token", "--org", "ttd", "--home", str(shared_home)).stdout.strip()
    email = {"subject": "Hei", "body": "Hallo", "recipients": [{"emailAddress": "kari@example.com"}]}
    sms = {"body": "Hallo", "recipients": [{"mobileNumber": "+4799999501"}]}
    assert post(port, "/notifications/api/v1/orders/email", email, token) == 202
    assert post(port, "/notifications/api/v1/orders/sms", sms, token) == 202
    for channel, to in (("email", "kari@example.com"), ("sms", "%2B4799999501")):
        status, body = get(port, f"/sandbox/messages?to={to}&wait=30")
        assert status == 200
        (message,) = json.loads(body)
        assert (message["channel"], message["text"].strip()) == (channel, "Hallo")


def test_the_sandbox_follows_simulated_registers_when_feeds_are_switched_on(home: Path) -> None:
    switched_on = {"VARSEL_REGISTRY__KRR_SYNC_ENABLED": "true", "VARSEL_REGISTRY__BUSINESS_SYNC_ENABLED": "true"}
    here = ("--home", str(home))

    def feeds() -> dict[str, str | None]:
        told = json.loads(run("registry", "status", "--json", *here).stdout)
        return {feed["feed"]: feed["last_success_at"] for feed in told}

    with up(home, "--sandbox", variables=switched_on) as process:
        port = wait_until_ready(process)
        wait_for("both feeds read to their ends", lambda: all(feeds().values()))
        again = run("registry", "sync", "krr", "--once", *here)
        assert again.returncode == 0, again.stderr
        url = f"http://localhost:{port}"
        looked_up = run("lookup", "14838510036", "310001007", "--url", url, *here)
        assert ("from krr" in looked_up.stdout, "from business-addresses" in looked_up.stdout) == (True, True)


@pytest.mark.parametrize("victim", ["api", "worker", "simulators", "postgres"])
def test_whatever_is_killed_comes_back_and_the_address_stays(
    running: tuple[subprocess.Popen[str], int], victim: str
) -> None:
    process, port = running
    killed = children(process.pid)[victim]
    os.kill(killed, signal.SIGKILL)
    wait_for(f"a new {victim}", lambda: children(process.pid).get(victim, killed) != killed)
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


def test_a_second_one_in_the_same_home_is_refused_and_the_first_goes_on(
    running: tuple[subprocess.Popen[str], int], shared_home: Path
) -> None:
    refused = run("up", "--home", str(shared_home), "--port", "0")
    assert refused.returncode == 2
    assert "another varsel" in refused.stderr
    assert answers(running[1])


def test_a_port_that_is_taken_is_told_before_anything_is_started(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = run("up", "--home", str(home), "--port", port)
    assert refused.returncode == 2
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("running")
def test_migrate_finds_the_database_of_the_running_home(shared_home: Path) -> None:
    assert run("migrate", "--home", str(shared_home)).stdout == "The schema is up to date.\n"


def test_commands_find_the_running_service_wherever_it_answers(
    running: tuple[subprocess.Popen[str], int], shared_home: Path
) -> None:
    port = running[1]
    signed_in = run("sign-in", "--home", str(shared_home)).stdout
    assert signed_in.startswith(f"http://localhost:{port}/ui/sign-in/with/")
    asked = run("status", "019ab000-0000-7000-8000-000000000000", "--org", "ttd", "--home", str(shared_home))
    assert "404" in asked.stderr  # it answers, and knows no such order


def test_commands_that_need_a_database_say_how_to_get_one(home: Path) -> None:
    for command in ("api", "worker", "migrate"):
        refused = run(command, "--home", str(home))
        assert refused.returncode == 2
        assert "varsel up" in refused.stderr
        assert "VARSEL_DATABASE_URL" in refused.stderr
