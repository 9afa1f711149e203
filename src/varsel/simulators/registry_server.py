"""What the simulated registers have in common (registries 8): a server, faults on demand, a log of requests, a clock.

Everything under `/_sim` steers the simulator itself, and suffers no faults.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from varsel.domain.errors import Rejected
from varsel.recipients.load.rows import BadLine, Kind
from varsel.simulators.world import World

_LOGGED: Final = 1_000
_MAX_BODY: Final = 8 * 1024 * 1024
_SECRET_HEADERS: Final = frozenset({"authorization", "platformaccesstoken", "ocp-apim-subscription-key"})
_SECRET_MEMBERS: Final = frozenset({"assertion"})


class FaultKind(StrEnum):
    STATUS = "status"  # answer with this status and these headers
    DELAY = "delay"  # answer after so many seconds
    STALL = "stall"  # never answer
    DROP = "drop"  # close the connection before an answer
    TRUNCATE = "truncate"  # close it in the middle of the body
    SLOW_BODY = "slow-body"  # so many seconds between the bytes of the body
    NOT_JSON = "not-json"
    MALFORMED = "malformed"  # JSON of another shape
    BAD_ROW = "bad-row"  # the first entry lacks everything
    REPEAT = "repeat"  # each entry twice
    REORDER = "reorder"  # entries from last to first
    SHORT = "short"  # the last entry is missing
    INDETERMINATE = "indeterminate"  # the decision point failed inside, and answers one result only
    # of feeds
    EMPTY_PAGE = "empty-page"  # the position advances, but nothing is told
    STANDSTILL = "standstill"  # there is more, but the position does not advance
    RESET_LOG = "reset-log"  # the register counts from the beginning
    FOREIGN_PAGE = "foreign-page"  # the next page is another host's
    PAGE_LOOP = "page-loop"  # the next page is this one
    REFUSED = "refused"  # a change is refused, with status 200


class Fault(BaseModel):
    """What goes wrong from the `first` matching request on, and how often. `path`: how the path ends; "" is any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    path: str = ""
    first: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=1)
    status: int = Field(default=500, ge=200, le=599)
    headers: dict[str, str] = {}
    seconds: float = Field(default=0, ge=0)


