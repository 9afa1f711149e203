"""API processes that send instant messages, on the road of a test."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from road import LIFETIME, Road
from varsel.delivery import render
from varsel.delivery.now import SendNow
from varsel.delivery.ports import Email, Sms
from varsel.delivery.store import Claimed, Templates
from varsel.domain.ids import ChainId, WorkerId, uuid7
from varsel.domain.notification import Channel
from varsel.domain.order import Chain, EmailTemplate, OrderChannel, OrderFamily, OrderKind, Recipient, SmsTemplate
from varsel.heartbeat import beat
from varsel.orders.instant import Instants
from varsel.orders.ports import InstantSender
from varsel.orders.register import Registered, Repeated

NUMBER = "+4799999500"


@dataclass
class ApiProcess:
    """One process, with a row of its own. Its providers are those of the road."""

    road: Road
    worker: WorkerId
    decided_within: timedelta = timedelta(seconds=10)
    patience: timedelta = timedelta(seconds=5)  # for a turn with the provider
    channels: Collection[Channel] = frozenset(Channel)
    time_to_live: timedelta = timedelta(minutes=5)  # of an SMS
    instants: Instants = field(init=False)

    @classmethod
    async def begin(cls, road: Road, **changes: Any) -> "ApiProcess":
        return cls(road, await beat.begin(road.db, kind="api", lease=timedelta(seconds=30)), **changes)

    def __post_init__(self) -> None:
        road = self.road
        common = (road.clock, road.waker, road.send_rules())
        mail = SendNow[Email](road.db, road.mail_pool(), road.email, *common, patience=self.patience)
        sms = SendNow[Sms](road.db, road.sms_pool(), _sms, *common, patience=self.patience)
        senders: dict[Channel, InstantSender] = {Channel.EMAIL: mail, Channel.SMS: sms}
        self.instants = Instants(
            road.db,
            {channel: senders[channel] for channel in self.channels},
            road.clock,
            lambda: self.worker,
            lifetime=LIFETIME,
            decided_within=self.decided_within,
            limits=road.limits,
        )

    async def sms(self, id_: str = "id", *, creator: str = "ttd", **changes: Any) -> Registered | Repeated:
        """Order an instant SMS."""
        chain = _chain(creator, id_)
        values: dict[str, Any] = {
            "kind": OrderKind.INSTANT,
            "channel": OrderChannel.SMS,
            "recipients": (Recipient(mobile=NUMBER),),
            "email": None,
            "sms": SmsTemplate("Varsel", "Your code is 123456"),
        }
        order = self.road.order(creator=creator, chain=chain.id, **{**values, **changes})
        return await self.instants.place(chain, order, self.time_to_live)

    async def email(self, id_: str = "id", **changes: Any) -> Registered | Repeated:
        chain = _chain("ttd", id_)
        order = self.road.order(
            kind=OrderKind.INSTANT,
            sms=None,
            chain=chain.id,
            email=EmailTemplate("noreply@example.com", "Code", "Your code is 123456"),
            **changes,
        )
        return await self.instants.place(chain, order)

    async def die(self) -> None:
        """Its tasks end where they stand, without a word to the database."""
        await self.instants.close(timedelta())

    async def end(self) -> None:
        await self.instants.close(timedelta(seconds=5))
        await self.road.sweeper().release_own(self.worker)


def _chain(creator: str, idempotency_id: str) -> Chain:
    return Chain(ChainId(uuid7()), creator, idempotency_id, OrderFamily.INSTANT, b"the same")


def _email(row: Claimed, templates: Templates) -> Email | None:
    return render.email(row, templates.email) if templates.email else None


def _sms(row: Claimed, templates: Templates) -> Sms | None:
    return render.sms(row, templates.sms) if templates.sms else None
