"""Look-ups in the local copies of the contact registers: one statement and one array for any number of identifiers.

Sources: registries 2.6, 2.7, 3.5, 3.6, 4.5, 4.7, 5 and 7.6.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString

from varsel.db import ReadConn, fetch, fetch_value
from varsel.domain.feeds import Feed
from varsel.recipients.ports import Copy, ExternalContact, OrganisationContact, Pair, PersonContact, Record, UserContact

# `make_interval` counts calendar months and clamps the day: 31 August less 18 months is 28 or 29 February.
PERSONS: Final = """
SELECT p.subject_key, p.reserved,
       CASE WHEN %(allow_stale)s OR NOT s.email THEN p.email END,
       CASE WHEN %(allow_stale)s OR NOT s.mobile THEN p.mobile END,
       s.email, s.mobile, p.source, p.changed_at, p.email_fresh_at, p.mobile_fresh_at
  FROM registry.person p
 CROSS JOIN (SELECT %(now)s::timestamptz - make_interval(months => %(months)s) AS cut_off) c
 CROSS JOIN LATERAL (
       SELECT %(months)s > 0 AND p.email IS NOT NULL AND coalesce(p.email_fresh_at < c.cut_off, true) AS email,
              %(months)s > 0 AND p.mobile IS NOT NULL AND coalesce(p.mobile_fresh_at < c.cut_off, true) AS mobile) s
 WHERE p.subject_key = ANY(%(keys)s) AND NOT p.deleted
"""


async def persons(
    conn: ReadConn, keys: Sequence[str], *, allow_stale: bool, stale_after_months: int, now: datetime
) -> dict[str, PersonContact]:
    """By subject key. `stale_after_months` = 0: nothing is ever stale."""
    params = {"keys": keys, "allow_stale": allow_stale, "months": stale_after_months, "now": now}
    return dict(await fetch(conn, PERSONS, params, _person))


_ADDRESSES: Final = """
SELECT count(*) > 0 AS listed, count(*) FILTER (WHERE a.usable) > 0 AS reachable,
       coalesce(array_agg(a.address ORDER BY a.id) FILTER (WHERE a.usable AND a.kind = 'email'), '{}') AS emails,
       coalesce(array_agg(a.address ORDER BY a.id) FILTER (WHERE a.usable AND a.kind = 'sms'), '{}') AS mobiles,
       max(a.source) FILTER (WHERE a.usable) AS source, max(a.changed_at) FILTER (WHERE a.usable) AS changed_at,
       max(a.updated_at) FILTER (WHERE a.usable AND a.kind = 'email') AS email_fresh_at,
       max(a.updated_at) FILTER (WHERE a.usable AND a.kind = 'sms') AS mobile_fresh_at
  FROM (SELECT *, accepted AND NOT deleted AS usable FROM registry.org_address) a
"""

# An organisation that has no address row of its own, not even a deleted one, is reached through its main unit;
# with `usable_only` also one whose rows are all deleted or not accepted. OFFSET 0 keeps the planner from reading the
# whole register for some thousands of numbers.
ORGANISATIONS: Final = f"""
WITH asked AS MATERIALIZED (
    SELECT n.org_no, o.org_no IS NOT NULL AS registered, o.parent_org_no, a.*,
           CASE WHEN %(usable_only)s THEN a.reachable ELSE a.listed END AS kept
      FROM unnest(%(numbers)s::text[]) AS n (org_no)
      LEFT JOIN LATERAL (SELECT * FROM registry.organisation r WHERE r.org_no = n.org_no OFFSET 0) o ON true
     CROSS JOIN LATERAL ({_ADDRESSES} WHERE a.org_no = n.org_no) a
     WHERE o.deleted IS NOT TRUE
), through AS MATERIALIZED (
    SELECT w.org_no, coalesce(m.org_no, w.org_no) AS origin
      FROM asked w
      LEFT JOIN LATERAL (SELECT r.org_no FROM registry.organisation r
                          WHERE r.org_no = w.parent_org_no AND NOT r.deleted OFFSET 0) m ON true
     WHERE NOT w.kept AND (w.registered OR w.listed)
)
SELECT org_no, org_no, emails, mobiles, source, changed_at, email_fresh_at, mobile_fresh_at FROM asked WHERE kept
 UNION ALL
