"""Pure: what has happened to an order, told from the ledgers as one story in order of time (design 6; processing G16).

Kinds and codes are a public vocabulary: only ever added to. The sentences may change.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from varsel.domain.ids import NotificationId, OrderId, made_at
from varsel.domain.notification import FATES, Channel, Reason, ResultName, State, result_name
from varsel.domain.order import ORDER_STATE_NAMES, OrderChannel, OrderKind, OrderState


class EventKind(StrEnum):
    """In the order in which events of one instant follow each other."""

    ORDER_REGISTERED = "order.registered"
    CONDITION_CHECKED = "condition.checked"
    NOTIFICATION_CREATED = "notification.created"
    NOTIFICATION_UNREACHABLE = "notification.unreachable"  # created, and failed at once: nobody could be reached
    ATTEMPT_ACCEPTED = "attempt.accepted"
    ATTEMPT_REFUSED = "attempt.refused"
    ATTEMPT_DEFERRED = "attempt.deferred"
    ATTEMPT_UNKNOWN = "attempt.unknown"
    ATTEMPT_ABANDONED = "attempt.abandoned"  # its worker died
    ATTEMPT_SUPPRESSED = "attempt.suppressed"  # nothing was handed over: its address is on the suppression list
    ATTEMPT_WITHHELD = "attempt.withheld"  # nothing was handed over: its text is not allowed
    REPORT_PENDING = "report.pending"
    REPORT_APPLIED = "report.applied"
    REPORT_LATE = "report.late"
    REPORT_PARKED = "report.parked"
    REPORT_DEAD = "report.dead"
    REPORT_REJECTED = "report.rejected"
    NOTIFICATION_DELIVERED = "notification.delivered"
    NOTIFICATION_FAILED = "notification.failed"
    NOTIFICATION_EXPIRED = "notification.expired"
    FALLBACK_OPENED = "fallback.opened"  # nobody was reached: the other channel is looked up
    FALLBACK_DECIDED = "fallback.decided"
    ORDER_PROCESSED = "order.processed"
    ORDER_COMPLETED = "order.completed"
    ORDER_STOPPED = "order.stopped"  # its send condition was not met
    ORDER_CANCELLED = "order.cancelled"
    FEED_ENTRY = "feed.entry"
    # what lies ahead
    ORDER_DUE = "order.due"
    FALLBACK_TRIED = "fallback.tried"
    NOTIFICATION_TRIED = "notification.tried"
    NOTIFICATION_DECIDED = "notification.decided"  # nobody could tell by then what became of an attempt
    NOTIFICATION_ASKED = "notification.asked"  # its provider is asked what became of it
    NOTIFICATION_SETTLES = "notification.settles"  # no confirmation will come: being accepted becomes its outcome
    NOTIFICATION_EXPIRES = "notification.expires"


_RANK = {kind: rank for rank, kind in enumerate(EventKind)}


@dataclass(frozen=True, slots=True)
class Event:
    """`code`: of a closed vocabulary for each kind. `detail`: what a provider or an endpoint said, redacted."""

    at: datetime
    kind: EventKind
    text: str
    code: str | None = None
    notification: NotificationId | None = None
    provider: str | None = None
    attempt: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class OrderFacts:
    id: OrderId
    kind: OrderKind
    channel: OrderChannel
    state: OrderState
    senders_reference: str | None
    requested_send_time: datetime
    created_at: datetime
    state_at: datetime
    wake_at: datetime | None
    recipients: int
    notifications: int


@dataclass(frozen=True, slots=True)
class CheckFacts:
    """One evaluation of the send condition."""

    at: datetime
    status: int | None
    verdict: str
    detail: str


@dataclass(frozen=True, slots=True)
class NotificationFacts:
    id: NotificationId
    channel: Channel
    state: State
    reason: Reason | None
    settled: bool
    daytime: bool
    attempts: int
    tries: int  # with those that were not charged to the message
    address: str
    state_at: datetime
    expires_at: datetime
    wake_at: datetime | None
    accepted_at: datetime | None
    provider: str | None
    detail: str

    @property
    def name(self) -> ResultName:
        return result_name(self.channel, self.state, self.reason)

    @property
    def never_tried(self) -> bool:
        return not self.tries and self.accepted_at is None


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    notification: NotificationId
    number: int
    provider: str
    at: datetime
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReportFacts:
    notification: NotificationId
    provider: str
    at: datetime
    verdict: str
    raw_state: str
    detail: str
    state: str
    why: str


@dataclass(frozen=True, slots=True)
class FeedFacts:
    seq: int
    at: datetime
    correction: bool


@dataclass(frozen=True, slots=True)
class FallbackFacts:
    """The other channel, which is tried once. Decided: `wake_at` is None, and the rest is not."""

    channel: Channel
    opened_at: datetime
    wake_at: datetime | None
    outcome: str | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the ledgers know of an order, or of those of its notifications that were asked for."""

    order: OrderFacts
    checks: Sequence[CheckFacts]
    notifications: Sequence[NotificationFacts]
    attempts: Sequence[AttemptFacts]
    reports: Sequence[ReportFacts]
    feed: Sequence[FeedFacts]
    fallback: FallbackFacts | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """`past` in order of time; `ahead`: what will happen by itself if nothing else does."""

    facts: Facts
    past: list[Event]
    ahead: list[Event]


