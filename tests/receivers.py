"""A receiver of webhooks on loopback, and workers that push to it, under a test's hand."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ssl import SSLContext
from typing import Any
from uuid import UUID, uuid4

from aiohttp import web

from road import Road, until
from varsel.db import Database, execute, fetch, fetch_value
from varsel.domain.ids import WebhookId, uuid7
from varsel.domain.signatures import shown
from varsel.providers.webhook_http import HttpReceivers
from varsel.status.feed import number_feed
from varsel.webhooks.address import Addresses
from varsel.webhooks.event import SUBSCRIBABLE, Kind
from varsel.webhooks.owner import Owners
from varsel.webhooks.owner_store import Delivery, Webhook, Wish
from varsel.webhooks.push import Webhooks
from varsel.webhooks.round import Terms

BASE = "https://varsel.example"
LOOPBACK = Addresses(loopback_http=True)
Answer = web.StreamResponse | int


@dataclass(frozen=True)
class Got:
    """A request as it came. Names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    request: web.BaseRequest = field(repr=False, compare=False)

    @property
    def event(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def kind(self) -> str:
        return str(self.event["type"])

    @property
    def shipment(self) -> str | None:
        subject: str | None = self.event.get("subject")
        return subject

    @property
    def seq(self) -> int:
        return int(self.event["sequence"])


@dataclass
class Receiver:
    """`answer` decides: a status, or a response; it may wait. Pings are taken, unless `pings` says otherwise."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], Answer | Awaitable[Answer]] = lambda _: 204
    pings: int = 204
    now: int = 0  # requests that have no answer yet
    most: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook"

    @property
    def events(self) -> list[Got]:
        return [got for got in self.got if got.kind != Kind.PING]

    @property
    def seqs(self) -> list[int]:
        return [got.seq for got in self.events]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Got(request.path_qs, headers, await request.read(), request)
        self.got.append(got)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = self.pings if got.kind == Kind.PING else self.answer(got)
            found = await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.now -= 1
        return web.Response(status=found) if isinstance(found, int) else found


@asynccontextmanager
async def receiving(tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Pusher:
    """A worker that pushes: its stage, and its client."""

    webhooks: Webhooks
    client: HttpReceivers

    async def run(self) -> int:
        """Until nothing is due; how many rounds it took."""
        rounds = 0
        while begun := await self.webhooks.push_due():
            rounds += begun
            await until(lambda: self.webhooks.idle, 30)
        return rounds


@dataclass
class Hooks:
    """Webhooks on a road. Everything here is closed by `close`."""

    road: Road
    pushers: list[Pusher] = field(default_factory=list)
    timeout: timedelta = timedelta(seconds=15)

    def __post_init__(self) -> None:
        self.owners = Owners(self.road.db, self.road.clock, lambda _work: None)

    @property
    def db(self) -> Database:
        return self.road.db

    def pusher(
        self,
        *,
        addresses: Addresses = LOOPBACK,
        db: Database | None = None,
        machine: Callable[[], float] = time.time,
        **terms: Any,
    ) -> Pusher:
        """One more worker."""
        timeout = terms.setdefault("timeout", self.timeout)
        client = HttpReceivers(addresses, timeout=timeout)
        pusher = Pusher(Webhooks(db or self.db, client, self.road.clock, Terms(BASE, **terms), machine=machine), client)
        self.pushers.append(pusher)
        return pusher

    async def subscribe(
        self,
        url: str,
        kinds: Iterable[Kind] = SUBSCRIBABLE,
        *,
        creator: str = "ttd",
        destinations: bool = False,
        active: bool = True,
    ) -> tuple[WebhookId, str]:
        """A webhook and its secret; confirmed without a ping, unless it is to be pending."""
        webhook, secret = await self.owners.create(creator, Wish(url, tuple(kinds), None, destinations))
        if active:
            async with self.db.transaction() as conn:
                await execute(
                    conn,
                    "UPDATE webhook SET state = 'active', confirmed = true WHERE id = %(id)s",
                    {"id": webhook.id},
                )
                await execute(conn, "DELETE FROM webhook_delivery WHERE webhook_id = %(id)s", {"id": webhook.id})
        return webhook.id, shown(secret)

    async def happen(
        self, *orders: UUID | None, creator: str = "ttd", correction: bool = False, **members: Any
    ) -> list[int]:
        """Entries of the feed, of orders that have no road of their own (None: of a new order); their numbers."""
        before = await self._newest()
        async with self.db.transaction() as conn:
            for order in orders:
                await _add_entry(conn, creator, order or uuid7(), self.road.clock.now(), correction, members)
        await number_feed(self.db)
        async with self.db.reading() as conn:
            sql = "SELECT seq FROM status_feed WHERE seq > %(before)s ORDER BY seq"
            return await fetch(conn, sql, {"before": before}, int)

    async def webhook(self, id_: WebhookId, creator: str = "ttd") -> Webhook:
        return await self.owners.get(creator, id_)

    async def state(self, id_: WebhookId, creator: str = "ttd") -> tuple[str, str | None]:
        webhook = await self.webhook(id_, creator)
        return webhook.state, webhook.reason

    async def deliveries(self, id_: WebhookId, creator: str = "ttd") -> dict[int | None, Delivery]:
        """By the number of the event; None: the last ping."""
        found = await self.owners.deliveries(creator, id_, 1_000)
        return {delivery.seq: delivery for delivery in reversed(found)}

    async def lapse(self) -> None:
        """As if every lease had run out."""
        async with self.db.autocommit() as conn:
            await execute(conn, "UPDATE webhook SET lease_until = statement_timestamp()", {})

    async def close(self) -> None:
        for pusher in self.pushers:
            await pusher.webhooks.stop(timedelta())
            await pusher.client.close()

    async def _newest(self) -> int:
        async with self.db.reading() as conn:
            return int(await fetch_value(conn, "SELECT coalesce(max(seq), 0) FROM status_feed", {}))


async def _add_entry(
    conn: Any, creator: str, order: UUID, now: Any, correction: bool, members: Mapping[str, Any]
) -> None:
    entry = {
        "shipmentId": str(order),
        "sendersReference": "case-17",
        "shipmentType": "Notification",
        "status": "Order_Completed",
        "lastUpdate": "2026-11-23T10:00:00.000000Z",
        "recipients": [
            {
                "notificationId": str(uuid4()),
                "destination": "kari@example.com",
                "status": "Email_Delivered",
                "lastUpdate": "2026-11-23T10:00:00.000000Z",
            }
        ],
        **({"correction": True} if correction else {}),
        **members,
    }
    await execute(
        conn,
        "INSERT INTO creator (name, created_at) VALUES (%(name)s, %(now)s) ON CONFLICT DO NOTHING",
        {"name": creator, "now": now},
    )
    await execute(
        conn,
        """INSERT INTO feed_pending (creator_id, order_id, created_at, body)
           SELECT id, %(order)s, %(now)s, %(body)s::jsonb FROM creator WHERE name = %(creator)s""",
        {"order": order, "body": json.dumps(entry), "creator": creator, "now": now},
    )


@asynccontextmanager
async def hooks_on(road: Road, **options: Any) -> AsyncIterator[Hooks]:
    hooks = Hooks(road, **options)
    try:
        yield hooks
    finally:
        await hooks.close()


async def hang(_: Got) -> Answer:
    """No answer for as long as any test waits."""
    await asyncio.sleep(600)
    return 204
