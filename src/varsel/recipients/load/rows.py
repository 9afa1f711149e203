"""What each kind of file holds: its columns, and the row that a line becomes (registries 7.5).

The fields of a row are named like the columns of its table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from varsel.domain.external_identity import email_username, username_key
from varsel.recipients.load import values
from varsel.recipients.load.values import BadValue, Rules

T = TypeVar("T")


class Kind(StrEnum):
    """In the order in which a folder that holds all of them is loaded."""

    ORGANISATIONS = "organisations"
    ORG_ADDRESSES = "org_addresses"
    PERSONS = "persons"
    USERS = "users"
    USER_ADDRESSES = "user_addresses"
    RULES = "rules"
    ROLES = "roles"
    DELEGATIONS = "delegations"
    EXTERNAL_IDENTITIES = "external_identities"


class Person(NamedTuple):
    subject_key: str
    reserved: bool = False
    email: str | None = None
    email_updated_at: datetime | None = None
    email_verified_at: datetime | None = None
    mobile: str | None = None
    mobile_updated_at: datetime | None = None
    mobile_verified_at: datetime | None = None
    language: str | None = None
    first_name: str | None = None
    middle_name: str | None = None
    last_name: str | None = None
    deleted: bool = False


class Organisation(NamedTuple):
    org_no: str
    name: str | None
    parent_org_no: str | None
    party_id: int | None
    party_uuid: str | None
    unit_type: str | None
    deleted: bool


class OrgAddress(NamedTuple):
    registry_id: str
    org_no: str
    kind: str
    address: str
    label: str | None
    accepted: bool
    deleted: bool
    updated_at: datetime | None


class User(NamedTuple):
    user_id: int
    user_uuid: str | None
    subject_key: str | None
    username: str | None
    kind: str


class UserAddress(NamedTuple):
    org_no: str
    user_id: int
    email: str | None
    phone: str | None
    resources: list[str]
    last_changed: datetime | None


Bound = datetime | str
"""When a right begins or ends: an instant, or `-infinity` or `infinity`."""


class Role(NamedTuple):
    org_no: str
    user_id: int
    role: str
    valid_from: Bound
    valid_to: Bound


class Rule(NamedTuple):
    resource_id: str
    action: str
    role: str


class Delegation(NamedTuple):
    org_no: str
    user_id: int
    resource_id: str
    action: str
    valid_from: Bound
    valid_to: Bound


class ExternalIdentity(NamedTuple):
    username: str
    user_id: int | None
    email: str | None
    phone: str | None


Row = Person | Organisation | OrgAddress | User | UserAddress | Role | Rule | Delegation | ExternalIdentity


class BadLine(Exception):
    """A line that cannot be loaded: which column, why, and the field (to be shown masked only)."""

    def __init__(self, column: str, code: str, field: str = "") -> None:
        super().__init__(code)
        self.column = column
        self.code = code
        self.field = field


class Fields:
    """The fields of one line by column, each read by the parser of its column. Blank is absent."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def get(self, column: str, parse: Callable[[str], T]) -> T | None:
        field = self._fields.get(column)
        if not field or not (field := field.strip()):
            return None
        try:
            return parse(field)
        except BadValue as e:
            raise BadLine(column, e.code, field) from None

    def need(self, column: str, parse: Callable[[str], T]) -> T:
        value = self.get(column, parse)
        if value is None:
            raise BadLine(column, "missing")
        return value


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that a file of one kind may have, and how one of its lines is read."""

    required: frozenset[str]
    optional: frozenset[str]
    read: Callable[[Fields, Rules], Row]


def _person(f: Fields, rules: Rules) -> Person:
    key = f.need("id", rules.person)
    if f.get("deleted", values.boolean):
        return Person(key, deleted=True)  # of whom is gone, nothing is kept but that
    email, email_updated, email_verified = _dated(f, "email", rules.email, rules)
    mobile, mobile_updated, mobile_verified = _dated(f, "mobile", rules.mobile, rules)
    return Person(
        subject_key=key,
        reserved=f.get("reserved", values.boolean) or False,
        email=email,
        email_updated_at=email_updated,
        email_verified_at=email_verified,
        mobile=mobile,
        mobile_updated_at=mobile_updated,
        mobile_verified_at=mobile_verified,
        language=f.get("language", values.language),
        first_name=f.get("first_name", values.text),
        middle_name=f.get("middle_name", values.text),
        last_name=f.get("last_name", values.text),
    )


def _dated(
    f: Fields, column: str, parse: Callable[[str], str], rules: Rules
) -> tuple[str | None, datetime | None, datetime | None]:
    address = f.get(column, parse)
    updated = f.get(f"{column}_updated", values.instant)
    verified = f.get(f"{column}_verified", values.instant)
    if rules.assume_fresh and address and not updated and not verified:
        updated = rules.now
    return address, updated, verified


def _organisation(f: Fields, rules: Rules) -> Organisation:
    number = f.need("org_no", rules.organisation)
    parent = f.get("parent_org_no", rules.organisation)
    if parent == number:
        raise BadLine("parent_org_no", "own-parent", number)
    return Organisation(
        org_no=number,
        name=f.get("name", values.text),
        parent_org_no=parent,
        party_id=f.get("party_id", values.positive),
        party_uuid=f.get("party_uuid", values.uuid),
        unit_type=f.get("unit_type", values.text),
        deleted=f.get("deleted", values.boolean) or False,
    )


def _org_address(f: Fields, rules: Rules) -> OrgAddress:
    number = f.need("org_no", rules.organisation)
    kind = f.need("kind", values.address_kind)
    address = f.need("address", rules.email if kind == "email" else rules.mobile)
    accepted = f.get("accepted", values.boolean)
    return OrgAddress(
        registry_id=f.get("registry_id", values.text) or f"{number}/{kind}/{address.lower()}",
        org_no=number,
        kind=kind,
        address=address,
        label=f.get("label", values.text),
        accepted=accepted is not False,
        deleted=f.get("deleted", values.boolean) or False,
        updated_at=f.get("updated", values.instant),
    )


def _user(f: Fields, rules: Rules) -> User:
    return User(
        user_id=f.need("user_id", values.positive),
        user_uuid=f.get("user_uuid", values.uuid),
        subject_key=f.get("person_id", rules.person),
        username=f.get("username", values.text),
        kind=f.get("kind", values.user_kind) or "person",
    )


def _user_address(f: Fields, rules: Rules) -> UserAddress:
    email = f.get("email", rules.email)
    phone = f.get("phone", rules.mobile)
    if not email and not phone:
        raise BadLine("email", "no-address")
    return UserAddress(
        org_no=f.need("org_no", rules.organisation),
        user_id=f.need("user_id", values.positive),
        email=email,
        phone=phone,
        resources=f.get("resources", values.resources) or [],
        last_changed=f.get("last_changed", values.instant),
    )


def _role(f: Fields, rules: Rules) -> Role:
    return Role(
        f.need("org_no", rules.organisation),
        f.need("user_id", values.positive),
        f.need("role", values.word),
        *_validity(f),
    )


def _rule(f: Fields, _rules: Rules) -> Rule:
    return Rule(
        f.need("resource_id", values.resource_or_all),
        f.need("action", values.word),
        f.need("role", values.word),
    )


def _delegation(f: Fields, rules: Rules) -> Delegation:
    return Delegation(
        f.need("org_no", rules.organisation),
        f.need("user_id", values.positive),
        f.need("resource_id", values.resource),
        f.need("action", values.word),
        *_validity(f),
    )


def _external_identity(f: Fields, rules: Rules) -> ExternalIdentity:
    name, login = f.get("username", values.text), f.get("idporten_email", values.email)
    if name is None and login is None:
        raise BadLine("username", "missing")
    if name is not None and login is not None:
        raise BadLine("idporten_email", "both-names")
    return ExternalIdentity(
        username=username_key(name) if name else email_username(login or ""),
        user_id=f.get("user_id", values.positive),
        email=f.get("email", rules.email),
        phone=f.get("phone", rules.mobile),
    )


def _validity(f: Fields) -> tuple[Bound, Bound]:
    start = f.get("valid_from", values.instant)
    end = f.get("valid_to", values.instant)
    if start and end and end <= start:
        raise BadLine("valid_to", "ends-before-it-begins")
    return start or "-infinity", end or "infinity"


def _columns(required: str, optional: str, read: Callable[[Fields, Rules], Row]) -> Columns:
    return Columns(frozenset(required.split()), frozenset(optional.split()), read)


COLUMNS: Final[dict[Kind, Columns]] = {
    Kind.PERSONS: _columns(
        "id",
        "reserved email email_updated email_verified mobile mobile_updated mobile_verified language"
        " first_name middle_name last_name deleted",
        _person,
    ),
    Kind.ORGANISATIONS: _columns("org_no", "name parent_org_no party_id party_uuid unit_type deleted", _organisation),
    Kind.ORG_ADDRESSES: _columns("org_no kind address", "registry_id label updated accepted deleted", _org_address),
    Kind.USERS: _columns("user_id", "user_uuid person_id username kind", _user),
    Kind.USER_ADDRESSES: _columns("user_id org_no", "email phone resources last_changed", _user_address),
    Kind.ROLES: _columns("user_id org_no role", "valid_from valid_to", _role),
    Kind.RULES: _columns("resource_id action role", "", _rule),
    Kind.DELEGATIONS: _columns("user_id org_no resource_id action", "valid_from valid_to", _delegation),
    Kind.EXTERNAL_IDENTITIES: _columns("", "username idporten_email user_id email phone", _external_identity),
}
