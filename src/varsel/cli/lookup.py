"""`varsel lookup`: what the registers know of somebody, masked unless a reason is given (design 4, registries 1.8)."""

import json
import sys
from typing import Any, Final

import click

from varsel.cli.client import Where, client_options, service

_PATH: Final = "/registry/api/v1/lookup"
_STDIN: Final = "-"
_MAX_AT_ONCE: Final = 100
_SCOPE: Final = "altinn:profile.support.admin"


@click.command()
@click.argument("identifiers", nargs=-1, required=True, metavar="ID...")
@click.option("--resource", help="Also the users whose own addresses for an organisation apply to this resource.")
@click.option("--reveal", is_flag=True, help="Show names and addresses as they are. Is written to the log of look-ups.")
@click.option("--reason", help="Why: the number of a case, say. Needed for --reveal.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@client_options
def lookup(
    identifiers: tuple[str, ...],
    resource: str | None,
    reveal: bool,
    reason: str | None,
    as_json: bool,
    where: Where,
) -> None:
    """Show what the registers know of somebody.

    An ID is an identity number, an organisation number, or the URN of an email login or a user name. An ID of `-` reads
    them from standard input, one a line, so that they stand in no list of processes. The token needs the scope
    altinn:profile.support.admin.
    """
    asked = [line.strip() for line in sys.stdin if line.strip()] if identifiers == (_STDIN,) else list(identifiers)
    if reveal and not reason:
        raise click.UsageError("--reveal needs a --reason")
    body = {"resourceId": resource, "reveal": reveal, "reason": reason}
    parts = [asked[start : start + _MAX_AT_ONCE] for start in range(0, len(asked), _MAX_AT_ONCE)]
    with service(where, (_SCOPE,)) as api:
        known = [entry for part in parts for entry in api.call("POST", _PATH, {**body, "identifiers": part})["known"]]
    if as_json:
        click.echo(json.dumps(known, indent=2, ensure_ascii=False))
    else:
        for entry in known:
            _show(entry)


def _show(entry: Any) -> None:
    who = f"{entry['identifier']}  {entry.get('name', '')}".strip()
    reserved = {True: ", reserved", False: ", not reserved"}.get(entry.get("isReserved"), "")
    click.echo(f"{who}  ({entry['kind']}{reserved if entry['found'] else ', not known'})")
    if entry["found"]:
        for name, addresses in (("email", entry["emails"]), ("mobile", entry["mobiles"])):
            note = _age(entry.get(f"{name}IsStale"), entry.get(f"{name}ConfirmedAt"))
            for address in addresses:
                click.echo(f"  {name:6}  {address:32}  {note}".rstrip())
            if not addresses:
                click.echo(f"  {name:6}  none")
    if entry.get("addressOrigin", entry["identifier"]) != entry["identifier"]:
        click.echo(f"  these are the addresses of the main unit, {entry['addressOrigin']}")
    for user in entry.get("users", ()):
        addresses = [user[name] for name in ("email", "mobile") if name in user]
        click.echo(f"  user {user['userId']}  {'  '.join(addresses)}")
    if "source" in entry:
        click.echo(f"  from {entry['source']}, changed {entry['changedAt'][:10]}")


def _age(stale: bool | None, confirmed: str | None) -> str:
    words = [*(["too old"] if stale else []), *([f"confirmed {confirmed[:10]}"] if confirmed else [])]
    return ", ".join(words)
