"""How something stands, as pages show it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """The key of its words, a family of colours and an icon."""

    key: str
    family: str
    icon: str
