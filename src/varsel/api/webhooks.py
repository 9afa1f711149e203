"""Webhooks, as their owners manage them (channels 7). All of it is our addition."""

from collections.abc import Awaitable, Sequence
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.frame import Answers, JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.requests import query, read_uuid
from varsel.api.webhook_bodies import (
    DeliveryList,
    ReplayBody,
    WebhookAnswer,
    WebhookBody,
    WebhookList,
    WebhookSecretAnswer,
)
from varsel.domain.errors import Rejected
from varsel.domain.ids import WebhookId
from varsel.webhooks.owner import NoSuchWebhook, Owners
from varsel.webhooks.owner_store import Wish
from varsel.wiring import webhook_addresses

PATH: Final = "/notifications/api/v1/future/webhooks"
MAX_LISTED: Final = 100

_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_PAGE: Final = {
    "name": "pageSize",
    "in": "query",
    "required": False,
    "schema": {"type": "integer", "default": MAX_LISTED},
    "description": f"At most so many; 1 to {MAX_LISTED}.",
}
T = TypeVar("T")


def webhook_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _WebhookRoutes(parts)
    common: dict[str, Any] = {"tags": ["Webhooks"]}
    one: dict[str, Any] = {**common, "parameters": [_ID]}
    created: Answers = {201: WebhookSecretAnswer, 409: schemas.Problem}
    shown, asked, secret, listed, gone = (
        _or_missing(status, model)
        for status, model in (
            (200, WebhookAnswer),
            (202, WebhookAnswer),
            (200, WebhookSecretAnswer),
            (200, DeliveryList),
            (204, None),
        )
    )
    path = f"{PATH}/{{id}}"
    return [
        JsonRoute(PATH, routes.create_webhook, method="POST", body=WebhookBody, answers=created, **common),
        JsonRoute(PATH, routes.list_webhooks, method="GET", answers={200: WebhookList}, **common),
        JsonRoute(path, routes.get_webhook, method="GET", answers=shown, **one),
        JsonRoute(path, routes.change_webhook, method="PUT", body=WebhookBody, answers=shown, **one),
        JsonRoute(path, routes.delete_webhook, method="DELETE", answers=gone, **one),
        JsonRoute(f"{path}/ping", routes.ping_webhook, method="POST", answers=asked, **one),
        JsonRoute(f"{path}/pause", routes.pause_webhook, method="POST", answers=shown, **one),
        JsonRoute(f"{path}/resume", routes.resume_webhook, method="POST", answers=shown, **one),
        JsonRoute(f"{path}/secret", routes.rotate_webhook_secret, method="POST", answers=secret, **one),
        JsonRoute(f"{path}/replay", routes.replay_webhook, method="POST", body=ReplayBody, answers=asked, **one),
        JsonRoute(
            f"{path}/deliveries",
            routes.list_webhook_deliveries,
            method="GET",
            answers=listed,
            parameters=[_ID, _PAGE],
            **common,
        ),
    ]


def _or_missing(status: int, model: type[schemas.Answer] | None) -> Answers:
    return {status: model, 404: schemas.Problem}


