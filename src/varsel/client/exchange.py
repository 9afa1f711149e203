"""What the core says to whoever has the sockets: send this, or let time pass; and what it hears.

A generator of `Steps` never does either itself, so the same code serves threads and event loops (ADR 13).
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

T = TypeVar("T")

MAX_ANSWER_BYTES: Final = 64 * 2**20
"""A longer answer counts as none."""


@dataclass(frozen=True, slots=True)
class Request:
    """`path` comes after the base address. `patience`: seconds, for everything from connecting to the last octet."""

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """No usable answer. `sent`: the request may have arrived."""

    why: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Steps = Generator[Request | Pause, Reply | Lost | None, T]
"""Send it `Reply` or `Lost` for a `Request`, and None for a `Pause`."""
