"""Bulk jobs over HTTP: a file of recipients, what is wished, and how it goes (docs/bulk.md). Our addition."""

import tempfile
from collections.abc import Awaitable, Sequence
from typing import IO, Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.bulk_bodies import PATHS, BulkAnswer, BulkBody, BulkConfirmBody, BulkHead, BulkList
from varsel.api.bulk_examples import FILE, RESULT
from varsel.api.frame import Answers, JsonRoute
from varsel.api.future_bodies import Defaults
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.requests import header, query, read_uuid
from varsel.bulk.job import Job, JobId
from varsel.bulk.owner import Bulk, NoSuchJob
from varsel.bulk.result import result_file
from varsel.bulk.table import BadFile
from varsel.bulk.wishes import misfits
from varsel.domain.errors import Rejected

PATH: Final = "/notifications/api/v1/future/bulk"

_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_NAME: Final = {
    "name": "name",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Of the file, for people.",
}
_TYPES: Final = (
    *(b"text/csv", b"text/plain", b"application/csv", b"application/octet-stream", b"application/vnd.ms-excel"),
    b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
)
_IN_MEMORY: Final = 1024 * 1024
T = TypeVar("T")


def bulk_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _BulkRoutes(parts)
    common: dict[str, Any] = {"tags": ["Sending to many"]}
    one: dict[str, Any] = {**common, "parameters": [_ID]}
    shown: Answers = {200: BulkAnswer, 404: schemas.Problem}
    moved: Answers = {**shown, 409: schemas.Problem}
    path = f"{PATH}/{{id}}"
    return [
        JsonRoute(
            PATH,
            routes.upload_bulk_file,
            method="POST",
            file=FILE,
            answers={201: BulkAnswer},
            parameters=[_NAME],
            **common,
        ),
        JsonRoute(PATH, routes.list_bulk_jobs, method="GET", answers={200: BulkList}, **common),
        JsonRoute(path, routes.get_bulk_job, method="GET", answers=shown, **one),
        JsonRoute(path, routes.configure_bulk_job, method="PUT", body=BulkBody, answers=moved, **one),
        JsonRoute(
            f"{path}/confirm", routes.confirm_bulk_job, method="POST", body=BulkConfirmBody, answers=moved, **one
        ),
        JsonRoute(f"{path}/pause", routes.pause_bulk_job, method="POST", answers=moved, **one),
        JsonRoute(f"{path}/resume", routes.resume_bulk_job, method="POST", answers=moved, **one),
        JsonRoute(f"{path}/stop", routes.stop_bulk_job, method="POST", answers=moved, **one),
        JsonRoute(
            f"{path}/result",
            routes.get_bulk_result,
            method="GET",
            text="text/csv",
            answers={200: RESULT, 404: schemas.Problem},
            **one,
        ),
    ]


