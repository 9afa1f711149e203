"""A message is asked for: its provider works on it, or has it and we never heard (channels 1.5, 2.4).

A question that fails is asked again, and never sends anything.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery import asking_store as store
from varsel.delivery.asking_store import Held
from varsel.delivery.outcome import Answering, Rules, recorded
from varsel.delivery.ports import Asked, Deferred, Indeterminate, Pending, SendResult, Unknown
from varsel.delivery.retry import ask_delay
from varsel.delivery.store import Recorded
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId, uuid7
from varsel.domain.notification import Channel, State
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)

_BATCH: Final = 100
_LEASE: Final = timedelta(minutes=2)  # longer than any provider takes to answer about a batch
_PATIENCE: Final = timedelta(seconds=8)  # when a provider does not say how long


class AskedProvider(Answering, Protocol):
    """An `EmailProvider` or `SmsProvider` that is `Asking`."""

    async def ask(self, batch: Sequence[Asked]) -> list[SendResult]: ...


class Asker:
    """Asks one provider about the messages that it has, or may have. Any number of workers may ask at once."""

    def __init__(
        self, db: Database, provider: AskedProvider, channel: Channel, clock: Clock, waker: Waker, rules: Rules
    ) -> None:
        self._db = db
        self._provider = provider
        self._channel = channel
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._question: asyncio.Task[list[SendResult]] | None = None
        self._stopping = False

    @property
    def name(self) -> str:
        return f"ask {self._provider.name}"

    async def ask_due(self) -> int:
        """Ask about a batch of messages; returns how many. Raises `Unavailable` when the database fails."""
        if self._stopping:
            return 0
        now = self._clock.now()
        until = now + _LEASE
        async with self._db.autocommit() as conn:
            held = await store.hold_due(conn, self._provider.name, now=now, until=until, limit=_BATCH)
        if not held or (answers := await self._ask(held)) is None:
            return 0
        now = self._clock.now()
        await self._store([self._result(*pair, now) for pair in zip(held, answers, strict=True)], until)
        return len(held)

    async def next_due(self) -> datetime | None:
        async with self._db.reading() as conn:
            return await store.next_due(conn, self._provider.name)

    def halt(self) -> None:
        """Ask nothing more, and wait for no answer: it is asked again."""
        self._stopping = True
        if self._question:
            self._question.cancel()

    async def _ask(self, held: Sequence[Held]) -> list[SendResult] | None:
        """None: we are stopping."""
        questions = [_asked(one) for one in held]
        self._question = asyncio.create_task(self._provider.ask(questions))
        try:
            answers = await self._question
        except asyncio.CancelledError:
            if self._stopping:
                return None
            raise
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: it is asked again
            log.error("provider raised", exc=error, provider=self._provider.name)
            answers = []
        finally:
            self._question = None
        if len(answers) != len(held):
            log.error(
                "provider answered for others", provider=self._provider.name, sent=len(held), answers=len(answers)
            )
            answers = [Unknown("the adapter failed")] * len(held)
        return answers

    def _result(self, held: Held, answer: SendResult, now: datetime) -> Recorded:
        row, claim = held.row, ClaimId(uuid7())
        # that it has forgotten what it took does not say that it was not sent
        forgotten = isinstance(answer, Deferred) and held.reference is not None
        if isinstance(answer, Pending | Unknown) or (
            forgotten and self._provider.on_indeterminate is Indeterminate.HOLD
        ):
            waiting = Recorded(row.id, claim, self._provider.name, row.attempt, State.UNKNOWN, detail=answer.detail)
            reference = answer.reference if isinstance(answer, Pending) else None
            return waiting._replace(reference=reference, wake_at=_next(held, answer, now))
        result = recorded(
            row, claim, answer, channel=self._channel, provider=self._provider, rules=self._rules, now=now
        )
        return result._replace(outcome=result.outcome or ("accepted" if row.unknowns else None))

    async def _store(self, results: Sequence[Recorded], until: datetime) -> None:
        try:
            await self._move(results, until)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad row must not hold up the others
            if len(results) == 1:
                log.error("answer cannot be stored", exc=error, notification_id=results[0].id)
                return
            for result in results:
                await self._store([result], until)

    async def _move(self, results: Sequence[Recorded], until: datetime) -> None:
        async with self._db.transaction() as conn:
            changed, completed = await store.move(conn, results, until=until, now=self._clock.now())
        if any(result.state is State.NEW for result in results if result.id in changed):
            self._waker.wake(Work.NOTIFICATIONS)
        if completed:
            self._waker.wake(Work.FEED)


def _asked(held: Held) -> Asked:
    row = held.row
    return Asked(row.id, held.reference, row.attempt + row.returns, held.since, len(row.tried or ()))


def _next(held: Held, answer: SendResult, now: datetime) -> datetime | None:
    """When to ask again; None: not before it expires."""
    if now >= held.row.expires_at:
        return None
    wanted = answer.ask_after if isinstance(answer, Pending) else _PATIENCE
    return min(now + ask_delay(wanted, now - held.since), held.row.expires_at)
