"""`varsel import` loads the registers' local copies from files; `varsel generate` writes synthetic ones."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from varsel import log
from varsel.cli.startup import Refused, database_url, load_settings, with_database
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.errors import Rejected, Unavailable
from varsel.migrate import pending_migrations
from varsel.recipients import generate as population
from varsel.recipients.load.folder import files_of, load_folder, load_personas
from varsel.recipients.load.formats import Form
from varsel.recipients.load.job import Loaded, Mode, Options, Outcome, load
from varsel.recipients.load.rows import Kind
from varsel.recipients.schemes import identifiers_of
from varsel.settings import Settings

_ALL: Final = "all"
_PERSONAS: Final = "personas"


@click.command("import")
@click.argument("kind", type=click.Choice([*(kind.value for kind in Kind), _ALL, _PERSONAS]))
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default=Mode.UPSERT.value, show_default=True)
@click.option("--max-bad", type=click.FloatRange(0, 100), default=1.0, show_default=True, help="Per cent of the lines.")
@click.option(
    "--max-removed",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="Per cent of the rows that earlier files left, with --mode replace.",
)
@click.option("--assume-fresh", is_flag=True, help="Addresses of persons without dates count as updated now.")
@click.option("--as-registered", is_flag=True, help="Addresses are kept as they are: for what `varsel export` wrote.")
@click.option("--force", is_flag=True, help="Also when the same files were the last to be loaded.")
@click.option("--delimiter", default=",", show_default=True, help="Of CSV: one character.")
@click.option("--ignore-unknown", is_flag=True, help="Pass over columns that the kind does not have.")
@click.option("--errors", type=click.Path(dir_okay=False, path_type=Path), help="[default: beside the first file]")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Of the `varsel up` to load into.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def import_(
    kind: str,
    files: tuple[Path, ...],
    mode: str,
    max_bad: float,
    max_removed: float,
    assume_fresh: bool,
    as_registered: bool,
    force: bool,
    delimiter: str,
    ignore_unknown: bool,
    errors: Path | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Load contact data of one KIND into the registers' local copies.

    FILES are CSV with a header line, or JSON Lines; UTF-8, also packed with gzip. Each line says everything about its
    person, organisation or right: what a column lacks is emptied. All is loaded, or nothing.

    KIND `all` takes a folder with one file for each kind (persons.csv, …), KIND `personas` no file: it loads the
    people and organisations of the sandbox.
    """
    if len(delimiter) != 1:
        raise click.BadParameter("one character", param_hint="--delimiter")
    options = Options(
        mode=Mode(mode),
        form=Form(delimiter, ignore_unknown),
        max_bad=max_bad,
        max_removed=max_removed,
        assume_fresh=assume_fresh,
        as_registered=as_registered,
        force=force,
        errors=errors,
    )
    _check_files(kind, files)
    if kind == _ALL and errors:
        raise click.UsageError("with `all`, bad lines are written beside their files")
    settings = load_settings({"VARSEL_HOME": home})
    log.configure(settings.log_level)
    if kind == _PERSONAS and settings.environment == "production":
        raise Refused("the personas are synthetic: they have no place in production")
    if options.mode is not Mode.VALIDATE or kind == _PERSONAS:
        settings = with_database(settings)
    try:
        results = asyncio.run(_load(kind, files, options, settings))
    except (Rejected, Unavailable) as e:
        raise Refused(str(e)) from None
    except OSError as e:
        raise Refused(f"{e.filename}: {e.strerror}") from None
    _print_json(results) if as_json else _print(results)
    if any(result.outcome is Outcome.REFUSED for result in results):
        raise SystemExit(1)


def _check_files(kind: str, files: Sequence[Path]) -> None:
    match kind:
        case "personas":
            fits = not files
        case "all":
            fits = len(files) == 1 and files[0].is_dir()
        case _:
            fits = bool(files) and all(file.is_file() for file in files)
    if not fits:
        wanted = {_PERSONAS: "no files", _ALL: "one folder"}.get(kind, "one or more files")
        raise click.UsageError(f"{kind} takes {wanted}")


