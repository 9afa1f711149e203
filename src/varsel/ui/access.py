"""Who looks at the pages: sign-in, sessions, roles, forms that are ours, and the log of who looked at whom.

People sign in by OpenID Connect, or on a single machine with a link of `varsel sign-in`. In the sandbox everybody is
somebody with all roles: its people are synthetic.
"""

import hashlib
import hmac
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import IO, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.errors import Unavailable
from varsel.log import Log, places
from varsel.settings import Settings
from varsel.ui import access_store as store
from varsel.ui.access_store import About, Ticket
from varsel.ui.oidc import OpenId, SignedIn, SignInFailed
from varsel.ui.pages import MAX_FORM_BYTES, Pages, back, from_elsewhere, read_form, switched_language
from varsel.ui.upload import NotAForm, TooLarge, read_upload

log = Log(__name__)

COOKIE: Final = "varsel_session"
SIGN_IN: Final = "/ui/sign-in"
FORM_TOKEN: Final = "form_token"  # noqa: S105 - a field's name
TICKET_LIFETIME: Final = timedelta(minutes=10)
HANDLE_LIFETIME: Final = timedelta(minutes=30)

_STATE_COOKIE: Final = "varsel_sign_in"
_STATE_SECONDS: Final = 600
_IN_MEMORY: Final = 1024 * 1024  # bytes of a file that is uploaded; the rest goes to the disk


class Role(StrEnum):
    """What somebody may do. `creator-admin`: all of a caseworker's, within one creator's orders."""

    VIEWER = "viewer"
    CASEWORKER = "caseworker"
    OPERATOR = "operator"
    CREATOR_ADMIN = "creator-admin"


