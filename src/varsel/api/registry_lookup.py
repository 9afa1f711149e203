"""What the registers know of somebody, for a support desk: masked, unless a reason is given (design 4, registries 1.8).

Every call is written to the log of look-ups.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.bodies import Body, Findings
from varsel.api.fields import ANY_TEXT, RequiredText, Text
from varsel.api.frame import JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.schemas import Instant
from varsel.api.shapes import Shape, Told
from varsel.issuer import SUPPORT_SCOPE
from varsel.recipients.ports import UserContact
from varsel.recipients.profile.access import AccessLog, Seen
from varsel.recipients.profile.known import Known, PartyKind, find, masked
from varsel.recipients.profile.values import RESOURCE_PREFIX

PATH: Final = "/registry/api/v1/lookup"
MAX_IDENTIFIERS: Final = 100
MAX_REASON: Final = 200

_REASON: Final[Shape] = {
    "anyOf": [
        {"properties": {"reveal": {"const": False}}},
        {"required": ["reason"], "properties": {"reason": {"type": "string", "pattern": r"\S"}}},
    ]
}


class LookupBody(Body):
    """`reveal` needs a `reason`, such as the number of a case."""

    model_config = ConfigDict(json_schema_extra=_REASON)

    identifiers: Annotated[list[RequiredText], Told({"minItems": 1, "maxItems": MAX_IDENTIFIERS})]
    resource_id: Text | None = None
    reveal: bool = False
    reason: Annotated[Text | None, Told({"type": ["string", "null"], "pattern": ANY_TEXT, "maxLength": MAX_REASON})] = (
        None
    )

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule looks at the time
        if not 1 <= len(self.identifiers) <= MAX_IDENTIFIERS:
            findings.add("Identifiers", f"There must be 1 to {MAX_IDENTIFIERS} identifiers.")
        reason = self.reason or ""
        if self.reveal and not reason.strip():
            findings.add("Reason", "A reason is required to see what is masked.")
        if len(reason) > MAX_REASON:
            findings.add("Reason", f"A reason has {MAX_REASON} characters at most.")


class UserAnswer(schemas.Answer):
    user_id: int
    email: str | None = None
    mobile: str | None = None

    @classmethod
    def of(cls, user: UserContact) -> "UserAnswer":
        return cls(user_id=user.user_id, email=user.email, mobile=user.mobile)


class KnownAnswer(schemas.Answer):
    """`found` is false for who is unknown. `source` wrote our record, and `changedAt` that last changed.

    `emailConfirmedAt`, `mobileConfirmedAt`: when the owner last changed or confirmed the address.
    """

    identifier: str
    kind: str
    found: bool
    name: str | None = None
    is_reserved: bool | None = None
    emails: tuple[str, ...] | None = None
    email_is_stale: bool | None = None
    email_confirmed_at: Instant | None = None
    mobiles: tuple[str, ...] | None = None
    mobile_is_stale: bool | None = None
    mobile_confirmed_at: Instant | None = None
    address_origin: str | None = None
    users: tuple[UserAnswer, ...] | None = None
    source: str | None = None
    changed_at: Instant | None = None

    @classmethod
    def of(cls, known: Known) -> "KnownAnswer":
        record = known.record
        person = known.found and known.kind is PartyKind.PERSON
        return cls(
            identifier=known.identifier,
            kind=known.kind,
            found=known.found,
            name=known.name,
            is_reserved=known.reserved,
            emails=known.emails if known.found else None,
            email_is_stale=known.email_stale if person else None,
            email_confirmed_at=record.email_fresh_at if record else None,
            mobiles=known.mobiles if known.found else None,
            mobile_is_stale=known.mobile_stale if person else None,
            mobile_confirmed_at=record.mobile_fresh_at if record else None,
            address_origin=known.origin,
            users=tuple(map(UserAnswer.of, known.users)) or None,
            source=record.source if record else None,
            changed_at=record.changed_at if record else None,
        )


class LookupAnswer(schemas.Answer):
    """One for each identifier, in the order in which they were asked for."""

    known: tuple[KnownAnswer, ...]


def lookup_routes(parts: ApiParts, log: AccessLog) -> Sequence[BaseRoute]:
    route = JsonRoute(
        PATH,
        _LookupRoute(parts, log).look_up,
        method="POST",
        body=LookupBody,
        answers={200: LookupAnswer},
        scope=SUPPORT_SCOPE,
        tags=["Registers"],
    )
    return [route]


class _LookupRoute:
    def __init__(self, parts: ApiParts, log: AccessLog) -> None:
        self._parts = parts
        self._log = log

    async def look_up(self, request: Request) -> Response:
        """What the registers know of persons, organisations and users. It is masked, unless a reason is given."""
        parts = self._parts
        async with parts.intake.take(request, parts.authenticator.require_support, LookupBody) as taken:
            body, began = taken.body, time.monotonic()
            asked = [identifier.strip() for identifier in body.identifiers]
            resource = (body.resource_id or "").strip().removeprefix(RESOURCE_PREFIX) or None
            known = await find(parts.directory, asked, parts.intake.identifiers, resource_id=resource, now=taken.now)
            await self._log.write(
                Seen(
                    taken.caller.actor,
                    "lookup",
                    asked=len(asked),
                    found=sum(entry.found for entry in known),
                    took=timedelta(seconds=time.monotonic() - began),
                    persons=[entry.identifier for entry in known if entry.kind is not PartyKind.ORGANISATION],
                    revealed=body.reveal,
                    reason=(body.reason or "").strip() or None,
                )
            )
        shown = known if body.reveal else [masked(entry) for entry in known]
        return LookupAnswer(known=tuple(map(KnownAnswer.of, shown))).response()
