"""Stage 1: an order is accepted. Look up, store, answer after the commit (processing 2.1, design 8 "Intake batch")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.ids import CreatorId, OrderId
from varsel.domain.order import Order
from varsel.orders import store
from varsel.orders.batch import Batcher
from varsel.recipients.lookup import LookupSummary, Query, look_up, summarise
from varsel.recipients.ports import ContactDirectory
from varsel.wakeup import Waker, Work

_BATCHED_BELOW_RECIPIENTS: Final = 50  # bigger orders gain nothing from company, and would hold it up


@dataclass(frozen=True, slots=True)
class Registration:
    order_id: OrderId
    lookup: LookupSummary | None


class Register:
    """Where orders are accepted. One for each process: it owns the batcher and remembers creators' ids."""

    def __init__(
        self, db: Database, directory: ContactDirectory, clock: Clock, waker: Waker, *, user_addresses: bool = True
    ) -> None:
        self._db = db
        self._directory = directory
        self._clock = clock
        self._waker = waker
        self._user_addresses = user_addresses
        self._creators: dict[str, CreatorId] = {}
        self._batcher: Batcher[Order, Registration] = Batcher(self._register)

    async def register_order(self, order: Order) -> Registration:
        """Store the order durably and say who can be reached.

        The lookup informs only: it never rejects an order. Raises `Unavailable` (a register or the database); then
        nothing is stored, or, after a commit of unknown outcome, perhaps.
        """
        if len(order.recipients) < _BATCHED_BELOW_RECIPIENTS:
            return await self._batcher.submit(order, len(order.recipients))
        (registration,) = await self._register([order])
        return registration

    async def close(self) -> None:
        await self._batcher.close()

    async def _register(self, orders: Sequence[Order]) -> list[Registration]:
        now = self._clock.now()
        queries = [_query(order) for order in orders]
        reaches = await look_up(self._directory, queries, now=now, user_addresses=self._user_addresses)
        await self._know_creators({order.creator for order in orders})
        async with self._db.autocommit() as conn:  # one statement, one transaction
            await store.insert_orders(conn, [(o, self._creators[o.creator]) for o in orders], now=now)
        if any(order.requested_send_time <= now for order in orders):
            self._waker.wake(Work.ORDERS)
        return [
            Registration(order.id, summarise(query, reach))
            for order, query, reach in zip(orders, queries, reaches, strict=True)
        ]

    async def _know_creators(self, names: set[str]) -> None:
        if new := sorted(names - self._creators.keys()):
            async with self._db.transaction() as conn:
                found = await store.creator_ids(conn, new, now=self._clock.now())
            self._creators |= found


def _query(order: Order) -> Query:
    return Query(order.channel, order.recipients, order.allow_stale, order.resource_id, order.resource_action)