SELECT t.org_no, t.origin, a.emails, a.mobiles, a.source, a.changed_at, a.email_fresh_at, a.mobile_fresh_at
  FROM through t CROSS JOIN LATERAL ({_ADDRESSES} WHERE a.org_no = t.origin) a
"""


async def organisations(
    conn: ReadConn, numbers: Sequence[str], *, usable_only: bool = False
) -> dict[str, OrganisationContact]:
    """By organisation number; `numbers` without repeats."""
    params = {"numbers": numbers, "usable_only": usable_only}
    return dict(await fetch(conn, ORGANISATIONS, params, _organisation))


COPY_IS_RECENT: Final = """
SELECT last_success_at IS NOT NULL
       AND (%(max_age)s = interval '0' OR last_success_at >= statement_timestamp() - %(max_age)s)
  FROM registry.sync_cursor WHERE feed = %(feed)s
"""


async def copy_is_recent(conn: ReadConn, feed: Feed, max_age: timedelta) -> bool:
    """Whether the copy has been whole, and followed its register within `max_age` of machine time (0: ever)."""
    return bool(await fetch_value(conn, COPY_IS_RECENT, {"feed": feed, "max_age": max_age}))


FOLLOWED_AT: Final = "SELECT last_success_at FROM registry.sync_cursor WHERE feed = %(feed)s"


async def followed_at(conn: ReadConn, feed: Feed) -> datetime | None:
    """When the copy was last as its register; None when it never was, or follows none."""
    at: datetime | None = await fetch_value(conn, FOLLOWED_AT, {"feed": feed})
    return at


HOLDS: Final[dict[Copy, LiteralString]] = {
    Copy.PERSONS: "SELECT EXISTS (SELECT FROM registry.person)",
    Copy.ORGANISATIONS: "SELECT EXISTS (SELECT FROM registry.org_address)",
    Copy.USER_ADDRESSES: "SELECT EXISTS (SELECT FROM registry.user_org_contact)",
    Copy.EXTERNAL_IDENTITIES: "SELECT EXISTS (SELECT FROM registry.self_identified_contact)",
}


async def holds(conn: ReadConn, copy: Copy) -> bool:
    """Whether there is anything in it."""
    return bool(await fetch_value(conn, HOLDS[copy], {}))


USER_ADDRESSES: Final = """
SELECT org_no, user_id, email, phone, source, changed_at, last_changed
  FROM registry.user_org_contact
 WHERE org_no = ANY(%(numbers)s)
   AND (resources = '{}' OR %(resource)s = ANY(resources))
   AND (email IS NOT NULL OR phone IS NOT NULL)
 ORDER BY org_no, user_id
"""


async def user_addresses(conn: ReadConn, numbers: Sequence[str], resource_id: str) -> list[tuple[str, UserContact]]:
    """(organisation number, address) for every user whose address applies to the resource."""
    return await fetch(conn, USER_ADDRESSES, {"numbers": numbers, "resource": resource_id}, _user)


EXTERNAL_IDENTITIES: Final = """
SELECT username, email, phone, source, changed_at
  FROM registry.self_identified_contact WHERE username = ANY(%(usernames)s)
