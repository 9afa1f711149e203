"""The database: connections, transactions, typed rows and LISTEN. Only this and `store.py` files know the driver."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, NewType, TypeVar

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.rows import args_row, scalar_row
from psycopg.types.json import set_json_loads
from psycopg.types.string import TextBinaryLoader
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic_core import from_json

from varsel.domain.errors import Unavailable
from varsel.log import Log

log = Log(__name__)

ReadConn = NewType("ReadConn", AsyncConnection[Any])
Conn = NewType("Conn", ReadConn)
"""A connection inside a transaction that may write. What only reads takes a `ReadConn`."""

Params = Mapping[str, Any]
T = TypeVar("T")

_POOL_WAIT_SECONDS: Final = 10.0
_EVERY_PLAN_ANEW: Final = "-c plan_cache_mode=force_custom_plan"  # for the arrays that it gets
_ONE_PLAN_BY_INDEX: Final = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off -c enable_sort=off"
)
_CANCELLED_COMMIT: Final = "01000"  # "canceling wait for synchronous replication": not stored durably (proven 8)

# a server that was demoted or whose disk is full takes no writes; a transaction that was cut for its length is undone
_PASSING: Final = (
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
)

UniqueViolation = errors.UniqueViolation
Deadlock = errors.DeadlockDetected
DatabaseError = psycopg.Error


async def fetch(conn: ReadConn, sql: LiteralString, params: Params, row: Callable[..., T]) -> list[T]:
    """Run one statement; each row becomes `row(*columns)`."""
    async with conn.cursor(row_factory=args_row(row), binary=True) as cur:
        await cur.execute(sql, params)
        return await cur.fetchall()


async def fetch_one(conn: ReadConn, sql: LiteralString, params: Params, row: Callable[..., T]) -> T | None:
    rows = await fetch(conn, sql, params, row)
    return rows[0] if rows else None


async def fetch_value(conn: ReadConn, sql: LiteralString, params: Params) -> Any:
    """The first column of the first row, or None."""
    async with conn.cursor(row_factory=scalar_row, binary=True) as cur:
        await cur.execute(sql, params)
        return await cur.fetchone()


async def execute(conn: ReadConn, sql: LiteralString, params: Params) -> int:
    """Run one statement; returns the number of rows it touched."""
    async with conn.cursor() as cur:
        await cur.execute(sql, params)
        return cur.rowcount


async def copy_rows(conn: Conn, sql: LiteralString, rows: Iterable[Sequence[object]]) -> int:
    """Stream `rows` into a `COPY … FROM STDIN` in text form; returns how many there were.

    An error that `rows` raises undoes the statement and is passed on.
    """
    async with conn.cursor() as cur:
        async with cur.copy(sql) as copy:
            for row in rows:
                await copy.write_row(row)
        return cur.rowcount


@asynccontextmanager
async def transaction_on(conn: Conn) -> AsyncIterator[None]:
    """A transaction, as `Database.transaction`, on a connection that `Database.autocommit` gave."""
    await conn.execute("BEGIN", prepare=False)
    try:
        yield
    except BaseException:
        await _to_the_end(_roll_back(conn))
        raise
    await _to_the_end(conn.execute("COMMIT", prepare=False))


async def copy_out(conn: ReadConn, sql: LiteralString) -> AsyncIterator[bytes]:
    """Stream what a `COPY … TO STDOUT` gives, a row or more at a time."""
    async with conn.cursor() as cur, cur.copy(sql) as copy:
        async for part in copy:
            yield bytes(part)


class Database:
    """Connections to one PostgreSQL: `size` in general, and as many for what is routine. All of them speak UTC."""

    def __init__(self, dsn: str, *, size: int, name: str) -> None:
        self.dsn = dsn
        self._pool = _pool(dsn, name, _EVERY_PLAN_ANEW, least=1, most=size)
        self._routine = _pool(dsn, name, _ONE_PLAN_BY_INDEX, least=0, most=size, prepare_threshold=0)

    async def open(self) -> None:
        await self._pool.open()
        await self._routine.open()

    async def close(self) -> None:
        await self._pool.close()
        await self._routine.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[ReadConn]:
        """A connection for single statements that only read."""
        async with self._connection(self._pool) as conn:
            yield ReadConn(conn)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Conn]:
        """A connection on which each statement is its own transaction: for one single write."""
        async with self._writing(self._pool) as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """A transaction: committed when the block ends, rolled back when it raises. Its COMMIT is never cancelled."""
        async with self._writing(self._pool) as conn, transaction_on(conn):
            yield conn

    @asynccontextmanager
    async def routine(self) -> AsyncIterator[Conn]:
        """As `autocommit`, for statements that run again and again. They are planned once (ADR 15).

        Planning costs several times what such a statement does. So it must find its rows through indexes, however many
        it is given; it never reads a table from end to end.
        """
        async with self._writing(self._routine) as conn:
            yield conn

    @asynccontextmanager
    async def routine_transaction(self) -> AsyncIterator[Conn]:
        """As `transaction`, for statements as those of `routine`."""
        async with self._writing(self._routine) as conn, transaction_on(conn):
            yield conn

    @asynccontextmanager
    async def _writing(self, pool: "AsyncConnectionPool[_Connection]") -> AsyncIterator[Conn]:
        async with self._connection(pool) as conn:
            conn.unreplicated = False
            yield Conn(ReadConn(conn))
            if conn.unreplicated:
                raise Unavailable("the standby database")

    @asynccontextmanager
    async def _connection(self, pool: "AsyncConnectionPool[_Connection]") -> AsyncIterator["_Connection"]:
        try:
            async with pool.connection() as conn:
                yield conn
        except PoolTimeout as e:
            raise Unavailable("the database") from e
        except (errors.DeadlockDetected, errors.ProgramLimitExceeded):
            raise  # not the server's trouble: again, or without the row that is too big
        except (errors.OperationalError, errors.InterfaceError, *_PASSING) as e:
            raise Unavailable("the database") from e

    async def listen(self, *channels: LiteralString) -> AsyncIterator[str | None]:
        """Payloads of notifications on `channels`, for ever. Yields None first and after every reconnect.

        Notifications that come while the connection is down are gone: None means "look for yourself".
        """
        pause = 0.05
        while True:
            try:
                async with await AsyncConnection.connect(self.dsn, autocommit=True) as conn:
                    for channel in channels:
                        await conn.execute(f"LISTEN {channel}")
                    pause = 0.05
                    yield None
                    async for notice in conn.notifies():
                        yield f"{notice.channel}:{notice.payload}"
            except psycopg.Error as e:
                log.warning("listening connection lost", error=type(e).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)


class _Connection(AsyncConnection[Any]):
    """Remembers PostgreSQL's warning that a commit was not replicated: such a commit must not be acknowledged."""

    unreplicated = False


