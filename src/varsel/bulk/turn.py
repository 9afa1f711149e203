"""A worker's turn with a bulk job: check rows, order rows, see what became of them (docs/bulk.md).

A row is ordered under an idempotency id of its own, so that doing it again after a crash orders nothing twice. Up to
which line that may have happened is committed before the first of a chunk is ordered.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

from varsel.bulk import row_store, store
from varsel.bulk.job import UNDER_WAY, Duplicates, Flaw, Job, JobId, JobState, RowState, Summary
from varsel.bulk.rows import Checked, Checker
from varsel.bulk.store import Token
from varsel.bulk.table import Row
from varsel.clock import Clock
from varsel.db import Database
from varsel.delivery.contents import Contents
from varsel.domain.errors import OverLimit, RegistryUnavailable, Rejected, Unavailable
from varsel.domain.ids import OrderId
from varsel.domain.notification import Channel
from varsel.domain.order import Chain, Order
from varsel.domain.schemes import Identifiers
from varsel.log import Log
from varsel.orders.register import ChainOutcome, Registered, Repeated, Unreachable
from varsel.preview.outcome import RecipientPreview, Why
from varsel.preview.preview import Previewer

log = Log(__name__)

LEASE: Final = timedelta(seconds=20)
_PAUSE: Final = timedelta(seconds=1)
_CHECKED_AT_ONCE: Final = 1_000
_ORDERED_AT_ONCE: Final = 500
_LOOKED_AT: Final = 10_000
_WITHOUT_CONTACT: Final = frozenset(
    {Why.UNKNOWN, Why.NO_ADDRESS, Why.STALE, Why.INVALID_NUMBER, Why.INVALID_ADDRESS, Why.NOT_PERMITTED}
)

PlaceChain = Callable[[Chain, Sequence[Order]], Awaitable[ChainOutcome]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    line: int
    state: RowState
    order: OrderId | None = None


class Turns:
    """One for each worker process. `place`: `Register.register_chain`. `ahead`: as in the settings.

    `pause`: between looks at a job that has nothing else to do.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        place: PlaceChain,
        previewer: Previewer,
        identifiers: Identifiers,
        contents: Contents,
        *,
        ahead: int,
        pause: timedelta = _PAUSE,
    ) -> None:
        self._db = db
        self._clock = clock
        self._place = place
        self._previewer = previewer
        self._identifiers = identifiers
        self._contents = contents
        self._ahead = ahead
        self._pause = pause
        self._looked: dict[JobId, float] = {}  # when we last looked what became of a job's rows

    async def take_turn(self) -> int:
        """With the job that waited longest. Returns how many rows were checked or ordered; 0: nothing is to be done.

        Raises `Unavailable` when a register or the database fails; what was begun is finished by a later turn.
        """
        token = uuid4()
        async with self._db.autocommit() as conn:
            job = await store.take(conn, token, lease=LEASE, pause=self._pause)
        if job is None:
            return 0
        done = 0
        try:
            done = await (self._check(job, token) if job.state is JobState.CHECKING else self._send(job, token))
        except RegistryUnavailable:
            async with self._db.autocommit() as conn:
                await store.wait(conn, job.id, token, None, "registry")
            raise
        finally:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, job.id, token, busy=done > 0)
        return max(done, 1)  # another job may wait

    # the check

    async def _check(self, job: Job, token: Token) -> int:
        assert job.wish
        async with self._db.reading() as conn:
            rows = await row_store.rows_after(conn, job.id, job.checked_line, limit=_CHECKED_AT_ONCE)
        if rows:
            checker = self._checker(job)
            checked = [checker.check(row) for row in rows]
            outlooks = await self._outlooks(job, checker, rows, checked)
        now = self._clock.now()
        async with self._db.transaction() as conn:
            if not await store.hold(conn, job.id, token, lease=LEASE):
                return 0
            if not rows:
                await store.move(conn, job.id, [JobState.CHECKING], JobState.READY, now=now)
                return 1
            repeated = await row_store.mark(conn, job.id, checked, skip=job.wish.duplicates is Duplicates.SKIP)
            for line, outlook in outlooks.items():
                if line not in repeated or job.wish.duplicates is Duplicates.SEND:
                    add(job.summary, outlook)
            job.summary.repeated += len(repeated)
            await store.note_checked(
                conn, job.id, token, checked=job.checked + len(rows), line=rows[-1].line, summary=job.summary
            )
        return len(rows)

    async def _outlooks(
        self, job: Job, checker: Checker, rows: Sequence[Row], checked: Sequence[Checked]
    ) -> dict[int, RecipientPreview]:
        """How each good row would be reached now, by its line."""
        now, lines, orders = self._clock.now(), dict[OrderId, int](), []
        for row, found in zip(rows, checked, strict=True):
            if found.recipient:
                _, order = checker.order(job.id, job.creator, row, found.recipient, now)
                orders.append(order)
                lines[order.id] = row.line
        told = await self._previewer.outlook(orders) if orders else {}
        return {lines[id_]: outlook for id_, outlook in told.items()}

    def _checker(self, job: Job) -> Checker:
        assert job.wish
        return Checker(job.wish, job.columns, self._identifiers, self._contents.of(job.creator))

    # sending

    async def _send(self, job: Job, token: Token) -> int:
        """What may have been ordered is ordered for certain, whatever was said meanwhile; else what comes next."""
        placed = 0
        if job.in_doubt is not None:
            async with self._db.reading() as conn:
                rows = await row_store.ready(conn, job.id, limit=_ORDERED_AT_ONCE, upto=job.in_doubt)
            placed = await self._order(job, token, rows)
        elif job.state is JobState.SENDING and self._is_time(job):
            placed = await self._order_next(job, token)
        elif job.state is JobState.STOPPING:
            await self._stop(job, token)
        if not placed or time.monotonic() - self._looked.get(job.id, 0) >= self._pause.total_seconds():
            await self._look(job, token)
        return placed

    def _is_time(self, job: Job) -> bool:
        now = self._clock.now()
        at = [time for time in (job.wake_at, job.wish.send_at if job.wish else None) if time]
        return all(time <= now for time in at)

    async def _order_next(self, job: Job, token: Token) -> int:
        async with self._db.reading() as conn:
            room = self._ahead - await row_store.in_flight(conn, job.id)
            rows = await row_store.ready(conn, job.id, limit=min(room, _ORDERED_AT_ONCE)) if room > 0 else []
        if not rows:
            return 0
        async with self._db.transaction() as conn:
            if not await store.hold(conn, job.id, token, lease=LEASE):
                return 0
            await store.doubt(conn, job.id, token, rows[-1].line)
        return await self._order(job, token, rows)

    async def _order(self, job: Job, token: Token, rows: Sequence[Row]) -> int:
        """Order rows that are in doubt, and write down what came of it."""
        outcomes = await asyncio.gather(*self._placing(job, rows), return_exceptions=True)
        known = [outcome for outcome in outcomes if isinstance(outcome, _Outcome)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        async with self._db.transaction() as conn:
            if not await store.hold(conn, job.id, token, lease=LEASE):
                return 0
            if known:
                await row_store.ordered(conn, job.id, [(o.line, o.state, o.order) for o in known])
            over = next((e for e in errors if isinstance(e, OverLimit)), None)
            if not any(not isinstance(e, OverLimit) for e in errors):
                await store.doubt(conn, job.id, token, None)  # a refusal stores nothing for certain
            await store.wait(conn, job.id, token, over.until if over else None, over.code if over else None)
        for error in errors:
            if not isinstance(error, OverLimit):
                raise error
        return len(known)

    def _placing(self, job: Job, rows: Sequence[Row]) -> list[Awaitable[_Outcome]]:
        checker, now = self._checker(job), self._clock.now()
        placing: list[Awaitable[_Outcome]] = []
        for row in rows:
            recipient = checker.recipient(row)
            assert not isinstance(recipient, Flaw)  # checked
            placing.append(self._place_row(row.line, *checker.order(job.id, job.creator, row, recipient, now)))
        return placing

    async def _place_row(self, line: int, chain: Chain, order: Order) -> _Outcome:
        try:
            outcome = await self._place(chain, [order])
        except (Rejected, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours, charged to the row that is its cause
            log.error("bulk row cannot be ordered", exc=error, line=line)
            return _Outcome(line, RowState.FAILED)
        match outcome:
            case Registered():
                return _Outcome(line, RowState.ORDERED, order.id)
            case Repeated():
                return _Outcome(line, RowState.ORDERED, outcome.first.shipments[0].id)
            case Unreachable():
                return _Outcome(line, RowState.UNREACHABLE)

    async def _stop(self, job: Job, token: Token) -> None:
        async with self._db.transaction() as conn:
            if await store.hold(conn, job.id, token, lease=LEASE):
                await row_store.stop(conn, job.id)
                await store.move(conn, job.id, [JobState.STOPPING], JobState.STOPPED, now=self._clock.now())

    # what became of them

    async def _look(self, job: Job, token: Token) -> None:
        """At all that no provider has yet, and, in turns, at the others; the job is done when none is left.

        Not at every turn that orders: each look costs as much as ordering some hundred rows.
        """
        self._looked = {job.id: time.monotonic()}
        async with self._db.transaction() as conn:
            if not await store.hold(conn, job.id, token, lease=LEASE):
                return
            ordered, handed = UNDER_WAY
            await row_store.look(conn, job.id, ordered, after=0, limit=_LOOKED_AT)
            seen = await row_store.look(conn, job.id, handed, after=job.look_after, limit=_LOOKED_AT)
            await store.looked(conn, job.id, token, seen.last or 0 if seen.rows == _LOOKED_AT else 0)
            await store.note_pace(conn, job.id, token)
            if not await row_store.any_open(conn, job.id):
                await store.finish(conn, job.id, token, now=self._clock.now())


def add(summary: Summary, outlook: RecipientPreview) -> None:
    """Count a row."""
    leaving = [message for message in outlook.messages if message.leaves]
    channels = {message.channel for message in leaving}
    whys = {message.why for message in outlook.messages}
    if len(channels) == 2:
        summary.both += 1
    elif channels:
        summary.email += Channel.EMAIL in channels
        summary.sms += Channel.SMS in channels
    elif Why.RESERVED in whys:
        summary.reserved += 1
    elif whys <= _WITHOUT_CONTACT:
        summary.without_contact += 1
    else:
        summary.blocked += 1
    for message in leaving:
        summary.sms_parts += message.receipt.parts if message.receipt else 0
        if message.cost is None:
            summary.unpriced += 1
        else:
            summary.cost = (summary.cost or Decimal()) + message.cost
