"""`varsel token`: a token of the local development issuer, alone on standard output (design 4)."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from varsel import settings
from varsel.embedded.place import default_home
from varsel.issuer import CREATOR_SCOPES, DevelopmentIssuer

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=366)


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", str(value))
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
        if not timedelta() < duration <= _LONGEST:
            self.fail(f"{value!r} is not a duration like 90s, 30m, 1h or 7d, of a year at most", param, ctx)
        return duration


@click.command()
@click.option("--org", required=True, help="Short name of the creator, for example ttd.")
@click.option("--scope", "scopes", multiple=True, help="A scope. May be repeated. Default: all a creator may need.")
@click.option("--expires", type=_Duration(), default="1h", show_default=True, help="Lifetime: 90s, 30m, 1h, 7d.")
@click.option("--platform", is_flag=True, help="A platform access token instead of a bearer token.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="The home whose issuer signs.")
def token(org: str, scopes: tuple[str, ...], expires: timedelta, platform: bool, home: Path | None) -> None:
    """Print a token of the local development issuer."""
    issuer = DevelopmentIssuer(home or settings.load().home or default_home())
    if platform:
        click.echo(issuer.mint_platform(org, expires))
    else:
        click.echo(issuer.mint(org, scopes or CREATOR_SCOPES, expires))
