"""SQL that brings a page into the local copies (registries 7.3). What says nothing new is not written.

Rows are taken in order of their keys, so that merges cannot deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString

from varsel.db import Conn, columns, execute, fetch, fetch_one
from varsel.registry_sync.addresses import AddressRecord, Removal
from varsel.registry_sync.persons import PersonRecord

_PERSON_COLUMNS: Final = (
    *("subject_key", "ordinal", "deleted", "reserved", "email", "email_updated_at", "email_verified_at"),
    *("mobile", "mobile_updated_at", "mobile_verified_at", "language", "version_at"),
)
_ADDRESS_COLUMNS: Final = ("registry_id", "ordinal", "updated_at", "org_no", "kind", "address", "label")


@dataclass(frozen=True, slots=True)
class Merged:
    inserted: int
    updated: int
    removed: int


# A deleted person comes back only by a snapshot that is newer than all there was of them: the feed may repeat itself,
# and a full synchronisation tells everything again. A snapshot without times is judged by its place in the feed alone.
PERSONS: Final = """
WITH merged AS (
    INSERT INTO registry.person AS t
           (subject_key, ordinal, deleted, reserved, email, email_updated_at, email_verified_at, mobile,
            mobile_updated_at, mobile_verified_at, language, version_at, generation, position, source, changed_at)
    SELECT p.*, %(generation)s, %(position)s, 'krr', %(now)s
      FROM unnest(%(subject_key)s::text[], %(ordinal)s::int[], %(deleted)s::boolean[], %(reserved)s::boolean[],
                  %(email)s::text[], %(email_updated_at)s::timestamptz[], %(email_verified_at)s::timestamptz[],
                  %(mobile)s::text[], %(mobile_updated_at)s::timestamptz[], %(mobile_verified_at)s::timestamptz[],
                  %(language)s::text[], %(version_at)s::timestamptz[])
           AS p (subject_key, ordinal, deleted, reserved, email, email_updated_at, email_verified_at, mobile,
                 mobile_updated_at, mobile_verified_at, language, version_at)
     ORDER BY p.subject_key
        ON CONFLICT (subject_key) DO UPDATE
       SET deleted = excluded.deleted, reserved = excluded.reserved, email = excluded.email,
           email_updated_at = excluded.email_updated_at, email_verified_at = excluded.email_verified_at,
           mobile = excluded.mobile, mobile_updated_at = excluded.mobile_updated_at,
           mobile_verified_at = excluded.mobile_verified_at, language = excluded.language,
           first_name = CASE WHEN NOT excluded.deleted THEN t.first_name END,
           middle_name = CASE WHEN NOT excluded.deleted THEN t.middle_name END,
           last_name = CASE WHEN NOT excluded.deleted THEN t.last_name END,
           version_at = CASE WHEN excluded.generation > t.generation THEN excluded.version_at
                             ELSE greatest(t.version_at, excluded.version_at) END,
           generation = excluded.generation, position = excluded.position, ordinal = excluded.ordinal, source = 'krr',
           changed_at = excluded.changed_at
     WHERE (t.source = 'file'
            OR (excluded.generation, excluded.position, excluded.ordinal) >= (t.generation, t.position, t.ordinal))
       AND NOT (t.deleted AND NOT excluded.deleted AND coalesce(excluded.version_at <= t.version_at, false))
       AND (t.source, t.deleted, t.reserved, t.email, t.email_updated_at, t.email_verified_at, t.mobile,
            t.mobile_updated_at, t.mobile_verified_at, t.language, t.version_at)
           IS DISTINCT FROM
           ('krr', excluded.deleted, excluded.reserved, excluded.email, excluded.email_updated_at,
            excluded.email_verified_at, excluded.mobile, excluded.mobile_updated_at, excluded.mobile_verified_at,
            excluded.language, greatest(t.version_at, excluded.version_at))
    RETURNING t.deleted, xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted AND NOT deleted), count(*) FILTER (WHERE NOT inserted AND NOT deleted),
       count(*) FILTER (WHERE deleted)
  FROM merged
"""


async def merge_persons(
    conn: Conn, records: Sequence[PersonRecord], *, generation: int, position: int, now: datetime
) -> Merged:
    """`records`: one for each person. Rows that files left are the feed's from now on."""
    params = {"generation": generation, "position": position, "now": now, **columns(records, *_PERSON_COLUMNS)}
    merged = await fetch_one(conn, PERSONS, params, Merged)
    assert merged is not None
    return merged


PERSONS_SEEN: Final = """
UPDATE registry.person t SET generation = %(generation)s, position = %(position)s, ordinal = p.ordinal
  FROM unnest(%(subject_key)s::text[], %(ordinal)s::int[]) AS p (subject_key, ordinal)
 WHERE t.subject_key = p.subject_key AND t.generation < %(generation)s
"""


async def mark_persons_seen(conn: Conn, records: Sequence[PersonRecord], *, generation: int, position: int) -> None:
    """In a full synchronisation also those that say nothing new count as seen."""
    params = {"generation": generation, "position": position, **columns(records, "subject_key", "ordinal")}
    await execute(conn, PERSONS_SEEN, params)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Rows of a feed: how many there are, and how many a full synchronisation has not met."""

    present: int
    unseen: int


PERSONS_UNSEEN: Final = """
SELECT count(*), count(*) FILTER (WHERE generation < %(generation)s)
  FROM registry.person WHERE source = 'krr' AND NOT deleted