class _BulkRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._policy = parts.authenticator.require_create
        self._settings = parts.settings.bulk
        self._bulk = Bulk(parts.database, parts.clock, parts.intake.identifiers, max_rows=parts.settings.bulk.max_rows)

    async def upload_bulk_file(self, request: Request) -> Response:
        """Upload a file of recipients: CSV in UTF-8, or XLSX. Nothing is sent: say what is wished, and confirm it.

        The body is the file itself. What its columns are called, and which probably holds the recipients, is answered.
        """
        if (header(request, b"content-type") or b"").partition(b";")[0].strip().lower() not in _TYPES:
            raise generic(415)
        creator = (await self._policy(request)).required_creator()
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
            await receive(request, file, self._settings.max_file_bytes)
            try:
                job = await self._bulk.upload(creator, query(request).get("name", ""), file)
            except BadFile as error:
                raise Invalid({"file": [str(error)]}) from None
        answer = await self._answer(job, guessing=True)
        return answer.response(201, {"Location": f"{self._parts.base}{PATH}/{job.id}"})

    async def list_bulk_jobs(self, request: Request) -> Response:
        """The creator's jobs, the newest first."""
        creator = (await self._policy(request)).required_creator()
        jobs = await self._bulk.newest(creator)
        return BulkList(count=len(jobs), jobs=tuple(map(BulkHead.of, jobs))).response()

    async def get_bulk_job(self, request: Request) -> Response:
        """One job: its check, and how its rows stand now."""
        job = await self._named(request)
        return (await self._answer(job, guessing=job.wish is None)).response()

    async def configure_bulk_job(self, request: Request) -> Response:
        """Say what is sent to whom. The rows are then checked and looked up; nothing is sent.

        It may be said anew until it is confirmed.
        """
        async with self._parts.intake.take(request, self._policy, BulkBody) as taken:
            job = await self._of(request, taken.creator)
            defaults = Defaults.of(self._parts.settings, taken.creator)
            wish = taken.body.wish(defaults.senders, always_stale=defaults.always_stale)
            if wrong := list(misfits(wish, job.columns)):
                raise Invalid({PATHS[part]: [m for p, m in wrong if p == part] for part, _ in wrong})
            return await self._moved(self._bulk.configure(job, wish))

    async def confirm_bulk_job(self, request: Request) -> Response:
        """Send it. The number of rows must be the one that the check has found."""
        async with self._parts.intake.take(request, self._policy, BulkConfirmBody) as taken:
            job = await self._of(request, taken.creator)
            body = taken.body
        return await self._moved(self._bulk.confirm(job, rows=body.rows, leave_out_bad=body.leave_out_bad))

    async def pause_bulk_job(self, request: Request) -> Response:
        """Order no more rows for now. What is ordered goes on."""
        return await self._moved(self._bulk.pause(await self._named(request)))

    async def resume_bulk_job(self, request: Request) -> Response:
        """Go on."""
        return await self._moved(self._bulk.resume(await self._named(request)))

    async def stop_bulk_job(self, request: Request) -> Response:
        """Order no more rows, ever. What is ordered goes on."""
        return await self._moved(self._bulk.stop(await self._named(request)))

    async def get_bulk_result(self, request: Request) -> Response:
        """What became of each row, as CSV. It may be asked for at any time."""
        job = await self._named(request)
        headers = {"Content-Disposition": f'attachment; filename="result-{job.id}.csv"'}
        return StreamingResponse(
            result_file(job, self._bulk.results(job)), 200, headers, media_type="text/csv; charset=utf-8"
        )

    async def _named(self, request: Request) -> Job:
        return await self._of(request, (await self._policy(request)).required_creator())

    async def _of(self, request: Request, creator: str) -> Job:
        id_ = read_uuid(request.path_params["id"])
        if id_ is None:
            raise Invalid({"id": ["The value is not a valid UUID."]})
        return await _found(self._bulk.find(JobId(id_), creator))

    async def _moved(self, doing: Awaitable[Job]) -> Response:
        try:
            job = await doing
        except Rejected as error:
            raise generic(409, detail=str(error)) from None
        return (await self._answer(job)).response()

    async def _answer(self, job: Job, *, guessing: bool = False) -> BulkAnswer:
        standing = await _found(self._bulk.standing(job.id, job.creator))
        guess = await self._bulk.guess(job) if guessing else None
        return BulkAnswer.of(standing, self._parts.settings.prices.currency, guess)


async def receive(request: Request, file: IO[bytes], most: int) -> None:
    """Write the body to the file, and go to its beginning. Answers 413 to one that is too large."""
    if int(header(request, b"content-length") or 0) > most:
        raise generic(413, {"Connection": "close"}, detail=f"A file may have {most} bytes.")
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise generic(413, {"Connection": "close"}, detail=f"A file may have {most} bytes.")
        file.write(chunk)
    file.seek(0)


async def _found(finding: Awaitable[T]) -> T:
    try:
        return await finding
    except NoSuchJob:
        raise generic(404) from None
