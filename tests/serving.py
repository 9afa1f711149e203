"""Our API on a real socket, and a client that sends exactly what a test tells it to."""

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from starlette.types import ASGIApp

from fakes import FakeDirectory
from road import LIFETIME, Road
from varsel.api.auth import Authenticator
from varsel.api.parts import ApiParts
from varsel.api.requests import Intake
from varsel.api.server import Timeouts, serve
from varsel.clock import Clock, ManualClock
from varsel.db import Database
from varsel.delivery.guard import Guard
from varsel.domain.order import Chain, Order
from varsel.domain.schedule import SendWindow
from varsel.issuer import CREATE_SCOPE, DevelopmentIssuer
from varsel.orders.register import ChainOutcome, Registered, Registration, Repeated
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.recipients.ports import ContactDirectory
from varsel.recipients.schemes import identifiers_of
from varsel.resolution.plan import Rules
from varsel.settings import Settings, SuppressionSettings
from varsel.status.feed import FeedReader
from varsel.wakeup import Work

ORDERS: Final = "/notifications/api/v1/orders"
HOUR: Final = timedelta(hours=1)
DEFAULTS: Final = Settings()
PATIENT: Final = Timeouts()
RULES: Final = Rules(SendWindow(), LIFETIME, timedelta(seconds=60))
PlaceInstant = Callable[[Chain, Order, timedelta | None], Awaitable[Registered | Repeated]]
PRICES: Final = Prices("NOK", Decimal("0.01"), {"+47": Decimal("0.3"), "": Decimal(2)})


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json; charset=utf-8"
        return json.loads(self.content)

    @property
    def errors(self) -> dict[str, list[str]]:
        """Of a validation problem, whose form is checked (assertion 25)."""
        assert self.status == 400, (self.status, self.content)
        problem = self.json
        assert problem["type"] == "https://tools.ietf.org/html/rfc9110#section-15.5.1"
        assert problem["title"] == "One or more validation errors occurred."
        assert problem["status"] == 400
        assert problem["traceId"].startswith("00-")
        errors: dict[str, list[str]] = problem["errors"]
        assert errors
        for messages in errors.values():
            assert messages
            assert all(isinstance(message, str) and message for message in messages)
        return errors


@dataclass
class Client:
    """Calls as `ttd` with the create scope, unless told otherwise. Every call has its own connection."""

    port: int
    issuer: DevelopmentIssuer
    _tokens: dict[tuple[str | None, tuple[str, ...]], str] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        org: str | None = "ttd",
        scopes: Collection[str] = (CREATE_SCOPE,),
        headers: Mapping[str, str | None] | None = None,
    ) -> Reply:
        """`body`: bytes as they are, anything else as JSON. `headers`: None takes a usual one away."""
        usual: dict[str, str | None] = {"Authorization": f"Bearer {self.token(org, scopes)}"}
        if body is not None:
            usual["Content-Type"] = "application/json"
        if not isinstance(body, bytes):
            body = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        sent = {name: value for name, value in {**usual, **(headers or {})}.items() if value is not None}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Reply(response.status, response.msg, response.read())
        finally:
            connection.close()

    def token(self, org: str | None, scopes: Collection[str]) -> str:
        key = (org, tuple(scopes))
        if key not in self._tokens:
            self._tokens[key] = self.issuer.mint(org, scopes, HOUR)
        return self._tokens[key]

    def post(self, path: str, body: object, **how: Any) -> Reply:
        return self.call("POST", path, body, **how)

    def get(self, path: str, **how: Any) -> Reply:
        return self.call("GET", path, **how)

    async def apost(self, path: str, body: object, **how: Any) -> Reply:
        return await asyncio.to_thread(self.post, path, body, **how)

    async def aget(self, path: str, **how: Any) -> Reply:
        return await asyncio.to_thread(self.get, path, **how)

    async def aput(self, path: str, **how: Any) -> Reply:
        return await asyncio.to_thread(self.call, "PUT", path, **how)


class Orders:
    """Accepts every order and stores none: for tests of what comes before."""

    def __init__(self) -> None:
        self.accepted: list[Order] = []
        self.chains: list[tuple[Chain, tuple[Order, ...]]] = []
        self.lives: list[timedelta | None] = []  # of instant messages

    async def register(self, order: Order) -> Registration:
        self.accepted.append(order)
        return Registration(order.id, None)

    async def register_chain(self, chain: Chain, orders: Sequence[Order]) -> ChainOutcome:
        self.chains.append((chain, tuple(orders)))
        return Registered(chain.id)

    async def place_instant(self, chain: Chain, order: Order, time_to_live: timedelta | None) -> Registered | Repeated:
        self.chains.append((chain, (order,)))
        self.lives.append(time_to_live)
        return Registered(chain.id)


@dataclass
class Front:
    client: Client
    orders: Orders
    clock: ManualClock

    def accepted(self, path: str, body: object) -> Order:
        """The order that came of a body that must be accepted."""
        reply = self.client.post(path, body)
        assert reply.status == 202, reply.content
        return self.orders.accepted[-1]


@dataclass
class Api:
    client: Client
    road: Road


def make_parts(
    home: Path,
    clock: Clock,
    database: Database,
    register: Callable[[Order], Awaitable[Registration]],
    settings: Settings = DEFAULTS,
    register_chain: Callable[[Chain, Sequence[Order]], Awaitable[ChainOutcome]] | None = None,
    directory: ContactDirectory | None = None,
    wake: Callable[[Work], None] = lambda _work: None,
    place_instant: PlaceInstant | None = None,
) -> ApiParts:
    """An API that accepts the tokens of the home's development issuer. `directory`: of previews and look-ups."""
    directory = directory or FakeDirectory()
    issuer = DevelopmentIssuer(home)
    server, guard = settings.server, Guard.configured(keyed(settings))
    return ApiParts(
        settings=settings,
        clock=clock,
        database=database,
        authenticator=Authenticator.from_settings(settings.auth, issuer),
        intake=Intake(
            clock,
            max_body_bytes=server.max_body_bytes,
            max_waiting_bytes=server.max_waiting_body_bytes,
            identifiers=identifiers_of(settings.registry),
            contents=guard.contents,
        ),
        register=register,
        register_chain=register_chain or Orders().register_chain,
        place_instant=place_instant or Orders().place_instant,
        feed=FeedReader(database, max_waiting=settings.feed.max_waiting),
        previewer=Previewer(directory, clock, RULES, PRICES),
        directory=directory,
        guard=guard,
        wake=wake,
        issuer=issuer,
    )


def keyed(settings: Settings) -> Settings:
    """With a key of the suppression list, if there is none: every process that is started by a command has one."""
    given = SuppressionSettings(key=SecretStr("a key of the tests"))
    return settings if settings.suppression.key else settings.model_copy(update={"suppression": given})


@asynccontextmanager
async def serving(app: ASGIApp, timeouts: Timeouts = PATIENT) -> AsyncIterator[int]:
    """Serve on this loop; the port."""
    stop = asyncio.Event()
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(app, "127.0.0.1", 0, stop, timeouts=timeouts, on_ready=ready.set_result))
    try:
        yield await ready
    finally:
        stop.set()
        await task


@contextmanager
def served(app: ASGIApp, timeouts: Timeouts = PATIENT) -> Iterator[int]:
    """Serve on a thread of its own; the port."""
    ready = threading.Event()
    port: list[int] = []
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        def on_ready(bound: int) -> None:
            port.append(bound)
            ready.set()

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(app, "127.0.0.1", 0, stop, timeouts=timeouts, on_ready=on_ready))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield port[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
