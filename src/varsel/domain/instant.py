"""An order whose one message leaves while its sender waits (design 8 "Instant")."""

from dataclasses import dataclass
from datetime import datetime

from varsel.domain.ids import ClaimId, CreatorId, NotificationId
from varsel.domain.notification import Channel
from varsel.domain.order import Order, OrderChannel


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant order that has a chain, one direct address and the template of its channel, and its message."""

    order: Order
    creator: CreatorId
    notification: NotificationId
    expires_at: datetime

    @property
    def channel(self) -> Channel:
        return Channel.SMS if self.order.channel is OrderChannel.SMS else Channel.EMAIL

    @property
    def address(self) -> str:
        recipient = self.order.recipients[0]
        return (recipient.mobile if self.channel is Channel.SMS else recipient.email) or ""

    @property
    def claim(self) -> ClaimId:
        """Of its first try: the chain's id, so that a repeat finds by it whether all is decided."""
        assert self.order.chain is not None
        return ClaimId(self.order.chain)
