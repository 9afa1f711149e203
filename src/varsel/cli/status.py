"""`varsel status`: an order and each of its messages, now or until their fate (docs/cli.md)."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import click

from varsel.cli.client import Where, client_options, service
from varsel.cli.durations import Duration
from varsel.client import Message, NotEnded, Shipment, Varsel

if TYPE_CHECKING:
    from rich.console import Group

_FOR_EVER: Final = timedelta(days=3650)


@click.command()
@click.argument("shipment", metavar="ID", type=click.UUID)
@click.option("--follow", is_flag=True, help="Show each change, until every message has its fate.")
@click.option("--within", type=Duration(), help="Follow so long at most: 90s, 30m, 1h, 7d.")
@click.option("--json", "as_json", is_flag=True, help="The service's answer; with --follow one line for each change.")
@client_options
def status(shipment: UUID, follow: bool, within: timedelta | None, as_json: bool, where: Where) -> None:
    """Show what became of an order.

    ID is a shipment of version 2 or an order of version 1. With --follow the exit status is 1 when a message failed.
    """
    with service(where) as varsel:
        if follow:
            follow_shipment(varsel, shipment, within=within, as_json=as_json)
            return
        found = varsel.shipment(shipment)
    if as_json:
        click.echo(json.dumps(found.raw, ensure_ascii=False, indent=2))
    else:
        _print(found)


def follow_shipment(varsel: Varsel, shipment: UUID, *, within: timedelta | None = None, as_json: bool = False) -> None:
    """Until its fate; ends the command with 1 when a message failed, or when the time is over."""
    try:
        if sys.stdout.isatty() and not as_json:
            found = _live(varsel, shipment, within or _FOR_EVER)
        else:
            show = _echo_json if as_json else _Lines().show
            found = varsel.wait_for_fate(shipment, within=within or _FOR_EVER, on_change=show)
    except NotEnded as e:
        raise click.ClickException(f"{e}: the time is over") from None
    except KeyboardInterrupt:
        raise click.Abort from None
    if any(message.failed for message in found.recipients):
        raise SystemExit(1)


def _live(varsel: Varsel, shipment: UUID, within: timedelta) -> Shipment:
    """A table that changes in place."""
    from rich.live import Live  # noqa: PLC0415 - commands that show no table need not load it

    with Live(refresh_per_second=4) as live:
        return varsel.wait_for_fate(shipment, within=within, on_change=lambda found: live.update(_shown(found)))


def _print(found: Shipment) -> None:
    from rich.console import Console  # noqa: PLC0415

    Console(width=None if sys.stdout.isatty() else 132).print(_shown(found))


def _shown(found: Shipment) -> "Group":
    from rich import box  # noqa: PLC0415
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    known = (str(found.shipment_id), found.senders_reference, found.status, _time(found.last_update))
    table = Table("By", "To", "Status", "Since", box=box.SIMPLE_HEAD)
    for message in found.recipients:
        table.add_row(message.type, message.destination or "–", _coloured(message), _time(message.last_update))
    if not found.recipients:
        table.add_row("", "no message yet" if not found.ended else "no message", "", "")
    return Group("  ".join(filter(None, known)), table)


class _Lines:
    """One line for each thing that has changed."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def show(self, found: Shipment) -> None:
        lines = [f"{_time(found.last_update)}  {found.status}"] + [
            f"{_time(message.last_update)}  {message.status}  {message.destination}".rstrip()
            for message in found.recipients
        ]
        for line in sorted(set(lines) - self._told):
            click.echo(line)
        self._told.update(lines)


def _echo_json(found: Shipment) -> None:
    click.echo(json.dumps(found.raw, ensure_ascii=False))


def _coloured(message: Message) -> str:
    colour = "green" if message.arrived else "red" if message.failed else "yellow"
    return f"[{colour}]{message.status}[/]"


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
