"""Support's look-ups by recipient (http-api 20), and the creator's notification log by dialog (processing 9.3).

Identifiers of recipients travel in headers, so that they stay out of URLs and of what is logged about them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.fields import ContractInstant
from varsel.api.frame import JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid
from varsel.api.requests import header, query
from varsel.api.rules import NOT_A_PERSON, NOT_AN_ORGANISATION, is_organisation, is_person
from varsel.api.support_schemas import LogAnswer, SupportAnswer
from varsel.domain.identifiers import subject_key
from varsel.issuer import DASHBOARD_SCOPE
from varsel.status.support import SubjectKind
from varsel.status.support_store import find_by_subject, find_log

DASHBOARD: Final = "/notifications/api/v1/future/dashboard/recipients/notifications"
LOG: Final = "/notifications/api/v1/future/log"

_WEEK: Final = timedelta(days=7)
_YEARS: Final = 10
_INSTANT: Final = TypeAdapter[datetime](ContractInstant)
_REFUSED: Final[dict[int, type[schemas.Answer] | None]] = {400: schemas.ValidationProblem, 401: None, 403: None}


def support_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _SupportRoutes(parts)
    found = {200: SupportAnswer, **_REFUSED}
    range_ = [_parameter("from", "query", format="date-time"), _parameter("to", "query", format="date-time")]
    person = [_parameter("NationalIdentityNumber", "header", required=True, pattern="^[0-9]{11}$"), *range_]
    organisation = [_parameter("OrganizationNumber", "header", required=True, pattern="^[0-9]{9}$"), *range_]
    log = [_parameter("dialogId", "query"), _parameter("transmissionId", "query")]
    common: dict[str, Any] = {"method": "GET", "tags": ["Support"]}
    return [
        JsonRoute(
            f"{DASHBOARD}/nin", routes.find_by_person, answers=found, parameters=person, scope=DASHBOARD_SCOPE, **common
        ),
        JsonRoute(
            f"{DASHBOARD}/orgnumber",
            routes.find_by_organisation,
            answers=found,
            parameters=organisation,
            scope=DASHBOARD_SCOPE,
            **common,
        ),
        JsonRoute(LOG, routes.read_log, answers={200: LogAnswer, **_REFUSED}, parameters=log, **common),
    ]


def _parameter(name: str, place: str, *, required: bool = False, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string", **schema}}


class _SupportRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    async def find_by_person(self, request: Request) -> Response:
        """What any creator has sent to a person, newest first. Direct addresses are not found."""
        await self._parts.authenticator.require_dashboard(request)
        person, start, end = self._read(request, "NationalIdentityNumber", is_person, NOT_A_PERSON)
        return await self._find(SubjectKind.PERSON, person, start, end)

    async def find_by_organisation(self, request: Request) -> Response:
        """What any creator has sent to an organisation, newest first."""
        await self._parts.authenticator.require_dashboard(request)
        number, start, end = self._read(request, "OrganizationNumber", is_organisation, NOT_AN_ORGANISATION)
        return await self._find(SubjectKind.ORGANISATION, number, start, end)

    async def read_log(self, request: Request) -> Response:
        """The notifications of the creator's completed orders that belong to a dialog or a transmission."""
        caller = await self._parts.authenticator.require_create(request)
        given = query(request)
        dialog, transmission = (given.get(name, "").strip() or None for name in ("dialogid", "transmissionid"))
        if dialog is None and transmission is None:
            raise Invalid({"dialogId": ["dialogId or transmissionId is required."]})
        async with self._parts.database.reading() as conn:
            entries = await find_log(conn, caller.required_creator(), dialog_id=dialog, transmission_id=transmission)
        return schemas.respond(LogAnswer.of(entries))

    async def _find(self, kind: SubjectKind, identifier: str, start: datetime, end: datetime) -> Response:
        async with self._parts.database.reading() as conn:
            orders = await find_by_subject(conn, kind, subject_key(identifier), start=start, end=end)
        return schemas.respond(SupportAnswer.of(orders, kind, identifier))

    def _read(
        self, request: Request, name: str, is_valid: Callable[[str], bool], wrong: str
    ) -> tuple[str, datetime, datetime]:
        """The identifier and the range of requested send times, or every error of them."""
        errors: dict[str, list[str]] = {}
        identifier = (header(request, name.lower().encode()) or b"").decode("latin-1").strip()
        if not is_valid(identifier):
            errors[name] = [wrong]
        start, end = _range(query(request), self._parts.clock.now(), errors)
        if errors:
            raise Invalid(errors)
        return identifier, start, end


def _range(given: dict[str, str], now: datetime, errors: dict[str, list[str]]) -> tuple[datetime, datetime]:
    """`from` and `to` with their defaults, the last week; what is wrong goes into `errors`."""
    start, end = (_instant(name, given, now, errors) for name in ("from", "to"))
    if start is not None and start < _years_before(now):
        errors.setdefault("from", []).append(f"The value must lie within the last {_YEARS} years.")
    if start is not None and end is not None and start >= end:
        errors.setdefault("from", []).append("from must lie before to.")
    if start is None and end is not None and end <= now - _WEEK:
        errors.setdefault("to", []).append("Without from, to must lie within the last seven days.")
    return start or now - _WEEK, end or now


def _instant(name: str, given: dict[str, str], now: datetime, errors: dict[str, list[str]]) -> datetime | None:
    if name not in given:
        return None
    try:
        instant = _INSTANT.validate_python(given[name].replace(" ", "+"))  # a plus sign that was not escaped
    except ValidationError:
        instant = None
    if instant is None or instant.tzinfo is None:
        errors[name] = ["The value must be a date-time with a time zone, like 2030-01-31T12:00:00Z."]
        return None
    if instant > now:
        errors[name] = ["The value must not lie in the future."]
    return instant


def _years_before(now: datetime) -> datetime:
    try:
        return now.replace(year=now.year - _YEARS)
    except ValueError:  # 29 February
        return now.replace(year=now.year - _YEARS, day=28)
