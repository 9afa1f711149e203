"""SQL of what users register for themselves (registries 4.1-4.4): addresses, codes, verified addresses, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, LiteralString
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one, fetch_value
from varsel.recipients.profile.values import AddressKind, Standing

# As in the index of the migration
PARTY: Final[LiteralString] = "coalesce(o.party_uuid, md5('varsel:' || o.org_no)::uuid)"


async def org_of_party(conn: ReadConn, party: UUID) -> str | None:
    """The number of the organisation that users name by this UUID."""
    sql = f"SELECT org_no FROM registry.organisation o WHERE {PARTY} = %(party)s AND NOT deleted"
    value = await fetch_value(conn, sql, {"party": party})
    return None if value is None else str(value)


REPRESENTS: Final = """
SELECT EXISTS (
       SELECT FROM registry.role_assignment a
        WHERE a.org_no IN (u.org_no, u.parent_org_no) AND a.user_id = %(user)s
          AND a.valid_from <= %(now)s AND %(now)s < a.valid_to)
    OR EXISTS (
       SELECT FROM registry.delegation d
        WHERE d.org_no = u.org_no AND d.user_id = %(user)s AND d.valid_from <= %(now)s AND %(now)s < d.valid_to)
  FROM (SELECT org_no, CASE WHEN %(inherit)s THEN parent_org_no END AS parent_org_no
          FROM registry.organisation WHERE org_no = %(org_no)s AND NOT deleted) u
"""


async def represents(conn: ReadConn, user: int, org_no: str, *, inherit: bool, now: datetime) -> bool:
    """Whether the user has any role or right for the organisation now. Nobody has for an unknown one.

    `inherit`: roles for the main unit count for its subunits.
    """
    params = {"user": user, "org_no": org_no, "inherit": inherit, "now": now}
    return bool(await fetch_value(conn, REPRESENTS, params))


@dataclass(frozen=True, slots=True)
class Contact:
    """The addresses that a user registered for an organisation. No `resources`: for all."""

    org_no: str
    party: UUID
    email: str | None
    phone: str | None
    resources: Sequence[str]
    last_changed: datetime | None


CONTACTS: Final = """
SELECT c.org_no, coalesce(o.party_uuid, md5('varsel:' || c.org_no)::uuid), c.email, c.phone, c.resources, c.last_changed
  FROM registry.user_org_contact c
  LEFT JOIN registry.organisation o ON o.org_no = c.org_no
 WHERE c.user_id = %(user)s AND (%(org_no)s::text IS NULL OR c.org_no = %(org_no)s)
 ORDER BY c.org_no
"""


async def contacts(conn: ReadConn, user: int, org_no: str | None = None) -> list[Contact]:
    """Of one organisation or all, also of those that the register has forgotten."""
    return await fetch(conn, CONTACTS, {"user": user, "org_no": org_no}, Contact)


LOCK_CONTACT: Final = """
SELECT c.email, c.phone, c.resources FROM registry.user_org_contact c
 WHERE c.user_id = %(user)s AND c.org_no = %(org_no)s FOR UPDATE
"""


@dataclass(frozen=True, slots=True)
class Addresses:
    email: str | None
    phone: str | None
    resources: Sequence[str]


async def lock_contact(conn: Conn, user: int, org_no: str) -> Addresses | None:
    """What is registered, kept from changing until the transaction ends."""
    return await fetch_one(conn, LOCK_CONTACT, {"user": user, "org_no": org_no}, Addresses)


SAVE_CONTACT: Final = """
INSERT INTO registry.user_org_contact AS c
       (org_no, user_id, email, phone, resources, last_changed, source, changed_at)
VALUES (%(org_no)s, %(user)s, %(email)s, %(phone)s, %(resources)s, %(now)s, 'user', %(now)s)
    ON CONFLICT (org_no, user_id) DO UPDATE
   SET email = excluded.email, phone = excluded.phone, resources = excluded.resources,
       last_changed = excluded.last_changed, source = excluded.source, changed_at = excluded.changed_at
 WHERE NOT %(must_be_new)s
