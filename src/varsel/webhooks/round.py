"""One round for one webhook: pings, what is due for another try, the next page of the feed (channels 7.4, design 8).

One coordinator begins requests, and stores what became of them as they end. A crash before that sends an event again,
with the same id. Events of one shipment go one after another, and none overtakes one that failed.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.domain.ids import OrderId
from varsel.domain.signatures import headers_of
from varsel.log import Log
from varsel.webhooks import lease_store as leases
from varsel.webhooks import store
from varsel.webhooks.backoff import next_try, wait_after
from varsel.webhooks.event import CONTENT_TYPE, Envelope, Event, Kind, body_of
from varsel.webhooks.lease_store import Held
from varsel.webhooks.ports import Answer, Receivers
from varsel.webhooks.states import DeliveryState, WebhookState, Why
from varsel.webhooks.store import Next, Standing, Tried

log = Log(__name__)

PER_WEBHOOK: Final = 5
"""Requests to one webhook at once, of these one about each shipment; one alone while the last one failed."""

_SPARE: Final = timedelta(seconds=5)  # between the end of the last request and the end of the lease


@dataclass(frozen=True, slots=True)
class Terms:
    """How a worker pushes. `base`: of our own addresses, without trailing slash. `timeout`: of one request.

    Nobody else serves a webhook during its `lease`, so a request begins only if it ends within.
    """

    base: str
    prefix: str = ""
    timeout: timedelta = timedelta(seconds=15)
    page: int = 100
    shift: timedelta = leases.NO_SHIFT

    @property
    def lease(self) -> timedelta:
        return self.timeout * 2 + timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of a request; no `answer`: it was not begun."""

    next: Next
    answer: Answer | None
    took: timedelta


class _LostError(Exception):
    """The webhook is another's by now, or gone."""