class _WebhookRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create
        self._owners = Owners(parts.database, parts.clock, parts.wake)
        self._addresses = webhook_addresses(parts.settings)

    async def create_webhook(self, request: Request) -> Response:
        """Be told of events at an address of yours. It is pending until its receiver has taken a signed ping.

        The answer has the secret of its signatures, which is not shown again.
        """
        async with self._parts.intake.take(request, self._policy, WebhookBody) as taken:
            wish = self._allowed(taken.body)
            try:
                webhook, secret = await self._owners.create(taken.creator, wish)
            except Rejected as e:
                raise generic(409, detail=str(e)) from None
        answer = WebhookSecretAnswer.revealing(webhook, secret)
        return answer.response(201, {"Location": self._url(webhook.id)})

    async def list_webhooks(self, request: Request) -> Response:
        """The creator's webhooks, and how each stands; the oldest first."""
        creator = (await self._policy(request)).required_creator()
        return WebhookList.of(await self._owners.all_of(creator)).response()

    async def get_webhook(self, request: Request) -> Response:
        """One webhook, and how it stands."""
        creator, id_ = await self._named(request)
        return WebhookAnswer.of(await _found(self._owners.get(creator, id_))).response()

    async def change_webhook(self, request: Request) -> Response:
        """Replace what was chosen. Another address is pending until it has taken a ping."""
        async with self._parts.intake.take(request, self._policy, WebhookBody) as taken:
            wish, creator = self._allowed(taken.body), taken.creator
        return WebhookAnswer.of(await _found(self._owners.change(creator, _id(request), wish))).response()

    async def delete_webhook(self, request: Request) -> Response:
        """Nothing more is sent, and what was sent is forgotten."""
        creator, id_ = await self._named(request)
        await _found(self._owners.delete(creator, id_))
        return Response(status_code=204)

    async def ping_webhook(self, request: Request) -> Response:
        """Let a ping be sent. What becomes of it, the deliveries tell."""
        creator, id_ = await self._named(request)
        return self._asked(await _found(self._owners.ping(creator, id_)))

    async def pause_webhook(self, request: Request) -> Response:
        """Send nothing, until it is resumed; then also what happens meanwhile."""
        creator, id_ = await self._named(request)
        return WebhookAnswer.of(await _found(self._owners.pause(creator, id_))).response()

    async def resume_webhook(self, request: Request) -> Response:
        """Go on with what waits, at once. An address that was not confirmed, or was gone, is pinged first."""
        creator, id_ = await self._named(request)
        return WebhookAnswer.of(await _found(self._owners.resume(creator, id_))).response()

    async def rotate_webhook_secret(self, request: Request) -> Response:
        """A new secret, which is not shown again. For 24 hours the old one signs too."""
        creator, id_ = await self._named(request)
        webhook, secret = await _found(self._owners.rotate(creator, id_))
        return WebhookSecretAnswer.revealing(webhook, secret).response()

    async def replay_webhook(self, request: Request) -> Response:
        """Send everything again from a sequence number of the feed on. What waits of the time before is given up."""
        async with self._parts.intake.take(request, self._policy, ReplayBody) as taken:
            creator, seq = taken.creator, taken.body.from_sequence
        try:
            return self._asked(await _found(self._owners.replay(creator, _id(request), seq)))
        except Rejected as e:
            raise Invalid({"FromSequence": [str(e)]}) from None

    async def list_webhook_deliveries(self, request: Request) -> Response:
        """What became of the events of the last days, the last tried first."""
        creator, id_ = await self._named(request)
        found = await _found(self._owners.deliveries(creator, id_, _page_size(request)))
        return DeliveryList.of(found).response()

    async def _named(self, request: Request) -> tuple[str, WebhookId]:
        creator = (await self._policy(request)).required_creator()
        return creator, _id(request)

    def _allowed(self, body: WebhookBody) -> Wish:
        if problem := self._addresses.problem(body.url):
            raise Invalid({"Url": [problem]})
        return body.wish()

    def _asked(self, webhook: Any) -> Response:
        return WebhookAnswer.of(webhook).response(202, {"Location": f"{self._url(webhook.id)}/deliveries"})

    def _url(self, id_: WebhookId) -> str:
        return f"{self._parts.base}{PATH}/{id_}"


def _id(request: Request) -> WebhookId:
    value = read_uuid(request.path_params["id"])
    if value is None:
        raise generic(404)
    return WebhookId(value)


async def _found(work: Awaitable[T]) -> T:
    try:
        return await work
    except NoSuchWebhook:
        raise generic(404) from None


def _page_size(request: Request) -> int:
    text = query(request).get("pagesize", "").strip()
    if not text:
        return MAX_LISTED
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise Invalid({"PageSize": ["The value must be an integer."]})
    return max(1, min(int(text[:10]), MAX_LISTED))
