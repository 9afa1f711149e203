"""The addresses where a user wants messages that concern an organisation (registries 4.1, 4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from varsel.clock import Clock
from varsel.db import Database
from varsel.recipients.profile import store
from varsel.recipients.profile.store import Addresses, Contact, Preferences
from varsel.recipients.profile.values import AddressKind, Standing, comparable
from varsel.settings import ProfileSettings

Standings = Mapping[tuple[AddressKind, str], Standing]


@dataclass(frozen=True, slots=True)
class ShownContact:
    """Addresses as their user sees them. A standing is None where there is no address."""

    contact: Contact
    needs_confirmation: bool
    email_standing: Standing | None
    phone_standing: Standing | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a request says. `keeps`: names of fields of `Addresses` that stay as they are; of a PUT none."""

    new: Addresses
    keeps: frozenset[str] = frozenset()


class Saved(Enum):
    """What became of a change. Nothing is written but by the first two."""

    CREATED = auto()
    CHANGED = auto()
    EMPTY = auto()  # neither an email address nor a number would be left
    UNVERIFIED = auto()  # an address has not been shown to be the user's
    OVERTAKEN = auto()  # another request came between


class ProfessionalAddresses:
    """`inherit`: whoever may act for a main unit may for its subunits."""

    def __init__(self, db: Database, clock: Clock, settings: ProfileSettings, *, inherit: bool) -> None:
        self._db = db
        self._clock = clock
        self._settings = settings
        self._inherit = inherit

    async def org_of_party(self, party: UUID) -> str | None:
        async with self._db.reading() as conn:
            return await store.org_of_party(conn, party)

    async def may_represent(self, user: int, org_no: str) -> bool:
        async with self._db.reading() as conn:
            return await store.represents(conn, user, org_no, inherit=self._inherit, now=self._clock.now())

    async def of_user(self, user: int, org_no: str | None = None) -> list[ShownContact]:
        """For one organisation or all, in order of their numbers."""
        now = self._clock.now()
        async with self._db.reading() as conn:
            contacts = await store.contacts(conn, user, org_no)
            standings = await store.standings(conn, user) if contacts else {}
            preferences = await store.preferences(conn, user)
        return [self._shown(contact, standings, preferences, now) for contact in contacts]

    async def save(self, user: int, org_no: str, change: Change) -> Saved:
        async with self._db.transaction() as conn:
            old = await store.lock_contact(conn, user, org_no)
            new = _merged(old, change)
            if new.email is None and new.phone is None:
                return Saved.EMPTY
            if not _all_verified(change.new, await store.standings(conn, user)):
                return Saved.UNVERIFIED
            must_be_new = old is None and bool(change.keeps)
            created = await store.save_contact(conn, user, org_no, new, must_be_new=must_be_new, now=self._clock.now())
        if created is None:
            return Saved.OVERTAKEN
        return Saved.CREATED if created else Saved.CHANGED

    async def delete(self, user: int, party: UUID) -> bool:
        """False when there was nothing. Asks for no right: people may take back what they said about themselves."""
        async with self._db.autocommit() as conn:
            return await store.delete_contact(conn, user, party)

    def _shown(self, contact: Contact, standings: Standings, preferences: Preferences, now: datetime) -> ShownContact:
        settings = self._settings
        postponed = preferences.ignored_at is not None and now - preferences.ignored_at <= settings.confirm_postpone
        old = contact.last_changed is None or now - contact.last_changed >= settings.confirm_reminder
        return ShownContact(
            contact,
            needs_confirmation=old and not postponed,
            email_standing=_standing(AddressKind.EMAIL, contact.email, standings),
            phone_standing=_standing(AddressKind.SMS, contact.phone, standings),
        )


def _merged(old: Addresses | None, change: Change) -> Addresses:
    if old is None:
        return change.new
    new, keeps = change.new, change.keeps
    return Addresses(
        old.email if "email" in keeps else new.email,
        old.phone if "phone" in keeps else new.phone,
        old.resources if "resources" in keeps else new.resources,
    )


def _all_verified(sent: Addresses, standings: Standings) -> bool:
    found = [
        _standing(AddressKind.EMAIL, sent.email, standings),
        _standing(AddressKind.SMS, sent.phone, standings),
    ]
    return all(standing in (None, Standing.VERIFIED) for standing in found)


def _standing(kind: AddressKind, address: str | None, standings: Standings) -> Standing | None:
    return standings.get((kind, comparable(address)), Standing.LEGACY) if address else None
