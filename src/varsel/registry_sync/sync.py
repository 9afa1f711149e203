"""A run over a feed: page by page, each with its place in one transaction: it can die anywhere (registries 2.5, 3.4).

One run at a time holds a feed, by a lease. After any end the next run goes on behind the last page that was stored.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.domain.feeds import Feed
from varsel.log import Log
from varsel.registry_sync import quarantine_store, store
from varsel.registry_sync.ports import UpstreamError
from varsel.registry_sync.store import Counts, Cursor
from varsel.registry_sync.streams import Reading, Stream

log = Log(__name__)

R = TypeVar("R")
T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]

LEASE: Final = timedelta(minutes=2)
_WAITS: Final = (1.0, 2.0, 4.0, 8.0)  # s between the five tries of a page
_STALLED_WAIT: Final = 5.0
_MOST_PATIENCE: Final = timedelta(minutes=15)  # with a register that asks us to wait
_MAX_PAGES: Final = 10_000
_MANY_POISONED: Final = 10  # fewer of a page are never a change of format
_MAX_REMOVED_PERCENT: Final = 5


class LeaseLost(Exception):
    """The feed is another's. Nothing of the page that was under way has been stored."""


class _Ended(Exception):
    """The run is to end: it was stopped, or lost its feed."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a run went. `error`: a stable code. `held_back`: rows that a reload would remove, were it allowed."""

    outcome: str  # done, error, stopped, lost
    error: str | None = None
    transient: bool = False  # the error may pass by itself
    pages: int = 0
    counts: Counts = field(default_factory=Counts)
    held_back: int = 0


@dataclass(slots=True)
class _Run:
    cursor: Cursor
    ending: asyncio.Event
    lost: bool = False
    pages: int = 0
    counts: Counts = field(default_factory=Counts)
    held_back: int = 0
    oddities: dict[str, int] = field(default_factory=dict)

    def report(self, outcome: str, error: UpstreamError | None = None) -> Report:
        code, transient = (error.code, error.transient) if error else (None, False)
        return Report(outcome, code, transient, self.pages, self.counts, self.held_back)


