"""What a due order becomes: from its recipients to the notifications that are stored.

The road and the preview both go through here, so that the preview tells what the road will do (design 6).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from varsel.domain.errors import RegistryUnavailable
from varsel.domain.identifiers import subject_key
from varsel.domain.ids import NotificationId, OrderId, uuid7
from varsel.domain.keywords import has_keyword
from varsel.domain.notification import Channel, State
from varsel.domain.order import Lane, Recipient
from varsel.domain.schedule import SendWindow, is_daytime, sms_expiry
from varsel.recipients.lookup import Query, Reach, look_up_each
from varsel.recipients.ports import ContactDirectory
from varsel.resolution.resolve import Draft, distinct_recipients, resolve
from varsel.resolution.store import Claimed, Content, NewNotification

_NOBODY: Final = frozenset[str]()
_RECIPIENTS_A_PIECE: Final = 2_000  # looked up and stored at a time, so that a big order takes bounded memory


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the resolution stage. Orders of at most `recipients_a_turn` together share a transaction."""

    window: SendWindow
    lifetime: timedelta
    condition_retry: timedelta
    recipients_a_turn: int = 10_000
    due_grace: timedelta = timedelta()  # how long before its time an order is taken
    fail_closed_creators: tuple[str, ...] = ()  # for whom a condition that is inconclusive twice is not met


Due = tuple[Claimed, Content]
Part = tuple[Claimed, Content, Sequence[Recipient]]
Piece = list[Part]


class Planned(NamedTuple):
    """A notification to be, and for whom."""

    recipient: Recipient
    row: NewNotification


def turns(due: Sequence[Due], most: int) -> Iterator[Sequence[Due]]:
    """Orders of at most so many recipients together; a bigger order is a turn of its own."""
    start = recipients = 0
    for place, (order, _) in enumerate(due):
        if recipients and recipients + order.recipients > most:
            yield due[start:place]
            start, recipients = place, 0
        recipients += order.recipients
    if due:
        yield due[start:]


def pieces(due: Sequence[Due]) -> Iterator[Piece]:
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


async def plan(directory: ContactDirectory, piece: Piece, rules: Rules, *, now: datetime) -> list[Planned]:
    """Look everybody up, choose channels and addresses, and find the names that texts ask for.

    `now` is when the orders are due. Raises `RegistryUnavailable`.
    """
    planned, waiting = await plan_each(directory, piece, rules, now=now)
    for error in waiting.values():
        raise error
    return planned


async def plan_each(
    directory: ContactDirectory, piece: Piece, rules: Rules, *, now: datetime
) -> tuple[list[Planned], dict[OrderId, RegistryUnavailable]]:
    """As `plan`; but orders that need a register which is down have no part in the plan, and are told."""
    reaches = await look_up_each(directory, [_query(*part) for part in piece], now=now)
    waiting = {
        order.id: reach
        for (order, _, _), reach in zip(piece, reaches, strict=True)
        if isinstance(reach, RegistryUnavailable)
    }
    drafts = [
        (order, content, list(_drafts(order, content, recipients, reach)))
        for (order, content, recipients), reach in zip(piece, reaches, strict=True)
        if not isinstance(reach, RegistryUnavailable)
    ]
    named = {order.id: named for order, content, made in drafts if (named := _named(content, made))}
    try:
        names = await directory.names(frozenset().union(*named.values())) if named else {}
    except RegistryUnavailable as error:
        waiting |= dict.fromkeys(named, error)
        names = {}
    planned = [
        Planned(draft.recipient, row)
        for order, content, made in drafts
        if order.id not in waiting
        for draft, row in zip(made, notifications(order, content, made, names, rules, now), strict=True)
    ]
    return planned, waiting


def notifications(
    order: Claimed, content: Content, drafts: Iterable[Draft], names: Mapping[str, str], rules: Rules, now: datetime
) -> Iterator[NewNotification]:
    """One for each draft, in order: when it may leave, when its time is over, and what fills its keywords."""
    ends, named = expiries(order, content, rules), _named_channels(content)
    opening = rules.window.next_opening(now) if content.sms else now
    for draft in drafts:
        sms, recipient = draft.channel is Channel.SMS, draft.recipient
        expires_at = ends[draft.channel]
        person, organisation = recipient.national_identity_number, recipient.organisation_number
        daytime = sms and is_daytime(content.sending_time)
        state = State.EXPIRED if draft.state is State.NEW and expires_at <= now else draft.state
        yield NewNotification(
            id=NotificationId(uuid7()),
            order=order.id,
            creator=order.creator,
            channel=draft.channel,
            lane=Lane.COMPOSED if content.attached else order.lane,
            state=state,
            reason=draft.reason,
            daytime=daytime,
            expires_at=expires_at,
            wake_at=opening if daytime and opening > now and state is State.NEW else None,
            subject_kind="organisation" if organisation else "person" if person else None,
            subject_key=subject_key(organisation or person or "") if organisation or person else None,
            address=draft.address,
            recipient_name=names.get(recipient.identifier or "") if _wants_name(draft, named) else None,
        )


def expiries(order: Claimed, content: Content, rules: Rules) -> dict[Channel, datetime]:
    requested = order.requested_send_time
    return {
        Channel.EMAIL: requested + rules.lifetime,
        Channel.SMS: sms_expiry(requested, content.sending_time, rules.window, rules.lifetime),
    }


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


def _named_channels(content: Content) -> frozenset[Channel]:
    """Those whose text has a keyword. Asked once for an order, for its text may be long and its recipients many."""
    email, sms = content.email, content.sms
    named = set()
    if email and has_keyword(email.subject, email.body):
        named.add(Channel.EMAIL)
    if sms and has_keyword(sms.body):
        named.add(Channel.SMS)
    return frozenset(named)


def _named(content: Content, drafts: Iterable[Draft]) -> frozenset[str]:
    """The identifiers whose names the texts ask for."""
    channels = _named_channels(content)
    return frozenset(d.recipient.identifier or "" for d in drafts if _wants_name(d, channels)) if channels else _NOBODY


def _wants_name(draft: Draft, named: frozenset[Channel]) -> bool:
    """Only people and organisations get their keywords filled, and only where a text has one (processing 5)."""
    recipient = draft.recipient
    known = bool(recipient.national_identity_number or recipient.organisation_number)
    return draft.channel in named and draft.state is State.NEW and known
