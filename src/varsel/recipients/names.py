"""How a person's name is written in a message (registries 5)."""

from typing import Literal

NameOrder = Literal["display", "short"]


def person_name(first: str | None, middle: str | None, last: str | None, order: NameOrder = "display") -> str:
    """First, middle, last; or last, first, middle in the population register's short order.

    A missing first or last name is "Mangler" or "Navn". Empty when the register holds no part of a name at all.
    """
    first, middle, last = ((part or "").strip() for part in (first, middle, last))
    if not (first or middle or last):
        return ""
    first, last = first or "Mangler", last or "Navn"
    parts = (first, middle, last) if order == "display" else (last, first, middle)
    return " ".join(part for part in parts if part)
