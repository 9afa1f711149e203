"""SQL of what support looks up (registries 4.8), and of the log of such look-ups (7.7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one
from varsel.domain.external_identity import email_username


@dataclass(frozen=True, slots=True)
class OfficialAddress:
    """An address of `source`, which is `requested` itself, or its main unit where that stands in for it."""

    id: int
    requested: str
    source: str
    kind: str
    address: str
    changed_at: datetime


# As for sending: an organisation without any row of its own is reached through its main unit (registries 3.6).
OF_ORGANISATION: Final = """
SELECT a.id, %(org_no)s, a.org_no, a.kind, a.address, coalesce(a.updated_at, a.changed_at)
  FROM registry.org_address a
 WHERE a.accepted AND NOT a.deleted
   AND a.org_no = CASE WHEN EXISTS (SELECT FROM registry.org_address own WHERE own.org_no = %(org_no)s)
                       THEN %(org_no)s
                       ELSE (SELECT m.org_no FROM registry.organisation o
                               JOIN registry.organisation m ON m.org_no = o.parent_org_no AND NOT m.deleted
                              WHERE o.org_no = %(org_no)s AND NOT o.deleted) END
   AND NOT EXISTS (SELECT FROM registry.organisation o WHERE o.org_no = %(org_no)s AND o.deleted)
 ORDER BY a.id
"""


async def addresses_of(conn: ReadConn, org_no: str) -> list[OfficialAddress]:
    return await fetch(conn, OF_ORGANISATION, {"org_no": org_no}, OfficialAddress)


WITH_ADDRESS: Final = """
SELECT a.id, a.org_no, a.org_no, a.kind, a.address, coalesce(a.updated_at, a.changed_at)
  FROM registry.org_address a
 WHERE a.accepted AND NOT a.deleted AND a.org_no IN (
       SELECT b.org_no FROM registry.org_address b
        WHERE b.kind = %(kind)s AND lower(b.address) = ANY(%(spellings)s) AND b.accepted AND NOT b.deleted)
 ORDER BY a.org_no, a.id
 LIMIT %(limit)s
"""


async def addresses_with(conn: ReadConn, kind: str, spellings: Sequence[str], *, limit: int) -> list[OfficialAddress]:
    """All addresses of the organisations that use this one. `spellings` in lower case."""
    params = {"kind": kind, "spellings": list(spellings), "limit": limit}
    return await fetch(conn, WITH_ADDRESS, params, OfficialAddress)


@dataclass(frozen=True, slots=True)
class Colleague:
    """A user who has registered addresses for an organisation. `person`: the identifier, of those who have one."""

    person: str | None
    first_name: str | None
    middle_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    org_no: str
    resources: Sequence[str]
    last_changed: datetime | None


COLLEAGUES: Final = """
SELECT u.subject_key, p.first_name, p.middle_name, p.last_name, c.email, c.phone, c.org_no, c.resources, c.last_changed
  FROM registry.user_org_contact c
  LEFT JOIN registry.party_user u ON u.user_id = c.user_id
  LEFT JOIN registry.person p ON p.subject_key = u.subject_key AND NOT p.deleted
 WHERE (c.org_no = %(org_no)s OR lower(c.email) = %(email)s OR c.phone = ANY(%(phones)s))
 ORDER BY c.org_no, c.user_id
 LIMIT %(limit)s
"""


async def colleagues(
    conn: ReadConn, *, org_no: str | None = None, email: str | None = None, phones: Sequence[str] = (), limit: int
) -> list[Colleague]:
    """By one of the three; `email` in lower case."""
    params = {"org_no": org_no, "email": email, "phones": list(phones), "limit": limit}
    return await fetch(conn, COLLEAGUES, params, Colleague)


@dataclass(frozen=True, slots=True)
class Person:
    """What the contact register holds. `username` instead of `person`: of somebody without an identifier."""

    person: str | None
    username: str | None
    reserved: bool
    email: str | None
    email_updated_at: datetime | None
    email_verified_at: datetime | None
    mobile: str | None
    mobile_updated_at: datetime | None
    mobile_verified_at: datetime | None
    language: str | None


BY_KEY: Final = """
SELECT subject_key, NULL, reserved, email, email_updated_at, email_verified_at,
       mobile, mobile_updated_at, mobile_verified_at, language
  FROM registry.person WHERE subject_key = %(key)s AND NOT deleted
"""

# Without an index of its own the email of six million persons takes a second to find: docs/registries.md has one.
BY_EMAIL: Final = """
SELECT * FROM (
       SELECT subject_key, NULL, reserved, email, email_updated_at, email_verified_at,
              mobile, mobile_updated_at, mobile_verified_at, language
         FROM registry.person WHERE lower(email) = %(email)s AND NOT deleted ORDER BY subject_key LIMIT %(limit)s) p
 UNION ALL
SELECT * FROM (
       SELECT NULL, username, false, coalesce(email, %(email)s), NULL::timestamptz, NULL::timestamptz,
              phone, phone_changed_at, NULL::timestamptz, NULL
         FROM registry.self_identified_contact
        WHERE lower(email) = %(email)s OR (username = %(login)s AND email IS NULL)
        ORDER BY username LIMIT %(limit)s) s
"""


async def person(conn: ReadConn, key: str) -> Person | None:
    """By subject key."""
    return await fetch_one(conn, BY_KEY, {"key": key}, Person)


async def people_with(conn: ReadConn, email: str, *, limit: int) -> list[Person]:
    """Persons, and people without an identifier who have or log in by it; of each at most `limit`. In lower case."""
    params = {"email": email, "login": email_username(email), "limit": limit}
    return await fetch(conn, BY_EMAIL, params, Person)


@dataclass(frozen=True, slots=True)
class Entry:
    """A look-up, for the log. `subjects`: pseudonyms of the persons in it."""

    at: datetime
    actor: str
    purpose: str
    kind: str
    asked: int
    found: int
    revealed: bool
    reason: str | None
    took: timedelta
    subjects: Sequence[str]


LOG: Final = """
INSERT INTO registry.lookup_log (at, actor, purpose, kind, asked, found, revealed, reason, took, subject)
SELECT %(at)s, %(actor)s, %(purpose)s, %(kind)s, %(asked)s, %(found)s, %(revealed)s, %(reason)s, %(took)s, subject
  FROM (SELECT NULL::text AS subject UNION ALL SELECT unnest(%(subjects)s::text[])) s
"""


async def write(conn: Conn, entry: Entry) -> None:
    """One row for the whole, and one for each person."""
    params = {
        "at": entry.at,
        "actor": entry.actor,
        "purpose": entry.purpose,
        "kind": entry.kind,
        "asked": entry.asked,
        "found": entry.found,
        "revealed": entry.revealed,
        "reason": entry.reason,
        "took": entry.took,
        "subjects": list(entry.subjects),
    }
    await execute(conn, LOG, params)
