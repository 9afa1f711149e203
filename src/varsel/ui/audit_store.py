"""SQL of the page of the audit log: the newest acts by keyset."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from varsel.db import ReadConn, fetch
from varsel.ui.access_store import About


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did. `order` and `about`: what it concerned."""

    id: int
    at: datetime
    actor: str
    action: str
    creator: str | None
    order: UUID | None
    about: About | None
    case: str
    detail: str


ACTS: Final = """
SELECT id, at, actor, action, creator, order_id, about_kind, about_key, case_no, detail FROM audit
 WHERE %(before)s::bigint IS NULL OR id < %(before)s ORDER BY id DESC LIMIT %(limit)s
"""


async def acts(conn: ReadConn, *, limit: int, before: int | None = None) -> list[Act]:
    """The newest first. `before`: those that were written down before this one."""
    return await fetch(conn, ACTS, {"before": before, "limit": limit}, _act)


def _act(
    id_: int,
    at: datetime,
    actor: str,
    action: str,
    creator: str | None,
    order: UUID | None,
    kind: str | None,
    key: str | None,
    case: str,
    detail: str,
) -> Act:
    return Act(id_, at, actor, action, creator, order, About(kind, key) if kind and key else None, case, detail)
