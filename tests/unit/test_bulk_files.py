"""Files of recipients: what is read is what was written, and what cannot be read is told with its line."""

import csv
import datetime
import io
import tracemalloc
import zipfile
from collections.abc import Sequence
from contextlib import suppress

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.bulk.reading import Table, open_table
from varsel.bulk.table import BadFile, Row

FIELD = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\n\x1e\x1f", exclude_categories=("Cs", "Cc")), max_size=20
)
NAMES = ("Fødselsnummer", "navn", "beløp, kr")


def read(data: bytes, *, max_rows: int = 1_000) -> tuple[Table, list[Row]]:
    table = open_table(io.BytesIO(data), max_rows=max_rows)
    return table, list(table.rows)


def refusal(data: bytes, **options: int) -> BadFile:
    with pytest.raises(BadFile) as found:
        read(data, **options)
    return found.value


def written(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


@given(
    rows=st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=10),
    delimiter=st.sampled_from(",;\t"),
    mark=st.booleans(),
)
def test_rows_of_csv_come_back_as_they_were_written(rows: list[tuple[str, ...]], delimiter: str, mark: bool) -> None:
    data = written([NAMES, *rows], delimiter).encode("utf-8-sig" if mark else "utf-8")
    table, found = read(data)
    assert (table.form, table.columns) == ("csv", NAMES)
    expected = [Row(line, tuple(f.strip() for f in row)) for line, row in enumerate(rows, 2)]
    assert found == [row for row in expected if any(row.fields)]


@given(st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=5))
def test_rows_of_a_spreadsheet_come_back_as_they_were_written(rows: list[tuple[str, ...]]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (NAMES, *rows):
        sheet.append([f"{field}" if not field.startswith("=") else f" {field}" for field in row])
    out = io.BytesIO()
    book.save(out)
    table, found = read(out.getvalue())
    assert (table.form, table.columns) == ("xlsx", NAMES)
    expected = [Row(line, tuple(f.strip() for f in row)) for line, row in enumerate(rows, 2)]
    assert found == [row for row in expected if any(row.fields)]


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"a;b\r\n", b"\xff\xfe", b"\xd0\xcf\x11\xe0"]))
def test_any_bytes_are_rows_or_a_refusal(data: bytes, start: bytes) -> None:
    with suppress(BadFile):
        table, rows = read(start + data)
        assert all(len(row.fields) >= len(table.columns) for row in rows)


def test_a_field_may_hold_line_breaks_and_the_line_is_where_its_row_begins() -> None:
    _, rows = read(b'a;b\r\n"1\r\n2";x\r\n\r\n3;y\r\n')
    assert rows == [Row(2, ("1\r\n2", "x")), Row(5, ("3", "y"))]


def test_numbers_and_dates_of_a_spreadsheet_are_read_as_a_person_would_write_them() -> None:
    book = openpyxl.Workbook()
    book.active.append(["n", "x", "d", "t", "b", "none"])
    book.active.append(
        [
            14838510036,
            12.5,
            datetime.date(2026, 11, 26),
            datetime.datetime.fromisoformat("2026-11-26T09:05"),
            True,
            None,
        ]
    )
    out = io.BytesIO()
    book.save(out)
    _, (row,) = read(out.getvalue())
    assert row.fields == ("14838510036", "12.5", "2026-11-26", "2026-11-26 09:05:00", "true", "")


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"", "empty", None),
        (b"\r\n\r\nx\r\n", "no-header", 1),
        ("navn;by\r\nåse;moss\r\nsøren;ås\r\n".encode("latin-1"), "encoding", 2),
        ("a;b\r\n".encode("utf-16"), "encoding", None),
        (b"a;b\r\n1;\0\r\n", "not-text", 2),
        (b"a;A\r\n", "column-twice", 1),
        (b"a;;c\r\n", "unnamed-column", 1),
        (b"a;{b}\r\n", "column-name", 1),
        (b";".join(b"c%d" % n for n in range(101)), "too-many-columns", 1),
        (b"a\r\n" + b"x" * 10_001, "field-too-long", 2),
        (b'a;b\r\n1;2\r\n3;"' + b"x" * 30_000, "field-too-long", 3),
        (b"a\r\n" + b"1\r\n" * 11, "too-many-rows", 12),
        (b"\xd0\xcf\x11\xe0rest", "old-spreadsheet", None),
        (b"PK\x03\x04rest", "not-a-spreadsheet", None),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(data: bytes, code: str, line: int | None) -> None:
    error = refusal(data, max_rows=10)
    assert (error.code, error.line) == (code, line)
    assert line is None or f"Line {line}:" in str(error)


def test_a_spreadsheet_that_unpacks_to_far_more_than_it_weighs_is_refused_unread() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b" " * (65 * 1024 * 1024))
    assert len(out.getvalue()) < 100_000
    assert refusal(out.getvalue()).code == "too-large"


def test_a_row_may_be_shorter_or_wider_than_the_header() -> None:
    _, rows = read(b"a,b,c\n1\n1,2,3,,\n1,2,3,4,5\n")
    assert [row.fields for row in rows] == [("1", "", ""), ("1", "2", "3"), ("1", "2", "3", "4")]


def test_the_line_that_excel_writes_to_itself_names_the_delimiter() -> None:
    table, rows = read(b"sep=;\r\na,b;c\r\n1;2\r\n")
    assert (table.columns, rows) == (("a,b", "c"), [Row(3, ("1", "2"))])


def test_a_hundred_thousand_rows_pass_in_little_memory() -> None:
    data = io.BytesIO(b"id;name\r\n" + b"".join(b"%011d;somebody\r\n" % n for n in range(100_000)))
    table = open_table(data, max_rows=100_000)
    tracemalloc.start()
    count = sum(1 for _ in table.rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert peak < 1_000_000
