"""The official addresses of an organisation, for those who administer it (registries 3.7)."""

import re
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from varsel.api import schemas
from varsel.api.bodies import Body, Findings
from varsel.api.fields import Text
from varsel.api.parts import ApiParts
from varsel.api.problems import Refusal, generic
from varsel.api.rules import NOT_A_MOBILE, NOT_AN_EMAIL
from varsel.api.users import Users
from varsel.domain.address import split_number, valid_mobile
from varsel.log import Log
from varsel.registry_sync.address_book import AddressBook, Outcome, Result
from varsel.registry_sync.address_book_store import Listed, Value
from varsel.registry_sync.ports import UpstreamError

log = Log(__name__)

PATH: Final = "/profile/api/v1/organizations/{organization_number}/notificationaddresses/mandatory"
RESOURCE: Final = "altinn-profil-api-varslingsdaresser-for-virksomheter"  # spelled so

_MAX_EMAIL: Final = 400
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+=?^_`{}~-]+"
_LABEL: Final = r"[A-Za-z0-9æøåÆØÅ](?:[A-Za-z0-9æøåÆØÅ-]{0,61}[A-Za-z0-9æøåÆØÅ])?"
_EMAIL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.){{1,9}}[A-Za-z]{{2,14}}")
_COUNTRY_CODE: Final = re.compile(r"\+[0-9]{1,3}")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_NORWAY: Final = "+47"
_NORWEGIAN_MOBILE: Final = re.compile(r"[49][0-9]{7}")


class AddressBody(Body):
    """Either an email address, or a number with its country code."""

    email: Text | None = None
    country_code: Text | None = None
    phone: Text | None = None

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        email, code, phone = self._given()
        if bool(email) == bool(phone):
            findings.add("Email", "Exactly one of email and phone is required.")
        elif email:
            if len(email) > _MAX_EMAIL or not _EMAIL.fullmatch(email):
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
    one = f"{PATH}/{{address_id:int}}"
    return [
        Route(PATH, routes.list_all, methods=["GET"]),
        Route(PATH, routes.create, methods=["POST"]),
        Route(one, routes.read, methods=["GET"]),
        Route(one, routes.change, methods=["PUT"]),
        Route(one, routes.delete, methods=["DELETE"]),
    ]


class _Routes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        self._parts = parts
        self._users = users
        self._book = AddressBook(parts.database, parts.clock, parts.reception)

    async def list_all(self, request: Request) -> Response:
        org_no = await self._permitted(request, "read")
        answers = tuple(OfficialAddressAnswer.of(address) for address in await self._known(org_no))
        return OfficialAddressesAnswer(organization_number=org_no, notification_addresses=answers).response()

    async def read(self, request: Request) -> Response:
        org_no = await self._permitted(request, "read")
        for address in await self._known(org_no):
            if address.id == request.path_params["address_id"]:
                return OfficialAddressAnswer.of(address).response()
        raise generic(404)

    async def create(self, request: Request) -> Response:
        async with self._parts.intake.take(request, self._users.require, AddressBody) as taken:
            org_no = await self._may(request, taken.caller.required_user(), "write")
            return self._answer(request, org_no, await _told(self._book.create(org_no, taken.body.value())))

    async def change(self, request: Request) -> Response:
        async with self._parts.intake.take(request, self._users.require, AddressBody) as taken:
            org_no = await self._may(request, taken.caller.required_user(), "write")
            address_id: int = request.path_params["address_id"]
            return self._answer(request, org_no, await _told(self._book.change(org_no, address_id, taken.body.value())))

    async def delete(self, request: Request) -> Response:
        org_no = await self._permitted(request, "write")
        return self._answer(request, org_no, await _told(self._book.delete(org_no, request.path_params["address_id"])))

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
                return Refusal(202, {"title": "Accepted", "status": 202, "detail": detail}).response(request)
            case Result(outcome, Listed() as address):
                created = outcome is Outcome.CREATED
                location = {"Location": self._parts.base + self._path(org_no, address)} if created else None
                return OfficialAddressAnswer.of(address).response(201 if created else 200, location)
        raise AssertionError("every outcome has its answer")

    def _path(self, org_no: str, address: Listed) -> str:
        return f"{PATH.format(organization_number=org_no)}/{address.id}"
