"""The page of one recipient: did she get it, what else was sent there, how can she be reached now, and who has looked?

Every look is written down, and what is hidden is shown only after a case number was given, for half a minute.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.errors import RegistryUnavailable
from varsel.domain.ids import NotificationId
from varsel.recipients.profile.known import Known, find
from varsel.recipients.schemes import identifiers_of
from varsel.ui import recipient_store as store
from varsel.ui.access import NotFound, Role, Who, audit
from varsel.ui.access_store import About, Entry, entries_about, set_case
from varsel.ui.inbox import uuid_or_none
from varsel.ui.masking import Covered, Masks, opened
from varsel.ui.order import Verdict, best_of, verdict_of
from varsel.ui.outcome import Outcome, outcome_of
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.recipient_store import Sent
from varsel.ui.search import RECIPIENTS as PATH
from varsel.ui.verdict import Fate

REVEALED_SECONDS: Final = 30

_SHOWN: Final = 50
_LOOKS_SHOWN: Final = 10
_LOOKS_READ: Final = 60
_PARTS: Final = frozenset({"number", "email", "mobile"})
_GROUPS: Final = {  # the four groups that carry the counts, and what is still under way
    "arrived": (Fate.ARRIVED,),
    "open": (Fate.OPEN, Fate.HANDED),
    "unconfirmed": (Fate.UNCONFIRMED,),
    "failed": (Fate.FAILED,),
    "not_sent": (Fate.NOT_SENT,),
}


@dataclass(frozen=True, slots=True)
class OrderTo:
    """What one order sent to the recipient: the best of it decides, and all of it is told."""

    first: Sent
    messages: tuple[Sent, ...]
    best: Sent
    outcome: Outcome
    group: str


@dataclass(frozen=True, slots=True)
class Look:
    """The same act of the same person for the same case, in a row: one. `at`: the newest."""

    entry: Entry
    times: int


@dataclass(frozen=True, slots=True)
class Address:
    """How the recipient can be reached. `part`: what is asked for to see it."""

    part: str
    covered: Covered
    opened: str | None
    stale: bool
    confirmed: datetime | None


@dataclass(frozen=True, slots=True)
class Contents:
    about: About
    orders: list[OrderTo]
    counts: dict[str, int]
    senders: list[str]
    verdict: Verdict | None
    known: Known | None
    addresses: list[Address]
    register_down: bool
    looks: list[Look]
    oldest: NotificationId | None  # there may be more before it


class RecipientPage:
    """The page, the way to it from a notification, and what is revealed on it."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._masks = Masks(parts.settings.sandbox.enabled)
        self._identifiers = identifiers_of(parts.settings.registry)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [
            access.page(PATH, self.ask, Role.CASEWORKER),
            access.act(f"{PATH}/of", self.of_notification, Role.CASEWORKER),
            access.page(f"{PATH}/{{handle}}", self.show, Role.CASEWORKER),
            access.act(f"{PATH}/{{handle}}/reveal", self.reveal, Role.CASEWORKER),
            access.way_back(f"{PATH}/{{handle}}", "/reveal"),
        ]

    async def ask(self, request: Request, who: Who) -> Response:
        return self._parts.pages.render(request, "recipients.html", now=self._parts.clock.now(), who=who)

    async def of_notification(self, _: Request, who: Who, form: dict[str, str]) -> Response:
        """From a notification to its recipient."""
        notification = uuid_or_none(form.get("n", ""))
        if notification is None:
            raise NotFound
        async with self._parts.db.reading() as conn:
            about = await store.whom(conn, NotificationId(notification), who.creator)
        if about is None:
            raise NotFound
        return back(f"{PATH}/{await self._parts.access.handle(who, about)}")

    async def show(self, request: Request, who: Who) -> Response:
        return await self._page(request, who)

    async def reveal(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Show one thing that is hidden. It is written down first; without a case there is nothing to write."""
        about = await self._parts.access.open(who, request.path_params["handle"])
        part, case = form.get("part", ""), form.get("case", "").strip()[:100] or who.case
        if part not in _PARTS:
            raise NotFound
        if not case:
            return await self._page(request, who, asked=part, status=422 if "case" in form else 200)
        who = replace(who, case=case)
        async with self._parts.db.transaction() as conn:
            await set_case(conn, who.session, case)
            await audit(conn, who, f"reveal {part}", creator=who.creator, about=about)
        return await self._page(request, who, revealed=part)

    async def _page(
        self, request: Request, who: Who, *, revealed: str = "", asked: str = "", status: int = 200
    ) -> Response:
        handle = request.path_params["handle"]
        about = await self._parts.access.open(who, handle)
        if not revealed and not asked:
            async with self._parts.db.autocommit() as conn:
                await audit(conn, who, "history", creator=who.creator, about=about)
        group = request.query_params.get("fate", "")
        contents = await self._contents(request, who, about, revealed)
        sender = request.query_params.get("sender", "")
        shown = [o for o in contents.orders if group in ("", o.group) and sender in ("", o.first.creator)]
        limit = _number(request.query_params.get("n", ""))
        return self._parts.pages.render(
            request,
            "recipient.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            c=contents,
            shown=shown[:limit],
            left=len(shown) - limit,
            limit=limit,
            chosen=group if group in _GROUPS else "",
            sender=sender,
            name=self._masks.about(about),
            plain_name=opened(about) if revealed == "number" else None,
            masks=self._masks,
            revealed=revealed,
            asked=asked,
            wrong=status == 422,
            path=f"{PATH}/{handle}",
            outcome_of=outcome_of,
            seconds=REVEALED_SECONDS,
            printed=self._parts.clock.now(),
        )

    async def _contents(self, request: Request, who: Who, about: About, revealed: str) -> Contents:
        before = uuid_or_none(request.query_params.get("before", ""))
        async with self._parts.db.reading() as conn:
            sent = await store.find_sent(conn, about, who.creator, before=before)
            looks = await entries_about(conn, about, limit=_LOOKS_READ)
        orders = _by_order(sent)
        known, down = await self._known(about)
        return Contents(
            about=about,
            orders=orders,
            counts={group: sum(order.group == group for order in orders) for group in _GROUPS},
            senders=sorted({order.first.creator for order in orders}, key=str.casefold),
            verdict=verdict_of(orders[0].best.message) if orders else None,
            known=known,
            addresses=self._addresses(known, revealed) if known else [],
            register_down=down,
            looks=_looks(e for e in looks if who.creator in (None, e.creator))[:_LOOKS_SHOWN],
            oldest=sent[-1].message.id if len(sent) == store.MAX_SHOWN else None,
        )

    async def _known(self, about: About) -> tuple[Known | None, bool]:
        """What the registers know; and whether one did not answer."""
        if about.kind == "address":
            return None, False
        now = self._parts.clock.now()
        try:
            (known,) = await find(self._parts.directory, [about.key], self._identifiers, resource_id=None, now=now)
        except RegistryUnavailable:
            return None, True
        return known, False

    def _addresses(self, known: Known, revealed: str) -> list[Address]:
        record = known.record
        mobiles = [
            ("mobile", mobile, known.mobile_stale, record and record.mobile_fresh_at) for mobile in known.mobiles
        ]
        emails = [("email", email, known.email_stale, record and record.email_fresh_at) for email in known.emails]
        return [
            Address(
                part,
                self._masks.address(value),
                opened(About("address", value)) if revealed == part else None,
                stale,
                confirmed,
            )
            for part, value, stale, confirmed in (*mobiles, *emails)
        ]


def _by_order(sent: Sequence[Sent]) -> list[OrderTo]:
    """Newest order first, by the newest of its messages."""
    places: dict[object, list[Sent]] = {}
    for each in sent:
        places.setdefault(each.order, []).append(each)
    return [_order_to(messages) for messages in places.values()]


def _order_to(messages: Sequence[Sent]) -> OrderTo:
    top = best_of([each.message for each in messages])
    best = next(each for each in messages if each.message is top)
    group = next(group for group, fates in _GROUPS.items() if top.fate in fates)
    return OrderTo(messages[0], tuple(reversed(messages)), best, outcome_of(top.standing), group)


def _looks(entries: Iterable[Entry]) -> list[Look]:
    looks = []
    for _, group in groupby(entries, key=lambda entry: (entry.actor, entry.action, entry.case)):
        members = list(group)
        looks.append(Look(members[0], len(members)))
    return looks


def _number(text: str) -> int:
    return max(int(text), _SHOWN) if text.isascii() and text.isdigit() and len(text) < 4 else _SHOWN
