"""A user's own number and preferences (registries 4.1, 4.4)."""

import json
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from varsel.api import schemas
from varsel.api.parts import ApiParts
from varsel.api.problems import MEDIA_TYPE, Refusal, generic
from varsel.api.profile_bodies import PreferencesBody, PrivatePhoneBody
from varsel.api.schemas import Instant
from varsel.api.users import Users
from varsel.recipients.profile.private import PhoneSaved, PrivateProfile
from varsel.recipients.profile.store import Preferences

PHONE_PATH: Final = "/profile/api/v1/users/current/notificationsettings/private/phonenumber"
PREFERENCES_PATH: Final = "/profile/api/v1/users/current/profilesettings"


class PreferencesAnswer(schemas.Answer):
    language: str | None = None
    ignore_unit_profile_date_time: Instant | None = None

    @classmethod
    def of(cls, preferences: Preferences) -> "PreferencesAnswer":
        return cls(language=preferences.language, ignore_unit_profile_date_time=preferences.ignored_at)


def private_routes(parts: ApiParts, users: Users) -> Sequence[BaseRoute]:
    routes = _PrivateRoutes(parts, users)
    return [
        Route(PHONE_PATH, routes.put_phone, methods=["PUT"]),
        Route(PREFERENCES_PATH, routes.read_preferences, methods=["GET"]),
        Route(PREFERENCES_PATH, routes.patch_preferences, methods=["PATCH"]),
    ]


class _PrivateRoutes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        self._intake = parts.intake
        self._users = users
        self._profile = PrivateProfile(parts.database, parts.clock)

    async def put_phone(self, request: Request) -> Response:
        async with self._intake.take(request, self._users.require, PrivatePhoneBody) as taken:
            phone = taken.body.value.strip() if taken.body.value else None
            saved = await self._profile.set_phone(taken.caller.required_user(), phone)
        if saved is PhoneSaved.UNKNOWN_USER:
            raise generic(404)
        if saved is PhoneSaved.OTHER_KIND:
            raise Refusal(403)
        return Response(json.dumps({"value": phone}), media_type=MEDIA_TYPE)

    async def read_preferences(self, request: Request) -> Response:
        user = (await self._users.require(request)).required_user()
        return PreferencesAnswer.of(await self._profile.preferences(user)).response()

    async def patch_preferences(self, request: Request) -> Response:
        async with self._intake.take(request, self._users.require, PreferencesBody) as taken:
            body, user = taken.body, taken.caller.required_user()
            preferences = await self._profile.set_preferences(
                user,
                Preferences(body.language, body.ignore_unit_profile_date_time),
                language="language" in body.model_fields_set,
                ignored_at="ignore_unit_profile_date_time" in body.model_fields_set,
            )
        return PreferencesAnswer.of(preferences).response()
