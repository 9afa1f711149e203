"""What `varsel doctor` sees in the database: the schema, who is alive, what waits, and what went wrong.

The facts come from where health, metrics and the other commands of operators have them.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from varsel.cli.doctor_findings import Finding, attention, note, ok
from varsel.cli.startup import database_url
from varsel.db import Database, DatabaseError
from varsel.delivery import pool_admin_store
from varsel.delivery.pool_admin_store import State
from varsel.domain.errors import Unavailable
from varsel.domain.feeds import Feed
from varsel.domain.schedule import SendWindow
from varsel.migrate import missing_partitions, pending_migrations, strange_migrations
from varsel.registry_sync import store as registers_store
from varsel.registry_sync.standing import followed, warnings
from varsel.registry_sync.store import Status
from varsel.settings import Settings
from varsel.status import doctor_store, gauges_store
from varsel.status import store as status_store
from varsel.status.doctor_store import Left, Server
from varsel.status.gauges import LATE, Gauges
from varsel.status.summary import Facts
from varsel.timeshift import store as clock_store
from varsel.webhooks import owner_store
from varsel.webhooks.states import Why

_CONNECTS_WITHIN: Final = 3.0  # s
_ANSWERS_WITHIN: Final = 60.0  # s
_OLDEST_SERVER: Final = 15


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything. `host`: the clock of this machine; `facts.now`: that of the database, just before."""

    settings: Settings
    host: datetime
    facts: Facts
    shift: timedelta
    missing_partitions: Sequence[str]
    gauges: Gauges
    left: Left
    providers: Sequence[State]
    registers: Sequence[Status]
    webhooks: dict[Why, int]


async def examine_service(settings: Settings) -> list[Finding]:
    """`settings` name a database. Nothing is written."""
    db = Database(database_url(settings), size=1, name="varsel doctor")
    await db.open()
    found: list[Finding] = []
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN):
            found += _of_server(await _server(db))
            if pending := await pending_migrations(db):
                return [*found, _of_pending(pending)]
            found += _of_schema(await strange_migrations(db))
            look = await _look(db, settings)
    except (Unavailable, DatabaseError, TimeoutError):
        says = "it does not answer" if not found else "it stopped answering"
        remedy = (
            "does it run, is its address right, does it let us in? `database.log` in the home is the embedded one's"
        )
        return [*found, attention("database", says, remedy)]
    finally:
        await db.close()
    return [*found, *(finding for check in _CHECKS for finding in check(look))]


async def _server(db: Database) -> Server:
    async with asyncio.timeout(_CONNECTS_WITHIN), db.reading() as conn:
        return await doctor_store.server(conn)


async def _look(db: Database, settings: Settings) -> Look:
    async with db.reading() as conn:
        facts, host = await status_store.facts(conn), datetime.now(UTC)
        shift = (await clock_store.read(conn)).offset
        now, processing = host + shift, settings.processing
        window = SendWindow(
            processing.sms_window_start_hour, processing.sms_window_end_hour, processing.sms_window_always_open
        )
        return Look(
            settings,
            host,
            facts,
            shift,
            await missing_partitions(conn, host),
            await gauges_store.read_gauges(conn, now=now, opened=window.opened(now)),
            await doctor_store.left(conn),
            await pool_admin_store.states(conn),
            await registers_store.statuses(conn),
            await owner_store.in_trouble(conn),
        )


def _of_server(server: Server) -> Iterator[Finding]:
    major, minor = divmod(server.version, 10_000)
    says = f"PostgreSQL {major}.{minor} answers"
    if major < _OLDEST_SERVER:
        yield attention("database", f"{says}, which is too old", f"use {_OLDEST_SERVER} or newer")
    elif server.read_only:
        remedy = "name all hosts in VARSEL_DATABASE_URL, with target_session_attrs=read-write"
        yield attention("database", f"{says}, and takes no writes: is it a standby?", remedy)
    else:
        yield ok("database", says)


def _of_pending(names: Sequence[str]) -> Finding:
    says = f"{_many(len(names), 'migration is', 'migrations are')} missing, the first is {names[0]}"
    return attention("schema", f"{says}: no process serves", "`varsel migrate`")


def _of_schema(strange: Sequence[str]) -> Iterator[Finding]:
    if strange:
        says = f"it has migrations that this release does not know: {', '.join(strange)}"
        yield attention("schema", says, "this program is older than the one that migrated: install that release")
    else:
        yield ok("schema", "it is that of this release")


def _clocks(look: Look) -> Iterator[Finding]:
    if look.facts.clocks_differ(look.host):
        apart = abs((look.facts.now - look.host).total_seconds())
        says = f"the clocks of this machine and of the database differ by {apart:,.0f} s"
        yield attention("clock", says, "mend the time service of the one that is wrong")
    else:
        yield ok("clock", "this machine and the database agree")
    if look.shift and look.settings.sandbox.enabled:
        yield note("clock", f"the sandbox's clock stands {look.shift} ahead")
    elif look.shift:
        says = f"a sandbox has moved the clock of this database {look.shift} ahead: no worker starts"
        yield attention("clock", says, "use another database, or `varsel up --sandbox`")


def _partitions(look: Look) -> Iterator[Finding]:
    mend = "`varsel migrate`; then see why no worker with the stage `sweep` makes them"
    if look.missing_partitions:
        yield attention("partitions", f"some are not made: {', '.join(look.missing_partitions)}", mend)
    if look.facts.stray_rows:
        yield attention("partitions", "rows lie in a default partition", mend)
    if not (look.missing_partitions or look.facts.stray_rows):
        yield ok("partitions", "they are made ahead, and the default ones are empty")


