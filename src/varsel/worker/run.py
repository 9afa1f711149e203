"""One worker process: its row, its steps, its clock, and a gentle end."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from varsel.bulk.retention import prune_bulk, see_corrections
from varsel.bulk.turn import Turns
from varsel.db import Database
from varsel.delivery import suppression_store
from varsel.delivery.asking import Asker
from varsel.domain.order import Lane
from varsel.heartbeat import beat as heartbeat
from varsel.log import Log
from varsel.migrate import make_partitions
from varsel.recipients.profile.retention import prune_profile
from varsel.registry_sync.retention import prune_registries
from varsel.registry_sync.sync import Sync
from varsel.resolution.due import Resolution
from varsel.status.feed import number_feed
from varsel.status.retention import prune_feed
from varsel.tally.fold import fold_tallies, prune_tallies
from varsel.timeshift import store as clock_store
from varsel.timeshift.follow import follow_clock, require_unmoved, take_clock
from varsel.wakeup import Work
from varsel.webhooks.push import Webhooks
from varsel.webhooks.retention import prune_deliveries
from varsel.wiring import Parts, Sender
from varsel.worker.loop import Loop, Step

log = Log(__name__)

STAGES: Final = ("bulk", "resolve", "send", "report", "sweep", "feed", "webhooks", "registries")
_SECOND: Final = timedelta(seconds=1)
_SWEEP: Final = timedelta(seconds=30)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_FOLD: Final = timedelta(seconds=2)
_ASK_FOR_A_TURN: Final = timedelta(seconds=5)  # at a feed: whose turn it is, the database knows
_PACE: Final = timedelta(milliseconds=25)
_PUSH_PACE: Final = timedelta(milliseconds=100)  # each look is at every webhook
_DAY: Final = timedelta(days=1)


async def run_worker(parts: Parts, stop: asyncio.Event, only: Collection[str] = STAGES) -> None:
    """Work until `stop` is set. Raises `LeaseLost` when it was away too long: the caller starts a new process."""
    await (take_clock if parts.settings.sandbox.enabled else require_unmoved)(parts.db, parts.clock)
    worker = await heartbeat.begin(
        parts.db, kind="worker", lease=parts.settings.delivery.lease, clock_version=parts.clock.version
    )
    log.info("worker started", worker_id=worker, stages=sorted(only))
    senders = parts.senders(worker) if "send" in only else []
    askers = parts.askers() if "send" in only else []
    syncs = parts.registry_feeds().enabled() if "registries" in only else []
    pushers = [parts.webhooks()] if "webhooks" in only else []
    resolution, sweeper, register = parts.resolution(worker), parts.sweeper(), parts.register()
    turns = parts.bulk_turns(register.register_chain)
    sandbox = parts.settings.sandbox.enabled

    async def note_idle(idle: bool, version: int) -> None:
        async with parts.db.autocommit() as conn:
            await clock_store.note_idle(conn, worker, version, idle=idle)

    loop = Loop(
        parts.db,
        _steps(parts, turns, resolution, senders, askers, syncs, pushers, only),
        parts.clock,
        still_working=lambda: not (resolution.idle and all(part.idle for part in (*senders, *pushers))),
        on_idle=note_idle if sandbox else None,
    )
    beating = Database(parts.db.dsn, size=1, name="varsel heartbeat")
    await beating.open()
    tasks = [asyncio.create_task(heartbeat.beat(beating, worker, lease=parts.settings.delivery.lease))]
    if sandbox:
        tasks.append(asyncio.create_task(follow_clock(parts.db, parts.clock, worker, loop.wake_all)))
    running = asyncio.create_task(loop.run())
    ended, _ = await asyncio.wait(
        [running, *tasks, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    try:
        await _stop(parts, loop, running, [*senders, *pushers], askers, resolution, syncs)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await beating.close()
        await register.close()
        await sweeper.release_own(worker)
    log.info("worker stopped", worker_id=worker)
    for finished in ended:
        finished.result()  # a lost lease, or a bug, ends the process with its name


async def _stop(
    parts: Parts,
    loop: Loop,
    running: asyncio.Task[None],
    senders: Sequence[Sender | Webhooks],
    askers: Sequence[Asker],
    resolution: Resolution,
    syncs: Sequence[Sync[Any]],
) -> None:
    """Within the grace: no step begins anew, then what was begun is finished. The rest is given back as if we had died.

    The order matters: a step that still claims after its sender has stopped would send what we give back.
    """
    deadline = asyncio.get_running_loop().time() + parts.settings.delivery.grace.total_seconds()
    loop.stop()
    for sync in syncs:
        sync.stop()
    for part in (*senders, *askers):
        part.halt()
    await resolution.stop()
    await asyncio.wait([running], timeout=deadline - asyncio.get_running_loop().time())
    await parts.registers.close()  # a step that waits for one puts its orders back
    left = timedelta(seconds=max(deadline - asyncio.get_running_loop().time(), 0.5))
    await asyncio.gather(running, *(sender.stop(left) for sender in senders))


def _steps(
    parts: Parts,
    turns: Turns,
    resolution: Resolution,
    senders: Sequence[Sender],
    askers: Sequence[Asker],
    syncs: Sequence[Sync[Any]],
    pushers: Sequence[Webhooks],
    only: Collection[str],
) -> list[Step]:
    reports, sweeper, fallbacks = parts.reports(), parts.sweeper(), parts.fallbacks()
    stages: dict[str, list[Step]] = {
        "bulk": [
            Step("bulk", turns.take_turn),
            Step("prune bulk", partial(_prune_bulk, parts), every=_DAY),
            Step("correct bulk", partial(_correct_bulk, parts), every=_HOUR),
        ],
        "resolve": [
            *(
                Step(
                    f"resolve {lane.name.lower()}",
                    partial(resolution.resolve_due, lane),
                    frozenset({Work.ORDERS, *more}),
                    next_due=due,
                    pace=pace,
                )
                for lane, more, pace, due in (
                    (Lane.ORDINARY, (Work.ORDINARY_ORDERS,), _PACE, resolution.next_due),
                    (Lane.BULK, (), timedelta(), None),
                )
            ),
            Step("fall back", fallbacks.fall_back_due, next_due=fallbacks.next_due),
        ],
        "send": [
            *(
                Step(sender.name, sender.send_due, frozenset({Work.NOTIFICATIONS, sender.wakes_on}))
                for sender in senders
            ),
            *(Step(asker.name, asker.ask_due, next_due=asker.next_due) for asker in askers),
            # whoever does not send makes no provider: some connect, and stay connected
            *([Step("balance", parts.balancer().balance, every=_MINUTE)] if "send" in only else ()),
        ],
        "report": [Step("report", reports.apply_reports, frozenset({Work.REPORTS}), pace=_PACE)],
        "sweep": [
            Step("wake", sweeper.wake_due, next_due=sweeper.next_due),
            Step("release", sweeper.release_lapsed, every=min(_SWEEP, parts.settings.delivery.lease)),
            Step("expire", sweeper.expire, every=_SWEEP if not parts.settings.sandbox.enabled else _SECOND),
            Step("forget addresses", sweeper.forget_addresses, every=_MINUTE),
            Step("fold tallies", partial(fold_tallies, parts.db), every=_FOLD),
            Step("prune tallies", partial(prune_tallies, parts.db, parts.clock), every=_HOUR),
            Step("partitions", partial(_make_partitions, parts), every=_DAY),
            Step("prune profile", partial(prune_profile, parts.db, parts.clock), every=_DAY),
            Step("prune suppressions", partial(_prune_suppressions, parts), every=_DAY),
            Step("prune feed", partial(prune_feed, parts.db, parts.clock, parts.settings.feed.kept_for), every=_DAY),
        ],
        "feed": [Step("feed", partial(number_feed, parts.db), frozenset({Work.FEED}), pace=_PACE)],
        "webhooks": [
            *(
                Step(
                    "webhooks",
                    pusher.push_due,
                    frozenset({Work.NUMBERED, Work.WEBHOOKS}),
                    pace=_PUSH_PACE,
                    next_due=pusher.next_due,
                    wanted=pusher.wanted,
                )
                for pusher in pushers
            ),
            Step(
                "prune webhooks",
                partial(prune_deliveries, parts.db, parts.clock, parts.settings.webhooks.deliveries_kept_for),
                every=_DAY,
            ),
        ],
        "registries": [
            *(Step(f"sync {sync.feed}", sync.sync_due, every=_ASK_FOR_A_TURN) for sync in syncs),
            Step("prune registries", partial(prune_registries, parts.db, parts.clock), every=_DAY),
        ],
    }
    return [step for stage, steps in stages.items() if stage in only for step in steps]


async def _prune_suppressions(parts: Parts) -> int:
    async with parts.db.autocommit() as conn:
        before = parts.clock.now() - parts.settings.suppression.kept_for
        return await suppression_store.forget(conn, before=before)


async def _correct_bulk(parts: Parts) -> int:
    return await see_corrections(parts.db, parts.clock, parts.settings.delivery.correction_period)


async def _prune_bulk(parts: Parts) -> int:
    kept = parts.settings.bulk
    return await prune_bulk(parts.db, parts.clock, kept.kept_for, kept.drafts_kept_for)


async def _make_partitions(parts: Parts) -> int:
    async with parts.db.transaction() as conn:
        await make_partitions(conn, datetime.now(UTC))
    return 0
