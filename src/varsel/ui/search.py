"""The search of every page: who or what is this? One hit leads straight to it, several give a list.

It is a form that is posted: identity numbers and addresses stand in no address of a page, and in no history.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.address import e164, normalise_mobile, valid_email, valid_mobile
from varsel.domain.identifiers import subject_key
from varsel.domain.schemes import Identifiers
from varsel.recipients.schemes import identifiers_of
from varsel.ui import orders_store
from varsel.ui.access import Role, Who, audit
from varsel.ui.access_store import About
from varsel.ui.inbox import uuid_or_none
from varsel.ui.masking import Covered, Masks
from varsel.ui.orders import PATH as ORDERS
from varsel.ui.orders import Listed
from varsel.ui.orders_store import Filter
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.search_store import find_id
from varsel.ui.verdict import word_of

PATH: Final = "/ui/search"
RECIPIENTS: Final = "/ui/recipients"

_SHOWN: Final = 50
_LONGEST: Final = 300
_SPACES: Final = str.maketrans("", "", " \u00a0\u202f")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was found. `handle`: what stands in an address for them."""

    about: About
    shown: Covered
    handle: str


class Search:
    """The form's answer."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._identifiers = identifiers_of(parts.settings.registry)
        self._masks = Masks(parts.settings.sandbox.enabled)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.show, Role.VIEWER), access.act(PATH, self.search, Role.VIEWER)]

    async def show(self, request: Request, who: Who) -> Response:
        return self._list(request, who, "", [], None)

    async def search(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        text = form.get("q", "").strip()[:_LONGEST]
        if id_ := uuid_or_none(text):
            return await self._by_id(request, who, id_)
        about = who_is(text, self._identifiers)
        may = who.may(Role.CASEWORKER)
        orders = await self._referenced(who, text) if text else []
        await self._write_down(who, about if may else None)
        if about and may and not orders:
            return back(f"{RECIPIENTS}/{await self._parts.access.handle(who, about)}")
        if len(orders) == 1 and not (about and may):
            return back(f"{ORDERS}/{orders[0].row.id}")
        person = None
        if about and may:
            person = Person(about, self._masks.about(about), await self._parts.access.handle(who, about))
        return self._list(request, who, text, orders, person, barred=about is not None and not may)

    async def _by_id(self, request: Request, who: Who, id_: UUID) -> Response:
        async with self._parts.db.reading() as conn:
            found = await find_id(conn, id_, who.creator)
        await self._write_down(who, None)
        if found is None:
            return self._list(request, who, str(id_), [], None)
        order, notification = found
        return back(f"{ORDERS}/{order}" + (f"?n={notification}" if notification else ""))

    async def _referenced(self, who: Who, text: str) -> list[Listed]:
        async with self._parts.db.reading() as conn:
            rows = await orders_store.find(conn, Filter(creator=who.creator, reference=text), limit=_SHOWN + 1)
        return [Listed(row, word_of(row.state, row.tally)) for row in rows]

    async def _write_down(self, who: Who, about: About | None) -> None:
        async with self._parts.db.autocommit() as conn:
            await audit(conn, who, "search", creator=who.creator, about=about)

    def _list(
        self,
        request: Request,
        who: Who,
        text: str,
        orders: list[Listed],
        person: Person | None,
        *,
        barred: bool = False,
    ) -> Response:
        return self._parts.pages.render(
            request,
            "search.html",
            now=self._parts.clock.now(),
            who=who,
            asked=bool(text),
            listed=orders[:_SHOWN],
            more=len(orders) > _SHOWN,
            person=person,
            barred=barred and not orders,
            titles=who.may(Role.CASEWORKER),
        )


def who_is(text: str, identifiers: Identifiers) -> About | None:
    """The person, organisation or address that a text names. Blanks between digits do not count."""
    close = text.translate(_SPACES)
    if identifiers.is_person(close):
        return About("person", subject_key(close))
    if identifiers.is_organisation(close):
        return About("organisation", close)
    if valid_email(text):
        return About("address", text.lower())
    number = normalise_mobile(close)
    if valid_mobile(number):
        return About("address", e164(number) or number)
    return None
