"""Trigger endpoints and the demo condition (http-api 17, 19.2).

Triggers wake the workers, who need no waking: they are there for the scheduled jobs of those who come from the
reference (design 8).
"""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from varsel.api.operators import Operators
from varsel.api.parts import ApiParts
from varsel.api.requests import query, require_json
from varsel.api.schemas import Answer
from varsel.wakeup import Work

TRIGGERS: Final = "/notifications/api/v1/trigger"
CONDITION: Final = "/notifications/api/v1/tests/sendcondition"

_WAKES: Final = {
    "pastdueorders": Work.ORDERS,
    "sendemail": Work.NOTIFICATIONS,
    "sendsms": Work.NOTIFICATIONS,
    "sendsmsdaytime": Work.NOTIFICATIONS,
    "sendsmsanytime": Work.NOTIFICATIONS,
    "terminateexpirednotifications": Work.NOTIFICATIONS,
    "deleteoldstatusfeedrecords": Work.FEED,
}


class ConditionAnswer(Answer):
    send_notification: bool


def trigger_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    """They are not in the published document (http-api 22)."""
    operators = Operators(parts.settings)

    def trigger(name: str, work: Work) -> Route:
        async def wake(request: Request) -> Response:
            require_json(request)
            operators.require(request)
            parts.wake(work)
            return Response()

        return Route(f"{TRIGGERS}/{name}", wake, methods=["POST"])

    triggers = [trigger(name, work) for name, work in _WAKES.items()]
    return [*triggers, Route(CONDITION, _condition, methods=["GET"])]


async def _condition(request: Request) -> Response:
    """Whatever the caller wants to hear; what it cannot read is no."""
    require_json(request)
    met = query(request).get("conditionmet", "").strip().lower() == "true"
    return ConditionAnswer(send_notification=met).response()
