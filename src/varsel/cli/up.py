"""`varsel up`: everything on this machine in one command (design 4 and 8). One SIGTERM stops it within 10 s."""

import contextlib
import json
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import Final

import click

from varsel.cli.child_settings import sandbox_values, write_settings
from varsel.cli.migrate import bring_up_to_date
from varsel.cli.processes import BackOff, ChildRefused, Processes, Spec
from varsel.cli.startup import (
    Refused,
    database_url,
    environment,
    home_of,
    listen,
    load_settings,
    refuse_unsafe,
    with_suppression_key,
)
from varsel.embedded.place import ADDRESS_FILE, ServerError, hold_home, make_folder, write_private
from varsel.embedded.server import Embedded
from varsel.log import Log
from varsel.log import configure as configure_log
from varsel.settings import ServerSettings, Settings

log = Log(__name__)

_CHILDREN_STOP_WITHIN: Final = 8.5  # s: the workers' grace is 8
_ALL_STOPS_WITHIN: Final = 9.7
_TICK: Final = 0.05


class Stopped(KeyboardInterrupt):  # asyncio lets this one through
    """A signal asked us to stop."""


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Folder of the database and its keys.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API; 0 takes a free one.  [default: 5090]")
@click.option("--sandbox", is_flag=True, help="Capture all mail and SMS; test identities; a clock that can be moved.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--expose", is_flag=True, help="Listen on an address that other machines reach, outside production.")
def up(home: Path | None, host: str | None, port: int | None, sandbox: bool, workers: int, expose: bool) -> None:
    """Run everything on this machine.

    Starts the database (or uses VARSEL_DATABASE_URL), brings its schema up to date, and runs one API process and the
    workers; in the sandbox also a mail server and an SMS gateway that keep what they get.
    """
    given: dict[str, object] = {
        "VARSEL_HOME": home.absolute() if home else None,
        "VARSEL_SERVER__HOST": host,
        "VARSEL_SERVER__PORT": port,
        "VARSEL_SANDBOX__ENABLED": sandbox or None,
    }
    chosen = load_settings(given)
    configure_log(chosen.log_level)
    refuse_unsafe(chosen, expose=expose)
    try:
        with stopping_on_signals(), _listener(chosen) as listener:
            _run(chosen, given, listener, workers=workers)
    except Stopped:
        click.echo("Stopped.")
    except ServerError as e:
        raise Refused(str(e)) from e
    except ChildRefused as e:
        raise Refused(f"the {e} process could not start: see above") from e


def _listener(chosen: Settings) -> socket.socket:
    # the API process of a supervisor that was killed a moment ago may still be on its way out
    return listen(chosen.server.host, chosen.server.port, patience=2)


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise `Stopped` at the first SIGTERM, SIGINT or SIGHUP, and ignore the next ones: stopping takes 10 s at most."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    before = {each: signal.signal(each, stop) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run(chosen: Settings, given: dict[str, object], listener: socket.socket, *, workers: int) -> None:
    """Until `Stopped`. Everything it started has stopped when it returns."""
    home = home_of(chosen)
    with_suppression_key(chosen)  # the processes find what this leaves in the home
    with _database(chosen, home) as (url, server):
        bring_up_to_date(url)
        variables = given | _handed_over(chosen, home, url, port=listener.getsockname()[1])
        final = load_settings(variables)
        write_private(home / ADDRESS_FILE, final.server.base_url)
        processes = Processes(_specs(workers, listener, sandbox=final.sandbox.enabled), environment(variables))
        try:
            _tend(processes, server, final)
        finally:
            (home / ADDRESS_FILE).unlink(missing_ok=True)
            listener.close()
            deadline = time.monotonic() + _ALL_STOPS_WITHIN
            processes.stop(_CHILDREN_STOP_WITHIN)
            if server:
                server.stop(within=deadline - time.monotonic())


@contextlib.contextmanager
def _database(chosen: Settings, home: Path) -> Iterator[tuple[str, Embedded | None]]:
    """Where the database is, and its server if it is ours. Holds the home: one `varsel up` in each."""
    make_folder(home)
    if chosen.database_url:
        with hold_home(home):
            yield database_url(chosen), None
    else:
        click.echo(f"Starting the database in {home}")
        with Embedded(home, binaries=chosen.database.server_binaries) as server:
            yield server.dsn, server


