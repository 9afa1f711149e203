"""How a person's name is written in a message (registries 5)."""

import re
from dataclasses import dataclass
from typing import Final, Literal, Self

from varsel.settings import RegistrySettings

NameOrder = Literal["display", "short"]

_FIRST_LETTER: Final = re.compile(r"(?:^|(?<=[-'’]))\w")


@dataclass(frozen=True, slots=True)
class NameStyle:
    """As the settings want persons' names. `title`: no longer in the capitals of the population register.

    `particles`: words in small letters that stay so in a title, unless they come first.
    """

    order: NameOrder = "display"
    title: bool = False
    particles: frozenset[str] = frozenset()

    @classmethod
    def from_settings(cls, settings: RegistrySettings) -> Self:
        particles = frozenset(word.lower() for word in settings.lower_name_particles)
        return cls(settings.person_name_order, settings.person_name_case == "title", particles)

    def write(self, first: str | None, middle: str | None, last: str | None) -> str:
        return self.cased(person_name(first, middle, last, self.order))

    def cased(self, name: str) -> str:
        """A name that was put together before."""
        if not self.title:
            return name
        words = name.lower().split(" ")
        return " ".join(word if n and word in self.particles else _capital(word) for n, word in enumerate(words))


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


def _capital(word: str) -> str:
    """Of a double name each part has its own."""
    return _FIRST_LETTER.sub(lambda letter: letter[0].upper(), word)
