"""SQL of sessions, tickets, handles and the audit log. All times are machine time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from varsel.db import Conn, ReadConn, execute, fetch, fetch_one

START = """
INSERT INTO page_session (id, name, subject, roles, creator, expires_at)
VALUES (%(id)s, %(name)s, %(subject)s, %(roles)s, %(creator)s, statement_timestamp() + %(lifetime)s)
"""

# Seen again at most once a minute: a page costs no write.
FIND = """
SELECT name, subject, roles, creator, case_no, seen_at < statement_timestamp() - interval '1 min'
  FROM page_session
 WHERE id = %(id)s AND expires_at > statement_timestamp() AND seen_at > statement_timestamp() - %(idle)s
"""

TOUCH = "UPDATE page_session SET seen_at = statement_timestamp() WHERE id = %(id)s"
CASE = "UPDATE page_session SET case_no = %(case)s WHERE id = %(id)s"
END = "DELETE FROM page_session WHERE id = %(id)s"

ISSUE = """
INSERT INTO page_ticket (id, name, roles, creator, expires_at)
VALUES (%(id)s, %(name)s, %(roles)s, %(creator)s, statement_timestamp() + %(lifetime)s)
"""
LOOK = "SELECT name, roles, creator FROM page_ticket WHERE id = %(id)s AND expires_at > statement_timestamp()"
USE = """
DELETE FROM page_ticket WHERE id = %(id)s AND expires_at > statement_timestamp() RETURNING name, roles, creator
"""

HANDLE = """
INSERT INTO page_handle (id, session_id, subject_kind, subject_key, expires_at)
VALUES (%(id)s, %(session)s, %(kind)s, %(key)s, statement_timestamp() + %(lifetime)s)
"""
OPEN = """
SELECT subject_kind, subject_key FROM page_handle
 WHERE id = %(id)s AND session_id = %(session)s AND expires_at > statement_timestamp()
"""

AUDIT = """
INSERT INTO audit (actor, subject, action, creator, order_id, about_kind, about_key, case_no, detail)
VALUES (%(actor)s, %(subject)s, %(action)s, %(creator)s, %(order)s, %(kind)s, %(key)s, %(case)s, %(detail)s)
"""

ABOUT = """
SELECT at, actor, action, creator, order_id, about_kind, about_key, case_no, detail FROM audit
 WHERE about_kind = %(kind)s AND about_key = %(key)s ORDER BY id DESC LIMIT %(limit)s
"""
PRUNE = """
WITH s AS (DELETE FROM page_session WHERE expires_at < statement_timestamp()),
     t AS (DELETE FROM page_ticket WHERE expires_at < statement_timestamp())
DELETE FROM page_handle WHERE expires_at < statement_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    subject: str
    roles: list[str]
    creator: str | None
    case: str
    stale: bool  # `touch` it


@dataclass(frozen=True, slots=True)
class Ticket:
    name: str
    roles: list[str]
    creator: str | None


@dataclass(frozen=True, slots=True)
class About:
    """Whom an act concerns, or a page is about. `key`: identity number, organisation number, or address."""

    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What somebody did. `order` and `about`: what it concerned."""

    at: datetime
    actor: str
    action: str
    creator: str | None
    order: UUID | None
    about: About | None
    case: str
    detail: str


async def start(conn: Conn, id_: bytes, ticket: Ticket, *, subject: str, lifetime: timedelta) -> None:
    params = {"id": id_, "name": ticket.name, "subject": subject, "roles": ticket.roles, "creator": ticket.creator}
    await execute(conn, START, {**params, "lifetime": lifetime})


async def find(conn: ReadConn, id_: bytes, *, idle: timedelta) -> Session | None:
    return await fetch_one(conn, FIND, {"id": id_, "idle": idle}, Session)


async def touch(conn: Conn, id_: bytes) -> None:
    await execute(conn, TOUCH, {"id": id_})


async def set_case(conn: Conn, id_: bytes, case: str) -> None:
    await execute(conn, CASE, {"id": id_, "case": case})


async def end(conn: Conn, id_: bytes) -> None:
    await execute(conn, END, {"id": id_})


async def issue(conn: Conn, id_: bytes, ticket: Ticket, *, lifetime: timedelta) -> None:
    params = {"id": id_, "name": ticket.name, "roles": ticket.roles, "creator": ticket.creator}
    await execute(conn, ISSUE, {**params, "lifetime": lifetime})


async def look(conn: ReadConn, id_: bytes) -> Ticket | None:
    """A ticket that is still good; it stays so."""
    return await fetch_one(conn, LOOK, {"id": id_}, Ticket)


async def use(conn: Conn, id_: bytes) -> Ticket | None:
    """A ticket that is still good; afterwards it is not."""
    return await fetch_one(conn, USE, {"id": id_}, Ticket)


async def make_handle(conn: Conn, id_: str, session: bytes, about: About, *, lifetime: timedelta) -> None:
    params = {"id": id_, "session": session, "kind": about.kind, "key": about.key, "lifetime": lifetime}
    await execute(conn, HANDLE, params)


async def open_handle(conn: ReadConn, id_: str, session: bytes) -> About | None:
    return await fetch_one(conn, OPEN, {"id": id_, "session": session}, About)


async def note(
    conn: Conn,
    *,
    actor: str,
    subject: str,
    action: str,
    creator: str | None = None,
    order: UUID | None = None,
    about: About | None = None,
    case: str = "",
    detail: str = "",
) -> None:
    params: dict[str, Any] = {"actor": actor, "subject": subject, "action": action, "creator": creator, "order": order}
    params |= {"kind": about.kind if about else None, "key": about.key if about else None}
    await execute(conn, AUDIT, {**params, "case": case, "detail": detail})


async def entries_about(conn: ReadConn, about: About, *, limit: int) -> Sequence[Entry]:
    """Acts that concerned somebody, the newest first."""
    return await fetch(conn, ABOUT, {"kind": about.kind, "key": about.key, "limit": limit}, _entry)


async def prune(conn: Conn) -> int:
    """Forget what is over."""
    return await execute(conn, PRUNE, {})


def _entry(
    at: datetime,
    actor: str,
    action: str,
    creator: str | None,
    order: UUID | None,
    kind: str | None,
    key: str | None,
    case: str,
    detail: str,
) -> Entry:
    return Entry(at, actor, action, creator, order, About(kind, key) if kind and key else None, case, detail)
