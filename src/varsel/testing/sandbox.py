"""A running sandbox, as a test uses it: `varsel up --sandbox` in a temporary home on a free port."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from varsel.client import Varsel
from varsel.embedded.place import die_with_parent, remove_home

_VARSEL: Final = (sys.executable, "-P", "-m", "varsel")  # -P: the working directory is no place to import from
_READY: Final = re.compile(rb"Varsel is ready: API (http://[^\s]+)")
_START_WITHIN: Final = 120.0  # s: a slow machine makes a database
_STOP_WITHIN: Final = 15.0
_MOST_WAIT: Final = 60.0  # s: what the sandbox lets one wait
_CLOCK_WITHIN: Final = 60.0
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class SandboxError(Exception):
    """The sandbox did not start, or did not do what it was asked to."""


class NoMessage(AssertionError):
    """A message that a test waits for did not come."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A message that would have gone out. `notification_id`: as in webhooks and explanations."""

    id: str
    channel: str
    to: str
    sender: str
    subject: str | None
    text: str
    html: str | None
    parts: int
    notification_id: str | None
    received_at: datetime

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Captured":
        return cls(
            id=told["id"],
            channel=told["channel"],
            to=told["to"],
            sender=told["from"],
            subject=told["subject"],
            text=told["text"],
            html=told["html"],
            parts=told["parts"],
            notification_id=told["notificationId"],
            received_at=datetime.fromisoformat(told["receivedAt"]),
        )


@dataclass(slots=True)
class Sandbox:
    """`url`: of the API, what comes before `/notifications`. `home`: of its database, keys and log (`up.log`)."""

    url: str
    home: Path
    _variables: Mapping[str, str] = field(repr=False)
    _tokens: dict[tuple[str, ...], str] = field(default_factory=dict, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    def token(self, org: str = "ttd", *scopes: str) -> str:
        """A bearer token of a creator, for a week. `scopes`: instead of all that a creator may need."""
        key = (org, *scopes)
        if key not in self._tokens:
            options = [word for scope in scopes for word in ("--scope", scope)]
            self._tokens[key] = self.run("token", "--org", org, "--expires", "7d", *options).strip()
        return self._tokens[key]

    def client(self, org: str = "ttd") -> Varsel:
        """As a creator; closed when the sandbox stops."""
        return self._open.enter_context(Varsel(self.url, self.token(org)))

    def run(self, *words: str) -> str:
        """What a `varsel` command prints, in this home: `run("import", "persons", "people.csv")`."""
        done = subprocess.run(  # noqa: S603 - our own command
            [*_VARSEL, *words, "--home", str(self.home)],
            capture_output=True,
            text=True,
            check=False,
            env=self._variables,
        )
        if done.returncode:
            raise SandboxError(f"varsel {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done.stdout

    def messages(self, *, to: str | None = None, containing: str | None = None, limit: int = 50) -> list[Captured]:
        """What was captured, the newest first. `containing`: words in addresses, subject or text."""
        return self._messages(_search(to=to, q=containing, limit=limit))

    def wait_for_message(
        self,
        *,
        to: str | None = None,
        containing: str | None = None,
        after: Captured | None = None,
        within: timedelta = timedelta(seconds=30),
    ) -> Captured:
        """The newest such message, once there is one; newer than `after`. Raises `NoMessage`, which fails the test."""
        wait = min(within.total_seconds(), _MOST_WAIT)
        search = _search(to=to, q=containing, after=after.id if after else None, wait=wait, limit=1)
        found = self._messages(search, patience=wait + 30)
        if not found:
            raise NoMessage(f"no message to {to or 'anybody'} within {wait:g} s; its log is {self.home / 'up.log'}")
        return found[0]

    def clear(self) -> None:
        """Forget the messages captured so far."""
        self._ask("DELETE", "/sandbox/messages")

    def now(self) -> datetime:
        """By the sandbox's clock, which orders, windows and expiry go by."""
        return datetime.fromisoformat(self._ask("GET", "/sandbox/clock")["now"])

    def advance(self, by: str | timedelta) -> datetime:
        """Move its clock forward, by `P1D`, `PT2H` or a `timedelta`: all that becomes due on the way has happened then.

        Raises `SandboxError` when messages are still under way after 30 s; the clock then stands where it is.
        """
        duration = by if isinstance(by, str) else f"PT{by.total_seconds():g}S"
        told = self._ask("POST", "/sandbox/clock", {"advance": duration}, patience=_CLOCK_WITHIN)
        return datetime.fromisoformat(told["now"])

    def close(self) -> None:
        self._open.close()

    def _messages(self, search: str, patience: float = 30.0) -> list[Captured]:
        return [Captured.of(told) for told in self._ask("GET", f"/sandbox/messages?{search}", patience=patience)]

    def _ask(self, method: str, path: str, body: object = None, patience: float = 30.0) -> Any:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=patience)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            content = answer.read()
        except OSError as e:
            raise SandboxError(f"{method} {path}: {e}; its log is {self.home / 'up.log'}") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise SandboxError(
                f"{method} {path} was answered {answer.status}: {content[:500].decode(errors='replace')}"
            )
        return json.loads(content)


def _search(**given: object) -> str:
    return urlencode({name: value for name, value in given.items() if value is not None})


@contextmanager
def running_sandbox(variables: Mapping[str, str] = _NOTHING, *, people: bool = True) -> Iterator[Sandbox]:
    """A sandbox of one's own while the block runs; nothing is left of it.

    `variables`: settings of the service, `VARSEL_…`; those around us do not count. `people`: with those of `magic`.
    """
    home = Path(tempfile.mkdtemp(prefix="varsel-sandbox-"))
    if os.geteuid() == 0:
        home.chmod(0o755)  # the database's own user goes through
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")} | dict(variables)
    try:
        with _up(home, clean) as url:
            sandbox = Sandbox(url, home, clean)
            try:
                if people:
                    sandbox.run("import", "personas")
                yield sandbox
            finally:
                sandbox.close()
    finally:
        remove_home(home)


@contextmanager
def _up(home: Path, variables: Mapping[str, str]) -> Iterator[str]:
    command = [*_VARSEL, "up", "--sandbox", "--port", "0", "--home", str(home)]
    with (
        (home / "up.log").open("wb") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=variables,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - safe there
        ) as process,
    ):
        try:
            yield _wait_until_ready(process, home / "up.log")
        finally:
            _stop(process)


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    assert process.stdout
    deadline, said = time.monotonic() + _START_WITHIN, b""
    while select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
        heard = os.read(process.stdout.fileno(), 65_536)
        said += heard
        if found := _READY.search(said):
            return found[1].decode()
        if not heard:
            break
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise SandboxError(f"the sandbox did not start. Its last words:\n{tail}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
