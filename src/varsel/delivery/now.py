"""Stage 3 for a message whose sender waits: sent by the API process itself, and recorded as ever (design 8 "Instant").

Its rows are committed by the orders stage, as a claim of this process that may have left, before it comes here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final, Generic

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery import pool_store
from varsel.delivery.gate import Withheld
from varsel.delivery.outcome import Rules, recorded, withheld
from varsel.delivery.pool import Member, Message, Pool
from varsel.delivery.ports import Blame, Deferred, Refused, SendResult, Unknown
from varsel.delivery.recording import store_result
from varsel.delivery.store import Claimed, Recorded, Templates
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId
from varsel.domain.instant import Instant
from varsel.domain.notification import Reason
from varsel.domain.order import Lane
from varsel.log import Log
from varsel.wakeup import Waker

log = Log(__name__)

_PATIENCE: Final = timedelta(seconds=5)  # of a message that waits for its turn


class SendNow(Generic[Message]):
    """Sends single messages of one channel through its pool, as many at a time as the instances take."""

    def __init__(
        self,
        db: Database,
        pool: Pool[Message],
        render: Callable[[Claimed, Templates], Message | None],
        clock: Clock,
        waker: Waker,
        rules: Rules,
        *,
        patience: timedelta = _PATIENCE,
    ) -> None:
        self._db = db
        self._pool: Pool[Message] = pool
        self._render: Callable[[Claimed, Templates], Message | None] = render
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._patience = patience.total_seconds()

    async def take_turn(self, creator: str, address: str, tried: Sequence[str] = ()) -> "Turn[Message]":
        """A turn with the instance that should have the message.

        Raises `Unavailable` when all that were not tried rest, or are busy for too long.
        """
        await self._pool.look()
        ready = [m for m in self._pool.members if m.ready and m.name not in tried]
        free = [m for m in ready if not m.slots.locked()]
        member = self._pool.choose(free or ready, creator, address, ())
        if member is None:
            raise Unavailable(f"a provider of {self._pool.channel}", self._pool.wait_for(creator, address))
        try:
            async with asyncio.timeout(self._patience):
                await member.slots.acquire(Lane.INSTANT)
        except TimeoutError:
            raise Unavailable(member.name) from None
        turn = Turn(member, self)
        try:
            allowed = await self._allowed(turn, member)
        except Unavailable:
            await turn.end()
            raise
        if not allowed:
            await turn.end()
            raise Unavailable(member.name)
        return turn

    async def _allowed(self, turn: "Turn[Message]", member: Member[Message]) -> bool:
        """Also one on trial may be asked only by one at a time."""
        if member.on_trial:
            async with self._db.autocommit() as conn:
                if not await pool_store.take_trial(conn, member.name):
                    return False
            member.trying = turn.trial = True
        deadline = asyncio.get_running_loop().time() + self._patience
        return not member.bucket.limited or await member.bucket.take(
            1, lambda: asyncio.get_running_loop().time() > deadline
        )

    async def forgo(self, member: Member[Message]) -> None:
        await self._pool.forgo(member)

    async def send(self, member: Member[Message], instant: Instant) -> "Answered":
        row = _claimed(instant)
        message = self._render(row, Templates(instant.order.id, instant.order.email, instant.order.sms))
        if message is None:
            return self._answered(member, row, instant.claim, Refused(Reason.UNSPECIFIED, "empty text"))
        held = await self._withheld(member, message)
        if isinstance(held, Withheld):
            stored = withheld(row, instant.claim, held, provider=member.name, now=self._clock.now())
            return Answered(Refused(held.reason, held.detail), partial(self._store, stored))
        if held:
            return self._answered(member, row, instant.claim, held)
        result = await self._answer(member, message)
        await self._pool.mind(member, [result])
        return replace(self._answered(member, row, instant.claim, result), asked=True)

    async def _withheld(self, member: Member[Message], message: Message) -> Withheld | Deferred | None:
        """Deferred: this instance must not have it, or nobody knows whether it may leave."""
        gate = self._rules.gate
        if gate is None:
            return None
        try:
            async with self._db.routine() as conn:
                found = await gate.withheld(conn, [message], now=self._clock.now())
        except Unavailable:
            return Deferred("the suppression list cannot be read", Blame.PROVIDER)
        held = found.get(message.id)
        if held is None or not held.stops(member.name):
            return None
        left = held.by and self._pool.has_another(message.creator, message.to, held.by)
        return Deferred(held.detail, Blame.PROVIDER) if left else held

    def _answered(self, member: Member[Message], row: Claimed, claim: ClaimId, result: SendResult) -> "Answered":
        if isinstance(result, Deferred):
            log.warning("instant message deferred", notification_id=row.id, provider=member.name, detail=result.detail)
        return Answered(result, partial(self._record, member, row, claim, result))

    async def _answer(self, member: Member[Message], message: Message) -> SendResult:
        try:
            [result] = await member.provider.send([message])
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: the message may have left
            log.error("provider raised", exc=error, provider=member.name)
            return Unknown("the adapter failed")
        return result

    async def _record(self, member: Member[Message], row: Claimed, claim: ClaimId, result: SendResult) -> None:
        stored = recorded(
            row,
            claim,
            result,
            channel=self._pool.channel,
            provider=member.provider,
            rules=self._rules,
            now=self._clock.now(),
        )
        await self._store(stored)

    async def _store(self, stored: Recorded) -> None:
        await store_result(self._db, self._clock, self._waker, stored)


@dataclass(slots=True)
class Turn(Generic[Message]):
    """One message may be on its way by this instance. Pair: `end`. `trial`: it is one, and has not been judged."""

    _member: Member[Message]
    _sender: SendNow[Message]
    trial: bool = False

    @property
    def provider(self) -> str:
        return self._member.name

    async def end(self) -> None:
        self._member.slots.release()
        if self.trial:
            await self._sender.forgo(self._member)

    async def send(self, instant: Instant) -> "Answered":
        answered = await self._sender.send(self._member, instant)
        self.trial = self.trial and not answered.asked
        return answered


@dataclass(frozen=True, slots=True)
class Answered:
    """What the provider said of a message, not stored yet. `asked`: whether it was the provider who said it."""

    result: SendResult
    _record: Callable[[], Awaitable[None]]
    asked: bool = False

    @property
    def nothing_left(self) -> bool:
        """When the provider is to blame. A message that it put off itself goes on as any other (processing 34)."""
        return isinstance(self.result, Deferred) and self.result.blame is not Blame.MESSAGE

    async def record(self) -> None:
        await self._record()


def _claimed(instant: Instant) -> Claimed:
    """As the claim of a worker would have found it."""
    return Claimed(
        id=instant.notification,
        order=instant.order.id,
        creator=instant.creator,
        lane=Lane.INSTANT,
        attempt=1,
        daytime=False,
        expires_at=instant.expires_at,
        subject_kind=None,
        subject_key=None,
        address=instant.address,
        recipient_name=None,
        creator_name=instant.order.creator,
    )
