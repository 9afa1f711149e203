"""Stage 3 for a message whose sender waits: sent by the API process itself, and recorded as ever (design 8 "Instant").

Its rows are committed by the orders stage, as a claim of this process that may have left, before it comes here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, Generic

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery.outcome import Rules, recorded
from varsel.delivery.ports import Blame, Deferred, Refused, SendResult, Unknown
from varsel.delivery.recording import store_result
from varsel.delivery.send import Message, Provider
from varsel.delivery.store import Claimed, Templates
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId
from varsel.domain.instant import Instant
from varsel.domain.notification import Channel, Reason
from varsel.domain.order import Lane
from varsel.log import Log
from varsel.wakeup import Waker

log = Log(__name__)

_PATIENCE: Final = timedelta(seconds=5)  # of a message that waits for its turn


class SendNow(Generic[Message]):
    """Sends single messages of one channel through one provider, as many at a time as it has connections."""

    def __init__(
        self,
        db: Database,
        provider: Provider[Message],
        channel: Channel,
        render: Callable[[Claimed, Templates], Message | None],
        clock: Clock,
        waker: Waker,
        rules: Rules,
        *,
        patience: timedelta = _PATIENCE,
    ) -> None:
        self._db = db
        self._provider: Provider[Message] = provider
        self._channel = channel
        self._render: Callable[[Claimed, Templates], Message | None] = render
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._patience = patience.total_seconds()
        self._turns = asyncio.Semaphore(provider.step // provider.max_batch)
        self._rests_until = 0.0  # of the loop's clock: the provider asked us to come back later

    @property
    def provider(self) -> str:
        return self._provider.name

    async def take_turn(self) -> None:
        """Raises `Unavailable` when the provider rests, or is busy for too long."""
        rest = self._rests_until - asyncio.get_running_loop().time()
        if rest > 0:
            raise Unavailable(self.provider, timedelta(seconds=rest))
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable(self.provider) from None

    def end_turn(self) -> None:
        self._turns.release()

    async def send(self, instant: Instant) -> "Answered":
        row = _claimed(instant)
        message = self._render(row, Templates(instant.order.id, instant.order.email, instant.order.sms))
        result = await self._answer(message) if message is not None else Refused(Reason.UNSPECIFIED, "empty text")
        if isinstance(result, Deferred):
            self._note(result, row)
        return Answered(result, partial(self._record, row, instant.claim, result))

    async def _answer(self, message: Message) -> SendResult:
        try:
            [result] = await self._provider.send([message])
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: the message may have left
            log.error("provider raised", exc=error, provider=self.provider)
            return Unknown("the adapter failed")
        return result

    def _note(self, result: Deferred, row: Claimed) -> None:
        log.warning("instant message deferred", notification_id=row.id, provider=self.provider, detail=result.detail)
        if result.blame is Blame.PROVIDER and result.retry_after:
            self._rests_until = asyncio.get_running_loop().time() + result.retry_after.total_seconds()

    async def _record(self, row: Claimed, claim: ClaimId, result: SendResult) -> None:
        now = self._clock.now()
        stored = recorded(
            row, claim, result, channel=self._channel, provider=self._provider, rules=self._rules, now=now
        )
        await store_result(self._db, self._clock, self._waker, stored)


@dataclass(frozen=True, slots=True)
class Answered:
    """What the provider said of a message, not stored yet."""

    result: SendResult
    _record: Callable[[], Awaitable[None]]

    @property
    def nothing_left(self) -> bool:
        """When the provider is to blame. A message that it put off itself goes on as any other (processing 34)."""
        return isinstance(self.result, Deferred) and self.result.blame is Blame.PROVIDER

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
