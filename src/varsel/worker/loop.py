"""A worker's loop: each step runs while it finds work, wakes on NOTIFY, and looks for itself every second."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.errors import Unavailable
from varsel.log import Log
from varsel.wakeup import Work

log = Log(__name__)

_POLL: Final = timedelta(seconds=1)
_SELDOM: Final = timedelta(minutes=1)
_MOST_TROUBLE: Final = 5.0  # s between tries of a step that fails
_LOOK_AGAIN: Final = 0.02  # s after something was done, in the sandbox
_LITTLE: Final = 50  # of whatever a step does; who did more goes on at once
_MANY_IN_SANDBOX: Final = 3  # then it is no single message whose fate somebody waits for, moving the clock
_RESTS: Final = 9  # times as long as the run took
_MOST_PACES: Final = 10


@dataclass(slots=True)
class Step:
    """One kind of work. `run` returns how much it did; 0 means that nothing is due.

    Runs begin at least `pace` apart, and after one that found little the step rests nine times as long as that took, at
    most ten paces: what comes steadily is taken in larger batches, which cost less for each row, the larger the busier
    the machine is. In the sandbox, whose clock walks from one quiet moment to the next, only when there is much.

    `next_due` tells when something will be (business time), so that it is not late by a poll.
    """

    name: str
    run: Callable[[], Awaitable[int]]
    wakes_on: frozenset[Work] = frozenset()
    every: timedelta = _POLL
    pace: timedelta = timedelta()
    next_due: Callable[[], Awaitable[datetime | None]] | None = None
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    quiet_since: tuple[int, int] = (-1, -1)  # (activity, clock version) of the last round that found nothing

    @property
    def housekeeping(self) -> bool:
        """Whether it has to do with time alone, and not with what other steps do."""
        return self.every >= _SELDOM

    def quiet(self, activity: int, version: int) -> bool:
        """Whether it found nothing since the clock was moved, and since anything was done that concerns it."""
        return self.quiet_since[1] == version and (self.housekeeping or self.quiet_since[0] == activity)


class Loop:
    """Runs steps until it is stopped. `still_working`: whether something goes on outside the steps.

    `on_idle` is told whenever the answer to "is there anything to do?" may have changed; only the sandbox asks.
    """

    def __init__(
        self,
        db: Database,
        steps: Sequence[Step],
        clock: SystemClock,
        *,
        still_working: Callable[[], bool] = lambda: False,
        on_idle: Callable[[bool, int], Awaitable[None]] | None = None,
    ) -> None:
        self._db = db
        self._steps = steps
        self._clock = clock
        self._still_working = still_working
        self._on_idle = on_idle
        self._activity = 0
        self._looking_again: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.wake_all()

    def wake_all(self) -> None:
        for step in self._steps:
            step.wanted.set()

    def _look_again(self) -> None:
        """Something was done: what may follow from it is done too before we call ourselves idle."""
        self._looking_again = None
        for step in self._steps:
            if not step.housekeeping:
                step.wanted.set()

    async def run(self) -> None:
        """Returns after `stop`. A step that fails is tried again, slower and slower; the others go on."""
        tasks = [asyncio.create_task(self._run_step(step), name=step.name) for step in self._steps]
        helpers = [asyncio.create_task(self._listen())]
        if self._on_idle:
            helpers.append(asyncio.create_task(self._report_idle(self._on_idle)))
        try:
            await asyncio.gather(*tasks)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _run_step(self, step: Step) -> None:
        loop = asyncio.get_running_loop()
        trouble = 0.1
        while not self._stopping.is_set():
            step.wanted.clear()
            began = (self._activity, self._clock.version)
            started = loop.time()
            try:
                done = await step.run()
                trouble = 0.1
            except Unavailable as error:
                log.warning("step waits", step=step.name, what=error.what)
                done, trouble = -1, await self._rest(trouble)
            except Exception as error:  # noqa: BLE001 - a bug must not end the worker; the row waits and is tried again
                log.error("step failed", exc=error, step=step.name)
                done, trouble = -1, await self._rest(trouble)
            gap = _gap(step.pace.total_seconds(), done, loop.time() - started)
            if done > 0:
                self._activity += 1
                if self._on_idle and self._looking_again is None:
                    self._looking_again = loop.call_later(_LOOK_AGAIN, self._look_again)
            elif done == 0:
                step.quiet_since = began
                await self._wait(step)
            if not self._on_idle or done >= _MANY_IN_SANDBOX:
                await self._pause(started + gap - loop.time())

    async def _rest(self, trouble: float) -> float:
        await self._pause(trouble * random.uniform(0.8, 1.2))  # noqa: S311
        return min(trouble * 2, _MOST_TROUBLE)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _wait(self, step: Step) -> None:
        pause = step.every
        if step.next_due:
            with suppress(Unavailable):
                due = await step.next_due()
                if due is not None:
                    pause = min(pause, max(due - self._clock.now(), timedelta(milliseconds=1)))
        with suppress(TimeoutError):
            await asyncio.wait_for(step.wanted.wait(), pause.total_seconds())

    async def _listen(self) -> None:
        async for heard in self._db.listen(*(work.value for work in Work)):
            channel = heard.partition(":")[0] if heard else None
            for step in self._steps:
                if channel is None or channel in step.wakes_on:
                    step.wanted.set()

    async def _report_idle(self, report: Callable[[bool, int], Awaitable[None]]) -> None:
        while True:
            version = self._clock.version
            quiet = all(step.quiet(self._activity, version) for step in self._steps)
            with suppress(Unavailable):
                await report(quiet and not self._still_working(), version)
            await asyncio.sleep(0.02)


def _gap(pace: float, done: int, took: float) -> float:
    """Seconds from the beginning of a run to that of the next."""
    if 0 < done <= _LITTLE:
        return min(max(pace, took * (1 + _RESTS)), pace * _MOST_PACES)
    return pace
