"""Bodies of the v2 order chains (http-api 13): one order, its reminders, and what holds them together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, TypeAdapter

from varsel.api.bodies import Body, Findings, in_chunks
from varsel.api.fields import Duration, RequiredText, Text, check_time
from varsel.api.recipient_bodies import NotificationRecipientBody
from varsel.api.rules import is_url, unless_blank
from varsel.api.shapes import DelayDays, ReminderTime, UrlText, V2Time, exactly_one
from varsel.domain.ids import ChainId, OrderId, uuid7
from varsel.domain.order import Chain, Order, OrderFamily, OrderKind
from varsel.settings import SenderSettings, Settings, lists

_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)  # instants lie before it: room for every sum (design 8)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the service fills in. `always_stale`: the creator's orders use stale addresses too (processing 2.3).

    `falls_back`: who is not reached by the preferred channel is tried by the other one, unless the order says no;
    `fallback_within`: so long after its time.
    """

    senders: SenderSettings
    always_stale: bool = False
    falls_back: bool = False
    fallback_within: timedelta = timedelta(hours=48)

    @classmethod
    def of(cls, settings: Settings, creator: str) -> "Defaults":
        processing, delivery = settings.processing, settings.delivery
        return cls(
            settings.senders,
            lists(processing.stale_contact_creators, creator),
            lists(delivery.late_fallback_creators, creator),
            min(delivery.late_fallback_within, processing.lifetime),
        )


class DialogportenBody(Body):
    """Any texts: they are kept, and not checked."""

    dialog_id: Text | None = None
    transmission_id: Text | None = None


class _PartBody(Body):
    """What the main order and a reminder have in common."""

    senders_reference: Text | None = None
    condition_endpoint: UrlText | None = None
    recipient: NotificationRecipientBody

    def check_part(self, path: str, findings: Findings) -> None:
        """`path` comes before the names of properties: empty, or with a dot at its end."""
        if self.condition_endpoint is not None and not is_url(self.condition_endpoint):
            findings.add(f"{path}ConditionEndpoint", "The value must be an absolute http or https URL.")
        self.recipient.check_rules(f"{path}Recipient", findings)

    def to_order(
        self, chain: ChainId, creator: str, kind: OrderKind, now: datetime, due: datetime, d: Defaults
    ) -> Order:
        to = self.recipient.addressed(d.senders)
        falls_back = to.may_fall_back and (d.falls_back if to.falls_back is None else to.falls_back)
        return Order(
            id=OrderId(uuid7()),
            creator=creator,
            chain=chain,
            kind=kind,
            channel=to.channel,
            created=now,
            requested_send_time=due,
            recipients=(to.recipient,),
            email=to.email,
            sms=to.sms,
            senders_reference=unless_blank(self.senders_reference),
            sending_time=to.sending_time,
            ignore_reservation=to.ignore_reservation,
            allow_stale=to.allow_stale or d.always_stale,
            resource_id=to.resource_id,
            resource_action=to.resource_action,
            condition_endpoint=self.condition_endpoint,
            fallback_until=due + d.fallback_within if falls_back else None,
        )


class ReminderBody(_PartBody):
    """Due so long after the main order's time, or at an instant of its own. `delay` is our addition."""

    model_config = ConfigDict(
        json_schema_extra=exactly_one(
            delay_days=["integer", "string"], delay=["string"], requested_send_time=["string"]
        )
    )

    delay_days: DelayDays | None = None
    delay: Duration | None = None
    requested_send_time: ReminderTime | None = None

    def check_rules(self, path: str, now: datetime, main: datetime, findings: Findings) -> None:
        """`main` is when the main order is due."""
        times = (self.delay_days, self.delay, self.requested_send_time)
        if sum(value is not None for value in times) != 1:
            findings.add(path, "Exactly one of DelayDays, Delay and RequestedSendTime is required.")
        check_time(self.requested_send_time, now, f"{path}.RequestedSendTime", findings)
        for name, delay in (("DelayDays", self._days()), ("Delay", self.delay)):
            if delay is not None and delay <= timedelta():
                findings.add(f"{path}.{name}", "A reminder must come after the main order's time.")
            elif delay is not None and delay >= _END_OF_TIME - main:
                findings.add(f"{path}.{name}", "The reminder lies too far ahead.")
        self.check_part(f"{path}.", findings)

    def due(self, main: datetime) -> datetime:
        """Days are 24 hours, whatever the clocks on the wall do (processing 3.7)."""
        return self.requested_send_time or main + (self.delay or self._days() or timedelta())

    def _days(self) -> timedelta | None:
        if self.delay_days is None:
            return None
        return timedelta(days=max(-1, min(self.delay_days, timedelta.max.days)))


class ChainBody(_PartBody):
    """POST /future/orders."""

    long_lists: ClassVar[Mapping[str, TypeAdapter[list[Any]]]] = {"reminders": TypeAdapter(list[ReminderBody])}

    idempotency_id: RequiredText
    requested_send_time: V2Time = None
    dialogporten_association: DialogportenBody | None = None
    reminders: list[ReminderBody] | None = None

    async def check(self, now: datetime, findings: Findings) -> None:
        check_time(self.requested_send_time, now, "RequestedSendTime", findings)
        self.check_part("", findings)
        main = self.requested_send_time or now
        if main.tzinfo is None:
            main = now  # an error already; the reminders' rules are looked at all the same

        def check(start: int, reminders: Sequence[ReminderBody]) -> None:
            for index, reminder in enumerate(reminders, start):
                reminder.check_rules(f"Reminders[{index}]", now, main, findings)

        await in_chunks(self.reminders or (), check)

    async def to_chain(self, creator: str, now: datetime, defaults: Defaults) -> tuple[Chain, list[Order]]:
        """The chain, and its orders: the main one, then the reminders in the order of the request."""
        id_ = ChainId(uuid7())
        main = self.requested_send_time or now
        digest = hashlib.sha256(self.canonical("reminders"))
        orders = [self.to_order(id_, creator, OrderKind.NOTIFICATION, now, main, defaults)]

        def convert(_start: int, reminders: Sequence[ReminderBody]) -> None:
            for reminder in reminders:
                digest.update(reminder.canonical())
                due = reminder.due(main)
                orders.append(reminder.to_order(id_, creator, OrderKind.REMINDER, now, due, defaults))

        await in_chunks(self.reminders or (), convert)
        dialog = self.dialogporten_association or DialogportenBody()
        chain = Chain(
            id=id_,
            creator=creator,
            idempotency_id=self.idempotency_id,
            family=OrderFamily.CHAIN,
            request_hash=digest.digest(),
            dialog_id=dialog.dialog_id,
            transmission_id=dialog.transmission_id,
        )
        return chain, orders