_OF_THE_WIRE: Final = frozenset(
    {
        *(FaultKind.STATUS, FaultKind.DELAY, FaultKind.STALL, FaultKind.DROP, FaultKind.TRUNCATE),
        *(FaultKind.SLOW_BODY, FaultKind.NOT_JSON, FaultKind.MALFORMED),
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, without its secrets, and the status it was answered with (0: it was not)."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int


@dataclass(frozen=True, slots=True)
class Reply:
    """`entries` names the member of the body that lists what was found."""

    body: Any
    entries: str = ""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[web.Request, Any], Reply]
"""From a request and its parsed body to the answer."""


@dataclass(slots=True)
class _Planned:
    fault: Fault
    seen: int = 0

    def strikes(self, path: str) -> bool:
        if not path.endswith(self.fault.path):
            return False
        self.seen += 1
        return self.fault.first <= self.seen < self.fault.first + self.fault.times


class RegistrySimulator:
    """`async with …Simulator(world) as register` serves on `register.port`. One world may feed several simulators."""

    def __init__(
        self,
        world: World,
        routes: Mapping[str, Handler],
        *,
        host: str,
        port: int,
        now: Callable[[], datetime],
    ) -> None:
        """`routes`: by path, all of them POST, but see `find`. `port` 0: any free one."""
        self.world = world
        self.port = port
        self.requests: deque[Asked] = deque(maxlen=_LOGGED)
        self._routes = routes
        self._host = host
        self._base_now = now
        self._offset = timedelta()
        self._faults: list[_Planned] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}/"

    def now(self) -> datetime:
        """The simulator's own clock."""
        return self._base_now() + self._offset

    def set_clock(self, now: Callable[[], datetime]) -> None:
        self._base_now = now

    def fail(self, kind: FaultKind | str, path: str = "", **fault: Any) -> None:
        """Plan a `Fault`."""
        self._faults.append(_Planned(Fault(kind=FaultKind(kind), path=path, **fault)))

    def asked(self, path: str) -> list[Asked]:
        """The requests to a path, by its end."""
        return [request for request in self.requests if request.path.endswith(path)]

    def find(self, request: web.Request) -> Handler | None:
        """Who answers. For simulators whose paths are not all fixed, or not all POST."""
        return self._routes.get(request.path) if request.method == "POST" else None

    def bend(self, reply: Reply, fault: Fault) -> Reply:
        """What a fault makes of an answer that is otherwise sent as ever."""
        return _bent(reply, fault.kind)

    def put_fields(self, kind: Kind, fields: Mapping[str, str]) -> None:
        """A row changes, by the columns of its file. Raises `BadLine` or `Rejected`."""
        self.world.put_fields(kind, fields, self.now())

    async def start(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY)
        app.router.add_get("/_sim/{what}", self._show)
        app.router.add_post("/_sim/rows/{kind}", self._put_rows)
        app.router.add_post("/_sim/{what}", self._steer)
        app.router.add_route("*", "/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        fault = self._strike(request.path)
        body = await _body(request)
        handler = self.find(request)
        if fault and fault.kind is FaultKind.REFUSED:
            reply = Reply({})  # nobody is told of the change
        else:
            reply = handler(request, body) if handler else Reply({}, status=404)
        if fault and fault.kind is FaultKind.STATUS:
            reply = Reply({}, status=fault.status, headers=fault.headers)
        elif fault and fault.kind not in _OF_THE_WIRE:
            reply = self.bend(reply, fault)
        silent = fault is not None and fault.kind in {FaultKind.DROP, FaultKind.STALL}
        self._note(request, body, 0 if silent else reply.status)
        return await answer(request, reply, fault)

    def _strike(self, path: str) -> Fault | None:
        """The first fault that is due. Each counts the requests that it matches."""
        struck = [planned.fault for planned in self._faults if planned.strikes(path)]
        return struck[0] if struck else None

    def _note(self, request: web.Request, body: Any, status: int) -> None:
        headers = {
            name.lower(): "***" if name.lower() in _SECRET_HEADERS else value for name, value in request.headers.items()
        }
        if isinstance(body, dict):
            body = {name: "***" if name in _SECRET_MEMBERS else value for name, value in body.items()}
        self.requests.append(Asked(request.path, dict(request.query), headers, body, status))

    async def _show(self, request: web.Request) -> web.Response:
        match request.match_info["what"]:
            case "requests":
                return web.json_response([asdict(asked) for asked in self.requests])
            case "state":
                counts = {"persons": len(self.world.persons), "organisations": len(self.world.organisations)}
                return web.json_response({"now": self.now().isoformat(), **counts})
            case _:
                return web.Response(status=404)

    async def _steer(self, request: web.Request) -> web.Response:
        try:
            match request.match_info["what"]:
                case "faults":
                    self._faults.append(_Planned(Fault.model_validate_json(await request.read())))
                case "clock":
                    self._offset += _Move.model_validate_json(await request.read()).advance
                case "reset":
                    self._faults.clear()
                    self.requests.clear()
                    self._offset = timedelta()
                case _:
                    return web.Response(status=404)
        except ValidationError as error:
            return web.Response(status=400, text=str(error))
        return web.Response(status=204)

    async def _put_rows(self, request: web.Request) -> web.Response:
        """Rows as they stand in the import files of a kind: a list of objects."""
        try:
            kind = Kind(request.match_info["kind"])
            for fields in _ROWS.validate_json(await request.read()):
                self.put_fields(kind, fields)
        except (ValueError, BadLine, Rejected) as error:
            return web.Response(status=400, text=str(error))
        return web.Response(status=204)


class _Move(BaseModel):
    """How far the clock is moved: seconds, or ISO 8601."""

    advance: timedelta


_ROWS: Final = TypeAdapter(list[dict[str, str]])


def now_utc() -> datetime:
    return datetime.now(UTC)


async def answer(request: web.Request, reply: Reply, fault: Fault | None) -> web.StreamResponse:
    """Send a reply, or what a fault makes of it."""
    match fault.kind if fault else None:
        case FaultKind.DELAY if fault:
            await asyncio.sleep(fault.seconds)
        case FaultKind.STALL:
            await asyncio.Event().wait()
        case FaultKind.DROP:
            _abort(request)
        case FaultKind.TRUNCATE:
            return await _in_pieces(request, reply, cut=True)
        case FaultKind.SLOW_BODY if fault:
            return await _in_pieces(request, reply, pause=fault.seconds)
        case FaultKind.NOT_JSON:
            return web.Response(text="<html>Velkommen</html>", content_type="text/html")
        case FaultKind.MALFORMED:
            return web.json_response({"somethingElse": []})
        case _:
            pass
    return web.Response(status=reply.status, headers=reply.headers, body=_bytes(reply), content_type=reply.content_type)


async def _body(request: web.Request) -> Any:
    """JSON or a form; None for anything else."""
    content = await request.read()
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(content.decode("latin-1")))
    try:
        return json.loads(content)
    except ValueError:
        return None


def _bent(reply: Reply, kind: FaultKind) -> Reply:
    """The same answer with its entries changed."""
    if not reply.entries:
        return reply
    entries = reply.body[reply.entries]
    changed: dict[FaultKind, Callable[[], list[Any]]] = {
        FaultKind.BAD_ROW: lambda: [{}, *entries[1:]],
        FaultKind.REPEAT: lambda: [entry for entry in entries for _ in range(2)],
        FaultKind.REORDER: lambda: entries[::-1],
        FaultKind.SHORT: lambda: entries[:-1],
        FaultKind.INDETERMINATE: lambda: [{"decision": "Indeterminate"}],
    }
    return replace(reply, body={**reply.body, reply.entries: changed[kind]()})


async def _in_pieces(request: web.Request, reply: Reply, *, pause: float = 0, cut: bool = False) -> web.StreamResponse:
    body = _bytes(reply)
    response = web.StreamResponse(status=reply.status)
    response.content_type = reply.content_type
    response.content_length = len(body)
    await response.prepare(request)
    with suppress(ConnectionError):  # the client has had enough
        if cut:
            await response.write(body[: len(body) // 2])
            _abort(request)
        for byte in body if not cut else b"":
            await response.write(bytes([byte]))
            await asyncio.sleep(pause)
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _bytes(reply: Reply) -> bytes:
    return json.dumps(reply.body).encode()
