"""What a file of recipients is once it is read, and why one is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from varsel.domain.errors import Rejected

MAX_COLUMNS: Final = 100
MAX_FIELD: Final = 10_000
"""Characters of a field."""
MAX_NAME: Final = 100
"""Characters of a column's name."""


class BadFile(Rejected):
    """The file cannot be read as a table. `line`: where, counted from 1; None: it concerns the whole."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(code, f"Line {line}: {message}" if line else message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in the file. `line`: where it begins. It has at least as many fields as there are columns."""

    line: int
    fields: tuple[str, ...]


def columns_of(header: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns, from the file's first row. Raises `BadFile`."""
    names = [" ".join(name.split()) for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise BadFile("no-header", "The first row must name the columns.", 1)
    if len(names) > MAX_COLUMNS:
        raise BadFile("too-many-columns", f"There are {len(names)} columns; at most {MAX_COLUMNS} are taken.", 1)
    for number, name in enumerate(names, 1):
        if not name:
            raise BadFile("unnamed-column", f"Column {number} has no name.", 1)
        if len(name) > MAX_NAME or not name.isprintable() or set("{}") & set(name):
            raise BadFile("column-name", f"The name of column {number} is too long, or holds braces.", 1)
    folded = [name.casefold() for name in names]
    if twice := sorted({number for number, name in enumerate(folded, 1) if folded.index(name) < number - 1}):
        raise BadFile("column-twice", f"Column {twice[0]} has the name of an earlier one.", 1)
    return tuple(names)


def fitted(line: int, fields: Sequence[str], width: int) -> Row | None:
    """A row as wide as the header, or wider when more is written there. None: nothing is.

    Raises `BadFile` for what no field may hold.
    """
    kept = [field.strip() for field in fields]
    while len(kept) > width and not kept[-1]:
        kept.pop()
    if not any(kept):
        return None
    for field in kept:
        if len(field) > MAX_FIELD:
            raise BadFile("field-too-long", f"A field is longer than {MAX_FIELD} characters.", line)
        if "\0" in field:
            raise BadFile("not-text", "There is a NUL: this is no file of text.", line)
    kept += [""] * (width - len(kept))
    return Row(line, tuple(kept[: width + 1]))
