"""Stage 3 for emails with attachments: claim → fetch → hand over → send → record (processing 10.2).

Each is claimed alone: its files are fetched before it counts as having left, and a slow store holds up nobody else.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from varsel.clock import Clock
from varsel.db import Conn, Database
from varsel.delivery import pool_store, store
from varsel.delivery.gate import Withheld
from varsel.delivery.outcome import Rules, recorded, withheld
from varsel.delivery.pool import Member, Pool
from varsel.delivery.ports import Deferred, Email, File, Files, Refused, SendResult, Unknown
from varsel.delivery.recording import store_result
from varsel.delivery.retry import download_delay
from varsel.delivery.store import Claimed, Recorded, Share, Templates
from varsel.delivery.turns import Turns
from varsel.domain.errors import Unavailable
from varsel.domain.ids import ClaimId, CreatorId, WorkerId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import Attachment, Lane
from varsel.log import Log
from varsel.wakeup import Waker, Work

log = Log(__name__)


class Composing:
    """Sends the emails of `Lane.COMPOSED` through a pool, for one worker, `at_once` at a time."""

    def __init__(
        self,
        db: Database,
        pool: Pool[Email],
        files: Files,
        render: Callable[[Claimed, Templates], Email | None],
        clock: Clock,
        waker: Waker,
        rules: Rules,
        worker: WorkerId,
        *,
        at_once: int,
    ) -> None:
        self._db = db
        self._pool = pool
        self._files = files
        self._render = render
        self._clock = clock
        self._waker = waker
        self._rules = rules
        self._worker = worker
        self._at_once = at_once
        self._turns = Turns(db, Channel.EMAIL, [Lane.COMPOSED], fan=1)
        self._emails: set[asyncio.Task[None]] = set()
        self._doubtful: set[ClaimId] = set()  # perhaps made, and nobody works on them
        self._fetching: set[asyncio.Task[Any]] = set()  # those of them that have not left
        self._left = asyncio.Event()  # an email is through
        self._stopping = False

    @property
    def name(self) -> str:
        return "send composed email"

    @property
    def wakes_on(self) -> Work:
        return Work.NOTIFICATIONS

    @property
    def idle(self) -> bool:
        return not self._emails

    async def send_due(self) -> int:
        """Claim one email and begin with it. Returns 1, or 0: nothing is due.

        Waits while as many are under way as may be. Raises `Unavailable` when the database fails.
        """
        while len(self._emails) >= self._at_once and not self._stopping:
            self._left.clear()
            await self._left.wait()
        if self._stopping:
            return 0
        if self._doubtful:
            async with self._db.autocommit() as conn:
                await store.give_back(conn, self._doubtful, self._worker)
            self._doubtful.clear()
        await self._pool.look()
        ready = [member for member in self._pool.members if member.ready]
        claim_id = ClaimId(uuid7())
        self._doubtful.add(claim_id)
        claimed = await self._claim(claim_id, ready) if ready else None
        self._doubtful.discard(claim_id)
        if claimed is None:
            return 0
        member, row = claimed
        member.trying = trial = member.on_trial
        task = asyncio.create_task(self._carry_out(member, claim_id, row, trial=trial))
        self._emails.add(task)
        task.add_done_callback(self._ended)
        return 1

    def halt(self) -> None:
        """Claim nothing more."""
        self._stopping = True
        self._left.set()

    async def stop(self, grace: timedelta) -> None:
        """Drop what has not left, and finish what has, within the grace. Claims are left to the worker's end."""
        self.halt()
        for task in self._fetching:
            task.cancel()
        if self._emails:
            _, late = await asyncio.wait(self._emails, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._emails.discard(task)
        self._left.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("composed email failed", exc=error)

    async def _claim(self, claim_id: ClaimId, ready: Sequence[Member[Email]]) -> tuple[Member[Email], Claimed] | None:
        named: set[tuple[Lane, CreatorId]] = set()
        while waiting := await self._turns.next(named):
            creators = waiting[Lane.COMPOSED]
            async with self._db.transaction() as conn:
                rows = await store.pick(
                    conn,
                    channel=Channel.EMAIL,
                    lane=Lane.COMPOSED,
                    creators=creators,
                    limit=1,
                    now=self._clock.now(),
                )
                member = await self._choose(conn, rows[0], ready) if rows else None
                if member:
                    await store.take(conn, Share(claim_id, member.name, rows), self._worker)
            self._turns.had(Lane.COMPOSED, creators)
            if member:
                return member, rows[0]
        return None

    async def _choose(self, conn: Conn, row: Claimed, ready: Sequence[Member[Email]]) -> Member[Email] | None:
        """None: it waits outside the queue."""
        member = self._pool.choose(ready, row.creator_name, row.address, row.tried or ())
        if member and member.on_trial and not await pool_store.take_trial(conn, member.name):
            member = None
        if member is None:
            wait = self._pool.wait_for(row.creator_name, row.address)
            await store.postpone(conn, [(row.id, self._clock.now() + wait)])
        return member

    async def _carry_out(self, member: Member[Email], claim_id: ClaimId, row: Claimed, *, trial: bool) -> None:
        """Whoever cancels it leaves the claim: free again until it was handed over, unknown from then on."""
        asked = await self._carry(member, claim_id, row)
        if trial and not asked:
            await self._pool.forgo(member)

    async def _carry(self, member: Member[Email], claim_id: ClaimId, row: Claimed) -> bool:
        """Whether the provider was asked."""
        email = await self._prepared(member, row)
        if isinstance(email, Withheld):
            await self._record_withheld(member, claim_id, row, email)
        elif not isinstance(email, Email):
            await self._record(member, claim_id, row, email, at_provider=False)
        elif held := await self._held_back(member, claim_id, row):
            await store_result(self._db, self._clock, self._waker, held)
        else:
            if not await self._hand_over(claim_id):
                log.warning("claim lost", provider=member.name, dropped=1)
                return False
            result = await self._send(member, email)
            size = sum(len(file.content) for file in email.files)
            await self._record(member, claim_id, row, result, attachment_bytes=size)
            await self._pool.mind(member, [result])
            return True
        return False

    async def _prepared(self, member: Member[Email], row: Claimed) -> Email | Refused | Deferred | Withheld:
        """The email with its files, or why it cannot leave."""
        templates, attachments = await self._content(row)
        email = self._render(row, templates)
        if email is None:
            return Refused(Reason.UNSPECIFIED, "empty text")
        held = await self._withheld(email)
        if held and held.stops(member.name):
            return held
        files = await self._fetch(row, attachments)
        return replace(email, files=files) if isinstance(files, tuple) else files

    async def _content(self, row: Claimed) -> tuple[Templates, Sequence[Attachment]]:
        while True:
            try:
                async with self._db.reading() as conn:
                    [templates] = await store.templates(conn, [row.order])
                    return templates, await store.attachments_of(conn, row.order)
            except Unavailable:
                await asyncio.sleep(0.2)

    async def _withheld(self, email: Email) -> Withheld | None:
        gate = self._rules.gate
        while gate:
            try:
                async with self._db.routine() as conn:
                    return (await gate.withheld(conn, [email], now=self._clock.now())).get(email.id)
            except Unavailable:
                await asyncio.sleep(0.2)
        return None

    async def _fetch(self, row: Claimed, attachments: Sequence[Attachment]) -> tuple[File, ...] | Refused | Deferred:
        fetching = asyncio.current_task()
        assert fetching is not None
        self._fetching.add(fetching)
        try:
            files = await self._files.fetch(attachments, now=self._clock.now())
        except Exception as error:  # noqa: BLE001 - its message may hold an address, which is a secret
            log.error("attachments not fetched", error=type(error).__name__, notification_id=row.id)
            files = Deferred("bug")
        finally:
            self._fetching.discard(fetching)
        if isinstance(files, Deferred):
            return replace(files, retry_after=download_delay(row.attempt))
        return files

    async def _held_back(self, member: Member[Email], claim_id: ClaimId, row: Claimed) -> Recorded | None:
        """What becomes of an email that may not leave: its time ran out meanwhile, or its provider rests."""
        state = State.EXPIRED
        if row.expires_at > self._clock.now():
            if not member.bucket.limited or await member.bucket.take(1, lambda: member.rest or self._stopping):
                return None
            state = State.NEW
        return Recorded(row.id, claim_id, member.name, row.attempt, state, uncharged=1)

    async def _record_withheld(self, member: Member[Email], claim_id: ClaimId, row: Claimed, held: Withheld) -> None:
        elsewhere = self._pool.has_another(row.creator_name, row.address, held.by)
        stored = withheld(row, claim_id, held, provider=member.name, now=self._clock.now(), elsewhere=elsewhere)
        await store_result(self._db, self._clock, self._waker, stored)

    async def _hand_over(self, claim_id: ClaimId) -> bool:
        while True:
            try:
                async with self._db.autocommit() as conn:
                    return await store.hand_over(conn, claim_id, 1)
            except Unavailable:
                await asyncio.sleep(0.2)  # it may not leave before that is stored

    async def _send(self, member: Member[Email], email: Email) -> SendResult:
        try:
            [result] = await member.provider.send([email])
        except Exception as error:  # noqa: BLE001 - a bug of the adapter: the message may have left
            log.error("provider raised", exc=error, provider=member.name)
            return Unknown("the adapter failed")
        return result

    async def _record(
        self,
        member: Member[Email],
        claim_id: ClaimId,
        row: Claimed,
        result: SendResult,
        *,
        attachment_bytes: int | None = None,
        at_provider: bool = True,
    ) -> None:
        stored = recorded(
            row,
            claim_id,
            result,
            channel=Channel.EMAIL,
            provider=member.provider,
            rules=self._rules,
            now=self._clock.now(),
            elsewhere=self._pool.is_left(row.creator_name, row.address, (*(row.tried or ()), member.name)),
        )
        if not at_provider:
            stored = stored._replace(missed=False)
        await store_result(self._db, self._clock, self._waker, stored, attachment_bytes=attachment_bytes)
