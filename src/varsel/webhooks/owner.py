"""What owners do with their webhooks (channels 7.1): who is told of what, and where.

A webhook is confirmed by a ping that its receiver takes; workers send it, as everything else.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.errors import Rejected
from varsel.domain.ids import WebhookId, uuid7
from varsel.domain.signatures import new_secret
from varsel.wakeup import Work
from varsel.webhooks import owner_store as store
from varsel.webhooks.owner_store import Delivery, Webhook, Wish

OLD_SECRET_FOR: Final = timedelta(hours=24)
"""For so long the secret before a rotation signs too."""
MOST: Final = 10
"""Webhooks of one creator."""


class NoSuchWebhook(Exception):
    """There is none, or it is another creator's."""


class Owners:
    """`wake`: `Waker.wake`, called after each commit that gives workers something to do.

    Every method that names a webhook raises `NoSuchWebhook`, and every method `Unavailable`.
    """

    def __init__(self, db: Database, clock: Clock, wake: Callable[[Work], None]) -> None:
        self._db = db
        self._clock = clock
        self._wake = wake

    async def create(self, creator: str, wish: Wish) -> tuple[Webhook, bytes]:
        """A pending webhook and its secret, which is not shown again. Raises `Rejected` for one too many."""
        id_, secret, now = WebhookId(uuid7()), new_secret(), self._clock.now()
        async with self._db.transaction() as conn:
            creator_id = await store.lock_creator(conn, creator, now=now)
            if await store.count(conn, creator_id) >= MOST:
                raise Rejected("too-many-webhooks", f"There are {MOST} webhooks already. Delete one first.")
            await store.insert(conn, creator_id, id_, wish, secret, now=now)
            await store.ping(conn, id_, now=now)
            webhook = await self._shown(conn, creator, id_)
        self._wake(Work.WEBHOOKS)
        return webhook, secret

    async def all_of(self, creator: str) -> Sequence[Webhook]:
        async with self._db.reading() as conn:
            return await store.all_of(conn, creator, now=self._clock.now())

    async def get(self, creator: str, id_: WebhookId) -> Webhook:
        async with self._db.reading() as conn:
            found = await store.get(conn, creator, id_, now=self._clock.now())
        if found is None:
            raise NoSuchWebhook
        return found

    async def change(self, creator: str, id_: WebhookId, wish: Wish) -> Webhook:
        """Another address has to be confirmed first."""
        now = self._clock.now()
        async with self._locked(creator, id_) as conn:
            if await store.change(conn, id_, wish, now=now):
                await store.forget_pings(conn, id_)
                await store.ping(conn, id_, now=now)
            webhook = await self._shown(conn, creator, id_)
        self._wake(Work.WEBHOOKS)
        return webhook

    async def delete(self, creator: str, id_: WebhookId) -> None:
        async with self._db.autocommit() as conn:
            if not await store.delete(conn, creator, id_):
                raise NoSuchWebhook

    async def ping(self, creator: str, id_: WebhookId) -> Webhook:
        """Let a ping be sent, in any state."""
        async with self._locked(creator, id_) as conn:
            await store.ping(conn, id_, now=self._clock.now())
            webhook = await self._shown(conn, creator, id_)
        self._wake(Work.WEBHOOKS)
        return webhook

    async def pause(self, creator: str, id_: WebhookId) -> Webhook:
        """Nothing more is sent; what happens meanwhile is, when it is resumed."""
        async with self._locked(creator, id_) as conn:
            await store.pause(conn, id_, now=self._clock.now())
            return await self._shown(conn, creator, id_)

    async def resume(self, creator: str, id_: WebhookId) -> Webhook:
        """Go on, and try at once what waits. An address that was never confirmed, or was gone, is pinged first."""
        now = self._clock.now()
        async with self._locked(creator, id_) as conn:
            if not await store.resume(conn, id_, now=now):
                await store.ping(conn, id_, now=now)
            webhook = await self._shown(conn, creator, id_)
        self._wake(Work.WEBHOOKS)
        return webhook

    async def rotate(self, creator: str, id_: WebhookId) -> tuple[Webhook, bytes]:
        """A new secret. The one before signs too, for a day."""
        secret = new_secret()
        async with self._locked(creator, id_) as conn:
            await store.rotate(conn, id_, secret, until=self._clock.now() + OLD_SECRET_FOR)
            return await self._shown(conn, creator, id_), secret

    async def replay(self, creator: str, id_: WebhookId, seq: int) -> Webhook:
        """Let it be told of everything from that number of the feed on; what waits of the time before is given up.

        Raises `Rejected` when the feed has not come so far.
        """
        async with self._locked(creator, id_) as conn:
            if not await store.replay(conn, id_, seq):
                raise Rejected("no-such-sequence-number", "The feed has not come so far.")
            webhook = await self._shown(conn, creator, id_)
        self._wake(Work.WEBHOOKS)
        return webhook

    async def deliveries(self, creator: str, id_: WebhookId, limit: int) -> Sequence[Delivery]:
        """The newest first."""
        await self.get(creator, id_)
        async with self._db.reading() as conn:
            return await store.deliveries(conn, creator, id_, limit=limit)

    @asynccontextmanager
    async def _locked(self, creator: str, id_: WebhookId) -> AsyncIterator[Conn]:
        async with self._db.transaction() as conn:
            if not await store.lock(conn, creator, id_):
                raise NoSuchWebhook
            yield conn

    async def _shown(self, conn: Conn, creator: str, id_: WebhookId) -> Webhook:
        found = await store.get(conn, creator, id_, now=self._clock.now())
        assert found is not None
        return found
