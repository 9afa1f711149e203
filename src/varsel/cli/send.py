"""`varsel send`: a file of recipients is uploaded, checked, confirmed, and watched (docs/bulk.md)."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from varsel.cli.bulk_client import BulkService
from varsel.cli.client import Where, address, client_options
from varsel.cli.refused import Refused

_LOOK: Final = 0.5  # s
_TYPED_FROM: Final = 1_000  # rows: then their number is typed
_TOLD: Final = 20  # bad rows
_KINDS: Final = ("person", "organisation", "externalIdentity", "identity", "email", "mobile")
_CHANNELS: Final = ("Email", "Sms", "EmailPreferred", "SmsPreferred", "EmailAndSms")
_OVER: Final = ("finished", "stopped")


@click.command()
@click.option("--csv", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="CSV or XLSX.")
@click.option("--wish", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON, as the API takes it.")
@click.option("--column", help="That holds the recipients.  [default: the one that looks so]")
@click.option("--kind", type=click.Choice(_KINDS), help="Of recipient.  [default: what they look like]")
@click.option("--channel", type=click.Choice(_CHANNELS), help="[default: by the texts; email before SMS]")
@click.option("--subject", help="Of the email; may have {column} keywords, as all texts.")
@click.option("--email", help="The email's text, or @FILE.")
@click.option("--sms", help="The SMS's text, or @FILE.")
@click.option("--anytime", is_flag=True, help="SMS may come at night.")
@click.option("--reference", help="The sender's reference of each order.")
@click.option("--at", help="When to send, as in 2030-01-31T12:00:00Z.  [default: when confirmed]")
@click.option("--repeats", is_flag=True, help="Send also rows that repeat an earlier one.")
@click.option("--leave-out-bad", is_flag=True, help="Send although some rows are bad: without them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--watch", is_flag=True, help="Until every row has its fate. Ctrl-C leaves the job running.")
@click.option("--job", help="One that is there already, instead of a file.")
@click.option("--do", "act", type=click.Choice(("pause", "resume", "stop")), help="With --job.")
@click.option(
    "--result", type=click.Path(dir_okay=False, path_type=Path), help="Where to save what became of each row."
)
@click.option("--json", "as_json", is_flag=True, help="The job as JSON, at the end.")
@client_options
def send(file: Path | None, job: str | None, where: Where, **options: Any) -> None:
    """Send to many: one message for each row of a file.

    The rows are checked first, and what they would do is shown; nothing is sent before that is confirmed.
    """
    if (file is None) == (job is None):
        raise click.UsageError("give --csv FILE, or --job ID")
    service = BulkService(*address(where))
    if file:
        standing = _uploaded(service, file, options)
        standing = _checked(service, standing["id"])
        _tell_check(standing, quiet=options["as_json"])
        standing = _confirmed(service, standing, options)
    else:
        standing = service.act(job or "", options["act"]) if options["act"] else service.get(job or "")
    id_ = standing["id"]
    if options["watch"]:
        standing = _watched(service, standing)
    if options["result"]:
        service.save_result(id_, options["result"])
    if options["as_json"]:
        click.echo(json.dumps(standing, indent=2, ensure_ascii=False))
    else:
        _tell_progress(standing)


def _uploaded(service: BulkService, file: Path, options: dict[str, Any]) -> Any:
    with _bar(f"Uploading {file.name}", file.stat().st_size) as bar:
        job = service.upload(file, lambda size: bar.advance(bar.task_ids[0], size))
    return service.configure(job["id"], _wish(job, options))


def _wish(job: Any, options: dict[str, Any]) -> dict[str, Any]:
    wish: dict[str, Any] = {}
    if options["wish"]:
        try:
            wish = json.loads(options["wish"].read_text(encoding="utf-8"))
        except ValueError:
            raise Refused(f"{options['wish']} is not JSON") from None
    guess = job.get("guess", {})
    given = {
        "recipientColumn": options["column"] or wish.get("recipientColumn") or guess.get("recipientColumn"),
        "recipientKind": options["kind"] or wish.get("recipientKind") or guess.get("recipientKind"),
        "sendersReference": options["reference"],
        "requestedSendTime": options["at"],
        "duplicates": "send" if options["repeats"] else None,
    }
    if not given["recipientColumn"] or not given["recipientKind"]:
        raise Refused(f"say which --column has the recipients, and of which --kind: {', '.join(job['columns'])}")
    if options["email"]:
        given["emailSettings"] = {"subject": options["subject"], "body": _text(options["email"])}
    if options["sms"]:
        policy = {"sendingTimePolicy": "Anytime"} if options["anytime"] else {}
        given["smsSettings"] = {"body": _text(options["sms"]), **policy}
    wish |= {name: value for name, value in given.items() if value is not None}
    wish["channelSchema"] = options["channel"] or wish.get("channelSchema") or _channel(wish)
    return wish


def _channel(wish: dict[str, Any]) -> str:
    email, sms = "emailSettings" in wish, "smsSettings" in wish
    if not email and not sms:
        raise Refused("there is no text: give --email with --subject, --sms, or both")
    if wish["recipientKind"] in ("email", "mobile"):
        return "Email" if wish["recipientKind"] == "email" else "Sms"
    return "EmailPreferred" if email and sms else "Email" if email else "Sms"


def _text(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise Refused(f"{given[1:]} cannot be read: {type(e).__name__}") from None


def _checked(service: BulkService, job: str) -> Any:
    standing = service.get(job)
    with _bar("Checking", standing["rows"]) as bar:
        while standing["state"] == "checking":
            time.sleep(_LOOK)
            standing = service.get(job)
            bar.update(bar.task_ids[0], completed=standing["checked"])
    return standing


def _tell_check(standing: Any, *, quiet: bool) -> None:
    for problem in standing["problems"][:_TOLD]:
        column = f", {problem['column']}" if "column" in problem else ""
        click.echo(f"line {problem['line']}{column}: {problem['description']}", err=True)
    bad = standing["counts"]["bad"]
    if bad:
        click.echo(f"{bad:,} bad rows; the result file has all", err=True)
    if quiet:
        return
    found = standing["summary"]
    told = [
        (found["email"], "by email"),
        (found["sms"], "by SMS"),
        (found["both"], "by both"),
        (found["reserved"], "reserved"),
        (found["withoutContact"], "without contact details"),
        (found["blocked"], "blocked"),
        (standing["counts"]["duplicate"], "repeats, left out"),
    ]
    click.echo(f"{standing['toSend']:,} rows: " + ", ".join(f"{n:,} {what}" for n, what in told if n))
    if "cost" in found:
        unpriced = f", and {found['unpriced']:,} messages without a price" if found["unpriced"] else ""
        click.echo(f"about {found['cost']} {found['currency']}{unpriced}")


def _confirmed(service: BulkService, standing: Any, options: dict[str, Any]) -> Any:
    rows, id_ = standing["toSend"], standing["id"]
    if standing["counts"]["bad"] and not options["leave_out_bad"]:
        raise Refused(f"nothing is sent: mend the file, or say --leave-out-bad (job {id_})")
    if not options["yes"]:
        if not sys.stdin.isatty():
            raise Refused(f"nothing is sent: nobody is here to ask; say --yes (job {id_})")
        if rows < _TYPED_FROM:
            click.confirm(f"Send to {rows:,}?", abort=True, err=True)
        elif click.prompt(f"Send to {rows:,}? Type the number", err=True).replace(",", "").replace(" ", "") != str(
            rows
        ):
            raise Refused(f"nothing is sent: another number (job {id_})")
    return service.confirm(id_, rows, leave_out_bad=options["leave_out_bad"])


def _watched(service: BulkService, standing: Any) -> Any:
    id_ = standing["id"]
    try:
        with _bar("Sending", standing["toSend"]) as bar:
            while "done" not in standing:
                bar.update(bar.task_ids[0], completed=standing["settled"], description=_description(standing))
                time.sleep(_LOOK)
                standing = service.get(id_)
            bar.update(bar.task_ids[0], completed=standing["settled"])
    except KeyboardInterrupt:
        click.echo(f"\nThe job goes on. Look again: varsel send --job {id_} --watch", err=True)
        raise SystemExit(130) from None
    return standing


def _description(standing: Any) -> str:
    if "whyWaits" in standing:
        return f"Waits ({standing['whyWaits']})"
    return {"sending": "Sending", "paused": "Paused", "stopping": "Stopping"}.get(
        standing["state"], "Waiting for fates"
    )


def _tell_progress(standing: Any) -> None:
    counts = ", ".join(f"{n:,} {state}" for state, n in standing["counts"].items() if n)
    click.echo(f"job {standing['id']} is {standing['state']}: {counts}")


@contextmanager
def _bar(what: str, total: int) -> Iterator[Progress]:
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        bar.add_task(what, total=total)
        yield bar
