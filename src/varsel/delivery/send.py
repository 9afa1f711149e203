"""Stage 3: a notification leaves: claim → hand over → send → record (design 8 "Claim, then hand over", proven 5)."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from varsel.clock import Clock
from varsel.db import Database, Deadlock
from varsel.delivery import store
from varsel.delivery.outcome import Rules, recorded
from varsel.delivery.ports import (
    Accepted,
    Blame,
    Confirms,
    Deferred,
    Email,
    Indeterminate,
    SendResult,
    Sms,
    Unknown,
)
from varsel.delivery.store import Claimed, Recorded, Templates
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId, WorkerId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Lane
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)

Message = TypeVar("Message", Email, Sms)
Sent_contra = TypeVar("Sent_contra", bound=Email | Sms, contravariant=True)

_LANES: Final = (Lane.INSTANT, Lane.ORDINARY, Lane.BULK)  # emails with attachments have a sender of their own
_CLAIM_LIMIT: Final = 500
_CLAIM_SECONDS: Final = 0.5  # a claim is at most what the provider takes in this time
_MOST_TURNS: Final = 64  # of 16 creators each, in search of a row that can be claimed
_FLUSH_ROWS: Final = 250
_FLUSH_AFTER: Final = 0.05  # s; sooner when nothing more is under way


class Provider(Protocol[Sent_contra]):
    """An `EmailProvider` or an `SmsProvider`."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def confirms(self) -> Confirms: ...
    @property
    def on_indeterminate(self) -> Indeterminate: ...
    async def send(self, batch: Sequence[Sent_contra], /) -> list[SendResult]: ...


class _Held(NamedTuple, Generic[Message]):
    """A claimed notification, its place in the claim (from 1), and its message; None: there is nothing to send."""

    row: Claimed
    claim: ClaimId
    place: int
    message: Message | None


