"""The micro-batcher: concurrent requests share one transaction, and each is answered after its commit (proven 7)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Generic, TypeVar

from varsel.domain.errors import Unavailable

M = TypeVar("M")
R = TypeVar("R")

_RETRY_AFTER: Final = timedelta(seconds=1)


@dataclass(slots=True)
class _Waiting(Generic[M, R]):
    member: M
    weight: int
    answer: asyncio.Future[R]


class Batcher(Generic[M, R]):
    """Collects members while a batch is under way, and runs what has come as the next batch.

    `run` answers one result for each member, in order, or the error that concerns this member alone. When it raises,
    the batch is halved and tried again, so that one bad member never fails its neighbours; `Unavailable` fails them
    all. It is a task of its own: a client that leaves cancels nothing.
    """

    def __init__(
        self,
        run: Callable[[Sequence[M]], Awaitable[Sequence[R | Exception]]],
        *,
        max_members: int = 128,
        max_weight: int = 2_000,
        max_waiting: int = 20_000,
    ) -> None:
        self._run = run
        self._max_members = max_members
        self._max_weight = max_weight
        self._max_waiting = max_waiting
        self._waiting: deque[_Waiting[M, R]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, member: M, weight: int = 1) -> R:
        """The member's result. Raises what `run` raised for it, or `Unavailable` when too many wait already."""
        if len(self._waiting) >= self._max_waiting:
            raise Unavailable("the intake", _RETRY_AFTER)
        loop = asyncio.get_running_loop()
        waiting: _Waiting[M, R] = _Waiting(member, weight, loop.create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return await waiting.answer

    async def close(self) -> None:
        """Finish what has come."""
        if self._task:
            await self._task

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # let the requests that were read together join
        while self._waiting:
            await self._answer(self._next_batch())

    def _next_batch(self) -> list[_Waiting[M, R]]:
        batch = [self._waiting.popleft()]
        weight = batch[0].weight
        while self._waiting and len(batch) < self._max_members:
            weight += self._waiting[0].weight
            if weight > self._max_weight:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: Sequence[_Waiting[M, R]]) -> None:
        try:
            results = await self._run([w.member for w in batch])
        except Exception as error:  # noqa: BLE001 - it is handed to whom it belongs
            if len(batch) == 1 or isinstance(error, Unavailable):
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                return
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        for waiting, result in zip(batch, results, strict=True):
            if waiting.answer.done():  # the client has left
                continue
            if isinstance(result, Exception):
                waiting.answer.set_exception(result)
            else:
                waiting.answer.set_result(result)