def _pool(
    dsn: str, name: str, planning: str, *, least: int, most: int, **more: Any
) -> "AsyncConnectionPool[_Connection]":
    return AsyncConnectionPool(
        dsn,
        connection_class=_Connection,
        min_size=least,
        max_size=most,
        open=False,
        timeout=_POOL_WAIT_SECONDS,
        configure=_configure,
        check=None,
        kwargs={
            "autocommit": True,
            "application_name": name,
            "options": f"-c TimeZone=UTC -c jit=off -c idle_in_transaction_session_timeout=60s {planning}",
            **more,
        },
    )


async def _configure(conn: AsyncConnection[Any]) -> None:
    def keep(diagnostic: errors.Diagnostic) -> None:
        if diagnostic.sqlstate == _CANCELLED_COMMIT and isinstance(conn, _Connection):
            conn.unreplicated = True

    conn.add_notice_handler(keep)
    conn.adapters.register_loader(0, TextBinaryLoader)  # types the driver does not know: ours are enumerations
    set_json_loads(from_json, conn)  # a short document in an eighth of the standard library's time


async def _to_the_end(work: Coroutine[Any, Any, object]) -> None:
    """Await `work` even when the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _roll_back(conn: AsyncConnection[Any]) -> None:
    try:
        await conn.execute("ROLLBACK", prepare=False)
    except psycopg.Error:
        await conn.close()


def columns(rows: Sequence[object], *names: str) -> dict[str, list[Any]]:
    """Rows as parallel arrays for `unnest`: one list for each named attribute."""
    return {name: [getattr(row, name) for row in rows] for name in names}