class Round:
    """`host`: turns of the webhook's host. `leased`: when the lease was asked for, by the loop's clock."""

    def __init__(
        self,
        db: Database,
        receivers: Receivers,
        clock: Clock,
        terms: Terms,
        held: Held,
        host: asyncio.Semaphore,
        *,
        leased: float,
        machine: Callable[[], float],
    ) -> None:
        self.held = held
        self._db = db
        self._receivers = receivers
        self._clock = clock
        self._terms = terms
        self._host = host
        self._leased = leased
        self._machine = machine
        self._envelope = Envelope(terms.base, held.creator, terms.prefix, held.destinations)
        self._standing = Standing(held.position, held.failures)
        self._queue: deque[Next] = deque()
        self._page: deque[int] = deque()  # what the position has to pass yet
        self._settled: set[int] = set()  # of these
        self._parked: list[Tried] = []  # to be stored
        self._flying: dict[asyncio.Task[_Came], Next] = {}
        self._over = False
        self._failed = False

    def halt(self) -> None:
        """Begin no more requests."""
        self._over = True

    async def run(self) -> None:
        """Serve until the page is through, or something failed. Gives the webhook back, unless it is cut off."""
        try:
            await self._read()
            while self._begin() or self._flying:
                done, _ = await asyncio.wait(self._flying, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del self._flying[task]
                await self._store([task.result() for task in done])
            await self._store([])
            async with self._db.autocommit() as conn:
                await leases.release(conn, self.held)
        except _LostError:
            log.info("webhook is served by another", webhook_id=self.held.id)
        except Unavailable:
            log.warning("webhook results not stored", webhook_id=self.held.id)
        finally:
            await self._cut_off()

    async def _cut_off(self) -> None:
        for task in self._flying:
            task.cancel()
        await asyncio.gather(*self._flying, return_exceptions=True)

    # What is next

    async def _read(self) -> None:
        now = self._clock.now()
        if self.held.active and self.held.replay_from is not None:
            await self._rewind()
        async with self._db.autocommit() as conn:
            found = await store.pings(conn, self.held, now=now)
            if self.held.active:
                found += await store.waiting(conn, self.held, now=now, limit=self._terms.page)
                new = await store.new(conn, self.held, limit=self._terms.page)
                self._page.extend(entry.seq for entry in new if entry.seq is not None)
                found += new
            if lost := [entry.seq for entry in found if entry.lost]:
                log.warning("webhook events too old", webhook_id=self.held.id, events=len(lost))
                await store.forget(conn, self.held, lost, now=now)
        for entry in found:
            self._line_up(entry, now)

    async def _rewind(self) -> None:
        async with self._db.transaction() as conn:
            position = await leases.rewind(conn, self.held)
        if position is None:
            raise _LostError
        self.held = replace(self.held, position=position, replay_from=None)
        self._standing = replace(self._standing, position=position)

    def _line_up(self, entry: Next, now: datetime) -> None:
        if entry.event is None:
            self._settle(entry)
        elif entry.behind:
            self._park(entry, entry.event, now)
        else:
            self._queue.append(entry)

    def _settle(self, entry: Next) -> None:
        if entry.seq is not None:
            self._settled.add(entry.seq)

    def _park(self, entry: Next, event: Event, now: datetime) -> None:
        """An earlier event of the shipment waits: this one is stored to wait behind it."""
        self._settle(entry)
        if entry.tried == 0:
            self._parked.append(_tried(entry, event, state=DeliveryState.WAITING, last_at=now))

    # Requests

    def _begin(self) -> bool:
        """Begin what may begin now; whether that was anything."""
        width = 1 if self._standing.failures else PER_WEBHOOK
        begun = False
        for entry in self._turns():
            if len(self._flying) >= width or not self._may_begin():
                break
            if entry.order is None or entry.order not in self._busy():
                self._queue.remove(entry)
                self._flying[asyncio.create_task(self._send(entry))] = entry
                begun = True
        return begun

    def _turns(self) -> list[Next]:
        """In order of the feed; after a failure what was tried least by turns, lest one event fail for all of them."""
        return sorted(self._queue, key=lambda entry: entry.tried if self._standing.failures % 2 else 0)

    def _busy(self) -> set[OrderId]:
        return {entry.order for entry in self._flying.values() if entry.order}

    def _may_begin(self) -> bool:
        room = self._terms.lease - self._terms.timeout - _SPARE
        return not self._over and asyncio.get_running_loop().time() < self._leased + room.total_seconds()

    async def _send(self, entry: Next) -> _Came:
        assert entry.event is not None
        loop = asyncio.get_running_loop()
        async with self._host:
            began = loop.time()
            if not self._may_begin():
                return _Came(entry, None, timedelta())
            body = body_of(entry.event, self._envelope)
            signed = headers_of(entry.event.id, body, self.held.secrets, at=int(self._machine()))
            answer = await self._receivers.post(self.held.url, {**signed, "Content-Type": CONTENT_TYPE}, body)
        return _Came(entry, answer, timedelta(seconds=loop.time() - began))

    # What became of them

    async def _store(self, came: Iterable[_Came]) -> None:
        """Store results, and how the webhook stands; renews the lease."""
        now = self._clock.now()
        tried = [outcome for one in came if (outcome := self._judge(one, now))] + self._parked
        self._parked = []
        self._standing = replace(self._standing, position=self._advanced())
        if not tried and self._standing.position == self.held.position:
            return
        leased = asyncio.get_running_loop().time()
        async with self._db.transaction() as conn:
            kept = await store.record(
                conn, self.held, tried, self._standing, now=now, lease=self._terms.lease, shift=self._terms.shift
            )
        if kept is None:
            raise _LostError
        self._leased = leased
        if self._standing.reason:
            log.warning(
                "webhook stopped", webhook_id=self.held.id, creator=self.held.creator, why=self._standing.reason
            )
        if (self.held.active and not kept.active) or kept.version != self.held.version or kept.replay:
            self._over = True
        self._standing = replace(self._standing, becomes=None, reason=None, confirmed=False)

    def _advanced(self) -> int:
        """How far the position may move: over what is settled without a gap."""
        position = self._standing.position
        while self._page and self._page[0] in self._settled:
            position = self._page.popleft()
            self._settled.discard(position)
        return position

    def _judge(self, came: _Came, now: datetime) -> Tried | None:
        entry, event, answer = came.next, came.next.event, came.answer
        assert event is not None
        if answer is None:
            self._over = True  # so that nothing of its shipment overtakes it
            return None
        self._settle(entry)
        outcome = _tried(
            entry,
            event,
            state=DeliveryState.DELIVERED if answer.taken else DeliveryState.WAITING,
            attempts=entry.tried + 1,
            first_at=entry.first or now,
            last_at=now,
            status=answer.status,
            detail=answer.detail,
            took=came.took,
        )
        if answer.taken:
            self._note_success(event, now)
            return outcome
        log.info("webhook event not taken", webhook_id=self.held.id, event_id=event.id, status=answer.status)
        return self._judge_failure(outcome, answer, now)

    def _note_success(self, event: Event, now: datetime) -> None:
        self._standing = replace(self._standing, succeeded=now)
        if event.kind is Kind.PING:
            self._become(WebhookState.ACTIVE, None)
            self._standing = replace(self._standing, confirmed=True)
        else:
            self._standing = replace(self._standing, failures=0)

    def _judge_failure(self, outcome: Tried, answer: Answer, now: datetime) -> Tried:
        assert outcome.first_at is not None
        ping = outcome.seq is None
        chance = random.random()  # noqa: S311 - one for both, so that they end together
        wait = wait_after(outcome.attempts, answer.retry_after, chance=chance)
        again = next_try(now, wait, first=outcome.first_at)
        if answer.gone:
            self._become(WebhookState.DISABLED, Why.GONE)
        elif again is None and not ping:
            self._become(WebhookState.PAUSED, Why.FAILING)
        if not ping:
            self._rest(answer.retry_after, now, chance)
            self._park_behind(outcome.order_id, now)
        if ping and (again is None or answer.gone):
            return replace(outcome, state=DeliveryState.FAILED)
        return replace(outcome, next_at=again or now)

    def _rest(self, wished: timedelta | None, now: datetime, chance: float) -> None:
        """Leave the receiver alone. What fails side by side is one failure."""
        failures = self._standing.failures + (not self._failed)
        self._over = self._failed = True
        rest = max(now + wait_after(max(failures, 1), wished, chance=chance), self._standing.rest or now)
        self._standing = replace(self._standing, failures=failures, rest=rest)

    def _park_behind(self, order: OrderId | None, now: datetime) -> None:
        for entry in [entry for entry in self._queue if entry.order == order]:
            self._queue.remove(entry)
            assert entry.event is not None
            self._park(entry, entry.event, now)

    def _become(self, state: WebhookState, reason: Why | None) -> None:
        """The gravest of what a batch of results says."""
        graver = (WebhookState.ACTIVE, WebhookState.PAUSED, WebhookState.DISABLED)
        now = self._standing.becomes
        if now is None or graver.index(state) > graver.index(now):
            self._standing = replace(self._standing, becomes=state, reason=reason)


def _tried(
    entry: Next,
    event: Event,
    *,
    state: DeliveryState,
    last_at: datetime,
    attempts: int = 0,
    first_at: datetime | None = None,
    status: int | None = None,
    detail: str = "",
    took: timedelta | None = None,
) -> Tried:
    return Tried(
        event.id,
        entry.seq,
        entry.order,
        event.kind,
        event.at,
        state,
        attempts,
        first_at,
        last_at,
        None,
        status,
        detail,
        took,
    )
