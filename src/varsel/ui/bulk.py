"""Sending to many: are the rows right, who would get it, what does it cost? Then: how far are we, when is it done?"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import IO, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from varsel.bulk.job import ADDRESSES, FATES, Flaw, Job, JobId, JobState, Kind, Progress, RowState
from varsel.bulk.keywords import fold
from varsel.bulk.owner import Bulk, NoSuchJob, Standing
from varsel.bulk.result import result_file
from varsel.bulk.rows import filled_email, filled_sms
from varsel.bulk.table import BadFile
from varsel.domain.errors import Rejected
from varsel.domain.order import ContentType, EmailTemplate, SmsTemplate
from varsel.recipients.schemes import identifiers_of
from varsel.ui import bulk_form
from varsel.ui.access import NotFound, Role, Who, audit
from varsel.ui.bulk_form import Filled
from varsel.ui.draft import due
from varsel.ui.inbox import uuid_or_none
from varsel.ui.masking import Masks
from varsel.ui.orders_store import creators
from varsel.ui.pages import back
from varsel.ui.parts import UiParts
from varsel.ui.words import Language

PATH: Final = "/ui/send/bulk"
TYPED_OVER: Final = 1_000
"""From here on the number of rows is typed before they are sent."""

_LISTED: Final = 50
_MOST_FORM_BYTES: Final = 512 * 1024
_HIDDEN_FOR: Final = 20.0  # s: before then nobody knows how fast it goes
_ACTS: Final = ("pause", "resume", "stop")
_TOUCHED: Final = (JobState.DRAFT, JobState.CHECKING, JobState.READY)

FAMILIES: Final[Mapping[RowState, str]] = {
    RowState.DELIVERED: "delivered",
    RowState.UNCONFIRMED: "handed",
    RowState.HANDED: "handed",
    RowState.ORDERED: "working",
    RowState.FAILED: "failed",
    RowState.NOT_SENT: "stopped",
    RowState.UNREACHABLE: "attention",
    RowState.STOPPED: "stopped",
    RowState.READY: "waiting",
    RowState.DUPLICATE: "stopped",
    RowState.BAD: "failed",
}
"""How states of rows look, in the order of the bar."""
JOB_FAMILIES: Final[Mapping[JobState, str]] = {
    JobState.DRAFT: "waiting",
    JobState.CHECKING: "working",
    JobState.READY: "attention",
    JobState.SENDING: "working",
    JobState.PAUSED: "attention",
    JobState.STOPPING: "stopped",
    JobState.STOPPED: "stopped",
    JobState.FINISHED: "handed",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it goes, and how long it takes yet; `done_at` on business clocks."""

    a_minute: int
    minutes_left: int
    done_at: datetime


@dataclass(frozen=True, slots=True)
class First:
    """The first good row's message. `html`: its body is not shown."""

    line: int
    email: EmailTemplate | None
    sms: SmsTemplate | None

    @property
    def html(self) -> bool:
        return self.email is not None and self.email.content_type is ContentType.HTML


