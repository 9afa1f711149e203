"""`varsel order`: order a message, and its reminder; or send one while you wait (docs/cli.md)."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import click

from varsel.cli.client import Where, client_options, service
from varsel.cli.durations import Duration
from varsel.cli.order_options import Given, order_options
from varsel.client import InstantEmail, InstantSms, OrderReceipt, RecipientEmail, RecipientSms, ShipmentReceipt, Varsel

_PATIENCE: Final = timedelta(minutes=1)


@click.command()
@order_options
@click.option("--now", "instant", is_flag=True, help="Send it while you wait: to an --email or a --mobile.")
@click.option("--lives", type=Duration(), default="10m", show_default=True, help="How long an SMS --now is of use.")
@click.option("--follow", is_flag=True, help="Then show what becomes of it, until its fate.")
@click.option("--json", "as_json", is_flag=True, help="The service's answer.")
@client_options
def order(given: Given, instant: bool, lives: timedelta, follow: bool, as_json: bool, where: Where) -> None:
    """Order a message.

    Say whom it is for and what it says; or give a FILE, or `-` for standard input, with the JSON of
    POST /notifications/api/v1/future/orders. It is stored when the command ends well, and only once: when an answer is
    lost, the command asks again. To run the command again, give it an --idempotency-id.
    """
    place = _placing(given, lives, instant=instant)
    with service(where, within=_PATIENCE) as varsel:
        receipt = place(varsel)
        if as_json:
            click.echo(json.dumps(receipt.raw, ensure_ascii=False, indent=None if follow else 2))
        else:
            _print(receipt, follow=follow)
        if follow:
            _follow(varsel, receipt.shipment_id, as_json=as_json)


def _follow(varsel: Varsel, shipment: UUID, **how: Any) -> None:
    from varsel.cli.status import follow_shipment  # noqa: PLC0415 - with what it shows

    follow_shipment(varsel, shipment, **how)


def _placing(given: Given, lives: timedelta, *, instant: bool) -> Callable[[Varsel], OrderReceipt]:
    """Wrong options are told before anybody is asked."""
    if instant:
        message = _instant(given, lives)
        return lambda varsel: varsel.send_now(message)
    wanted = given.order()
    return lambda varsel: varsel.order(wanted)


def _instant(given: Given, lives: timedelta) -> InstantSms | InstantEmail:
    match given.recipient():
        case RecipientSms(phone_number=number, sms_settings=settings):
            return InstantSms(
                phone_number=number,
                text=settings.body,
                sender=settings.sender,
                time_to_live=lives,
                senders_reference=given.reference,
                idempotency_id=given.idempotency_id,
            )
        case RecipientEmail(email_address=address, email_settings=settings):
            return InstantEmail(
                email_address=address,
                email_settings=settings,
                senders_reference=given.reference,
                idempotency_id=given.idempotency_id,
            )
        case _:
            raise click.UsageError("--now is for an --email or a --mobile: nobody is looked up")


def _print(receipt: OrderReceipt, *, follow: bool) -> None:
    done = "Ordered" if receipt.created else "Was ordered before"
    click.echo(f"{done}: {_line(receipt.notification)}")
    for reminder in receipt.notification.reminders:
        click.echo(f"Reminder: {_line(reminder)}")
    for path, messages in receipt.content_warnings.items():
        click.echo(f"Warning: {path}: {' '.join(messages)}")
    if not follow:
        click.echo(f"See what becomes of it: varsel status {receipt.shipment_id} --follow")


def _line(shipment: ShipmentReceipt) -> str:
    sms = shipment.sms_receipt
    cost = f"  an SMS of {sms.parts} part{'s' * (sms.parts != 1)}{' or more' * sms.unfilled}" if sms else ""
    reference = f"  {shipment.senders_reference}" if shipment.senders_reference else ""
    return f"shipment {shipment.shipment_id}{reference}{cost}"
