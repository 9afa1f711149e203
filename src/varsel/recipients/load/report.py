"""Lines that could not be loaded: counted, written to a file with the value masked, the first ones kept to be shown."""

import csv
import re
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from varsel.domain.address import mask_email, mask_mobile
from varsel.recipients.load.rows import BadLine

_SHOWN: Final = 20
_MAX_WRITTEN: Final = 100_000
_MAX_VALUE: Final = 40
_LETTER: Final = re.compile(r"[^\W\d_]")
_DIGIT: Final = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Problem:
    """`column` is empty when the line as a whole is wrong; `value` is masked."""

    file: str
    line: int
    column: str
    code: str
    value: str


class Problems:
    """The bad lines of one load. The file at `path` is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self.first: list[Problem] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, file: str, line: int, error: BadLine) -> None:
        problem = Problem(file, line, error.column, error.code, masked(error.column, error.field))
        if self.count == 0:
            self._writer = csv.writer(self._open.enter_context(self.path.open("w", encoding="utf-8", newline="")))
            self._writer.writerow(f.name for f in fields(Problem))
        self.count += 1
        if self.count <= _SHOWN:
            self.first.append(problem)
        if self.count <= _MAX_WRITTEN:
            self._writer.writerow(astuple(problem))


def masked(column: str, value: str) -> str:
    """What an operator may see of a field that was refused (registries 1.8): its form, not what it says."""
    match column:
        case "email" | "idporten_email" | "address" if shown := mask_email(value):
            return shown
        case "mobile" | "phone":
            return mask_mobile(value)
        case "org_no" | "parent_org_no" | "kind" if len(value) <= 9:
            return value  # public
    return _DIGIT.sub("0", _LETTER.sub("x", value[:_MAX_VALUE].encode("ascii", "replace").decode()))
