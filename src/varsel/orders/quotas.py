"""Creators' quotas at the intake: a request is counted before its orders are stored, or refused (channels 6.3)."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """One for each intake of a process. `creators`: theirs, who are known before they are asked about."""

    def __init__(self, db: Database, clock: Clock, limits: Limits, creators: Creators) -> None:
        self._db = db
        self._clock = clock
        self._limits = limits
        self._creators = creators

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
        """Serve the wishes in turn, each whole or not at all. One round trip, unless somebody is over a limit."""
        if not wishes:
            return []
        wanted = self._sum(wishes)
        limits = {key: self._limits(name)[key.counter] for name, key in self._named(wishes)}
        now = self._clock.now()
        day, _ = oslo_day(now)
        async with self._db.autocommit() as conn:
            taken = await store.take(conn, wanted, limits, now=now, day=day, whole=True)
        if all(taken[key] >= n for key, n in wanted.items()):
            return [None] * len(wishes)
        missing = {key: n - taken[key] for key, n in wanted.items()}
        async with self._db.transaction() as conn:  # holds all of the counters: nobody misses what is given back
            more = await store.take(conn, missing, limits, now=now, day=day, whole=False)
            granted = {Slot(name, key.counter): taken[key] + more[key] for name, key in self._named(wishes)}
            short = hand_out(granted, [(wish.creator, wish.total) for wish in wishes])
            await store.give_back(conn, {self._key(*slot): left for slot, left in granted.items()}, day=day)
        return [self._refusal(shortage) if shortage else None for shortage in short]

    async def give_back(self, wishes: Sequence[Wish]) -> None:
        """For requests of which nothing was stored after all. While the database is away, theirs is used up today."""
        if not wishes:
            return
        day, _ = oslo_day(self._clock.now())
        try:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, self._sum(wishes), day=day)
        except Unavailable:
            log.warning("quota not given back", creators=sorted({wish.creator for wish in wishes}))

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
