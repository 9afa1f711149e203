"""The suppression list over HTTP (channels 6.5): creators see and keep their own entries, operators everybody's.

Addresses travel in bodies, so that they stay out of URLs. Every removal is kept with its time and who asked for it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from varsel.api import schemas
from varsel.api.auth import Caller
from varsel.api.bodies import Body, Findings
from varsel.api.fields import OptionalInstant, RequiredText, check_time
from varsel.api.frame import JsonRoute
from varsel.api.operators import Operators
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.requests import query, read_uuid
from varsel.api.rules import NOT_A_MOBILE, NOT_AN_EMAIL
from varsel.api.schemas import Answer, Instant
from varsel.api.shapes import EmailText, MobileText, Told, exactly_one
from varsel.delivery import suppression_store as store
from varsel.delivery.suppression import Ground, SuppressionKey
from varsel.delivery.suppression_store import Listed
from varsel.domain.address import valid_email, valid_mobile
from varsel.domain.notification import Channel

PATH: Final = "/notifications/api/v1/suppressions"
OPERATORS_PATH: Final = "/notifications/api/v1/operations/suppressions"

_MAX_LISTED: Final = 1_000
_TYPES: Final = {Channel.EMAIL: "Email", Channel.SMS: "SMS"}
_MAX_NAME: Final = 100
_Expiry = Annotated[OptionalInstant, Told({"description": "In the future. Absent: it holds until it is removed."})]


class SuppressedAddressBody(Body):
    """One address: of an email, or a mobile number with its country code."""

    model_config = ConfigDict(json_schema_extra=exactly_one(email_address=["string"], mobile_number=["string"]))

    email_address: EmailText | None = None
    mobile_number: MobileText | None = None

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - no rule here looks at the time
        email, mobile = self.email_address, self.mobile_number
        if (email is None) == (mobile is None):
            findings.add("EmailAddress", "Exactly one of EmailAddress and MobileNumber is required.")
        if email is not None and not valid_email(email):
            findings.add("EmailAddress", NOT_AN_EMAIL)
        if mobile is not None and not valid_mobile(mobile):
            findings.add("MobileNumber", NOT_A_MOBILE)

    @property
    def channel(self) -> Channel:
        return Channel.EMAIL if self.email_address is not None else Channel.SMS

    @property
    def address(self) -> str:
        return self.email_address or self.mobile_number or ""


class SuppressionBody(SuppressedAddressBody):
    """Stops all messages of the creator to the address. The same address again: the new `expires` counts."""

    expires: _Expiry = None

    async def check(self, now: datetime, findings: Findings) -> None:
        await super().check(now, findings)
        check_time(self.expires, now, "Expires", findings)


class OperatorSuppressionBody(SuppressionBody):
    """As a creator's. Without `creator` it stops everybody's messages."""

    creator: RequiredText | None = None


class SuppressionAnswer(Answer):
    """An entry of the list. `scope`: whose messages it stops, `creator` or `global`; `hits`: how many it has stopped.

    With a `provider` it concerns that provider instance alone. `complaint` and `unsubscribe` stop only messages that
    are marked as unsubscribable.
    """

    id: UUID
    channel: str
    address: str
    scope: str
    creator: str | None = None
    provider: str | None = None
    reason: Ground
    source: str
    created: Instant
    expires: Instant | None = None
    hits: int
    last_hit: Instant | None = None
    removed: Instant | None = None
    removed_by: str | None = None

    @classmethod
    def of(cls, entry: Listed) -> "SuppressionAnswer":
        return cls(
            id=entry.id,
            channel=_TYPES[entry.channel],
            address=entry.masked,
            scope="creator" if entry.creator else "global",
            creator=entry.creator,
            provider=entry.provider,
            reason=entry.ground,
            source=entry.source,
            created=entry.created_at,
            expires=entry.expires_at,
            hits=entry.hits,
            last_hit=entry.last_hit_at,
            removed=entry.removed_at,
            removed_by=entry.removed_by,
        )


class SuppressionList(Answer):
    """The newest first. `next`: the value of `before` for more of them."""

    suppressions: tuple[SuppressionAnswer, ...]
    next: UUID | None = None

    @classmethod
    def of(cls, entries: Sequence[Listed], limit: int | None = None) -> "SuppressionList":
        more = entries[-1].id if limit and len(entries) == limit else None
        return cls(suppressions=tuple(SuppressionAnswer.of(entry) for entry in entries), next=more)


def suppression_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    """None where there is no list."""
    key = parts.guard.key
    if key is None:
        return []
    own, all_ = _Own(parts, key), _Operators(parts, key)
    page = [
        {"name": "before", "in": "query", "required": False, "schema": {"type": "string", "format": "uuid"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": _MAX_LISTED},
        },
        {"name": "ended", "in": "query", "required": False, "schema": {"type": "string", "enum": ["true", "false"]}},
    ]
    one = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    listed, one_of_them = {200: SuppressionList}, {200: SuppressionAnswer}
    removed: dict[int, type[Answer] | None] = {200: SuppressionAnswer, 404: schemas.Problem}
    lookup, entry = f"{PATH}/lookup", f"{PATH}/{{id}}"
    common: dict[str, Any] = {"tags": ["Suppression list"]}
    return [
        JsonRoute(PATH, own.list_suppressions, method="GET", answers=listed, parameters=page, **common),
        JsonRoute(PATH, own.add_suppression, method="POST", body=SuppressionBody, answers=one_of_them, **common),
        JsonRoute(
            lookup, own.look_up_suppressions, method="POST", body=SuppressedAddressBody, answers=listed, **common
        ),
        JsonRoute(entry, own.remove_suppression, method="DELETE", answers=removed, parameters=[one], **common),
        # as others of operators, these are not in the published document
        Route(OPERATORS_PATH, all_.list_suppressions, methods=["GET"]),
        Route(OPERATORS_PATH, all_.add_suppression, methods=["POST"]),
        Route(f"{OPERATORS_PATH}/lookup", all_.look_up_suppressions, methods=["POST"]),
        Route(f"{OPERATORS_PATH}/{{id}}", all_.remove_suppression, methods=["DELETE"]),
    ]


class _Suppressions:
    """What both have in common. `creator` None: everybody's entries."""

    def __init__(self, parts: ApiParts, key: SuppressionKey) -> None:
        self._parts = parts
        self._key = key

    async def _list(self, request: Request, creator: str | None) -> Response:
        before, limit, ended = _page(query(request))
        now = self._parts.clock.now()
        async with self._parts.database.reading() as conn:
            found = await store.listed(conn, creator, before=before, limit=limit, ended=ended, now=now)
        return SuppressionList.of(found, limit).response()

    async def _add(self, body: SuppressionBody, creator: str | None, by: str, now: datetime) -> Response:
        made = self._key.entry(
            Ground.MANUAL, body.channel, body.address, creator=None, provider=None, source=by, now=now
        )
        assert made is not None  # the address was checked
        async with self._parts.database.transaction() as conn:
            (added,) = await store.add(conn, [made._replace(creator=creator, expires_at=body.expires)], now=now)
        return SuppressionAnswer.of(added).response()

    async def _look_up(self, body: SuppressedAddressBody, creator: str | None) -> Response:
        found: list[Listed] = []
        if hashed := self._key.hash_of(body.channel, body.address):
            async with self._parts.database.reading() as conn:
                now = self._parts.clock.now()
                found = await store.listed(conn, creator, address_hash=hashed, now=now)
        return SuppressionList.of(found).response()

    async def _remove(self, request: Request, creator: str | None, by: str) -> Response:
        id_ = read_uuid(request.path_params["id"])
        if id_ is None:
            raise Invalid({"id": ["The value is not a valid UUID."]})
        async with self._parts.database.autocommit() as conn:
            removed = await store.remove(conn, id_, creator, by=by, now=self._parts.clock.now())
        if removed is None:
            raise generic(404)
        return SuppressionAnswer.of(removed).response()