class BulkPages:
    """Uploading, what is wished, the check, and the progress."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._identifiers = identifiers_of(parts.settings.registry)
        self._limits = parts.settings.bulk
        self._masks = Masks(parts.settings.sandbox.enabled)
        self._bulk = Bulk(parts.db, parts.clock, self._identifiers, max_rows=self._limits.max_rows)

    def routes(self) -> list[BaseRoute]:
        access, one = self._parts.access, f"{PATH}/{{id}}"
        return [
            access.page(PATH, self.begin, Role.CASEWORKER),
            access.upload(PATH, self.take, Role.CASEWORKER, most_bytes=self._limits.max_file_bytes),
            access.page(one, self.show, Role.CASEWORKER),
            access.act(one, self.wish, Role.CASEWORKER, most_bytes=_MOST_FORM_BYTES),
            access.act(f"{one}/send", self.send, Role.CASEWORKER),
            access.act(f"{one}/act", self.act, Role.CASEWORKER),
            access.page(f"{one}/result.csv", self.result, Role.CASEWORKER),
        ]

    # uploading

    async def begin(self, request: Request, who: Who) -> Response:
        return await self._begin(request, who)

    async def take(
        self, request: Request, who: Who, form: dict[str, str] | None, name: str, file: IO[bytes]
    ) -> Response:
        creator = who.creator or " ".join((form or {}).get("creator", "").split())[:100]
        if form is None:
            return await self._begin(request, who, {"file": "too_big"}, creator=creator, status=413)
        wrong = {field: key for field, key in (("creator", not creator), ("file", not name)) if key}
        if wrong:
            return await self._begin(request, who, dict.fromkeys(wrong, "missing"), creator=creator, status=422)
        try:
            job = await self._bulk.upload(creator, name, file)
        except BadFile as error:
            return await self._begin(request, who, {"file": error.code}, creator=creator, line=error.line, status=422)
        await self._audit(who, job, "bulk upload")
        return back(f"{PATH}/{job.id}")

    async def _begin(
        self,
        request: Request,
        who: Who,
        wrong: Mapping[str, str] | None = None,
        *,
        creator: str = "",
        line: int | None = None,
        status: int = 200,
    ) -> Response:
        jobs = await self._bulk.newest(who.creator)
        async with self._parts.db.reading() as conn:
            known = [] if who.creator else sorted(await creators(conn), key=str.casefold)
        return self._parts.pages.render(
            request,
            "bulk.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            wrong=wrong or {},
            line=line,
            creator=creator,
            known=known,
            jobs=jobs[:_LISTED],
            families=JOB_FAMILIES,
            limits=self._limits,
            path=PATH,
        )

    # what is wished, and the check

    async def show(self, request: Request, who: Who) -> Response:
        standing = await self._standing(request, who)
        job = standing.job
        if job.state is JobState.DRAFT or (request.query_params.get("edit") and job.state in _TOUCHED):
            return await self._form(request, who, job, bulk_form.of_job(job, await self._bulk.guess(job)))
        if job.state is JobState.CHECKING or job.state is JobState.READY:
            return await self._checked(request, who, standing)
        return self._progress(request, who, standing)

    async def wish(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Check the rows with what the form says."""
        job = (await self._standing(request, who)).job
        filled, now = bulk_form.read(form, job), self._parts.clock.now()
        content = self._parts.contents.of(job.creator)
        if wrong := bulk_form.wrong(filled, job, self._identifiers, content, self._parts.settings, now):
            return await self._form(request, who, job, filled, wrong, status=422)
        try:
            await self._bulk.configure(job, bulk_form.wish(filled, self._parts.settings, now))
        except Rejected:
            return back(f"{PATH}/{job.id}")
        await self._audit(who, job, "bulk check")
        return back(f"{PATH}/{job.id}")

    async def send(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Send it, if the number is right, and it is said what becomes of bad rows."""
        standing = await self._standing(request, who)
        job, rows = standing.job, standing.progress[RowState.READY]
        typed = "".join(letter for letter in form.get("number", "") if letter.isdigit())
        if job.state is JobState.READY:
            left_out = form.get("leave_out") == "yes"
            wrong = {
                "leave_out": bool(standing.progress[RowState.BAD]) and not left_out,
                "number": typed != str(rows) if rows > TYPED_OVER else form.get("rows") != str(rows),
            }
            if not rows or any(wrong.values()):
                told = [field for field, is_wrong in wrong.items() if is_wrong]
                return await self._checked(request, who, standing, asks=True, wrong=told, status=422)
            await self._audit(who, job, "bulk send", f"{rows} rows")
            try:
                await self._bulk.confirm(job, rows=rows, leave_out_bad=left_out)
            except Rejected:
                return back(f"{PATH}/{job.id}")  # as it stands by now
        return back(f"{PATH}/{job.id}")

    async def act(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Pause, resume or stop. What cannot be done any more is shown as it stands."""
        job = (await self._standing(request, who)).job
        act = form.get("do", "")
        if act in _ACTS:
            doing = {"pause": self._bulk.pause, "resume": self._bulk.resume, "stop": self._bulk.stop}[act]
            try:
                await doing(job)
            except Rejected:
                return back(f"{PATH}/{job.id}")
            await self._audit(who, job, f"bulk {act}")
        return back(f"{PATH}/{job.id}")

    async def result(self, request: Request, who: Who) -> Response:
        """What became of each row, whose recipient is masked: the line says who it is. Who has it is written down."""
        job = (await self._standing(request, who)).job
        await self._audit(who, job, "bulk result")
        headers = {
            "Content-Disposition": f'attachment; filename="varsel-{job.id}.csv"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        norwegian = self._parts.pages.language(request) is Language.NB
        lines = result_file(
            job, self._bulk.results(job), delimiter=";" if norwegian else ",", shown=partial(self._masked, job)
        )
        return StreamingResponse(lines, headers=headers, media_type="text/csv; charset=utf-8")

    def _masked(self, job: Job, recipient: str) -> str:
        kind = job.wish.kind if job.wish else Kind.IDENTITY
        if kind is Kind.ORGANISATION:
            return recipient
        covered = self._masks.address(recipient) if kind in ADDRESSES else self._masks.identity(recipient)
        return f"{covered.head}{covered.dots}{covered.tail}"

    async def _form(
        self,
        request: Request,
        who: Who,
        job: Job,
        filled: Filled,
        wrong: Mapping[str, str] | None = None,
        *,
        status: int = 200,
    ) -> Response:
        now = self._parts.clock.now()
        return self._parts.pages.render(
            request,
            "bulk_form.html",
            now=now,
            status=status,
            who=who,
            job=job,
            f=filled,
            d=filled.draft,
            column=bulk_form.column_of(filled, job.columns),
            wrong=wrong or {},
            at=due(filled.draft, now),
            senders=self._parts.settings.senders,
            path=PATH,
        )

    async def _checked(
        self,
        request: Request,
        who: Who,
        standing: Standing,
        *,
        asks: bool = False,
        wrong: Sequence[str] = (),
        status: int = 200,
    ) -> Response:
        rows = standing.progress[RowState.READY]
        return self._parts.pages.render(
            request,
            "bulk_check.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            job=standing.job,
            s=standing.job.summary,
            p=standing.progress,
            states=RowState,
            problems=standing.problems,
            flaws=Flaw,
            repeated=standing.repeated,
            rows=rows,
            typed=rows > TYPED_OVER,
            first=await self._first(standing.job) if standing.job.state is JobState.READY else None,
            asks=asks or request.query_params.get("confirm") == "send",
            wrong=wrong,
            currency=self._parts.previewer.currency,
            path=PATH,
        )

    async def _first(self, job: Job) -> First | None:
        """What the first row that can be filled would say."""
        assert job.wish
        for row in await self._bulk.sample(job):
            values = {fold(name): value for name, value in zip(job.columns, row.fields, strict=False)}
            if all(values.values()):
                return First(row.line, filled_email(job.wish.email, values), filled_sms(job.wish.sms, values))
        return None

    # progress

    def _progress(self, request: Request, who: Who, standing: Standing) -> Response:
        job, p, now = standing.job, standing.progress, self._parts.clock.now()
        through = p.sum(RowState.HANDED, *FATES)
        return self._parts.pages.render(
            request,
            "bulk_progress.html",
            now=now,
            who=who,
            job=job,
            p=p,
            segments=[(state, family, p[state]) for state, family in FAMILIES.items()],
            through=through,
            family=JOB_FAMILIES[job.state],
            pace=pace_of(job, p, through, now, time.time()),
            stopping=request.query_params.get("confirm") == "stop",
            moves=job.done_at is None,
            path=PATH,
        )

    async def _standing(self, request: Request, who: Who) -> Standing:
        """Raises `NotFound` for none, or none that they may see."""
        id_ = uuid_or_none(request.path_params["id"])
        if id_ is None:
            raise NotFound
        try:
            return await self._bulk.standing(JobId(id_), who.creator)
        except NoSuchJob:
            raise NotFound from None

    async def _audit(self, who: Who, job: Job, action: str, detail: str = "") -> None:
        async with self._parts.db.autocommit() as conn:
            await audit(conn, who, action, creator=job.creator, detail=f"job {job.id} {detail}".strip())


def pace_of(job: Job, progress: Progress, through: int, now: datetime, machine_now: float) -> Pace | None:
    """By what went through in the last minute; None while that says too little, or nothing is left."""
    left = progress.to_send - progress[RowState.STOPPED] - through
    recent = [sample for sample in job.summary.pace if machine_now - sample[0] <= _WINDOW]
    if job.state is not JobState.SENDING or left <= 0 or not recent:
        return None
    since, before = recent[0]
    seconds, rows = machine_now - since, through - before
    if seconds < _HIDDEN_FOR or rows <= 0:
        return None
    a_second = rows / seconds
    minutes = max(-int(-left / a_second // 60), 1)  # rounded up
    return Pace(round(a_second * 60), minutes, now + timedelta(minutes=minutes))


_WINDOW: Final = 75.0  # s
