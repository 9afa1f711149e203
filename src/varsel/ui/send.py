"""Writing an order: who will get this, on what, and how will it look? Then sending it, once.

The form carries an id of its own, which is the order's idempotency id: pressing twice, or loading again, sends once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.domain.errors import OverLimit, RegistryUnavailable, Unavailable
from varsel.domain.order import Order, Recipient
from varsel.orders.register import ChainOutcome, Registered, Repeated, Unreachable
from varsel.recipients.schemes import identifiers_of
from varsel.ui.access import Role, Who, audit
from varsel.ui.draft import (
    MOST_AHEAD,
    MOST_RECIPIENTS,
    Draft,
    addressed,
    blank,
    chain_of,
    due,
    order_of,
    read_draft,
    wrong_with,
)
from varsel.ui.look import Line, Look, about, look_at, meter_of
from varsel.ui.masking import Masks
from varsel.ui.orders import PATH as ORDERS
from varsel.ui.orders_store import creators
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.send_store import note_looks

PATH: Final = "/ui/send"

_MOST_BYTES: Final = 512 * 1024
_BLANK: Final = "–"  # stands for a text that is not written yet, so that it can be said who would get it

_FRAME: Final = (
    "<!doctype html><meta charset=utf-8><meta name=color-scheme content=light><meta name=referrer content=no-referrer>"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';"
    " img-src data:; form-action 'none'; base-uri 'none'\">"
)

# The frame of an HTML body takes over this page's policy: its styles shall show, and nothing of it shall act or load.
_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A draft, what it would do if that can be told, and what is wrong. `trouble`: why it cannot."""

    draft: Draft
    look: Look | None = None
    wrong: Mapping[str, str] | None = None
    trouble: str = ""
    values: Mapping[str, object] | None = None


