"""Rules of the second stage as JSON Schema, for the published document: what the code refuses, the document does too.

What no schema can say is named by a format of our own: `mobile-number` (numbering plans), `http-url`, `attachment-url`
(its signature and its end), `external-identity`. That a time lies ahead, only the descriptions say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from varsel.api.fields import (
    ANY_TEXT,
    MAX_INTEGER,
    NOT_BLANK,
    ContractInstant,
    Integer,
    OptionalInstant,
    RequiredText,
    Text,
)
from varsel.domain.address import EMAIL_PATTERN
from varsel.domain.attachments import MIME_TYPES

Shape = dict[str, Any]

PERSON_PATTERN: Final = "^[0-9]{11}$"
ORGANISATION_PATTERN: Final = "^[0-9]{9}$"


@dataclass(frozen=True, eq=False)
class Told:
    """Of a type: what the document says beside what the type says. With a type of its own, it says that alone."""

    shape: Shape

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Shape:
        return self.shape if "type" in self.shape else {**handler(schema), **self.shape}


_60_TO_172800: Final = "([6-9][0-9]|[1-9][0-9]{2,4}|1[0-6][0-9]{4}|17[01][0-9]{3}|172[0-7][0-9]{2}|172800)"
_EMAIL: Final[Shape] = {"pattern": rf"^\s*{EMAIL_PATTERN}\s*$"}
_URL: Final[Shape] = {"type": "string", "format": "http-url"}
_MOBILE: Final[Shape] = {
    "type": "string",
    "format": "mobile-number",
    "description": "With country code, `+` or `00` first: a valid number of any country. It is kept as it is sent.",
}

EmailText = Annotated[Text, Told(_EMAIL)]
RequiredEmailText = Annotated[RequiredText, Told(_EMAIL)]
AnyMobileText = Annotated[Text, Told({"type": "string"})]
"""Whether it must be one depends on what else there is."""
MobileText = Annotated[Text, Told(_MOBILE)]
UrlText = Annotated[Text, Told({**_URL, "description": "An absolute http or https URL."})]
PublicUrlText = Annotated[Text, Told({**_URL, "description": "An http or https URL with a full domain name."})]
PersonText = Annotated[RequiredText, Told({"pattern": PERSON_PATTERN})]
OrganisationText = Annotated[RequiredText, Told({"pattern": ORGANISATION_PATTERN})]
ExternalIdentityText = Annotated[
    RequiredText,
    Told(
        {
            "type": "string",
            "format": "external-identity",
            "description": "A URN: `urn:altinn:person:idporten-email:` and an address with `%40`, or"
            " `urn:altinn:party:username:`, `urn:altinn:username:` or `urn:altinn:person:legacy-selfidentified:`"
            " and a user name.",
        }
    ),
]
ResourceText = Annotated[Text, Told({"pattern": r"^urn:altinn:resource:[^\x00]+$"})]
FilenameText = Annotated[RequiredText, Told({"pattern": r"^[^/\\\x00]*\.[^/\\.\x00]+$"})]
MimeTypeText = Annotated[RequiredText, Told({"enum": sorted(MIME_TYPES.values())})]
TemplateText = Annotated[Text, Told({"pattern": NOT_BLANK})]
LifeSeconds = Annotated[
    Integer,
    Told(
        {
            "anyOf": [
                {"type": "integer", "minimum": 60, "maximum": 172_800},
                {"type": "string", "pattern": f"^0{{0,9}}{_60_TO_172800}$"},
            ]
        }
    ),
]
DelayDays = Annotated[
    Integer,
    Told(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_INTEGER},
                {"type": "string", "pattern": "^0{0,9}[1-9][0-9]{0,8}$"},
            ]
        }
    ),
]
AttachmentUrlText = Annotated[
    Text,
    Told(
        {
            "type": "string",
            "format": "attachment-url",
            "description": "A secret: a signed https URL in a store that this service fetches from, valid until 15"
            " minutes after the send time or longer.",
        }
    ),
]
V1Time = Annotated[OptionalInstant, Told({"description": "Now, if absent; at most five minutes ago."})]
V2Time = Annotated[OptionalInstant, Told({"description": "Now, if absent; not in the past."})]
ReminderTime = Annotated[ContractInstant, Told({"description": "Not in the past."})]

_NO_NUL: Final[Shape] = {"pattern": ANY_TEXT}
_NONE: Final[Shape] = {"enum": ["", None]}
"""Absent, empty and null are one and the same there."""
_OBJECT: Final[Shape] = {"type": "object"}
_PREFERRED: Final = ["EmailPreferred", "SmsPreferred", 2, 3]
_CHANNELS: Final = (["Email", 0], ["Sms", 1], ["EmailPreferred", "SmsPreferred", "EmailAndSms", 2, 3, 4])


def exactly_one(**types: Sequence[str]) -> Shape:
    """Of the properties, whose types are named, one is there; null counts as absent."""
    return {"oneOf": [_with({to_camel(name): {"type": list(allowed)}}) for name, allowed in types.items()]}


def settings_by_channel() -> Shape:
    """Which settings a recipient of v2 needs (http-api 7.10)."""
    email, sms = {"emailSettings": _OBJECT}, {"smsSettings": _OBJECT}
    needed = zip(_CHANNELS, (email, sms, {**email, **sms}), strict=True)
    return {"anyOf": [_with({"channelSchema": {"enum": names}, **settings}) for names, settings in needed]}


def order_by_channel() -> Shape:
    """Which templates an order of v1 needs, and what its recipients must have (http-api 12.1, design 8)."""
    email, sms = {"emailTemplate": _OBJECT}, {"smsTemplate": _OBJECT}
    needed = zip(
        _CHANNELS,
        (email, sms, {**email, **sms}),
        (v1_recipients(email=True), v1_recipients(sms=True), v1_recipients(email=True, sms=True)),
        strict=True,
    )
    forms = []
    for names, templates, recipients in needed:
        form = _with({"notificationChannel": {"enum": names}, **templates}, recipients["properties"])
        forms.append(form)
    return {"anyOf": forms}


def action_needs_resource() -> Shape:
    """An action is for a resource, and not blank; empty counts as absent (http-api 7.7)."""
    said = {"type": "string", "pattern": r"\S"}
    return {
        "anyOf": [
            {"properties": {"resourceAction": _NONE}},
            _with({"resourceId": said, "resourceAction": said}),
        ]
    }


def fallback_needs_preference() -> Shape:
    """Only the channels that prefer one have another to fall back to."""
    return {
        "anyOf": [
            {"properties": {"fallbackOnFailure": {"enum": [False, None]}}},
            _with({"channelSchema": {"enum": _PREFERRED}}),
        ]
    }


def v1_recipients(*, email: bool = False, sms: bool = False) -> Shape:
    """Each has one identifier, or an address that the channel can use; others are not looked at (http-api 7.8)."""
    address = {"type": "string", **_EMAIL}
    person = {"type": "string", "pattern": PERSON_PATTERN}
    organisation = {"type": "string", "pattern": ORGANISATION_PATTERN}
    addresses = {"emailAddress": _NONE, "mobileNumber": _NONE}
    identifiers = {"nationalIdentityNumber": _NONE, "organizationNumber": _NONE}
    forms = [
        _with({"nationalIdentityNumber": person}, {"organizationNumber": _NONE, **addresses}),
        _with({"organizationNumber": organisation}, {"nationalIdentityNumber": _NONE, **addresses}),
    ]
    if email:
        other = {"mobileNumber": {"anyOf": [_NONE, _MOBILE]} if sms else _NO_NUL}
        forms.append(_with({"emailAddress": address}, {**other, **identifiers}))
    if sms:
        other = {"emailAddress": {"anyOf": [_NONE, address]}} if email else {}
        forms.append(_with({"mobileNumber": _MOBILE}, {**other, **identifiers}))
    return {"properties": {"recipients": {"items": {"anyOf": forms}}}}


def _with(required: Shape, optional: Shape | None = None) -> Shape:
    return {"required": list(required), "properties": {**required, **(optional or {})}}
