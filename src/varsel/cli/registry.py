"""`varsel registry`: the registers that our copies follow, for operators (registries 2.5, 3.4, 7.5)."""

import asyncio
import dataclasses
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from varsel import log
from varsel.cli.child_settings import settings_of_running
from varsel.cli.startup import Refused, database_url, saying_what_is_missing, with_database
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.feeds import Feed
from varsel.migrate import pending_migrations
from varsel.providers.registry_feeds import RegistryFeeds
from varsel.registry_sync import quarantine as set_aside
from varsel.registry_sync import quarantine_store, store
from varsel.registry_sync.ports import UpstreamError
from varsel.registry_sync.quarantine_store import Quarantined
from varsel.registry_sync.standing import remedies
from varsel.registry_sync.store import Status
from varsel.registry_sync.sync import Report, Sync
from varsel.settings import Settings
from varsel.timeshift.follow import take_clock

_FEED: Final = click.Choice([feed.value for feed in Feed])
_POLL: Final = 1.0  # s between looks whether it is time for the next run
_HOME: Final = click.option(
    "--home", type=click.Path(file_okay=False, path_type=Path), help="Of the running `varsel up`."
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs.")
_IDS: Final = click.argument("ids", nargs=-1, type=click.IntRange(min=1))


@click.group()
def registry() -> None:
    """The registers that the local copies follow: how they stand, and what to do."""


@dataclass(frozen=True, slots=True)
class _Open:
    settings: Settings
    db: Database
    clock: SystemClock
    feeds: RegistryFeeds

    def sync(self, feed: str) -> Sync[Any]:
        found = self.feeds.sync(Feed(feed))
        if found is None:
            raise Refused(f"the settings do not say where {feed} is: see `registry` in the list of settings")
        return found


@registry.command("status")
@_JSON
@_HOME
def status(as_json: bool, home: Path | None) -> None:
    """Show how each feed stands. The exit status is 1 when one wants a person."""

    async def ask(our: _Open) -> list[Status]:
        async with our.db.reading() as conn:
            return await store.statuses(conn)

    found = _run(home, ask)
    click.echo(json.dumps([dataclasses.asdict(s) for s in found], default=str, indent=2)) if as_json else _print(found)
    if any(remedies(s) for s in found):
        raise SystemExit(1)


@registry.command("sync")
@click.argument("feed", type=_FEED)
@click.option("--once", is_flag=True, help="Read what there is, and end.")
@_HOME
def sync(feed: str, once: bool, home: Path | None) -> None:
    """Follow FEED now, until Ctrl-C; also where no worker does."""

    async def follow(our: _Open) -> Report | None:
        following = our.sync(feed)
        stopped = asyncio.Event()

        def stop() -> None:
            stopped.set()
            following.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        report = await following.run(at_once=True)
        _tell(feed, report)
        while not once and not stopped.is_set():
            try:
                await asyncio.wait_for(stopped.wait(), _POLL)
            except TimeoutError:
                if report := await following.run():
                    _tell(feed, report)
        return report

    _judge(_run(home, follow), once=once)


@registry.command("resync")
@click.argument("feed", type=_FEED)
@click.option("--allow-large-delete", is_flag=True, help="Also remove more than 5 % of the rows.")
@_HOME
def resync(feed: str, allow_large_delete: bool, home: Path | None) -> None:
    """Read FEED from its beginning, and remove what it no longer has.

    Look-ups go on meanwhile. What was begun before goes on where it stopped.
    """

    async def follow(our: _Open) -> Report | None:
        following = our.sync(feed)
        async with our.db.autocommit() as conn:
            await store.begin_reload(conn, Feed(feed), allow_large_removal=allow_large_delete)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, following.stop)
        report = await following.run(at_once=True)
        _tell(feed, report)
        return report

    report = _run(home, follow)
    _judge(report, once=True)
    if report and report.held_back:
        click.echo(
            f"{report.held_back:,} rows were not met, more than 5 %: they are kept. If the register really lost them, "
            f"run `varsel registry resync {feed} --allow-large-delete`",
            err=True,
        )
        raise SystemExit(1)


@registry.group("quarantine")
def quarantine() -> None:
    """Records that could not be read, and were set aside."""


@quarantine.command("list")
@click.option("--feed", type=_FEED)
@_JSON
@_HOME
def list_quarantine(feed: str | None, as_json: bool, home: Path | None) -> None:
    """Show what is set aside. What the records say is not shown."""

    async def ask(our: _Open) -> list[Quarantined]:
        async with our.db.reading() as conn:
            return await quarantine_store.quarantined(conn, Feed(feed) if feed else None)

    shown = [_shown(item) for item in _run(home, ask)]
    if as_json:
        click.echo(json.dumps(shown, default=str, indent=2))
        return
    table = Table("id", "feed", "record", "reason", "seen", "last seen", box=None)
    for item in shown:
        seen = f"{item['last_seen_at']:%Y-%m-%d %H:%M}"
        table.add_row(*map(str, (item["id"], item["feed"], item["record"], item["reason"], item["seen_count"], seen)))
    Console().print(table)


