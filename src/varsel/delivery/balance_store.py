"""SQL that moves weights: all rows of a group are locked while it is decided (channels 1.9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch
from varsel.delivery import pool_store
from varsel.delivery.choice import drifted, shifted

_AFTER_ERRORS: Final = timedelta(minutes=1)  # since the last change
_AFTER_SLOWNESS: Final = timedelta(minutes=5)
_BEFORE_DRIFT: Final = timedelta(minutes=15)
_DRIFT_EVERY: Final = timedelta(minutes=5) - timedelta(seconds=10)  # the step that asks for it comes about so often

LOCK = """
SELECT name, weight, breaker_until IS NOT NULL OR stopped,
       coalesce(weight_at > statement_timestamp() - %(quiet)s, false),
       coalesce(drifted_at > statement_timestamp() - %(step)s, false)
  FROM provider WHERE name = ANY(%(names)s) ORDER BY name FOR UPDATE
"""

SET = """
UPDATE provider
   SET weight = %(weight)s,
       weight_at = CASE WHEN %(drifts)s THEN weight_at ELSE statement_timestamp() END,
       drifted_at = CASE WHEN %(drifts)s THEN statement_timestamp() ELSE drifted_at END
 WHERE name = %(name)s
"""

# Of what was made five to fifteen minutes ago: how much took, or so far has taken, five minutes to be reported on.
SLOWNESS = """
SELECT provider, count(*)::int,
       count(*) FILTER (WHERE coalesce(CASE WHEN state IN ('delivered', 'failed') THEN state_at END, %(now)s)
                              - accepted_at >= interval '5 min')::int
  FROM (SELECT provider, state, state_at, accepted_at FROM notification
         WHERE id BETWEEN %(low)s AND %(high)s AND provider = ANY(%(names)s) AND accepted_at IS NOT NULL
         LIMIT 20000) AS recent
 GROUP BY provider
"""


@dataclass(frozen=True, slots=True)
class _Locked:
    name: str
    weight: int | None
    unwell: bool
    just_changed: bool
    just_drifted: bool


async def shift(conn: Conn, resting: Mapping[str, int], failing: str, *, why: str, slow: bool = False) -> bool:
    """Move points from a failing or slow instance to the others of its group that are well. False: changed just now."""
    rows = await _lock(conn, resting, _AFTER_SLOWNESS if slow else _AFTER_ERRORS)
    if any(row.just_changed for row in rows):
        return False
    weights = {row.name: _weight(row, resting) for row in rows if row.name == failing or not row.unwell}
    return await _set(conn, weights, shifted(weights, resting, failing), why) if failing in weights else False


async def drift(conn: Conn, resting: Mapping[str, int]) -> bool:
    """Back towards the weights at rest, when nothing changed for a quarter of an hour."""
    rows = await _lock(conn, resting, _BEFORE_DRIFT)
    if any(row.just_changed or row.just_drifted for row in rows):
        return False
    weights = {row.name: _weight(row, resting) for row in rows}
    return await _set(conn, weights, drifted(weights, resting), "nothing happened for a while", drifts=True)


async def slowness(
    conn: ReadConn, names: list[str], *, low: UUID, high: UUID, now: datetime
) -> dict[str, tuple[int, int]]:
    """By instance: messages between two ids, and how many of them were slow."""
    params = {"names": names, "low": low, "high": high, "now": now}
    return {name: (sent, slow) for name, sent, slow in await fetch(conn, SLOWNESS, params, lambda *row: row)}


async def _lock(conn: Conn, resting: Mapping[str, int], quiet: timedelta) -> list[_Locked]:
    return await fetch(conn, LOCK, {"names": list(resting), "quiet": quiet, "step": _DRIFT_EVERY}, _Locked)


def _weight(row: _Locked, resting: Mapping[str, int]) -> int:
    return resting[row.name] if row.weight is None else row.weight


async def _set(
    conn: Conn, before: Mapping[str, int], after: Mapping[str, int], why: str, *, drifts: bool = False
) -> bool:
    changed = {name: weight for name, weight in after.items() if weight != before[name]}
    for name, weight in sorted(changed.items()):
        await execute(conn, SET, {"name": name, "weight": weight, "drifts": drifts})
        await pool_store.note_change(conn, name, "weight", weight=weight, detail=why)
    return bool(changed)