"""


async def external_identities(conn: ReadConn, usernames: Sequence[str]) -> dict[str, ExternalContact]:
    """By user name, in the form of `username_key`."""
    return dict(await fetch(conn, EXTERNAL_IDENTITIES, {"usernames": usernames}, _external))


PERMITTED: Final = """
SELECT p.org_no, p.user_id
  FROM unnest(%(numbers)s::text[], %(users)s::int[]) AS p (org_no, user_id)
  LEFT JOIN registry.organisation o ON o.org_no = p.org_no AND %(inherit)s
 WHERE EXISTS (
       SELECT FROM registry.role_assignment a
        WHERE a.org_no = ANY(ARRAY[p.org_no, o.parent_org_no]) AND a.user_id = p.user_id
          AND a.valid_from <= %(now)s AND %(now)s < a.valid_to
          AND a.role IN (SELECT r.role FROM registry.resource_rule r
                          WHERE r.resource_id IN (%(resource)s, '*') AND r.action IN (%(action)s, '*')))
    OR EXISTS (
       SELECT FROM registry.delegation d
        WHERE d.org_no = p.org_no AND d.user_id = p.user_id
          AND d.resource_id = %(resource)s AND d.action = %(action)s
          AND d.valid_from <= %(now)s AND %(now)s < d.valid_to)
"""


async def permitted(
    conn: ReadConn, pairs: Sequence[Pair], *, resource_id: str, action: str, inherit: bool, now: datetime
) -> list[Pair]:
    """The pairs that a role or a delegation permits. `inherit`: roles for the main unit count for its subunits."""
    params = {
        "numbers": [number for number, _ in pairs],
        "users": [user for _, user in pairs],
        "resource": resource_id,
        "action": action,
        "inherit": inherit,
        "now": now,
    }
    return await fetch(conn, PERMITTED, params, _pair)


@dataclass(frozen=True, slots=True)
class PersonName:
    key: str
    first: str | None
    middle: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class OrganisationName:
    number: str
    name: str | None


NAMES: Final = """
SELECT subject_key, first_name, middle_name, last_name, NULL, true
  FROM registry.person WHERE subject_key = ANY(%(keys)s) AND NOT deleted
 UNION ALL
SELECT org_no, NULL, NULL, NULL, name, false
  FROM registry.organisation WHERE org_no = ANY(%(keys)s) AND NOT deleted
"""


async def names(conn: ReadConn, keys: Collection[str]) -> list[PersonName | OrganisationName]:
    """Names of persons by subject key, and of organisations by number, in no order."""
    return await fetch(conn, NAMES, {"keys": list(keys)}, _name)


def _person(
    key: str,
    reserved: bool,
    email: str | None,
    mobile: str | None,
    email_stale: bool,
    mobile_stale: bool,
    source: str,
    changed_at: datetime,
    email_fresh_at: datetime | None,
    mobile_fresh_at: datetime | None,
) -> tuple[str, PersonContact]:
    record = Record(source, changed_at, email_fresh_at, mobile_fresh_at)
    return key, PersonContact(reserved, email, mobile, email_stale, mobile_stale, record)


def _organisation(
    number: str,
    origin: str,
    emails: Sequence[str],
    mobiles: Sequence[str],
    source: str | None,
    changed_at: datetime | None,
    email_fresh_at: datetime | None,
    mobile_fresh_at: datetime | None,
) -> tuple[str, OrganisationContact]:
    record = Record(source, changed_at, email_fresh_at, mobile_fresh_at) if source and changed_at else None
    return number, OrganisationContact(tuple(emails), tuple(mobiles), origin, record)


def _user(
    number: str,
    user_id: int,
    email: str | None,
    phone: str | None,
    source: str,
    changed_at: datetime,
    last_changed: datetime | None,
) -> tuple[str, UserContact]:
    return number, UserContact(user_id, email, phone, Record(source, changed_at, last_changed, last_changed))


def _external(
    username: str, email: str | None, phone: str | None, source: str, changed_at: datetime
) -> tuple[str, ExternalContact]:
    return username, ExternalContact(email, phone, Record(source, changed_at))


def _pair(number: str, user_id: int) -> Pair:
    return number, user_id


def _name(
    key: str, first: str | None, middle: str | None, last: str | None, name: str | None, is_person: bool
) -> PersonName | OrganisationName:
    return PersonName(key, first, middle, last) if is_person else OrganisationName(key, name)
