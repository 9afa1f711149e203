"""Stage 3: a notification leaves: claim → hand over → send → record (design 8 "Claim, then hand over", proven 5)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Generic, NamedTuple

from varsel.clock import Clock
from varsel.db import Conn, Database, ReadConn
from varsel.delivery import pool_store, store
from varsel.delivery.gate import Withheld
from varsel.delivery.outcome import Rules, recorded, withheld
from varsel.delivery.pool import Member, Message, Pool
from varsel.delivery.ports import SendResult, Sms, Unknown
from varsel.delivery.recorder import Recorder
from varsel.delivery.store import Claimed, Recorded, Share, Templates
from varsel.delivery.turns import Turns
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId, CreatorId, NotificationId, OrderId, WorkerId, uuid7
from varsel.domain.notification import Reason, State
from varsel.domain.order import Lane
from varsel.domain.sms_text import clean, segment
from varsel.log import Log
from varsel.wakeup import READY, Waker, Work

log = Log(__name__)

_LANES: Final = (Lane.INSTANT, Lane.ORDINARY, Lane.BULK)  # emails with attachments have a sender of their own
_FAN: Final = 16  # creators of a lane whose messages are claimed at once
_MOST_CLAIMED: Final = 500
_ROOM_PATIENCE: Final = 1.0  # s: then an instance may be ready again that was not


class _Held(NamedTuple, Generic[Message]):
    """A claimed notification, its place in the claim (from 1), and its message; None: there is nothing to send.

    `withheld`: why it must not be sent.
    """

    row: Claimed
    claim: ClaimId
    place: int
    message: Message | None
    withheld: Withheld | None = None


_Given = tuple[Member[Message], Share]


class Sending(Generic[Message]):
    """Sends one channel's notifications through its pool of providers, for one worker."""

    def __init__(
        self,
        db: Database,
        pool: Pool[Message],
        render: Callable[[Claimed, Templates], Message | None],
        clock: Clock,
        waker: Waker,
        rules: Rules,
        worker: WorkerId,
    ) -> None:
        self._db = db
        self._pool: Pool[Message] = pool
        self._render: Callable[[Claimed, Templates], Message | None] = render
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._turns = Turns(db, pool.channel, _LANES, fan=_FAN)
        self._claims: set[asyncio.Task[None]] = set()
        self._doubtful: set[ClaimId] = set()  # perhaps made, and nobody works on them
        self._room = asyncio.Event()
        self._stopping = False  # give back what has not been started
        self._recorder = Recorder(db, clock, self._completed)

    @property
    def name(self) -> str:
        return f"send {self._pool.channel}"

    @property
    def wakes_on(self) -> Work:
        return READY[self._pool.channel]

    @property
    def idle(self) -> bool:
        return not self._claims and not self._recorder.busy

    async def send_due(self) -> int:
        """Claim what the providers can take and begin to send it. Returns of how many that decided; 0: nothing is due.

        Waits while enough is claimed already. Raises `Unavailable` when the database fails.
        """
        await self._pool.look()
        ready = await self._with_room()
        if self._stopping or not ready:
            return 0
        await self._settle_doubts()
        shares, templates, postponed = await self._claim(ready)
        if shares:
            await self._begin_all(shares, templates)
        return sum(len(share.rows) for _, share in shares) + postponed

    def halt(self) -> None:
        """Claim nothing more, and begin with nothing more of what is claimed."""
        self._stopping = True
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

    async def _with_room(self) -> list[Member[Message]]:
        """Instances that are ready and can take more; waits for one while all that are ready are busy."""
        while not self._stopping:
            ready = [member for member in self._pool.members if member.ready]
            free = [member for member in ready if member.has_room]
            if free or not ready:
                return free
            self._room.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_ROOM_PATIENCE):
                    await self._room.wait()
            await self._pool.look()
        return []

    async def _begin_all(self, shares: Sequence[_Given[Message]], templates: Mapping[OrderId, Templates]) -> None:
        """The messages of all shares, each in the order of its claim."""
        claimed = [row for _, share in shares for row in share.rows]
        messages = {row.id: self._message(row, templates.get(row.order)) for row in claimed}
        async with self._db.routine() as conn:
            barred = await self._withheld(conn, [m for m in messages.values() if m is not None])
        begun: dict[Member[Message], asyncio.Event] = {}
        for member, (claim_id, _, rows) in shares:
            held = [
                _Held(row, claim_id, place, messages[row.id], barred.get(row.id))
                for place, row in enumerate(rows, start=1)
            ]
            begun[member] = self._begin(member, claim_id, held, after=begun.get(member))

    async def _withheld(self, conn: ReadConn, messages: Sequence[Message]) -> Mapping[NotificationId, Withheld]:
        gate = self._rules.gate
        return await gate.withheld(conn, messages, now=self._clock.now()) if gate else {}

    def _begin(
        self, member: Member[Message], claim_id: ClaimId, held: Sequence[_Held[Message]], after: asyncio.Event | None
    ) -> asyncio.Event:
        """Nothing of it leaves before `after`; returns what happens when all of it has a slot, or never will."""
        self._doubtful.discard(claim_id)
        member.backlog += len(held)
        member.trying = member.on_trial
        begun = asyncio.Event()
        task = asyncio.create_task(self._send_claim(member, claim_id, held, after, begun))
        self._claims.add(task)
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: begun.set())
        return begun

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._claims.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("claim failed", exc=error, channel=self._pool.channel)

    async def _settle_doubts(self) -> None:
        """Give back what an error left claimed before anything of it was begun."""
        if self._doubtful:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, self._doubtful, self._worker)
            self._doubtful.clear()

    async def _claim(
        self, ready: Sequence[Member[Message]]
    ) -> tuple[list[_Given[Message]], Mapping[OrderId, Templates], int]:
        """What the instances can take, of the first lane that has anything first, with the orders' texts.

        Also, how many have to wait.
        """
        shares: list[_Given[Message]] = []
        templates: dict[OrderId, Templates] = {}
        postponed = 0
        named: set[tuple[Lane, CreatorId]] = set()
        while not shares and not postponed and (waiting := await self._turns.next(named)):
            async with self._db.routine_transaction() as conn:
                able = [m for m in ready if not m.on_trial or await pool_store.take_trial(conn, m.name)]
                room = {member: member.limit for member in able}
                for lane, creators in waiting.items():
                    if limit := min(_MOST_CLAIMED, sum(room.values())):
                        rows = await store.pick(
                            conn,
                            channel=self._pool.channel,
                            lane=lane,
                            creators=creators,
                            limit=limit,
                            now=self._clock.now(),
                        )
                        given, many = await self._share(conn, rows, able, room)
                        postponed += many
                        for _, share in given:
                            templates |= {t.order: t for t in await store.take(conn, share, self._worker)}
                        shares += given
                        self._turns.had(lane, creators)
                for member in able:
                    if member.on_trial and member in room:
                        await pool_store.return_trial(conn, member.name)
        return shares, templates, postponed

    async def _share(
        self, conn: Conn, rows: Sequence[Claimed], able: Sequence[Member[Message]], room: dict[Member[Message], int]
    ) -> tuple[list[_Given[Message]], int]:
        """Who sends what. What no instance can take now waits outside the queue; what is too much stays in it.

        `room`: of those that can take more, how many; less afterwards.
        """
        given: defaultdict[Member[Message], list[Claimed]] = defaultdict(list)
        waiting, lost = [], Counter[str]()
        for row in rows:
            member = self._pool.choose(list(room), row.creator_name, row.address, row.tried or ())
            if member:
                given[member].append(row)
                room[member] -= 1
                if not room[member]:
                    del room[member]
            elif not any(m.routing.takes(row.creator_name, row.address) for m in able):
                waiting.append((row.id, self._clock.now() + self._pool.wait_for(row.creator_name, row.address)))
                lost[row.creator_name] += not self._pool.takes(row.creator_name, row.address)
        await store.postpone(conn, waiting)
        if lost.total():
            log.error("no provider takes these messages", channel=self._pool.channel, messages=lost.total())
        shares = [(member, Share(ClaimId(uuid7()), member.name, chosen)) for member, chosen in given.items()]
        self._doubtful.update(share.claim for _, share in shares)
        return shares, len(waiting)

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

    async def _send_claim(
        self,
        member: Member[Message],
        claim_id: ClaimId,
        held: Sequence[_Held[Message]],
        after: asyncio.Event | None,
        begun: asyncio.Event,
    ) -> None:
        """Start the messages in order of the claim, never one that the committed mark does not cover."""
        provider = member.provider
        marked, lost, started = 0, False, 0
        tasks: list[asyncio.Task[None]] = []
        try:
            if after:
                await after.wait()
            for batch in _batches(held, provider.max_batch):
                await member.slots.acquire(held[0].row.lane)
                if member.bucket.limited and not await member.bucket.take(_cost(batch), lambda: self._rests(member)):
                    member.rest = True
                if batch[-1].place > marked and not self._rests(member):
                    marked = min(batch[-1].place + provider.step, len(held))
                    if not await self._declare(claim_id, marked):
                        lost = True
                        break
                ready = self._startable(member, batch)  # after the mark, which may have waited for the database
                member.backlog -= len(batch)
                self._make_room(member)
                member.under_way += len(ready)
                started += len(batch)
                tasks.append(asyncio.create_task(self._send_batch(member, ready)))
            begun.set()
            await asyncio.gather(*tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise  # the claim stays: what is up to its mark is unknown, the rest goes back
        if lost:
            log.warning("claim lost", provider=member.name, dropped=len(held) - started)
            member.slots.release()
            member.backlog -= len(held) - started
            self._make_room(member)
        self._recorder.end(claim_id)
        if not any(m.under_way or m.backlog for m in self._pool.members):
            self._recorder.flush()

    def _rests(self, member: Member[Message]) -> bool:
        return member.rest or self._stopping

    async def _declare(self, claim_id: ClaimId, upto: int) -> bool:
        """False: the claim was taken from us, for we were silent too long."""
        while True:
            try:
                async with self._db.routine() as conn:
                    return await store.hand_over(conn, claim_id, upto)
            except Unavailable:
                await asyncio.sleep(0.2)  # nothing may leave before the mark is stored

    def _startable(self, member: Member[Message], batch: Sequence[_Held[Message]]) -> list[_Held[Message]]:
        """Those that may leave now. The others are recorded: given back, or with the fate that they have."""
        now = self._clock.now()
        ready = []
        for held in batch:
            if result := self._without_sending(member, held, now):
                self._recorder.add(result)
            else:
                ready.append(held)
        return ready

    def _without_sending(self, member: Member[Message], held: _Held[Message], now: datetime) -> Recorded | None:
        """What becomes of a message that may not leave now; None: it may."""
        row, state, wake_at, rests = held.row, State.NEW, None, self._rests(member)
        if row.expires_at <= now:
            state = State.EXPIRED
        elif row.daytime and not rests and not self._rules.window.is_open(now):
            wake_at = self._rules.window.next_opening(now)
        elif not rests:
            return self._unsendable(member, held, now)
        return Recorded(row.id, held.claim, member.name, row.attempt, state, wake_at=wake_at, uncharged=1)

    def _unsendable(self, member: Member[Message], held: _Held[Message], now: datetime) -> Recorded | None:
        """What becomes of a message with which something is wrong; None: nothing is."""
        row: Claimed = held.row
        if held.message is None:
            return self._empty(member, held)
        ground: Withheld | None = held.withheld
        if ground is None or not ground.stops(member.name):
            return None
        elsewhere = self._pool.has_another(row.creator_name, row.address, ground.by)
        return withheld(row, held.claim, ground, provider=member.name, now=now, elsewhere=elsewhere)

    def _empty(self, member: Member[Message], held: _Held[Message]) -> Recorded:
        row: Claimed = held.row
        failed = Recorded(row.id, held.claim, member.name, row.attempt, State.FAILED)
        return failed._replace(reason=Reason.UNSPECIFIED, outcome="refused", detail="empty text")

    async def _send_batch(self, member: Member[Message], batch: Sequence[_Held[Message]]) -> None:
        results: list[SendResult]
        try:
            messages = [held.message for held in batch if held.message is not None]
            results = await member.provider.send(messages) if messages else []
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: the message may have left
            log.error("provider raised", exc=error, provider=member.name)
            results = [Unknown("the adapter failed")] * len(batch)
        except asyncio.CancelledError:
            return  # stays claimed up to the mark: unknown to whoever sweeps
        finally:
            member.under_way -= len(batch)
            member.slots.release()
        if len(results) != len(batch):
            log.error("provider answered for others", provider=member.name, sent=len(batch), answers=len(results))
            results = [Unknown("the adapter failed")] * len(batch)
        member.pace.count(len(batch))
        now = self._clock.now()
        for held, result in zip(batch, results, strict=True):
            self._recorder.add(self._recorded(member, held, result, now))
        if results:
            await self._pool.mind(member, results)
        elif member.trying:
            await self._pool.forgo(member)

    def _recorded(self, member: Member[Message], held: _Held[Message], result: SendResult, now: datetime) -> Recorded:
        row: Claimed = held.row
        return recorded(
            row,
            held.claim,
            result,
            channel=self._pool.channel,
            provider=member.provider,
            rules=self._rules,
            now=now,
            elsewhere=self._pool.is_left(row.creator_name, row.address, (*(row.tried or ()), member.name)),
        )

    def _make_room(self, member: Member[Message]) -> None:
        if member.has_room:
            self._room.set()

    def _completed(self) -> None:
        self._waker.wake(Work.FEED)


def _batches(held: Sequence[_Held[Message]], size: int) -> Iterator[Sequence[_Held[Message]]]:
    for start in range(0, len(held), size):
        yield held[start : start + size]


def _cost(batch: Sequence[_Held[Message]]) -> int:
    """In what providers' limits count: emails, and parts of SMS."""
    return sum(
        len(segment(clean(held.message.text)).parts) if isinstance(held.message, Sms) else 1
        for held in batch
        if held.message is not None
    )
