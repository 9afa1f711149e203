"""An order may be cancelled until shortly before its time, while nobody has claimed it (processing 3.6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final
from uuid import UUID

from varsel.db import Conn, Database
from varsel.domain.ids import OrderId
from varsel.domain.order import OrderState
from varsel.domain.schedule import oslo_day
from varsel.orders import quota_store, store

_ORDERS_A_TURN: Final = 1_000


class Cancellation(Enum):
    CANCELLED = auto()  # now, or already before
    NOT_FOUND = auto()  # or another creator's
    PROHIBITED = auto()


@dataclass(frozen=True, slots=True)
class BulkCancellation:
    """How many orders are cancelled, now or already before, and how many are not; `kept` holds the first of these."""

    cancelled: int
    not_cancelled: int
    kept: tuple[tuple[OrderId, OrderState], ...]


async def cancel_order(db: Database, creator: str, order: OrderId, *, now: datetime, limit: timedelta) -> Cancellation:
    """Cancel the creator's order when its send time is more than `limit` ahead. Atomic with the claim of due orders."""
    async with db.transaction() as conn:
        found = await store.lock_own(conn, order, creator)
        match found:
            case None:
                return Cancellation.NOT_FOUND
            case (OrderState.CANCELLED, _):
                return Cancellation.CANCELLED
            case (OrderState.REGISTERED, send_time) if send_time > now + limit:
                await _cancel(conn, [order], now)
                return Cancellation.CANCELLED
            case _:
                return Cancellation.PROHIBITED


async def cancel_orders(
    db: Database, creator: str, reference: str, *, now: datetime, limit: timedelta, max_kept: int = _ORDERS_A_TURN
) -> BulkCancellation:
    """Cancel all of the creator's orders with this reference that `cancel_order` would.

    A thousand in each transaction, in order of id: a call that breaks off has cancelled the first of them, and may be
    repeated.
    """
    cancelled = not_cancelled = 0
    kept: list[tuple[OrderId, OrderState]] = []
    after = OrderId(UUID(int=0))
    while True:
        async with db.transaction() as conn:
            locked = await store.lock_referenced(conn, creator, reference, after=after, limit=_ORDERS_A_TURN)
            mine = [o.id for o in locked if o.state is OrderState.REGISTERED and o.requested_send_time > now + limit]
            await _cancel(conn, mine, now)
        done = set(mine) | {o.id for o in locked if o.state is OrderState.CANCELLED}
        cancelled += len(done)
        not_cancelled += len(locked) - len(done)
        kept += [(o.id, o.state) for o in locked if o.id not in done][: max_kept - len(kept)]
        if len(locked) < _ORDERS_A_TURN:
            return BulkCancellation(cancelled, not_cancelled, tuple(kept))
        after = locked[-1].id


async def _cancel(conn: Conn, orders: Sequence[OrderId], now: datetime) -> None:
    """Orders that this transaction has locked. Their creator may order as much again today."""
    if orders:
        await store.mark_cancelled(conn, orders, now=now)
        await quota_store.release(conn, orders, day=oslo_day(now)[0])