RETURNING xmax = 0
"""


async def save_contact(
    conn: Conn, user: int, org_no: str, new: Addresses, *, must_be_new: bool, now: datetime
) -> bool | None:
    """Whether there was none before. None, and nothing written, when there is one that must not be there."""
    params = {
        "org_no": org_no,
        "user": user,
        "email": new.email,
        "phone": new.phone,
        "resources": list(new.resources),
        "must_be_new": must_be_new,
        "now": now,
    }
    created = await fetch_value(conn, SAVE_CONTACT, params)
    return None if created is None else bool(created)


DELETE_CONTACT: Final = """
DELETE FROM registry.user_org_contact c
 WHERE c.user_id = %(user)s
   AND coalesce((SELECT o.party_uuid FROM registry.organisation o WHERE o.org_no = c.org_no),
                md5('varsel:' || c.org_no)::uuid) = %(party)s
"""


async def delete_contact(conn: Conn, user: int, party: UUID) -> bool:
    """False when there was none. The organisation may be gone."""
    return await execute(conn, DELETE_CONTACT, {"user": user, "party": party}) > 0


# Verification

STANDINGS: Final = """
SELECT kind, address, true FROM registry.verified_address WHERE user_id = %(user)s
 UNION ALL
SELECT kind, address, false FROM registry.verification_code c
 WHERE user_id = %(user)s
   AND NOT EXISTS (SELECT FROM registry.verified_address v
                    WHERE v.user_id = c.user_id AND v.address = c.address AND v.kind = c.kind)
 ORDER BY 1, 2
"""


async def standings(conn: ReadConn, user: int) -> Mapping[tuple[AddressKind, str], Standing]:
    """By kind and address, of those that are verified, or for which a code was sent, live or not."""

    def row(kind: str, address: str, verified: bool) -> tuple[tuple[AddressKind, str], Standing]:
        standing = Standing.VERIFIED if verified else Standing.UNVERIFIED
        return (AddressKind(kind.capitalize()), address), standing

    return dict(await fetch(conn, STANDINGS, {"user": user}, row))


NEW_CODE: Final = """
INSERT INTO registry.verification_code AS c (user_id, address, kind, hash, created_at, expires_at)
VALUES (%(user)s, %(address)s, %(kind)s, %(hash)s, %(now)s, %(now)s + %(lifetime)s)
    ON CONFLICT (user_id, address, kind) DO UPDATE
   SET hash = excluded.hash, failed_attempts = 0, created_at = excluded.created_at, expires_at = excluded.expires_at
 WHERE c.created_at <= %(now)s - %(cooldown)s::interval
RETURNING true
"""


async def new_code(
    conn: Conn,
    user: int,
    kind: AddressKind,
    address: str,
    code_hash: str,
    *,
    lifetime: timedelta,
    cooldown: timedelta,
    now: datetime,
) -> bool:
    """Store a code in place of an older one; False when the older one is not old enough."""
    params = {
        **_key(user, kind, address),
        "hash": code_hash,
        "lifetime": lifetime,
        "cooldown": cooldown,
        "now": now,
    }
    return bool(await fetch_value(conn, NEW_CODE, params))


async def code_created_at(conn: ReadConn, user: int, kind: AddressKind, address: str) -> datetime | None:
    sql = """
    SELECT created_at FROM registry.verification_code
     WHERE user_id = %(user)s AND address = %(address)s AND kind = %(kind)s
    """
    value = await fetch_value(conn, sql, _key(user, kind, address))
    assert value is None or isinstance(value, datetime)
    return value


# The attempt is counted before the code is looked at: any number of guesses at once are no more than the limit.
TRY_CODE: Final = """
UPDATE registry.verification_code SET failed_attempts = failed_attempts + 1
 WHERE user_id = %(user)s AND address = %(address)s AND kind = %(kind)s
   AND expires_at > %(now)s AND failed_attempts < %(max_attempts)s
RETURNING hash
"""


async def try_code(
    conn: Conn, user: int, kind: AddressKind, address: str, *, max_attempts: int, now: datetime
) -> str | None:
    """The hash of the live code, with one attempt less; None when there is none, or all attempts are used up."""
    params = {**_key(user, kind, address), "max_attempts": max_attempts, "now": now}
    value = await fetch_value(conn, TRY_CODE, params)
    return None if value is None else str(value)


USE_CODE: Final = """
WITH used AS (
    DELETE FROM registry.verification_code
     WHERE user_id = %(user)s AND address = %(address)s AND kind = %(kind)s AND hash = %(hash)s
    RETURNING user_id, address, kind
), verified AS (
    INSERT INTO registry.verified_address (user_id, address, kind, verified_at)
    SELECT user_id, address, kind, %(now)s FROM used
        ON CONFLICT ON CONSTRAINT verified_address_key DO NOTHING
)
SELECT count(*) FROM used
"""


async def use_code(conn: Conn, user: int, kind: AddressKind, address: str, code_hash: str, *, now: datetime) -> bool:
    """The address is its user's, and the code is gone. False when another request has used or replaced it."""
    return bool(await fetch_value(conn, USE_CODE, {**_key(user, kind, address), "hash": code_hash, "now": now}))


