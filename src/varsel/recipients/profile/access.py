"""The log of look-ups: who looked at whose contact data, when and why (registries 7.7).

Persons stand in it under a pseudonym that only the holder of the key can link.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.identifiers import pseudonym
from varsel.recipients.profile.support_store import Entry, write
from varsel.settings import Settings

_DEVELOPMENT_KEY: Final = "only for synthetic people"


def log_key(settings: Settings) -> bytes | None:
    """The key of the pseudonyms; None in production that has none configured."""
    if settings.registry.log_key:
        return settings.registry.log_key.get_secret_value().encode()
    return None if settings.environment == "production" else _DEVELOPMENT_KEY.encode()


@dataclass(frozen=True, slots=True)
class Seen:
    """A look-up. `persons`: identifiers of those who were asked for, or are in the answer. `took`: until it was known.

    `revealed`: whether addresses are shown as they are.
    """

    actor: str
    kind: str
    asked: int
    found: int
    took: timedelta
    persons: Collection[str] = ()
    revealed: bool = True
    reason: str | None = None


class AccessLog:
    def __init__(self, db: Database, clock: Clock, key: bytes) -> None:
        self._db = db
        self._clock = clock
        self._key = key

    async def write(self, seen: Seen) -> None:
        """To be done before anything is shown: raises `Unavailable` when it cannot be written down."""
        entry = Entry(
            at=self._clock.now(),
            actor=seen.actor,
            purpose="support",
            kind=seen.kind,
            asked=seen.asked,
            found=seen.found,
            revealed=seen.revealed,
            reason=seen.reason,
            took=seen.took,
            subjects=sorted({pseudonym(person, self._key) for person in seen.persons}),
        )
        async with self._db.autocommit() as conn:
            await write(conn, entry)
