"""The providers of one channel, as one process uses them: who is ready, who gets what, who is unwell (channels 1.8).

What all processes must agree on stands in the `provider` table, and is looked at twice a second.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Final, Generic, TypeVar

from varsel.db import Database
from varsel.delivery import balance_store, pool_store
from varsel.delivery.bucket import Bucket
from varsel.delivery.choice import Routing, choose
from varsel.delivery.company import Company, InCompany, Provider
from varsel.delivery.pool_store import Standing
from varsel.delivery.ports import Blame, Deferred, Email, Particular, SendResult, Sms, Unknown
from varsel.delivery.slots import Slots
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Channel
from varsel.log import Log

log = Log(__name__)

Message = TypeVar("Message", Email, Sms)

_CLAIM_LIMIT: Final = 500
_CLAIM_SECONDS: Final = 0.5  # a claim is at most what the provider takes in this time
_LOOK_AGAIN: Final = 0.5  # s: a standing that is older is read again
_COUNT_EVERY: Final = 1.0  # s; errors are told at once
_MOST_ERRORS: Final = 50  # in a minute
_FEWEST_ATTEMPTS: Final = 20  # of which half may fail
_ENOUGH_TRIALS: Final = 3
_PAUSES: Final = (timedelta(seconds=1), timedelta(hours=1))  # that a provider may ask for
_ALARM_AFTER: Final = timedelta(minutes=5)
_NEVER: Final = 60.0  # s until a message that no provider takes is looked at again


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """How long a breaker is open the first time, doubling each time, and at most."""

    first: timedelta = timedelta(seconds=30)
    longest: timedelta = timedelta(minutes=10)


class Member(Generic[Message]):
    """One instance. `rest`: it should get nothing more, and what has not been started is given back."""

    def __init__(self, db: Database, provider: Provider[Message], routing: Routing, company: Company) -> None:
        self.provider: Provider[Message] = InCompany(provider, company)
        self._particular: Particular | None = provider if isinstance(provider, Particular) else None
        self.routing = routing
        self.bucket = Bucket(db, provider.name, routing)
        self.slots = Slots(provider.step // provider.max_batch)
        self.backlog = 0  # claimed and not yet with the provider
        self.under_way = 0
        self.rest = False
        self.trying = False  # its one message is a trial
        self.weight = routing.weight
        self.on_trial = False
        self.ready_at = 0.0  # of the machine's clock
        self.stopped = False
        self.attempts = self.errors = 0  # not told yet
        self.told_at = 0.0
        self.pace = _Pace(provider.step, routing.rate)

    @property
    def name(self) -> str:
        return self.provider.name

    def reaches(self, address: str) -> bool:
        return self._particular is None or self._particular.reaches(address)

    @property
    def ready(self) -> bool:
        return not self.stopped and not self.rest and self.ready_at <= time.monotonic()

    @property
    def has_room(self) -> bool:
        return self.backlog < self.provider.step

    @property
    def limit(self) -> int:
        """How many messages it may be given at once."""
        return 1 if self.on_trial else self.pace.claim_limit

    def takes_standing(self, standing: Standing) -> None:
        self.weight = self.routing.weight if standing.weight is None else standing.weight
        self.stopped, self.on_trial = standing.stopped, standing.on_trial
        self.ready_at = time.monotonic() + (standing.ready_in or 0)
        self.rest = not standing.ready


class Pool(Generic[Message]):
    """All enabled instances of a channel. Use `open` before anything else."""

    def __init__(
        self,
        db: Database,
        channel: Channel,
        members: Sequence[tuple[Provider[Message], Routing]],
        *,
        rules: BreakerRules | None = None,
        dice: Random | None = None,
        alarm_after: timedelta = _ALARM_AFTER,
    ) -> None:
        """`alarm_after`: when nobody has been well for so long, that is an alarm, and again after as long."""
        self._db = db
        self.channel = channel
        company = Company(lambda creator, to: (m.name for m in self.members if m.routing.takes(creator, to)))
        self.members: list[Member[Message]] = [Member(db, *member, company) for member in members]
        self._rules = rules or BreakerRules()
        self._dice = dice or Random()  # noqa: S311 - spreads load, guards nothing
        self._looked_at = 0.0
        self._enlisted = False
        self._alarm_after = alarm_after.total_seconds()
        self._missing_since: float | None = None  # or when that was last an alarm

    def __bool__(self) -> bool:
        return bool(self.members)

    async def look(self) -> None:
        """Read how the instances stand, unless that was just done. Raises `Unavailable` when the database fails."""
        if time.monotonic() - self._looked_at < _LOOK_AGAIN:
            return
        names = [member.name for member in self.members]
        if not self._enlisted:
            async with self._db.autocommit() as conn:
                await pool_store.enlist(conn, names, self.channel.value)
            self._enlisted = True
        async with self._db.reading() as conn:
            found = {standing.name: standing for standing in await pool_store.standings(conn, names)}
        for member in self.members:
            if standing := found.get(member.name):
                member.takes_standing(standing)
            else:
                self._enlisted = False
        self._looked_at = time.monotonic()
        self._miss_providers()

    def _miss_providers(self) -> None:
        now = time.monotonic()
        if any(member.ready and not member.on_trial for member in self.members):
            self._missing_since = None
            return
        self._missing_since = self._missing_since or now
        if now - self._missing_since >= self._alarm_after:
            self._missing_since = now
            log.error("channel without provider", channel=self.channel, minutes=round(self._alarm_after / 60))

    def look_again(self) -> None:
        """What was read is out of date."""
        self._looked_at = 0.0

    def choose(
        self, candidates: Sequence[Member[Message]], creator: str, address: str, tried: Sequence[str]
    ) -> Member[Message] | None:
        """Of those that take the message. Who does not reach its address gets it only when nobody does."""
        able = candidates
        if not address.isascii():
            able = [m for m in candidates if m.reaches(address) and m.routing.takes(creator, address)] or candidates
        return choose(able, creator, address, tried, self._dice)

    def wait_for(self, creator: str, address: str) -> timedelta:
        """How long a message waits that no instance can take now."""
        now = time.monotonic()
        fit = [m for m in self.members if m.routing.takes(creator, address) and not m.stopped]
        return timedelta(seconds=max(1.0, min((m.ready_at - now for m in fit), default=_NEVER)))

    def takes(self, creator: str, address: str) -> bool:
        """Whether any instance takes such messages at all."""
        return any(member.routing.takes(creator, address) for member in self.members)

    def is_left(self, creator: str, address: str, tried: Collection[str]) -> bool:
        """Whether an instance is ready that has not been tried."""
        return any(m.ready and m.name not in tried and m.routing.takes(creator, address) for m in self.members)

    def has_another(self, creator: str, address: str, than: Collection[str]) -> bool:
        """Whether an instance that is not among these takes such messages, now or when it has rested."""
        return any(not m.stopped and m.name not in than and m.routing.takes(creator, address) for m in self.members)

    async def mind(self, member: Member[Message], results: Sequence[SendResult]) -> None:
        """Let an instance rest that asked for it, open its breaker when it is unwell, and close it when it is back."""
        faults = [r for r in results if isinstance(r, Deferred) and r.blame is Blame.FAULT]
        throttles = [r for r in results if isinstance(r, Deferred) and r.blame is Blame.PROVIDER and r.retry_after]
        errors = sum(map(_is_error, results))
        trial, member.trying = member.trying, False
        try:
            if trial and all(isinstance(r, Deferred) and r.blame is Blame.NOBODY for r in results):
                await self.forgo(member)  # which shows nothing of how it is
            elif trial and not throttles:
                await self._judge_trial(member, results, failed=bool(faults or errors))
            elif faults:
                await self._open(member, faults[0].detail)
            else:
                await self._count(member, len(results) - len(throttles), errors, results)
            if throttles:
                await self._pause(member, throttles, trial=trial)
        except Unavailable:
            log.warning("provider state not stored", provider=member.name)

    async def forgo(self, member: Member[Message]) -> None:
        """Its trial did not come to anything: another message may be one."""
        member.trying = False
        try:
            async with self._db.autocommit() as conn:
                await pool_store.return_trial(conn, member.name)
        except Unavailable:
            log.warning("provider state not stored", provider=member.name)

    async def _judge_trial(self, member: Member[Message], results: Sequence[SendResult], *, failed: bool) -> None:
        self.look_again()
        if failed:
            await self._open(member, _detail(results))
            return
        async with self._db.autocommit() as conn:
            closed = await pool_store.tried_well(conn, member.name, enough=_ENOUGH_TRIALS)
        if closed:
            log.info("provider breaker closed", provider=member.name)

    async def _open(self, member: Member[Message], detail: str) -> None:
        member.rest = True
        self.look_again()
        async with self._db.autocommit() as conn:
            times = await pool_store.open_breaker(
                conn, member.name, first=self._rules.first, longest=self._rules.longest, detail=detail
            )
        if times:
            log.warning("provider breaker opened", provider=member.name, times=times, why=detail)

    async def _pause(self, member: Member[Message], throttles: Sequence[Deferred], *, trial: bool) -> None:
        if member.rest and not trial:
            return
        member.rest = True
        self.look_again()
        least, most = _PAUSES
        wanted = min(most, max(least, *(r.retry_after for r in throttles if r.retry_after)))
        async with self._db.autocommit() as conn:
            await pool_store.pause(conn, member.name, wanted, detail=throttles[0].detail)
            if trial:
                await pool_store.return_trial(conn, member.name)
        log.warning("provider paused", provider=member.name, seconds=wanted.total_seconds(), why=throttles[0].detail)

    async def _count(self, member: Member[Message], attempts: int, errors: int, results: Sequence[SendResult]) -> None:
        member.attempts += attempts
        member.errors += errors
        now = time.monotonic()
        if member.attempts and (member.errors or now - member.told_at > _COUNT_EVERY):
            told, member.attempts = member.attempts, 0
            failed, member.errors = member.errors, 0
            member.told_at = now
            async with self._db.autocommit() as conn:
                await pool_store.count(conn, member.name, told, failed)
                in_all = await pool_store.counted(conn, member.name) if failed else None
            if in_all:
                await self._judge(member, *in_all, _detail(results))

    async def _judge(self, member: Member[Message], attempts: int, errors: int, detail: str) -> None:
        if errors > _MOST_ERRORS:
            await self._shift(member, f"{errors} errors in a minute")
        if errors > _MOST_ERRORS or (attempts >= _FEWEST_ATTEMPTS and 2 * errors >= attempts):
            await self._open(member, detail)

    async def _shift(self, failing: Member[Message], why: str) -> None:
        async with self._db.transaction() as conn:
            await balance_store.shift(conn, self.resting(failing.routing.group), failing.name, why=why)

    def groups(self) -> list[dict[str, int]]:
        """Weights at rest, by group."""
        return [self.resting(group) for group in sorted({m.routing.group for m in self.members})]

    def resting(self, group: int) -> dict[str, int]:
        """Weights at rest of the instances of a group."""
        return {m.name: m.routing.weight for m in self.members if m.routing.group == group}


AnyPool = Pool[Email] | Pool[Sms]


class _Pace:
    """How fast the provider takes messages, as seen over the last second or two."""

    def __init__(self, step: int, rate: float | None) -> None:
        self._step = step
        self._most = _CLAIM_LIMIT if rate is None else max(1, round(rate * _CLAIM_SECONDS))
        self._rate = 0.0  # messages a second
        self._count = 0
        self._since = time.monotonic()

    @property
    def claim_limit(self) -> int:
        return min(_CLAIM_LIMIT, self._most, max(self._step, round(self._rate * _CLAIM_SECONDS)))

    def count(self, messages: int) -> None:
        self._count += messages
        elapsed = time.monotonic() - self._since
        if elapsed > _CLAIM_SECONDS or self._count >= _CLAIM_LIMIT:
            self._rate = max(self._count / max(elapsed, 1e-3), self._rate / 2)
            self._count, self._since = 0, time.monotonic()


def _is_error(result: SendResult) -> bool:
    """Of the provider, and not of the message."""
    return isinstance(result, Unknown) or (
        isinstance(result, Deferred) and result.blame is Blame.PROVIDER and result.retry_after is None
    )


def _detail(results: Sequence[SendResult]) -> str:
    return next((r.detail for r in results if _is_error(r) or isinstance(r, Deferred)), "")
