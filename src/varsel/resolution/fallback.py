"""Late fallback: an order that reached nobody tries the other channel once, as far as it has time (design 6).

The failure itself has opened the fallback (`fates/fallback_store.py`); here it is looked up anew, and decided: with
messages, or because nobody can be reached there either.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import RegistryUnavailable, Unavailable
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderChannel
from varsel.fates import store as fates
from varsel.log import Log
from varsel.recipients.directory import Outages
from varsel.recipients.ports import ContactDirectory
from varsel.resolution import fallback_store as store
from varsel.resolution import plan
from varsel.resolution.due import by_directory
from varsel.resolution.fallback_store import Address, Decision, Outcome
from varsel.resolution.plan import Due, Rules
from varsel.resolution.store import NewNotification, contents, counted, insert_notifications
from varsel.tally import store as tally
from varsel.wakeup import Waker, Work

log = Log(__name__)

_ORDERS_A_TURN: Final = 200


class Fallbacks:
    """Any number of workers may do this at once: who comes second finds that it is decided."""

    def __init__(
        self,
        db: Database,
        directory: ContactDirectory,
        clock: Clock,
        waker: Waker,
        rules: Rules,
        *,
        outages: Outages | None = None,
    ) -> None:
        """`outages`: None when all orders wait for registers."""
        self._db = db
        self._directory = directory
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._outages = outages

    async def fall_back_due(self) -> int:
        """Look up what is due, and decide it; returns how many it took up. Raises `Unavailable`: it comes again."""
        async with self._db.autocommit() as conn:
            taken = await store.take(conn, now=self._clock.now(), limit=_ORDERS_A_TURN)
        if not taken:
            return 0
        async with self._db.reading() as conn:
            orders, found = await store.orders(conn, taken), await contents(conn, list(taken))
        await self._decide([(order, found[order.id]) for order in orders if order.id in found])
        if missing := [id_ for id_ in taken if id_ not in found]:
            log.error("order without content", ids=missing)
            await self._store([Decision(id_, Outcome.UNREACHABLE) for id_ in missing], {})
        return len(taken)

    async def next_due(self) -> datetime | None:
        """When the next one is looked up (business time)."""
        async with self._db.reading() as conn:
            return await store.next_due(conn)

    async def _decide(self, due: Sequence[Due]) -> None:
        """When one of them makes it fail, halves, so that the others go on; that one comes again until it expires."""
        if not due:
            return
        try:
            await self._look_up_and_store(due)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours: an alarm, and the order waits
            if len(due) > 1:
                await self._decide(due[: len(due) // 2])
                await self._decide(due[len(due) // 2 :])
            else:
                log.error("order cannot fall back", exc=error, order_id=due[0][0].id)

    async def _look_up_and_store(self, due: Sequence[Due]) -> None:
        """The registers are asked first: no transaction is open while we wait for one of them (design 8)."""
        now = self._clock.now()
        over = [pair for pair in due if self._expiry(pair) <= now]
        decided = [Decision(order.id, Outcome.EXPIRED) for order, _ in over]
        ready = [pair for pair in due if self._expiry(pair) > now]
        rows: dict[OrderId, list[NewNotification]] = {order.id: [] for order, _ in ready}
        waiting: dict[OrderId, RegistryUnavailable] = {}
        for directory, orders in await by_directory(self._db, self._directory, self._outages, ready):
            for piece in plan.pieces(orders):
                planned, without = await plan.plan_each(directory, piece, self._rules, now=now)
                waiting |= without
                for each in planned:
                    rows[each.row.order].append(each.row)
        if waiting:
            log.warning("registry unavailable", what=next(iter(waiting.values())).what, orders=len(waiting))
        async with self._db.reading() as conn:
            tried = await store.tried(conn, rows)
        messages = {id_: _new(made, tried) for id_, made in rows.items() if id_ not in waiting}
        decided += [_decision(id_, made, rows[id_]) for id_, made in messages.items()]
        await self._store(decided, messages)

    async def _store(self, decided: Sequence[Decision], messages: Mapping[OrderId, list[NewNotification]]) -> None:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            open_ = await store.lock_open(conn, [d.order for d in decided])
            ours = [d for d in sorted(decided, key=lambda d: d.order) if d.order in open_]
            if not ours:
                return
            rows = [row for d in ours for row in messages.get(d.order, ())]
            await insert_notifications(conn, rows, now=now)
            await tally.add(conn, counted(rows), now=now)
            await store.decide(conn, ours, now=now)
            await fates.lock_orders(conn, open_)
            # nothing came of the fallback of an order that was complete: there is nothing to correct
            silent = [d for d in ours if d.messages or open_[d.order]]
            await store.replace_pending(conn, silent)
            ended = [d.order for d in ours if not d.messages and not open_[d.order]]
            await fates.count_fates(conn, ended, now=now)
        self._waker.wake(Work.NOTIFICATIONS)
        if ended:
            self._waker.wake(Work.FEED)
        sent = sum(d.outcome is Outcome.SENT for d in ours)
        log.info("fallbacks decided", orders=len(ours), sent=sent)

    def _expiry(self, pair: Due) -> datetime:
        order, content = pair
        ends = plan.expiries(order, content, self._rules)
        return ends[Channel.EMAIL if order.channel is OrderChannel.EMAIL else Channel.SMS]


def _new(made: Iterable[NewNotification], tried: frozenset[Address]) -> list[NewNotification]:
    """The messages to addresses at which the order has not tried before."""
    return [row for row in made if row.state is State.NEW and (row.order, row.channel, row.address) not in tried]


def _decision(order: OrderId, messages: Sequence[NewNotification], made: Iterable[NewNotification]) -> Decision:
    if messages:
        return Decision(order, Outcome.SENT, len(messages), min(row.expires_at for row in messages))
    reserved = any(row.reason is Reason.RECIPIENT_RESERVED for row in made)
    return Decision(order, Outcome.RESERVED if reserved else Outcome.UNREACHABLE)
