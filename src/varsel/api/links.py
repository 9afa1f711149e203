"""What an answer leads to, as OpenAPI links: from an order to its views, and from one view to the others.

Lists and optional properties lead nowhere: a link must hold for every answer.
"""

from collections.abc import Mapping
from typing import Any, Final

Links = Mapping[str, Mapping[str, Any]]
"""By name; each leads to an `operationId`. One that is not served is left out."""

_VIEWS: Final = (
    "getOrder",
    "getOrderStatus",
    "getOrderEmails",
    "getOrderSms",
    "cancelOrder",
    "getShipment",
    "explainOrder",
)


def _to_views(id_: str) -> Links:
    """To everything that takes the id of an order; `id_` says where the answer has it."""
    return {name: {"operationId": name, "parameters": {"id": id_}} for name in _VIEWS}


_V1: Final = _to_views("$response.body#/orderId")
_V2: Final = _to_views("$response.body#/notification/shipmentId")
_ORDER: Final = _to_views("$response.body#/id")
_SHIPMENT: Final = _to_views("$response.body#/shipmentId")

_BULK: Final = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
    for name in (
        *("getBulkJob", "configureBulkJob", "confirmBulkJob", "pauseBulkJob", "resumeBulkJob", "stopBulkJob"),
        "getBulkResult",
    )
}
_ADDRESSES: Final = {
    name: {"operationId": name, "parameters": {"party_uuid": "$request.path.party_uuid"}}
    for name in ("readOwnAddresses", "deleteOwnAddresses")
}
_OFFICIAL_ADDRESS: Final = {
    name: {
        "operationId": name,
        "parameters": {
            "organization_number": "$request.path.organization_number",
            "address_id": "$response.body#/notificationAddressId",
        },
    }
    for name in ("readOfficialAddress", "changeOfficialAddress", "deleteOfficialAddress")
}
_WEBHOOK: Final[Links] = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
    for name in (
        "getWebhook",
        "changeWebhook",
        "deleteWebhook",
        "pingWebhook",
        "pauseWebhook",
        "resumeWebhook",
        "rotateWebhookSecret",
        "replayWebhook",
        "listWebhookDeliveries",
    )
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
    "getOrder": _ORDER,
    "getOrderStatus": _ORDER,
    "getOrderEmails": _V1,
    "getOrderSms": _V1,
    "cancelOrder": _ORDER,
    "getShipment": _SHIPMENT,
    "explainOrder": _SHIPMENT,
    "putOwnAddresses": _ADDRESSES,
    "patchOwnAddresses": _ADDRESSES,
    "addOfficialAddress": _OFFICIAL_ADDRESS,
    "readOfficialAddress": _OFFICIAL_ADDRESS,
    "changeOfficialAddress": _OFFICIAL_ADDRESS,
    "uploadBulkFile": _BULK,
    "getBulkJob": _BULK,
    "configureBulkJob": _BULK,
    "createWebhook": _WEBHOOK,
    "getWebhook": _WEBHOOK,
}
"""By the operation that answers."""
