"""`varsel export` writes the registers' local copies as files that `varsel import` loads (registries 7.5)."""

import asyncio
import getpass
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Final

import click

from varsel import log
from varsel.cli.import_ import open_database
from varsel.cli.startup import Refused, load_settings, with_database
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.recipients.load.export_store import export as export_rows
from varsel.recipients.load.rows import Kind
from varsel.recipients.profile.support_store import Entry, write
from varsel.settings import Settings

_ALL: Final = "all"
_STDOUT: Final = "-"


@click.command()
@click.argument("kind", type=click.Choice([*(kind.value for kind in Kind), _ALL]))
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Of the `varsel up` to read from.")
def export(kind: str, target: Path, home: Path | None) -> None:
    """Write the registers' local copies as files of one KIND.

    TARGET is a file, or `-` for standard output. KIND `all` takes a folder, and writes one file for each kind into it:
    `varsel import all` loads them. The files hold personal data, and are for their owner alone; that they were written
    stands in the log of look-ups.
    """
    if kind == _ALL and str(target) == _STDOUT:
        raise click.UsageError("`all` takes a folder")
    settings = with_database(load_settings({"VARSEL_HOME": home}))
    log.configure(settings.log_level)
    try:
        if kind == _ALL:
            target.mkdir(parents=True, exist_ok=True)
        asyncio.run(_export(kind, target, settings))
    except Unavailable as e:
        raise Refused(str(e)) from None
    except OSError as e:
        raise Refused(f"{e.filename}: {e.strerror}") from None


async def _export(kind: str, target: Path, settings: Settings) -> None:
    async with open_database(settings) as database:
        assert database is not None
        if kind != _ALL:
            await _write(database, Kind(kind), target)
            return
        for each in Kind:
            rows = await _write(database, each, target / f"{each}.csv")
            click.echo(f"{each}: {rows:,} rows")


async def _write(database: Database, kind: Kind, target: Path) -> int:
    """How many rows there were. It is written down before the file is whole."""
    began, lines = time.monotonic(), 0
    with _opened(target) as file:
        async with database.reading() as conn:
            async for part in export_rows(conn, kind):
                lines += 1  # the database sends a row at a time
                file.write(part)
        rows = lines - 1
        entry = Entry(
            at=SystemClock().now(),
            actor=getpass.getuser(),
            purpose="export",
            kind=kind,
            asked=0,
            found=rows,
            revealed=True,
            reason=None,
            took=timedelta(seconds=time.monotonic() - began),
            subjects=(),
        )
        async with database.autocommit() as conn:
            await write(conn, entry)
    return rows


@contextmanager
def _opened(target: Path) -> Iterator[IO[bytes]]:
    """A new file takes the place of an old one once it is complete."""
    if str(target) == _STDOUT:
        yield sys.stdout.buffer
        return
    draft = target.with_name(f".{target.name}.part")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
