"""The page of the audit log: who looked at whom, and what was changed by hand. Whom it concerned stays masked."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.ui import audit_store as store
from varsel.ui.access import Role, Who
from varsel.ui.audit_store import Act
from varsel.ui.masking import Covered, Masks
from varsel.ui.pages import here
from varsel.ui.parts import UiParts

PATH: Final = "/ui/ops/audit"

_SHOWN: Final = 50
_SAID: Final = frozenset(
    {
        "sign-in",
        "search",
        "history",
        "order",
        "lookup",
        "send",
        "export",
        "bulk upload",
        "bulk check",
        "bulk send",
        "bulk pause",
        "bulk resume",
        "bulk stop",
        "bulk result",
        "cancel",
        "reveal number",
        "reveal email",
        "reveal mobile",
        "provider stop",
        "provider start",
        "provider weight",
        "webhook pause",
        "webhook resume",
        "webhook ping",
        "webhook replay",
        "report replay",
        "report put away",
    }
)


@dataclass(frozen=True, slots=True)
class Shown:
    """`key`: of its words; empty for an act that has none."""

    act: Act
    key: str
    about: Covered | None


class Audit:
    """The page."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._masks = Masks(parts.settings.sandbox.enabled)

    def routes(self) -> list[BaseRoute]:
        return [self._parts.access.page(PATH, self.show, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        before = _number(request.query_params.get("before", ""))
        async with self._parts.db.reading() as conn:
            found = await store.acts(conn, limit=_SHOWN + 1, before=before)
        acts, more = found[:_SHOWN], len(found) > _SHOWN
        return self._parts.pages.render(
            request,
            "audit.html",
            now=self._parts.clock.now(),
            who=who,
            acts=[self._shown(act) for act in acts],
            more=here(request, before=str(acts[-1].id)) if more else None,
            begun=before is not None,
            path=PATH,
        )

    def _shown(self, act: Act) -> Shown:
        key = act.action.replace(" ", "_").replace("-", "_") if act.action in _SAID else ""
        return Shown(act, key, self._masks.about(act.about) if act.about else None)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
