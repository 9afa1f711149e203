"""`varsel doctor` looks at an installation and says what is well, what is not, and what to do (design 4)."""

import asyncio
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from varsel import log
from varsel.cli.child_settings import settings_of_running
from varsel.cli.doctor_findings import Finding, Level, attention
from varsel.cli.doctor_machine import examine_machine
from varsel.cli.doctor_service import examine_service
from varsel.cli.startup import Refused, home_of, with_database
from varsel.settings import Settings

_COLOURS: Final = {Level.OK: "green", Level.NOTE: "cyan", Level.ATTENTION: "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Of the `varsel up`, whether it runs or not."
)
def doctor(as_json: bool, home: Path | None) -> None:
    """Look at this installation: what is well, what is not, and what to do.

    It changes nothing. The exit status is 1 when something needs attention.
    """
    try:
        settings = settings_of_running(home)
    except PermissionError as e:
        raise Refused(f"{e.filename} cannot be read: run this as the user that the service runs as") from None
    log.configure(settings.log_level)
    found = [*examine_machine(settings), *_of_service(settings)]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], ensure_ascii=False, indent=2))
    else:
        _print(found)
    if any(finding.level is Level.ATTENTION for finding in found):
        raise SystemExit(1)


def _of_service(settings: Settings) -> Sequence[Finding]:
    try:
        reachable = with_database(settings)
    except Refused:
        home = home_of(settings)
        remedy = f"`varsel up --home {home}` starts one; or name another --home, or set VARSEL_DATABASE_URL"
        return [attention("database", f"there is none: no `varsel up` is running with the home {home}", remedy)]
    return asyncio.run(examine_service(reachable))


def _print(found: Sequence[Finding]) -> None:
    for line in _lines(found):
        click.echo(line)
    wanting = sum(finding.level is Level.ATTENTION for finding in found)
    verb = "needs" if wanting == 1 else "need"
    click.echo(f"\n{wanting} of {len(found)} {verb} attention." if wanting else "\nAll is well.")


def _lines(found: Sequence[Finding]) -> Iterator[str]:
    width = max(len(finding.about) for finding in found)
    for finding in found:
        level = click.style(f"{finding.level:<9}", fg=_COLOURS[finding.level])
        yield f"{level}  {finding.about:<{width}}  {finding.says}"
        if finding.remedy:
            yield f"{'':<9}  {'':<{width}}  → {finding.remedy}"
