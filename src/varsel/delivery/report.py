"""Stage 4: the fate comes back. A report is stored, acknowledged and then applied: late, repeated, out of order."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.delivery import part_store
from varsel.delivery import report_store as store
from varsel.delivery.evidence import Effect, Fit, Standing, apply
from varsel.delivery.lessons import Lesson, learn
from varsel.delivery.part_store import Part
from varsel.delivery.ports import Report, Verdict
from varsel.delivery.report_store import Closed, Matched, Pending
from varsel.delivery.retry import report_delay
from varsel.delivery.suppression import SuppressionKey
from varsel.domain.errors import Unavailable
from varsel.domain.ids import NotificationId, OrderId
from varsel.domain.notification import State
from varsel.fates import store as fates
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)

_BATCH: Final = 500
_OF_PARTS: Final = frozenset({Verdict.DELIVERED, Verdict.DELAYED})  # what one part says nothing of the whole by


class Inbox:
    """Takes reports in. Acknowledge a report only after `store` returned."""

    def __init__(self, db: Database, clock: Clock, waker: Waker) -> None:
        self._db = db
        self._clock = clock
        self._waker = waker

    async def store(self, reports: Sequence[Report]) -> None:
        """Store them durably, each event once. Raises `Unavailable`; then the provider must repeat."""
        if reports:
            async with self._db.autocommit() as conn:
                await store.insert_reports(conn, reports, now=self._clock.now())
            self._waker.wake(Work.REPORTS)

    async def count_dropped(self, kind: str) -> None:
        """Count a mail that came for reports and was none. Raises `Unavailable`."""
        async with self._db.autocommit() as conn:
            await store.count_dropped(conn, kind, now=self._clock.now())


class Reports:
    """Applies what came in."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        waker: Waker,
        correction_period: timedelta,
        *,
        batch: int = _BATCH,
        key: SuppressionKey | None = None,
    ) -> None:
        """`key`: of the suppression list; None: there is none."""
        self._db = db
        self._clock = clock
        self._waker = waker
        self._correction_period = correction_period
        self._batch = batch
        self._key = key

    async def apply_reports(self) -> int:
        """Apply one batch of reports; returns how many it took. One that makes the batch fail is set aside as dead."""
        async with self._db.autocommit() as conn:
            await store.wake_parked(conn, now=self._clock.now())
        try:
            return await self._apply(self._batch)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad report must not hold up the others
            log.warning("reports are applied one by one", error=type(error).__name__)
            return await self._apply_one()

    async def _apply(self, limit: int) -> int:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            reports = await store.take_pending(conn, limit=limit)
            if reports:
                completed = await self._apply_all(conn, reports, now)
            else:
                completed = frozenset()
        if completed:
            self._waker.wake(Work.FEED)
        return len(reports)

    async def _apply_one(self) -> int:
        """The oldest report alone: applied, or dead with an alarm."""
        try:
            return await self._apply(1)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - set aside, with an alarm
            async with self._db.transaction() as conn:
                for report in await store.take_pending(conn, limit=1):
                    log.error("report cannot be applied", exc=error, report_id=report.id)
                    await store.close(conn, [Closed(report.id, Fit.DEAD, "INTERNAL_ERROR")])
            return 1

    async def _apply_all(self, conn: Conn, reports: Sequence[Pending], now: datetime) -> frozenset[OrderId]:
        parts = await part_store.find(conn, {reference for report in reports for reference in report.references})
        found = _Found(await store.match(conn, reports, parts), parts)
        whole = await part_store.deliver(conn, found.arrived(reports))
        closed = []
        lessons: list[Lesson] = []
        for report in reports:
            matches = found.of(report)
            if len(matches) == 1:
                [(matched, part)] = matches
                lessons.append((report, matched))
                effect = self._effect(found.standing(matched), report, now)
                if part and part.submission not in whole and report.verdict in _OF_PARTS:
                    effect = Effect(Fit.APPLIED, why=f"part {part.number} of {part.total}: {report.verdict}")
                found.note(matched, effect)
                if report.verdict is Verdict.COMPLAINT:
                    found.complaints.add(matched.id)
                closed.append(Closed(report.id, effect.fit, effect.why, notification=matched.id))
            else:
                closed.append(_unmatched(report, len(matches), now))
        completed = await self._write(conn, found, now)
        await fates.add_complaints(conn, found.complaints, now=now)
        await store.close(conn, closed)
        if self._key:
            await learn(conn, self._key, lessons, now=now)
        return completed

    async def _write(self, conn: Conn, found: "_Found", now: datetime) -> frozenset[OrderId]:
        """The moves, the orders they complete, and what becomes of complete orders by corrections."""
        if not found.moves:
            return frozenset()
        await store.move(conn, found.moves, now=now)
        fated, corrected, lost = found.newly_fated(), found.corrected(), found.lost()
        await fates.lock_orders(conn, {*fated, *corrected, *lost})
        completed = await fates.count_fates(conn, fated, now=now)
        if corrected or lost:
            already = await store.completed_of(conn, sorted(corrected | lost)) - completed
            await fates.add_to_feed(conn, already & corrected, now=now, correction=True)
            await fates.fall_back_late(conn, already & lost, now=now)
            completed |= already
        return completed

    def _effect(self, standing: Standing, report: Pending, now: datetime) -> Effect:
        return apply(
            standing,
            report.verdict,
            reason=report.reason,
            soft=report.soft,
            now=now,
            correction_period=self._correction_period,
        )


