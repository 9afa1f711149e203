"""The page of providers: is traffic flowing, and if not, what did we do about it (channels 1.7 to 1.9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from varsel.db import Conn
from varsel.delivery import pool_admin_store as pool
from varsel.delivery.pool_admin_store import State
from varsel.settings import ProviderSettings
from varsel.ui import providers_store as store
from varsel.ui.access import NotFound, Role, Who, audit
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.providers_store import Change, Minute, Waiting
from varsel.ui.pulse import Pulse, pulse_of
from varsel.ui.standing import Standing

PATH: Final = "/ui/ops/providers"

_CHANGES: Final = 12
_MOST_WHY: Final = 200
_ACTS: Final = ("stop", "start", "weight")
_LOOKED_BACK: Final = 50  # changes of one provider, for what made it stand as it does
_CAUSES: Final = {"stopped": "stopped", "open": "opened", "trial": "opened", "paused": "paused"}
_CHANNELS: Final = ("email", "sms")


_STANDINGS: Final = {
    s.key: s
    for s in (
        Standing("takes", "delivered", "health"),
        Standing("stopped", "stopped", "pause"),
        Standing("open", "failed", "failed"),
        Standing("trial", "attention", "attention"),
        Standing("paused", "attention", "pause"),
        Standing("unused", "waiting", "waiting"),
        Standing("gone", "waiting", "stopped"),
    )
}


@dataclass(frozen=True, slots=True)
class Card:
    """A provider. `since`: the change that made it stand as it does. `rest`: what the settings give it."""

    name: str
    channel: str
    standing: Standing
    state: State | None
    chosen: ProviderSettings | None
    pulse: Pulse
    held: int
    since: Change | None

    @property
    def rest(self) -> int | None:
        return self.chosen.weight if self.chosen else None

    @property
    def weight(self) -> int | None:
        return self.state.weight if self.state and self.state.weight is not None else self.rest

    @property
    def counts(self) -> bool:
        """Whether it should take messages: it is in the settings."""
        return self.standing.key != "gone"

    @property
    def stuck(self) -> bool:
        return self.counts and self.standing.key not in {"takes", "unused"}


@dataclass(frozen=True, slots=True)
class Group:
    """The providers of a channel."""

    channel: str
    cards: Sequence[Card]
    waiting: Waiting

    @property
    def able(self) -> Sequence[str]:
        """Who takes messages now."""
        return [card.name for card in self.cards if card.standing.key == "takes"]

    @property
    def meant(self) -> int:
        return sum(card.counts for card in self.cards)

    @property
    def family(self) -> str:
        if any(card.stuck for card in self.cards):
            return "attention" if self.able else "failed"
        return "delivered" if self.able else "waiting"


class Providers:
    """The page, and the forms on it."""

    def __init__(self, parts: UiParts) -> None:
        self._db = parts.db
        self._clock = parts.clock
        self._pages = parts.pages
        self._access = parts.access
        self._chosen = {p.name: p for p in parts.settings.providers if p.enabled}

    def routes(self) -> list[BaseRoute]:
        return [self._access.page(PATH, self.show, Role.OPERATOR), self._access.act(PATH, self.change, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        return await self._page(request, who)

    async def change(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Stop or start a provider, or give it another weight; why is kept with the change, and in the log."""
        name, act, why = form.get("name", ""), form.get("do", ""), form.get("why", "").strip()[:_MOST_WHY]
        weight = _weight(form.get("weight", ""))
        if act not in _ACTS:
            return back(PATH)
        if not why:
            return await self._page(request, who, trouble="no_why", about=name, status=422)
        if act == "weight" and weight is None:
            return await self._page(request, who, trouble="no_weight", about=name, status=422)
        async with self._db.transaction() as conn:
            await self._require(conn, name)
            detail = f"{name} {weight}: {why}" if act == "weight" else f"{name}: {why}"
            await audit(conn, who, f"provider {act}", detail=detail)
            match act:
                case "stop":
                    await pool.stop(conn, name, why=why, author=who.name)
                case "start":
                    await pool.start(conn, name, why=why, author=who.name)
                case _:
                    await pool.set_weight(conn, name, weight or 0, why=why, author=who.name)
        return back(f"{PATH}?{urlencode({'done': act, 'name': name})}")

    async def _require(self, conn: Conn, name: str) -> None:
        """Raises `NotFound` for a provider that neither the settings nor the database know."""
        if chosen := self._chosen.get(name):
            await pool.enlist(conn, name, chosen.channel)
        elif name not in {state.name for state in await pool.states(conn)}:
            raise NotFound

    async def _page(
        self, request: Request, who: Who, *, trouble: str = "", about: str = "", status: int = 200
    ) -> HTMLResponse:
        groups, changes = await self._read()
        query = request.query_params
        names = {card.name for group in groups for card in group.cards}
        told = query.get("done") if query.get("done") in _ACTS and query.get("name") in names else None
        return self._pages.render(
            request,
            "providers.html",
            now=self._clock.now(),
            status=status,
            who=who,
            groups=groups,
            changes=changes,
            stuck=[card for group in groups for card in group.cards if card.stuck],
            most=store.MOST_COUNTED,
            done=told,
            done_name=query.get("name", ""),
            trouble=trouble,
            about=about,
            path=PATH,
        )

    async def _read(self) -> tuple[list[Group], list[Change]]:
        async with self._db.reading() as conn:
            states = {state.name: state for state in await pool.states(conn)}
            minutes = await store.pulse(conn)
            waiting = await store.waiting(conn)
            held = await store.held(conn)
            changes = await store.newest_changes(conn, limit=_CHANGES)
            since = {
                name: await pool.changes(conn, name, limit=_LOOKED_BACK)
                for name, state in states.items()
                if not state.takes
            }
        cards = []
        for name in sorted({*states, *self._chosen}):
            state, chosen = states.get(name), self._chosen.get(name)
            channel = chosen.channel if chosen else state.channel if state else ""
            standing = _standing(state, chosen)
            causes = [
                Change(name, c.at, c.kind, c.weight, c.detail, c.author)
                for c in since.get(name, ())
                if c.kind == _CAUSES.get(standing.key)
            ]
            cards.append(
                Card(
                    name,
                    channel,
                    standing,
                    state,
                    chosen,
                    pulse_of(_of(name, minutes)),
                    held.get(name, 0),
                    causes[0] if causes else None,
                )
            )
        return [Group(c, [card for card in cards if card.channel == c], waiting[c]) for c in _CHANNELS], changes


def _of(name: str, minutes: Sequence[Minute]) -> list[Minute]:
    return [minute for minute in minutes if minute.provider == name]


def _standing(state: State | None, chosen: ProviderSettings | None) -> Standing:
    if state is None:
        key = "unused"
    elif state.stopped:
        key = "stopped"
    elif state.is_open:
        key = "open"
    elif state.has_breaker:
        key = "trial"
    else:
        key = "paused" if state.paused else "takes"
    return _STANDINGS["gone" if chosen is None else key]


def _weight(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 101
    return number if number <= 100 else None
