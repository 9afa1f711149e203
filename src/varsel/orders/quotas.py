"""Creators' quotas at the intake: a request is counted before its orders are stored, or refused (channels 6.3)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import OverLimit, Unavailable
from varsel.domain.ids import OrderId
from varsel.domain.order import Order
from varsel.domain.quota import Counter, Limit, Share, Shortage, Slot, hand_out, requests_of, share_of, wait_for
from varsel.domain.schedule import oslo_day
from varsel.log import Log
from varsel.orders import quota_store as store
from varsel.orders.creators import Creators
from varsel.orders.quota_store import Key
from varsel.settings import QuotaSettings

log = Log(__name__)

Limits = Callable[[str], Mapping[Counter, Limit]]
"""The limits that a creator has. Those that it lacks are unlimited, and cost nothing."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request would use. `shares`: of it, what each order keeps until it is cancelled."""

    creator: str
    total: Share
    shares: Mapping[OrderId, Share]


class Quotas:
    """One for each intake of a process. `creators`: theirs, who are known before they are asked about.

    Far from a limit it takes a little more than it needs, so that most requests need no statement at all.
    """

    def __init__(self, db: Database, clock: Clock, limits: Limits, creators: Creators) -> None:
        self._db = db
        self._clock = clock
        self._limits = limits
        self._creators = creators
        self._reserve: defaultdict[Key, float] = defaultdict(float)  # counted already, and not used
        self._day = oslo_day(clock.now())[0]

    def wish(self, orders: Sequence[Order]) -> Wish | None:
        """None when none of the creator's limits applies: then there is nothing to take."""
        creator = orders[0].creator
        limited = self._limits(creator)
        if not limited:
            return None
        total = {counter: n for counter, n in requests_of(orders).items() if counter in limited}
        shares = {}
        for order in orders:
            if share := share_of(order, limited):
                shares[order.id] = share
                for counter, n in share.items():
                    total[counter] = total.get(counter, 0) + n
        return Wish(creator, total, shares) if total else None

    async def take(self, wishes: Sequence[Wish]) -> list[OverLimit | None]:
        """Serve the wishes in turn, each whole or not at all. At most one round trip, unless a limit is near."""
        now = self._clock.now()
        day, wanted = self._begin_day(now), self._sum(wishes)
        held = {key: self._draw(key, n) for key, n in wanted.items()}
        missing = {key: n - held[key] for key, n in wanted.items() if n > held[key]}
        if not missing:
            return [None] * len(wishes)
        limits = {key: self._limits(name)[key.counter] for name, key in self._named(wishes)}
        asked = {key: n + limits[key].reserve for key, n in missing.items()}
        async with self._db.autocommit() as conn:
            taken = await store.take(conn, asked, limits, now=now, day=day, whole=True)
        if all(taken.values()):
            for key, n in missing.items() if day == self._day else ():
                self._reserve[key] += taken[key] - n
            return [None] * len(wishes)
        return await self._take_what_there_is(
            wishes, wanted, {key: held[key] + taken.get(key, 0) for key in held}, limits
        )

    async def _take_what_there_is(
        self,
        wishes: Sequence[Wish],
        wanted: Mapping[Key, float],
        held: Mapping[Key, float],
        limits: Mapping[Key, Limit],
    ) -> list[OverLimit | None]:
        """When a limit is near. `held`: what of it we have. Nothing is kept in reserve."""
        now = self._clock.now()
        day, _ = oslo_day(now)
        missing = {key: max(n - held[key], 0.0) for key, n in wanted.items()}
        async with self._db.transaction() as conn:  # holds all of the counters: nobody misses what is given back
            more = await store.take(conn, missing, limits, now=now, day=day, whole=False)
            granted = {Slot(name, key.counter): held[key] + more[key] for name, key in self._named(wishes)}
            short = hand_out(granted, [(wish.creator, wish.total) for wish in wishes])
            await store.give_back(conn, {self._key(*slot): left for slot, left in granted.items()}, day=day)
        return [self._refusal(shortage) if shortage else None for shortage in short]

    async def close(self) -> None:
        """Give back the reserve."""
        self._begin_day(self._clock.now())
        reserve, self._reserve = dict(self._reserve), defaultdict(float)
        await self._give_back(reserve)

    async def give_back(self, wishes: Sequence[Wish]) -> None:
        """For requests of which nothing was stored after all. While the database is away, theirs is used up today."""
        await self._give_back(self._sum(wishes))

    async def _give_back(self, amounts: Mapping[Key, float]) -> None:
        if not any(amounts.values()):
            return
        day, _ = oslo_day(self._clock.now())
        try:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, amounts, day=day)
        except Unavailable:
            log.warning("quota not given back", creator_ids=sorted({key.creator for key in amounts}))

    def _begin_day(self, now: datetime) -> datetime:
        """When it began. What was in reserve belonged to the day before."""
        day, _ = oslo_day(now)
        if day > self._day:
            self._reserve.clear()
            self._day = day
        return day

    def _draw(self, key: Key, wanted: float) -> float:
        """Of the reserve."""
        drawn = min(self._reserve[key], wanted)
        self._reserve[key] -= drawn
        return drawn

    def _sum(self, wishes: Iterable[Wish]) -> dict[Key, float]:
        amounts: defaultdict[Key, float] = defaultdict(float)
        for wish in wishes:
            for counter, n in wish.total.items():
                amounts[self._key(wish.creator, counter)] += n
        return amounts

    def _named(self, wishes: Iterable[Wish]) -> set[tuple[str, Key]]:
        """Each counter with its creator's name."""
        return {(wish.creator, self._key(wish.creator, counter)) for wish in wishes for counter in wish.total}

    def _key(self, creator: str, counter: Counter) -> Key:
        return Key(self._creators[creator], counter)

    def _refusal(self, shortage: Shortage) -> OverLimit:
        creator, counter = shortage.slot
        limit, now = self._limits(creator)[counter], self._clock.now()
        wait = wait_for(shortage, limit, oslo_day(now)[1] - now)
        wanted, left = shortage.wanted, int(shortage.left)
        return OverLimit(counter, limit.told, wanted=wanted, left=left, until=now + wait, wait=wait)


_FIELDS: Final = {
    Counter.EMAIL_REQUESTS: "email_requests_per_minute",
    Counter.SMS_REQUESTS: "sms_requests_per_minute",
    Counter.EMAIL_RECIPIENTS: "email_recipients_per_day",
    Counter.SMS_RECIPIENTS: "sms_recipients_per_day",
    Counter.INTERNATIONAL_SMS: "international_sms_parts_per_day",
    Counter.INSTANT_EMAILS: "instant_emails_per_day",
    Counter.INSTANT_SMS: "instant_sms_per_day",
}


def limits_of(settings: QuotaSettings) -> Limits:
    """By the settings; a creator's own go before those of everybody."""
    known: dict[str, Mapping[Counter, Limit]] = {}

    def limits(creator: str) -> Mapping[Counter, Limit]:
        if creator not in known:
            known[creator] = _limits(settings, creator)
        return known[creator]

    return limits


def unlimited(_creator: str) -> Mapping[Counter, Limit]:
    return {}


def _limits(settings: QuotaSettings, creator: str) -> dict[Counter, Limit]:
    own = settings.of(creator)
    limits = {}
    for counter, field in _FIELDS.items():
        configured = getattr(own, field)
        if configured is None:
            configured = getattr(settings, field)
        if configured:
            limits[counter] = Limit.of(counter, configured)
    return limits
