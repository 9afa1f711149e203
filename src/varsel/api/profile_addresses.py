"""The addresses where users want messages that concern their organisations (registries 4.2)."""

from collections.abc import Sequence
from typing import Any, Final, assert_never
from uuid import UUID

from pydantic import ConfigDict, RootModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import Answers, JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, Refusal, generic
from varsel.api.profile_bodies import NO_ADDRESS, PatchAddressesBody, PutAddressesBody
from varsel.api.profile_shapes import BadRequest, organisation_parameter, parameter
from varsel.api.requests import Taken, read_uuid
from varsel.api.schemas import Instant, Problem
from varsel.api.users import Users
from varsel.issuer import ENDUSER_SCOPE
from varsel.recipients.profile.addresses import ProfessionalAddresses, Saved, ShownContact
from varsel.recipients.profile.values import RESOURCE_PREFIX

PATH: Final = "/profile/api/v1/users/current/notificationsettings/parties"
UNVERIFIED: Final = "An address must be verified before it can be used."


class ProfessionalAddressAnswer(schemas.Answer):
    """`organizationNumber` is our addition."""

    user_id: int
    party_uuid: UUID
    organization_number: str
    email_address: str | None = None
    phone_number: str | None = None
    resource_include_list: tuple[str, ...]
    last_changed: Instant | None = None
    needs_confirmation: bool
    email_verification_status: str | None = None
    sms_verification_status: str | None = None

    @classmethod
    def of(cls, user: int, shown: ShownContact) -> "ProfessionalAddressAnswer":
        contact = shown.contact
        return cls(
            user_id=user,
            party_uuid=contact.party,
            organization_number=contact.org_no,
            email_address=contact.email,
            phone_number=contact.phone,
            resource_include_list=tuple(RESOURCE_PREFIX + id_ for id_ in contact.resources),
            last_changed=contact.last_changed,
            needs_confirmation=shown.needs_confirmation,
            email_verification_status=shown.email_standing,
            sms_verification_status=shown.phone_standing,
        )


class ProfessionalAddressesAnswer(RootModel[tuple[ProfessionalAddressAnswer, ...]]):
    model_config = ConfigDict(frozen=True)


def address_routes(parts: ApiParts, users: Users) -> Sequence[BaseRoute]:
    routes = _AddressRoutes(parts, users)
    one = f"{PATH}/{{party_uuid}}"
    party = [parameter("party_uuid", "path", {"type": "string", "format": "uuid"})]
    number = [organisation_parameter("org_number")]
    found: Answers = {200: ProfessionalAddressAnswer, 400: BadRequest, 404: Problem}
    saved: Answers = {201: None, 204: None, 400: BadRequest, 409: Problem, 422: UNVERIFIED}
    common: dict[str, Any] = {"scope": ENDUSER_SCOPE, "tags": ["A user's addresses for organisations"]}
    return [
        JsonRoute(
            PATH,
            routes.list_own_addresses,
            method="GET",
            answers={200: ProfessionalAddressesAnswer, 400: BadRequest},
            **common,
        ),
        JsonRoute(
            f"{PATH}/byorgnumber/{{org_number}}",
            routes.read_own_addresses_by_number,
            method="GET",
            answers=found,
            parameters=number,
            **common,
        ),
        JsonRoute(one, routes.read_own_addresses, method="GET", answers=found, parameters=party, **common),
        JsonRoute(
            one,
            routes.put_own_addresses,
            method="PUT",
            body=PutAddressesBody,
            answers=saved,
            parameters=party,
            **common,
        ),
        JsonRoute(
            one,
            routes.patch_own_addresses,
            method="PATCH",
            body=PatchAddressesBody,
            answers=saved,
            parameters=party,
            **common,
        ),
        JsonRoute(
            one,
            routes.delete_own_addresses,
            method="DELETE",
            answers={200: None, 400: BadRequest, 404: Problem},
            parameters=party,
            **common,
        ),
    ]


class _AddressRoutes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        settings = parts.settings
        self._parts = parts
        self._users = users
        self._addresses = ProfessionalAddresses(
            parts.database, parts.clock, settings.profile, inherit=settings.registry.inherit_from_main_unit
        )

    async def list_own_addresses(self, request: Request) -> Response:
        """What the user has registered, for all organisations."""
        user = (await self._users.require(request)).required_user()
        found = await self._addresses.of_user(user)
        answers = tuple(ProfessionalAddressAnswer.of(user, shown) for shown in found)
        return schemas.respond(ProfessionalAddressesAnswer(answers))

    async def read_own_addresses(self, request: Request) -> Response:
        """What the user has registered for one organisation."""
        user = (await self._users.require(request)).required_user()
        return await self._read(user, await self._represented(user, _party(request)))

    async def read_own_addresses_by_number(self, request: Request) -> Response:
        """The same, by the number of the organisation. The scope for reading settings is enough here."""
        user = (await self._users.require_reader(request)).required_user()
        org_no = str(request.path_params["org_number"])
        await self._require_right(user, org_no)
        return await self._read(user, org_no)

    async def put_own_addresses(self, request: Request) -> Response:
        """Replace what is registered. Each address must have been verified."""
        async with self._parts.intake.take(request, self._users.require, PutAddressesBody) as taken:
            return await self._save(request, taken)

    async def patch_own_addresses(self, request: Request) -> Response:
        """Change what is named. Each address that is named must have been verified."""
        async with self._parts.intake.take(request, self._users.require, PatchAddressesBody) as taken:
            return await self._save(request, taken)

    async def delete_own_addresses(self, request: Request) -> Response:
        """Take everything back. It needs no right: people can do so after they have left."""
        user = (await self._users.require(request)).required_user()
        if not await self._addresses.delete(user, _party(request)):
            raise generic(404)
        return Response(status_code=200)

    async def _save(self, request: Request, taken: Taken[PutAddressesBody] | Taken[PatchAddressesBody]) -> Response:
        user, party = taken.caller.required_user(), _party(request)
        org_no = await self._represented(user, party)
        match await self._addresses.save(user, org_no, taken.body.change()):
            case Saved.CREATED:
                return Response(status_code=201, headers={"Location": f"{self._parts.base}{PATH}/{party}"})
            case Saved.CHANGED:
                return Response(status_code=204)
            case Saved.EMPTY:
                raise Invalid({"EmailAddress": [NO_ADDRESS]})
            case Saved.UNVERIFIED:
                return PlainTextResponse(UNVERIFIED, 422)
            case Saved.OVERTAKEN:
                raise generic(409, detail="The addresses were changed by another request meanwhile.")
            case unreachable:
                assert_never(unreachable)

    async def _read(self, user: int, org_no: str) -> Response:
        found = await self._addresses.of_user(user, org_no)
        if not found:
            raise generic(404)
        return ProfessionalAddressAnswer.of(user, found[0]).response()

    async def _represented(self, user: int, party: UUID) -> str:
        """The party's organisation. Answers 403 when the user may not act for it, or nobody knows it."""
        org_no = await self._addresses.org_of_party(party)
        if org_no is None:
            raise Refusal(403)
        await self._require_right(user, org_no)
        return org_no

    async def _require_right(self, user: int, org_no: str) -> None:
        if not self._parts.intake.identifiers.is_organisation(org_no):
            raise Refusal(403)
        if not await self._addresses.may_represent(user, org_no):
            raise Refusal(403)


def _party(request: Request) -> UUID:
    value = read_uuid(request.path_params["party_uuid"])
    if value is None or value.int == 0:
        raise Invalid({"partyUuid": ["The value is not the UUID of a party."]})
    return value
