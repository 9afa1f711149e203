"""Where readers ask for no more of a kind (channels 6.6; RFC 8058): mail programs by one click, people on a page.

Nothing changes by looking: mail scanners follow links. No cookies, no login, no redirect.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from jinja2 import Template
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.api.forms import read_form
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, Refusal
from varsel.api.requests import header
from varsel.api.templating import template
from varsel.delivery import suppression_store, unsubscribe_store
from varsel.delivery.suppression import Ground, SuppressionKey
from varsel.delivery.unsubscribe import PATH, UnsubscribeLinks
from varsel.delivery.unsubscribe_store import Addressee

FIELD: Final = "List-Unsubscribe"
VALUE: Final = "One-Click"

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address of the page is the reader's own
    "Cache-Control": "no-store",
    "Vary": "Accept-Language",
}
_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "nb": {
        "title": "Meld deg av",
        "question": "Vil du slippe flere slike e-poster fra {creator}?",
        "rest": "E-poster som avsenderen må sende deg, får du fortsatt.",
        "button": "Ja, meld meg av",
        "done": "Du er meldt av",
        "told": "Du får ikke flere slike e-poster fra {creator}.",
        "unknown": "Lenken virker ikke",
        "why": "Den er ufullstendig, for gammel, eller hører til en e-post som er slettet.",
    },
    "en": {
        "title": "Unsubscribe",
        "question": "Do you want no more emails of this kind from {creator}?",
        "rest": "You will still get emails that the sender has to send you.",
        "button": "Yes, unsubscribe me",
        "done": "You are unsubscribed",
        "told": "You will get no more emails of this kind from {creator}.",
        "unknown": "The link does not work",
        "why": "It is incomplete, too old, or belongs to an email that was deleted.",
    },
}


def unsubscribe_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    """None where there is no suppression list. The page is not in the published document."""
    key, links = parts.guard.key, parts.guard.links
    if key is None or links is None:
        return []
    routes = _Unsubscribe(parts, key, links, template("unsubscribe.html"))
    path = f"{PATH}/{{token}}"
    return [Route(path, routes.ask, methods=["GET"]), Route(path, routes.unsubscribe, methods=["POST"])]


class _Unsubscribe:
    def __init__(self, parts: ApiParts, key: SuppressionKey, links: UnsubscribeLinks, page: Template) -> None:
        self._parts = parts
        self._key = key
        self._links = links
        self._page = page

    async def ask(self, request: Request) -> Response:
        """The page with the button."""
        addressee = await self._addressee(request)
        return self._render(request, addressee, "ask" if addressee else "unknown")

    async def unsubscribe(self, request: Request) -> Response:
        """As often as it is asked for, the answer is the same."""
        addressee = await self._addressee(request)
        if addressee is None:
            return self._render(request, None, "unknown")
        if (await _fields(request)).get(FIELD) != VALUE:
            raise Invalid({FIELD: [f"The value must be {VALUE}."]})
        now = self._parts.clock.now()
        entry = self._key.entry(
            Ground.UNSUBSCRIBE,
            addressee.channel,
            addressee.address,
            creator=addressee.creator,
            provider=None,
            source="the recipient",
            now=now,
        )
        if entry:
            async with self._parts.database.transaction() as conn:
                await suppression_store.add(conn, [entry], now=now)
        return self._render(request, addressee, "done")

    async def _addressee(self, request: Request) -> Addressee | None:
        named = self._links.read(request.path_params["token"], now=self._parts.clock.now())
        if named is None:
            return None
        async with self._parts.database.reading() as conn:
            found = await unsubscribe_store.find(conn, named.notification)
        return found if found and found.creator == named.creator else None

    def _render(self, request: Request, addressee: Addressee | None, state: str) -> Response:
        language = _language(request)
        creator = addressee.creator if addressee else ""
        texts = {name: text.format(creator=creator) for name, text in _TEXTS[language].items()}
        content = self._page.render(language=language, state=state, field=FIELD, value=VALUE, **texts)
        return HTMLResponse(content, 404 if state == "unknown" else 200, _HEADERS)


async def _fields(request: Request) -> dict[str, str]:
    """Of the form; none when there is no form."""
    try:
        return await read_form(request)
    except Refusal as refusal:
        if refusal.status == 415:
            return {}
        raise


def _language(request: Request) -> str:
    """The first of the reader's languages that we have; bokmål stands in for its neighbours, and when none is named."""
    wanted = (header(request, b"accept-language") or b"").decode("latin-1")
    for word in wanted.split(","):
        tag = word.partition(";")[0].strip().lower()[:2]
        if tag in ("nb", "nn", "no"):
            return "nb"
        if tag == "en":
            return "en"
    return "en" if wanted else "nb"
