"""What tests share: a PostgreSQL server for each test process, a migrated database for each test, and an event loop.

`async def` tests and fixtures run on the loop of the test's `runner`, so that they share connections and tasks.
"""

import asyncio
import gc
import inspect
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from varsel.clock import ManualClock
from varsel.db import Database
from varsel.embedded import Embedded
from varsel.migrate import migrate

_TEMPLATE = "varsel_template"
_MEMORY = "/dev/shm"
_ROOM = 4_000_000_000  # bytes, for all test processes together
_numbers = itertools.count(1)


def pytest_sessionstart() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now stays, so the garbage collector passes it over: it took a seventh of the time."""
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    gc.enable()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of one test. Left-over tasks are cancelled at its end."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    runner: asyncio.Runner = pyfuncitem._request.getfixturevalue("runner")
    runner.run(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Let an `async def` fixture of one test be awaited on the loop of that test."""
    function = fixturedef.func
    if inspect.iscoroutinefunction(function):
        adapted = _awaited(function, request.getfixturevalue("runner"))
    elif inspect.isasyncgenfunction(function):
        adapted = _generated(function, request.getfixturevalue("runner"))
    else:
        return (yield)
    fixturedef.func = adapted  # type: ignore[misc]  # declared final, but pytest has no other door
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]


def _awaited(function: Callable[..., Awaitable[object]], runner: asyncio.Runner) -> Callable[..., object]:
    def fixture(**arguments: object) -> object:
        async def awaited() -> object:
            return await function(**arguments)

        return runner.run(awaited())

    return fixture


def _generated(
    function: Callable[..., AsyncIterator[object]], runner: asyncio.Runner
) -> Callable[..., Iterator[object]]:
    def fixture(**arguments: object) -> Iterator[object]:
        generator = function(**arguments)

        async def step() -> object:
            return await anext(generator, None)

        yield runner.run(step())
        runner.run(step())

    return fixture


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 23, 10, tzinfo=UTC))


def _temporary_home() -> Path:
    """A home that the server's own user can reach; pytest's folders are closed to everybody but us."""
    folder = Path(tempfile.mkdtemp(prefix="varsel-test-", dir=_place()))
    folder.chmod(0o755)
    return folder


def _place() -> str:
    """In memory where there is room: a database of one test is a thousand files. Short enough for a socket."""
    with suppress(OSError):
        if shutil.disk_usage(_MEMORY).free >= _ROOM:
            return _MEMORY
    return "/tmp"


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home of one test."""
    folder = _temporary_home()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shared_home() -> Iterator[Path]:
    """A home of all tests of one file."""
    folder = _temporary_home()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def durable_server(home: Path) -> Iterator[Embedded]:
    """A server of one test's own, as safe as in production: for tests that kill it. Empty; stopped afterwards."""
    with Embedded(home, settings={"shared_buffers": "32MB"}) as server:
        yield server


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """The server of this test process: quick, not safe."""
    folder = _temporary_home()
    with Embedded(folder, durable=False, settings={"shared_buffers": "64MB", "max_wal_size": "256MB"}) as server:
        yield server.dsn
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def administration(server_dsn: str) -> Iterator[psycopg.Connection]:
    """The one connection that makes and drops the databases of tests. The server has a migrated template."""
    with closing(psycopg.connect(server_dsn, autocommit=True)) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        asyncio.run(_migrate(make_conninfo(server_dsn, dbname=_TEMPLATE)))
        yield conn


@pytest.fixture
def dsn(server_dsn: str, administration: psycopg.Connection) -> Iterator[str]:
    """A fresh, migrated database of one test."""
    with _created(administration, sql.SQL("TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(_TEMPLATE))) as name:
        yield make_conninfo(server_dsn, dbname=name)


@pytest.fixture
def empty_dsn(server_dsn: str, administration: psycopg.Connection) -> Iterator[str]:
    """A database without any table."""
    with _created(administration, sql.Composed([])) as name:
        yield make_conninfo(server_dsn, dbname=name)


@contextmanager
def _created(administration: psycopg.Connection, how: sql.Composed) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    administration.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), how))
    yield name
    administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(dsn: str, runner: asyncio.Runner) -> Iterator[Database]:
    database = Database(dsn, size=8, name="test")
    runner.run(database.open())
    yield database
    runner.run(database.close())


async def _migrate(dsn: str) -> None:
    database = Database(dsn, size=1, name="template")
    await database.open()
    try:
        await migrate(database)
    finally:
        await database.close()