"""
REMOVE_PERSONS: Final = """
UPDATE registry.person
   SET deleted = true, reserved = false, email = NULL, email_updated_at = NULL, email_verified_at = NULL,
       mobile = NULL, mobile_updated_at = NULL, mobile_verified_at = NULL, language = NULL, first_name = NULL,
       middle_name = NULL, last_name = NULL, changed_at = %(now)s
 WHERE source = 'krr' AND NOT deleted AND generation < %(generation)s
"""


async def unseen_persons(conn: Conn, generation: int) -> Unseen:
    return await _unseen(conn, PERSONS_UNSEEN, generation)


async def remove_unseen_persons(conn: Conn, generation: int, *, now: datetime) -> int:
    return await execute(conn, REMOVE_PERSONS, {"generation": generation, "now": now})


# What our own users changed since the register last told of it stands until it tells something newer, or all anew.
ADDRESSES: Final = """
WITH merged AS (
    INSERT INTO registry.org_address AS t
           (registry_id, org_no, kind, address, label, updated_at, generation, source, changed_at)
    SELECT p.registry_id, p.org_no, p.kind, p.address, p.label, p.updated_at, %(generation)s, 'business-addresses',
           %(now)s
      FROM unnest(%(registry_id)s::text[], %(ordinal)s::int[], %(updated_at)s::timestamptz[], %(org_no)s::text[],
                  %(kind)s::text[], %(address)s::text[], %(label)s::text[])
           AS p (registry_id, ordinal, updated_at, org_no, kind, address, label)
     WHERE NOT EXISTS (SELECT FROM registry.org_address_removed r
                        WHERE r.registry_id = p.registry_id AND r.updated_at >= p.updated_at)
     ORDER BY p.ordinal
        ON CONFLICT (registry_id) DO UPDATE
       SET org_no = excluded.org_no, kind = excluded.kind, address = excluded.address, label = excluded.label,
           accepted = true, deleted = false, updated_at = excluded.updated_at, generation = excluded.generation,
           source = excluded.source, changed_at = excluded.changed_at
     WHERE (t.source = 'file' OR t.updated_at IS NULL OR excluded.updated_at >= t.updated_at
            OR (t.source = 'user' AND excluded.generation > t.generation))
       AND (t.source, t.org_no, t.kind, t.address, t.label, t.accepted, t.deleted, t.updated_at)
           IS DISTINCT FROM
           (excluded.source, excluded.org_no, excluded.kind, excluded.address, excluded.label, true, false,
            excluded.updated_at)
    RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted), 0 FROM merged
"""


async def merge_addresses(conn: Conn, records: Sequence[AddressRecord], *, generation: int, now: datetime) -> Merged:
    """`records`: one for each registry id. What the register confirms is accepted from then on, and not deleted."""
    params = {"generation": generation, "now": now, **columns(records, *_ADDRESS_COLUMNS)}
    merged = await fetch_one(conn, ADDRESSES, params, Merged)
    assert merged is not None
    return merged


REMOVE_ADDRESSES: Final = """
WITH gone AS (
    SELECT * FROM unnest(%(registry_id)s::text[], %(updated_at)s::timestamptz[]) AS g (registry_id, updated_at)
), remembered AS (
    INSERT INTO registry.org_address_removed AS r (registry_id, updated_at, removed_at)
    SELECT registry_id, updated_at, %(now)s FROM gone ORDER BY registry_id
        ON CONFLICT (registry_id) DO UPDATE SET updated_at = excluded.updated_at, removed_at = excluded.removed_at
     WHERE r.updated_at < excluded.updated_at
)
DELETE FROM registry.org_address a USING gone g
 WHERE a.registry_id = g.registry_id
   AND (a.source <> 'business-addresses' OR a.updated_at IS NULL OR a.updated_at <= g.updated_at)
"""


async def remove_addresses(conn: Conn, removals: Sequence[Removal], *, now: datetime) -> int:
    """Also what is unknown here is remembered as removed. Returns how many addresses went."""
    return await execute(conn, REMOVE_ADDRESSES, {"now": now, **columns(removals, "registry_id", "updated_at")})


ADDRESSES_SEEN: Final = """
UPDATE registry.org_address SET generation = %(generation)s
 WHERE registry_id = ANY(%(registry_id)s) AND generation < %(generation)s
"""


async def mark_addresses_seen(conn: Conn, records: Sequence[AddressRecord], *, generation: int) -> None:
    await execute(conn, ADDRESSES_SEEN, {"generation": generation, **columns(records, "registry_id")})


ADDRESSES_UNSEEN: Final = """
SELECT count(*), count(*) FILTER (WHERE generation < %(generation)s)
  FROM registry.org_address WHERE source <> 'file' AND accepted
"""
REMOVE_UNSEEN_ADDRESSES: Final = """
DELETE FROM registry.org_address WHERE source <> 'file' AND accepted AND generation < %(generation)s
"""


async def unseen_addresses(conn: Conn, generation: int) -> Unseen:
    return await _unseen(conn, ADDRESSES_UNSEEN, generation)


async def remove_unseen_addresses(conn: Conn, generation: int) -> int:
    return await execute(conn, REMOVE_UNSEEN_ADDRESSES, {"generation": generation})


async def _unseen(conn: Conn, sql: LiteralString, generation: int) -> Unseen:
    rows = await fetch(conn, sql, {"generation": generation}, Unseen)
    return rows[0]
