"""SQL of bulk jobs. A worker's turn with a job is fenced: whoever lost it changes nothing."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from varsel.bulk.job import Duplicates, Job, JobId, JobState, Kind, Summary, Wish
from varsel.db import Conn, ReadConn, execute, fetch, fetch_one
from varsel.domain.order import ContentType, EmailTemplate, OrderChannel, SendingTime, SmsTemplate

_COLUMNS: Final = """id, creator, name, form, state, created_at, state_at, columns, rows, checked, checked_line, wish,
                     summary, confirmed_at, done_at, wake_at, why_waits, in_doubt, look_after"""

INSERT = """
INSERT INTO bulk_job (id, creator, name, form, state, created_at, state_at, columns)
VALUES (%(id)s, %(creator)s, %(name)s, %(form)s, 'uploading', %(now)s, %(now)s, %(columns)s)
"""

UPLOADED = "UPDATE bulk_job SET state = 'draft', rows = %(rows)s WHERE id = %(id)s AND state = 'uploading'"

DELETE = """
WITH rows AS (DELETE FROM bulk_row WHERE job_id = ANY(%(ids)s))
DELETE FROM bulk_job WHERE id = ANY(%(ids)s)
"""

FIND = f"""
SELECT {_COLUMNS} FROM bulk_job
 WHERE id = %(id)s AND (%(creator)s::text IS NULL OR creator = %(creator)s) AND state <> 'uploading'
"""

LIST = f"""
SELECT {_COLUMNS} FROM bulk_job
 WHERE (%(creator)s::text IS NULL OR creator = %(creator)s) AND state <> 'uploading'
 ORDER BY id DESC LIMIT %(limit)s
"""

# A job that is confirmed is not changed any more.
CONFIGURE = """
UPDATE bulk_job SET state = 'checking', state_at = %(now)s, wish = %(wish)s, summary = '{}', checked = 0,
                    checked_line = 0, wake_at = NULL, why_waits = NULL, taken_by = NULL, taken_until = NULL,
                    served_at = NULL
 WHERE id = %(id)s AND state IN ('draft', 'checking', 'ready')
"""

MOVE = """
UPDATE bulk_job SET state = %(to)s, state_at = %(now)s, served_at = NULL,
                    confirmed_at = coalesce(confirmed_at, %(confirmed_at)s)
 WHERE id = %(id)s AND state = ANY(%(sources)s)
