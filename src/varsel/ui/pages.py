"""What every page shares: templates, language and theme, static files with a content hash, and strict headers.

A page works without its script; nothing in it is inline, and nothing comes from another host.
"""

import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from importlib import resources
from typing import Any, Final, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from varsel import __version__
from varsel.ui.verdict import FAMILIES
from varsel.ui.words import Language, Words, negotiate, pretty_identity, pretty_number

_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_YEAR_SECONDS: Final = 365 * 24 * 3600
MAX_FORM_BYTES: Final = 16_384
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LANGUAGE_COOKIE: Final = "varsel_language"
_LANGUAGES: Final = {language.value: language for language in Language}
_THEME_COOKIE: Final = "varsel_theme"
_NEXT_THEME: Final = {None: "dark", "dark": "light", "light": "dark"}
_LINK: Final = re.compile(r"(?:https?://|www\.)\S+|\b[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}/\S*")


@dataclass(frozen=True, slots=True)
class _Static:
    content: bytes
    packed: bytes
    media_type: str
    url: str


@cache
def _static_files() -> dict[str, _Static]:
    files = {}
    for file in resources.files("varsel.ui").joinpath("static").iterdir():
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:12]
        media_type = _TYPES[file.name.rpartition(".")[2]]
        packed = gzip.compress(content, mtime=0)
        files[f"{digest}/{file.name}"] = _Static(content, packed, media_type, f"/ui/static/{digest}/{file.name}")
    return files


@cache
def _templates(*, sandbox: bool) -> Environment:
    """Read and compiled once in a process."""
    templates = Environment(
        loader=PackageLoader("varsel.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "static": {name.partition("/")[2]: file.url for name, file in _static_files().items()},
        "version": __version__,
        "sandbox": sandbox,
        "families": FAMILIES,
    }
    templates.filters |= {
        "initial": lambda text: text[:1].upper() + text[1:],
        "linked": linked,
        "pretty_identity": pretty_identity,
        "pretty_number": pretty_number,
    }
    return templates


def linked(text: str) -> Markup:
    """The text with its web addresses underlined, as a handset shows them. They lead nowhere: it is a picture."""
    marked, end = Markup(), 0
    for match in _LINK.finditer(text):
        address = match.group().rstrip(".,;:!?)”»\"'")
        marked += escape(text[end : match.start()]) + Markup("<u>{}</u>").format(address)
        end = match.start() + len(address)
    return marked + escape(text[end:])


@dataclass(frozen=True, slots=True)
class Area:
    """An entry of the header's menu: `page.<key>` is its word. Only who has the role sees it."""

    key: str
    path: str
    role: str


class Viewer(Protocol):
    """Who looks at a page; see `access.Who`."""

    @property
    def name(self) -> str: ...
    @property
    def initials(self) -> str: ...
    @property
    def form_token(self) -> str: ...
    def may(self, role: Any, /) -> bool: ...


class Pages:
    """Renders the pages. `sandbox`: each says that nothing leaves this machine."""

    def __init__(self, areas: Sequence[Area] = (), *, sandbox: bool = False) -> None:
        self._areas = areas
        self._sandbox = sandbox  # where everybody may do everything
        self._static = _static_files()
        self._templates = _templates(sandbox=sandbox)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/ui/static/{digest}/{name}", self._send_static, methods=["GET"]),
            Route("/ui/theme", self._set_theme, methods=["POST"]),
        ]

    def render(
        self,
        request: Request,
        template: str,
        *,
        now: datetime,
        status: int = 200,
        who: Viewer | None = None,
        **values: object,
    ) -> HTMLResponse:
        """A whole page. `now`: business time, which decides what is "today". `who`: whose menu it has."""
        words = Words(_language(request), now)
        theme = request.cookies.get(_THEME_COOKIE)
        html = self._templates.get_template(template).render(
            values,
            words=words,
            say=words.say,
            theme=theme if theme in _NEXT_THEME else None,
            url=partial(here, request),
            who=who,
            areas=[area for area in self._areas if (who.may(area.role) if who else self._sandbox)],
        )
        return HTMLResponse(html, status, {**_SECURITY, "Vary": "Accept-Language, Cookie"})

    def fragment(self, template: str, language: Language, *, now: datetime, **values: object) -> str:
        """A part of a page that is there already."""
        words = Words(language, now)
        return self._templates.get_template(template).render(values, words=words, say=words.say)

    def language(self, request: Request) -> Language:
        return _language(request)

    async def _send_static(self, request: Request) -> Response:
        file = self._static.get(f"{request.path_params['digest']}/{request.path_params['name']}")
        if file is None:
            return Response(status_code=404)
        headers = {
            "Cache-Control": f"public, max-age={_YEAR_SECONDS}, immutable",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(file.packed, media_type=file.media_type, headers={**headers, "Content-Encoding": "gzip"})
        return Response(file.content, media_type=file.media_type, headers=headers)

    async def _set_theme(self, request: Request) -> Response:
        """The switch without a script. Nobody knows the system's choice here, so the first press always darkens."""
        form = await read_form(request)
        response = back(form.get("to", "/"))
        response.set_cookie(
            _THEME_COOKIE, _NEXT_THEME.get(request.cookies.get(_THEME_COOKIE), "dark"), _YEAR_SECONDS, samesite="lax"
        )
        return response


def switched_language(request: Request) -> Response | None:
    """The answer to a link with `?lang=`: a cookie, and the same page without the parameter."""
    wanted = request.query_params.get("lang")
    if wanted is None:
        return None
    response = back(here(request, lang=None))
    if wanted in _LANGUAGES:
        response.set_cookie(_LANGUAGE_COOKIE, wanted, _YEAR_SECONDS, samesite="lax")
    return response


def here(request: Request, **changes: str | None) -> str:
    """This page's path and query, with parameters changed, or left out when None."""
    query = {**dict(request.query_params), **changes}
    kept = {name: value for name, value in query.items() if value is not None}
    return request.url.path + (f"?{urlencode(kept)}" if kept else "")


def back(path: str) -> RedirectResponse:
    """See other, on this host: anything but a path leads to the front."""
    local = path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
    return RedirectResponse(local, 303, {"Cache-Control": "no-store"})


def from_elsewhere(request: Request) -> bool:
    """Whether another site's page sent this: a browser says so, and no such request may change anything."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


async def read_form(request: Request, most_bytes: int = MAX_FORM_BYTES) -> dict[str, str]:
    """The fields of a small form; the first value of each. What is too large is no form of ours: empty."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _language(request: Request) -> Language:
    chosen = _LANGUAGES.get(request.cookies.get(_LANGUAGE_COOKIE, ""))
    return chosen or negotiate(request.headers.get("accept-language", ""))
