"""Shipments and the status feed (http-api 16). Waiting for the feed to grow (`wait`) is our addition."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import JsonRoute
from varsel.api.future_schemas import FeedAnswer, ShipmentAnswer
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, Refusal, altinn
from varsel.api.requests import query, read_uuid, require_json
from varsel.domain.ids import OrderId
from varsel.settings import FeedSettings
from varsel.status.shipment_store import find_shipment

PATH: Final = "/notifications/api/v1/future/shipment"

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_MAX_SEQ: Final = 2**63 - 1
_ORDERS: Final = {"asc": False, "desc": True, "0": False, "1": True}  # whether the newest come first
_ORDER_BY: Final = {"anyOf": [{"type": "string", "enum": ["asc", "desc"]}, {"type": "integer", "enum": [0, 1]}]}
_REFUSED: Final[dict[int, type[schemas.Answer] | None]] = {400: schemas.ValidationProblem, 401: None, 403: None}


def shipment_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _ShipmentRoutes(parts)
    common: dict[str, Any] = {"method": "GET", "tags": ["Shipments"]}
    id_ = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    one = {200: ShipmentAnswer, **_REFUSED, 404: schemas.Problem}
    feed = {200: FeedAnswer, **_REFUSED, 415: schemas.Problem}
    return [
        JsonRoute(
            f"{PATH}/feed", routes.read_feed, answers=feed, parameters=_feed_parameters(parts.settings.feed), **common
        ),
        JsonRoute(f"{PATH}/{{id}}", routes.get_shipment, answers=one, parameters=[id_], **common),
    ]


class _ShipmentRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create

    async def get_shipment(self, request: Request) -> Response:
        """An order of any kind, and how each of its messages stands now."""
        id_ = read_uuid(request.path_params["id"])
        if id_ is None:  # no such route (http-api 2)
            raise Refusal(404)
        creator = (await self._policy(request)).required_creator()
        async with self._parts.database.reading() as conn:
            found = await find_shipment(conn, creator, OrderId(id_))
        if found is None:
            raise altinn("NOT-00003")
        return (await ShipmentAnswer.of(found)).response()

    async def read_feed(self, request: Request) -> Response:
        """The creator's completed orders, one entry each, and corrections."""
        require_json(request)
        caller = await self._policy(request)
        asked = _read(query(request), self._parts.settings.feed)
        entries = await self._parts.feed.read(
            caller.required_creator(),
            seq=asked.seq,
            limit=asked.limit,
            newest_first=asked.newest_first,
            wait=asked.wait,
            gone=request.is_disconnected,
        )
        return schemas.respond(await FeedAnswer.of(entries))


@dataclass(frozen=True, slots=True)
class _Asked:
    seq: int
    limit: int
    newest_first: bool
    wait: timedelta


def _read(given: dict[str, str], limits: FeedSettings) -> _Asked:
    """Page size and wait are brought within their limits; everything else must be right (http-api 16.2)."""
    errors: dict[str, list[str]] = {}

    def integer(name: str, default: int) -> int:
        text = given.get(name.lower())
        if text is None:
            return default
        text = text.strip()
        if not _INTEGER.fullmatch(text):
            errors[name] = ["The value must be an integer."]
            return default
        digits = text.lstrip("+-").lstrip("0")[:20] or "0"  # of longer ones only the size counts
        return -int(digits) if text.startswith("-") else int(digits)

    seq = integer("Seq", 0)
    limit = integer("PageSize", limits.max_page)
    wait = integer("Wait", 0)
    if not 0 <= seq <= _MAX_SEQ:
        errors["Seq"] = ["The value must be 0 or more, and a 64-bit integer."]
    newest_first = _ORDERS.get(given.get("orderby", "asc").lower())
    if newest_first is None:
        errors["OrderBy"] = ["The value must be asc or desc."]
    if errors:
        raise Invalid(errors)
    most = int(limits.max_wait.total_seconds())
    return _Asked(
        seq, max(1, min(limit, limits.max_page)), bool(newest_first), timedelta(seconds=max(0, min(wait, most)))
    )


def _feed_parameters(limits: FeedSettings) -> list[dict[str, Any]]:
    def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
        return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}

    number = {"type": "integer"}
    wait = int(limits.max_wait.total_seconds())
    return [
        parameter(
            "seq", {**number, "format": "int64", "minimum": 0, "default": 0}, "The last sequence number that was read."
        ),
        parameter("pageSize", {**number, "default": limits.max_page}, f"At most so many; 1 to {limits.max_page}."),
        parameter("orderBy", {**_ORDER_BY, "default": "asc"}, "Oldest or newest first."),
        parameter(
            "wait", {**number, "default": 0}, f"Seconds to wait for an entry when there is none; at most {wait}."
        ),
    ]
