"""When an SMS may leave, and when a notification's time is over. Pure; the zone is named (processing 6.4, 6.5)."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from varsel.domain.order import SendingTime

OSLO: Final = ZoneInfo("Europe/Oslo")


@dataclass(frozen=True, slots=True)
class SendWindow:
    """Whole hours of Oslo's wall clock, every day of the week. Open strictly between them: 09:00:00.000 is closed."""

    start_hour: int = 9
    end_hour: int = 17
    always_open: bool = False

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(OSLO)
        start, end = self._hours(local)
        return self.always_open or start < local < end

    def next_opening(self, now: datetime) -> datetime:
        """The first instant at or after `now` at which the window is open, in UTC."""
        if self.is_open(now):
            return now
        local = now.astimezone(OSLO)
        start, _ = self._hours(local)
        if local > start:
            start, _ = self._hours(local + timedelta(days=1))
        return start.astimezone(UTC) + timedelta(microseconds=1)

    def opened(self, now: datetime) -> datetime:
        """When the window opened today, or will; long ago when it never closes. In UTC."""
        if self.always_open:
            return datetime.fromtimestamp(0, UTC)
        return self.next_opening(now.astimezone(OSLO).replace(hour=0, minute=0, second=0, microsecond=0))

    def expiry(self, requested: datetime, lifetime: timedelta) -> datetime:
        """Of a daytime SMS (processing 6.5): outside the window, its life begins when the window opens."""
        local = requested.astimezone(OSLO)
        start, _ = self._hours(local)
        if self.always_open or self.is_open(requested):
            return requested + lifetime
        days = timedelta() if local < start else timedelta(days=1)
        return (start + days + lifetime).astimezone(UTC)  # wall clock: both ends are 09:00 local

    def _hours(self, local: datetime) -> tuple[datetime, datetime]:
        midnight = datetime.combine(local.date(), time(), OSLO)
        return midnight + timedelta(hours=self.start_hour), midnight + timedelta(hours=self.end_hour)


def oslo_day(now: datetime) -> tuple[datetime, datetime]:
    """When the calendar day of `now` began in Oslo, and when the next one begins, in UTC. 23 to 25 hours."""
    midnight = datetime.combine(now.astimezone(OSLO).date(), time(), OSLO)
    return midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)


def sms_expiry(
    requested: datetime, sending_time: SendingTime | None, window: SendWindow, lifetime: timedelta
) -> datetime:
    """`sending_time` None (v1) lives as long as anytime, although it leaves in the daytime only."""
    return window.expiry(requested, lifetime) if sending_time is SendingTime.DAYTIME else requested + lifetime


def is_daytime(sending_time: SendingTime | None) -> bool:
    return sending_time is not SendingTime.ANYTIME
