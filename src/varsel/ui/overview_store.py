"""SQL of the overview: everything that one look at it needs, of everybody and of some creators, without counting."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from varsel.db import ReadConn, fetch, fetch_value
from varsel.delivery import pool_admin_store
from varsel.delivery.pool_admin_store import State
from varsel.domain.ids import CreatorId
from varsel.domain.schedule import oslo_day
from varsel.registry_sync import store as registers
from varsel.registry_sync.store import Status
from varsel.status import gauges_store
from varsel.tally import store as tally
from varsel.ui import providers_store
from varsel.ui.overview_figures import MINUTES_SHOWN, SENDERS_SHOWN, Figures, Tallies, figures
from varsel.ui.providers_store import Minute

IDS: Final = "SELECT name, id FROM creator WHERE name = ANY(%(names)s)"

NEXT_DUE: Final = "SELECT min(wake_at) FROM orders WHERE state = 'Registered' AND wake_at IS NOT NULL"

DEAD: Final = "SELECT count(*) FROM (SELECT FROM delivery_report WHERE state = 'dead' LIMIT %(limit)s) q"

MOST_DEAD: Final = 1_000
_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Service:
    """How the service does, whoever sends: not for somebody of one creator.

    `oldest_…`: since when the first of them waits. `dead`: delivery reports, counted up to `MOST_DEAD`.
    """

    oldest_due: datetime | None
    oldest_unclaimed: datetime | None
    next_due: datetime | None
    workers: int
    dead: int
    paused_webhooks: int
    providers: list[State]
    minutes: list[Minute]
    registers: list[Status]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look. `of`: by creator's name; None: everybody."""

    at: datetime
    of: dict[str | None, Figures]
    service: Service | None


async def read(conn: ReadConn, scopes: Collection[str | None], *, now: datetime, opened: datetime) -> Reading:
    """`scopes`: creators' names; None: everybody. `opened`: when the send window opened last."""
    named = [scope for scope in scopes if scope is not None]
    ids = dict(await fetch(conn, IDS, {"names": named}, lambda name, id_: (str(name), CreatorId(id_)))) if named else {}
    of: dict[str | None, Figures] = {}
    for scope in scopes:
        creators = None if scope is None else [ids[scope]] if scope in ids else []
        of[scope] = await _figures(conn, creators, now)
    service = None
    if None in scopes:
        service = await _service(conn, now, opened)
    return Reading(now, of, service)


async def _service(conn: ReadConn, now: datetime, opened: datetime) -> Service:
    """Each statement reads the beginning of an index, or a small table."""
    oldest_due, unclaimed = await gauges_store.read_ages(conn, now=now, opened=opened)
    return Service(
        oldest_due,
        min(unclaimed.values(), default=None),
        await fetch_value(conn, NEXT_DUE, {}),
        (await gauges_store.live_processes(conn)).get("worker", 0),
        int(await fetch_value(conn, DEAD, {"limit": MOST_DEAD})),
        (await gauges_store.webhook_states(conn)).get("paused", 0),
        await pool_admin_store.states(conn),
        await providers_store.pulse(conn),
        await registers.statuses(conn),
    )


async def _figures(conn: ReadConn, creators: Collection[CreatorId] | None, now: datetime) -> Figures:
    day = start, end = oslo_day(now)
    last_week = oslo_day(start - _WEEK + timedelta(hours=12))
    tallies = Tallies(
        await tally.standing(conn, creators),
        await tally.hours(conn, start, end, creators),
        await tally.hours(conn, *last_week, creators),
        await tally.minutes(conn, now - timedelta(minutes=MINUTES_SHOWN + 1), creators),
        await tally.senders(conn, start, creators, limit=SENDERS_SHOWN),
    )
    return figures(tallies, now=now, day=day)
