"""SQL of the page of quotas: what each creator has used of its limits."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import ReadConn, fetch
from varsel.domain.quota import Counter

# As the intake reckons: a day begins with nothing used, and a bucket has leaked since it was asked last.
_USED: Final = """
SELECT c.name, q.counter,
       CASE WHEN q.refill IS NOT NULL
            THEN greatest(q.used - q.refill * greatest(extract(epoch FROM statement_timestamp() - q.at), 0), 0)
            WHEN q.at >= %(day)s THEN q.used ELSE 0 END AS now_used
  FROM quota q JOIN creator c ON c.id = q.creator_id
 ORDER BY lower(c.name), c.name, q.counter
 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Used:
    """`amount`: counted so far today, or what is in the bucket now."""

    creator: str
    counter: Counter
    amount: float


async def used(conn: ReadConn, *, day: datetime, limit: int) -> list[Used]:
    """By creator. `day`: when Oslo's day began."""
    return await fetch(conn, _USED, {"day": day, "limit": limit}, _row)


def _row(creator: str, counter: str, amount: float) -> Used:
    return Used(creator, Counter(counter), amount)
