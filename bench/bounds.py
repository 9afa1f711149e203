"""What the machine can do at all: the same work without any of our code around it, in the same run."""

import subprocess
import time
from pathlib import Path
from typing import Final

from bench.processes import Failed
from varsel.db import Database
from varsel.embedded.place import wheel_binaries

_COPY_OUT: Final = """
COPY (SELECT id, order_id, creator_id, channel, lane, state, reason, daytime, state_at, expires_at, wake_at,
             subject_kind, subject_key, address, recipient_name
        FROM notification) TO STDOUT (FORMAT binary)
"""

_COPY_IN: Final = """
COPY notification (id, order_id, creator_id, channel, lane, state, reason, daytime, state_at, expires_at, wake_at,
                   subject_kind, subject_key, address, recipient_name)
FROM STDIN (FORMAT binary)
"""

_CLAIM: Final = """
UPDATE notification SET state = 'claimed', attempts = attempts + 1
 WHERE id = ANY (ARRAY(SELECT id FROM notification
                        WHERE state = 'new' AND wake_at IS NULL AND channel = 'email' AND lane = %s
                        ORDER BY creator_id, id LIMIT 500 FOR UPDATE SKIP LOCKED))
RETURNING id
"""

_RESULT: Final = """
UPDATE notification SET state = 'accepted', settled = true, state_at = now(), accepted_at = now() WHERE id = ANY(%s)
"""


async def dump_notifications(db: Database) -> bytes:
    """All notifications as COPY reads them."""
    async with db.reading() as conn, conn.cursor() as cursor, cursor.copy(_COPY_OUT) as copy:
        return b"".join([bytes(block) async for block in copy])


async def copy_notifications(db: Database, rows: bytes) -> float:
    """Rows per second that one COPY stores, with their indexes and one commit."""
    began = time.perf_counter()
    async with db.transaction() as conn, conn.cursor() as cursor:
        async with cursor.copy(_COPY_IN) as copy:
            for start in range(0, len(rows), 1 << 20):
                await copy.write(rows[start : start + (1 << 20)])
        count = cursor.rowcount
    return count / (time.perf_counter() - began)


async def claim_and_result(db: Database, most: int) -> float:
    """Rows per second through two plain updates in turn, 500 a time, each of them committed."""
    began, moved = time.perf_counter(), 0
    async with db.autocommit() as conn, conn.cursor() as cursor:
        await cursor.execute("SELECT max(lane) FROM notification")
        (lane,) = await cursor.fetchone() or (1,)
        while moved < most:
            await cursor.execute(_CLAIM, (lane,))
            ids = [id_ for (id_,) in await cursor.fetchall()]
            if not ids:
                break
            await cursor.execute(_RESULT, (ids,))
            moved += len(ids)
    return moved / (time.perf_counter() - began)


def pgbench(dsn: str, script: str, folder: Path, *, clients: int, seconds: int) -> float:
    """Transactions per second of a script, by PostgreSQL's own load generator."""
    file = folder / "script.sql"
    file.write_text(script)
    options = f"-n -M prepared -j 1 -c {clients} -T {seconds}".split()
    done = subprocess.run(  # noqa: S603 - our own arguments
        [wheel_binaries() / "pgbench", *options, "-f", file, dsn],
        capture_output=True,
        text=True,
        check=False,
    )
    for said in done.stdout.splitlines():
        if said.startswith("tps = "):
            return float(said.split()[2])
    raise Failed(f"pgbench: {done.stderr[-500:]}")
