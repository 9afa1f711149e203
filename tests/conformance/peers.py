"""Servers that do not know the protocol: what a provider meets when something else answers at its address."""

import asyncio
import ssl
from contextlib import suppress


class Peer:
    """Says `words` to whoever connects, at once or when it is spoken to (`waits`), and ends unless it `stays`.

    `heard` is what it was told. `met`: somebody connected; `asked`: and spoke; `left`: and is gone.
    """

    def __init__(
        self, words: bytes = b"", *, waits: bool = False, stays: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self._words = words
        self._waits = waits
        self._stays = stays
        self._tls = tls
        self.heard = bytearray()
        self.met, self.asked, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.met.set()
        with suppress(OSError):
            if self._waits:
                await self._listen(reader)
            writer.write(self._words)
            await writer.drain()
            if not self._stays:
                writer.write_eof() if writer.can_write_eof() else writer.close()
            while await self._listen(reader):
                pass
        self.left.set()
        writer.close()
        self._writers.discard(writer)

    async def _listen(self, reader: asyncio.StreamReader) -> bool:
        words = await reader.read(65536)
        self.heard += words
        if words:
            self.asked.set()
        return bool(words)