def _key(user: int, kind: AddressKind, address: str) -> dict[str, object]:
    return {"user": user, "kind": kind.lower(), "address": address}


# The user


@dataclass(frozen=True, slots=True)
class User:
    """`username` only of those who are known by one."""

    self_identified: bool
    username: str | None


async def user(conn: ReadConn, user_id: int) -> User | None:
    sql = "SELECT kind = 'self-identified', username FROM registry.party_user WHERE user_id = %(user)s"
    return await fetch_one(conn, sql, {"user": user_id}, User)


SET_PRIVATE_PHONE: Final = """
INSERT INTO registry.self_identified_contact AS c
       (username, user_id, email, phone, phone_changed_at, source, changed_at)
VALUES (%(username)s, %(user)s, %(email)s, %(phone)s, %(now)s, 'user', %(now)s)
    ON CONFLICT (username) DO UPDATE
   SET user_id = excluded.user_id, phone = excluded.phone, phone_changed_at = excluded.phone_changed_at,
       source = excluded.source, changed_at = excluded.changed_at
 WHERE c.phone IS DISTINCT FROM excluded.phone
"""


async def set_private_phone(
    conn: Conn, user_id: int, username: str, email: str | None, phone: str | None, *, now: datetime
) -> None:
    """`username` in the form of `username_key`; `email`: of a new row. The same number again changes nothing."""
    params = {"user": user_id, "username": username, "email": email, "phone": phone, "now": now}
    await execute(conn, SET_PRIVATE_PHONE, params)


@dataclass(frozen=True, slots=True)
class Preferences:
    """`ignored_at`: when the user asked not to be reminded of confirming addresses."""

    language: str | None = None
    ignored_at: datetime | None = None


async def preferences(conn: ReadConn, user_id: int) -> Preferences:
    sql = "SELECT language, ignore_unit_profile_at FROM registry.profile_settings WHERE user_id = %(user)s"
    return await fetch_one(conn, sql, {"user": user_id}, Preferences) or Preferences()


SET_PREFERENCES: Final = """
INSERT INTO registry.profile_settings AS s (user_id, language, ignore_unit_profile_at, changed_at)
VALUES (%(user)s, CASE WHEN %(set_language)s THEN %(language)s::text END,
        CASE WHEN %(set_ignored_at)s THEN %(ignored_at)s::timestamptz END, %(now)s)
    ON CONFLICT (user_id) DO UPDATE
   SET language = CASE WHEN %(set_language)s THEN excluded.language ELSE s.language END,
       ignore_unit_profile_at =
           CASE WHEN %(set_ignored_at)s THEN excluded.ignore_unit_profile_at ELSE s.ignore_unit_profile_at END,
       changed_at = excluded.changed_at
"""


async def set_preferences(
    conn: Conn, user_id: int, new: Preferences, *, language: bool, ignored_at: bool, now: datetime
) -> None:
    """Write those of the two that are named; the other stays as it is."""
    params = {
        "user": user_id,
        "language": new.language,
        "ignored_at": new.ignored_at,
        "set_language": language,
        "set_ignored_at": ignored_at,
        "now": now,
    }
    await execute(conn, SET_PREFERENCES, params)


PRUNE: Final = """
WITH codes AS (
    DELETE FROM registry.verification_code WHERE expires_at < %(now)s - interval '24 hours' RETURNING 1
), looked_up AS (
    DELETE FROM registry.lookup_log WHERE at < %(now)s - interval '12 months' RETURNING 1
)
SELECT (SELECT count(*) FROM codes) + (SELECT count(*) FROM looked_up)
"""


async def prune(conn: Conn, *, now: datetime) -> int:
    """Drop what has been kept long enough (registries 7.7); how many rows that were."""
    return int(await fetch_value(conn, PRUNE, {"now": now}))
