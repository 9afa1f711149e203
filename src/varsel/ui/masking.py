"""Personal data with most of it hidden, as every list shows it: birth digits, last three digits, letter and domain.

The sandbox hides nothing: its people are made up.
"""

from dataclasses import dataclass

from varsel.domain.identifiers import Level, valid_person_id
from varsel.ui.access_store import About
from varsel.ui.words import pretty_identity, pretty_number

_BIRTH = 6
_LAST = 3


@dataclass(frozen=True, slots=True)
class Covered:
    """What stands before the dots, the dots, and what stands after them. No dots: nothing is hidden."""

    head: str
    dots: str = ""
    tail: str = ""


@dataclass(frozen=True, slots=True)
class Masks:
    """`show_all`: the sandbox."""

    show_all: bool

    def address(self, address: str) -> Covered:
        """Of an email address or a number. Empty for none."""
        if "@" in address:
            return Covered(address) if self.show_all else _email(address)
        pretty = pretty_number(address)
        return Covered(pretty) if self.show_all or not address else _number(pretty)

    def identity(self, key: str) -> Covered:
        """Of a person."""
        pretty = pretty_identity(key)
        if self.show_all:
            return Covered(pretty)
        shown = _BIRTH if valid_person_id(key, Level.SHAPE) else min(_BIRTH, len(key) // 2)
        return Covered(key[:shown], f" {'•' * max(len(key) - shown, 1)}")

    def about(self, about: About) -> Covered:
        """An organisation's number is public."""
        match about.kind:
            case "person":
                return self.identity(about.key)
            case "organisation":
                return Covered(pretty_identity(about.key))
            case _:
                return self.address(about.key)


def opened(about: About) -> str:
    """The same without a mask, written as people read it."""
    return pretty_number(about.key) if about.kind == "address" else pretty_identity(about.key)


def _email(address: str) -> Covered:
    local, _, domain = address.rpartition("@")
    return Covered(local[:1] if len(local) > 1 else "", "•••••", f"@{domain}")


def _number(pretty: str) -> Covered:
    code = pretty.partition(" ")[0] if pretty.startswith("+") and " " in pretty else ""
    return Covered(code, " ••• •• ", pretty.replace(" ", "")[-_LAST:])
