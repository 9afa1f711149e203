"""The page of one order: did it arrive, what happened, and why. Its story is that of `GET …/explain`, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.keywords import fill
from varsel.domain.notification import Channel
from varsel.domain.order import OrderState, SendingTime
from varsel.orders.cancel import Cancellation, cancel_order
from varsel.providers.html_text import text_of
from varsel.providers.kind import asked_of
from varsel.status.explain import Facts, tell
from varsel.status.explain_store import find_facts
from varsel.ui import order_store as store
from varsel.ui.access import NotFound, Role, Who, audit
from varsel.ui.inbox import uuid_or_none
from varsel.ui.masking import Masks
from varsel.ui.order_store import Head, Message, Sibling
from varsel.ui.outcome import Outcome, outcome_of
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.story import Line, ahead, told, turning_points
from varsel.ui.verdict import FAMILIES, Fate, Tally, Word, word_of

PATH: Final = "/ui/orders"

_TOLD_AT_ONCE: Final = 10
_SHOWN: Final = 50
_NOBODY: Final = NotificationId(UUID(int=0))


@dataclass(frozen=True, slots=True)
class Verdict:
    """`first`: of `verdict.first.*`. `outcome`: its sentence is the rest; else `key`, of `verdict.*`, is."""

    first: str
    family: str
    key: str
    outcome: Outcome | None = None
    best: Message | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A notification, and what is said of its state."""

    message: Message
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Preview:
    """What was to be read, its keywords filled in for one recipient when there is but one."""

    sms: str | None
    sms_sender: str
    subject: str
    mail: str | None
    mail_sender: str

    @property
    def shown(self) -> bool:
        return self.sms is not None or self.mail is not None


@dataclass(frozen=True, slots=True)
class Contents:
    facts: Facts
    head: Head
    tally: Tally
    verdict: Verdict
    word: Word
    rows: list[Row]
    more: UUID | None
    lines: list[Line]
    ahead: list[Line]
    siblings: list[Sibling]
    chosen: Row | None
    preview: Preview | None
    cancellable: bool

    @property
    def daytime(self) -> bool:
        """Whether its SMS wait for it."""
        return self.head.texts.sms_body is not None and self.head.sending_time != SendingTime.ANYTIME

    @property
    def several(self) -> bool:
        return self.facts.order.recipients > 1 or self.tally.all > 1


@dataclass(frozen=True, slots=True)
class _Read:
    """What a page needs of the database. `first`: the first few messages, whichever are listed."""

    head: Head
    tally: Tally
    first: list[Message]
    rows: list[Message]
    chosen: Message | None
    facts: Facts
    siblings: list[Sibling]


