"""`varsel preview`: what an order would do; nothing is stored (docs/previews.md)."""

import json
import sys

import click

from varsel.cli.client import Where, client_options, service
from varsel.cli.order_options import Given, order_options
from varsel.client import OrderPreview, Preview


@click.command()
@order_options
@click.option("--json", "as_json", is_flag=True, help="The service's answer.")
@client_options
def preview(given: Given, as_json: bool, where: Where) -> None:
    """Show what an order would do: who is reached, how, and what it says.

    Takes what `varsel order` takes. Nothing is stored or sent. The exit status is 1 when the order would be refused
    because somebody has no address.
    """
    order = given.order()
    with service(where) as varsel:
        found = varsel.preview(order)
    if as_json:
        click.echo(json.dumps(found.raw, ensure_ascii=False, indent=2))
    else:
        _print(found)
    if not found.accepted:
        raise SystemExit(1)


def _print(found: Preview) -> None:
    for part in (found.notification, *found.reminders):
        _print_order(part)
    for path, messages in found.content_warnings.items():
        click.echo(f"Warning: {path}: {' '.join(messages)}")
    if not found.accepted:
        click.echo(f"The order would be refused: no address for {', '.join(found.missing_contact)}.")


def _print_order(part: OrderPreview) -> None:
    from rich import box  # noqa: PLC0415 - commands that show no table need not load it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    condition = ", if its condition agrees" * part.conditional
    click.echo(f"{part.type} at {part.requested_send_time:%Y-%m-%d %H:%M:%S}Z{condition}")
    table = Table("By", "To", "Leaves", "Parts", "Says", box=box.SIMPLE_HEAD)
    for recipient in part.recipients:
        for message in recipient.messages:
            leaves = f"{message.leaves_at:%Y-%m-%d %H:%M}Z" if message.leaves_at else "never"
            text = message.text
            says = "\n".join(filter(None, (text.subject, text.body))) if text else ""
            why = message.why_not or message.why_not_preferred
            table.add_row(
                message.type,
                message.destination or "–",
                leaves,
                str(message.sms.parts) if message.sms else "",
                Text("\n".join(filter(None, (says, why.description if why else None)))),
            )
    Console(width=None if sys.stdout.isatty() else 132).print(table)
    totals = part.summary
    click.echo(f"{totals.reached} of {totals.recipients} reached: {totals.emails} by email, {totals.sms} by SMS.")
