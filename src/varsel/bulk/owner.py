"""What the owners of bulk jobs may do: upload, say what is wished, confirm, pause, resume, stop, and ask."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

from varsel.bulk import row_store, store
from varsel.bulk.job import Job, JobId, JobState, Progress, RowProblem, RowState, Wish
from varsel.bulk.reading import open_table
from varsel.bulk.row_store import Result
from varsel.bulk.table import BadFile, Row
from varsel.bulk.wishes import Guess, guess
from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.domain.ids import uuid7
from varsel.domain.schemes import Identifiers

_STORED_AT_ONCE: Final = 1_000
_TOLD_AT_ONCE: Final = 1_000
_READ_AT_ONCE: Final = 2  # files
_SAMPLE: Final = 20
_MAX_NAME: Final = 200
MAX_TOLD: Final = 100
"""Bad rows that are told with a job. The result file has all."""
MAX_LISTED: Final = 100


class NoSuchJob(Exception):
    """There is none, or not for this owner."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A job, and how its rows stand. `problems`: of the first bad rows; `repeated`: lines of the first left out."""

    job: Job
    progress: Progress
    problems: Sequence[RowProblem] = ()
    repeated: Sequence[int] = ()


class Bulk:
    """One for each API process. `creator` is whose job it must be; None: anybody's."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        identifiers: Identifiers,
        *,
        max_rows: int,
    ) -> None:
        self._db = db
        self._clock = clock
        self._identifiers = identifiers
        self._max_rows = max_rows
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)  # a spreadsheet's texts are in memory

    async def upload(self, creator: str, name: str, file: IO[bytes]) -> Job:
        """Store the rows of a file, which stays open. Raises `BadFile`; then nothing is kept."""
        async with self._reading:
            return await self._upload(creator, name, file)

    async def _upload(self, creator: str, name: str, file: IO[bytes]) -> Job:
        table = await asyncio.to_thread(open_table, file, max_rows=self._max_rows)
        id_ = JobId(uuid7())
        async with self._db.autocommit() as conn:
            name = " ".join(name.split())[:_MAX_NAME] or f"file.{table.form}"
            await store.insert(conn, id_, creator, name, table.form, table.columns, self._clock.now())
        try:
            count = await self._store(id_, table.rows)
        except BaseException:
            async with self._db.autocommit() as conn:
                await store.delete(conn, [id_])
            raise
        async with self._db.autocommit() as conn:
            await store.uploaded(conn, id_, rows=count)
        return await self.find(id_, creator)

    async def _store(self, id_: JobId, rows: Iterator[Row]) -> int:
        count = 0
        while some := await asyncio.to_thread(_some, rows):
            count += len(some)
            async with self._db.autocommit() as conn:
                await row_store.add(conn, id_, some)
        if not count:
            raise BadFile("no-rows", "There are no rows below the names of the columns.")
        return count

    async def find(self, id_: JobId, creator: str | None) -> Job:
        """Raises `NoSuchJob`."""
        async with self._db.reading() as conn:
            job = await store.find(conn, id_, creator)
        if job is None:
            raise NoSuchJob
        return job

    async def newest(self, creator: str | None) -> list[Job]:
        async with self._db.reading() as conn:
            return await store.newest(conn, creator, limit=MAX_LISTED)

    async def standing(self, id_: JobId, creator: str | None) -> Standing:
        """Raises `NoSuchJob`."""
        job = await self.find(id_, creator)
        async with self._db.reading() as conn:
            progress = await row_store.count(conn, id_)
            bad, twice = progress[RowState.BAD], progress[RowState.DUPLICATE]
            problems = await row_store.problems(conn, id_, limit=MAX_TOLD) if bad else []
            repeated = await row_store.lines_in(conn, id_, RowState.DUPLICATE, limit=MAX_TOLD) if twice else []
        return Standing(job, progress, problems, repeated)

    async def sample(self, job: Job) -> list[Row]:
        """The first rows."""
        async with self._db.reading() as conn:
            return await row_store.rows_after(conn, job.id, 0, limit=_SAMPLE)

    async def guess(self, job: Job) -> Guess | None:
        """Which column has the recipients, and of which kind."""
        return guess(job.columns, [row.fields for row in await self.sample(job)], self._identifiers)

    async def configure(self, job: Job, wish: Wish) -> Job:
        """Say what is wished: `wishes.misfits` has nothing against it. The check begins, anew if it must.

        Raises `Rejected` for a job that is confirmed.
        """
        async with self._db.autocommit() as conn:
            if not await store.configure(conn, job.id, wish, now=self._clock.now()):
                raise Rejected("confirmed", "The job is confirmed: nothing of it can be changed.")
        return await self.find(job.id, job.creator)

    async def confirm(self, job: Job, *, rows: int, leave_out_bad: bool) -> Job:
        """Let the job be sent. `rows`: how many, as a sign that the check was read. Doing it twice does it once.

        Raises `Rejected` when it is not ready, or other rows would be sent, or bad ones would be left out unsaid.
        """
        async with self._db.reading() as conn:
            progress = await row_store.count(conn, job.id)
        if job.state is JobState.READY:
            if progress[RowState.BAD] and not leave_out_bad:
                raise Rejected(
                    "bad-rows", "There are bad rows; say that they may be left out, or upload a better file."
                )
            if not progress[RowState.READY]:
                raise Rejected("nothing-to-send", "No row is good.")
        if rows != progress.to_send:
            raise Rejected("other-number", f"{progress.to_send} rows would be sent, not {rows}.")
        if job.state is JobState.SENDING:
            return job
        return await self._move(job, (JobState.READY,), JobState.SENDING, confirmed=True)

    async def pause(self, job: Job) -> Job:
        """Order no more rows for now. Raises `Rejected` for what is not being sent, as the next two do."""
        return await self._move(job, (JobState.SENDING, JobState.PAUSED), JobState.PAUSED)

    async def resume(self, job: Job) -> Job:
        return await self._move(job, (JobState.PAUSED, JobState.SENDING), JobState.SENDING)

    async def stop(self, job: Job) -> Job:
        """Order no more rows, ever. What is ordered goes on."""
        stopping = (JobState.SENDING, JobState.PAUSED, JobState.STOPPING)
        return await self._move(job, stopping, JobState.STOPPING)

    async def results(self, job: Job) -> AsyncIterator[Result]:
        """All rows, and what has become of each by now."""
        after = 0
        while True:
            async with self._db.reading() as conn:
                found = await row_store.results(conn, job.id, after, limit=_TOLD_AT_ONCE)
            if not found:
                return
            for result in found:
                yield result
            after = found[-1].line

    async def _move(self, job: Job, sources: Sequence[JobState], to: JobState, *, confirmed: bool = False) -> Job:
        async with self._db.autocommit() as conn:
            moved = await store.move(conn, job.id, sources, to, now=self._clock.now(), confirmed=confirmed)
        now = await self.find(job.id, job.creator)
        if not moved:
            raise Rejected("wrong-state", f"That cannot be done: the job is {now.state}.")
        return now


def _some(rows: Iterator[Row]) -> list[Row]:
    return list(itertools.islice(rows, _STORED_AT_ONCE))
