"""The first sheet of an XLSX file (ISO/IEC 29500), a row at a time. Values count as they are stored, not as shown."""

import datetime
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final

import openpyxl

from varsel.bulk.table import MAX_COLUMNS, BadFile, Row, columns_of, fitted

_MAX_UNPACKED: Final = 256 * 1024 * 1024
_MAX_TEXTS: Final = 64 * 1024 * 1024  # the table of texts is held in memory
_TEXTS: Final = "xl/sharedstrings.xml"


def open_spreadsheet(file: IO[bytes]) -> tuple[tuple[str, ...], Iterator[Row]]:
    """The names of the columns, and the rows. Raises `BadFile`, also while rows are read."""
    _weigh(file)
    cells = _cells(file)
    line, header = next(cells, (1, None))
    if header is None:
        raise BadFile("empty", "The first sheet is empty.")
    if line != 1:
        raise BadFile("no-header", "The first row must name the columns.", 1)
    columns = columns_of(header)
    return columns, _rows(cells, len(columns))


def _rows(cells: Iterator[tuple[int, list[str]]], width: int) -> Iterator[Row]:
    for line, fields in cells:
        if row := fitted(line, fields, width):
            yield row


def _weigh(file: IO[bytes]) -> None:
    """A file of a few bytes can unpack to any size; what a member says of its size is also where reading it ends."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {member.filename.lower(): member.file_size for member in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError):
        raise _unreadable() from None
    file.seek(0)
    if sum(sizes.values()) > _MAX_UNPACKED or sizes.get(_TEXTS, 0) > _MAX_TEXTS:
        raise BadFile("too-large", "The spreadsheet is too large once it is unpacked. Save it as CSV.")


def _cells(file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with their numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts of the file that nobody asks for
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what the file says of them may be wrong
            for line, values in enumerate(sheet.iter_rows(values_only=True), 1):
                if any(value is not None for value in values):
                    yield line, _texts(line, values)
    except BadFile:
        raise
    except Exception:  # noqa: BLE001 - a broken file can make the library fail anywhere; the bytes are somebody else's
        raise _unreadable() from None


def _texts(line: int, values: Sequence[Any]) -> list[str]:
    width = max(place for place, value in enumerate(values, 1) if value is not None)
    if width > 2 * MAX_COLUMNS:
        raise BadFile("too-many-columns", f"There is something in column {width}.", line)
    return [_text(value) for value in values[:width]]


def _text(value: Any) -> str:  # noqa: PLR0911 - one for each type
    """A number without fraction as an integer, a date as in ISO 8601."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(" ")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return str(value)


def _unreadable() -> BadFile:
    return BadFile("not-a-spreadsheet", "The file is not a spreadsheet that can be read. Save it as CSV in UTF-8.")
