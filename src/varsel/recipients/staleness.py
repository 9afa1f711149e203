"""The 18-month rule, for answers that are not our copy's (registries 2.6)."""

from calendar import monthrange
from datetime import datetime


def cut_off(now: datetime, months: int) -> datetime | None:
    """Addresses neither changed nor confirmed since are stale; None when nothing ever is (0 months).

    Calendar months; the day is clamped to the length of the month.
    """
    if months == 0:
        return None
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    return now.replace(year=year, month=month + 1, day=min(now.day, monthrange(year, month + 1)[1]))
