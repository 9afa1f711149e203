"""SQL of the sandbox's page of registers: what our copies hold of somebody, and who is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from varsel.db import ReadConn, fetch, fetch_one, fetch_value

_PERSON: Final = """
SELECT subject_key, coalesce(email, ''), coalesce(mobile, ''), reserved, deleted, changed_at
  FROM registry.person
"""
_ADDRESS: Final = """
SELECT a.registry_id, a.org_no, coalesce(o.name, ''), a.kind, a.address, a.changed_at
  FROM registry.org_address a LEFT JOIN registry.organisation o ON o.org_no = a.org_no
"""
_STATES: Final = "SELECT feed, last_success_at FROM registry.sync_cursor"


@dataclass(frozen=True, slots=True)
class PersonCopy:
    key: str
    email: str
    mobile: str
    reserved: bool
    deleted: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class AddressCopy:
    registry_id: str
    org_no: str
    name: str
    kind: str
    address: str
    changed_at: datetime


async def people(conn: ReadConn, *, limit: int) -> Sequence[PersonCopy]:
    """The last changed first."""
    sql = f"{_PERSON} ORDER BY changed_at DESC, subject_key LIMIT %(limit)s"
    return await fetch(conn, sql, {"limit": limit}, PersonCopy)


async def person(conn: ReadConn, key: str) -> PersonCopy | None:
    return await fetch_one(conn, f"{_PERSON} WHERE subject_key = %(key)s", {"key": key}, PersonCopy)


async def addresses(conn: ReadConn, *, limit: int) -> Sequence[AddressCopy]:
    """The last changed first."""
    sql = f"{_ADDRESS} WHERE NOT a.deleted ORDER BY a.changed_at DESC, a.org_no, a.id LIMIT %(limit)s"
    return await fetch(conn, sql, {"limit": limit}, AddressCopy)


async def address(conn: ReadConn, registry_id: str) -> AddressCopy | None:
    sql = f"{_ADDRESS} WHERE NOT a.deleted AND a.registry_id = %(id)s"
    return await fetch_one(conn, sql, {"id": registry_id}, AddressCopy)


async def removed(conn: ReadConn, registry_id: str) -> datetime | None:
    """When it was removed here, if it was."""
    sql = "SELECT removed_at FROM registry.org_address_removed WHERE registry_id = %(id)s"
    at: datetime | None = await fetch_value(conn, sql, {"id": registry_id})
    return at


async def last_read(conn: ReadConn) -> dict[str, datetime | None]:
    """When each feed was read to its end, in business time."""
    return dict(await fetch(conn, _STATES, {}, lambda feed, at: (feed, at)))
