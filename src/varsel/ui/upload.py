"""A form with a file, as browsers send it (RFC 7578), read as it comes: the file is never whole in memory."""

from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Final

from starlette.requests import Request

_MAX_HEAD: Final = 8_192
_MAX_FIELD: Final = 4_096
_MAX_FIELDS: Final = 50


class TooLarge(Exception):
    """The file has more bytes than may be."""


class NotAForm(Exception):
    """It is no form with a file, or ends in the middle."""


async def read_upload(request: Request, file: IO[bytes], most_bytes: int) -> tuple[dict[str, str], str]:
    """The other fields, and the name of the file, which is written to `file`. Empty: there was none.

    Raises `TooLarge` and `NotAForm`. A file of nothing counts as none.
    """
    reading = _Reading(_boundary(request.headers.get("content-type", "")), file, most_bytes)
    async for chunk in request.stream():
        reading.take(chunk)
    if not reading.over:
        raise NotAForm
    file.seek(0)
    return reading.fields, reading.name if reading.size else ""


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise NotAForm
    return b"\r\n--" + boundary.encode("latin-1", "replace")


@dataclass
class _Reading:
    """`part`: the field that is being read; None: its head is, or what stands before the first."""

    delimiter: bytes
    file: IO[bytes]
    most: int
    fields: dict[str, str] = field(default_factory=dict)
    name: str = ""
    size: int = 0
    over: bool = False
    _buffer: bytes = b"\r\n"
    _part: str | None = None
    _is_file: bool = False
    _value: bytes = b""

    def take(self, chunk: bytes) -> None:
        if self.over:
            return
        self._buffer += chunk
        while self._step():
            pass

    def _step(self) -> bool:
        """Whether there is more to do with what has come."""
        if self._part is None:
            return self._begin()
        end = self._buffer.find(self.delimiter)
        if end < 0:
            ready = max(len(self._buffer) - len(self.delimiter) + 1, 0)
            self._write(self._buffer[:ready])
            self._buffer = self._buffer[ready:]
            return False
        self._write(self._buffer[:end])
        self._buffer = self._buffer[end:]
        if not self._is_file and len(self.fields) < _MAX_FIELDS:
            self.fields.setdefault(self._part, self._value.decode("utf-8", "replace"))
        self._part, self._value = None, b""
        return True

    def _begin(self) -> bool:
        start = self._buffer.find(self.delimiter)
        after = start + len(self.delimiter)
        if start >= 0 and self._buffer[after : after + 2] == b"--":
            self.over = True
            return False
        end = self._buffer.find(b"\r\n\r\n", after) if start >= 0 else -1
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise NotAForm
            return False
        self._head(self._buffer[after + 2 : end])
        self._buffer = self._buffer[end + 4 :]
        return True

    def _head(self, head: bytes) -> None:
        message = Message()
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                message["Content-Disposition"] = value.strip().replace("\n", " ")
        part = message.get_param("name", "", header="content-disposition")
        file = message.get_param("filename", None, header="content-disposition")
        self._part = part if isinstance(part, str) else ""
        self._is_file = isinstance(file, str)
        if isinstance(file, str):
            self.name = file.rpartition("/")[2].rpartition("\\")[2]

    def _write(self, data: bytes) -> None:
        if self._is_file:
            self.size += len(data)
            if self.size > self.most:
                raise TooLarge
            self.file.write(data)
        elif len(self._value) < _MAX_FIELD:
            self._value += data[:_MAX_FIELD]
