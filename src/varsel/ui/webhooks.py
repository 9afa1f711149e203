"""The pages of webhooks: do senders hear from us? Of one: how it stands, why, and what can be done (channels 7)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.errors import Rejected
from varsel.domain.ids import WebhookId
from varsel.ui import webhooks_store as store
from varsel.ui.access import NotFound, Role, Who, audit
from varsel.ui.inbox import uuid_or_none
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.standing import Standing
from varsel.ui.webhooks_store import Hook
from varsel.webhooks.owner import NoSuchWebhook, Owners
from varsel.webhooks.owner_store import Webhook
from varsel.webhooks.states import WebhookState, Why

PATH: Final = "/ui/ops/webhooks"

_SHOWN: Final = 200
_TRIES: Final = 50
_ACTS: Final = ("pause", "resume", "ping", "replay")


_STANDINGS: Final = {
    s.key: s
    for s in (
        Standing("active", "delivered", "health"),
        Standing("failing", "attention", "attention"),
        Standing("pending", "waiting", "waiting"),
        Standing("paused", "stopped", "pause"),
        Standing("given_up", "failed", "failed"),
        Standing("gone", "failed", "failed"),
    )
}


@dataclass(frozen=True, slots=True)
class Card:
    hook: Hook
    standing: Standing
    address: str

    @property
    def stuck(self) -> bool:
        return self.standing.family in {"attention", "failed"}


class Webhooks:
    """The list, one of them, and the forms on it."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._owners = Owners(parts.db, parts.clock, parts.wake)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [
            access.page(PATH, self.show, Role.OPERATOR),
            access.page(f"{PATH}/{{id}}", self.show_one, Role.OPERATOR),
            access.act(f"{PATH}/{{id}}", self.change, Role.OPERATOR),
        ]

    async def show(self, request: Request, who: Who) -> Response:
        now = self._parts.clock.now()
        async with self._parts.db.reading() as conn:
            found = await store.hooks(conn, now=now, limit=_SHOWN + 1)
        cards = [_card(hook) for hook in found[:_SHOWN]]
        return self._parts.pages.render(
            request,
            "webhooks.html",
            now=now,
            who=who,
            cards=cards,
            stuck=sum(card.stuck for card in cards),
            more=len(found) > _SHOWN,
            most=store.MOST_COUNTED,
            path=PATH,
        )

    async def show_one(self, request: Request, who: Who) -> Response:
        return await self._one(request, who)

    async def change(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Pause, resume, ping or replay one. Who did it is written down before it is done."""
        hook = await self._hook(request)
        act, seq = form.get("do", ""), _number(form.get("seq", ""))
        if act not in _ACTS:
            return back(f"{PATH}/{hook.id}")
        if act == "replay" and seq is None:
            return await self._one(request, who, trouble="no_number", status=422)
        async with self._parts.db.autocommit() as conn:
            detail = f"webhook {hook.id}" + (f" from {seq}" if act == "replay" else "")
            await audit(conn, who, f"webhook {act}", creator=hook.creator, detail=detail)
        try:
            await self._done(hook, act, seq or 0)
        except NoSuchWebhook:
            raise NotFound from None
        except Rejected:
            return await self._one(request, who, trouble="no_such_number", status=422)
        return back(f"{PATH}/{hook.id}?done={act}")

    async def _done(self, hook: Hook, act: str, seq: int) -> None:
        acts: dict[str, Callable[[str, WebhookId], Awaitable[Webhook]]] = {
            "pause": self._owners.pause,
            "resume": self._owners.resume,
            "ping": self._owners.ping,
        }
        if act == "replay":
            await self._owners.replay(hook.creator, hook.id, seq)
        else:
            await acts[act](hook.creator, hook.id)

    async def _hook(self, request: Request) -> Hook:
        id_ = uuid_or_none(request.path_params["id"])
        async with self._parts.db.reading() as conn:
            found = await store.hook(conn, WebhookId(id_), now=self._parts.clock.now()) if id_ else None
        if found is None:
            raise NotFound
        return found

    async def _one(self, request: Request, who: Who, *, trouble: str = "", status: int = 200) -> Response:
        hook = await self._hook(request)
        try:
            webhook = await self._owners.get(hook.creator, hook.id)
            tries = await self._owners.deliveries(hook.creator, hook.id, _TRIES)
        except NoSuchWebhook:
            raise NotFound from None
        async with self._parts.db.reading() as conn:
            newest = await store.newest(conn, hook.id)
        done = request.query_params.get("done", "")
        return self._parts.pages.render(
            request,
            "webhook.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            card=_card(hook),
            w=webhook,
            newest=newest,
            tries=tries,
            most=store.MOST_COUNTED,
            done=done if done in _ACTS and not trouble else "",
            trouble=trouble,
            path=PATH,
        )


def _card(hook: Hook) -> Card:
    return Card(hook, _STANDINGS[_key(hook)], shown_address(hook.url))


def _key(hook: Hook) -> str:
    match hook.state:
        case WebhookState.ACTIVE:
            return "failing" if hook.failures else "active"
        case WebhookState.PAUSED:
            return "given_up" if hook.reason is Why.FAILING else "paused"
        case WebhookState.DISABLED:
            return "gone"
        case WebhookState.PENDING:
            return "pending"


def shown_address(url: str) -> str:
    """Without what may be a secret of its owner: who signs in there, and what is asked for."""
    try:
        parts = urlsplit(url)
        host = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "…"
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