class Sending(Generic[Message]):
    """Sends one channel's notifications through one provider, for one worker."""

    def __init__(
        self,
        db: Database,
        provider: Provider[Message],
        channel: Channel,
        render: Callable[[Claimed, Templates], Message | None],
        clock: Clock,
        waker: Waker,
        rules: Rules,
        worker: WorkerId,
    ) -> None:
        self._db = db
        self._provider: Provider[Message] = provider
        self._channel = channel
        self._render: Callable[[Claimed, Templates], Message | None] = render
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._after = dict.fromkeys(Lane, 0)
        self._slots = asyncio.Semaphore(provider.step // provider.max_batch)
        self._claims: set[asyncio.Task[None]] = set()
        self._doubtful: set[ClaimId] = set()  # perhaps made, and nobody works on them
        self._backlog = 0  # claimed and not yet with the provider
        self._under_way = 0
        self._room = asyncio.Event()
        self._room.set()
        self._rest = False  # the provider asked for a pause, or we are stopping: give back what has not been started
        self._stopping = False
        self._failing = False
        self._pace = _Pace(provider.step)
        self._recorder = _Recorder(db, clock, self._completed)

    @property
    def name(self) -> str:
        return f"send {self._channel} by {self._provider.name}"

    @property
    def idle(self) -> bool:
        return not self._claims and not self._recorder.busy

    async def send_due(self) -> int:
        """Claim what the provider can take and begin to send it. Returns how many were claimed; 0: nothing is due.

        Waits while enough is claimed already. Raises `Unavailable` when the database fails.
        """
        await self._room.wait()
        if self._stopping:
            return 0
        await self._settle_doubts()
        async with self._db.reading() as conn:
            if await store.is_paused(conn, self._provider.name):
                return 0
        self._rest = self._stopping
        for lane in _LANES:
            claim_id = ClaimId(uuid7())
            self._doubtful.add(claim_id)
            if rows := await self._claim(claim_id, lane):
                self._begin(claim_id, await self._hold(claim_id, rows))
                return len(rows)
            self._doubtful.discard(claim_id)
        return 0

    def halt(self) -> None:
        """Claim nothing more, and begin with nothing more of what is claimed."""
        self._stopping = self._rest = True
        self._room.set()

    async def stop(self, grace: timedelta) -> None:
        """Give back what has not been started, and finish what has, within the grace. The rest is left claimed.

        Call `halt` before, and let a `send_due` that is under way end.
        """
        self.halt()
        if self._claims:
            _, late = await asyncio.wait(self._claims, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._recorder.close()

    def _begin(self, claim_id: ClaimId, held: Sequence[_Held[Message]]) -> None:
        self._doubtful.discard(claim_id)
        self._backlog += len(held)
        self._make_room()
        task = asyncio.create_task(self._send_claim(claim_id, held))
        self._claims.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._claims.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("claim failed", exc=error, provider=self._provider.name)

    async def _settle_doubts(self) -> None:
        """Give back what an error left claimed before anything of it was begun."""
        if self._doubtful:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, self._doubtful, self._worker)
            self._doubtful.clear()

    async def _claim(self, claim_id: ClaimId, lane: Lane) -> list[Claimed]:
        """From where the last claim of the lane ended, once around all creators."""
        began, after = self._after[lane], self._after[lane]
        for _ in range(_MOST_TURNS):
            async with self._db.autocommit() as conn:
                rows, after = await store.claim(
                    conn,
                    claim_id=claim_id,
                    worker=self._worker,
                    provider=self._provider.name,
                    channel=self._channel,
                    lane=lane,
                    after=after,
                    limit=self._pace.claim_limit,
                    now=self._clock.now(),
                )
            self._after[lane] = after
            if rows:
                return rows
            if not after:
                if not began:
                    break
                began = 0  # what stands before where we began
        return []

    async def _hold(self, claim_id: ClaimId, rows: Sequence[Claimed]) -> list[_Held[Message]]:
        async with self._db.reading() as conn:
            found = await store.templates(conn, sorted({row.order for row in rows}))
        templates = {t.order: t for t in found}
        return [
            _Held(row, claim_id, place, self._message(row, templates.get(row.order)))
            for place, row in enumerate(rows, start=1)
        ]

    def _message(self, row: Claimed, templates: Templates | None) -> Message | None:
        """None, and an alarm, when a bug or a missing text makes it impossible: the others of the claim go on."""
        if templates is None:
            log.error("order without content", order_id=row.order)
            return None
        try:
            return self._render(row, templates)
        except Exception as error:  # noqa: BLE001 - charged to the row that is the cause
            log.error("message cannot be rendered", exc=error, notification_id=row.id)
            return None

    async def _send_claim(self, claim_id: ClaimId, held: Sequence[_Held[Message]]) -> None:
        """Start the messages in order of the claim, never one that the committed mark does not cover."""
        marked, lost, begun = 0, False, 0
        tasks: list[asyncio.Task[None]] = []
        try:
            for batch in _batches(held, self._provider.max_batch):
                await self._slots.acquire()
                if batch[-1].place > marked and not self._rest:
                    marked = min(batch[-1].place + self._provider.step, len(held))
                    if not await self._declare(claim_id, marked):
                        lost = True
                        break
                ready = self._startable(batch)  # after the mark, which may have waited for the database
                self._backlog -= len(batch)
                self._make_room()
                self._under_way += len(ready)
                begun += len(batch)
                tasks.append(asyncio.create_task(self._send_batch(ready)))
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise  # the claim stays: what is up to its mark is unknown, the rest goes back
        if lost:
            log.warning("claim lost", provider=self._provider.name, dropped=len(held) - begun)
            self._slots.release()
            self._backlog -= len(held) - begun
            self._make_room()
        self._recorder.end(claim_id)

    async def _declare(self, claim_id: ClaimId, upto: int) -> bool:
        """False: the claim was taken from us, for we were silent too long."""
        while True:
            try:
                async with self._db.autocommit() as conn:
                    return await store.hand_over(conn, claim_id, upto)
            except Unavailable:
                await asyncio.sleep(0.2)  # nothing may leave before the mark is stored

    def _startable(self, batch: Sequence[_Held[Message]]) -> list[_Held[Message]]:
        """Those that may leave now. The others are recorded: given back, or with the fate that they have."""
        now = self._clock.now()
        ready = []
        for held in batch:
            if result := self._without_sending(held, now):
                self._recorder.add(result)
            else:
                ready.append(held)
        return ready

    def _without_sending(self, held: _Held[Message], now: datetime) -> Recorded | None:
        """What becomes of a message that may not leave now; None: it may."""
        row, state, wake_at = held.row, State.NEW, None
        if row.expires_at <= now:
            state = State.EXPIRED
        elif row.daytime and not self._rest and not self._rules.window.is_open(now):
            wake_at = self._rules.window.next_opening(now)
        elif not self._rest:
            return None if held.message is not None else self._empty(held)
        return Recorded(row.id, held.claim, self._provider.name, row.attempt, state, wake_at=wake_at, uncharged=1)

    def _empty(self, held: _Held[Message]) -> Recorded:
        row = held.row
        failed = Recorded(row.id, held.claim, self._provider.name, row.attempt, State.FAILED)
        return failed._replace(reason=Reason.UNSPECIFIED, outcome="refused", detail="empty text")

    async def _send_batch(self, batch: Sequence[_Held[Message]]) -> None:
        try:
            messages = [held.message for held in batch if held.message is not None]
            results = await self._provider.send(messages) if messages else []
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: the message may have left
            log.error("provider raised", exc=error, provider=self._provider.name)
            results = [Unknown("the adapter failed")] * len(batch)
        except asyncio.CancelledError:
            return  # stays claimed up to the mark: unknown to whoever sweeps
        finally:
            self._under_way -= len(batch)
            self._slots.release()
        if len(results) != len(batch):
            log.error(
                "provider answered for others", provider=self._provider.name, sent=len(batch), answers=len(results)
            )
            results = [Unknown("the adapter failed")] * len(batch)
        self._pace.count(len(batch))
        now = self._clock.now()
        for held, result in zip(batch, results, strict=True):
            self._recorder.add(self._recorded(held, result, now))
        await self._mind_provider(results)
        if not self._under_way and not self._backlog:
            self._recorder.flush()

    async def _mind_provider(self, results: Sequence[SendResult]) -> None:
        """Let the provider rest when it asked for it, or could not be reached; forget its failures when it is back."""
        blamed = [r for r in results if isinstance(r, Deferred) and r.blame is Blame.PROVIDER]
        try:
            if blamed and not self._rest:
                self._rest = self._failing = True
                wanted = max((r.retry_after for r in blamed if r.retry_after), default=None)
                async with self._db.autocommit() as conn:
                    failures = await store.pause_provider(
                        conn, self._provider.name, self._channel, wanted, blamed[0].detail
                    )
                log.warning("provider paused", provider=self._provider.name, failures=failures, why=blamed[0].detail)
            elif self._failing and any(isinstance(r, Accepted) for r in results):
                self._failing = False
                async with self._db.autocommit() as conn:
                    await store.provider_recovered(conn, self._provider.name)
        except Unavailable:
            log.warning("provider state not stored", provider=self._provider.name)

    def _recorded(self, held: _Held[Message], result: SendResult, now: datetime) -> Recorded:
        return recorded(
            held.row,
            held.claim,
            result,
            channel=self._channel,
            provider=self._provider,
            rules=self._rules,
            now=now,
        )

    def _make_room(self) -> None:
        if self._backlog < self._provider.step:
            self._room.set()
        else:
            self._room.clear()

    def _completed(self) -> None:
        self._waker.wake(Work.FEED)


class _Pace:
    """How fast the provider takes messages, as seen over the last second or two."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._rate = 0.0  # messages a second
        self._count = 0
        self._since = time.monotonic()

    @property
    def claim_limit(self) -> int:
        return min(_CLAIM_LIMIT, max(self._step, round(self._rate * _CLAIM_SECONDS)))

    def count(self, messages: int) -> None:
        self._count += messages
        elapsed = time.monotonic() - self._since
        if elapsed > _CLAIM_SECONDS or self._count >= _CLAIM_LIMIT:
            self._rate = max(self._count / max(elapsed, 1e-3), self._rate / 2)
            self._count, self._since = 0, time.monotonic()


class _Recorder:
    """Writes results in batches: 250 rows, 50 ms, or at once when nothing more is under way."""

    def __init__(self, db: Database, clock: Clock, on_complete: Callable[[], None]) -> None:
        self._db = db
        self._clock = clock
        self._on_complete = on_complete
        self._results: list[Recorded] = []
        self._ended: list[ClaimId] = []
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return bool(self._task and not self._task.done())

    def add(self, result: Recorded) -> None:
        self._results.append(result)
        if len(self._results) >= _FLUSH_ROWS:
            self._full.set()
        self._start()

    def end(self, claim: ClaimId) -> None:
        """The claim is through: its row goes with the results that were added before."""
        self._ended.append(claim)
        self.flush()

    def flush(self) -> None:
        self._full.set()
        self._start()

    async def close(self) -> None:
        self.flush()
        if self._task:
            await self._task

    def _start(self) -> None:
        if not self.busy:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._results or self._ended:
            if not self._full.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), _FLUSH_AFTER)
            self._full.clear()
            results, self._results = self._results, []
            ended, self._ended = self._ended, []
            await self._write(results, ended)

    async def _write(self, results: list[Recorded], ended: list[ClaimId]) -> None:
        """Until it is stored, or is known to be unstorable: an error of one row is kept to that row."""
        pause = 0.1
        while True:
            try:
                async with self._db.transaction() as conn:
                    completed = await store.record(conn, results, ended, now=self._clock.now())
            except (Unavailable, Deadlock):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            except Exception as error:  # noqa: BLE001 - kept to the row that is the cause
                if not results:
                    log.error("claims cannot be ended", exc=error)
                    return
                if len(results) == 1:  # without its claim, it expires at the latest
                    log.error("result cannot be stored", exc=error, ids=[r.id for r in results])
                    await self._write([], ended)
                    return
                middle = len(results) // 2
                await self._write(results[:middle], [])
                await self._write(results[middle:], ended)
                return
            else:
                if completed:
                    self._on_complete()
                return


def _batches(held: Sequence[_Held[Message]], size: int) -> Iterator[Sequence[_Held[Message]]]:
    for start in range(0, len(held), size):
        yield held[start : start + size]
