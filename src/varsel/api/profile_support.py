"""What a support desk looks up about contact data (registries 4.8). Every call is written to the log of look-ups.

What is sought travels in headers, so that it does not land in the logs of proxies.
"""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.auth import Caller
from varsel.api.frame import Endpoint, JsonRoute, Parameter
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.profile_shapes import organisation_parameter, parameter
from varsel.api.requests import header
from varsel.api.rules import wrong_person
from varsel.api.schemas import Instant, Problem
from varsel.api.shapes import PERSON_PATTERN
from varsel.db import ReadConn
from varsel.domain.identifiers import subject_key
from varsel.issuer import SUPPORT_SCOPE
from varsel.recipients.names import person_name
from varsel.recipients.profile import support_store
from varsel.recipients.profile.access import AccessLog, Seen
from varsel.recipients.profile.support_store import Colleague, OfficialAddress, Person
from varsel.recipients.profile.values import RESOURCE_PREFIX

T = TypeVar("T")

PATH: Final = "/profile/api/v1/dashboard"
MAX_FOUND: Final = 1_000

_PHONE: Final = re.compile(r"[0-9]{5,15}")
_COUNTRY: Final = re.compile(r"\+[0-9]{1,3}")
_NORWAY: Final = "+47"


class FoundAddressAnswer(schemas.Answer):
    """`sourceOrgNumber` owns the address: the main unit, where that stands in for the one that was asked for."""

    notification_address_id: int
    email: str | None = None
    phone: str | None = None
    requested_org_number: str
    source_org_number: str
    last_changed: Instant

    @classmethod
    def of(cls, address: OfficialAddress) -> "FoundAddressAnswer":
        return cls(
            notification_address_id=address.id,
            email=address.address if address.kind == "email" else None,
            phone=address.address if address.kind == "sms" else None,
            requested_org_number=address.requested,
            source_org_number=address.source,
            last_changed=address.changed_at,
        )


class ColleagueAnswer(schemas.Answer):
    national_identity_number: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    organization_number: str
    resource_include_list: tuple[str, ...]
    last_changed: Instant | None = None

    @classmethod
    def of(cls, colleague: Colleague) -> "ColleagueAnswer":
        name = person_name(colleague.first_name, colleague.middle_name, colleague.last_name)
        return cls(
            national_identity_number=colleague.person,
            name=name or None,
            email=colleague.email,
            phone=colleague.phone,
            organization_number=colleague.org_no,
            resource_include_list=tuple(RESOURCE_PREFIX + id_ for id_ in colleague.resources),
            last_changed=colleague.last_changed,
        )


class PersonAnswer(schemas.Answer):
    national_identity_number: str | None = None
    user_name: str | None = None
    is_reserved: bool
    email: str | None = None
    email_last_updated: Instant | None = None
    email_last_verified: Instant | None = None
    phone: str | None = None
    phone_last_updated: Instant | None = None
    phone_last_verified: Instant | None = None
    language: str | None = None

    @classmethod
    def of(cls, person: Person) -> "PersonAnswer":
        return cls(
            national_identity_number=person.person,
            user_name=person.username,
            is_reserved=person.reserved,
            email=person.email,
            email_last_updated=person.email_updated_at,
            email_last_verified=person.email_verified_at,
            phone=person.mobile,
            phone_last_updated=person.mobile_updated_at,
            phone_last_verified=person.mobile_verified_at,
            language=person.language,
        )


class FoundAddressesAnswer(RootModel[tuple[FoundAddressAnswer, ...]]):
    model_config = ConfigDict(frozen=True)


class ColleaguesAnswer(RootModel[tuple[ColleagueAnswer, ...]]):
    model_config = ConfigDict(frozen=True)


class PeopleAnswer(RootModel[tuple[PersonAnswer, ...]]):
    model_config = ConfigDict(frozen=True)


def support_routes(parts: ApiParts, log: AccessLog) -> Sequence[BaseRoute]:
    routes = _SupportRoutes(parts, log)
    number, email = [organisation_parameter("org_number")], [_header_parameter("emailAddress", r"\S")]
    phone = [
        _header_parameter("phoneNumber", f"^{_PHONE.pattern}$"),
        _header_parameter("countrycode", f"^{_COUNTRY.pattern}$", required=False, format="country-code"),
    ]
    person = [_header_parameter("nationalIdentityNumber", PERSON_PATTERN)]

    def route(path: str, endpoint: Endpoint, model: type[BaseModel], parameters: Sequence[Parameter]) -> JsonRoute:
        return JsonRoute(
            f"{PATH}/{path}",
            endpoint,
            method="GET",
            answers={200: model, 404: Problem},
            parameters=parameters,
            scope=SUPPORT_SCOPE,
            tags=["Support of registers"],
        )

    official, own, people = "notificationaddresses", "contactinformation", "users/contactinformation"
    return [
        route(f"organizations/{official}/email", routes.find_addresses_by_email, FoundAddressesAnswer, email),
        route(f"organizations/{official}/phonenumber", routes.find_addresses_by_phone, FoundAddressesAnswer, phone),
        route(
            f"organizations/{{org_number}}/{official}",
            routes.find_addresses_of_organisation,
            FoundAddressesAnswer,
            number,
        ),
        route(f"organizations/{own}/email", routes.find_colleagues_by_email, ColleaguesAnswer, email),
        route(f"organizations/{own}/phonenumber", routes.find_colleagues_by_phone, ColleaguesAnswer, phone),
        route(f"organizations/{{org_number}}/{own}", routes.find_colleagues_of_organisation, ColleaguesAnswer, number),
        route(people, routes.find_person, PersonAnswer, person),
        route(f"{people}/email", routes.find_people_by_email, PeopleAnswer, email),
    ]


