"""Real processes: of Varsel, and of what it talks to. They die with the bench; the system tells what CPU they used."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Final

from varsel.cli.child_settings import toml
from varsel.cli.startup import free_port
from varsel.embedded import die_with_parent, remove_home

_READY_WITHIN: Final = 30.0
_STOP_WITHIN: Final = 15.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A process did not do what the benchmark needs."""


@contextmanager
def temporary_home(prefix: str) -> Iterator[Path]:
    """A home while the block runs. Its cluster goes too: as root it lies elsewhere, where its own user reaches it."""
    home = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield home
    finally:
        with suppress(OSError):  # what went wrong in the block says more
            remove_home(home)


@contextmanager
def running(*module_and_arguments: str | Path, **variables: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """`python -m …` while the block runs, without the VARSEL_ variables of our own environment.

    Its standard error is shown when the block fails.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            [sys.executable, "-P", "-m", *module_and_arguments],
            env=environment | {name: str(value) for name, value in variables.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one thread
        )
        try:
            yield process
        except BaseException:
            _end(process)
            _repeat(errors)
            raise
        _end(process)


def finished(*module_and_arguments: str | Path, **variables: str | Path) -> str:
    """What `python -m …` says until it ends by itself, and well."""
    with running(*module_and_arguments, **variables) as process:
        assert process.stdout
        said = process.stdout.read()
        if process.wait():
            raise Failed(f"{' '.join(map(str, module_and_arguments))} failed")
    return said


@contextmanager
def sink(*options: str | Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The SMTP sink: its port and process. It says how many messages came when it is asked to stop."""
    with running("varsel.simulators.sink", *options) as process:
        yield int(line(process)), process


def count_of(process: "subprocess.Popen[str]") -> int:
    """Stop a sink; how many messages came."""
    process.terminate()
    return int(line(process))


@contextmanager
def api(settings: Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """`varsel api` on a free port, once it answers."""
    port = free_port("127.0.0.1")
    with running("varsel", "api", "--port", str(port), VARSEL_CONFIG=settings) as process:
        wait_until(lambda: answers(port), process)
        yield port, process


@contextmanager
def worker(settings: Path) -> Iterator["subprocess.Popen[str]"]:
    with running("varsel", "worker", VARSEL_CONFIG=settings) as process:
        yield process


def settings_file(
    folder: Path,
    dsn: str | None,
    mail_port: int | None = None,
    providers: Sequence[dict[str, Any]] = (),
    **delivery: Any,
) -> Path:
    """Settings of a benchmark's processes. What was sent settles at once, so that orders complete."""
    values: dict[str, Any] = {
        "home": str(folder),
        "log_level": "WARNING",
        "auth": {"development_issuer": True},
        "delivery": {"settle_email_after": 0, **delivery},
    }
    if dsn:
        values["database_url"] = dsn
    if mail_port:
        values["providers"] = [
            {"type": "smtp", "name": "sink", "host": "127.0.0.1", "port": mail_port, "tls": "none"},
        ]
    if providers:
        values["providers"] = list(providers)
    file = folder / "bench.toml"
    file.write_text(toml(values))
    return file


def line(process: "subprocess.Popen[str]") -> str:
    """The next line it says."""
    assert process.stdout
    said = process.stdout.readline().strip()
    if not said:
        raise Failed("a process ended too early")
    return said


def answers(port: int, path: str = "/health/ready") -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def wait_until(condition: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = _READY_WITHIN) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed("a process did not become ready")
        time.sleep(0.02)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, of its children that live, and of those it has buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0.0
    own = sum(int(ticks) for ticks in fields[11:15]) / _TICKS
    return own + sum(cpu_seconds(int(child)) for child in children)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _repeat(errors: IO[str]) -> None:
    errors.seek(0)
    sys.stderr.write("".join(errors.readlines()[-20:]))