class _Match(NamedTuple):
    """What a report is about. `part`: of the notification, if it is only about that."""

    of: Matched
    part: Part | None = None


class _Found:
    """The matched notifications, before and after the batch: several reports may be about one of them."""

    def __init__(self, matched: Sequence[Matched], parts: Sequence[Part]) -> None:
        self._by_id = {m.id: m for m in matched}
        self._by_reference: dict[tuple[str | None, str | None], list[_Match]] = defaultdict(list)
        for m in matched:
            self._by_reference[m.provider, m.reference].append(_Match(m))
        for part in parts:
            if part.notification in self._by_id:
                match = _Match(self._by_id[part.notification], part)
                self._by_reference[part.provider, part.reference].append(match)
        self.moves: dict[NotificationId, Standing] = {}
        self.complaints: set[NotificationId] = set()

    def of(self, report: Pending) -> Sequence["_Match"]:
        """By the standings before the batch. Of several spellings, one of a message without a fate counts most."""
        if report.notification:
            known = self._by_id.get(report.notification)
            return [_Match(known)] if known else []
        found = [self._by_reference[report.provider, reference] for reference in report.references]
        open_ = [[match for match in matches if not match.of.standing.has_fate] for matches in found]
        return next((matches for matches in [*(open_ if report.others else ()), *found] if matches), [])

    def arrived(self, reports: Sequence[Pending]) -> list[Part]:
        """The parts of which the reports say so."""
        delivered = [self.of(report) for report in reports if report.verdict is Verdict.DELIVERED]
        return [matches[0].part for matches in delivered if len(matches) == 1 and matches[0].part]

    def standing(self, matched: Matched) -> Standing:
        return self.moves.get(matched.id, matched.standing)

    def note(self, matched: Matched, effect: Effect) -> None:
        if effect.after:
            self.moves[matched.id] = effect.after

    def newly_fated(self) -> list[OrderId]:
        """An order for each of its notifications that has a fate now and had none."""
        return [
            self._by_id[id_].order
            for id_, after in self.moves.items()
            if after.has_fate and not self._by_id[id_].standing.has_fate
        ]

    def lost(self) -> frozenset[OrderId]:
        """Orders with a notification that has failed after all."""
        return frozenset(
            self._by_id[id_].order
            for id_, after in self.moves.items()
            if self._by_id[id_].standing.has_fate and after.state is State.FAILED and not after.soft
        )

    def corrected(self) -> frozenset[OrderId]:
        """Orders with a notification whose fate turned from success to failure or back."""
        return frozenset(
            self._by_id[id_].order
            for id_, after in self.moves.items()
            if self._by_id[id_].standing.has_fate and after.succeeded != self._by_id[id_].standing.succeeded
        )


def _unmatched(report: Pending, matches: int, now: datetime) -> Closed:
    if matches > 1:
        log.error("provider reference is not unique", report_id=report.id, provider=report.provider)
        return Closed(report.id, Fit.DEAD, "AMBIGUOUS_REFERENCE")
    if not report.notification and not report.reference:
        return Closed(report.id, Fit.DEAD, "INVALID_NOTIFICATION_IDENTIFIER")
    delay = report_delay(report.tries + 1)
    if delay is None:
        return Closed(report.id, Fit.DEAD, "RETRY_THRESHOLD_EXCEEDED")
    return Closed(report.id, "parked", "no such notification yet", now + delay)
