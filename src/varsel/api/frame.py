"""The frame around every route: paths, unexpected errors, and the one class of JSON routes (http-api 2, design 8)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from varsel.api.bodies import Body
from varsel.api.problems import Invalid, unavailable
from varsel.api.schemas import Problem, ValidationProblem
from varsel.domain.errors import Unavailable
from varsel.issuer import CREATE_SCOPE
from varsel.log import Log, places

log = Log(__name__)

_FOLDED: Final = ("/notifications/", "/profile/", "/registry/", "/health", "/swagger")

Endpoint = Callable[[Request], Awaitable[Response]]
Parameter = Mapping[str, Any]
"""A parameter as OpenAPI describes it."""
Answers = Mapping[int, type[BaseModel] | str | None]
"""By status: the model of a JSON body, a plain text as it stands in the answer, or None for an empty body."""

_ALWAYS: Final[Answers] = {400: ValidationProblem, 500: None, 503: Problem}  # 400: NUL in the query is enough
_SECURED: Final[Answers] = {401: None, 403: None}
_READING: Final[Answers] = {413: Problem, 415: Problem}


class JsonRoute(APIRoute):
    """Hands the raw request to its endpoint, which reads and checks it itself; the rest is there for OpenAPI.

    `answers`: what every route can answer need not be named. `file`: an example of a file in the place of a JSON body;
    `text`: the type of answers that are told as text.
    `scope`: which the caller's token must have; None: anybody may call. The endpoint's name is the operation's.
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        method: str,
        answers: Answers,
        body: type[Body] | None = None,
        file: str | None = None,
        text: str = "text/plain",
        parameters: Sequence[Parameter] = (),
        scope: str | None = CREATE_SCOPE,
        tags: Sequence[str] = (),
        deprecated: bool = False,
    ) -> None:
        self.body = body
        self.file = file
        self.text = text
        self.parameters = parameters
        self.scope = scope
        self.method = method
        usual = {**_ALWAYS, **(_SECURED if scope else {}), **(_READING if body or file else {})}
        self.answers = dict(sorted({**usual, **answers}.items()))
        super().__init__(
            path,
            endpoint,
            methods=[method],
            tags=list(tags),
            deprecated=deprecated or None,
            operation_id=to_camel(endpoint.__name__),
        )

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class Frame:
    """Outermost of our own: folds paths, refuses NUL in queries, and answers what nobody expected with an empty 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].lower()
        if path.startswith(_FOLDED):
            scope["path"] = path[:-1] if path.endswith("/") else path
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        if b"%00" in scope["query_string"] and (refusal := _with_nul(scope["query_string"])):
            await refusal.response(Request(scope))(scope, receive, send)
            return
        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except asyncio.CancelledError:  # the server ends, and has waited long enough for us
            log.warning("request cut off", path=_pattern(scope))
            if not started:
                await unavailable(Unavailable("the server")).response(Request(scope))(scope, receive, send)
        except Exception as e:  # noqa: BLE001 - a bug of ours; the caller hears 500 (http-api 5.4)
            # the message may hold personal data, so only the kind of error and the places are told
            log.error("request failed", error=type(e).__name__, where=places(e), path=_pattern(scope))
            if started:
                raise ConnectionAbortedError from None  # the server cuts the connection
            await Response(status_code=500)(scope, receive, send)


def _with_nul(query: bytes) -> Invalid | None:
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if "\0" in name or "\0" in value:
            return Invalid({name.replace("\0", ""): ["NUL is not allowed."]})
    return None


def methods_of(request: Request) -> str:
    """For `Allow`: the methods of all routes with the request's path. A path that is spelt out goes before `{id}`."""
    routes = request.scope["app"].routes
    found = [r for r in routes if isinstance(r, Route) and r.matches(request.scope)[0] is not Match.NONE]
    plain = [r for r in found if not r.param_convertors]
    return ", ".join(sorted({method for r in plain or found for method in r.methods or ()}))


def _pattern(scope: Scope) -> str:
    """The route's path, not the caller's: that may hold anything."""
    return getattr(scope.get("route"), "path", "")
