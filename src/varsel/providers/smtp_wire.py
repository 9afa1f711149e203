"""The dialogue with an open submission server: commands may go in one write (RFC 2920), answers come in order.

aiosmtplib opens, secures and logs in, one command at a time; it cannot await answers to several.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, cast

from aiosmtplib import SMTP, SMTPReadTimeoutError, SMTPResponseException, SMTPServerDisconnected

_MOST_OCTETS: Final = 64 * 1024  # of answers that nobody has read


class Reply(NamedTuple):
    """`text`: all lines, without codes."""

    code: int
    text: str

    @property
    def kind(self) -> int:
        """The first digit."""
        return self.code // 100


class Wire(asyncio.Protocol):
    """Takes over an opened connection. Losses and answers that are not SMTP are aiosmtplib's exceptions."""

    def __init__(self, client: SMTP) -> None:
        if client.transport is None:
            raise SMTPServerDisconnected("Connection lost")
        self._transport = cast(asyncio.Transport, client.transport)
        self._buffer = bytearray()
        self._replies: deque[Reply] = deque()
        self._awaited = 0
        self._came = asyncio.Event()
        self._fault: Exception | None = None
        self._transport.set_protocol(self)

    @property
    def open(self) -> bool:
        """False also after an answer that nobody had asked for: what comes next could be taken for another's."""
        return self._fault is None and not self._transport.is_closing()

    def write(self, data: bytes, *, answers: int = 1) -> None:
        """Send what so many answers will come to. Raises `SMTPServerDisconnected`."""
        if not self.open:
            raise self._fault or SMTPServerDisconnected("Connection lost")
        self._awaited += answers
        self._transport.write(data)

    async def reply(self, timeout: float) -> Reply:
        """The next answer; what came before a loss is still given. Raises `SMTPException`. `timeout`: seconds."""
        if not self._replies and self._fault is None:
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._came.wait()
        if self._replies:
            self._awaited -= 1
            return self._replies.popleft()
        raise self._fault or SMTPReadTimeoutError("Timed out waiting for server response")

    def close(self) -> None:
        self._fail(SMTPServerDisconnected("Connection closed"))
        self._transport.close()

    # What the loop calls

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while reply := self._next():
            self._replies.append(reply)
        if len(self._replies) > self._awaited or len(self._buffer) > _MOST_OCTETS:
            self._fail(SMTPResponseException(-1, "Answers that nobody awaits"))
        if self._replies or self._fault:
            self._came.set()

    def eof_received(self) -> bool:
        self._fail(SMTPServerDisconnected("Unexpected EOF received"))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        lost = SMTPServerDisconnected("Connection lost")
        lost.__cause__ = error
        self._fail(lost)

    def _next(self) -> Reply | None:
        """Takes one whole answer out of the buffer."""
        lines, start = [], 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            line = bytes(self._buffer[start:end])
            start = end + 1
            if not line[:3].isdigit():
                self._fail(SMTPResponseException(-1, "Malformed SMTP response line"))
                self._buffer.clear()
                return None
            lines.append(line[4:].strip())
            if line[3:4] != b"-":
                del self._buffer[:start]
                return Reply(int(line[:3]), b"\n".join(lines).decode("utf-8", "surrogateescape"))
        return None

    def _fail(self, error: Exception) -> None:
        """The first one counts."""
        self._fault = self._fault or error
        self._came.set()
