"""`varsel token`: a token of the local development issuer, alone on standard output (design 4)."""

from datetime import timedelta
from pathlib import Path

import click

from varsel import settings
from varsel.cli.durations import Duration
from varsel.embedded.place import default_home
from varsel.issuer import CREATOR_SCOPES, ENDUSER_SCOPE, DevelopmentIssuer


@click.command()
@click.option("--org", help="Short name of the creator, for example ttd.")
@click.option("--user", type=click.IntRange(1, 2**31 - 1), help="The number of a user, instead of a creator.")
@click.option("--scope", "scopes", multiple=True, help="A scope. May be repeated. Default: all that one may need.")
@click.option("--expires", type=Duration(), default="1h", show_default=True, help="Lifetime: 90s, 30m, 1h, 7d.")
@click.option("--platform", is_flag=True, help="A platform access token instead of a bearer token.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home whose issuer signs.")
def token(
    org: str | None, user: int | None, scopes: tuple[str, ...], expires: timedelta, platform: bool, home: Path | None
) -> None:
    """Print a token of the local development issuer.

    It is a creator's (--org) or a user's (--user).
    """
    if (org is None) == (user is None) or (user is not None and platform):
        raise click.UsageError("either --org, with --platform or without, or --user is needed")
    issuer = DevelopmentIssuer(home or settings.load().home or default_home())
    if user is not None:
        click.echo(issuer.mint_user(user, expires, scopes=scopes or (ENDUSER_SCOPE,)))
    elif platform:
        click.echo(issuer.mint_platform(org or "", expires))
    else:
        click.echo(issuer.mint(org, scopes or CREATOR_SCOPES, expires))