def tell(facts: Facts, asked: Collection[str] = ()) -> Story:
    """`asked`: providers that are asked what became of a message."""
    past = [*_of_order(facts), *_of_notifications(facts), *(_of_report(r) for r in facts.reports)]
    past += [_of_feed(entry) for entry in facts.feed]
    past += _of_fallback(facts.fallback) if facts.fallback else ()
    return Story(facts, sorted(past, key=_by_time), sorted(_ahead(facts, asked), key=_by_time))


def _by_time(event: Event) -> tuple[datetime, int, UUID | None, int]:
    return event.at, _RANK[event.kind], event.notification or UUID(int=0), event.attempt or 0


def _of_order(facts: Facts) -> Iterator[Event]:
    order = facts.order
    people = "1 recipient" if order.recipients == 1 else f"{order.recipients} recipients"
    yield Event(
        order.created_at, EventKind.ORDER_REGISTERED, f"The order for {people} was registered.", code=order.channel
    )
    for check in facts.checks:
        yield _of_check(check)
    ended = {
        OrderState.PROCESSED: EventKind.ORDER_PROCESSED,
        OrderState.COMPLETED: EventKind.ORDER_COMPLETED,
        OrderState.SEND_CONDITION_NOT_MET: EventKind.ORDER_STOPPED,
        OrderState.CANCELLED: EventKind.ORDER_CANCELLED,
    }
    if kind := ended.get(order.state):
        name = ORDER_STATE_NAMES[order.state]
        yield Event(order.state_at, kind, name.description, code=name.v2)


_VERDICTS = {
    "met": "The send condition was met.",
    "not met": "The send condition was not met: nothing is sent.",
    "inconclusive": "The send condition gave no usable answer. It is asked twice at most; then the order goes on,"
    " unless its creator wants such orders stopped.",
}


def _of_check(check: CheckFacts) -> Event:
    said = ", ".join(filter(None, (f"HTTP {check.status}" if check.status else "", check.detail)))
    code = "notMet" if check.verdict == "not met" else check.verdict
    return Event(check.at, EventKind.CONDITION_CHECKED, _VERDICTS[check.verdict], code=code, detail=said or None)


