"""Identifiers. Every id is a UUIDv7 made here, before the insert, from the machine's clock (design 8: never moved)."""

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NewType
from uuid import UUID

CreatorId = NewType("CreatorId", int)
WorkerId = NewType("WorkerId", int)
OrderId = NewType("OrderId", UUID)
ChainId = NewType("ChainId", UUID)
NotificationId = NewType("NotificationId", UUID)
ClaimId = NewType("ClaimId", UUID)
ReportId = NewType("ReportId", UUID)
WebhookId = NewType("WebhookId", UUID)

_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, 12 bits of their fraction, 62 random bits.

    Ids made by one process increase strictly, so sorting by id is sorting by age.
    """
    global _last  # noqa: PLW0603 - the one piece of state that keeps ids of this process in order
    random = int.from_bytes(os.urandom(8)) >> 2
    with _lock:
        ticks = time.time_ns() * 4096 // 1_000_000  # 1/4096 ms
        _last = ticks = max(ticks, _last + 1)
    return UUID(int=(ticks >> 12) << 80 | _VERSION | (ticks & 0xFFF) << 64 | _VARIANT | random)


def uuid7_floor(instant: datetime) -> UUID:
    """The smallest id that can be made at `instant`: the bound between monthly partitions."""
    return UUID(int=(instant - _EPOCH) // timedelta(milliseconds=1) << 80)


def made_at(id_: UUID) -> datetime:
    """When a UUIDv7 was made, in UTC, to the millisecond."""
    return datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
