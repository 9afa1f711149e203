"""Files of recipients, row by row in bounded memory: CSV in UTF-8 (RFC 4180, any of three delimiters) and XLSX."""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from typing import IO, Final

from varsel.bulk.table import MAX_FIELD, BadFile, Row, columns_of, fitted

_DELIMITERS: Final = (";", ",", "\t")  # of two that fit equally well the first
_SEP: Final = re.compile(r"sep=([;,\t])")  # what Excel writes to itself in a first line
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0"
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_UTF_8: Final = re.compile("[\udc80-\udcff]")  # what the decoder makes of bytes that are none
_LONGEST_HEADER: Final = 100_000


class _Text(TextIOWrapper):
    """Leaves the file open when it ends: that is its owner's."""

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Table:
    """An open file. `rows` raises `BadFile` where it cannot be read on."""

    form: str
    columns: tuple[str, ...]
    rows: Iterator[Row]


def open_table(file: IO[bytes], *, max_rows: int) -> Table:
    """Which kind of file it is, its own bytes tell. `file` can be sought in, and stays open.

    Raises `BadFile`, also while rows are read, for example when there are more than `max_rows`.
    """
    start = file.read(4)
    file.seek(0)
    if start == _ZIP:
        from varsel.bulk.spreadsheet import open_spreadsheet  # noqa: PLC0415 - openpyxl takes a while to import

        columns, rows = open_spreadsheet(file)
        return Table("xlsx", columns, _at_most(rows, max_rows))
    if start == _OLE:
        raise BadFile(
            "old-spreadsheet", "This is an old .xls file, or one with a password. Save it as .xlsx or as CSV."
        )
    columns, rows = _open_csv(file, start)
    return Table("csv", columns, _at_most(rows, max_rows))


def _at_most(rows: Iterator[Row], most: int) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        if number > most:
            raise BadFile("too-many-rows", f"There are more than {most} rows.", row.line)
        yield row


def _open_csv(file: IO[bytes], start: bytes) -> tuple[tuple[str, ...], Iterator[Row]]:
    if start.startswith(_UTF_16):
        raise BadFile("encoding", "The file is in UTF-16. Save it as CSV in UTF-8.")
    text = _Text(file, "utf-8-sig", errors="surrogateescape", newline="")
    first = text.readline(_LONGEST_HEADER)
    named = _SEP.fullmatch(first.strip("\r\n"))
    delimiter = named[1] if named else _delimiter(first)
    text.seek(0)
    records = _records(text, delimiter)
    if named:
        next(records)
    header = next(records, None)
    if header is None:
        raise BadFile("empty", "The file is empty.")
    columns = columns_of(header.fields)
    return columns, (row for record in records if (row := fitted(record.line, record.fields, len(columns))))


def _records(text: TextIOWrapper, delimiter: str) -> Iterator[Row]:
    """All records, also empty ones. A record may span lines."""
    csv.field_size_limit(2 * MAX_FIELD)  # a quotation mark that nobody closes: no need to read the whole file for it
    reader = csv.reader(text, delimiter=delimiter)
    line = 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error:
            raise BadFile(
                "field-too-long", "A field is too long; perhaps a quotation mark has no partner.", line
            ) from None
        if fields is None:
            return
        if any(map(_NOT_UTF_8.search, fields)):
            raise BadFile("encoding", "The text is not UTF-8. Save the file as CSV in UTF-8.", line)
        yield Row(line, tuple(fields))
        line = reader.line_num + 1


def _delimiter(header: str) -> str:
    """That which gives the header the most columns."""
    found = {}
    for delimiter in _DELIMITERS:
        try:
            found[delimiter] = len(next(csv.reader([header], delimiter=delimiter), ()))
        except csv.Error:
            found[delimiter] = 0
    return max(_DELIMITERS, key=found.__getitem__)
