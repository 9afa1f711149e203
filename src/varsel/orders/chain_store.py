"""SQL of order chains: who has used an idempotency id, and what was answered then."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from varsel.db import ReadConn, fetch
from varsel.domain.content import Caution
from varsel.domain.ids import ChainId, CreatorId, OrderId
from varsel.domain.order import Order, OrderFamily
from varsel.domain.sms_receipt import SmsReceipt, receipt_of
from varsel.domain.sms_text import Alphabet, Replacement

FIND = """
SELECT c.creator_id, c.idempotency_id, c.family, c.id, c.request_hash, c.shipments
  FROM order_chain c
  JOIN unnest(%(creators)s::int[], %(idempotency_keys)s::bytea[], %(families)s::order_family[])
       AS k (creator_id, idempotency_key, family)
    ON c.creator_id = k.creator_id AND c.idempotency_key = k.idempotency_key AND c.family = k.family
"""

Key = tuple[CreatorId, str, OrderFamily]


@dataclass(frozen=True, slots=True)
class Shipment:
    """An order of a chain, as its sender was told of it."""

    id: OrderId
    reference: str | None
    sms: SmsReceipt | None = None

    @classmethod
    def of(cls, order: Order) -> "Shipment":
        return cls(order.id, order.senders_reference, receipt_of(order))

    def document(self) -> dict[str, Any]:
        """As it stands in the chain's row."""
        told = {
            "id": str(self.id),
            "reference": self.reference,
            "sms": dataclasses.asdict(self.sms) if self.sms else None,
        }
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class StoredChain:
    """What was answered when the chain was registered: the main order first, then the reminders in their order."""

    id: ChainId
    request_hash: bytes
    shipments: tuple[Shipment, ...]


def idempotency_key(idempotency_id: str) -> bytes:
    return hashlib.sha256(idempotency_id.encode()).digest()


async def find_chains(conn: ReadConn, keys: Sequence[Key]) -> dict[Key, StoredChain]:
    params = {
        "creators": [creator for creator, _, _ in keys],
        "idempotency_keys": [idempotency_key(id_) for _, id_, _ in keys],
        "families": [family.value for _, _, family in keys],
    }
    return dict(await fetch(conn, FIND, params, _keyed))


def stored_chain(id_: UUID, request_hash: bytes, shipments: list[dict[str, Any]]) -> StoredChain:
    """From the columns of its row."""
    orders = (Shipment(OrderId(UUID(s["id"])), s.get("reference"), _receipt(s.get("sms"))) for s in shipments)
    return StoredChain(ChainId(id_), bytes(request_hash), tuple(orders))


def _receipt(document: dict[str, Any] | None) -> SmsReceipt | None:
    if document is None:
        return None
    return SmsReceipt(
        Alphabet(document["alphabet"]),
        document["characters"],
        document["parts"],
        document["unfilled"],
        tuple(document["beyond_gsm_7"]),
        tuple(Replacement(**replacement) for replacement in document["replaced"]),
        tuple(map(Caution, document.get("cautions", ()))),
    )


def _keyed(*columns: Any) -> tuple[Key, StoredChain]:
    creator, idempotency_id, family, *chain = columns
    return (CreatorId(creator), idempotency_id, OrderFamily(family)), stored_chain(*chain)