class Sync(Generic[R]):
    """Follows one feed. `interval`: from the end of a run, by whichever process, to the next.

    `pause` waits so many seconds; `shift` moves the clock of leases. Only tests set them.
    """

    def __init__(
        self,
        db: Database,
        stream: Stream[R],
        clock: Clock,
        *,
        interval: timedelta,
        lease: timedelta = LEASE,
        pause: Pause = asyncio.sleep,
        shift: timedelta = store.NO_SHIFT,
    ) -> None:
        self._db = db
        self._stream = stream
        self._clock = clock
        self._interval = interval
        self._lease = lease
        self._pause = pause
        self._shift = shift
        self._stopping = False
        self._run: _Run | None = None

    @property
    def feed(self) -> Feed:
        return self._stream.feed

    def stop(self) -> None:
        """Let the run end after the page that is being stored; the next one goes on behind it."""
        self._stopping = True
        if self._run:
            self._run.ending.set()

    async def sync_due(self) -> int:
        """A step of the worker: run when it is time. Returns how many rows changed."""
        report = await self.run()
        return report.counts.changed if report else 0

    async def run(self, *, at_once: bool = False) -> Report | None:
        """Read everything there is; None when it is not time, or another has the feed. `at_once`: do not wait.

        Raises `Unavailable` without the database; the run then counts as abandoned.
        """
        if self._stopping:
            return None
        async with self._db.autocommit() as conn:
            cursor = await store.acquire(
                conn,
                self.feed,
                lease=self._lease,
                interval=timedelta() if at_once else self._interval,
                shift=self._shift,
            )
        if cursor is None:
            return None
        self._run = run = _Run(cursor, asyncio.Event())
        async with self._keeping_the_lease(run):
            report, wait = await self._to_the_end(run)
        if report.outcome != "lost":
            async with self._db.autocommit() as conn:
                kept = await store.finish(
                    conn, run.cursor, report.outcome, error=report.error, wait=wait, shift=self._shift
                )
            report = report if kept else run.report("lost")
        self._tell(report, run)
        return report

    async def _to_the_end(self, run: _Run) -> tuple[Report, timedelta | None]:
        """How it went, and how long the register wants to be left alone."""
        try:
            await self._read_pages(run)
            if run.cursor.reloading:
                await self._end_reload(run)
        except UpstreamError as e:
            log.warning("register gave no page", feed=self.feed, error=e.code, status=e.status, detail=e.detail)
            return run.report("error", e), e.retry_after
        except LeaseLost:
            return run.report("lost"), None
        except _Ended:
            return run.report("lost" if run.lost else "stopped"), None
        return run.report("done"), None

    async def _read_pages(self, run: _Run) -> None:
        seen: set[str | None] = set()
        stalled = False
        while True:
            reading = await self._read(run)
            if reading.more and reading.to == run.cursor.position:
                if stalled:
                    raise UpstreamError("upstream_stalled", detail="there is more, but it does not come")
                stalled = True
                await self._unless_ended(run, self._pause(_STALLED_WAIT))
                continue
            stalled = False
            seen.add(run.cursor.position.next_page)
            if (following := reading.to.next_page) is not None and (following in seen or len(seen) >= _MAX_PAGES):
                raise UpstreamError("page_loop", detail="the next page has been read before, or there is no end")
            await self._store(run, reading)
            if not reading.more:
                return

    async def _read(self, run: _Run) -> Reading[R]:
        """The next page, with the patience of registries 2.5."""
        for wait in (*_WAITS, None):
            try:
                reading = await self._unless_ended(run, self._stream.read(run.cursor))
            except UpstreamError as e:
                asked = e.retry_after or timedelta()
                if wait is None or not e.transient or asked > _MOST_PATIENCE:
                    raise
                await self._unless_ended(run, self._pause(asked.total_seconds() or wait * _jitter()))
            else:
                poisoned = len(reading.poison)
                if poisoned > _MANY_POISONED and poisoned * 10 > reading.received:
                    raise UpstreamError("format_changed", detail=f"{poisoned} of {reading.received} cannot be read")
                return reading
        raise AssertionError("the last try returns or raises")

    async def _store(self, run: _Run, reading: Reading[R]) -> None:
        """The page and the place behind it, in one transaction. Raises `LeaseLost`."""
        cursor, now = run.cursor, self._clock.now()
        async with self._db.transaction() as conn:
            if not await store.move(
                conn,
                cursor,
                reading.to,
                latest=reading.latest,
                received=reading.received,
                lease=self._lease,
                shift=self._shift,
            ):
                raise LeaseLost
            counts = await self._stream.merge(conn, cursor, reading, now=now)
            await quarantine_store.supersede(conn, self.feed, self._stream.ids(reading.records), now=now)
            await quarantine_store.set_aside(conn, cursor, reading.to, reading.poison, now=now)
            await store.count(conn, cursor, counts)
        run.cursor = replace(cursor, position=reading.to)
        run.pages += 1
        run.counts += counts
        for name, number in reading.oddities.items():
            run.oddities[name] = run.oddities.get(name, 0) + number
        if reading.poison:
            log.warning("registry records set aside", feed=self.feed, count=len(reading.poison))

    async def _end_reload(self, run: _Run) -> None:
        """Remove what the full synchronisation has not met, unless that is too much to be true."""
        cursor, now = run.cursor, self._clock.now()
        async with self._db.transaction() as conn:
            found = await self._stream.unseen(conn, cursor)
            too_many = found.unseen * 100 > found.present * _MAX_REMOVED_PERCENT and not cursor.allow_large_removal
            run.held_back = found.unseen if too_many else 0
            if not await store.end_reload(conn, cursor, held_back=run.held_back):
                raise LeaseLost
            if not too_many:
                removed = Counts(removed=await self._stream.remove_unseen(conn, cursor, now=now))
                await store.count(conn, cursor, removed)
                run.counts += removed

    @asynccontextmanager
    async def _keeping_the_lease(self, run: _Run) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(run))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, run: _Run) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            with suppress(Unavailable):
                async with self._db.autocommit() as conn:
                    run.lost = not await store.renew(conn, run.cursor, lease=self._lease, shift=self._shift)
            if run.lost:
                run.ending.set()
                return

    async def _unless_ended(self, run: _Run, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
        """What `work` returns. When the run is to end first, it is cancelled: it only asks or waits."""
        doing = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(run.ending.wait())
        try:
            await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return doing.result()
            raise _Ended
        finally:
            for task in (doing, ending):
                task.cancel()
            await asyncio.gather(doing, ending, return_exceptions=True)

    def _tell(self, report: Report, run: _Run) -> None:
        if run.oddities:
            log.info("registry data looks strange", feed=self.feed, **run.oddities)
        if report.held_back:
            log.error("registry removals held back", feed=self.feed, rows=report.held_back)
        facts = {"feed": self.feed, "pages": report.pages, **asdict(report.counts)}
        if report.error and report.transient:
            log.warning("registry sync failed", code=report.error, **facts)
        elif report.error:
            log.error("registry sync failed", code=report.error, **facts)
        elif report.counts.changed or report.counts.quarantined:
            log.info("registry synced", outcome=report.outcome, **facts)


def _jitter() -> float:
    return random.uniform(0.8, 1.2)  # noqa: S311