class OrderPage:
    """The page, and cancelling from it."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._masks = Masks(parts.settings.sandbox.enabled)
        self._asked = asked_of(parts.settings.providers)
        self._cancel_limit = parts.settings.processing.cancel_limit

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [
            access.page(f"{PATH}/{{id}}", self.show, Role.VIEWER),
            access.act(f"{PATH}/{{id}}/cancel", self.cancel, Role.CASEWORKER),
            access.way_back(f"{PATH}/{{id}}", "/cancel"),
        ]

    async def show(self, request: Request, who: Who) -> Response:
        return await self._page(request, who)

    async def cancel(self, request: Request, who: Who, _: dict[str, str]) -> Response:
        order = _order_id(request)
        async with self._parts.db.autocommit() as conn:
            head = await store.find_head(conn, order, who.creator)
            if head is None:
                raise NotFound
            await audit(conn, who, "cancel", creator=head.creator, order=order)
        now = self._parts.clock.now()
        done = await cancel_order(self._parts.db, head.creator, order, now=now, limit=self._cancel_limit)
        if done is Cancellation.PROHIBITED:
            return await self._page(request, who, trouble="too_late", status=409)
        return back(f"{PATH}/{order}")

    async def _page(self, request: Request, who: Who, *, trouble: str = "", status: int = 200) -> Response:
        contents = await self._contents(request, who)
        return self._parts.pages.render(
            request,
            "order.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            c=contents,
            masks=self._masks,
            path=f"{PATH}/{contents.facts.order.id}",
            all_events=request.query_params.get("story") != "turns",
            lines=contents.lines if request.query_params.get("story") != "turns" else turning_points(contents.lines),
            chosen_fate=_fate(request),
            cancelling=request.query_params.get("confirm") == "cancel",
            printed=self._parts.clock.now(),
            trouble=trouble,
        )

    async def _contents(self, request: Request, who: Who) -> Contents:
        read = await self._read(request, who, _order_id(request))
        story, order = tell(read.facts, self._asked), read.facts.order
        preview = _preview(read.head, [read.chosen] if read.chosen else read.first)
        shows_texts = preview is not None and preview.shown and who.may(Role.CASEWORKER)
        if shows_texts:
            async with self._parts.db.autocommit() as conn:
                await audit(conn, who, "order", creator=read.head.creator, order=order.id)
        return Contents(
            facts=read.facts,
            head=read.head,
            tally=read.tally,
            verdict=_verdict(order.state, read.tally, read.first),
            word=word_of(order.state, read.tally),
            rows=[_row(message) for message in read.rows[:_SHOWN]],
            more=read.rows[_SHOWN - 1].id if len(read.rows) > _SHOWN else None,
            lines=told(story, self._masks),
            ahead=ahead(story, self._masks),
            siblings=read.siblings,
            chosen=_row(read.chosen) if read.chosen else None,
            preview=preview if shows_texts else None,
            cancellable=self._cancellable(read.facts, who),
        )

    async def _read(self, request: Request, who: Who, order: OrderId) -> _Read:
        """Of many recipients only the one that was chosen is told of, or nobody."""
        query, fate = request.query_params, _fate(request)
        after, only = uuid_or_none(query.get("after", "")), uuid_or_none(query.get("n", ""))
        async with self._parts.db.reading() as conn:
            head = await store.find_head(conn, order, who.creator)
            if head is None:
                raise NotFound
            tally = await store.find_tally(conn, order)
            first = await store.find_messages(conn, order, limit=_TOLD_AT_ONCE + 1)
            rows = await store.find_messages(conn, order, limit=_SHOWN + 1, after=after, fate=fate)
            wanted = only if tally.all > 1 else None  # all that one recipient got belongs together
            chosen = await store.find_messages(conn, order, limit=1, only=wanted) if wanted else []
            told_of = NotificationId(chosen[0].id) if chosen else _NOBODY if len(first) > _TOLD_AT_ONCE else None
            facts = await find_facts(conn, head.creator, order, told_of)
            siblings = await store.find_siblings(conn, head.chain, order) if head.chain else []
        if facts is None:
            raise NotFound
        return _Read(head, tally, first, rows, chosen[0] if chosen else None, facts, siblings)

    def _cancellable(self, facts: Facts, who: Who) -> bool:
        soonest = self._parts.clock.now() + self._cancel_limit
        waits = facts.order.state is OrderState.REGISTERED and facts.order.requested_send_time > soonest
        return waits and who.may(Role.CASEWORKER)


def best_of(messages: Sequence[Message]) -> Message:
    return min(messages, key=lambda m: (m.fate, -m.state_at.timestamp()))


_FIRST: Final = {
    Fate.ARRIVED: "yes",
    Fate.OPEN: "not_yet",
    Fate.HANDED: "handed",
    Fate.UNCONFIRMED: "handed",
    Fate.FAILED: "no",
    Fate.NOT_SENT: "not_sent",
}


def first_word(fate: Fate) -> str:
    """Of `verdict.first`."""
    return _FIRST[fate]


def _verdict(state: OrderState, tally: Tally, messages: Sequence[Message]) -> Verdict:
    if not tally.all:
        word = word_of(state, tally)
        waits = state in (OrderState.REGISTERED, OrderState.PROCESSING, OrderState.PROCESSED)
        return Verdict(
            "not_yet" if waits else "not_sent", word.family if waits else "stopped", f"order_{state.lower()}"
        )
    fate = tally.deciding
    if tally.all > 1:
        return Verdict(_FIRST[fate], FAMILIES[fate], f"several_{fate.key}")
    best = best_of(messages)
    return verdict_of(best)


def verdict_of(best: Message) -> Verdict:
    """Of the best that became of anything sent to one recipient."""
    fate, outcome = best.fate, outcome_of(best.standing)
    key = f"one_{fate.key}"
    if fate is Fate.FAILED and outcome.key == "time_out":
        key = "one_never_left"
    return Verdict(_FIRST[fate], FAMILIES[fate] if fate is not Fate.OPEN else outcome.family, key, outcome, best)


def _row(message: Message) -> Row:
    return Row(message, outcome_of(message.standing))


def _preview(head: Head, messages: Sequence[Message]) -> Preview | None:
    texts = head.texts
    if texts.email_body is None and texts.sms_body is None:
        return None
    only = messages[0] if len({m.about or m.address for m in messages}) == 1 else None
    number = only.about.key if only and only.about and only.about.kind == "organisation" else ""

    def filled(text: str | None, *, markup: bool = False) -> str | None:
        return fill(text, name=only.name, number=number, markup=markup) if text is not None and only else text

    used = {m.standing.channel for m in messages} or set(Channel)
    mail = filled(texts.email_body, markup=texts.email_is_html) if Channel.EMAIL in used else None
    return Preview(
        filled(texts.sms_body) if Channel.SMS in used else None,
        texts.sms_sender or "",
        filled(texts.email_subject) or "",
        text_of(mail) if mail is not None and texts.email_is_html else mail,
        texts.email_sender or "",
    )


def _fate(request: Request) -> Fate | None:
    return {fate.key: fate for fate in Fate}.get(request.query_params.get("fate", ""))


def _order_id(request: Request) -> OrderId:
    found = uuid_or_none(request.path_params["id"])
    if found is None:
        raise NotFound
    return OrderId(found)