class Send:
    """The form, what it would do, and sending."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._masks = Masks(parts.settings.sandbox.enabled)
        self._identifiers = identifiers_of(parts.settings.registry)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [
            access.page(PATH, self.begin, Role.CASEWORKER),
            access.act(PATH, self.write, Role.CASEWORKER, most_bytes=_MOST_BYTES),
        ]

    async def begin(self, request: Request, who: Who) -> Response:
        return await self._page(request, who, Seen(blank(who.creator)))

    async def write(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Every press of a button on the form: look at it, ask whether to send, go on writing, or send."""
        draft = read_draft(form, who.creator)
        match form.get("do", ""):
            case "send":
                return await self._send(request, who, draft)
            case "review":
                return await self._review(request, who, draft)
            case "preview":
                seen = await self._seen(who, draft)
                return await self._page(request, who, replace(seen, wrong=self._wrong(draft)))
            case _:
                return await self._page(request, who, await self._seen(who, draft))

    async def _review(self, request: Request, who: Who, draft: Draft) -> Response:
        seen = await self._seen(who, draft)
        if wrong := self._wrong(draft):
            return await self._page(request, who, replace(seen, wrong=wrong), status=422)
        if seen.look is None:
            return await self._page(request, who, seen, status=503)
        to = zip(addressed(draft, self._identifiers), draft.to, strict=True)
        kept = tuple({whom: line for whom, line in to if whom not in seen.look.left_out}.values())
        if not kept:
            return await self._page(request, who, replace(seen, wrong={"add": "unreachable"}), status=422)
        return await self._ask(request, who, replace(seen, draft=replace(draft, to=kept)))

    async def _send(self, request: Request, who: Who, draft: Draft) -> Response:
        if wrong := self._wrong(draft):
            return await self._page(request, who, Seen(draft, wrong=wrong), status=422)
        main = self._order(draft)
        assert main is not None  # checked
        chain, orders = chain_of(draft, main)
        async with self._parts.db.autocommit() as conn:
            detail = f"{len(main.recipients)} recipients, form {draft.form}"
            await audit(conn, who, "send", creator=draft.creator, detail=detail)
        try:
            outcome = await self._parts.register_chain(chain, orders)
        except OverLimit as over:
            values = {"limit": over.limit, "until": over.until}
            return await self._asked_again(request, who, draft, "over_limit", 429, values)
        except RegistryUnavailable:
            return await self._asked_again(request, who, draft, "down", 503)
        except Unavailable:
            return await self._asked_again(request, who, draft, "unsure", 503)
        return await self._told(request, who, draft, orders[0], outcome)

    async def _told(self, request: Request, who: Who, draft: Draft, main: Order, outcome: ChainOutcome) -> Response:
        """To the order's story, unless there is none of this form."""
        match outcome:
            case Registered():
                return back(f"{ORDERS}/{main.id}")
            case Repeated() if outcome.same:
                return back(f"{ORDERS}/{outcome.first.shipments[0].id}")
            case Repeated():
                values = {"order": f"{ORDERS}/{outcome.first.shipments[0].id}"}
                seen = await self._seen(who, replace(draft, form=blank(None).form))
                seen = replace(seen, trouble="sent_before", values=values)
                return await self._page(request, who, seen, status=409)
            case Unreachable():
                return await self._review(request, who, draft)

    async def _asked_again(
        self,
        request: Request,
        who: Who,
        draft: Draft,
        trouble: str,
        status: int,
        values: Mapping[str, object] | None = None,
    ) -> Response:
        seen = await self._seen(who, draft)
        return await self._ask(request, who, replace(seen, trouble=trouble, values=values), status=status)

    def _wrong(self, draft: Draft) -> dict[str, str]:
        content = self._parts.contents.of(draft.creator)
        return wrong_with(draft, self._identifiers, content, self._parts.clock.now())

    def _order(self, draft: Draft) -> Order | None:
        """None when nobody can be asked about."""
        to = list(dict.fromkeys(recipient for recipient in addressed(draft, self._identifiers) if recipient))
        now = self._parts.clock.now()
        at = due(draft, now) or now
        return order_of(draft, to, self._parts.settings, min(max(at, now), now + MOST_AHEAD), now) if to else None

    async def _seen(self, who: Who, draft: Draft) -> Seen:
        """What the draft would do, as far as it is written. Who looks is written down."""
        order = self._order(draft)
        if order is None or len(order.recipients) > MOST_RECIPIENTS:
            return Seen(draft)
        await self._write_down(who, order)
        try:
            preview = await self._parts.previewer.preview(_filled(order))
            names = await self._names(order)
        except RegistryUnavailable:
            return Seen(draft, trouble="down")
        return Seen(draft, look_at(replace(preview, order=order), self._masks, names))

    async def _write_down(self, who: Who, order: Order) -> None:
        whom = [each for recipient in order.recipients if (each := about(recipient))]
        async with self._parts.db.autocommit() as conn:
            await note_looks(
                conn, whom, actor=who.name, subject=who.subject, creator=order.creator or None, case=who.case
            )

    async def _names(self, order: Order) -> Mapping[str, str]:
        numbers = {r.organisation_number for r in order.recipients if r.organisation_number}
        return await self._parts.directory.names(numbers) if numbers else {}

    async def _page(self, request: Request, who: Who, seen: Seen, *, status: int = 200) -> Response:
        async with self._parts.db.reading() as conn:
            known = [] if who.creator else sorted(await creators(conn), key=str.casefold)
        return self._rendered(request, who, "compose.html", seen, status, known=known)

    async def _ask(self, request: Request, who: Who, seen: Seen, *, status: int = 200) -> Response:
        return self._rendered(request, who, "compose_confirm.html", seen, status, known=[])

    def _rendered(
        self, request: Request, who: Who, template: str, seen: Seen, status: int, *, known: list[str]
    ) -> Response:
        draft, now = seen.draft, self._parts.clock.now()
        to = addressed(draft, self._identifiers)
        response = self._parts.pages.render(
            request,
            template,
            now=now,
            status=status,
            who=who,
            seen=seen,
            d=draft,
            look=seen.look,
            wrong=seen.wrong or {},
            unreadable=[place for place, recipient in enumerate(to) if recipient is None],
            lines=_lines(to, seen.look),
            meter=meter_of(draft.sms) if draft.by_sms else None,
            at=due(draft, now),
            currency=self._parts.previewer.currency,
            known=known,
            senders=self._parts.settings.senders,
            most=MOST_RECIPIENTS,
            path=PATH,
            moment=now,
            framed=framed,
        )
        response.headers["Content-Security-Policy"] = _POLICY
        return response


def framed(html: str) -> str:
    """An HTML body as the content of a sandboxed frame: nothing in it acts, nothing comes from the net."""
    return _FRAME + html


def _filled(order: Order) -> Order:
    email, sms = order.email, order.sms
    if email and not (email.subject.strip() and email.body.strip()):
        email = replace(email, subject=email.subject.strip() or _BLANK, body=email.body.strip() or _BLANK)
    if sms and not sms.body.strip():
        sms = replace(sms, body=_BLANK)
    return replace(order, email=email, sms=sms)


def _lines(to: list[Recipient | None], look: Look | None) -> list[Line | None]:
    """What is listed for each line that was written; None for what names nobody, or is not looked at."""
    return [look.lines.get(recipient) if look and recipient else None for recipient in to]
