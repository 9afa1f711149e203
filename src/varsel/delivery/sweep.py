"""No state without a deadline: waiting rows wake, dead workers' claims are released, and what is over expires."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, assert_never

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.delivery import sweep_store as store
from varsel.delivery.ports import Indeterminate
from varsel.delivery.retry import doubt_delay
from varsel.delivery.sweep_store import Claim, Waiting, Woken
from varsel.domain.errors import Unavailable
from varsel.domain.ids import OrderId, WorkerId
from varsel.domain.notification import FATES, State
from varsel.fates import store as fates
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)

_WAKE_BATCH: Final = 1_000
_EXPIRE_BATCH: Final = 100
_USEFUL: Final = timedelta(seconds=30)  # of life left, or a message of unknown outcome is not sent again (channels 1.5)
_FORGET_BATCH: Final = 500
_ALWAYS: Final = 32_767  # more tries than there can be


class Sweeper:
    """Any number of workers may sweep at once. `policies`: what each provider wants done with unknown messages.

    `asked`: the providers that are asked about them instead (`Asker`).
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        waker: Waker,
        *,
        policies: Mapping[str, Indeterminate],
        unknown_wait: timedelta,
        expiry_grace: timedelta,
        asked: Collection[str] = (),
        max_resends: int = 2,
        shift: timedelta = timedelta(),
    ) -> None:
        self._db = db
        self._clock = clock
        self._waker = waker
        self._policies = policies
        self._unknown_wait = unknown_wait
        self._grace = expiry_grace
        self._asked = frozenset(asked)
        self._max_resends = max_resends
        self._shift = shift

    async def wake_due(self) -> int:
        """End the waiting of rows whose moment has come; returns how many. Call it again while it returns many."""
        try:
            return await self._wake_due(_WAKE_BATCH)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad row must not hold up the others
            log.warning("rows wake one by one", error=type(error).__name__)
        woken = 0
        for _ in range(_WAKE_BATCH):
            try:
                woken += (one := await self._wake_due(1))
            except Unavailable:
                raise
            except Exception as error:  # noqa: BLE001 - an alarm; it is tried again in an hour
                log.error("row cannot wake", exc=error)
                async with self._db.autocommit() as conn:
                    one = await store.postpone_oldest(conn, self._asked, now=self._clock.now())
            if not one:
                break
        return woken

    async def _wake_due(self, limit: int) -> int:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            rows = await store.due(conn, self._asked, now=now, limit=limit)
            if not rows:
                return 0
            woken = [self._wake(row, now) for row in rows]
            await store.wake(conn, woken, now=now)
            fated = [row.order for row, after in zip(rows, woken, strict=True) if _fated(row, after)]
            completed = await fates.count_fates(conn, fated, now=now)
        if any(after.state is State.NEW for after in woken):
            self._waker.wake(Work.NOTIFICATIONS)
        if completed:
            self._waker.wake(Work.FEED)
        return len(rows)

    async def release_lapsed(self) -> int:
        """Give back what dead workers held, and what a live process forgot; returns how many workers were dead."""
        async with self._db.transaction() as conn:
            workers = await store.lapsed_workers(conn, shift=self._shift)
            for worker in workers:
                await self._release(conn, worker)
            await store.release_orphaned_orders(conn)
            forgotten = [*await store.forgotten_claims(conn, shift=self._shift), *await store.orphaned_claims(conn)]
            for claim in forgotten:
                await self._release_claim(conn, claim)
        if workers or forgotten:
            self._waker.wake(Work.NOTIFICATIONS)
            self._waker.wake(Work.ORDERS)
        return len(workers)

    async def release_own(self, worker: WorkerId) -> None:
        """What a worker does last: give back what it still holds, exactly as if it had died."""
        async with self._db.transaction() as conn:
            await self._release(conn, worker)

    async def expire(self) -> int:
        """Expire notifications whose time is over; returns of how many orders. A bad one fails alone."""
        now = self._clock.now()
        async with self._db.reading() as conn:
            orders = await store.expired_orders(conn, now=now, limit=_EXPIRE_BATCH)
        if not orders:
            return 0
        try:
            await self._expire(orders, now)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad order must not hold up the others
            log.warning("orders expire one by one", error=type(error).__name__)
            return sum([await self._expire_one(order, now) for order in orders])
        return len(orders)

    async def _expire(self, orders: Sequence[OrderId], now: datetime) -> None:
        async with self._db.transaction() as conn:
            completed = await store.expire(conn, orders, now=now, grace=self._grace)
            await fates.tell_completion(conn, completed, now=now)
        log.info("orders expired", orders=len(orders), completed=len(completed))
        self._waker.wake(Work.FEED)

    async def _expire_one(self, order: OrderId, now: datetime) -> bool:
        try:
            await self._expire([order], now)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - an alarm, and it is tried again with the next sweep
            log.error("order cannot expire", exc=error, order_id=order)
            return False
        return True

    async def forget_addresses(self) -> int:
        """Blank the addresses of attachments in orders that have ended; returns in how many."""
        async with self._db.autocommit() as conn:
            return await store.forget_addresses(conn, limit=_FORGET_BATCH)

    async def next_due(self) -> datetime | None:
        """When the next waiting row's moment comes (business time)."""
        async with self._db.reading() as conn:
            return await store.next_due(conn, self._asked)

    def _wake(self, row: Waiting, now: datetime) -> Woken:
        match row.state:
            case State.NEW:
                expired = row.expires_at <= now
                return Woken(row.id, State.EXPIRED if expired else State.NEW, settled=False, moved=expired)
            case State.UNKNOWN:  # sending again could send twice: the provider's policy says whether we may
                may = self._policies.get(row.provider or "") is not Indeterminate.HOLD
                again = may and row.expires_at > now + _USEFUL  # a code that comes when it has lapsed helps nobody
                if again:
                    log.warning("possible duplicate", notification_id=row.id, provider=row.provider)
                return Woken(row.id, State.NEW if again else State.UNKNOWN, settled=False, moved=again)
            case State.ACCEPTED:
                return Woken(row.id, State.ACCEPTED, settled=True, moved=False)
            case State.CLAIMED | State.SENDING | State.DELIVERED | State.FAILED | State.EXPIRED:
                return Woken(row.id, row.state, settled=False, moved=False)
            case _:
                assert_never(row.state)

    async def _release(self, conn: Conn, worker: WorkerId) -> None:
        for claim in await store.claims_of(conn, worker):
            await self._release_claim(conn, claim)
        await store.end_worker(conn, worker)

    async def _release_claim(self, conn: Conn, claim: Claim) -> None:
        now = self._clock.now()
        wake_at: datetime | None
        if claim.provider in self._asked:
            wake_at, resends = now + doubt_delay(self._unknown_wait), _ALWAYS
        else:
            hold = self._policies.get(claim.provider) is Indeterminate.HOLD
            wake_at, resends = None if hold else now + self._unknown_wait, self._max_resends
        unknown = await store.release_claim(conn, claim, now=now, wake_at=wake_at, resends=resends)
        log.warning("claim released", worker_id=claim.worker, claimed=len(claim.ids), unknown=unknown)


def _fated(before: Waiting, after: Woken) -> bool:
    """Whether waking gave the row its fate. One that had a fate was counted then."""
    return before.state not in FATES and (after.settled or after.state in FATES)