def _processes(look: Look) -> Iterator[Finding]:
    alive, start = look.gauges.workers, "start one, or `varsel up`, which runs all"
    if not alive.get("api"):
        yield attention("processes", "no API process is alive: no order can come in", f"`varsel api`: {start}")
    if not alive.get("worker"):
        yield attention("processes", "no worker is alive: nothing is sent", f"`varsel worker`: {start}")
    if alive:
        kinds = (_many(alive[kind], one, many) for kind, one, many in _KINDS if kind in alive)
        yield ok("processes", f"alive: {', '.join(kinds)}")
    if look.left.messages or look.left.orders:
        what = f"{_many(look.left.messages, 'message', 'messages')} and {_many(look.left.orders, 'order', 'orders')}"
        yield attention("processes", f"{what} are held by processes that are dead", _has_stage("sweep"))


_KINDS: Final = (("api", "API process", "API processes"), ("worker", "worker", "workers"))


def _providers(look: Look) -> Iterator[Finding]:
    """Those of the settings: whatever else the database knows gets nothing."""
    states = {state.name: state for state in look.providers}
    for provider in look.settings.providers:
        state = states.get(provider.name)
        if not provider.enabled:
            yield note("providers", f"{provider.name} is switched off in the settings")
        elif state is None:
            yield ok("providers", f"{provider.name} has had nothing to send yet")
        else:
            yield _of_provider(state)


def _of_provider(state: State) -> Finding:
    says = f"{state.name}: {state.standing}"
    if not state.takes:
        says = f"{says}: {state.detail}" if state.detail else says
        if state.stopped:
            return attention("providers", says, f"`varsel providers start {state.name}`")
        mend = "mend the account or the connection; it is tried again by itself"
        return attention("providers", says, f"{mend}. `varsel providers history {state.name}` tells more")
    if state.errors:
        because = f": {state.detail}" if state.detail else ""
        return note("providers", f"{says}; {state.errors:,} of {state.attempts:,} tries of this minute failed{because}")
    return ok("providers", says)


def _queues(look: Look) -> Iterator[Finding]:
    """What could go on, and has waited for longer than it should. A stage that nobody runs shows here."""
    queues = look.gauges.queues
    waits = [
        ("the oldest order that is due", queues.oldest_due, "resolve", "; is a register down?"),
        *(
            (f"the oldest message by {channel} that is ready", since, "send", "; does a provider take it?")
            for channel, since in sorted(queues.oldest_unclaimed.items())
        ),
        ("the oldest delivery report", look.left.oldest_report, "report", ""),
        ("the oldest entry for the status feed", look.left.oldest_entry, "feed", ""),
    ]
    late = [wait for wait in waits if wait[1] and look.gauges.at - wait[1] > LATE]
    for what, since, stage, else_ in late:
        assert since
        yield attention("queues", f"{what} has waited for {_age(look.gauges.at - since)}", _has_stage(stage) + else_)
    if not late:
        yield ok("queues", f"nothing that could go on has waited for {_age(LATE)}")
    if queues.unknown:
        yield note(
            "queues", f"{_many(queues.unknown, 'message has', 'messages have')} an outcome that is not known yet"
        )


def _reports(look: Look) -> Iterator[Finding]:
    queues = look.gauges.queues
    if queues.reports_dead:
        one, many = "report that matched nothing is given up", "reports that matched nothing are given up"
        remedy = "`varsel deadletters list`, then `replay` or `resolve`"
        yield attention("reports", _many(queues.reports_dead, one, many), remedy)
    else:
        yield ok("reports", "none is given up")
    if queues.reports_parked:
        says = f"{_many(queues.reports_parked, 'report matches', 'reports match')} nothing yet"
        yield note("reports", f"{says}, to be tried again", "`varsel deadletters list --parked`")


def _registers(look: Look) -> Iterator[Finding]:
    intervals = followed(look.settings.registry)
    for status in look.registers:
        if not (interval := intervals.get(Feed(status.feed))):
            continue
        found = warnings(status, interval)
        yield from (attention("registers", warning, "`varsel registry status` tells more") for warning in found)
        if status.consecutive_failures and status.last_error:
            times = _many(status.consecutive_failures, "run", "runs")
            yield note("registers", f"the last {times} of {status.feed} failed: {status.last_error}")
        if not found:
            yield ok("registers", f"the copy of {status.feed} is fresh")
    if not intervals:
        yield ok("registers", "none is followed")


def _webhooks(look: Look) -> Iterator[Finding]:
    if failing := look.webhooks.get(Why.FAILING):
        says = f"{_many(failing, 'webhook is', 'webhooks are')} paused: the receiver failed for a day"
        yield attention("webhooks", says, "tell the owner, who resumes it; what happened meanwhile is kept")
    if gone := look.webhooks.get(Why.GONE):
        yield note("webhooks", f"{_many(gone, 'webhook is', 'webhooks are')} disabled: the receiver says it is gone")
    if not look.webhooks:
        yield ok("webhooks", "none is in trouble")


def _standby(look: Look) -> Iterator[Finding]:
    if look.facts.synchronous_standby:
        yield ok("standby", "commits wait for a synchronous one")
    else:
        yield note("standby", "none is synchronous: a fail-over could lose what was accepted last", "take backups")


_CHECKS: Final[tuple[Callable[[Look], Iterable[Finding]], ...]] = (
    _clocks,
    _partitions,
    _processes,
    _providers,
    _queues,
    _reports,
    _registers,
    _webhooks,
    _standby,
)


def _has_stage(stage: str) -> str:
    return f"does a worker with the stage `{stage}` run, and what does its log say?"


def _many(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _age(age: timedelta) -> str:
    minutes = int(age.total_seconds()) // 60
    for size, unit in ((1_440, "day"), (60, "hour")):
        if minutes >= 2 * size:
            return f"{minutes // size:,} {unit}s"
    return f"{minutes} minutes"