class _Own(_Suppressions):
    async def _creator(self, request: Request) -> str:
        return (await self._parts.authenticator.require_create(request)).required_creator()

    async def list_suppressions(self, request: Request) -> Response:
        """Your entries of the suppression list, the newest first. Others' and everybody's are not among them."""
        return await self._list(request, await self._creator(request))

    async def add_suppression(self, request: Request) -> Response:
        """Send nothing more of yours to an address."""
        policy = self._parts.authenticator.require_create
        async with self._parts.intake.take(request, policy, SuppressionBody) as taken:
            return await self._add(taken.body, taken.creator, f"creator {taken.creator}", taken.now)

    async def look_up_suppressions(self, request: Request) -> Response:
        """What stops messages of yours to an address: your own entries, and everybody's."""
        policy = self._parts.authenticator.require_create
        async with self._parts.intake.take(request, policy, SuppressedAddressBody) as taken:
            return await self._look_up(taken.body, taken.creator)

    async def remove_suppression(self, request: Request) -> Response:
        """Remove an entry of yours. What is everybody's, an operator removes."""
        creator = await self._creator(request)
        return await self._remove(request, creator, f"creator {creator}")


class _Operators(_Suppressions):
    def __init__(self, parts: ApiParts, key: SuppressionKey) -> None:
        super().__init__(parts, key)
        self._operators = Operators(parts.settings)

    async def _require(self, request: Request) -> Caller:
        self._operators.require(request)
        return Caller(creator=None, scopes=frozenset(), bearer=False, platform=False)

    async def list_suppressions(self, request: Request) -> Response:
        """All entries, or those of one `creator`."""
        await self._require(request)
        return await self._list(request, query(request).get("creator") or None)

    async def add_suppression(self, request: Request) -> Response:
        """For one creator or for everybody. `operator`: the caller's name, which is kept."""
        async with self._parts.intake.take(request, self._require, OperatorSuppressionBody) as taken:
            return await self._add(taken.body, taken.body.creator, _operator(request), taken.now)

    async def look_up_suppressions(self, request: Request) -> Response:
        async with self._parts.intake.take(request, self._require, SuppressedAddressBody) as taken:
            return await self._look_up(taken.body, None)

    async def remove_suppression(self, request: Request) -> Response:
        """Whosever it is. `operator`: the caller's name, which is kept."""
        await self._require(request)
        return await self._remove(request, None, _operator(request))


def _operator(request: Request) -> str:
    name = query(request).get("operator", "").strip()
    if len(name) > _MAX_NAME:
        raise Invalid({"operator": [f"The value has at most {_MAX_NAME} characters."]})
    return f"operator {name}".strip()


def _page(given: dict[str, str]) -> tuple[UUID | None, int, bool]:
    """`before`, `limit` and `ended`, or every error of them."""
    errors: dict[str, list[str]] = {}
    before = read_uuid(given["before"]) if "before" in given else None
    if "before" in given and before is None:
        errors["before"] = ["The value is not a valid UUID."]
    text = given.get("limit", "100")
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    if not 1 <= limit <= _MAX_LISTED:
        errors["limit"] = [f"The value must be a number from 1 to {_MAX_LISTED}."]
    ended = given.get("ended", "false").lower()
    if ended not in ("true", "false"):
        errors["ended"] = ["The value must be true or false."]
    if errors:
        raise Invalid(errors)
    return before, limit, ended == "true"
