"""Bodies of requests about what users register for themselves (registries 4.2-4.4)."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

from pydantic import ConfigDict

from varsel.api.bodies import Body, Findings
from varsel.api.fields import OneOf, Text
from varsel.api.profile_shapes import (
    LANGUAGES,
    Code,
    InternationalPhone,
    Language,
    LoosePhone,
    OwnEmail,
    PastTime,
    Resources,
    address_by_type,
    one_address,
)
from varsel.api.rules import NOT_A_MOBILE, NOT_AN_EMAIL
from varsel.recipients.profile.addresses import Change
from varsel.recipients.profile.store import Addresses
from varsel.recipients.profile.values import (
    MAX_PHONE,
    MAX_RESOURCES,
    RESOURCE_PREFIX,
    AddressKind,
    international_phone,
    loose_phone,
    own_email,
    resource_id,
)

NO_ADDRESS: Final = "An email address or a phone number is required."

_SHORTEST, _LONGEST = 5, 320  # address that is verified
_CODE_DIGITS: Final = 6
# the names of `Addresses`, by those of the body
_FIELDS: Final = {"email_address": "email", "phone_number": "phone", "resource_include_list": "resources"}


class _AddressesBody(Body):
    email_address: OwnEmail = None
    phone_number: LoosePhone = None
    resource_include_list: Resources = None

    def check_rules(self, is_phone: Callable[[str], bool], findings: Findings) -> None:
        email, phone = _given(self.email_address), _given(self.phone_number)
        if email and not own_email(email):
            findings.add("EmailAddress", NOT_AN_EMAIL)
        if phone and not is_phone(phone):
            findings.add("PhoneNumber", NOT_A_MOBILE)
        self._check_resources(self.resource_include_list or [], findings)

    def new(self) -> Addresses:
        resources = [bare for urn in self.resource_include_list or [] if (bare := resource_id(urn))]
        return Addresses(_given(self.email_address), _given(self.phone_number), resources)

    def _check_resources(self, urns: list[str], findings: Findings) -> None:
        if len(urns) > MAX_RESOURCES:
            findings.add("ResourceIncludeList", f"There may be {MAX_RESOURCES} resources at most.")
            return
        for index, urn in enumerate(urns):
            if resource_id(urn) is None:
                wrong = f"The value must be {RESOURCE_PREFIX} and an id of a to z, digits, _ and -."
                findings.add(f"ResourceIncludeList[{index}]", wrong)
        if len(set(urns)) < len(urns):
            findings.add("ResourceIncludeList", "A resource stands there twice.")


class PutAddressesBody(_AddressesBody):
    """Replaces everything: what is missing is emptied, and a missing list means all resources."""

    model_config = ConfigDict(json_schema_extra=one_address())

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        self.check_rules(loose_phone, findings)
        if not _given(self.email_address) and not _given(self.phone_number):
            findings.add("EmailAddress", NO_ADDRESS)

    def change(self) -> Change:
        return Change(self.new())


class PatchAddressesBody(_AddressesBody):
    """What is absent stays as it is; null, or blanks, empties. One address must be left."""

    phone_number: InternationalPhone = None

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002
        self.check_rules(international_phone, findings)

    def change(self) -> Change:
        return Change(self.new(), frozenset(_FIELDS[name] for name in _FIELDS.keys() - self.model_fields_set))


class SendCodeBody(Body):
    """The address that shall be verified."""

    model_config = ConfigDict(json_schema_extra=address_by_type(_SHORTEST, _LONGEST))

    value: Text
    type: Annotated[AddressKind, OneOf(AddressKind)]

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002
        self.check_address(findings)

    def check_address(self, findings: Findings) -> None:
        is_email = self.type is AddressKind.EMAIL
        fits = own_email if is_email else loose_phone
        if not _SHORTEST <= len(self.value) <= _LONGEST or not fits(self.value):
            findings.add("Value", NOT_AN_EMAIL if is_email else NOT_A_MOBILE)


class VerifyBody(SendCodeBody):
    """The address, and the code that was sent to it."""

    verification_code: Code

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002
        self.check_address(findings)
        code = self.verification_code
        if not (len(code) == _CODE_DIGITS and code.isascii() and code.isdigit()):
            findings.add("VerificationCode", f"A code has {_CODE_DIGITS} digits.")


class PrivatePhoneBody(Body):
    """Null takes the number away."""

    value: InternationalPhone

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002
        if self.value is not None and not (len(self.value) <= MAX_PHONE and international_phone(self.value)):
            findings.add("Value", NOT_A_MOBILE)


class PreferencesBody(Body):
    """What is absent stays as it is; null empties."""

    language: Language = None
    ignore_unit_profile_date_time: PastTime = None

    async def check(self, now: datetime, findings: Findings) -> None:
        if self.language is not None and self.language not in LANGUAGES:
            findings.add("Language", f"The value must be one of {', '.join(LANGUAGES)}.")
        asked = self.ignore_unit_profile_date_time
        if asked is not None and (asked.tzinfo is None or asked > now):
            findings.add("IgnoreUnitProfileDateTime", "The value must have a time zone, and not lie in the future.")


def _given(address: str | None) -> str | None:
    """Blank counts as none."""
    return (address or "").strip() or None
