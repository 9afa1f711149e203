"""Each thing that one can ask for, as steps of the core: which request, which answer, what is safe."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

from varsel.client.answers import Cancellation, FeedEntry, OrderReceipt, Preview, Shipment
from varsel.client.errors import NotEnded, Unavailable, Unexpected, VarselError
from varsel.client.exchange import Pause, Reply, Request, Steps
from varsel.client.orders import ComposedEmail, InstantEmail, InstantSms, OrderChain
from varsel.client.repeat import Clock, exchange
from varsel.client.wire import Unreadable, decode, encode

T = TypeVar("T")

ROOT: Final = "/notifications/api/v1"
ORDERS: Final = f"{ROOT}/future/orders"
SHIPMENTS: Final = f"{ROOT}/future/shipment"

_FEED_WAIT: Final = 30  # s; the service's own limit is 60 (feed.max_wait)
_SOONEST: Final = 1.0  # s between two readings of a feed that has nothing new
_FIRST_LOOK: Final = 0.2  # s
_LONGEST_LOOK: Final = 5.0

Body = Mapping[str, Any]
"""An order in the API's own JSON, for what the classes do not have yet."""


@dataclass(frozen=True, slots=True)
class Calls:
    """`within`: seconds in which a call must be done, with all its repeats."""

    clock: Clock
    within: float

    def order(self, order: OrderChain | ComposedEmail | InstantSms | InstantEmail | Body) -> Steps[OrderReceipt]:
        """A mapping is an order chain."""
        path = ORDERS
        match order:
            case ComposedEmail():
                path = f"{ORDERS}/composed-email"
            case InstantSms():
                path = f"{ORDERS}/instant/sms"
            case InstantEmail():
                path = f"{ORDERS}/instant/email"
        body = dict(order) if isinstance(order, Mapping) else order.body()
        id_ = body.setdefault("idempotencyId", str(uuid4()))
        try:
            reply = yield from exchange(_post(path, body), self.within, self.clock)
        except VarselError as e:
            e.idempotency_id = str(id_)
            raise
        receipt = _read(OrderReceipt, reply)
        return replace(receipt, idempotency_id=str(id_), created=reply.status == 201)

    def call(self, method: str, path: str, body: object) -> Steps[Any]:
        content = None if body is None else json.dumps(encode(body), ensure_ascii=False).encode()
        reply = yield from exchange(Request(method, path, content), self.within, self.clock)
        return _read(Any, reply) if reply.content else None

    def preview(self, order: OrderChain | Body) -> Steps[Preview]:
        body = dict(order) if isinstance(order, Mapping) else order.body()
        body.setdefault("idempotencyId", "preview")  # wanted, and not used up
        return _read(Preview, (yield from exchange(_post(f"{ORDERS}/preview", body), self.within, self.clock)))

    def cancel(self, shipment: UUID | str) -> Steps[None]:
        path = f"{ROOT}/orders/{quote(str(shipment), safe='')}/cancel"
        yield from exchange(Request("PUT", path), self.within, self.clock)

    def cancel_all(self, senders_reference: str) -> Steps[Cancellation]:
        path = f"{ORDERS}/cancel?{urlencode({'sendersReference': senders_reference})}"
        return _read(Cancellation, (yield from exchange(Request("PUT", path), self.within, self.clock)))

    def shipment(self, shipment: UUID | str, within: float | None = None) -> Steps[Shipment]:
        request = Request("GET", f"{SHIPMENTS}/{quote(str(shipment), safe='')}")
        return _read(Shipment, (yield from exchange(request, self.within if within is None else within, self.clock)))

    def wait_for_fate(
        self, shipment: UUID | str, within: float, on_change: Callable[[Shipment], None] | None
    ) -> Steps[Shipment]:
        deadline, look = self.clock.now() + within, _FIRST_LOOK
        told: Shipment | None = None
        while True:
            try:
                found = yield from self.shipment(shipment, max(deadline - self.clock.now(), 0.1))
            except Unavailable:
                if told is None:
                    raise
                raise NotEnded(told) from None
            if on_change and found != told:
                on_change(found)
            told = found
            if found.ended:
                return found
            if self.clock.now() + look > deadline:
                raise NotEnded(found)
            yield Pause(look)
            look = min(look * 1.5, _LONGEST_LOOK)

    def feed_page(self, after: int, *, follow: bool) -> Steps[tuple[FeedEntry, ...]]:
        """Entries after this number; none means that there are none. Who follows waits for one, and never gives up."""
        began = self.clock.now()
        query = {"seq": after} | ({"wait": _FEED_WAIT} if follow else {})
        request = Request("GET", f"{SHIPMENTS}/feed?{urlencode(query)}", patience=_FEED_WAIT + 30)
        reply = yield from exchange(request, None if follow else self.within, self.clock)
        entries = _read(tuple[FeedEntry, ...], reply)
        if follow and not entries and (early := began + _SOONEST - self.clock.now()) > 0:
            yield Pause(early)  # it stops, or waits for nobody
        return entries


def _post(path: str, body: Body) -> Request:
    return Request("POST", path, json.dumps(encode(body), ensure_ascii=False).encode())


def _read(kind: type[T], reply: Reply) -> T:
    try:
        return decode(kind, json.loads(reply.content))
    except Unreadable as e:
        raise Unexpected(f"the answer is not as this API promises: {e}") from None
    except ValueError:
        raise Unexpected("the answer is no JSON: is this the address of a Varsel?") from None
