"""Stage 2: a due order becomes notifications: claim → condition → lookup → resolve → store, in one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.errors import RegistryUnavailable, Unavailable
from varsel.domain.identifiers import subject_key
from varsel.domain.ids import NotificationId, OrderId, WorkerId, uuid7
from varsel.domain.keywords import has_keyword
from varsel.domain.notification import Channel, State
from varsel.domain.order import Lane, Recipient
from varsel.domain.schedule import SendWindow, is_daytime, sms_expiry
from varsel.fates import store as fates
from varsel.log import Log
from varsel.recipients.lookup import Query, Reach, look_up
from varsel.recipients.ports import ContactDirectory
from varsel.resolution import store
from varsel.resolution.ports import Conditions, Verdict
from varsel.resolution.resolve import Draft, distinct_recipients, give_up, resolve
from varsel.resolution.store import Claimed, Content, Finished, NewNotification
from varsel.wakeup import Waker, Work

log = Log(__name__)

_ORDERS_A_TURN: Final = {Lane.ORDINARY: 200, Lane.BULK: 1}  # an ordinary order has under 100 recipients
_RECIPIENTS_A_PIECE: Final = 2_000  # looked up and stored at a time, so that a big order takes bounded memory


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of this stage."""

    window: SendWindow
    lifetime: timedelta
    condition_retry: timedelta


Due = tuple[Claimed, Content]


