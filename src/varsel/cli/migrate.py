"""`varsel migrate`: the schema of this release, from any earlier one. Safe to run at any time, twice at once."""

import asyncio
from pathlib import Path

import click

from varsel import log
from varsel.cli.startup import Refused, database_url, load_settings, with_database
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.migrate import SchemaMismatch
from varsel.migrate import migrate as apply_migrations


@click.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home of the running `varsel up`.")
def migrate(home: Path | None) -> None:
    """Bring the database's schema up to this release."""
    chosen = with_database(load_settings({"VARSEL_HOME": home}))
    log.configure(chosen.log_level)
    names = bring_up_to_date(database_url(chosen))
    click.echo("\n".join(f"Migrated: {name}" for name in names) or "The schema is up to date.")


def bring_up_to_date(url: str) -> list[str]:
    """Names of the migrations it applied. Raises `Refused`."""
    try:
        return asyncio.run(_migrate(url))
    except SchemaMismatch as e:
        raise Refused(str(e)) from e
    except Unavailable as e:
        raise Refused("the database does not answer: is its address right, and does it run?") from e


async def _migrate(url: str) -> list[str]:
    database = Database(url, size=2, name="varsel migrate")
    await database.open()
    try:
        return await apply_migrations(database)
    finally:
        await database.close()