async def _load(kind: str, files: Sequence[Path], options: Options, settings: Settings) -> list[Loaded]:
    production, identifiers = settings.environment == "production", identifiers_of(settings.registry)
    clock = SystemClock()
    async with open_database(settings) as database:
        if kind == _PERSONAS:
            assert database is not None
            return await load_personas(database, clock=clock)
        paths = list(files_of(files[0]).values()) if kind == _ALL else files
        with _progress("Loading", sum(path.stat().st_size for path in paths), DownloadColumn()) as advance:
            if kind == _ALL:
                return await load_folder(
                    database,
                    files[0],
                    options,
                    clock=clock,
                    production=production,
                    identifiers=identifiers,
                    progress=advance,
                )
            one = await load(
                database,
                Kind(kind),
                files,
                options,
                clock=clock,
                production=production,
                identifiers=identifiers,
                progress=advance,
            )
            return [one]


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database | None]:
    """The database, with this release's schema; None when there is no address, for nothing is to be written."""
    if not settings.database_url:
        yield None
        return
    database = Database(database_url(settings), size=2, name="varsel import")
    await database.open()
    try:
        if await pending_migrations(database):
            raise Refused("the database's schema is older than this release: run `varsel migrate`")
        yield database
    finally:
        await database.close()


@contextmanager
def _progress(what: str, total: int, column: ProgressColumn) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while it is a terminal; called with steps taken since the last time.

    Between the steps, while the database merges what was read, the spinner shows that something happens.
    """
    console = Console(stderr=True)
    columns = (SpinnerColumn(), "{task.description}", BarColumn(), column, TimeRemainingColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    bar.disable = not console.is_terminal
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


def _print_json(results: Sequence[Loaded]) -> None:
    click.echo(json.dumps([dataclasses.asdict(result) for result in results], default=str, indent=2))


def _print(results: Sequence[Loaded]) -> None:
    """What is nought for every kind has no column: the table fits a narrow terminal."""
    console = Console()
    counters = [
        name
        for name in ("lines", "bad", "repeated", "inserted", "updated", "unchanged", "removed")
        if name == "lines" or any(getattr(result, name) for result in results)
    ]
    table = Table("kind", "outcome", box=None)
    for counter in counters:
        table.add_column(counter, justify="right")
    for result in results:
        table.add_row(result.kind, result.outcome, *(f"{getattr(result, counter):,}" for counter in counters))
    console.print(table)
    for result in results:
        _print_problems(result)


def _print_problems(result: Loaded) -> None:
    for problem in result.problems:
        column = f", {problem.column}" if problem.column else ""
        value = f" ({problem.value})" if problem.value else ""
        click.echo(f"{problem.file}, line {problem.line}{column}: {problem.code}{value}", err=True)
    if result.errors:
        click.echo(f"All bad lines: {result.errors}", err=True)
    if result.outcome is Outcome.REFUSED:
        click.echo(f"Nothing of {result.kind} was loaded: {result.why}", err=True)


@click.command("generate")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--persons", type=click.IntRange(1, population.MAX_PERSONS), default=1_000, show_default=True)
@click.option("--organisations", type=click.IntRange(0, population.MAX_ORGANISATIONS), default=200, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed and day give the same files.")
@click.option("--today", type=click.DateTime(["%Y-%m-%d"]), help="The day from which the age of addresses counts.")
def generate(folder: Path, persons: int, organisations: int, seed: int, today: datetime | None) -> None:
    """Write synthetic people and organisations into FOLDER, one file for each kind.

    `varsel import all FOLDER` loads them.
    """
    day = (today or SystemClock().now()).date()
    wanted = population.Population(persons, organisations, seed, day)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _progress("Writing", population.count_lines(wanted), MofNCompleteColumn()) as advance:
            population.write(wanted, folder, advance)
    except OSError as e:
        raise Refused(f"{folder} cannot be written: {e.strerror}") from None
    click.echo(f"{persons:,} people and {organisations:,} organisations are in {folder}")