def _handed_over(chosen: Settings, home: Path, url: str, *, port: int) -> dict[str, object]:
    """Variables for the children. Secrets stand in the file that VARSEL_CONFIG names."""
    altinn = "altinn" in chosen.registry.providers
    feeds = chosen.registry.follows_registers
    values = sandbox_values(home, altinn=altinn, feeds=feeds) if chosen.sandbox.enabled else {}
    own_base = "base_url" in chosen.server.model_fields_set
    return {
        "VARSEL_CONFIG": write_settings(home, values | {"database_url": url}),
        "VARSEL_HOME": home,
        "VARSEL_SERVER__PORT": port,
        "VARSEL_SERVER__BASE_URL": None if own_base else f"http://localhost:{port}",
    }


def _specs(workers: int, listener: socket.socket, *, sandbox: bool) -> list[Spec]:
    varsel = (sys.executable, "-P", "-m", "varsel")  # -P: the working directory is no place to import from
    # the API process inherits our socket: a client that comes while it is started again waits, and is not refused
    listening = listener.fileno()
    return [
        *([Spec("simulators", (*varsel, "simulators"), serves=True)] if sandbox else []),
        Spec("api", (*varsel, "api", "--expose", "--fd", str(listening)), keep=(listening,)),
        *(Spec(f"worker {number}", (*varsel, "worker")) for number in range(1, workers + 1)),
    ]


def _tend(processes: Processes, server: Embedded | None, final: Settings) -> None:
    database = _DatabaseKeeper(server) if server else None
    ready = False
    with contextlib.closing(_Readiness(final.server)) as readiness:
        while True:
            processes.tend()
            if database:
                database.tend()
            if not ready and readiness.complete():
                ready = True
                processes.settle()
                _announce(final)
            time.sleep(_TICK)


class _DatabaseKeeper:
    """Starts our server again when it has died; the address stays the same, and the children reconnect."""

    def __init__(self, server: Embedded) -> None:
        self._server = server
        self._back_off = BackOff()
        self._began = time.monotonic()
        self._due = 0.0

    def tend(self) -> None:
        if self._server.alive() or (now := time.monotonic()) < self._due:
            return
        log.error("the database ended and is started again")
        self._due = now + self._back_off.after(now - self._began)
        self._began = now
        try:
            self._server.stop()
            self._server.start()
        except ServerError as e:
            log.error("the database did not start", exc=e)


class _Readiness:
    """Asks the API, never waiting for its answer: the children need tending meanwhile."""

    def __init__(self, server: ServerSettings) -> None:
        # where to ask is not where to listen
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)  # noqa: S104
        self._port = server.port
        self._asked: HTTPConnection | None = None

    def complete(self) -> bool:
        """The API has answered that it is ready, and that a worker beats."""
        try:
            if self._asked is None:
                self._asked = HTTPConnection(self._host, self._port, timeout=5)
                self._asked.request("GET", "/health/ready")
            if not select.select([self._asked.sock], [], [], 0)[0]:
                return False
            response = self._asked.getresponse()
            found = response.status == 200 and json.loads(response.read()).get("workers", 0) > 0
        except (OSError, HTTPException, ValueError):
            found = False
        self.close()
        return found

    def close(self) -> None:
        if self._asked:
            self._asked.close()
        self._asked = None


def _announce(final: Settings) -> None:
    base = final.server.base_url
    inbox = f" · inbox {base}/sandbox" if final.sandbox.enabled else ""
    click.echo(f"Varsel is ready: API {base}{inbox} · OpenAPI {base}/swagger/v1/swagger.json · stop with Ctrl-C")
    if final.sandbox.enabled:
        settle, unknown = (
            f"{period.total_seconds():g} s"
            for period in (final.delivery.settle_email_after, final.delivery.unknown_wait)
        )
        click.echo(
            f"Sandbox: mail and SMS are captured, nothing leaves this machine; SMS go out round the clock, email "
            f"without evidence settles after {settle}, an unknown outcome is decided after {unknown}."
        )
