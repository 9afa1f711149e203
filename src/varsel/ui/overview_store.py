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
from varsel.status.gauges import Gauges
from varsel.status.gauges_store import read_gauges
from varsel.tally import store as tally
from varsel.ui import providers_store
from varsel.ui.overview_figures import MINUTES_SHOWN, SENDERS_SHOWN, Figures, Tallies, figures
from varsel.ui.providers_store import Minute

IDS: Final = "SELECT name, id FROM creator WHERE name = ANY(%(names)s)"

NEXT_DUE: Final = "SELECT min(wake_at) FROM orders WHERE state = 'Registered' AND wake_at IS NOT NULL"

_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Service:
    """How the service does, whoever sends: not for somebody of one creator."""

    gauges: Gauges
    next_due: datetime | None
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
        service = Service(
            await read_gauges(conn, now=now, opened=opened),
            await fetch_value(conn, NEXT_DUE, {}),
            await pool_admin_store.states(conn),
            await providers_store.pulse(conn),
            await registers.statuses(conn),
        )
    return Reading(now, of, service)


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
