"""Instant orders: stored as begun, sent while their sender waits, answered when it is decided (design 8 "Instant")."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, WorkerId, uuid7
from varsel.domain.instant import Instant
from varsel.domain.notification import Channel
from varsel.domain.order import Chain, Order
from varsel.orders import instant_store, store
from varsel.orders.chain_store import Key
from varsel.orders.creators import Creators
from varsel.orders.instant_store import First
from varsel.orders.ports import InstantSender, Turn
from varsel.orders.quotas import Limits, Quotas, unlimited
from varsel.orders.register import Registered, Repeated

T = TypeVar("T")

_DECIDED_WITHIN: Final = timedelta(seconds=10)
_FIRST_LOOK, _LONGEST_PAUSE = 0.01, 0.25  # s between looks at an order that another request is deciding about
_LONGEST_REST: Final = 5.0  # s between tries while the database is away


@dataclass(slots=True)
class _Attempt:
    """A message on its way. `late`: its sender has been told that it stands. `removing`: it is being undone."""

    instant: Instant
    sender: InstantSender
    turn: Turn
    late: bool = field(default=False, init=False)
    removing: bool = field(default=False, init=False)
    tried: list[str] = field(default_factory=list, init=False)


class Instants:
    """Where instant orders are accepted, in an API process. `worker`: the process's own row at this moment."""

    def __init__(
        self,
        db: Database,
        senders: Mapping[Channel, InstantSender],
        clock: Clock,
        worker: Callable[[], WorkerId],
        *,
        lifetime: timedelta,
        decided_within: timedelta = _DECIDED_WITHIN,
        limits: Limits = unlimited,
    ) -> None:
        self._db = db
        self._senders = senders
        self._clock = clock
        self._worker = worker
        self._lifetime = lifetime
        self._decided_within = decided_within.total_seconds()
        self._creators = Creators(db, clock)
        self._quotas = Quotas(db, clock, limits, self._creators)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def place(self, chain: Chain, order: Order, time_to_live: timedelta | None = None) -> Registered | Repeated:
        """Store the order, send its message, and say that it stands: when that is known, or ten seconds later.

        Raises `Unavailable` when surely nothing left: then nothing is stored either, and the same request may come
        again. Raises `OverLimit` as well. A repeat waits for the decision about the first one. A client that leaves
        cancels nothing.
        """
        return await asyncio.shield(self._spawn(self._place(chain, order, time_to_live)))

    async def close(self, grace: timedelta) -> None:
        """Let what is on its way come to its end. The rest stays as it is: unknown, to whoever sweeps."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._quotas.close()

    async def _place(self, chain: Chain, order: Order, time_to_live: timedelta | None) -> Registered | Repeated:
        await self._creators.know([order.creator])
        creator = self._creators[order.creator]
        key = creator, chain.idempotency_id, chain.family
        if first := await self._find(key):
            return await self._repeated(first, key, chain)
        expires_at = order.created + (time_to_live or self._lifetime)
        wishes = [wish] if (wish := self._quotas.wish([order])) else []
        for refusal in filter(None, await self._quotas.take(wishes)):
            if first := await self._find(key):  # an equal request was counted meanwhile
                return await self._repeated(first, key, chain)
            raise refusal
        try:
            stands = await self._stands(Instant(order, creator, NotificationId(uuid7()), expires_at), chain)
        except Exception:
            await self._quotas.give_back(wishes)
            raise
        if not stands:
            await self._quotas.give_back(wishes)
            return await self._repeated(await self._find(key), key, chain)
        return Registered(chain.id)

    async def _stands(self, instant: Instant, chain: Chain) -> bool:
        """Store the order and send its message; False when its idempotency id is taken.

        Raises `Unavailable` when surely nothing left, and nothing is stored.
        """
        sender = self._sender(instant.channel)
        attempt = _Attempt(instant, sender, await sender.take_turn(instant.order.creator, instant.address))
        if not await self._begin(attempt, chain):
            return False
        if not await self._decision(attempt):
            raise Unavailable(attempt.turn.provider)
        return True

    def _sender(self, channel: Channel) -> InstantSender:
        if channel not in self._senders:
            raise Unavailable(f"a provider of {channel}")
        return self._senders[channel]

    async def _begin(self, attempt: _Attempt, chain: Chain) -> bool:
        """Store the order as begun; False when its idempotency id is taken.

        The turn then ends; else with the message's way.
        """
        begun = False
        try:
            begun = await self._store(attempt, chain)
        finally:
            if not begun:
                await attempt.turn.end()
        return begun

    async def _store(self, attempt: _Attempt, chain: Chain) -> bool:
        instant, written = attempt.instant, False
        try:
            async with self._db.routine_transaction() as conn:
                written = await self._write(conn, attempt, chain)
        except Unavailable:
            if written:  # the commit may have come through, and then nobody would send it
                self._spawn(self._until_stored(lambda conn: instant_store.remove(conn, instant)))
            raise
        return written

    async def _write(self, conn: Conn, attempt: _Attempt, chain: Chain) -> bool:
        instant, now = attempt.instant, self._clock.now()
        order, provider = instant.order, attempt.turn.provider
        if not await store.insert_orders(
            conn, [(order, instant.creator)], [(chain, [order])], self._creators.ids, now=now
        ):
            return False
        if not await instant_store.begin(conn, instant, self._worker(), provider, now=now):
            raise Unavailable("the process", timedelta(seconds=1))
        return True

    async def _decision(self, attempt: _Attempt) -> bool:
        """Whether the order stands, when the provider has answered or ten seconds are over."""
        task = self._spawn(self._carry_out(attempt))
        await asyncio.wait({task}, timeout=self._decided_within)
        if task.done():
            return task.result()
        if attempt.removing:
            return False
        attempt.late = True
        self._spawn(self._until_stored(lambda conn: instant_store.decide(conn, attempt.instant)))
        return True

    async def _carry_out(self, attempt: _Attempt) -> bool:
        """Send, and store the outcome. False: surely nothing left, and every trace is gone."""
        try:
            sent = await attempt.turn.send(attempt.instant)
            while sent.nothing_left and await self._reroute(attempt):
                sent = await attempt.turn.send(attempt.instant)
            if sent.nothing_left and not attempt.late:
                attempt.removing = True
                if await self._until_stored(lambda conn: instant_store.remove(conn, attempt.instant)):
                    return False
                attempt.removing = False  # somebody else has decided about it
            await sent.record()
            return True
        finally:
            await attempt.turn.end()

    async def _reroute(self, attempt: _Attempt) -> bool:
        """Let another provider have the message, which the last one surely has not. False: there is none."""
        order, address = attempt.instant.order, attempt.instant.address
        attempt.tried.append(attempt.turn.provider)
        try:
            turn = await attempt.sender.take_turn(order.creator, address, attempt.tried)
        except Unavailable:
            return False
        before, attempt.turn = attempt.turn, turn
        await before.end()
        return await self._until_stored(lambda conn: instant_store.reroute(conn, attempt.instant, turn.provider))

    async def _repeated(self, first: First | None, key: Key, chain: Chain) -> Repeated:
        """What the first request was told, once that is decided."""
        loop, pause = asyncio.get_running_loop(), _FIRST_LOOK
        deadline = loop.time() + self._decided_within
        while first and not first.decided and loop.time() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            first = await self._find(key)
        if first is None or not first.decided:
            raise Unavailable("the provider")  # as the first one was told, or will be
        return Repeated(first.chain, same=first.chain.request_hash == chain.request_hash)

    async def _find(self, key: Key) -> First | None:
        async with self._db.routine() as conn:
            return await instant_store.find(conn, key)

    async def _until_stored(self, write: Callable[[Conn], Awaitable[T]]) -> T:
        """Again and again while the database is away."""
        pause = 0.1
        while True:
            try:
                async with self._db.routine() as conn:
                    return await write(conn)
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_REST)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it
