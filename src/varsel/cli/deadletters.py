"""`varsel deadletters`: delivery reports that matched nothing, as an operator sees and settles them (channels 5.4)."""

import asyncio
import dataclasses
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from varsel import log
from varsel.cli.startup import Refused, database_url, load_settings, saying_what_is_missing, with_database
from varsel.db import Database
from varsel.delivery import deadletters_store as store
from varsel.delivery.deadletters import covered
from varsel.delivery.deadletters_store import Counts, Letter
from varsel.migrate import pending_migrations
from varsel.ui.access_store import note
from varsel.wakeup import Waker, Work

T = TypeVar("T")

_PAGE: Final = 500
_SUBJECT: Final = "command line"
_HOME: Final = click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Of the running `varsel up`."
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs.")
_IDS: Final = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.UUID)
_ALL: Final = click.option("--all", "everything", is_flag=True, help="All that are dead now.")


@click.group()
def deadletters() -> None:
    """Delivery reports that matched nothing: look at them, try them again."""


@deadletters.command("list")
@click.option("--parked", is_flag=True, help="Those that wait for their next try, instead.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@_JSON
@_HOME
def list_(parked: bool, limit: int, as_json: bool, home: Path | None) -> None:
    """Show the dead ones, the newest first. The exit status is 1 when there are any."""

    async def ask(db: Database) -> tuple[Counts, list[Letter]]:
        async with db.reading() as conn:
            return await store.count(conn), await store.letters(conn, parked=parked, limit=limit)

    counts, found = _run(home, ask)
    if as_json:
        click.echo(json.dumps([_told(letter) for letter in found], default=str, indent=2))
    else:
        _print(counts, found)
    if found and not parked:
        raise SystemExit(1)


@deadletters.command("show")
@click.argument("id_", metavar="ID", type=click.UUID)
@click.option("--reveal", is_flag=True, help="Also what may name a person. Is written to the audit log.")
@click.option("--reason", help="Why: the number of a case, say. Needed for --reveal.")
@_HOME
def show(id_: UUID, reveal: bool, reason: str | None, home: Path | None) -> None:
    """Show one report, as JSON, without what may name a person."""
    if reveal and not reason:
        raise click.UsageError("--reveal needs a --reason")

    async def ask(db: Database) -> Letter | None:
        async with db.transaction() as conn:
            if reveal:
                await _audit(conn, "report shown", detail=f"report {id_}", case=reason or "")
            return await store.letter(conn, id_)

    found = _run(home, ask)
    if found is None:
        raise Refused(f"no report {id_} is dead or waits: `varsel deadletters list` shows them")
    told = _told(found) | {"payload": found.payload if reveal else covered(found.payload)}
    click.echo(json.dumps(told, default=str, ensure_ascii=False, indent=2))


@deadletters.command("replay")
@_IDS
@_ALL
@_HOME
def replay(ids: tuple[UUID, ...], everything: bool, home: Path | None) -> None:
    """Try reports again, as if they came now: when what hindered them is mended."""
    done = _run(home, lambda db: _settle(db, ids, store.replay, "report replay", everything=everything))
    click.echo(f"{done} tried again; those that still match nothing come back")


@deadletters.command("resolve")
@_IDS
@_ALL
@click.option("--why", default="", help="Kept in the audit log.")
@_HOME
def resolve(ids: tuple[UUID, ...], everything: bool, why: str, home: Path | None) -> None:
    """Put reports away for good: they are settled by other means, or of no use."""
    done = _run(home, lambda db: _settle(db, ids, store.put_away, "report put away", everything=everything, why=why))
    click.echo(f"{done} put away")


async def _settle(
    db: Database,
    ids: Sequence[UUID],
    act: Callable[[Any, Sequence[UUID]], Awaitable[int]],
    action: str,
    *,
    everything: bool,
    why: str = "",
) -> int:
    """In parts, each with its entry in the audit log. How many it was."""
    if bool(ids) == everything:
        raise click.UsageError("which ones? Give their IDs, or --all")
    done, after = 0, None
    while True:
        async with db.transaction() as conn:
            if everything:
                found = await store.letters(conn, parked=False, limit=_PAGE, after=after)
                ids, after = [letter.id for letter in found], (found[-1].at, found[-1].id) if found else None
            settled = await act(conn, ids)
            if settled:
                detail = f"report {ids[0]}" if len(ids) == 1 else f"{settled} reports"
                await _audit(conn, action, detail=detail, case=why)
        done += settled
        if not everything or not ids:
            break
    if not done:
        raise Refused("none of them is dead: `varsel deadletters list` shows those that are")
    waker = Waker(db)
    waker.wake(Work.REPORTS)
    await waker.close()
    return done


async def _audit(conn: Any, action: str, *, detail: str, case: str = "") -> None:
    await note(conn, actor=_author(), subject=_SUBJECT, action=action, detail=detail, case=case)


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def _told(letter: Letter) -> dict[str, Any]:
    """All but what the provider sent."""
    return {name: value for name, value in dataclasses.asdict(letter).items() if name != "payload"}


def _print(counts: Counts, found: Sequence[Letter]) -> None:
    table = Table("Report", "Came", "From", "Says", "Because", "Tries", box=box.SIMPLE_HEAD)
    for letter in found:
        table.add_row(
            str(letter.id),
            _time(letter.received),
            letter.provider,
            Text(f"{letter.raw_state or letter.verdict}\n{letter.reference or 'names no message'}"),
            Text(letter.why + (f"\nnext try {_time(letter.wake)}" if letter.wake else "")),
            str(letter.tries),
        )
    if found:
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    most = store.MOST_COUNTED
    click.echo(
        f"{counts.dead}{'+' * (counts.dead >= most)} dead, {counts.parked}{'+' * (counts.parked >= most)} waiting "
        f"for their next try."
    )


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _run(home: Path | None, work: Callable[[Database], Awaitable[T]]) -> T:
    settings = with_database(load_settings({"VARSEL_HOME": home}))
    log.configure(settings.log_level)

    async def run() -> T:
        db = Database(database_url(settings), size=2, name="varsel deadletters")
        await db.open()
        try:
            if await pending_migrations(db):
                raise Refused("the database's schema is older than this release: run `varsel migrate`")
            return await work(db)
        finally:
            await db.close()

    with saying_what_is_missing():
        return asyncio.run(run())
