"""How the v2 intakes answer: created, or as the first request with the same idempotency id was (http-api 11)."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from varsel.api.future_schemas import ChainAccepted, chain_url
from varsel.api.problems import generic
from varsel.api.schemas import NO_WARNINGS
from varsel.domain.order import Chain, Order
from varsel.orders.chain_store import Shipment
from varsel.orders.register import Repeated
from varsel.settings import Settings, lists


def created(
    base: str, chain: Chain, orders: Sequence[Order], warnings: Mapping[str, Sequence[str]] = NO_WARNINGS
) -> Response:
    """`warnings`: about this request, whatever became of the first one."""
    shipments = [Shipment.of(order) for order in orders]
    return ChainAccepted.of(chain.id, shipments, warnings).response(201, {"Location": chain_url(base, chain.id)})


def repeated(
    settings: Settings, chain: Chain, outcome: Repeated, warnings: Mapping[str, Sequence[str]] = NO_WARNINGS
) -> Response:
    """The first answer again, without a Location; 409 for another request, if the creator wants to hear of that."""
    if not outcome.same and lists(settings.processing.strict_idempotency_creators, chain.creator):
        raise generic(409, detail="The idempotencyId was used before, for another request.")
    return ChainAccepted.of(outcome.first.id, outcome.first.shipments, warnings).response()