class Resolution:
    """One lane of due orders, for one worker."""

    def __init__(
        self,
        db: Database,
        directory: ContactDirectory,
        conditions: Conditions,
        clock: Clock,
        waker: Waker,
        rules: Rules,
        worker: WorkerId,
    ) -> None:
        self._db = db
        self._directory = directory
        self._conditions = conditions
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._after = dict.fromkeys(Lane, 0)
        self._unsure = dict.fromkeys(Lane, False)

    async def resolve_due(self, lane: Lane) -> int:
        """Claim due orders of a lane and turn them into notifications. Returns how many it claimed; 0: none is due.

        Raises `Unavailable` when the database fails; what was claimed is put back by the next call.
        """
        async with self._db.autocommit() as conn:
            await store.release_due(conn, now=self._clock.now())
            if self._unsure[lane]:
                await store.release_own(conn, self._worker, lane)
        self._unsure[lane] = True
        claimed = await self._claim(lane)
        if claimed:
            async with self._db.reading() as conn:
                contents = await store.contents(conn, [order.id for order in claimed])
            due = [(order, contents[order.id]) for order in claimed]
            await self._resolve(await self._check_conditions(due))
        self._unsure[lane] = False
        return len(claimed)

    async def next_due(self) -> datetime | None:
        """When the next waiting order's time comes (business time)."""
        async with self._db.reading() as conn:
            return await store.next_due(conn)

    async def _claim(self, lane: Lane) -> list[Claimed]:
        async with self._db.transaction() as conn:
            limit = _ORDERS_A_TURN[lane]
            claimed = await store.claim_orders(conn, self._worker, lane, after=self._after[lane], limit=limit)
            if not claimed and self._after[lane]:
                claimed = await store.claim_orders(conn, self._worker, lane, after=0, limit=limit)
        self._after[lane] = max((order.creator for order in claimed), default=0)
        return claimed

    async def _check_conditions(self, due: Sequence[Due]) -> list[Due]:
        """Those whose condition is met or absent. Inconclusive twice is met: a broken endpoint silences nobody."""
        conditional = [order.id for order, content in due if content.condition_endpoint]
        if not conditional:
            return list(due)
        async with self._db.reading() as conn:
            inconclusive = await store.inconclusive_checks(conn, conditional)
        return [pair for pair in due if await self._is_met(*pair, inconclusive.get(pair[0].id, 0))]

    async def _is_met(self, order: Claimed, content: Content, inconclusive: int) -> bool:
        if not content.condition_endpoint:
            return True
        answer = await self._conditions.check(content.condition_endpoint)
        now = self._clock.now()
        async with self._db.transaction() as conn:
            await store.record_check(
                conn, order, now=now, status=answer.status, verdict=answer.verdict, detail=answer.detail
            )
            if answer.verdict is Verdict.NOT_MET and await store.lock_claimed(conn, [order.id], self._worker):
                await store.stop_orders(conn, [order.id], now=now)
                await fates.add_to_feed(conn, [order.id], now=now)
            elif answer.verdict is Verdict.INCONCLUSIVE and not inconclusive:
                again = now + self._rules.condition_retry
                await store.put_back(conn, [order.id], self._worker, wake_at=again)
                return False
        return answer.verdict is not Verdict.NOT_MET

    async def _resolve(self, due: Sequence[Due]) -> None:
        """All in one transaction; when one of them makes it fail, halves, so that the others go on."""
        if not due:
            return
        try:
            await self._store(due)
        except Unavailable as error:
            if not isinstance(error, RegistryUnavailable):
                raise
            log.warning("registry unavailable", what=error.what, orders=len(due))
            await self._postpone(due)
        except Exception as error:  # noqa: BLE001 - a bug of ours: an alarm, and the order waits until its expiry
            if len(due) > 1:
                await self._resolve(due[: len(due) // 2])
                await self._resolve(due[len(due) // 2 :])
                return
            log.error("order cannot be resolved", exc=error, order_id=due[0][0].id, attempt=due[0][0].attempt)
            await self._postpone(due)

    async def _postpone(self, due: Sequence[Due]) -> None:
        """Back to waiting; an order whose time is over is given up, with an outcome for everybody (processing F6)."""
        now = self._clock.now()
        for order, content in due:
            async with self._db.transaction() as conn:
                if now < max(self._expiries(order, content).values()):
                    again = now + store.backoff(order.attempt)
                    await store.put_back(conn, [order.id], self._worker, wake_at=again)
                elif await store.lock_claimed(conn, [order.id], self._worker):
                    drafts = give_up(order.channel, content.recipients())
                    await store.insert_notifications(conn, self._rows(order, content, drafts, {}, now), now=now)
                    await store.finish_orders(conn, [Finished(order.id, 0, None)], now=now)
                    await fates.add_to_feed(conn, [order.id], now=now)

    async def _store(self, due: Sequence[Due]) -> None:
        now = self._clock.now()
        async with self._db.transaction() as conn:
            ours = await store.lock_claimed(conn, [order.id for order, _ in due], self._worker)
            kept = [pair for pair in due if pair[0].id in ours]
            pending: dict[OrderId, list[datetime]] = {order.id: [] for order, _ in kept}
            for piece in _pieces(kept):
                await self._store_piece(conn, piece, pending, now)
            finished = [Finished(id_, len(at), min(at, default=None)) for id_, at in pending.items()]
            await store.finish_orders(conn, finished, now=now)
            await fates.add_to_feed(conn, [f.order for f in finished if not f.pending], now=now)
        self._waker.wake(Work.NOTIFICATIONS)
        log.info("orders resolved", orders=len(kept), notifications=sum(f.pending for f in finished))

    async def _store_piece(
        self, conn: Conn, piece: "Piece", pending: dict[OrderId, list[datetime]], now: datetime
    ) -> None:
        reaches = await look_up(self._directory, [_query(*part) for part in piece], now=now)
        drafts = [
            (order, content, list(_drafts(order, content, recipients, reach)))
            for (order, content, recipients), reach in zip(piece, reaches, strict=True)
        ]
        named = {d.recipient.identifier or "" for _, content, made in drafts for d in made if _wants_name(content, d)}
        names = dict(await self._directory.names(named)) if named else {}
        rows = [row for order, content, made in drafts for row in self._rows(order, content, made, names, now)]
        await store.insert_notifications(conn, rows, now=now)
        for row in rows:
            if row.state is State.NEW:
                pending[row.order].append(row.expires_at)

    def _rows(
        self, order: Claimed, content: Content, drafts: Iterable[Draft], names: dict[str, str], now: datetime
    ) -> Iterator[NewNotification]:
        expiries = self._expiries(order, content)
        opening = self._rules.window.next_opening(now)
        for draft in drafts:
            sms, recipient = draft.channel is Channel.SMS, draft.recipient
            expires_at = expiries[draft.channel]
            person, organisation = recipient.national_identity_number, recipient.organisation_number
            daytime = sms and is_daytime(content.sending_time)
            yield NewNotification(
                id=NotificationId(uuid7()),
                order=order.id,
                creator=order.creator,
                channel=draft.channel,
                lane=order.lane,
                state=State.EXPIRED if draft.state is State.NEW and expires_at <= now else draft.state,
                reason=draft.reason,
                daytime=daytime,
                expires_at=expires_at,
                wake_at=opening if daytime and opening > now and draft.state is State.NEW else None,
                subject_kind="organisation" if organisation else "person" if person else None,
                subject_key=subject_key(organisation or person or "") if organisation or person else None,
                address=draft.address,
                recipient_name=names.get(recipient.identifier or "") if _wants_name(content, draft) else None,
            )

    def _expiries(self, order: Claimed, content: Content) -> dict[Channel, datetime]:
        rules, requested = self._rules, order.requested_send_time
        return {
            Channel.EMAIL: requested + rules.lifetime,
            Channel.SMS: sms_expiry(requested, content.sending_time, rules.window, rules.lifetime),
        }


Part = tuple[Claimed, Content, Sequence[Recipient]]
Piece = list[Part]


def _pieces(due: Sequence[Due]) -> Iterator[Piece]:
    """The orders' recipients, at most `_RECIPIENTS_A_PIECE` together; a big order is spread over several pieces."""
    piece: Piece = []
    room = _RECIPIENTS_A_PIECE
    for order, content in due:
        recipients = distinct_recipients(order.channel, content.recipients())
        start = 0
        while start < len(recipients):
            part = recipients[start : start + room]
            piece.append((order, content, part))
            start += len(part)
            room -= len(part)
            if not room:
                yield piece
                piece, room = [], _RECIPIENTS_A_PIECE
    if piece:
        yield piece


def _query(order: Claimed, content: Content, recipients: Sequence[Recipient]) -> Query:
    return Query(order.channel, recipients, content.allow_stale, content.resource_id, content.resource_action)


def _drafts(order: Claimed, content: Content, recipients: Sequence[Recipient], reaches: list[Reach]) -> Iterator[Draft]:
    templates = {Channel.EMAIL: content.email, Channel.SMS: content.sms}
    return resolve(
        order.channel,
        zip(recipients, reaches, strict=True),
        ignore_reservation=content.ignore_reservation,
        templates=frozenset(channel for channel, template in templates.items() if template),
    )


def _wants_name(content: Content, draft: Draft) -> bool:
    """Only people and organisations get their keywords filled, and only where a text has one (processing 5)."""
    recipient = draft.recipient
    if draft.state is not State.NEW or not (recipient.national_identity_number or recipient.organisation_number):
        return False
    if draft.channel is Channel.EMAIL:
        return content.email is not None and has_keyword(content.email.subject, content.email.body)
    return content.sms is not None and has_keyword(content.sms.body)
