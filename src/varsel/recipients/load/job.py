"""One load: read and check every line, stage, and merge all or nothing (registries 7.5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Final

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.domain.identifiers import Level
from varsel.domain.ids import uuid7
from varsel.domain.schemes import Identifiers
from varsel.recipients.load import store
from varsel.recipients.load.formats import Form, Progress, checksum, read_lines
from varsel.recipients.load.report import Problem, Problems
from varsel.recipients.load.rows import COLUMNS, BadLine, Kind
from varsel.recipients.load.values import STRICT, Rules

_LINES_PER_COPY: Final = 500_000  # no transaction stays open for the whole file


class Mode(StrEnum):
    """`replace`: rows of earlier files that are not in this one are removed. `validate`: nothing is written."""

    UPSERT = "upsert"
    REPLACE = "replace"
    VALIDATE = "validate"


class Outcome(StrEnum):
    DONE = "done"
    VALID = "valid"
    SKIPPED = "skipped"  # the same files were the last to be loaded, with the same options
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Options:
    """`max_bad` in percent of the lines; `max_removed` in percent of the rows that earlier files left."""

    mode: Mode = Mode.UPSERT
    form: Form = field(default_factory=Form)
    max_bad: float = 1.0
    max_removed: float = 5.0
    assume_fresh: bool = False
    as_registered: bool = False
    force: bool = False
    errors: Path | None = None  # None: beside the first file


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a load. `repeated`: lines whose key a later line had too. `why`: the reason of a refusal."""

    kind: Kind
    outcome: Outcome
    lines: int = 0
    bad: int = 0
    repeated: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    why: str = ""
    problems: tuple[Problem, ...] = ()
    errors: Path | None = None


def no_progress(_bytes: int) -> None: ...


async def load(
    database: Database | None,
    kind: Kind,
    files: Sequence[Path],
    options: Options,
    *,
    clock: Clock,
    production: bool,
    identifiers: Identifiers = STRICT,
    progress: Progress = no_progress,
) -> Loaded:
    """Load the files as one. A crash or a refusal leaves the old data; `validate` needs no database.

    Raises `Rejected` when a file cannot be read, when it holds real people outside production, or when two of its rows
    share a value that must be unique; `Unavailable` without the database.
    """
    strict = identifiers.at(Level.STRICT)
    rules = Rules(clock.now(), production, options.assume_fresh, options.as_registered, strict)
    with Problems(options.errors or files[0].with_name(f"{files[0].name}.errors.csv")) as problems:
        reading = _Reading(kind, files, options.form, rules, problems, progress)
        if options.mode is Mode.VALIDATE:
            for _ in reading.rows():
                pass
            return _judged(reading, options, Outcome.VALID)
        assert database is not None
        digest = checksum(files, f"{options.mode} {options.assume_fresh} {options.as_registered} {options.form}")
        async with database.autocommit() as conn:
            if not options.force and digest == await store.last_checksum(conn, kind):
                return Loaded(kind, Outcome.SKIPPED)
            return await _stage_and_merge(conn, reading, options, digest, clock)


@dataclass(slots=True)
class _Reading:
    """The lines of all files as rows, in order; bad ones go to `problems`. To be read once."""

    kind: Kind
    files: Sequence[Path]
    form: Form
    rules: Rules
    problems: Problems
    progress: Progress
    lines: int = 0

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Each row behind the number of its line, counted over all files."""
        columns = COLUMNS[self.kind]
        for file in self.files:
            for line in read_lines(file, columns, self.form, self.progress):
                self.lines += 1
                try:
                    row = columns.read(line.fields(), self.rules)
                except BadLine as e:
                    self.problems.add(file.name, line.number, e)
                else:
                    yield (self.lines, *row)


def _judged(reading: _Reading, options: Options, good: Outcome) -> Loaded:
    """What is known once every line has been read."""
    problems = reading.problems
    loaded = Loaded(
        reading.kind,
        good,
        lines=reading.lines,
        bad=problems.count,
        problems=tuple(problems.first),
        errors=problems.path if problems.count else None,
    )
    if problems.count * 100 > options.max_bad * reading.lines:
        return replace(loaded, outcome=Outcome.REFUSED, why=f"more than {options.max_bad:g} % of the lines are bad")
    return loaded


async def _stage_and_merge(conn: Conn, reading: _Reading, options: Options, digest: str, clock: Clock) -> Loaded:
    try:
        await _stage(conn, reading)
        loaded = _judged(reading, options, Outcome.DONE)
        async with conn.transaction():
            await store.lock(conn)
            if loaded.outcome is Outcome.DONE:
                loaded = await _merge(conn, reading, loaded, options)
            await store.record(conn, _job(reading, loaded, digest, clock))
        await store.analyze(conn, reading.kind, loaded.inserted + loaded.updated + loaded.removed)
        return loaded
    finally:
        await store.drop_stage(conn)


async def _stage(conn: Conn, reading: _Reading) -> None:
    await store.make_stage(conn, reading.kind)
    rows = reading.rows()
    while await store.fill_stage(conn, islice(rows, _LINES_PER_COPY)) == _LINES_PER_COPY:
        pass
    await store.analyze_stage(conn)


async def _merge(conn: Conn, reading: _Reading, loaded: Loaded, options: Options) -> Loaded:
    removed = 0
    if options.mode is Mode.REPLACE:
        missing = await store.count_missing(conn, reading.kind)
        if missing.missing * 100 > options.max_removed * missing.present:
            why = f"{missing.missing} of {missing.present} rows would be removed: more than {options.max_removed:g} %"
            return replace(loaded, outcome=Outcome.REFUSED, why=why)
        removed = await store.remove_missing(conn, reading.kind)  # first: what they held may be taken over
    merged = await store.merge(conn, reading.kind, now=reading.rules.now)
    return replace(
        loaded,
        repeated=loaded.lines - loaded.bad - merged.distinct,
        inserted=merged.inserted,
        updated=merged.updated,
        unchanged=merged.distinct - merged.inserted - merged.updated,
        removed=removed,
    )


def _job(reading: _Reading, loaded: Loaded, digest: str, clock: Clock) -> store.Job:
    return store.Job(
        id=uuid7(),
        kind=loaded.kind,
        file_name=" ".join(file.name for file in reading.files),
        checksum=digest,
        state=loaded.outcome,
        rows=loaded.lines,
        bad_rows=loaded.bad,
        inserted=loaded.inserted,
        updated=loaded.updated,
        unchanged=loaded.unchanged,
        removed=loaded.removed,
        started_at=reading.rules.now,
        ended_at=clock.now(),
    )
