"""`varsel feed`: your orders that have ended, one after another, across restarts (docs/chains.md, The status feed)."""

import json
import os
from collections import Counter
from datetime import UTC
from pathlib import Path
from typing import Final

import click

from varsel.cli.client import Where, client_options, service
from varsel.cli.refused import Refused
from varsel.client import FeedEntry

_DIGITS: Final = 19


@click.command()
@click.option("--after", type=click.IntRange(min=0), help="Begin after this sequence number.  [default: at the start]")
@click.option(
    "--cursor",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that keeps the number of the last entry shown; the next run goes on from there.",
)
@click.option("--follow", is_flag=True, help="Wait for more, also while the service is away. Ctrl-C ends it.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each entry.")
@client_options
def feed(after: int | None, cursor: Path | None, follow: bool, as_json: bool, where: Where) -> None:
    """Show your orders that have ended, in the order in which they did.

    An entry is shown before its number is kept: after a kill the last one may be shown again, and none is left out.
    """
    start = after if after is not None else _kept(cursor)
    with service(where) as varsel:
        try:
            for entry in varsel.feed(start, follow=follow):
                click.echo(json.dumps(entry.raw, ensure_ascii=False) if as_json else _line(entry))
                _keep(cursor, entry.sequence_number)
        except KeyboardInterrupt:
            return


def _line(entry: FeedEntry) -> str:
    counted = Counter(message.status for message in entry.recipients)
    messages = ", ".join(f"{status} × {count}" if count > 1 else status for status, count in counted.items())
    correction = "  correction" if entry.correction else ""
    reference = entry.senders_reference or "-"
    at = f"{entry.last_update.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return f"{entry.sequence_number:>6}  {at}  {entry.shipment_id}  {reference}  {entry.status}  {messages}{correction}"


def _kept(cursor: Path | None) -> int:
    if cursor is None or not cursor.exists():
        return 0
    text = cursor.read_text(encoding="ascii", errors="replace").strip()
    if not (text.isdigit() and len(text) <= _DIGITS):
        raise Refused(f"{cursor} holds no sequence number: delete it to begin at the start, or give --after")
    return int(text)


def _keep(cursor: Path | None, number: int) -> None:
    """As a whole, or not at all."""
    if cursor is None:
        return
    new = cursor.with_name(f"{cursor.name}.new")
    try:
        new.write_text(f"{number}\n", encoding="ascii")
        os.replace(new, cursor)  # noqa: PTH105 - over whatever is there
    except OSError as e:
        raise Refused(f"{cursor} cannot be written: {e.strerror}") from None
