"""A user's own number and preferences (registries 4.1, 4.4)."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import Answers, JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import MEDIA_TYPE, Refusal, generic
from varsel.api.profile_bodies import PreferencesBody, PrivatePhoneBody
from varsel.api.profile_shapes import BadRequest
from varsel.api.schemas import Instant, Problem
from varsel.api.shapes import Told
from varsel.api.users import Users
from varsel.issuer import ENDUSER_SCOPE
from varsel.recipients.profile.private import PhoneSaved, PrivateProfile
from varsel.recipients.profile.store import Preferences

PHONE_PATH: Final = "/profile/api/v1/users/current/notificationsettings/private/phonenumber"
PREFERENCES_PATH: Final = "/profile/api/v1/users/current/profilesettings"


class PhoneAnswer(schemas.Answer):
    """The only answer that holds a null: then there is no number."""

    value: Annotated[str | None, Told({"type": ["string", "null"]})]


class PreferencesAnswer(schemas.Answer):
    language: str | None = None
    ignore_unit_profile_date_time: Instant | None = None

    @classmethod
    def of(cls, preferences: Preferences) -> "PreferencesAnswer":
        return cls(language=preferences.language, ignore_unit_profile_date_time=preferences.ignored_at)


def private_routes(parts: ApiParts, users: Users) -> Sequence[BaseRoute]:
    routes = _PrivateRoutes(parts, users)
    kept: Answers = {200: PhoneAnswer, 400: BadRequest, 404: Problem}
    shown: Answers = {200: PreferencesAnswer, 400: BadRequest}
    common: dict[str, Any] = {"scope": ENDUSER_SCOPE, "tags": ["A user's own settings"]}
    return [
        JsonRoute(PHONE_PATH, routes.put_phone, method="PUT", body=PrivatePhoneBody, answers=kept, **common),
        JsonRoute(PREFERENCES_PATH, routes.read_preferences, method="GET", answers=shown, **common),
        JsonRoute(
            PREFERENCES_PATH,
            routes.patch_preferences,
            method="PATCH",
            body=PreferencesBody,
            answers=shown,
            **common,
        ),
    ]


class _PrivateRoutes:
    def __init__(self, parts: ApiParts, users: Users) -> None:
        self._intake = parts.intake
        self._users = users
        self._profile = PrivateProfile(parts.database, parts.clock)

    async def put_phone(self, request: Request) -> Response:
        """Set the number of a user whom no register of persons knows. Others are answered 403."""
        async with self._intake.take(request, self._users.require, PrivatePhoneBody) as taken:
            phone = taken.body.value.strip() if taken.body.value else None
            saved = await self._profile.set_phone(taken.caller.required_user(), phone)
        if saved is PhoneSaved.UNKNOWN_USER:
            raise generic(404)
        if saved is PhoneSaved.OTHER_KIND:
            raise Refusal(403)
        return Response(PhoneAnswer(value=phone).model_dump_json(), media_type=MEDIA_TYPE)

    async def read_preferences(self, request: Request) -> Response:
        """The language of messages, and since when the user does not want to be asked to confirm addresses."""
        user = (await self._users.require(request)).required_user()
        return PreferencesAnswer.of(await self._profile.preferences(user)).response()

    async def patch_preferences(self, request: Request) -> Response:
        """Change what is named."""
        async with self._intake.take(request, self._users.require, PreferencesBody) as taken:
            body, user = taken.body, taken.caller.required_user()
            preferences = await self._profile.set_preferences(
                user,
                Preferences(body.language, body.ignore_unit_profile_date_time),
                language="language" in body.model_fields_set,
                ignored_at="ignore_unit_profile_date_time" in body.model_fields_set,
            )
        return PreferencesAnswer.of(preferences).response()
