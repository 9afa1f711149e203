"""A user's own number, and what they wish of us (registries 4.1, 4.4).

Only people without an identity number have a number of their own here: that of others is in the contact register.
"""

from enum import Enum, auto
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.external_identity import username_key
from varsel.recipients.profile import store
from varsel.recipients.profile.store import Preferences

_BY_EMAIL: Final = "epost:"


class PhoneSaved(Enum):
    SAVED = auto()
    UNKNOWN_USER = auto()
    OTHER_KIND = auto()


class PrivateProfile:
    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def set_phone(self, user_id: int, phone: str | None) -> PhoneSaved:
        async with self._db.transaction() as conn:
            user = await store.user(conn, user_id)
            if user is None:
                return PhoneSaved.UNKNOWN_USER
            if not user.self_identified or user.username is None:
                return PhoneSaved.OTHER_KIND
            name = user.username
            email = name[len(_BY_EMAIL) :] if name.lower().startswith(_BY_EMAIL) else None
            await store.set_private_phone(conn, user_id, username_key(name), email, phone, now=self._clock.now())
        return PhoneSaved.SAVED

    async def preferences(self, user_id: int) -> Preferences:
        async with self._db.reading() as conn:
            return await store.preferences(conn, user_id)

    async def set_preferences(self, user_id: int, new: Preferences, *, language: bool, ignored_at: bool) -> Preferences:
        """Write those of the two that are named; all that then holds."""
        async with self._db.transaction() as conn:
            now = self._clock.now()
            await store.set_preferences(conn, user_id, new, language=language, ignored_at=ignored_at, now=now)
            return await store.preferences(conn, user_id)
