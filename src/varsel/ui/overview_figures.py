"""Pure: what the overview says, from tallies: the road, the ends, hours, channels and senders, of all or of one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from varsel.domain.notification import Channel
from varsel.domain.tally import Bucket
from varsel.tally.store import Count, Moment, Sender

SENDERS_SHOWN: Final = 8
MINUTES_SHOWN: Final = 60

_OSLO: Final = ZoneInfo("Europe/Oslo")
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)

# The four groups of the pages, in the order in which they stand, by the name of their colours.
GROUPS: Final[Mapping[str, frozenset[Bucket]]] = {
    "delivered": frozenset({Bucket.DELIVERED}),
    "handed": frozenset({Bucket.SETTLED, Bucket.EXPIRED}),
    "failed": frozenset({Bucket.FAILED}),
    "stopped": frozenset({Bucket.NOT_SENT}),
}
_GROUP_OF: Final = {bucket: group for group, buckets in GROUPS.items() for bucket in buckets}


@dataclass(frozen=True, slots=True)
class Ends:
    """How many came to each end. A correction takes one from where it was, so a group may have less than none."""

    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def parts(self) -> Sequence[tuple[str, int, float]]:
        """(group, how many, share of all)."""
        whole = sum(max(n, 0) for n in self.counts.values())
        return [(group, n, max(n, 0) / whole if whole else 0.0) for group, n in self.counts.items()]

    @property
    def arrived(self) -> float | None:
        """The share of what was sent that is known to have arrived; None when nothing was."""
        sent = sum(max(self.counts[group], 0) for group in ("delivered", "handed", "failed"))
        return max(self.counts["delivered"], 0) / sent if sent else None


@dataclass(frozen=True, slots=True)
class Hour:
    """`at`: its beginning. `before`: how many were finished in the same hour a week ago; None when that is over."""

    at: datetime
    ends: Ends
    before: int | None

    @property
    def clock(self) -> str:
        return f"{self.at.astimezone(_OSLO):%H}"


@dataclass(frozen=True, slots=True)
class ChannelDay:
    """How a channel does today. `hourly`: the share that arrived, of the hours in which anything was finished."""

    channel: Channel
    ends: Ends
    hourly: Sequence[float]


@dataclass(frozen=True, slots=True)
class Tallies:
    """What was read, of everybody or of one creator. `last_week`: of the same day, seven days ago."""

    standing: Sequence[Count]
    hours: Sequence[Moment]
    last_week: Sequence[Moment]
    minutes: Sequence[Moment]
    senders: Sequence[Sender]


@dataclass(frozen=True, slots=True)
class Figures:
    """`rate`: recipients that were taken in, a minute. `minutes`: how many were finished in each, the oldest first."""

    taken: int
    rate: float
    scheduled: int
    open: int
    handed: int
    unsure: int
    ends: Ends
    hours: Sequence[Hour]
    channels: Sequence[ChannelDay]
    minutes: Sequence[int]
    senders: Sequence[Sender]
    others: int = field(default=0)  # senders that are not shown


def figures(tallies: Tallies, *, now: datetime, day: tuple[datetime, datetime]) -> Figures:
    """`day`: when the day of `now` begins and ends in Norway."""
    standing, today = _by_bucket(tallies.standing), _by_bucket(tallies.hours)
    return Figures(
        taken=today[Bucket.TAKEN],
        rate=_rate(tallies.minutes, now),
        scheduled=standing[Bucket.SCHEDULED],
        open=standing[Bucket.OPEN],
        handed=standing[Bucket.ACCEPTED] + standing[Bucket.UNKNOWN],
        unsure=standing[Bucket.UNKNOWN],
        ends=_ends(today.items()),
        hours=_hours(tallies, now, day),
        channels=[_channel(channel, tallies) for channel in Channel],
        minutes=_finished_by_minute(tallies.minutes, now),
        senders=tallies.senders,
        others=tallies.senders[0].all - len(tallies.senders) if tallies.senders else 0,
    )


def _by_bucket(counts: Iterable[Count | Moment]) -> Counter[Bucket]:
    sums: Counter[Bucket] = Counter()
    for count in counts:
        sums[count.bucket] += count.n
    return sums


def _ends(counted: Iterable[tuple[Bucket, int]]) -> Ends:
    sums = dict.fromkeys(GROUPS, 0)
    for bucket, n in counted:
        if bucket in _GROUP_OF:
            sums[_GROUP_OF[bucket]] += n
    return Ends(sums)


def _hours(tallies: Tallies, now: datetime, day: tuple[datetime, datetime]) -> Sequence[Hour]:
    """All hours of the day, also those to come. In the nights in which the clocks change there are 23 or 25."""
    by_hour: dict[datetime, list[tuple[Bucket, int]]] = {}
    for moment in tallies.hours:
        by_hour.setdefault(moment.at, []).append((moment.bucket, moment.n))
    before: Counter[int] = Counter()
    for moment in tallies.last_week:
        if moment.bucket in _GROUP_OF:
            before[moment.at.astimezone(_OSLO).hour] += moment.n
    hours, at = [], day[0]
    while at < day[1]:
        ahead = at > now - _HOUR
        hours.append(Hour(at, _ends(by_hour.get(at, ())), before[at.astimezone(_OSLO).hour] if ahead else None))
        at += _HOUR
    return hours


def _channel(channel: Channel, tallies: Tallies) -> ChannelDay:
    by_hour: dict[datetime, list[tuple[Bucket, int]]] = {}
    for moment in tallies.hours:
        if moment.channel is channel:
            by_hour.setdefault(moment.at, []).append((moment.bucket, moment.n))
    shares = [_ends(by_hour[at]).arrived for at in sorted(by_hour)]
    today = _ends(pair for pairs in by_hour.values() for pair in pairs)
    return ChannelDay(channel, today, [share for share in shares if share is not None])


def _rate(minutes: Sequence[Moment], now: datetime) -> float:
    """Over this minute and the one before."""
    start = now.replace(second=0, microsecond=0) - _MINUTE
    taken = sum(m.n for m in minutes if m.bucket is Bucket.TAKEN and m.at >= start)
    return taken / ((now - start) / _MINUTE)


def _finished_by_minute(minutes: Sequence[Moment], now: datetime) -> Sequence[int]:
    """Of the last hour, without the minute that has only begun."""
    end = now.replace(second=0, microsecond=0)
    finished: Counter[datetime] = Counter()
    for moment in minutes:
        if moment.bucket in _GROUP_OF:
            finished[moment.at] += moment.n
    return [max(finished[end - _MINUTE * ago], 0) for ago in range(MINUTES_SHOWN, 0, -1)]