_MAY: Final[Mapping[Role, frozenset[Role]]] = {  # who may do what the key asks for
    Role.VIEWER: frozenset(Role),
    Role.CASEWORKER: frozenset({Role.CASEWORKER, Role.CREATOR_ADMIN}),
    Role.CREATOR_ADMIN: frozenset({Role.CREATOR_ADMIN, Role.CASEWORKER}),
    Role.OPERATOR: frozenset({Role.OPERATOR}),
}


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who is signed in. `creator`: the only one whose orders they see; None: all. `case`: why they look."""

    session: bytes
    name: str
    subject: str
    roles: frozenset[Role]
    creator: str | None
    case: str
    form_token: str

    def may(self, role: Role) -> bool:
        """Whether somebody who needs `role` is this one."""
        return not self.roles.isdisjoint(_MAY[role])

    @property
    def initials(self) -> str:
        words = [word for word in self.name.split() if word[:1].isalnum()]
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()


Show = Callable[[Request, Who], Awaitable[Response]]
Act = Callable[[Request, Who, dict[str, str]], Awaitable[Response]]
Upload = Callable[[Request, Who, dict[str, str] | None, str, IO[bytes]], Awaitable[Response]]
"""The form is None when the file was too large to be read to its end: nothing is to be done but to say so."""


class Access:
    """Lets people in, and their forms."""

    def __init__(self, settings: Settings, db: Database, clock: Clock, pages: Pages) -> None:
        chosen = settings.pages
        self._db = db
        self._clock = clock
        self._pages = pages
        self._sandbox = settings.sandbox.enabled
        self._secure = settings.server.base_url.startswith("https:")
        self._lifetime, self._idle = chosen.session_lifetime, chosen.idle_time
        base = settings.server.base_url.rstrip("/")
        self._openid = OpenId(chosen, f"{base}{SIGN_IN}/done") if chosen.issuer else None

    def routes(self) -> list[BaseRoute]:
        return [
            Route(SIGN_IN, self._welcome, methods=["GET"]),
            Route(f"{SIGN_IN}/begin", self._begin, methods=["POST"]),
            Route(f"{SIGN_IN}/done", self._done, methods=["GET"]),
            Route(f"{SIGN_IN}/with/{{ticket}}", self._offer_ticket, methods=["GET"]),
            Route(f"{SIGN_IN}/with/{{ticket}}", self._use_ticket, methods=["POST"]),
            self.act("/ui/sign-out", self._sign_out, Role.VIEWER),
            self.act("/ui/case", self._set_case, Role.CASEWORKER),
        ]

    async def close(self) -> None:
        if self._openid:
            await self._openid.close()

    def page(self, path: str, show: Show, role: Role) -> Route:
        """A page for whoever has the role. Others are asked to sign in, or told that it is not for them."""

        async def answer(request: Request) -> Response:
            if switched := switched_language(request):
                return switched
            try:
                who, begun = await self._who(request)
            except Unavailable:
                return self._trouble(request)
            if who is None:
                return _to_sign_in(request, f"to={quote(_here(request))}")
            if not who.may(role):
                return self._refused(request, who)
            response = await self._answered(request, who, show(request, who), path)
            if begun:
                self._remember(response, begun)
            return response

        return Route(path, answer, methods=["GET"])

    def act(self, path: str, act: Act, role: Role, *, most_bytes: int = MAX_FORM_BYTES) -> Route:
        """What a form of ours does. Another site's form, or one without our token, does nothing."""

        async def answer(request: Request) -> Response:
            try:
                who, _ = await self._who(request)
            except Unavailable:
                return self._trouble(request)
            if who is None:
                return _to_sign_in(request, _from_page(request))
            form = await read_form(request, most_bytes)
            if from_elsewhere(request) or not hmac.compare_digest(form.get(FORM_TOKEN, ""), who.form_token):
                return self._pages.render(request, "stale_form.html", now=self._clock.now(), status=403, who=who)
            if not who.may(role):
                return self._refused(request, who)
            return await self._answered(request, who, act(request, who, form), path)

        return Route(path, answer, methods=["POST"])

    def upload(self, path: str, act: Upload, role: Role, *, most_bytes: int) -> Route:
        """As `act`, for a form with a file. `act` has its name, empty when none came, and where it is."""

        async def answer(request: Request) -> Response:
            try:
                who, _ = await self._who(request)
            except Unavailable:
                return self._trouble(request)
            if who is None:
                return _to_sign_in(request, _from_page(request))
            if not who.may(role):
                return self._refused(request, who)
            with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
                try:
                    form, name = await read_upload(request, file, most_bytes)
                except NotAForm:
                    form, name = {}, ""
                except TooLarge:
                    return await self._answered(request, who, act(request, who, None, "", file), path)
                if from_elsewhere(request) or not hmac.compare_digest(form.get(FORM_TOKEN, ""), who.form_token):
                    return self._pages.render(request, "stale_form.html", now=self._clock.now(), status=403, who=who)
                return await self._answered(request, who, act(request, who, form, name, file), path)

        return Route(path, answer, methods=["POST"])

    def way_back(self, path: str, act: str) -> Route:
        """The page that a form's answer was a part of, for who reloads that answer or follows a link of it."""

        async def answer(request: Request) -> Response:
            page = path.format(**request.path_params)
            return back(page + (f"?{request.url.query}" if request.url.query else ""))

        return Route(path + act, answer, methods=["GET"])

    def lost(self) -> list[BaseRoute]:
        """What no page answers: the front, and addresses that lead nowhere. They go last."""

        async def nowhere(request: Request, who: Who) -> Response:
            return self.missing(request, who)

        async def front(_: Request) -> Response:
            return back("/ui/")

        return [Route("/ui", front, methods=["GET"]), self.page("/ui/{nowhere:path}", nowhere, Role.VIEWER)]

    def missing(self, request: Request, who: Who | None) -> Response:
        return self._pages.render(request, "missing.html", now=self._clock.now(), status=404, who=who)

    async def _answered(self, request: Request, who: Who, answer: Awaitable[Response], path: str) -> Response:
        """The answer, or a page that says in words why there is none. `path`: the route's."""
        try:
            return await answer
        except NotFound:
            return self.missing(request, who)
        except Unavailable:
            return self._trouble(request)
        except Exception as error:  # noqa: BLE001 - a bug of ours; only its kind and place are told, as for the API
            log.error("request failed", error=type(error).__name__, where=places(error), path=path)
            return self._pages.render(request, "failed.html", now=self._clock.now(), status=500, who=who)

    async def handle(self, who: Who, about: About) -> str:
        """What stands in an address for somebody: nobody else can open it, and nobody for long."""
        id_ = secrets.token_urlsafe(16)
        async with self._db.autocommit() as conn:
            await store.make_handle(conn, id_, who.session, about, lifetime=HANDLE_LIFETIME)
        return id_

    async def open(self, who: Who, handle: str) -> About:
        """Raises `NotFound` for one of another session, or that is over."""
        async with self._db.reading() as conn:
            if about := await store.open_handle(conn, handle, who.session):
                return about
        raise NotFound

    async def _who(self, request: Request) -> tuple[Who | None, str | None]:
        """Who asks; and, when that is somebody new, the cookie to remember them by."""
        cookie = request.cookies.get(COOKIE, "")
        id_ = _hash(cookie)
        async with self._db.reading() as conn:
            session = await store.find(conn, id_, idle=self._idle) if cookie else None
        if session:
            if session.stale:
                async with self._db.autocommit() as conn:
                    await store.touch(conn, id_)
            roles = frozenset(Role(role) for role in session.roles if role in set(Role))
            return Who(id_, session.name, session.subject, roles, session.creator, session.case, _token(cookie)), None
        if not self._sandbox:
            return None, None
        anybody = Ticket("Sandbox", [Role.CASEWORKER.value, Role.OPERATOR.value], None)
        cookie = await self._start(anybody, "sandbox")
        roles = frozenset(map(Role, anybody.roles))
        return Who(_hash(cookie), anybody.name, "sandbox", roles, None, "sandbox", _token(cookie)), cookie

    async def _start(self, ticket: Ticket, subject: str) -> str:
        cookie = secrets.token_urlsafe(32)
        async with self._db.autocommit() as conn:
            await store.prune(conn)  # what is over: who comes pays for who has left
            await store.start(conn, _hash(cookie), ticket, subject=subject, lifetime=self._lifetime)
        return cookie

    async def _welcome(self, request: Request) -> Response:
        return switched_language(request) or self._sign_in_page(request)

    def _sign_in_page(self, request: Request, *, trouble: str = "", status: int = 200, ticket: str = "") -> Response:
        return self._pages.render(
            request,
            "sign_in.html",
            now=self._clock.now(),
            status=status,
            openid=self._openid is not None,
            to=_local(request.query_params.get("to", "")),
            trouble=trouble,
            ended="ended" in request.query_params and not trouble and not ticket,
            ticket=ticket,
        )

    async def _begin(self, request: Request) -> Response:
        """Off to the identity provider; the way back is kept in a cookie of this browser."""
        form = await read_form(request)
        if self._openid is None or from_elsewhere(request):
            return back(SIGN_IN)
        try:
            journey = await self._openid.begin(_local(form.get("to", "")))
        except SignInFailed as error:
            log.warning("sign-in failed", why=str(error))
            return self._sign_in_page(request, trouble="unreachable", status=503)
        response = RedirectResponse(journey.url, 303, {"Cache-Control": "no-store"})
        response.set_cookie(
            _STATE_COOKIE,
            journey.state,
            _STATE_SECONDS,
            path=SIGN_IN,
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def _done(self, request: Request) -> Response:
        """Back from the identity provider."""
        if self._openid is None:
            return back(SIGN_IN)
        try:
            signed_in = await self._openid.finish(request.cookies.get(_STATE_COOKIE, ""), request.query_params)
        except SignInFailed as error:
            log.warning("sign-in failed", why=str(error))
            return self._sign_in_page(request, trouble="failed", status=403)
        if not signed_in.roles:
            log.warning("sign-in without a role")
            return self._sign_in_page(request, trouble="no_role", status=403)
        return await self._enter(signed_in)

    async def _enter(self, signed_in: SignedIn) -> Response:
        ticket = Ticket(signed_in.name, sorted(signed_in.roles), signed_in.creator)
        cookie = await self._start(ticket, signed_in.subject)
        async with self._db.autocommit() as conn:
            await store.note(conn, actor=signed_in.name, subject=signed_in.subject, action="sign-in")
        response = back(signed_in.to or "/ui/")
        self._remember(response, cookie)
        response.delete_cookie(_STATE_COOKIE, path=SIGN_IN)
        return response

    async def _offer_ticket(self, request: Request) -> Response:
        """Looking at the link uses nothing up: programs that check links do that too."""
        if switched := switched_language(request):
            return switched
        async with self._db.reading() as conn:
            ticket = await store.look(conn, _hash(request.path_params["ticket"]))
        if ticket is None:
            return self._sign_in_page(request, trouble="ticket", status=404)
        return self._sign_in_page(request, ticket=ticket.name)

    async def _use_ticket(self, request: Request) -> Response:
        if from_elsewhere(request):
            return Response(status_code=403)
        async with self._db.autocommit() as conn:
            ticket = await store.use(conn, _hash(request.path_params["ticket"]))
        if ticket is None:
            return self._sign_in_page(request, trouble="ticket", status=404)
        return await self._enter(SignedIn(ticket.name, "local", frozenset(ticket.roles), ticket.creator, ""))

    async def _sign_out(self, _: Request, who: Who, __: dict[str, str]) -> Response:
        async with self._db.autocommit() as conn:
            await store.end(conn, who.session)
        response = back(SIGN_IN)
        response.delete_cookie(COOKIE)
        return response

    async def _set_case(self, _: Request, who: Who, form: dict[str, str]) -> Response:
        """Why they look, for the rest of the session."""
        async with self._db.autocommit() as conn:
            await store.set_case(conn, who.session, form.get("case", "").strip()[:100])
        return back(form.get("to", "/ui/"))

    def _remember(self, response: Response, cookie: str) -> None:
        seconds = round(self._lifetime.total_seconds())
        response.set_cookie(COOKIE, cookie, seconds, secure=self._secure, httponly=True, samesite="lax")

    def _refused(self, request: Request, who: Who) -> Response:
        return self._pages.render(request, "refused.html", now=self._clock.now(), status=403, who=who)

    def _trouble(self, request: Request) -> Response:
        return self._pages.render(request, "trouble.html", now=self._clock.now(), status=503)


class NotFound(Exception):
    """There is no such thing, or none that they may see."""


async def audit(
    conn: Conn,
    who: Who,
    action: str,
    *,
    creator: str | None = None,
    order: UUID | None = None,
    about: About | None = None,
    detail: str = "",
) -> None:
    """Write down what somebody does, before it is done, in the same transaction if it changes something."""
    await store.note(
        conn,
        actor=who.name,
        subject=who.subject,
        action=action,
        creator=creator,
        order=order,
        about=about,
        case=who.case,
        detail=detail,
    )


async def issue_ticket(db: Database, name: str, roles: frozenset[Role], creator: str | None) -> str:
    """The path of a link that signs somebody in once."""
    secret = secrets.token_hex(24)  # paths are folded to lower case
    async with db.autocommit() as conn:
        ticket = Ticket(name, sorted(role.value for role in roles), creator)
        await store.issue(conn, _hash(secret), ticket, lifetime=TICKET_LIFETIME)
    return f"{SIGN_IN}/with/{secret}"


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _token(cookie: str) -> str:
    """Of this session's forms: nobody can make it who does not have the cookie."""
    return hmac.new(cookie.encode(), b"form", hashlib.sha256).hexdigest()


def _to_sign_in(request: Request, query: str = "") -> Response:
    """Who was signed in is told that the session is over."""
    asked = "&".join(part for part in ("ended=yes" if COOKIE in request.cookies else "", query) if part)
    return RedirectResponse(SIGN_IN + (f"?{asked}" if asked else ""), 303, {"Cache-Control": "no-store"})


def _from_page(request: Request) -> str:
    """For who sent a form after their session was over: back to the form's page, which is asked for anew."""
    try:
        path = urlsplit(request.headers.get("referer", "")).path
    except ValueError:
        return ""
    return f"to={quote(path)}" if _local(path) else ""


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _local(path: str) -> str:
    return path if path.startswith("/ui/") and not path.startswith(SIGN_IN) else ""
