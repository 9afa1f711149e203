"""Users show that an address is theirs (registries 4.3)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from pydantic import ConfigDict, RootModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import Answers, JsonRoute
from varsel.api.pace import Pace
from varsel.api.parts import ApiParts
from varsel.api.problems import generic, too_many
from varsel.api.profile_bodies import SendCodeBody, VerifyBody
from varsel.api.profile_shapes import BadRequest, CodeRefused, TooOften
from varsel.api.schemas import Problem
from varsel.api.users import Users
from varsel.issuer import ENDUSER_SCOPE
from varsel.recipients.profile.verification import Sent, TooSoon, Verification

PATH: Final = "/profile/api/v1/users/current/verification"

_TRIES: Final = 10
_TRIES_WITHIN: Final = timedelta(minutes=1)


class VerifiedAddressAnswer(schemas.Answer):
    value: str
    type: str


class VerifiedAddressesAnswer(RootModel[tuple[VerifiedAddressAnswer, ...]]):
    model_config = ConfigDict(frozen=True)


def verification_routes(parts: ApiParts, users: Users) -> Sequence[BaseRoute]:
    routes = _VerificationRoutes(parts, users)
    listed: Answers = {200: VerifiedAddressesAnswer, 400: BadRequest}
    done: Answers = {204: None, 400: BadRequest, 422: CodeRefused, 429: TooOften}
    common: dict[str, Any] = {"scope": ENDUSER_SCOPE, "tags": ["Verification of a user's addresses"]}
    return [
        JsonRoute(f"{PATH}/verified-addresses", routes.list_verified, method="GET", answers=listed, **common),
        JsonRoute(
            f"{PATH}/send",
            routes.send_code,
            method="POST",
            body=SendCodeBody,
            answers={**done, 500: Problem},
            **common,
        ),
        JsonRoute(f"{PATH}/verify", routes.verify_code, method="POST", body=VerifyBody, answers=done, **common),
    ]


class _VerificationRoutes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        settings = parts.settings
        self._intake = parts.intake
        self._users = users
        self._pace = Pace(_TRIES, _TRIES_WITHIN)
        self._verification = Verification(
            parts.database, parts.clock, settings.profile, settings.senders, parts.place_instant
        )

    async def list_verified(self, request: Request) -> Response:
        """The addresses that the user has shown to be theirs."""
        user = (await self._users.require(request)).required_user()
        found = await self._verification.verified(user)
        answers = tuple(VerifiedAddressAnswer(value=address, type=kind) for kind, address in found)
        return schemas.respond(VerifiedAddressesAnswer(answers))

    async def send_code(self, request: Request) -> Response:
        """Send a code to the address. It is valid for 15 minutes; a new one ends it."""
        async with self._intake.take(request, self._users.require_identified, SendCodeBody) as taken:
            user, body = taken.caller.required_user(), taken.body
            sent = await self._verification.send(user, body.type, body.value)
        if isinstance(sent, TooSoon):
            raise too_many(sent.retry_after)
        if sent is Sent.ALREADY_VERIFIED:
            raise generic(422, detail="The address is verified already.")
        if sent is Sent.NOT_ORDERED:
            raise generic(500, detail="The message with the code could not be sent. Ask for a new code in a minute.")
        return Response(status_code=204)

    async def verify_code(self, request: Request) -> Response:
        """Take the code, as the user has read it: the address counts as verified from now on."""
        async with self._intake.take(request, self._users.require_identified, VerifyBody) as taken:
            user, body = taken.caller.required_user(), taken.body
            if wait := self._pace.take(user):
                raise too_many(wait)
            if not await self._verification.verify(user, body.type, body.value, body.verification_code):
                raise generic(422, detail="The code is wrong, too old, or has been tried too often.")
        return Response(status_code=204)
