"""The dry run: what an order would do, by the very functions of the road, without storing or sending (design 6).

Registration's look-up, the due order's plan, and the texts as they leave; the send condition is not asked. Addresses
are shown in full: once the notifications exist, the API shows their creator the same addresses (http-api 12.8), and
whoever may ask for a preview may also send.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from varsel.clock import Clock
from varsel.delivery.gate import Withheld
from varsel.delivery.ports import Email, Sms
from varsel.domain.ids import CreatorId, NotificationId, OrderId
from varsel.domain.order import Order, Recipient
from varsel.orders.store import recipient_document
from varsel.preview.message import Scene, content_of, recipient_preview
from varsel.preview.outcome import OrderPreview, RecipientPreview, Totals
from varsel.preview.prices import Prices
from varsel.preview.witness import Witness
from varsel.recipients.directory import Outages
from varsel.recipients.lookup import LookupSummary, Query, look_up, summarise
from varsel.recipients.ports import ContactDirectory
from varsel.resolution import plan
from varsel.resolution.plan import Due, Planned, Rules
from varsel.resolution.store import Claimed, Content, NewNotification

MAX_LISTED: Final = 1_000
"""Recipients of an order that are listed one by one. All are counted."""
MAX_TEXTS: Final = 100
"""Listed recipients whose texts are shown."""

Looks = Callable[[Sequence[Email | Sms], datetime], Awaitable[Mapping[NotificationId, Withheld]]]

_TURN: Final = 100  # recipients that are worked on before other requests get their turn


class Previewer:
    """Previews orders. One for each API process. `user_addresses`, `outages`: as for `Register`.

    `withheld`: what the delivery stage would not hand over at an instant, whichever provider sends; None: it would all.
    """

    def __init__(
        self,
        directory: ContactDirectory,
        clock: Clock,
        rules: Rules,
        prices: Prices,
        *,
        user_addresses: bool = True,
        outages: Outages | None = None,
        withheld: Looks | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._rules = rules
        self._prices = prices
        self._user_addresses = user_addresses
        self._outages = outages
        self._withheld = withheld

    @property
    def currency(self) -> str:
        return self._prices.currency

    async def preview(self, order: Order) -> OrderPreview:
        """What the order would do if it were placed now. Raises `RegistryUnavailable`."""
        now = self._clock.now()
        due_at = max(order.requested_send_time - self._rules.due_grace, now)
        lookup = await self._look_up(order, now)
        totals = Totals()
        listed: list[RecipientPreview] = []
        for piece in plan.pieces([_due(order)]):
            witness = Witness(self._directory_of(order))
            planned = await plan.plan(witness, piece, self._rules, now=due_at)
            scene = Scene(order, witness, self._prices, due_at, await self._held_back(order, planned, due_at))
            for number, (recipient, rows) in enumerate(_by_recipient(planned)):
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                told = recipient_preview(scene, recipient, rows)
                totals.add(told)
                if len(listed) < MAX_LISTED:
                    listed.append(told if len(listed) < MAX_TEXTS else _without_texts(told))
        return OrderPreview(order, due_at, lookup, totals, tuple(listed))

    async def outlook(self, orders: Sequence[Order]) -> dict[OrderId, RecipientPreview]:
        """What orders of one creator, with one recipient each, would do if they were placed now; without their texts.

        Everybody is looked up together. Raises `RegistryUnavailable`.
        """
        now, told = self._clock.now(), dict[OrderId, RecipientPreview]()
        due = {order.id: max(order.requested_send_time - self._rules.due_grace, now) for order in orders}
        by_id = {order.id: order for order in orders}
        witness = Witness(self._directory_of(orders[0]))
        for piece in plan.pieces([_due(order) for order in orders]):
            planned = await plan.plan(witness, piece, self._rules, now=min(due.values()))
            contents = [content_of(by_id[member.row.order], member.row) for member in planned]
            withheld = await self._looked_at([content for content in contents if content], min(due.values()))
            for number, (id_, group) in enumerate(itertools.groupby(planned, key=lambda p: p.row.order)):
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                scene = Scene(by_id[id_], witness, self._prices, due[id_], withheld)
                members = list(group)
                told[id_] = _without_texts(
                    recipient_preview(scene, members[0].recipient, [member.row for member in members])
                )
        return told

    async def _looked_at(self, messages: Sequence[Email | Sms], at: datetime) -> Mapping[NotificationId, Withheld]:
        return await self._withheld(messages, at) if self._withheld and messages else {}

    async def _held_back(
        self, order: Order, planned: Sequence[Planned], due_at: datetime
    ) -> Mapping[NotificationId, Withheld]:
        found: dict[NotificationId, Withheld] = {}
        if self._withheld is None:
            return found
        for start in range(0, len(planned), _TURN):
            contents = (content_of(order, member.row) for member in planned[start : start + _TURN])
            found |= await self._withheld([content for content in contents if content], due_at)
        return found

    async def _look_up(self, order: Order, now: datetime) -> LookupSummary | None:
        """What registration would answer. It asks now, and not when the order is due."""
        query = Query(order.channel, order.recipients, order.allow_stale, order.resource_id, order.resource_action)
        directory = self._directory_of(order)
        (reaches,) = await look_up(directory, [query], now=now, user_addresses=self._user_addresses)
        return summarise(query, reaches)

    def _directory_of(self, order: Order) -> ContactDirectory:
        """While a register is down, some creators are shown what our copy says, and how old that is."""
        lenient = self._outages is not None and self._outages.concern(order.creator)
        return self._outages.directory if self._outages and lenient else self._directory


def _due(order: Order) -> Due:
    """The order as the resolution stage finds it."""
    nobody = CreatorId(0)
    claimed = Claimed(
        order.id,
        nobody,
        order.kind,
        order.channel,
        order.lane,
        len(order.recipients),
        order.requested_send_time,
        attempt=1,
    )
    content = Content(
        order.id,
        order.email,
        order.sms,
        [recipient_document(recipient) for recipient in order.recipients],
        order.sending_time,
        bool(order.ignore_reservation),
        order.allow_stale,
        order.resource_id,
        order.resource_action,
        order.condition_endpoint,
    )
    return claimed, content


def _by_recipient(planned: Iterable[Planned]) -> Iterator[tuple[Recipient, list[NewNotification]]]:
    """Each recipient's notifications; those of one come together, equal recipients stay apart."""
    for _, group in itertools.groupby(planned, key=lambda p: id(p.recipient)):
        members = list(group)
        yield members[0].recipient, [member.row for member in members]


def _without_texts(preview: RecipientPreview) -> RecipientPreview:
    return replace(preview, messages=tuple(replace(message, text=None) for message in preview.messages))
