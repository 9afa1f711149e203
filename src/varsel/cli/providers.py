"""`varsel providers`: who sends, how each provider stands, and what an operator may do about it (channels 1.7-1.9)."""

import asyncio
import dataclasses
import getpass
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from varsel import log
from varsel.cli.startup import Refused, database_url, load_settings, saying_what_is_missing, with_database
from varsel.db import Conn, Database
from varsel.delivery import pool_admin_store as store
from varsel.delivery.pool_admin_store import Change, State
from varsel.migrate import pending_migrations
from varsel.settings import Settings

T = TypeVar("T")

_HOME: Final = click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Of the running `varsel up`."
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs.")
_NAME: Final = click.argument("name")


@click.group()
def providers() -> None:
    """Who sends the messages: how each provider stands, and what to do."""


@providers.command("list")
@_JSON
@_HOME
def list_(as_json: bool, home: Path | None) -> None:
    """Show how each provider stands. The exit status is 1 when one takes no messages."""

    async def ask(db: Database, settings: Settings) -> list[State]:
        resting = {p.name: p.weight for p in settings.providers}
        async with db.reading() as conn:
            found = await store.states(conn)
        return [dataclasses.replace(s, weight=resting.get(s.name)) if s.weight is None else s for s in found]

    states = _run(home, ask)
    if as_json:
        click.echo(
            json.dumps([dataclasses.asdict(s) | {"standing": s.standing} for s in states], default=str, indent=2)
        )
    else:
        _print(states)
    if any(not state.takes for state in states):
        raise SystemExit(1)


@providers.command("history")
@_NAME
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@_JSON
@_HOME
def history(name: str, limit: int, as_json: bool, home: Path | None) -> None:
    """Show why a provider stands as it does, the newest first."""

    async def ask(db: Database, settings: Settings) -> list[Change]:
        async with db.transaction() as conn:
            await _require(conn, settings, name)
            return await store.changes(conn, name, limit=limit)

    found = _run(home, ask)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(change) for change in found], default=str, indent=2))
        return
    for change in found:
        weight = f" {change.weight}" if change.weight is not None else ""
        click.echo(f"{_time(change.at)}  {change.kind}{weight}  {change.detail}  ({change.author})")
    if not found:
        click.echo("nothing has changed")


@providers.command("stop")
@_NAME
@click.option("--why", default="", help="Kept in the history.")
@_HOME
def stop(name: str, why: str, home: Path | None) -> None:
    """Give a provider no more messages. What it has begun is finished; reports still come in."""
    _change(home, name, lambda conn: store.stop(conn, name, why=why, author=_author()))
    click.echo(f"{name} gets no more messages within a second; `varsel providers start {name}` ends that")


@providers.command("start")
@_NAME
@click.option("--why", default="", help="Kept in the history.")
@_HOME
def start(name: str, why: str, home: Path | None) -> None:
    """Let a provider take messages again: end a stop, a pause, or an open breaker."""
    _change(home, name, lambda conn: store.start(conn, name, why=why, author=_author()))
    click.echo(f"{name} takes messages")


@providers.command("weight")
@_NAME
@click.argument("weight", type=click.IntRange(0, 100))
@click.option("--why", default="", help="Kept in the history.")
@_HOME
def weight(name: str, weight: int, why: str, home: Path | None) -> None:
    """Give a provider another weight. It drifts back to the one of the settings, as after errors."""
    _change(home, name, lambda conn: store.set_weight(conn, name, weight, why=why, author=_author()))
    click.echo(f"{name} has weight {weight}")


def _change(home: Path | None, name: str, change: Callable[[Any], Awaitable[None]]) -> None:
    async def work(db: Database, settings: Settings) -> None:
        async with db.transaction() as conn:
            await _require(conn, settings, name)
            await change(conn)

    _run(home, work)


async def _require(conn: Conn, settings: Settings, name: str) -> None:
    """Raises `Refused` for a provider that neither the settings nor the database know."""
    for provider in settings.providers:
        if provider.name == name:
            await store.enlist(conn, name, provider.channel)
            return
    known = {state.name for state in await store.states(conn)}
    if name not in known:
        names = ", ".join(sorted(known | {provider.name for provider in settings.providers}))
        raise Refused(f"there is no provider {name!r}; there are: {names or 'none'}")


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def _print(states: list[State]) -> None:
    table = Table("Provider", "Channel", "Stands", "Weight", "Tries", "Errors", "Because", title_justify="left")
    for state in states:
        colour = "" if state.takes else "yellow"
        table.add_row(
            state.name,
            state.channel,
            f"[{colour}]{state.standing}[/]" if colour else state.standing,
            "at rest" if state.weight is None else str(state.weight),
            f"{state.attempts:,}",
            f"{state.errors:,}",
            state.detail if not state.takes else "",
        )
    Console().print(table)
    click.echo("Tries and errors are of the last minute.")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


def _run(home: Path | None, work: Callable[[Database, Settings], Awaitable[T]]) -> T:
    settings = with_database(load_settings({"VARSEL_HOME": home}))
    log.configure(settings.log_level)

    async def run() -> T:
        db = Database(database_url(settings), size=2, name="varsel providers")
        await db.open()
        try:
            if await pending_migrations(db):
                raise Refused("the database's schema is older than this release: run `varsel migrate`")
            return await work(db, settings)
        finally:
            await db.close()

    with saying_what_is_missing():
        return asyncio.run(run())
