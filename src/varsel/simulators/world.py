"""The people, organisations, users and rights that the simulated registers know (registries 8): rows of import files.

A world may be changed while simulators serve it.
"""

from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from varsel.recipients import personas
from varsel.recipients.load.folder import files_of
from varsel.recipients.load.formats import Form, read_lines
from varsel.recipients.load.job import no_progress
from varsel.recipients.load.rows import (
    COLUMNS,
    Bound,
    Delegation,
    ExternalIdentity,
    Fields,
    Kind,
    OrgAddress,
    Organisation,
    Person,
    Role,
    Row,
    Rule,
    User,
    UserAddress,
)
from varsel.recipients.load.values import Rules

STALE_AFTER_MONTHS: Final = 18
_FIRST_FREE_PARTY: Final = 60_001


class World:
    """Filled with rows; a later row replaces the one with the same key."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.persons: dict[str, Person] = {}
        self.organisations: dict[str, Organisation] = {}
        self.externals: dict[str, ExternalIdentity] = {}
        self._addresses: dict[str, dict[str, OrgAddress]] = {}  # by owner and registry id
        self._owners: dict[str, str] = {}  # of registry ids
        self._users: dict[int, User] = {}
        self._user_addresses: dict[str, dict[int, UserAddress]] = {}  # by organisation and user
        self._rules: set[Rule] = set()
        self._roles: dict[tuple[str, int], dict[tuple[str, Bound], Role]] = {}
        self._delegations: dict[tuple[str, int], list[Delegation]] = {}
        self._parties: dict[str, int] = {}
        for row in rows:
            self.put(row)

    @classmethod
    def read(cls, folder: Path, now: datetime) -> "World":
        """What the files would bring to an import. Raises `Rejected` or `BadLine` for broken ones."""
        return cls(
            COLUMNS[kind].read(line.fields(), _rules(now))
            for kind, file in files_of(folder).items()
            for line in read_lines(file, COLUMNS[kind], Form(), no_progress)
        )

    @classmethod
    def personas(cls, now: datetime) -> "World":
        """The personas, fresh and stale as of now."""
        with TemporaryDirectory(prefix="varsel-personas-") as name:
            personas.write(Path(name), now)
            return cls.read(Path(name), now)

    def put_fields(self, kind: Kind, fields: Mapping[str, str], now: datetime) -> None:
        """A row by the columns of its file. Raises `BadLine`, and `Rejected` for a real identity number."""
        self.put(COLUMNS[kind].read(Fields(fields), _rules(now)))

    def put(self, row: Row) -> None:
        match row:
            case Person():
                self.persons[row.subject_key] = row
            case Organisation():
                self.organisations[row.org_no] = row
                self._parties[row.org_no] = row.party_id or _FIRST_FREE_PARTY + len(self._parties)
            case OrgAddress():
                self._addresses.get(self._owners.get(row.registry_id, ""), {}).pop(row.registry_id, None)
                self._owners[row.registry_id] = row.org_no
                self._addresses.setdefault(row.org_no, {})[row.registry_id] = row
            case User():
                self._users[row.user_id] = row
            case UserAddress():
                self._user_addresses.setdefault(row.org_no, {})[row.user_id] = row
            case ExternalIdentity():
                self.externals[row.username] = row
            case Rule():
                self._rules.add(row)
            case Role():
                self._roles.setdefault((row.org_no, row.user_id), {})[row.role, row.valid_from] = row
            case Delegation():
                self._delegations.setdefault((row.org_no, row.user_id), []).append(row)

    def person(self, number: str) -> Person | None:
        """Somebody who is registered now."""
        found = self.persons.get(number)
        return None if found is None or found.deleted else found

    def organisation(self, number: str) -> Organisation | None:
        found = self.organisations.get(number)
        return None if found is None or found.deleted else found

    def main_unit(self, number: str) -> str | None:
        unit = self.organisation(number)
        return unit.parent_org_no if unit and unit.parent_org_no and self.organisation(unit.parent_org_no) else None

    def party_id(self, number: str) -> int | None:
        return self._parties[number] if self.organisation(number) else None

    def number_of_party(self, party_id: int) -> str | None:
        return next((number for number, id_ in self._parties.items() if id_ == party_id), None)

    def addresses(self, number: str) -> list[OrgAddress] | None:
        """All rows of an organisation, usable or not; None when it never had one."""
        found = self._addresses.get(number)
        return None if found is None else list(found.values())

    def user_addresses(self, number: str, resource: str) -> Iterator[UserAddress]:
        """Those that apply to a bare resource id (registries 4.5)."""
        for _, row in sorted(self._user_addresses.get(number, {}).items()):
            if not row.resources or resource in row.resources:
                yield row

    def permits(self, number: str, user_id: int, resource: str, action: str, now: datetime) -> bool:
        """The role model of registries 4.7."""
        units = [number, self.main_unit(number) or ""]
        roles = {
            role.role
            for unit in units
            for role in self._roles.get((unit, user_id), {}).values()
            if _within(role.valid_from, now, role.valid_to)
        }
        ruled = any(
            rule.role in roles and rule.resource_id in (resource, "*") and rule.action in (action, "*")
            for rule in self._rules
        )
        return ruled or any(
            d.resource_id == resource and d.action == action and _within(d.valid_from, now, d.valid_to)
            for d in self._delegations.get((number, user_id), ())
        )


def is_stale(updated: datetime | None, verified: datetime | None, now: datetime) -> bool:
    """Neither changed nor confirmed for 18 calendar months (registries 2.6)."""
    dates = [date for date in (updated, verified) if date]
    return not dates or max(dates) < months_before(now, STALE_AFTER_MONTHS)


def months_before(now: datetime, months: int) -> datetime:
    """The day is clamped to the length of the month."""
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    return now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))


def _within(start: Bound, now: datetime, end: Bound) -> bool:
    return (isinstance(start, str) or start <= now) and (isinstance(end, str) or now < end)


def _rules(now: datetime) -> Rules:
    return Rules(now, as_registered=True)
