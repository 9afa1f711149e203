"""The official addresses of an organisation, for those who administer it (registries 3.7)."""

import re
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Final

from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.bodies import Body, Findings
from varsel.api.frame import Answers, Endpoint, JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Refusal, generic
from varsel.api.profile_shapes import (
    BadRequest,
    CountryCode,
    NationalPhone,
    OfficialEmail,
    email_or_number,
    organisation_parameter,
    parameter,
)
from varsel.api.rules import NOT_A_MOBILE, NOT_AN_EMAIL
from varsel.api.schemas import Problem
from varsel.api.users import Users
from varsel.domain.address import split_number, valid_mobile
from varsel.issuer import ENDUSER_SCOPE
from varsel.log import Log
from varsel.recipients.profile.values import MAX_EMAIL
from varsel.registry_sync.address_book import AddressBook, Outcome, Result
from varsel.registry_sync.address_book_store import Listed, Value
from varsel.registry_sync.ports import UpstreamError

log = Log(__name__)

PATH: Final = "/profile/api/v1/organizations/{organization_number}/notificationaddresses/mandatory"
RESOURCE: Final = "altinn-profil-api-varslingsdaresser-for-virksomheter"  # spelled so

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+=?^_`{}~-]+"
_LABEL: Final = r"[A-Za-z0-9æøåÆØÅ](?:[A-Za-z0-9æøåÆØÅ-]{0,61}[A-Za-z0-9æøåÆØÅ])?"
_EMAIL: Final = rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.){{1,9}}[A-Za-z]{{2,14}}"
_COUNTRY_CODE: Final = re.compile(r"\+[0-9]{1,3}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_NORWAY: Final = "+47"
_NORWEGIAN_MOBILE: Final = re.compile(r"[49][0-9]{7}")


class AddressBody(Body):
    """Either an email address, or a number with its country code."""

    model_config = ConfigDict(json_schema_extra=email_or_number(_EMAIL))

    email: OfficialEmail = None
    country_code: CountryCode = None
    phone: NationalPhone = None

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        email, code, phone = self._given()
        if bool(email) == bool(phone):
            findings.add("Email", "Exactly one of email and phone is required.")
        elif email:
            if len(self.email or "") > MAX_EMAIL or not re.fullmatch(_EMAIL, email):
                findings.add("Email", NOT_AN_EMAIL)
            if code:
                findings.add("CountryCode", "A country code belongs to a phone number.")
        elif not code or not _COUNTRY_CODE.fullmatch(code):
            findings.add("CountryCode", "A country code like +47 is required.")
        elif not _is_number(code, phone or ""):
            findings.add("Phone", NOT_A_MOBILE)

    def value(self) -> Value:
        email, code, phone = self._given()
        if email:
            return Value("email", email)
        return Value("sms", f"{code}{phone}", code or "", phone or "")

    def _given(self) -> tuple[str | None, str | None, str | None]:
        """Blank is absent."""
        email, code, phone = ((value or "").strip() or None for value in (self.email, self.country_code, self.phone))
        return email, code, phone


def _is_number(code: str, phone: str) -> bool:
    if not _DIGITS.fullmatch(phone) or not valid_mobile(code + phone):
        return False
    return code != _NORWAY or _NORWEGIAN_MOBILE.fullmatch(phone) is not None


async def _told(work: Awaitable[Result]) -> Result:
    """The outcome, or how the register's refusal is answered. Then nothing has been stored."""
    try:
        return await work
    except UpstreamError as e:
        log.warning("register took no change", code=e.code, status=e.status, detail=e.detail)
        if e.code == "invalid_organisation_number":
            problem = generic(400).problem or {}
            raise Refusal(400, {**problem, "title": "Invalid Organization Number"}) from None
        raise generic(502, detail="The register of official addresses did not take the change.") from None


class OfficialAddressAnswer(schemas.Answer):
    notification_address_id: int
    email: str | None = None
    country_code: str | None = None
    phone: str | None = None

    @classmethod
    def of(cls, address: Listed) -> "OfficialAddressAnswer":
        if address.kind == "email":
            return cls(notification_address_id=address.id, email=address.address)
        code, phone = split_number(address.address)
        return cls(notification_address_id=address.id, country_code=code, phone=phone)


class OfficialAddressesAnswer(schemas.Answer):
    organization_number: str
    notification_addresses: tuple[OfficialAddressAnswer, ...]


def organisation_address_routes(parts: ApiParts, users: Users) -> Sequence[BaseRoute]:
    routes = _Routes(parts, users)
    known: Answers = {400: BadRequest, 404: Problem}
    told: Answers = {**known, 200: OfficialAddressAnswer, 202: Problem, 502: Problem}
    organisation = organisation_parameter("organization_number")
    address = parameter("address_id", "path", {"type": "integer", "minimum": 1})

    def route(
        path: str, endpoint: Endpoint, method: str, answers: Answers, body: type[Body] | None = None
    ) -> JsonRoute:
        parameters = [organisation] if path == PATH else [organisation, address]
        tags = ["Official addresses of an organisation"]
        return JsonRoute(
            path,
            endpoint,
            method=method,
            answers=answers,
            body=body,
            parameters=parameters,
            scope=ENDUSER_SCOPE,
            tags=tags,
        )

    one = f"{PATH}/{{address_id}}"
    return [
        route(PATH, routes.list_official_addresses, "GET", {**known, 200: OfficialAddressesAnswer}),
        route(PATH, routes.add_official_address, "POST", {**told, 201: OfficialAddressAnswer}, AddressBody),
        route(one, routes.read_official_address, "GET", {**known, 200: OfficialAddressAnswer}),
        route(one, routes.change_official_address, "PUT", {**told, 409: Problem}, AddressBody),
        route(one, routes.delete_official_address, "DELETE", {**told, 409: Problem}),
    ]


class _Routes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        self._parts = parts
        self._users = users
        self._book = AddressBook(parts.database, parts.clock, parts.reception)

    async def list_official_addresses(self, request: Request) -> Response:
        """The official addresses of an organisation that the user may administer."""
        org_no = await self._permitted(request, "read")
        answers = tuple(OfficialAddressAnswer.of(address) for address in await self._known(org_no))
        return OfficialAddressesAnswer(organization_number=org_no, notification_addresses=answers).response()

    async def read_official_address(self, request: Request) -> Response:
        """One of them."""
        org_no = await self._permitted(request, "read")
        for address in await self._known(org_no):
            if address.id == _address_id(request):
                return OfficialAddressAnswer.of(address).response()
        raise generic(404)

    async def add_official_address(self, request: Request) -> Response:
        """Add an address. One that is there already is answered with 200."""
        async with self._parts.intake.take(request, self._users.require, AddressBody) as taken:
            org_no = await self._may(request, taken.caller.required_user(), "write")
            return self._answer(request, org_no, await _told(self._book.create(org_no, taken.body.value())))

    async def change_official_address(self, request: Request) -> Response:
        """Put another address in its place."""
        async with self._parts.intake.take(request, self._users.require, AddressBody) as taken:
            org_no = await self._may(request, taken.caller.required_user(), "write")
            changed = self._book.change(org_no, _address_id(request), taken.body.value())
            return self._answer(request, org_no, await _told(changed))

    async def delete_official_address(self, request: Request) -> Response:
        """Take an address away. An organisation keeps its last one."""
        org_no = await self._permitted(request, "write")
        return self._answer(request, org_no, await _told(self._book.delete(org_no, _address_id(request))))

    async def _known(self, org_no: str) -> list[Listed]:
        addresses = await self._book.of(org_no)
        if addresses is None:
            raise generic(404)
        return addresses

    async def _permitted(self, request: Request, action: str) -> str:
        return await self._may(request, (await self._users.require(request)).required_user(), action)

    async def _may(self, request: Request, user: int, action: str) -> str:
        """The organisation, if the user may do this for it. Answers 403 otherwise."""
        org_no = str(request.path_params["organization_number"])
        now = self._parts.clock.now()
        if not self._parts.intake.identifiers.is_organisation(org_no):
            raise Refusal(403)
        if not await self._parts.directory.permitted([(org_no, user)], resource_id=RESOURCE, action=action, now=now):
            raise Refusal(403)
        return org_no

    def _answer(self, request: Request, org_no: str, result: Result) -> Response:
        match result:
            case Result(Outcome.NOT_FOUND):
                raise generic(404)
            case Result(Outcome.LAST):
                raise generic(409, detail="An organisation keeps its last address.")
            case Result(Outcome.TAKEN, Listed() as other):
                refusal = generic(409, detail="Another address of the organisation is the same.")
                raise Refusal(409, {**(refusal.problem or {}), "instance": self._path(org_no, other)})
            case Result(Outcome.HEALING):
                detail = "The register has the change; our own copy will show it when the register tells of it."
                type_ = "https://tools.ietf.org/html/rfc9110#section-15.3.3"
                problem = {"type": type_, "title": "Accepted", "status": 202, "detail": detail}
                listed = {"Location": self._parts.base + PATH.format(organization_number=org_no)}
                return Refusal(202, problem, listed).response(request)
            case Result(outcome, Listed() as address):
                created = outcome is Outcome.CREATED
                location = {"Location": self._parts.base + self._path(org_no, address)} if created else None
                return OfficialAddressAnswer.of(address).response(201 if created else 200, location)
        raise AssertionError("every outcome has its answer")

    def _path(self, org_no: str, address: Listed) -> str:
        return f"{PATH.format(organization_number=org_no)}/{address.id}"


def _address_id(request: Request) -> int:
    text = request.path_params["address_id"]
    if not re.fullmatch("[0-9]{1,18}", text):
        raise generic(404)
    return int(text)
