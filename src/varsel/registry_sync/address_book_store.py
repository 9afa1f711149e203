"""SQL of official addresses that are changed here (registries 3.7).

A change here makes the row a moment newer than what the register last told of it, so that the same entry, read again,
does not undo it; anything newer does.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value


class Value(NamedTuple):
    """An address: `kind` is `email` or `sms`; a number in one piece."""

    kind: str
    address: str
    country_code: str = ""
    national_number: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    id: int
    registry_id: str
    kind: str
    address: str
    accepted: bool
    deleted: bool
    source: str


LISTED: Final = """
SELECT id, registry_id, kind, address, accepted, deleted, source
  FROM registry.org_address WHERE org_no = %(org_no)s ORDER BY id
"""


async def listed(conn: ReadConn, org_no: str) -> list[Listed]:
    """All rows of an organisation, deleted ones too."""
    return await fetch(conn, LISTED, {"org_no": org_no}, Listed)


async def is_known(conn: ReadConn, org_no: str) -> bool:
    sql = "SELECT EXISTS (SELECT FROM registry.organisation WHERE org_no = %(org_no)s AND NOT deleted)"
    return bool(await fetch_value(conn, sql, {"org_no": org_no}))


# The feed may have brought the new address before us, or the organisation may have had it once: no row comes twice.
ADD: Final = """
WITH known AS (
    SELECT id FROM registry.org_address
     WHERE org_no = %(org_no)s
       AND (registry_id = %(registry_id)s OR (kind = %(kind)s AND lower(address) = lower(%(address)s)))
     ORDER BY registry_id = %(registry_id)s DESC, deleted, id LIMIT 1 FOR UPDATE
), kept AS (
    UPDATE registry.org_address a
       SET registry_id = %(registry_id)s, address = CASE WHEN a.deleted THEN %(address)s ELSE a.address END,
           accepted = CASE WHEN a.deleted THEN %(accepted)s ELSE a.accepted END, deleted = false,
           updated_at = CASE WHEN a.deleted THEN NULL ELSE a.updated_at END,
           source = CASE WHEN a.deleted THEN %(source)s ELSE a.source END,
           changed_at = CASE WHEN a.deleted THEN %(now)s ELSE a.changed_at END
      FROM known WHERE a.id = known.id
    RETURNING a.id, a.registry_id, a.kind, a.address, a.accepted, a.deleted, a.source
), added AS (
    INSERT INTO registry.org_address (registry_id, org_no, kind, address, accepted, source, changed_at)
    SELECT %(registry_id)s, %(org_no)s, %(kind)s, %(address)s, %(accepted)s, %(source)s, %(now)s
     WHERE NOT EXISTS (SELECT FROM known)
    RETURNING id, registry_id, kind, address, accepted, deleted, source
)
SELECT * FROM kept UNION ALL SELECT * FROM added
"""


async def add(
    conn: Conn, org_no: str, value: Value, registry_id: str, *, accepted: bool, now: datetime
) -> Listed | None:
    """A new row, or the deleted one that had this address, active again. Raises `UniqueViolation` in a race."""
    params = {
        "org_no": org_no,
        "kind": value.kind,
        "address": value.address,
        "registry_id": registry_id,
        "accepted": accepted,
        "source": "file" if accepted else "user",
        "now": now,
    }
    return await fetch_one(conn, ADD, params, Listed)


CHANGE: Final = """
UPDATE registry.org_address
   SET address = %(address)s, kind = %(kind)s, registry_id = %(registry_id)s, deleted = false, label = NULL,
       source = CASE source WHEN 'file' THEN source ELSE 'user' END,
       updated_at = CASE registry_id WHEN %(registry_id)s THEN updated_at + interval '1 microsecond' END,
       changed_at = %(now)s
 WHERE id = %(id)s
RETURNING id, registry_id, kind, address, accepted, deleted, source
"""


async def change(
    conn: Conn, mine: Listed, value: Value, registry_id: str, *, twin_id: int | None, now: datetime
) -> Listed | None:
    """The row says something else; or its deleted twin, which has said that before, takes its place."""
    params = {"id": mine.id, "kind": value.kind, "address": value.address, "registry_id": registry_id, "now": now}
    if twin_id is None:
        return await fetch_one(conn, CHANGE, params, Listed)
    sql = "UPDATE registry.org_address SET registry_id = 'replaced/' || id::text WHERE id = %(id)s"
    await execute(conn, sql, {"id": mine.id})  # it may be the twin's from now on
    kept = await fetch_one(conn, CHANGE, {**params, "id": twin_id}, Listed)
    await delete(conn, mine, now=now)
    return kept


DELETE: Final = """
UPDATE registry.org_address a
   SET deleted = true, source = CASE source WHEN 'file' THEN source ELSE 'user' END,
       updated_at = updated_at + interval '1 microsecond', changed_at = %(now)s
 WHERE id = %(id)s
   AND EXISTS (SELECT FROM registry.org_address o WHERE o.org_no = a.org_no AND o.id <> a.id AND NOT o.deleted)
RETURNING id, registry_id, kind, address, accepted, deleted, source
"""


async def delete(conn: Conn, mine: Listed, *, now: datetime) -> Listed | None:
    """None for the last address of its organisation: it stays."""
    lock = """SELECT count(*) FROM (SELECT 1 FROM registry.org_address WHERE org_no =
              (SELECT org_no FROM registry.org_address WHERE id = %(id)s) ORDER BY id FOR UPDATE) AS locked"""
    await execute(conn, lock, {"id": mine.id})
    return await fetch_one(conn, DELETE, {"id": mine.id, "now": now}, Listed)
