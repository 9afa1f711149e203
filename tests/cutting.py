"""A road to PostgreSQL that can be cut at the worst moment: a commit comes through, and its answer does not."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_BYTES = 65_536


class Wire:
    """Passes everything on, until `armed`: then the next COMMIT is passed on, and its answer is lost."""

    def __init__(self, target: Path) -> None:
        self.armed = False
        self.cut = asyncio.Event()
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._target)
        answers = asyncio.ensure_future(_pass_on(from_server, writer))
        try:
            while data := await reader.read(_BYTES):
                if self.armed and b"COMMIT" in data:
                    self.armed = False
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    to_server.write(data)
                    await from_server.read(_BYTES)  # so that it has happened
                    self.cut.set()
                    return
                to_server.write(data)
        finally:
            answers.cancel()
            writer.close()
            to_server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_BYTES):
        writer.write(data)


@asynccontextmanager
async def wire_to(dsn: str) -> AsyncIterator[tuple[Wire, str]]:
    """The wire, and the connection string that goes over it."""
    parts = conninfo_to_dict(dsn)
    socket = f".s.PGSQL.{parts.get('port') or 5432}"
    wire = Wire(Path(str(parts["host"])) / socket)
    with tempfile.TemporaryDirectory(prefix="varsel-wire-", dir="/tmp") as folder:
        server = await asyncio.start_unix_server(wire.connected, Path(folder) / socket)
        try:
            yield wire, make_conninfo(dsn, host=folder)
        finally:
            server.close()
            await wire.close()
