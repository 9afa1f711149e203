"""Waking workers: NOTIFY after the commit, one at a time in a process. Inside, it would serialise all commits."""

import asyncio
from enum import StrEnum
from typing import Final

from varsel.db import Database, execute
from varsel.domain.errors import Unavailable
from varsel.domain.notification import Channel


class Work(StrEnum):
    """Channels of NOTIFY. The row is the job, and never leaves the tables."""

    ORDERS = "varsel_orders"
    ORDINARY_ORDERS = "varsel_ordinary_orders"  # no bulk ones
    NOTIFICATIONS = "varsel_notifications"
    EMAILS = "varsel_emails"  # these notifications alone
    SMS = "varsel_sms"
    REPORTS = "varsel_reports"
    FEED = "varsel_feed"
    NUMBERED = "varsel_feed_numbered"  # by the sequencer alone, who adds whose feeds have grown
    WEBHOOKS = "varsel_webhooks"


READY: Final = {Channel.EMAIL: Work.EMAILS, Channel.SMS: Work.SMS}
"""What tells of notifications of a channel."""

_NOTIFY: Final = "SELECT pg_notify(%(channel)s, '')"


class Waker:
    """Tells every worker that there is work. Losing a wake-up costs at most the workers' poll interval (1 s)."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._wanted: set[Work] = set()
        self._task: asyncio.Task[None] | None = None

    def wake(self, work: Work) -> None:
        """Call it after the commit. Returns at once; calls that come while one is under way are one more."""
        self._wanted.add(work)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._notify())

    async def close(self) -> None:
        if self._task:
            await self._task

    async def _notify(self) -> None:
        while self._wanted:
            work = self._wanted.pop()
            try:
                async with self._db.routine() as conn:
                    await execute(conn, _NOTIFY, {"channel": work.value})
            except Unavailable:
                return  # the workers poll
