"""Pure: from an order and what the registers know to notifications, at least one each (processing 4.5-4.7)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderChannel, Recipient
from varsel.recipients.lookup import Reach

_EMAIL_ONLY = (Channel.EMAIL,)
_SMS_ONLY = (Channel.SMS,)


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification to be: `new`, `failed` with a reason, or `expired`. Failures carry an empty address."""

    channel: Channel
    recipient: Recipient
    address: str
    state: State = State.NEW
    reason: Reason | None = None


def distinct_recipients(channel: OrderChannel, recipients: Sequence[Recipient]) -> list[Recipient]:
    """Under the channels that weigh two kinds of address, an identifier counts once and its last entry wins (4.4)."""
    if channel in (OrderChannel.EMAIL, OrderChannel.SMS):
        return list(recipients)
    kept: dict[object, Recipient] = {}
    for position, recipient in enumerate(recipients):
        key = recipient.identifier or position
        kept.pop(key, None)
        kept[key] = recipient
    return list(kept.values())


def resolve(
    channel: OrderChannel,
    pairs: Iterable[tuple[Recipient, Reach]],
    *,
    ignore_reservation: bool,
    templates: frozenset[Channel],
) -> Iterator[Draft]:
    """The notifications of an order, recipient by recipient, emails before SMS.

    `templates`: the channels that the order has a text for; without one, the notification fails at once (design 8).
    """
    for recipient, reach in pairs:
        reserved = reach.reserved and not ignore_reservation
        drafts = _reserved(channel, recipient, reach) if reserved else _addressed(channel, recipient, reach)
        for draft in drafts:
            if draft.state is State.NEW and draft.channel not in templates:
                yield Draft(draft.channel, recipient, draft.address, State.FAILED, Reason.UNSPECIFIED)
            else:
                yield draft


def give_up(channel: OrderChannel, recipients: Iterable[Recipient]) -> Iterator[Draft]:
    """The notifications of an order whose time ran out before anybody could be looked up (processing F6)."""
    for recipient in recipients:
        for each in _channels(channel):
            address = (recipient.email if each is Channel.EMAIL else recipient.mobile) or ""
            yield Draft(each, recipient, address, State.EXPIRED)


def _channels(channel: OrderChannel) -> tuple[Channel, ...]:
    """Where a failure is recorded: on the preferred channel, or on both."""
    match channel:
        case OrderChannel.EMAIL | OrderChannel.EMAIL_PREFERRED:
            return _EMAIL_ONLY
        case OrderChannel.SMS | OrderChannel.SMS_PREFERRED:
            return _SMS_ONLY
        case OrderChannel.EMAIL_AND_SMS:
            return (Channel.EMAIL, Channel.SMS)


def _reserved(channel: OrderChannel, recipient: Recipient, reach: Reach) -> Iterator[Draft]:
    channels = _channels(channel)
    # a preferred channel falls back before the reservation is noticed, so the record stands on the other one
    if channel is OrderChannel.EMAIL_PREFERRED and reach.mobiles and not reach.emails:
        channels = _SMS_ONLY
    elif channel is OrderChannel.SMS_PREFERRED and reach.emails and not reach.mobiles:
        channels = _EMAIL_ONLY
    for each in channels:
        yield Draft(each, recipient, "", State.FAILED, Reason.RECIPIENT_RESERVED)


def _addressed(channel: OrderChannel, recipient: Recipient, reach: Reach) -> Iterator[Draft]:
    emails, mobiles = _addresses(channel, reach)
    for address in emails:
        yield Draft(Channel.EMAIL, recipient, address)
    for address in mobiles:
        yield Draft(Channel.SMS, recipient, address)
    both = channel is OrderChannel.EMAIL_AND_SMS
    for each in _channels(channel):
        found = (emails if each is Channel.EMAIL else mobiles) if both else (emails or mobiles)
        if not found:
            yield Draft(each, recipient, "", State.FAILED, Reason.RECIPIENT_NOT_IDENTIFIED)


def _addresses(channel: OrderChannel, reach: Reach) -> tuple[Sequence[str], Sequence[str]]:
    """Emails and mobile numbers to use. The fallback is decided for the official list and for each user separately."""
    all_emails = [*reach.emails, *(u.email for u in reach.users if u.email)]
    all_mobiles = [*reach.mobiles, *(u.mobile for u in reach.users if u.mobile)]
    match channel:
        case OrderChannel.EMAIL:
            return all_emails, ()
        case OrderChannel.SMS:
            return (), all_mobiles
        case OrderChannel.EMAIL_AND_SMS:
            return all_emails, all_mobiles
        case _ if reach.direct:
            return reach.emails, reach.mobiles  # a direct recipient with both is told on both: kept (processing 4.6)
        case OrderChannel.EMAIL_PREFERRED:
            return (
                [*reach.emails, *(u.email for u in reach.users if u.email)],
                [
                    *(reach.mobiles if not reach.emails else ()),
                    *(u.mobile for u in reach.users if u.mobile and not u.email),
                ],
            )
        case OrderChannel.SMS_PREFERRED:
            return (
                [
                    *(reach.emails if not reach.mobiles else ()),
                    *(u.email for u in reach.users if u.email and not u.mobile),
                ],
                [*reach.mobiles, *(u.mobile for u in reach.users if u.mobile)],
            )
