"""Stage 2: a due order becomes notifications: claim → condition → lookup → resolve → store, in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.errors import RegistryUnavailable, Unavailable
from varsel.domain.ids import OrderId, WorkerId
from varsel.domain.notification import State
from varsel.domain.order import Lane
from varsel.fates import store as fates
from varsel.log import Log
from varsel.recipients.ports import ContactDirectory
from varsel.resolution import plan, store
from varsel.resolution.plan import Due, Piece, Rules
from varsel.resolution.ports import Conditions, Verdict
from varsel.resolution.resolve import give_up
from varsel.resolution.store import Claimed, Content, Finished
from varsel.wakeup import Waker, Work

log = Log(__name__)

_ORDERS_A_CLAIM: Final = {Lane.ORDINARY: 500, Lane.BULK: 1}


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
    ) -> None:
        self._db = db
        self._directory = directory
        self._conditions = conditions
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._after = dict.fromkeys(Lane, 0)
        self._unsure = dict.fromkeys(Lane, False)

    async def resolve_due(self, lane: Lane) -> int:
        """Claim due orders of a lane and turn them into notifications. Returns how many it claimed; 0: none is due.

        The ordinary lane also looks for orders whose time has come, of any lane.

        Raises `Unavailable` when the database fails; what was claimed is put back by the next call.
        """
        await self._release(lane)
        self._unsure[lane] = True
        claimed = await self._claim(lane)
        if claimed:
            async with self._db.reading() as conn:
                contents = await store.contents(conn, [order.id for order in claimed])
            due = [(order, contents[order.id]) for order in claimed]
            for turn in plan.turns(await self._check_conditions(due), self._rules.recipients_a_turn):
                await self._resolve(turn)
        self._unsure[lane] = False
        return len(claimed)

    async def next_due(self) -> datetime | None:
        """When the next waiting order's time comes (business time)."""
        async with self._db.reading() as conn:
            due = await store.next_due(conn)
        return due - self._rules.due_grace if due else None

    async def _release(self, lane: Lane) -> None:
        """Make claimable what a failure may have left in our hands, and, once for all lanes, whose time has come."""
        async with self._db.autocommit() as conn:
            if self._unsure[lane]:
                await store.release_own(conn, self._worker, lane)
            if lane is Lane.ORDINARY and await store.release_due(conn, now=self._clock.now() + self._rules.due_grace):
                self._waker.wake(Work.ORDERS)

    async def _claim(self, lane: Lane) -> list[Claimed]:
        async with self._db.autocommit() as conn:
            limit = _ORDERS_A_CLAIM[lane]
            claimed = await store.claim_orders(conn, self._worker, lane, after=self._after[lane], limit=limit)
            if not claimed and self._after[lane]:
                claimed = await store.claim_orders(conn, self._worker, lane, after=0, limit=limit)
        self._after[lane] = store.last_creator({order.creator for order in claimed})
        return claimed

    async def _check_conditions(self, due: Sequence[Due]) -> list[Due]:
        """Those whose condition is met or absent. Inconclusive twice is met: a broken endpoint silences nobody."""
        conditional = [order.id for order, content in due if content.condition_endpoint]
        if not conditional:
            return list(due)
        async with self._db.reading() as conn:
            inconclusive = await store.inconclusive_checks(conn, conditional)
        return [pair for pair in due if await self._is_met(*pair, inconclusive.get(pair[0].id, 0))]

    async def _is_met(self, order: Claimed, content: Content, inconclusive: int) -> bool:
        if not content.condition_endpoint:
            return True
        answer = await self._conditions.check(content.condition_endpoint)
        now = self._clock.now()
        async with self._db.transaction() as conn:
            await store.record_check(
                conn, order, now=now, status=answer.status, verdict=answer.verdict, detail=answer.detail
            )
            if answer.verdict is Verdict.NOT_MET and await store.lock_claimed(conn, [order.id], self._worker):
                await store.stop_orders(conn, [order.id], now=now)
                await fates.add_to_feed(conn, [order.id], now=now)
            elif answer.verdict is Verdict.INCONCLUSIVE and not inconclusive:
                again = now + self._rules.condition_retry
                await store.put_back(conn, [order.id], self._worker, wake_at=again)
                return False
        if answer.verdict is Verdict.NOT_MET:
            self._waker.wake(Work.FEED)
        return answer.verdict is not Verdict.NOT_MET

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
        now = self._clock.now()
        for order, content in due:
            async with self._db.transaction() as conn:
                if now < max(plan.expiries(order, content, self._rules).values()):
                    again = now + store.backoff(order.attempt)
                    await store.put_back(conn, [order.id], self._worker, wake_at=again)
                elif await store.lock_claimed(conn, [order.id], self._worker):
                    drafts = give_up(order.channel, content.recipients())
                    rows = plan.notifications(order, content, drafts, {}, self._rules, now)
                    await store.insert_notifications(conn, rows, now=now)
                    await store.finish_orders(conn, [Finished(order.id, 0, None)], now=now)
                    await fates.add_to_feed(conn, [order.id], now=now)
        self._waker.wake(Work.FEED)

    async def _store(self, due: Sequence[Due]) -> None:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            ours = await store.lock_claimed(conn, [order.id for order, _ in due], self._worker)
            kept = [pair for pair in due if pair[0].id in ours]
            pending: dict[OrderId, list[datetime]] = {order.id: [] for order, _ in kept}
            for piece in plan.pieces(kept):
                await self._store_piece(conn, piece, pending, now)
            finished = [Finished(id_, len(at), min(at, default=None)) for id_, at in pending.items()]
            await store.finish_orders(conn, finished, now=now)
            complete = [f.order for f in finished if not f.pending]
            await fates.add_to_feed(conn, complete, now=now)
        self._waker.wake(Work.NOTIFICATIONS)
        if complete:
            self._waker.wake(Work.FEED)
        log.info("orders resolved", orders=len(kept), notifications=sum(f.pending for f in finished))

    async def _store_piece(
        self, conn: Conn, piece: Piece, pending: dict[OrderId, list[datetime]], now: datetime
    ) -> None:
        rows = [planned.row for planned in await plan.plan(self._directory, piece, self._rules, now=now)]
        await store.insert_notifications(conn, rows, now=now)
        for row in rows:
            if row.state is State.NEW:
                pending[row.order].append(row.expires_at)
