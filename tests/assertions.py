"""Which test proves which numbered assertion of the specifications, and which are overridden on purpose.

    python tests/assertions.py [document …]     (or: make assertions)

Tests say it by `@pytest.mark.assertion("http-api", 63, 81)`; what Varsel does otherwise stands in
`docs/compatibility.md`, with its reason, and the marked test proves the opposite.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
COMPATIBILITY: Final = ROOT / "docs" / "compatibility.md"
DOCUMENTS: Final = {
    "http-api": 153,
    "processing": 137,
    "channels": 110,
    "channels-faults": 40,
    "registries": 115,
    "registries-faults": 45,
}
"""The number of assertions of each. `…-faults` are the fault scenarios F1, F2 … of their chapters 9."""

_ROW: Final = re.compile(r"^\| ([a-z-]+) ([0-9, ]+) \|", re.MULTILINE)


@dataclass
class Document:
    """What became of the assertions of one specification: by number the tests, and those that are overridden."""

    last: int
    proven: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    overridden: set[int] = field(default_factory=set)

    @property
    def open(self) -> list[int]:
        """Neither proven nor overridden."""
        return [n for n in range(1, self.last + 1) if n not in self.proven and n not in self.overridden]


@cache
def read() -> Mapping[str, Document]:
    documents = {name: Document(last) for name, last in DOCUMENTS.items()}
    for name, number, test in _marked():
        documents[name].proven[number].append(test)
    for row in _ROW.finditer(COMPATIBILITY.read_text(encoding="utf-8")):
        documents[row[1]].overridden |= {int(number) for number in row[2].split(",")}
    return documents


def _marked() -> Iterator[tuple[str, int, str]]:
    """Document, number, and the test as pytest names it."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(text)) if "mark.assertion" in text else ():
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in _marks(function):
                    document, *numbers = [ast.literal_eval(argument) for argument in call.args]
                    for number in numbers:
                        yield document, number, f"{path.relative_to(ROOT)}::{function.name}"


def _marks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Call]:
    """`pytest.mark.assertion(…)` over the function, or in the parameters over it."""
    for decorator in function.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.assertion":
                yield node


def main(names: Sequence[str]) -> None:
    documents = read()
    for name in names or DOCUMENTS:
        document = documents[name]
        for number in range(1, document.last + 1):
            told = "overridden; " if number in document.overridden else ""
            tests = document.proven.get(number, [])
            print(f"{name} {number:>3}  {told}{', '.join(tests) or 'no test'}")
        print(_summary(name, document), end="\n\n")


def _summary(name: str, document: Document) -> str:
    numbers = ", ".join(map(str, document.open)) or "none"
    proven = len(document.proven)
    return f"{name}: {proven} of {document.last} proven, {len(document.overridden)} overridden, open: {numbers}"


if __name__ == "__main__":
    main(sys.argv[1:])
