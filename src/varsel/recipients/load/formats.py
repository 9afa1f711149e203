"""Files as lines with named fields: CSV (RFC 4180) or JSON Lines, UTF-8, plain or gzip (registries 7.5).

The form is told by the first bytes: a line that begins with `{` is JSON. Memory is bounded by the longest line allowed.
"""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import IO, Any, Final

from varsel.domain.errors import Rejected
from varsel.recipients.load import values
from varsel.recipients.load.rows import BadLine, Columns, Fields

Progress = Callable[[int], None]
"""Called now and then with the number of bytes read from the disk since the last time."""

FLAGS: Final = frozenset({"reserved", "deleted", "accepted"})
LISTS: Final = frozenset({"resources"})
NUMBERS: Final = frozenset({"user_id", "party_id", "id", "person_id", "org_no", "parent_org_no", "mobile", "phone"})
"""The columns that JSON may give as true and false, as lists of texts, and as numbers."""

_MAX_LINE: Final = 1 << 20
_LINES_PER_REPORT: Final = 2_000
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file: its number (from 1), and its fields, or why it has none."""

    number: int
    content: Fields | BadLine

    def fields(self) -> Fields:
        """Raises `BadLine`."""
        if isinstance(self.content, BadLine):
            raise self.content
        return self.content


@dataclass(frozen=True, slots=True)
class Form:
    delimiter: str = ","
    ignore_unknown: bool = False


def checksum(files: Sequence[Path], options: str) -> str:
    """Of the bytes of all files in order, and of the options that steer what they become."""
    digest = hashlib.sha256(options.encode())
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def read_lines(path: Path, columns: Columns, form: Form, progress: Progress) -> Iterator[Line]:
    """Every line but the header and empty ones. Raises `Rejected` when the file as a whole cannot be read."""
    try:
        with _opened(path) as (file, position):
            text = _decoded(file, position, progress)
            first = next(text, "")
            read = _json_lines if first.lstrip().startswith("{") else _csv_lines
            yield from read(_chain(first, text), columns, form, path.name)
    except (gzip.BadGzipFile, zlib.error, EOFError) as e:
        raise Rejected("unreadable-file", f"{path.name} is a damaged gzip file") from e


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, Callable[[], int]]]:
    """The file unpacked, and how far it has been read on the disk."""
    with path.open("rb") as raw:
        start = raw.read(4)
        raw.seek(0)
        if start == _ZSTD:
            raise Rejected("unreadable-file", f"{path.name} is packed with zstd: unpack it, or pack it with gzip")
        if start[:2] == _GZIP:
            with gzip.open(raw) as file:
                yield file, raw.tell
        else:
            yield raw, raw.tell


def _decoded(file: IO[bytes] | gzip.GzipFile, position: Callable[[], int], progress: Progress) -> Iterator[str]:
    """Lines with their ends. Bytes that are not UTF-8 become lone surrogates, which no column takes."""
    reported = 0
    for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE + 1), b""), start=1):
        if len(line) > _MAX_LINE:
            raise Rejected("unreadable-file", f"line {number} is longer than {_MAX_LINE} bytes")
        yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8", "surrogateescape")
        if number % _LINES_PER_REPORT == 0:
            progress((now := position()) - reported)
            reported = now
    progress(position() - reported)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv_lines(text: Iterator[str], columns: Columns, form: Form, file_name: str) -> Iterator[Line]:
    reader = csv.reader(text, delimiter=form.delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, columns, form, file_name)
        for fields in reader:
            if len(fields) == len(header):
                yield Line(reader.line_num, Fields(dict(zip(header, fields, strict=True))))
            elif fields:
                yield Line(reader.line_num, BadLine("", "field-count"))
    except csv.Error as e:
        raise Rejected("unreadable-file", f"{file_name}, line {reader.line_num}: not CSV ({e})") from e


def _check_header(header: list[str], columns: Columns, form: Form, file_name: str) -> None:
    if missing := sorted(columns.required - set(header)):
        raise Rejected("missing-column", f"{file_name} lacks the column {', '.join(missing)}")
    if len(set(header)) < len(header):
        raise Rejected("repeated-column", f"{file_name} has a column twice")
    known = columns.required | columns.optional
    if not form.ignore_unknown and (unknown := sorted(set(header) - known)):
        raise Rejected(
            "unknown-column",
            f"{file_name} has unknown columns: {', '.join(unknown)}; known: {', '.join(sorted(known))}",
        )


def _json_lines(text: Iterator[str], columns: Columns, form: Form, _file_name: str) -> Iterator[Line]:
    for number, line in enumerate(text, start=1):
        if line.strip():
            try:
                yield Line(number, Fields(_json_fields(line, columns, form)))
            except BadLine as e:
                yield Line(number, e)


def _json_fields(line: str, columns: Columns, form: Form) -> dict[str, str]:
    try:
        members: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine("", "json") from None
    if not isinstance(members, dict):
        raise BadLine("", "json")
    return fields_of(members, columns, form)


def fields_of(members: Mapping[str, object], columns: Columns, form: Form) -> dict[str, str]:
    """The members of a JSON object as the fields that CSV would hold. Raises `BadLine`."""
    known = columns.required | columns.optional
    fields = {}
    for name, value in members.items():
        if name in known:
            fields[name] = _json_field(name, value)
        elif not form.ignore_unknown:
            raise BadLine("", "unknown-column")
    return fields


def _json_field(name: str, value: object) -> str:
    allowed = FLAGS if isinstance(value, bool) else NUMBERS if isinstance(value, (int, float)) else LISTS
    if not isinstance(value, (str, NoneType)) and name not in allowed:
        raise BadLine(name, "json-type")
    try:
        return values.plain(value)
    except values.BadValue as e:
        raise BadLine(name, e.code) from None
