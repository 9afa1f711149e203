"""What an order uses of its creator's limits, and who gets what is left (channels 6.3)."""

from collections.abc import Container, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from varsel.domain.address import e164
from varsel.domain.notification import Channel
from varsel.domain.order import Order, OrderChannel, OrderKind, Recipient
from varsel.domain.sms_receipt import receipt_of

_NORWAY: Final = "+47"
_LARGEST_BUCKET: Final = 1_000
_LARGEST_RESERVE: Final = 1_000


class Counter(StrEnum):
    """The public names of the limits."""

    EMAIL_REQUESTS = "emailRequestsPerMinute"
    SMS_REQUESTS = "smsRequestsPerMinute"
    EMAIL_RECIPIENTS = "emailRecipientsPerDay"
    SMS_RECIPIENTS = "smsRecipientsPerDay"
    INTERNATIONAL_SMS = "internationalSmsPartsPerDay"
    INSTANT_EMAILS = "instantEmailsPerDay"
    INSTANT_SMS = "instantSmsPerDay"

    @property
    def is_daily(self) -> bool:
        """Of a calendar day in Oslo. The others are buckets."""
        return self not in REQUESTS.values()


REQUESTS: Final = {Channel.EMAIL: Counter.EMAIL_REQUESTS, Channel.SMS: Counter.SMS_REQUESTS}
_RECIPIENTS: Final = {Channel.EMAIL: Counter.EMAIL_RECIPIENTS, Channel.SMS: Counter.SMS_RECIPIENTS}
_INSTANT: Final = {Channel.EMAIL: Counter.INSTANT_EMAILS, Channel.SMS: Counter.INSTANT_SMS}

_FIRST: Final = {
    OrderChannel.EMAIL: (Channel.EMAIL,),
    OrderChannel.EMAIL_PREFERRED: (Channel.EMAIL,),
    OrderChannel.SMS: (Channel.SMS,),
    OrderChannel.SMS_PREFERRED: (Channel.SMS,),
    OrderChannel.EMAIL_AND_SMS: (Channel.EMAIL, Channel.SMS),
}

Share = Mapping[Counter, int]
"""What something uses of each limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`told`: as it is configured. `most`: what the counter may reach. `refill`: a second, of a bucket."""

    told: int
    most: float
    refill: float | None = None

    @property
    def reserve(self) -> int:
        """How much more than it needs a process takes while there is plenty: a thousandth. So it seldom has to ask."""
        return 0 if self.refill else min(self.told // 1_000, _LARGEST_RESERVE)

    @classmethod
    def of(cls, counter: Counter, configured: int) -> "Limit":
        """A bucket holds a third of a minute's requests and one more, at most 1 000 (channels 6.3)."""
        if counter.is_daily:
            return cls(configured, configured)
        return cls(configured, min(configured // 3 + 1, _LARGEST_BUCKET), configured / 60)


class Slot(NamedTuple):
    """A creator's counter."""

    creator: str
    counter: Counter


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a request is refused. `left`: what there was for it."""

    slot: Slot
    wanted: int
    left: float


def share_of(order: Order, limited: Container[Counter]) -> dict[Counter, int]:
    """What the order uses of the daily limits among `limited`.

    Who has yet to be looked up counts on the channel that the order prefers; a direct recipient on each channel on
    which there is an address. Only direct numbers show that they are foreign.
    """
    share: dict[Counter, int] = {}
    counters = _INSTANT if order.kind is OrderKind.INSTANT else _RECIPIENTS
    for channel, counter in counters.items():
        if counter in limited and (count := _recipients(order, channel)):
            share[counter] = count
    if Counter.INTERNATIONAL_SMS in limited and (parts := _international_parts(order)):
        share[Counter.INTERNATIONAL_SMS] = parts
    return share


def requests_of(orders: Iterable[Order]) -> dict[Counter, int]:
    """One request for each channel that any of its orders begins with."""
    channels = {channel for order in orders for channel in _FIRST[order.channel]}
    return {REQUESTS[channel]: 1 for channel in channels}


def hand_out(granted: MutableMapping[Slot, float], wishes: Sequence[tuple[str, Share]]) -> list[Shortage | None]:
    """Serve the wishes in turn, each whole or not at all, and take what they get out of `granted`.

    Of a creator and what it wants. None: it is served.
    """
    return [_serve(granted, creator, share) for creator, share in wishes]


def _serve(granted: MutableMapping[Slot, float], creator: str, share: Share) -> Shortage | None:
    for counter, wanted in share.items():
        slot = Slot(creator, counter)
        if granted[slot] < wanted:
            return Shortage(slot, wanted, granted[slot])
    for counter, wanted in share.items():
        granted[Slot(creator, counter)] -= wanted
    return None


def _recipients(order: Order, channel: Channel) -> int:
    match order.channel:
        case OrderChannel.EMAIL | OrderChannel.SMS | OrderChannel.EMAIL_AND_SMS:
            return len(order.recipients) if channel in _FIRST[order.channel] else 0
        case OrderChannel.EMAIL_PREFERRED | OrderChannel.SMS_PREFERRED:
            return sum(_counts(recipient, order.channel, channel) for recipient in order.recipients)


def _counts(recipient: Recipient, preferred: OrderChannel, channel: Channel) -> bool:
    if recipient.email or recipient.mobile:
        return bool(recipient.email if channel is Channel.EMAIL else recipient.mobile)
    return channel in _FIRST[preferred]


def _international_parts(order: Order) -> int:
    foreign = sum(_is_foreign(r.mobile) for r in order.recipients if r.mobile)
    receipt = receipt_of(order) if foreign else None
    return foreign * receipt.parts if receipt else 0


def _is_foreign(mobile: str) -> bool:
    if mobile.startswith((_NORWAY, "0047")):
        return False
    return not (e164(mobile) or _NORWAY).startswith(_NORWAY)


def wait_for(shortage: Shortage, limit: Limit, until_midnight: timedelta) -> timedelta:
    """Until the same request could pass, if nobody else asks meanwhile."""
    if limit.refill is None:
        return until_midnight
    return timedelta(seconds=(min(shortage.wanted, limit.most) - shortage.left) / limit.refill)
