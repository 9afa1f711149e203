"""An order may be cancelled until shortly before its time, while nobody has claimed it (processing 3.6)."""

from datetime import datetime, timedelta
from enum import Enum, auto

from varsel.db import Database
from varsel.domain.ids import OrderId
from varsel.domain.order import OrderState
from varsel.orders import store


class Cancellation(Enum):
    CANCELLED = auto()  # now, or already before
    NOT_FOUND = auto()  # or another creator's
    PROHIBITED = auto()


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
                await store.mark_cancelled(conn, order, now=now)
                return Cancellation.CANCELLED
            case _:
                return Cancellation.PROHIBITED
