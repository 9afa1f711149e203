"""Loads of several kinds at once: a folder with one file for each, and the personas."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.errors import Rejected
from varsel.domain.schemes import Identifiers
from varsel.recipients import personas
from varsel.recipients.load.formats import Progress
from varsel.recipients.load.job import Loaded, Options, Outcome, load, no_progress
from varsel.recipients.load.rows import Kind
from varsel.recipients.load.values import STRICT

_ENDINGS: Final = ("csv", "csv.gz", "jsonl", "jsonl.gz")


def files_of(folder: Path) -> dict[Kind, Path]:
    """`persons.csv`, `roles.jsonl.gz` and so on. Raises `Rejected` when there is none, or two of one kind."""
    found: dict[Kind, Path] = {}
    for kind in Kind:
        files = [path for ending in _ENDINGS if (path := folder / f"{kind}.{ending}").is_file()]
        if len(files) > 1:
            raise Rejected("two-files", f"{folder} holds two files of the kind {kind}")
        if files:
            found[kind] = files[0]
    if not found:
        raise Rejected("no-files", f"{folder} holds no file named after a kind, such as persons.csv")
    return found


async def load_folder(
    database: Database | None,
    folder: Path,
    options: Options,
    *,
    clock: Clock,
    production: bool,
    identifiers: Identifiers = STRICT,
    progress: Progress = no_progress,
) -> list[Loaded]:
    """Load each file, all or nothing for itself, until one is refused. Raises as `load` does."""
    results: list[Loaded] = []
    for kind, file in files_of(folder).items():
        results.append(
            await load(
                database,
                kind,
                [file],
                options,
                clock=clock,
                production=production,
                identifiers=identifiers,
                progress=progress,
            )
        )
        if results[-1].outcome is Outcome.REFUSED:
            break
    return results


async def load_personas(database: Database, *, clock: Clock) -> list[Loaded]:
    """Load the personas, fresh and stale as of now. They do no harm to other rows and may be loaded again."""
    with TemporaryDirectory(prefix="varsel-personas-") as name:
        folder = Path(name)
        personas.write(folder, clock.now())
        options = Options(as_registered=True, max_bad=0, force=True)
        return await load_folder(database, folder, options, clock=clock, production=False)
