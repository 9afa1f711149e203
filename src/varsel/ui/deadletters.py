"""The page of dead letters: which reports could not be matched, why, and trying them again (channels 5.4)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.delivery import deadletters_store as store
from varsel.delivery.deadletters import REASONS, covered
from varsel.delivery.deadletters_store import Letter
from varsel.ui.access import Role, Who, audit
from varsel.ui.inbox import uuid_or_none
from varsel.ui.pages import back, here
from varsel.ui.parts import UiParts
from varsel.wakeup import Work

PATH: Final = "/ui/ops/deadletters"

_SHOWN: Final = 50
_ACTS: Final = ("replay", "put_away")


@dataclass(frozen=True, slots=True)
class Shown:
    """A report as the page shows it. `reason`: the key of a sentence."""

    letter: Letter
    reason: str
    content: str
    age: timedelta


class DeadLetters:
    """The page, and the forms on it."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._show_all = parts.settings.sandbox.enabled

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.show, Role.OPERATOR), access.act(PATH, self.change, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        query = request.query_params
        parked = query.get("state") == "parked"
        after = _cursor(query.get("at", ""), query.get("id", ""))
        now = self._parts.clock.now()
        async with self._parts.db.reading() as conn:
            counts = await store.count(conn)
            found = await store.letters(conn, parked=parked, limit=_SHOWN + 1, after=after)
        shown, more = found[:_SHOWN], len(found) > _SHOWN
        done, n = query.get("done"), query.get("n", "")
        return self._parts.pages.render(
            request,
            "deadletters.html",
            now=now,
            who=who,
            parked=parked,
            counts=counts,
            most=store.MOST_COUNTED,
            letters=[self._shown(letter, now) for letter in shown],
            ids=" ".join(str(letter.id) for letter in shown),
            more=here(request, at=shown[-1].at.isoformat(), id=str(shown[-1].id), done=None, n=None) if more else None,
            begun=after is not None,
            done=done if done in _ACTS and n.isascii() and n.isdigit() and len(n) < 4 else None,
            n=int(n) if n.isascii() and n.isdigit() else 0,
            path=PATH,
        )

    async def change(self, _: Request, who: Who, form: dict[str, str]) -> Response:
        """Try reports again, or put dead ones away: those that the form names, and that are still there."""
        act, ids = form.get("do", ""), _ids(form.get("ids", ""))
        state = {"state": "parked"} if form.get("state") == "parked" else {}
        if act not in _ACTS or not ids:
            return back(f"{PATH}?{urlencode(state)}" if state else PATH)
        async with self._parts.db.transaction() as conn:
            done = await (store.replay if act == "replay" else store.put_away)(conn, ids)
            if done:
                detail = f"report {ids[0]}" if len(ids) == 1 else f"{done} reports"
                await audit(conn, who, "report replay" if act == "replay" else "report put away", detail=detail)
        if done and act == "replay":
            self._parts.wake(Work.REPORTS)
        return back(f"{PATH}?{urlencode({**state, 'done': act, 'n': done})}")

    def _shown(self, letter: Letter, now: datetime) -> Shown:
        reason = letter.why if letter.why in REASONS else "waits" if letter.wake else "other"
        content = letter.payload if self._show_all else covered(letter.payload)
        return Shown(
            letter, reason, json.dumps(content, ensure_ascii=False, indent=2), max(now - letter.received, timedelta())
        )


def _ids(text: str) -> Sequence[UUID]:
    """At most as many as a page shows."""
    found = [uuid_or_none(word) for word in text.split()[:_SHOWN]]
    return [id_ for id_ in found if id_ is not None]


def _cursor(at: str, id_: str) -> tuple[datetime, UUID] | None:
    """None for what no page of ours has made."""
    found = uuid_or_none(id_)
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (when, found) if found and when.tzinfo else None
