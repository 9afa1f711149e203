"""What `varsel doctor` finds: a sentence about one part of an installation, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """A note is no fault, and worth knowing all the same."""

    OK = "ok"
    NOTE = "note"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy`: what to do; empty where nothing is to be done, or where the sentence says it."""

    about: str
    level: Level
    says: str
    remedy: str = ""


def ok(about: str, says: str) -> Finding:
    return Finding(about, Level.OK, says)


def note(about: str, says: str, remedy: str = "") -> Finding:
    return Finding(about, Level.NOTE, says, remedy)


def attention(about: str, says: str, remedy: str = "") -> Finding:
    return Finding(about, Level.ATTENTION, says, remedy)