def _of_notifications(facts: Facts) -> Iterator[Event]:
    attempts: dict[NotificationId, list[AttemptFacts]] = {n.id: [] for n in facts.notifications}
    for attempt in facts.attempts:
        attempts[attempt.notification].append(attempt)
    for notification in facts.notifications:
        tried = list(_of_attempts(notification, attempts[notification.id]))
        unreachable = notification.state is State.FAILED and notification.never_tried and not tried
        fate = [] if unreachable else list(_fate(notification))
        known = [event.at for event in (*tried, *fate)]
        known += [report.at for report in facts.reports if report.notification == notification.id]
        yield _created(facts.order, notification, known, unreachable=unreachable)
        yield from tried
        yield from fate


def _created(
    order: OrderFacts, notification: NotificationFacts, known: Iterable[datetime], *, unreachable: bool
) -> Event:
    at = _created_at(order, notification, known)
    if unreachable:
        name = notification.name
        kind, text, code = EventKind.NOTIFICATION_UNREACHABLE, name.description, name.v2
    else:
        by, code = ("An email", "Email") if notification.channel is Channel.EMAIL else ("An SMS", "SMS")
        kind, text = EventKind.NOTIFICATION_CREATED, f"{by} to {notification.address} was created."
    return Event(at, kind, text, code=code, notification=notification.id)


def _created_at(order: OrderFacts, notification: NotificationFacts, known: Iterable[datetime]) -> datetime:
    """When the order was processed, in business time, from the ids, which are made by the machine's clock.

    In the sandbox the two differ by what they differed by when the order came; never after what is known to follow.
    """
    shift = order.created_at - made_at(order.id)
    earliest = max(order.created_at, order.requested_send_time)
    return min([max(made_at(notification.id) + shift, earliest), notification.state_at, *known])


_OUTCOMES = {
    "accepted": (EventKind.ATTEMPT_ACCEPTED, "{provider} took the message."),
    "refused": (EventKind.ATTEMPT_REFUSED, "{provider} refused the message for good."),
    "deferred": (EventKind.ATTEMPT_DEFERRED, "{provider} could not take the message. It is tried again later."),
    "unknown": (EventKind.ATTEMPT_UNKNOWN, "The message may have left, but {provider} gave no answer."),
    "abandoned": (EventKind.ATTEMPT_ABANDONED, "The worker died while the message may have been on its way."),
    "suppressed": (EventKind.ATTEMPT_SUPPRESSED, "The address is on the suppression list: nothing was sent."),
    "withheld": (
        EventKind.ATTEMPT_WITHHELD,
        "The text, with its keywords filled in, is not allowed: nothing was sent.",
    ),
}


def _of_attempts(notification: NotificationFacts, attempts: Sequence[AttemptFacts]) -> Iterator[Event]:
    """A clean first acceptance is not in the ledger: the notification itself holds it."""
    for attempt in attempts:
        yield _of_attempt(attempt)
    told = {attempt.outcome for attempt in attempts}
    if notification.accepted_at and not told & {"accepted", "unknown", "abandoned"}:
        provider = notification.provider or "The provider"
        number, at = max(notification.attempts, 1), notification.accepted_at
        yield _of_attempt(AttemptFacts(notification.id, number, provider, at, "accepted", notification.detail))


def _of_attempt(attempt: AttemptFacts) -> Event:
    kind, text = _OUTCOMES[attempt.outcome]
    return Event(
        attempt.at,
        kind,
        text.format(provider=attempt.provider),
        code=attempt.outcome,
        notification=attempt.notification,
        provider=attempt.provider,
        attempt=attempt.number,
        detail=attempt.detail or None,
    )


_FATES = {
    State.DELIVERED: EventKind.NOTIFICATION_DELIVERED,
    State.FAILED: EventKind.NOTIFICATION_FAILED,
    State.EXPIRED: EventKind.NOTIFICATION_EXPIRED,
}


def _fate(notification: NotificationFacts) -> Iterator[Event]:
    if notification.state not in FATES:
        return
    yield Event(
        notification.state_at,
        _FATES[notification.state],
        notification.name.description,
        code=notification.name.v2,
        notification=notification.id,
        provider=notification.provider,
    )


