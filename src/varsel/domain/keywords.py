"""`$recipientName$` and `$recipientNumber$` in texts. Exact case, every occurrence, nothing else (processing 5)."""

import html
from typing import Final

_NAME: Final = "$recipientName$"
_NUMBER: Final = "$recipientNumber$"


def has_keyword(*texts: str | None) -> bool:
    return any(text and (_NAME in text or _NUMBER in text) for text in texts)


def fill(text: str, *, name: str | None, number: str, markup: bool = False) -> str:
    """Replace the keywords. `name` None keeps them all; `markup` escapes the values for an HTML body."""
    if name is None:
        return text
    escape = html.escape if markup else str
    # split by the one, replace the other: a name that holds a keyword is not replaced again
    return escape(number).join(part.replace(_NAME, escape(name)) for part in text.split(_NUMBER))
