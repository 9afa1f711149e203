"""Rows of the registers' local copies as JSON Schema, by the columns of files (registries 7.5).

Formats of our own: `identity-number` and `organisation-number` (check digits), `mobile-number` (numbering plans).
No schema can say that a right ends after it begins, and that nothing is its own main unit.
"""

from collections.abc import Collection
from typing import Final

from varsel.api.shapes import Shape
from varsel.domain.address import EMAIL_PATTERN
from varsel.recipients.load.formats import FLAGS, LISTS, NUMBERS
from varsel.recipients.load.rows import COLUMNS, Kind
from varsel.recipients.load.values import MAX_TEXT
from varsel.recipients.profile.values import RESOURCE_PATTERN, RESOURCE_PREFIX

_SPACE: Final = r"[\s\x1c-\x1f\x85]*"  # around a value it does not count
_BLANK: Final[list[Shape]] = [{"type": "null"}, {"type": "string", "pattern": f"^{_SPACE}$"}]
_RESOURCE: Final = f"(?:{RESOURCE_PREFIX})?{RESOURCE_PATTERN}"
_RESOURCES: Final = rf"(?:{_RESOURCE}(?:[\s\x1c-\x1f\x85]+{_RESOURCE})*)?"


def _text(pattern: str, **more: str | int) -> Shape:
    return {"type": "string", "pattern": f"^{_SPACE}{pattern}{_SPACE}$", **more}


_ANY_TEXT: Final = _text(r"[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f]*", maxLength=MAX_TEXT)
_PERSON: Final[Shape] = {
    "type": "string",
    "format": "identity-number",
    "description": "11 digits, check digits and date right.",
}
_ORGANISATION: Final[Shape] = {
    "type": "string",
    "format": "organisation-number",
    "description": "9 digits, the last of them right.",
}
_UP_TO_2147483647: Final = (
    "(?:[1-9][0-9]{0,8}|1[0-9]{9}|20[0-9]{8}|21[0-3][0-9]{7}|214[0-6][0-9]{6}|2147[0-3][0-9]{5}|21474[0-7][0-9]{4}"
    "|214748[0-2][0-9]{3}|2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7])"
)
_NUMBER: Final[Shape] = {
    "anyOf": [{"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, _text("0{0,9}" + _UP_TO_2147483647)]
}
_EMAIL: Final = _text(EMAIL_PATTERN, maxLength=MAX_TEXT)
_MOBILE: Final[Shape] = {
    "type": "string",
    "format": "mobile-number",
    "description": "With country code, `+` or `00` first; or eight digits, which are Norwegian.",
}
_TIME: Final[Shape] = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}
_UUID: Final[Shape] = {"type": "string", "format": "uuid"}
_WORD: Final = _text(r"[\p{L}\p{N}_.:*-]{1,128}")
_FLAG: Final[Shape] = {"anyOf": [{"type": "boolean"}, _text("(?:true|false)")]}
_TRUE: Final[Shape] = {"anyOf": [{"const": True}, _text("true")]}
_LIST: Final[Shape] = {"anyOf": [{"type": "array", "items": _text(_RESOURCES)}, _text(_RESOURCES)]}

_VALUES: Final[dict[str, Shape]] = {
    **dict.fromkeys(("id", "person_id"), _PERSON),
    **dict.fromkeys(("org_no", "parent_org_no"), _ORGANISATION),
    **dict.fromkeys(("user_id", "party_id"), _NUMBER),
    **dict.fromkeys(("party_uuid", "user_uuid"), _UUID),
    **dict.fromkeys(("email", "idporten_email"), _EMAIL),
    **dict.fromkeys(("mobile", "phone"), _MOBILE),
    **dict.fromkeys(("role", "action"), _WORD),
    **dict.fromkeys(("email_updated", "email_verified", "mobile_updated", "mobile_verified"), _TIME),
    **dict.fromkeys(("updated", "last_changed", "valid_from", "valid_to"), _TIME),
    **dict.fromkeys(FLAGS, _FLAG),
    "language": _text("[A-Za-z]{2}"),
    "resource_id": _text(_RESOURCE),
    "resources": _LIST,
}
"""By column; others hold any text."""


def upserted(kind: Kind) -> Shape:
    """A row that is written, in one of its forms."""
    match kind:
        case Kind.PERSONS:  # of whom is gone, nothing else is read
            forms = [_row(kind), _key_of(kind, id=_PERSON, deleted=_TRUE)]
        case Kind.ORG_ADDRESSES:
            forms = [
                _row(kind, kind={"const": "email"}, address=_EMAIL),
                _row(kind, kind={"const": "sms"}, address=_MOBILE),
            ]
        case Kind.USERS:
            forms = [_row(kind, kind={"enum": ["person", "self-identified"]})]
        case Kind.USER_ADDRESSES:
            forms = [_row(kind, "email"), _row(kind, "phone")]
        case Kind.RULES:
            forms = [_row(kind, resource_id={"anyOf": [{"const": "*"}, _VALUES["resource_id"]]})]
        case Kind.EXTERNAL_IDENTITIES:
            none: Shape = {"anyOf": _BLANK}
            forms = [_row(kind, "username", idporten_email=none), _row(kind, "idporten_email", username=none)]
        case _:
            forms = [_row(kind)]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def deleted(kind: Kind) -> Shape:
    """A row that goes; often its key alone is read."""
    match kind:
        case Kind.USER_ADDRESSES:
            return _key_of(kind, org_no=_ORGANISATION, user_id=_NUMBER)
        case Kind.ORG_ADDRESSES:
            return {"anyOf": [_key_of(kind, registry_id=_ANY_TEXT), upserted(kind)]}
        case _:
            return upserted(kind)


def _row(kind_: Kind, *needed: str, **special: Shape) -> Shape:
    """`needed`: beside the columns that each row has. `special`: by column, what it holds in this form of the row."""
    columns = COLUMNS[kind_]
    values = {name: special.get(name) or _VALUES.get(name, _ANY_TEXT) for name in columns.required | columns.optional}
    required = columns.required | set(needed)
    return _object(
        {name: value if name in required else {"anyOf": [value, *_BLANK]} for name, value in values.items()}, required
    )


def _key_of(kind_: Kind, **key: Shape) -> Shape:
    """The other columns may be there, and are not read."""
    columns = COLUMNS[kind_]
    return _object({name: key.get(name) or _unread(name) for name in columns.required | columns.optional}, key.keys())


def _unread(name: str) -> Shape:
    """What the column may hold, whatever it means (registries 7.5)."""
    types = ["string", "null", *(["integer"] if name in NUMBERS else []), *(["boolean"] if name in FLAGS else [])]
    strings = {"type": "array", "items": {"type": "string"}}
    return {"anyOf": [{"type": types}, strings]} if name in LISTS else {"type": types}


def _object(properties: Shape, required: Collection[str]) -> Shape:
    return {
        "type": "object",
        "required": sorted(required),
        "properties": dict(sorted(properties.items())),
        "additionalProperties": False,
    }
