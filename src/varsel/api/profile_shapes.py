"""What users register, as JSON Schema: rules of bodies, parameters of paths, and how requests are refused.

Formats of our own: `international-number`, `country-code`, `national-number` (numbering plans). Of an address that must
be verified first, only the answer 422 tells.
"""

from typing import Annotated, Any, Final

from varsel.api.fields import ContractInstant, Text
from varsel.api.schemas import Answer
from varsel.api.shapes import ORGANISATION_PATTERN, Shape, Told
from varsel.recipients.profile.values import (
    EMAIL_PATTERN,
    LOOSE_PHONE_PATTERN,
    MAX_EMAIL,
    MAX_PHONE,
    MAX_RESOURCES,
    RESOURCE_PATTERN,
    RESOURCE_PREFIX,
)

_NULLABLE: Final = ["string", "null"]
_BLANK: Final = r"^\s*$"
_SAYS: Final[Shape] = {"type": "string", "pattern": r"\S"}
LANGUAGES: Final = ("nb", "nn", "en", "se")

OwnEmail = Annotated[
    Text | None, Told({"type": _NULLABLE, "pattern": rf"^\s*(?:{EMAIL_PATTERN})?\s*$", "maxLength": MAX_EMAIL})
]
LoosePhone = Annotated[
    Text | None, Told({"type": _NULLABLE, "pattern": rf"^\s*{LOOSE_PHONE_PATTERN}?\s*$", "maxLength": MAX_PHONE})
]
InternationalPhone = Annotated[
    Text | None,
    Told(
        {
            "type": _NULLABLE,
            "format": "international-number",
            "description": "`+`, country code and number, digits alone: a valid number of any country.",
        }
    ),
]
Resources = Annotated[
    list[Text] | None,
    Told(
        {
            "type": ["array", "null"],
            "items": {"type": "string", "pattern": f"^{RESOURCE_PREFIX}{RESOURCE_PATTERN}$"},
            "uniqueItems": True,
            "maxItems": MAX_RESOURCES,
            "description": "The resources whose messages shall come here; none, or null: all.",
        }
    ),
]
Code = Annotated[Text, Told({"pattern": "^[0-9]{6}$"})]
Language = Annotated[Text | None, Told({"type": _NULLABLE, "enum": [*LANGUAGES, None]})]
PastTime = Annotated[ContractInstant | None, Told({"description": "With a time zone; not in the future."})]

OfficialEmail = Annotated[Text | None, Told({"type": _NULLABLE, "maxLength": MAX_EMAIL})]
CountryCode = Annotated[Text | None, Told({"type": _NULLABLE, "description": "`+` and one to three digits."})]
NationalPhone = Annotated[Text | None, Told({"type": _NULLABLE, "description": "Digits alone. Norwegian: a mobile's."})]


def one_address() -> Shape:
    """One of the two says something."""
    return {"anyOf": [_having({name: _SAYS}) for name in ("emailAddress", "phoneNumber")]}


def address_by_type(minimum: int, maximum: int) -> Shape:
    """The value is what its type says, in so many characters."""
    length = {"minLength": minimum, "maxLength": maximum}
    email = {"type": "string", "pattern": rf"^\s*{EMAIL_PATTERN}\s*$", **length}
    phone = {"type": "string", "pattern": rf"^\s*{LOOSE_PHONE_PATTERN}\s*$", "minLength": minimum}
    return {
        "anyOf": [
            _having({"type": {"enum": ["Email", 0]}, "value": email}),
            _having({"type": {"enum": ["Sms", 1]}, "value": {**phone, "maxLength": MAX_PHONE}}),
        ]
    }


def email_or_number(email: str) -> Shape:
    """An email address, whose pattern is told, or a number with its country code; blank counts as absent."""
    absent = {"anyOf": [{"type": "null"}, {"type": "string", "pattern": _BLANK}]}
    code = {"type": "string", "pattern": r"^\s*\+[0-9]{1,3}\s*$", "format": "country-code"}
    number = {"type": "string", "pattern": r"^\s*[0-9]{1,15}\s*$", "format": "national-number"}
    return {
        "anyOf": [
            _having({"email": {"type": "string", "pattern": rf"^\s*{email}\s*$"}}, countryCode=absent, phone=absent),
            _having({"countryCode": code, "phone": number}, email=absent),
        ]
    }


def _having(required: Shape, **optional: Shape) -> Shape:
    return {"required": list(required), "properties": {**required, **optional}}


def parameter(name: str, place: str, schema: Shape, *, required: bool = True, example: Any = None) -> dict[str, Any]:
    told = {} if example is None else {"example": example}
    return {"name": name, "in": place, "required": required, "schema": schema, **told}


def organisation_parameter(name: str) -> dict[str, Any]:
    return parameter(name, "path", {"type": "string", "pattern": ORGANISATION_PATTERN}, example="310001007")


class BadRequest(Answer):
    """`errors` when something is wrong with the request, `detail` when it is with the token."""

    type: str
    title: str
    status: int
    errors: dict[str, list[str]] | None = None
    detail: str | None = None
    trace_id: str


class CodeRefused(Answer):
    """`detail` says why."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str


class TooOften(Answer):
    type: str
    title: str
    status: int
    retry_after_seconds: int
    trace_id: str
