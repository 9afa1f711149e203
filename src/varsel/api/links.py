"""What an answer leads to, as OpenAPI links: from an order to its views, and from the feed to its shipments."""

from collections.abc import Mapping
from typing import Any, Final

Links = Mapping[str, Mapping[str, Any]]
"""By name; each leads to an `operationId`. One that is not served is left out."""


def _order(id_: str) -> Links:
    """To everything that takes the id of an order; `id_` says where the answer has it."""
    views = (
        "getOrder",
        "getOrderStatus",
        "getOrderEmails",
        "getOrderSms",
        "cancelOrder",
        "getShipment",
        "explainOrder",
    )
    return {name: {"operationId": name, "parameters": {"id": id_}} for name in views}


def _reference(reference: str) -> Links:
    """To everything that takes a sender's reference."""
    return {
        name: {"operationId": name, "parameters": {"sendersReference": reference}}
        for name in ("findOrders", "cancelOrders")
    }


_V1: Final = {**_order("$response.body#/orderId"), **_reference("$request.body#/sendersReference")}
_V2: Final = {
    **_order("$response.body#/notification/shipmentId"),
    **_reference("$response.body#/notification/sendersReference"),
}
_ONE: Final = _order("$response.body#/id")
_FEED: Final = {
    **_order("$response.body#/0/shipmentId"),
    "nextPage": {"operationId": "readFeed", "parameters": {"seq": "$response.body#/0/sequenceNumber"}},
}

LINKS: Final[Mapping[str, Links]] = {
    "postOrder": _V1,
    "postEmailOrder": _V1,
    "postSmsOrder": _V1,
    "postChain": _V2,
    "postInstant": _V2,
    "postInstantSms": _V2,
    "postInstantEmail": _V2,
    "postComposedEmail": _V2,
    "findOrders": _order("$response.body#/orders/0/id"),
    "getOrder": _ONE,
    "getOrderStatus": _ONE,
    "cancelOrder": _ONE,
    "getShipment": _reference("$response.body#/sendersReference"),
    "readFeed": _FEED,
}
"""By the operation that answers."""