_REPORTS = {
    "pending": (EventKind.REPORT_PENDING, "It has not been applied yet."),
    "applied": (EventKind.REPORT_APPLIED, "It was applied."),
    "late": (EventKind.REPORT_LATE, "It came too late to change anything."),
    "parked": (EventKind.REPORT_PARKED, "It waits for its notification."),
    "dead": (EventKind.REPORT_DEAD, "It could not be used: an operator has to look at it."),
    "rejected": (EventKind.REPORT_REJECTED, "It was rejected."),
}


def _of_report(report: ReportFacts) -> Event:
    kind, became = _REPORTS[report.state]
    said = "; ".join(filter(None, (report.raw_state, report.detail, report.why)))
    return Event(
        report.at,
        kind,
        f"{report.provider} reported: {report.verdict}. {became}",
        code=report.verdict,
        notification=report.notification,
        provider=report.provider,
        detail=said or None,
    )


def _of_feed(entry: FeedFacts) -> Event:
    told = "the corrected outcome" if entry.correction else "the outcome"
    code = "correction" if entry.correction else "outcome"
    return Event(entry.at, EventKind.FEED_ENTRY, f"Entry {entry.seq} of the status feed tells {told}.", code=code)


_OTHERS = {Channel.EMAIL: ("an email", "Email"), Channel.SMS: ("an SMS", "SMS")}
_FALLBACKS = {
    "sent": "There is an address: it is tried once.",
    "unreachable": "There is no address that has not been tried.",
    "reserved": "The recipient has reserved themselves meanwhile: nothing is sent.",
    "expired": "The time for it is over.",
}


def _of_fallback(fallback: FallbackFacts) -> Iterator[Event]:
    by, code = _OTHERS[fallback.channel]
    text = f"Nobody was reached so far: it is looked up whether {by} can be sent."
    yield Event(fallback.opened_at, EventKind.FALLBACK_OPENED, text, code=code)
    if fallback.outcome and fallback.decided_at:
        text = _FALLBACKS[fallback.outcome]
        yield Event(fallback.decided_at, EventKind.FALLBACK_DECIDED, text, code=fallback.outcome)


def _ahead(facts: Facts, asked: Collection[str]) -> Iterator[Event]:
    order, fallback = facts.order, facts.fallback
    if fallback and fallback.wake_at:
        by, code = _OTHERS[fallback.channel]
        yield Event(fallback.wake_at, EventKind.FALLBACK_TRIED, f"It is looked up whether {by} can be sent.", code=code)
    if order.state is OrderState.REGISTERED:
        at = order.wake_at or order.requested_send_time
        text = "The order is processed." if at == order.requested_send_time else "The order is tried again."
        yield Event(at, EventKind.ORDER_DUE, text)
    for notification in facts.notifications:
        for event in _waiting(notification, asks=notification.provider in asked):
            yield replace(event, notification=notification.id, provider=notification.provider)


def _waiting(n: NotificationFacts, *, asks: bool) -> Iterator[Event]:
    has_fate = n.settled or n.state in FATES
    if n.wake_at and not has_fate:
        match n.state:
            case State.NEW:
                window = n.daytime and not n.tries
                text = "The send window opens." if window else "The message is tried again."
                yield Event(n.wake_at, EventKind.NOTIFICATION_TRIED, text, code="window" if window else "retry")
            case State.UNKNOWN if asks:
                text = "The provider is asked what became of the message."
                yield Event(n.wake_at, EventKind.NOTIFICATION_ASKED, text)
            case State.UNKNOWN:
                text = "If nothing is heard by then, the message is sent once more, and may arrive twice."
                yield Event(n.wake_at, EventKind.NOTIFICATION_DECIDED, text)
            case State.ACCEPTED:
                text = "If nothing is heard by then, having been accepted is the outcome."
                yield Event(n.wake_at, EventKind.NOTIFICATION_SETTLES, text)
    if not has_fate:
        yield Event(n.expires_at, EventKind.NOTIFICATION_EXPIRES, "The time for the message is over.")