def _header_parameter(name: str, pattern: str, *, required: bool = True, **schema: str) -> Parameter:
    return parameter(name, "header", {"type": "string", "pattern": pattern, **schema}, required=required)


class _SupportRoutes:
    def __init__(self, parts: ApiParts, log: AccessLog) -> None:
        self._parts = parts
        self._log = log
        self._policy = parts.authenticator.require_support

    async def find_addresses_of_organisation(self, request: Request) -> Response:
        """The official addresses, of the main unit where that stands in."""
        caller = await self._policy(request)
        org_no = self._organisation(request)
        return await self._official(caller, lambda conn: support_store.addresses_of(conn, org_no))

    async def find_addresses_by_email(self, request: Request) -> Response:
        """The official addresses of all organisations that have this email address."""
        caller = await self._policy(request)
        email = _header(request, "emailAddress").lower()
        return await self._official(
            caller, lambda conn: support_store.addresses_with(conn, "email", [email], limit=MAX_FOUND)
        )

    async def find_addresses_by_phone(self, request: Request) -> Response:
        """The official addresses of all organisations that have this number."""
        caller = await self._policy(request)
        numbers = _numbers(request)
        return await self._official(
            caller, lambda conn: support_store.addresses_with(conn, "sms", numbers, limit=MAX_FOUND)
        )

    async def find_colleagues_of_organisation(self, request: Request) -> Response:
        """The users who have registered addresses for the organisation."""
        caller = await self._policy(request)
        org_no = self._organisation(request)
        return await self._colleagues(
            caller, lambda conn: support_store.colleagues(conn, org_no=org_no, limit=MAX_FOUND)
        )

    async def find_colleagues_by_email(self, request: Request) -> Response:
        """The users who have registered this email address for an organisation."""
        caller = await self._policy(request)
        email = _header(request, "emailAddress").lower()
        return await self._colleagues(caller, lambda conn: support_store.colleagues(conn, email=email, limit=MAX_FOUND))

    async def find_colleagues_by_phone(self, request: Request) -> Response:
        """The users who have registered this number for an organisation."""
        caller = await self._policy(request)
        phones = _numbers(request)
        return await self._colleagues(
            caller, lambda conn: support_store.colleagues(conn, phones=phones, limit=MAX_FOUND)
        )

    async def find_person(self, request: Request) -> Response:
        """What the contact register holds about one person."""
        caller = await self._policy(request)
        number = _header(request, "nationalIdentityNumber")
        if wrong := wrong_person(number, self._parts.intake.identifiers):
            raise Invalid({"nationalIdentityNumber": [wrong]})
        began = time.monotonic()
        async with self._parts.database.reading() as conn:
            found = await support_store.person(conn, subject_key(number))
        await self._write(caller, "person", began, int(found is not None), [number])
        if found is None:
            raise generic(404)
        return PersonAnswer.of(found).response()

    async def find_people_by_email(self, request: Request) -> Response:
        """Everybody whose registered address this is."""
        caller = await self._policy(request)
        email = _header(request, "emailAddress").lower()
        began = time.monotonic()
        async with self._parts.database.reading() as conn:
            found = await support_store.people_with(conn, email, limit=MAX_FOUND)
        await self._write(caller, "people-by-email", began, len(found), [p.person for p in found if p.person])
        return schemas.respond(PeopleAnswer(tuple(map(PersonAnswer.of, found))))

    def _organisation(self, request: Request) -> str:
        """What is no number of an organisation is nobody's."""
        number = str(request.path_params["org_number"])
        if not self._parts.intake.identifiers.is_organisation(number):
            raise generic(404)
        return number

    async def _official(self, caller: Caller, look: Callable[[ReadConn], Awaitable[list[OfficialAddress]]]) -> Response:
        began = time.monotonic()
        async with self._parts.database.reading() as conn:
            found = await look(conn)
        await self._write(caller, "organisation-addresses", began, len(found))
        if not found:
            raise generic(404)
        return schemas.respond(FoundAddressesAnswer(tuple(map(FoundAddressAnswer.of, found))))

    async def _colleagues(self, caller: Caller, look: Callable[[ReadConn], Awaitable[list[Colleague]]]) -> Response:
        began = time.monotonic()
        async with self._parts.database.reading() as conn:
            found = await look(conn)
        await self._write(caller, "user-addresses", began, len(found), [c.person for c in found if c.person])
        if not found:
            raise generic(404)
        return schemas.respond(ColleaguesAnswer(tuple(map(ColleagueAnswer.of, found))))

    async def _write(self, caller: Caller, kind: str, began: float, found: int, persons: Sequence[str] = ()) -> None:
        took = timedelta(seconds=time.monotonic() - began)
        await self._log.write(Seen(caller.actor, kind, 1, found, took, persons))


def _header(request: Request, name: str) -> str:
    """What is sought. Addresses may hold letters beyond ASCII, as UTF-8."""
    value = (header(request, name.lower().encode()) or b"").decode("utf-8", "replace").strip()
    if not value:
        raise Invalid({name: ["A value is required."]})
    return value


def _numbers(request: Request) -> list[str]:
    """The number with its country code, and, of Norway, as some registers have it: without."""
    number = _header(request, "phoneNumber")
    country = (header(request, b"countrycode") or _NORWAY.encode()).decode("latin-1").strip()
    if not _PHONE.fullmatch(number):
        raise Invalid({"phoneNumber": ["A number has 5 to 15 digits, without its country code."]})
    if not _COUNTRY.fullmatch(country):
        raise Invalid({"countrycode": ["A country code is + and up to three digits."]})
    return [country + number, number] if country == _NORWAY else [country + number]
