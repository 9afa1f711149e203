"""Stage 2: a due order becomes notifications: claim → condition → lookup → resolve → store, in one transaction."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Conn, Database, transaction_on
from varsel.domain.errors import RegistryUnavailable, Unavailable
from varsel.domain.ids import OrderId, WorkerId
from varsel.domain.notification import State
from varsel.domain.order import Lane
from varsel.fates import store as fates
from varsel.log import Log
from varsel.recipients.directory import Outages
from varsel.recipients.lookup import is_direct
from varsel.recipients.ports import ContactDirectory
from varsel.resolution import plan, store
from varsel.resolution.plan import Due, Rules
from varsel.resolution.ports import Conditions, Verdict
from varsel.resolution.resolve import give_up
from varsel.resolution.store import Claimed, Content, Finished, NewNotification
from varsel.settings import lists
from varsel.tally.store import Kind
from varsel.wakeup import READY, Waker, Work

log = Log(__name__)

_ORDERS_A_CLAIM: Final = 500
_FEW: Final = 200  # messages
_CHECKS_AT_ONCE: Final = 20  # conditions that are asked
_CHECKS_WAITING: Final = 500  # orders that wait for that in our hands
_CHECK_LATER: Final = timedelta(seconds=5)


class Resolution:
    """One lane of due orders, for one worker."""

    def __init__(
        self,
        db: Database,
        directory: ContactDirectory,
        conditions: Conditions,
        clock: Clock,
        waker: Waker,
        rules: Rules,
        worker: WorkerId,
        *,
        live: bool = False,
        outages: Outages | None = None,
    ) -> None:
        """`live`: `directory` asks others than our database. `outages`: None when all orders wait for registers."""
        self._db = db
        self._directory = directory
        self._conditions = conditions
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._live = live
        self._outages = outages
        self._after = dict.fromkeys(Lane, 0)
        self._unsure = dict.fromkeys(Lane, False)
        self._next_due: datetime | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Semaphore(_CHECKS_AT_ONCE)

    async def resolve_due(self, lane: Lane) -> int:
        """Claim due orders of a lane and turn them into notifications. Returns how many it claimed; 0: none is due.

        The ordinary lane also looks for orders whose time has come, of any lane.

        Raises `Unavailable` when the database fails; what was claimed is put back by the next call.
        """
        if self._unsure[lane]:  # what a failure may have left in our hands
            async with self._db.autocommit() as conn:
                await store.release_own(conn, self._worker, lane)
        self._unsure[lane] = True
        claimed = await self._claim(lane)
        if claimed:
            due = await self._whole(claimed)
            for orders in self._by_haste([d for d in due if not d[1].condition_endpoint]):
                for turn in plan.turns(orders, self._rules.recipients_a_turn):
                    await self._resolve(turn)
            await self._begin_checks(lane, [d for d in due if d[1].condition_endpoint])
        self._unsure[lane] = False
        return len(claimed)

    def _by_haste(self, due: Sequence[Due]) -> list[Sequence[Due]]:
        """Orders that need no register do not wait for one that is slow."""
        if not self._live:
            return [due]
        asking = [any(not is_direct(r, order.channel) for r in content.recipients()) for order, content in due]
        return [[d for d, asks in zip(due, asking, strict=True) if asks is later] for later in (False, True)]

    @property
    def idle(self) -> bool:
        """Whether no condition is being asked."""
        return not self._checks

    async def stop(self) -> None:
        """Ask no more conditions: the worker's end puts their orders back."""
        for check in self._checks:
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    async def _whole(self, claimed: Sequence[tuple[Claimed, Content | None]]) -> list[Due]:
        for order, content in claimed:
            if content is None:
                log.error("order without content", order_id=order.id)
                async with self._db.autocommit() as conn:
                    again = self._clock.now() + store.backoff(order.attempt)
                    await store.put_back(conn, [order.id], self._worker, wake_at=again)
        return [(order, content) for order, content in claimed if content]

    async def next_due(self) -> datetime | None:
        """When the next waiting order's time comes (business time), as the ordinary lane saw it last."""
        return self._next_due - self._rules.due_grace if self._next_due else None

    async def _claim(self, lane: Lane) -> list[tuple[Claimed, Content | None]]:
        began = self._after[lane]
        for start in (began, 0) if began else (0,):
            if creators := await self._look(lane, start):
                async with self._db.routine() as conn:
                    claimed = await store.claim_orders(conn, self._worker, lane, creators, limit=_ORDERS_A_CLAIM)
                if claimed:
                    return claimed
        return []

    async def _look(self, lane: Lane, start: int) -> Sequence[int]:
        """Creators with due orders. The ordinary lane makes claimable, for all lanes, whose time has come."""
        async with self._db.routine() as conn:
            found = await store.look(conn, lane, after=start, limit=_ORDERS_A_CLAIM)
            if lane is Lane.ORDINARY:
                soon = self._clock.now() + self._rules.due_grace
                if found.next_due and found.next_due <= soon and await store.release_due(conn, now=soon):
                    self._waker.wake(Work.ORDERS)
                    found = await store.look(conn, lane, after=start, limit=_ORDERS_A_CLAIM)
                self._next_due = found.next_due
        self._after[lane] = found.after
        return found.creators

    async def _begin_checks(self, lane: Lane, due: Sequence[Due]) -> None:
        """Ask conditions beside everything else: whose endpoint is slow delays nobody but himself."""
        room = max(_CHECKS_WAITING - len(self._checks), 0)
        if late := [order.id for order, _ in due[room:]]:
            async with self._db.autocommit() as conn:
                await store.put_back(conn, late, self._worker, wake_at=self._clock.now() + _CHECK_LATER)
        if not due[:room]:
            return
        async with self._db.reading() as conn:
            inconclusive = await store.inconclusive_checks(conn, [order.id for order, _ in due[:room]])
        for order, content in due[:room]:
            task = asyncio.create_task(self._check(lane, order, content, inconclusive.get(order.id, 0)))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    async def _check(self, lane: Lane, order: Claimed, content: Content, inconclusive: int) -> None:
        """Inconclusive twice is met: a broken endpoint silences nobody, unless the creator wants it so."""
        try:
            async with self._asking:
                met = await self._is_met(order, content, inconclusive)
            if met:
                await self._resolve([(order, content)])
        except Unavailable:
            self._unsure[lane] = True  # the next turn puts back what we hold
        except Exception as error:  # noqa: BLE001 - charged to the order that is the cause
            log.error("order cannot be resolved", exc=error, order_id=order.id, attempt=order.attempt)
            self._unsure[lane] = True

    async def _is_met(self, order: Claimed, content: Content, inconclusive: int) -> bool:
        assert content.condition_endpoint
        answer = await self._conditions.check(content.condition_endpoint)
        now = self._clock.now()
        async with self._db.transaction() as conn:
            await store.record_check(
                conn, order, now=now, status=answer.status, verdict=answer.verdict, detail=answer.detail
            )
            if answer.verdict is Verdict.INCONCLUSIVE and not inconclusive:
                again = now + self._rules.condition_retry
                await store.put_back(conn, [order.id], self._worker, wake_at=again)
                return False
            stops = await self._stops(conn, order, answer.verdict)
            if stops and await store.lock_claimed(conn, [order.id], self._worker):
                await store.stop_orders(conn, [order.id], now=now)
                await fates.add_to_feed(conn, [order.id], now=now)
        if stops:
            self._waker.wake(Work.FEED)
        return not stops

    async def _stops(self, conn: Conn, order: Claimed, verdict: Verdict) -> bool:
        closed = self._rules.fail_closed_creators
        if verdict is Verdict.INCONCLUSIVE and closed:
            names = await store.creator_names(conn, [order.creator])
            return lists(closed, names[order.creator])
        return verdict is Verdict.NOT_MET

    async def _resolve(self, due: Sequence[Due]) -> None:
        """All in one transaction; when one of them makes it fail, halves, so that the others go on."""
        try:
            await self._store(due)
        except Unavailable as error:
            if not isinstance(error, RegistryUnavailable):
                raise
            log.warning("registry unavailable", what=error.what, orders=len(due))
            await self._postpone(due)
        except Exception as error:  # noqa: BLE001 - a bug of ours: an alarm, and the order waits until its expiry
            if len(due) > 1:
                await self._resolve(due[: len(due) // 2])
                await self._resolve(due[len(due) // 2 :])
                return
            log.error("order cannot be resolved", exc=error, order_id=due[0][0].id, attempt=due[0][0].attempt)
            await self._postpone(due)

    async def _postpone(self, due: Sequence[Due]) -> None:
        """Back to waiting; an order whose time is over is given up, with an outcome for everybody (processing F6)."""
        for order, content in due:
            try:
                await self._postpone_one(order, content)
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - nor can it be given up: it waits, with an alarm
                log.error("order cannot be postponed", exc=error, order_id=order.id, attempt=order.attempt)
                async with self._db.autocommit() as conn:
                    again = self._clock.now() + store.backoff(order.attempt)
                    await store.put_back(conn, [order.id], self._worker, wake_at=again)
        self._waker.wake(Work.FEED)

    async def _postpone_one(self, order: Claimed, content: Content) -> None:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            if now < max(plan.expiries(order, content, self._rules).values()):
                again = now + store.backoff(order.attempt)
                await store.put_back(conn, [order.id], self._worker, wake_at=again)
            elif await store.lock_claimed(conn, [order.id], self._worker):
                drafts = give_up(order.channel, content.recipients())
                rows = list(plan.notifications(order, content, drafts, {}, self._rules, now))
                await store.insert_notifications(conn, rows, now=now)
                await store.finish_orders(conn, [Finished(order.id, 0, None)], store.counted(rows), now=now)
                await fates.add_to_feed(conn, [order.id], now=now)

    async def _store(self, due: Sequence[Due]) -> None:
        """The registers are asked first: no transaction is open while we wait for one of them (design 8)."""
        if sum(order.recipients for order, _ in due) > self._rules.recipients_a_turn:
            (alone,) = due  # see `plan.turns`
            await self._store_big(alone)
            return
        now = self._clock.now()
        rows: list[NewNotification] = []
        waiting: dict[OrderId, RegistryUnavailable] = {}
        for directory, orders in await by_directory(self._db, self._directory, self._outages, due):
            for piece in plan.pieces(orders):
                planned, without = await plan.plan_each(directory, piece, self._rules, now=now)
                rows.extend(each.row for each in planned)
                waiting |= without
        ready = [order.id for order, _ in due if order.id not in waiting]
        self._tell(await (self._store_few if len(rows) <= _FEW else self._store_many)(ready, rows, now))
        if waiting:
            log.warning("registry unavailable", what=next(iter(waiting.values())).what, orders=len(waiting))
            await self._postpone([pair for pair in due if pair[0].id in waiting])

    async def _store_few(self, ready: Sequence[OrderId], rows: Sequence[NewNotification], now: datetime) -> "_Tally":
        """In one statement, and a second one when an order is complete already: nobody can be reached."""
        tally = _Tally(ready)
        tally.add(rows)
        finished = tally.finished()
        over = [f.order for f in finished if not f.pending]
        async with self._db.routine_transaction() if over else self._db.routine() as conn:
            ours = await store.store_few(conn, self._worker, finished, rows, now=now) if ready else frozenset()
            await fates.add_to_feed(conn, ours.intersection(over), now=now)
        if len(ours) == len(ready):
            return tally
        left = _Tally(ours)
        left.add([row for row in rows if row.order in ours])
        return left

    async def _store_many(self, ready: Sequence[OrderId], rows: Sequence[NewNotification], now: datetime) -> "_Tally":
        """Costs more statements than `_store_few`, and half as much for each row."""
        async with self._db.routine_transaction() as conn:
            ours = await store.lock_claimed(conn, ready, self._worker)
            if len(ours) < len(ready):
                rows = [row for row in rows if row.order in ours]
            await store.insert_notifications(conn, rows, now=now)
            tally = _Tally(ours)
            tally.add(rows)
            await self._finish(conn, tally, now)
        return tally

    async def _store_big(self, due: Due) -> None:
        """An order too big for our memory: its notifications go to the database piece by piece."""
        now = self._clock.now()
        order, _ = due
        ((directory, alone),) = await by_directory(self._db, self._directory, self._outages, [due])
        tally = _Tally([order.id])

        async def rows() -> AsyncIterator[list[NewNotification]]:
            for piece in plan.pieces(alone):
                made = [each.row for each in await plan.plan(directory, piece, self._rules, now=now)]
                tally.add(made)
                yield made

        async with self._db.autocommit() as conn:
            store_all = self._store_staged if self._live else self._store_streamed
            if await store_all(conn, order, rows(), tally, now):
                self._tell(tally)

    async def _store_streamed(
        self, conn: Conn, order: Claimed, rows: AsyncIterator[list[NewNotification]], tally: "_Tally", now: datetime
    ) -> bool:
        """Whether the order was still ours. Our own copies answer in no time, so the transaction waits for them."""
        async with transaction_on(conn):
            if not await store.lock_claimed(conn, [order.id], self._worker):
                return False
            async for piece in rows:
                await store.insert_notifications(conn, piece, now=now)
            await self._finish(conn, tally, now)
        return True

    async def _store_staged(
        self, conn: Conn, order: Claimed, rows: AsyncIterator[list[NewNotification]], tally: "_Tally", now: datetime
    ) -> bool:
        """Whether the order was still ours. Costs half as much again as `_store_streamed`."""
        async with store.stage(conn):
            async for piece in rows:
                await store.stage_notifications(conn, piece, now=now)
            async with transaction_on(conn):
                if not await store.lock_claimed(conn, [order.id], self._worker):
                    return False
                await store.insert_staged(conn)
                await self._finish(conn, tally, now)
        return True

    async def _finish(self, conn: Conn, tally: "_Tally", now: datetime) -> None:
        finished = tally.finished()
        await store.finish_orders(conn, finished, tally.made, now=now)
        await fates.add_to_feed(conn, [f.order for f in finished if not f.pending], now=now)

    def _tell(self, tally: "_Tally") -> None:
        finished = tally.finished()
        for work in tally.ready:
            self._waker.wake(work)
        if not all(f.pending for f in finished):
            self._waker.wake(Work.FEED)
        log.info("orders resolved", orders=len(finished), notifications=sum(f.pending for f in finished))


async def by_directory(
    db: Database, directory: ContactDirectory, outages: Outages | None, due: Sequence[Due]
) -> list[tuple[ContactDirectory, Sequence[Due]]]:
    """The orders by whom to ask: it is each creator's own affair what happens while a register is down."""
    if outages is None:
        return [(directory, due)]
    async with db.routine() as conn:
        names = await store.creator_names(conn, {order.creator for order, _ in due})
    orders: dict[bool, list[Due]] = {}
    for order, content in due:
        orders.setdefault(outages.concern(names[order.creator]), []).append((order, content))
    return [(outages.directory if lenient else directory, each) for lenient, each in orders.items()]


class _Tally:
    """Of each order, how many of its notifications have no fate yet, and when the first of them expires.

    `made`: all of them, by kind. `ready`: what tells of those that may leave.
    """

    def __init__(self, orders: Iterable[OrderId]) -> None:
        self._orders = dict.fromkeys(orders, 0)
        self._expires_at: dict[OrderId, datetime] = {}
        self.made = Counter[Kind]()
        self.ready = set[Work]()

    def add(self, rows: Collection[NewNotification]) -> None:
        self.made += store.counted(rows)
        for row in rows:
            if row.state is State.NEW:
                self._orders[row.order] += 1
                self.ready.add(READY[row.channel] if row.lane is not Lane.COMPOSED else Work.NOTIFICATIONS)
                self._expires_at[row.order] = min(self._expires_at.get(row.order, row.expires_at), row.expires_at)

    def finished(self) -> list[Finished]:
        return [Finished(id_, pending, self._expires_at.get(id_)) for id_, pending in self._orders.items()]
