"""`{column}` in the texts of a bulk job: the row's field of that column. `{{` is a brace (docs/bulk.md).

`$recipientName$` and `$recipientNumber$` stay for the delivery stage.
"""

import html
import re
from collections.abc import Iterable, Mapping
from typing import Final

from varsel.bulk.table import MAX_NAME

_KEYWORD: Final = re.compile(rf"\{{\{{|\}}\}}|\{{([^{{}}:;\r\n]{{1,{MAX_NAME + 20}}})\}}")  # not the braces of CSS
_BRACES: Final = {"{{": "{", "}}": "}"}


def names_in(*texts: str | None) -> frozenset[str]:
    """The columns that texts ask for, folded as `fold` does."""
    return frozenset(fold(found[1]) for text in texts if text for found in _KEYWORD.finditer(text) if found[1])


def fill(text: str, values: Mapping[str, str], *, markup: bool = False) -> str:
    """`values`: by folded name; of all names that `names_in` finds. With `markup` they are escaped for HTML.

    In one pass: what a field holds is never read again.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return _BRACES[found[0]]
        field = values[fold(found[1])]
        return html.escape(field) if markup else field

    return _KEYWORD.sub(value, text)


def fold(name: str) -> str:
    """How names of columns are compared: without letter case and surplus blanks."""
    return " ".join(name.split()).casefold()


def unknown(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    """Those of the names that are no columns, sorted."""
    return sorted(frozenset(names) - {fold(column) for column in columns})
