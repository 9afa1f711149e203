"""`$recipientName$` and `$recipientNumber$` in texts. Exact case, every occurrence, nothing else (processing 5)."""

import html
import re
from typing import Final

_KEYWORD: Final = re.compile(r"\$recipient(Name|Number)\$")


def has_keyword(*texts: str | None) -> bool:
    return any(text and _KEYWORD.search(text) for text in texts)


def fill(text: str, *, name: str | None, number: str, markup: bool = False) -> str:
    """Replace the keywords. `name` None keeps them all; `markup` escapes the values for an HTML body."""
    if name is None:
        return text
    escape = html.escape if markup else str
    values = {"Name": escape(name), "Number": escape(number)}
    return _KEYWORD.sub(lambda found: values[found[1]], text)  # in one pass: values are never read again
