"""`varsel sign-in`: a link that signs somebody in to the pages, for a machine without an identity provider."""

import asyncio
import getpass
from pathlib import Path

import click

from varsel import log
from varsel.cli.startup import (
    Refused,
    database_url,
    load_settings,
    own_address,
    saying_what_is_missing,
    with_database,
)
from varsel.db import Database
from varsel.migrate import pending_migrations
from varsel.ui.access import Role, issue_ticket


@click.command("sign-in")
@click.option("--name", default=getpass.getuser, show_default="who you are", help="As it stands in the audit log.")
@click.option("--role", "roles", multiple=True, type=click.Choice([r.value for r in Role]), help="Again for several.")
@click.option("--creator", help="Whose orders they see: for creator-admin.")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Of the running `varsel up`.")
def sign_in(name: str, roles: tuple[str, ...], creator: str | None, home: Path | None) -> None:
    """Print a link that signs somebody in to the pages: once, within ten minutes. Roles: caseworker and operator."""
    chosen = frozenset(map(Role, roles)) or frozenset({Role.CASEWORKER, Role.OPERATOR})
    if (Role.CREATOR_ADMIN in chosen) != bool(creator):
        raise Refused("--creator belongs to --role creator-admin, and the other way round")
    settings = with_database(load_settings({"VARSEL_HOME": home}))
    log.configure(settings.log_level)

    async def run() -> str:
        db = Database(database_url(settings), size=1, name="varsel sign-in")
        await db.open()
        try:
            if await pending_migrations(db):
                raise Refused("the database's schema is older than this release: run `varsel migrate`")
            return await issue_ticket(db, name, chosen, creator.lower() if creator else None)
        finally:
            await db.close()

    with saying_what_is_missing():
        path = asyncio.run(run())
    click.echo(own_address(settings).rstrip("/") + path)
