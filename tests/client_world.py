"""What tests of the Python client and of the client commands look at."""

from serving import Api
from varsel.db import fetch


async def stored(api: Api) -> list[str]:
    """The idempotency ids of what is stored, one for each order of a chain."""
    async with api.road.db.reading() as conn:
        return await fetch(
            conn,
            """SELECT c.idempotency_id FROM orders o JOIN order_chain c ON c.id = o.chain_id
               ORDER BY c.idempotency_id""",
            {},
            str,
        )