"""

# Those that are not checked or sending have rows whose fate is open, or that may have been ordered.
TAKE = f"""
UPDATE bulk_job SET taken_by = %(token)s, taken_until = statement_timestamp() + %(lease)s,
                    served_at = statement_timestamp()
 WHERE id = (SELECT id FROM bulk_job
              WHERE state IN ('checking', 'sending', 'paused', 'stopping', 'stopped') AND done_at IS NULL
                AND (taken_until IS NULL OR taken_until < statement_timestamp())
                AND (busy OR served_at IS NULL OR served_at < statement_timestamp() - %(pause)s)
              ORDER BY served_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {_COLUMNS}
"""

HOLD = """
UPDATE bulk_job SET taken_until = statement_timestamp() + %(lease)s
 WHERE id = %(id)s AND taken_by = %(token)s
"""

GIVE_BACK = """
UPDATE bulk_job SET taken_by = NULL, taken_until = NULL, busy = %(busy)s WHERE id = %(id)s AND taken_by = %(token)s
"""

CHECKED = """
UPDATE bulk_job SET checked = %(checked)s, checked_line = %(line)s, summary = %(summary)s, why_waits = NULL
 WHERE id = %(id)s AND taken_by = %(token)s AND state = 'checking'
"""

DOUBT = "UPDATE bulk_job SET in_doubt = %(line)s WHERE id = %(id)s AND taken_by = %(token)s"

WAIT = "UPDATE bulk_job SET wake_at = %(until)s, why_waits = %(why)s WHERE id = %(id)s AND taken_by = %(token)s"

LOOKED = "UPDATE bulk_job SET look_after = %(line)s WHERE id = %(id)s AND taken_by = %(token)s"

# For who watches: rows that are with a provider or have a fate, every few seconds, of the last minute or so.
PACE = """
UPDATE bulk_job j
   SET summary = jsonb_set(summary, '{pace}', (
           SELECT coalesce(jsonb_agg(each ORDER BY each->0), '[]') FROM (
               SELECT each FROM jsonb_array_elements(coalesce(summary->'pace', '[]')) AS each
                WHERE (each->>0)::float8 > extract(epoch FROM statement_timestamp()) - 70
               UNION ALL
               SELECT jsonb_build_array(extract(epoch FROM statement_timestamp())::float8,
                                        (SELECT count(*) FROM bulk_row r WHERE r.job_id = j.id AND r.state IN
                                         ('handed', 'delivered', 'unconfirmed', 'failed', 'notSent', 'unreachable')))
           ) kept))
 WHERE id = %(id)s AND taken_by = %(token)s
   AND coalesce((summary->'pace'->-1->>0)::float8, 0) < extract(epoch FROM statement_timestamp()) - 5
"""

DONE = """
UPDATE bulk_job SET done_at = %(now)s, state = CASE WHEN state = 'sending' THEN 'finished' ELSE state END,
                    state_at = CASE WHEN state = 'sending' THEN %(now)s ELSE state_at END
 WHERE id = %(id)s AND taken_by = %(token)s AND state IN ('sending', 'stopped') AND in_doubt IS NULL
"""

OLD = """
SELECT id FROM bulk_job
 WHERE state IN ('uploading', 'draft', 'checking', 'ready') AND state_at < %(drafts_before)s
    OR state = 'paused' AND state_at < %(before)s OR done_at < %(before)s
 LIMIT 10
"""

DONE_SINCE = "SELECT id FROM bulk_job WHERE done_at >= %(since)s ORDER BY id"

Token = UUID


async def insert(
    conn: Conn, job: JobId, creator: str, name: str, form: str, columns: Sequence[str], now: datetime
) -> None:
    params = {"id": job, "creator": creator, "name": name, "form": form, "columns": list(columns), "now": now}
    await execute(conn, INSERT, params)


async def uploaded(conn: Conn, job: JobId, *, rows: int) -> None:
    await execute(conn, UPLOADED, {"id": job, "rows": rows})


async def delete(conn: Conn, jobs: Sequence[JobId]) -> int:
    """With their rows, in one statement."""
    return await execute(conn, DELETE, {"ids": list(jobs)})


async def find(conn: ReadConn, job: JobId, creator: str | None) -> Job | None:
    """`creator`: whose it must be; None: anybody's."""
    return await fetch_one(conn, FIND, {"id": job, "creator": creator}, _job)


async def newest(conn: ReadConn, creator: str | None, *, limit: int) -> list[Job]:
    return await fetch(conn, LIST, {"creator": creator, "limit": limit}, _job)


async def configure(conn: Conn, job: JobId, wish: Wish, *, now: datetime) -> bool:
    """Whether it could still be changed."""
    return await execute(conn, CONFIGURE, {"id": job, "wish": json.dumps(wish_document(wish)), "now": now}) > 0


async def move(
    conn: Conn, job: JobId, sources: Sequence[JobState], to: JobState, *, now: datetime, confirmed: bool = False
) -> bool:
    """Whether it was in one of the states `sources`."""
    params = {
        "id": job,
        "sources": [state.value for state in sources],
        "to": to.value,
        "now": now,
        "confirmed_at": now if confirmed else None,
    }
    return await execute(conn, MOVE, params) > 0


async def take(conn: Conn, token: Token, *, lease: timedelta, pause: timedelta) -> Job | None:
    """The job that waited longest, for one turn. One that is not busy has no second turn within `pause`."""
    return await fetch_one(conn, TAKE, {"token": token, "lease": lease, "pause": pause}, _job)


async def hold(conn: Conn, job: JobId, token: Token, *, lease: timedelta) -> bool:
    """Lock the job, in a transaction. Whether it is still ours."""
    return await execute(conn, HOLD, {"id": job, "token": token, "lease": lease}) > 0


async def give_back(conn: Conn, job: JobId, token: Token, *, busy: bool) -> None:
    """`busy`: there is more to do at once."""
    await execute(conn, GIVE_BACK, {"id": job, "token": token, "busy": busy})


async def note_checked(conn: Conn, job: JobId, token: Token, *, checked: int, line: int, summary: Summary) -> bool:
    params = {"id": job, "token": token, "checked": checked, "line": line, "summary": _summary_json(summary)}
    return await execute(conn, CHECKED, params) > 0


async def doubt(conn: Conn, job: JobId, token: Token, line: int | None) -> bool:
    return await execute(conn, DOUBT, {"id": job, "token": token, "line": line}) > 0


async def wait(conn: Conn, job: JobId, token: Token, until: datetime | None, why: str | None) -> None:
    await execute(conn, WAIT, {"id": job, "token": token, "until": until, "why": why})


async def looked(conn: Conn, job: JobId, token: Token, line: int) -> None:
    await execute(conn, LOOKED, {"id": job, "token": token, "line": line})


async def note_pace(conn: Conn, job: JobId, token: Token) -> None:
    await execute(conn, PACE, {"id": job, "token": token})


async def finish(conn: Conn, job: JobId, token: Token, *, now: datetime) -> bool:
    return await execute(conn, DONE, {"id": job, "token": token, "now": now}) > 0


async def old(conn: ReadConn, *, before: datetime, drafts_before: datetime) -> list[JobId]:
    return await fetch(conn, OLD, {"before": before, "drafts_before": drafts_before}, JobId)


async def done_since(conn: ReadConn, since: datetime) -> list[JobId]:
    return await fetch(conn, DONE_SINCE, {"since": since}, JobId)


def wish_document(wish: Wish) -> dict[str, Any]:
    """As it stands in the job's row."""
    document = dataclasses.asdict(wish)
    document["send_at"] = wish.send_at.isoformat() if wish.send_at else None
    return {name: value for name, value in document.items() if value is not None}


def _wish(document: dict[str, Any]) -> Wish:
    email, sms = document.get("email"), document.get("sms")
    return Wish(
        recipient_column=document["recipient_column"],
        kind=Kind(document["kind"]),
        channel=OrderChannel(document["channel"]),
        email=EmailTemplate(**{**email, "content_type": ContentType(email["content_type"])}) if email else None,
        sms=SmsTemplate(**sms) if sms else None,
        sending_time=SendingTime(document["sending_time"]) if "sending_time" in document else None,
        senders_reference=document.get("senders_reference"),
        ignore_reservation=document["ignore_reservation"],
        allow_stale=document["allow_stale"],
        resource_id=document.get("resource_id"),
        resource_action=document.get("resource_action"),
        send_at=datetime.fromisoformat(document["send_at"]) if "send_at" in document else None,
        duplicates=Duplicates(document["duplicates"]),
    )


def _summary_json(summary: Summary) -> str:
    return json.dumps(dataclasses.asdict(summary), default=str)


def _summary(document: dict[str, Any]) -> Summary:
    cost = document.get("cost")
    pace = [(float(at), int(n)) for at, n in document.get("pace", ())]
    return Summary(**{**document, "cost": Decimal(cost) if cost is not None else None, "pace": pace})


def _job(*columns: Any) -> Job:
    id_, creator, name, form, state, created, state_at, names, rows, checked, line, wish, summary, *rest = columns
    return Job(
        JobId(id_),
        creator,
        name,
        form,
        JobState(state),
        created,
        state_at,
        tuple(names),
        rows,
        checked,
        line,
        _wish(wish) if wish else None,
        _summary(summary),
        *rest,
    )