@quarantine.command("retry")
@click.option("--feed", type=_FEED)
@_IDS
@_HOME
def retry(feed: str | None, ids: tuple[int, ...], home: Path | None) -> None:
    """Try to read all records again, or those of a feed, or these IDS. Newer ones are never overridden."""

    async def ask(our: _Open) -> set_aside.Retried:
        try:
            return await set_aside.retry(
                our.db,
                our.clock,
                feed=Feed(feed) if feed else None,
                ids=ids or None,
                synthetic_only=our.settings.environment != "production",
            )
        except UpstreamError as e:
            raise Refused(e.detail or e.code) from None

    done = _run(home, ask)
    click.echo(
        f"{done.applied:,} applied, {done.superseded:,} known better by now, {done.unreadable:,} still unreadable"
    )


@quarantine.command("discard")
@_IDS
@_HOME
def discard(ids: tuple[int, ...], home: Path | None) -> None:
    """Let the records with these IDS go."""
    if not ids:
        raise click.UsageError("which ones? `varsel registry quarantine list` shows their ids")

    async def ask(our: _Open) -> int:
        return await set_aside.discard(our.db, our.clock, ids)

    click.echo(f"{_run(home, ask):,} of {len(set(ids)):,} discarded")


def _run(home: Path | None, work: Callable[[_Open], Awaitable[Any]]) -> Any:
    settings = with_database(settings_of_running(home))
    log.configure(settings.log_level)

    async def run() -> Any:
        async with _opened(settings) as our:
            return await work(our)

    with saying_what_is_missing():
        return asyncio.run(run())


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[_Open]:
    db = Database(database_url(settings), size=3, name="varsel registry")
    await db.open()
    clock = SystemClock()
    try:
        if await pending_migrations(db):
            raise Refused("the database's schema is older than this release: run `varsel migrate`")
        await take_clock(db, clock)
        feeds = _feeds(settings, db, clock)
        try:
            yield _Open(settings, db, clock, feeds)
        finally:
            await feeds.close()
    finally:
        await db.close()


def _feeds(settings: Settings, db: Database, clock: SystemClock) -> RegistryFeeds:
    try:
        return RegistryFeeds(settings, db, clock)
    except ValueError as e:  # the key is none
        raise Refused(str(e)) from None


def _tell(feed: str, report: Report | None) -> None:
    if report is None:
        click.echo(f"{feed}: another process follows it now, or the register wants to be left alone", err=True)
        return
    counts = ", ".join(f"{n:,} {name}" for name, n in dataclasses.asdict(report.counts).items() if n)
    outcome = f"{report.outcome} ({report.error})" if report.error else report.outcome
    click.echo(f"{feed}: {outcome}, {report.pages:,} pages{', ' if counts else ''}{counts}")


def _judge(report: Report | None, *, once: bool) -> None:
    if once and (report is None or report.outcome != "done"):
        raise SystemExit(1)


def _print(found: list[Status]) -> None:
    for s in found:
        if s.last_started_at is None:
            click.echo(f"{s.feed}: not followed")
            continue
        facts = [
            "reading" if s.held else s.state,
            f"at {s.position[:19]}" + ("" if s.behind is None else f", {s.behind:,} behind"),
            "never read to its end" if s.age is None else f"read to its end {_rounded(s.age)} ago",
        ]
        if s.reloading:
            facts.append("being read from its beginning")
        if s.last_error and s.consecutive_failures:
            times = f"{s.consecutive_failures:,} times in a row" if s.consecutive_failures > 1 else "last time"
            facts.append(f"failed {times}: {s.last_error}")
        click.echo(f"{s.feed}: {'; '.join(facts)}")
    for s in found:
        for remedy in remedies(s):
            click.echo(f"{s.feed}: {remedy}", err=True)


def _rounded(age: timedelta) -> timedelta:
    return timedelta(seconds=round(age.total_seconds()))


def _shown(item: Quarantined) -> dict[str, Any]:
    """Nothing of the record but whose it is, masked for persons."""
    record = item.upstream_id
    if item.feed == Feed.KRR and not record.startswith("sha256:"):
        record = record[:6] + "*" * max(len(record) - 6, 0)
    kept = {
        "id": item.id,
        "feed": item.feed,
        "record": record[:40],
        "reason": item.reason,
        "kept": item.payload is not None,
    }
    times = {"first_seen_at": item.first_seen_at, "last_seen_at": item.last_seen_at, "seen_count": item.seen_count}
    return kept | times
