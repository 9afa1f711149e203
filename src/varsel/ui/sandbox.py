"""The sandbox under `/sandbox`: captured messages as JSON for tests, their content, the clock, and the pages.

Only mounted when the sandbox is on; nothing here asks who is calling (design 4, channels 2.7).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.db import Database
from varsel.domain.errors import Rejected, Unavailable
from varsel.domain.notification import Channel
from varsel.simulators import store
from varsel.simulators.blobs import BlobStore
from varsel.simulators.hooks import HookInbox
from varsel.simulators.recipient import sought_words, spellings
from varsel.simulators.store import Message, Search
from varsel.timeshift.advance import ClockControl, StillBusy
from varsel.ui.inbox import Inbox
from varsel.ui.pages import Pages, from_elsewhere

_LOOK_SECONDS: Final = 0.1
_REFERENCE_SECONDS: Final = 1.0
_MOST_WAIT_SECONDS: Final = 60.0
_MOST_LISTED: Final = 500
_MAX_BODY_BYTES: Final = 1024

# A captured mail is foreign: no scripts, no forms, nothing from the net, and its links stay in the frame.
_FRAME: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'self'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_DURATION: Final = TypeAdapter(timedelta)

Endpoint = Callable[[Request], Awaitable[Response]]


class _Query(BaseModel):
    """What `GET` and `DELETE /sandbox/messages` take; `wait` in seconds."""

    to: str | None = None
    channel: Channel | None = None
    q: str | None = None
    after: UUID | None = None
    wait: Annotated[float, Field(ge=0, le=_MOST_WAIT_SECONDS)] = 0
    limit: Annotated[int, Field(ge=1, le=_MOST_LISTED)] = 50

    def search(self) -> Search:
        return Search(
            to=spellings(self.to) if self.to else None,
            channel=self.channel,
            words=sought_words(self.q) if self.q else None,
            after=self.after,
        )


class _Advance(BaseModel):
    advance: str


def sandbox_routes(db: Database, clock: ClockControl, pages: Pages) -> list[BaseRoute]:
    """Everything under `/sandbox`."""
    api = _Api(db, clock)
    one = "/sandbox/messages/{id:uuid}"
    return [
        *Inbox(db, clock, pages).routes(),
        Route("/sandbox/messages", _answered(api.list), methods=["GET"]),
        Route("/sandbox/messages", _answered(api.delete), methods=["DELETE"]),
        Route(one, _answered(api.get), methods=["GET"]),
        Route(one, _answered(api.delete_one), methods=["DELETE"]),
        Route(f"{one}/html", _answered(api.html), methods=["GET"]),
        Route(f"{one}/raw", _answered(api.raw), methods=["GET"]),
        Route("/sandbox/clock", _answered(api.clock), methods=["GET"]),
        Route("/sandbox/clock", _answered(api.advance), methods=["POST"]),
        *BlobStore().routes("/sandbox/files"),
        *HookInbox(api.hook_secrets).routes("/sandbox/hooks"),
    ]


class _Api:
    def __init__(self, db: Database, clock: ClockControl) -> None:
        self._db = db
        self._clock = clock

    async def list(self, request: Request) -> Response:
        """Newest first. With `wait`, answers as soon as there is one; empty when none came in time.

        A gateway has a message before its sender has stored the gateway's reference: who waits gets the notification
        id as well, if it comes at once.
        """
        query = _Query.model_validate(dict(request.query_params))
        now = asyncio.get_running_loop().time
        deadline = now() + query.wait
        while True:
            async with self._db.reading() as conn:
                found = await store.find(conn, query.search(), limit=query.limit)
            if found:
                deadline = min(deadline, now() + _REFERENCE_SECONDS)
            if now() >= deadline or (found and not any(m.reference and not m.notification_id for m in found)):
                return JSONResponse([_public(m) for m in found])
            await asyncio.sleep(_LOOK_SECONDS)

    async def get(self, request: Request) -> Response:
        return JSONResponse(_public(await self._message(request)))

    async def delete(self, request: Request) -> Response:
        query = _Query.model_validate(dict(request.query_params))
        async with self._db.autocommit() as conn:
            return JSONResponse({"deleted": await store.delete(conn, query.search())})

    async def delete_one(self, request: Request) -> Response:
        async with self._db.autocommit() as conn:
            if not await store.delete_one(conn, request.path_params["id"]):
                raise _NotFound
        return Response(status_code=204)

    async def html(self, request: Request) -> Response:
        """The HTML body, for a sandboxed frame."""
        message = await self._message(request)
        if message.html is None:
            raise _NotFound
        return HTMLResponse(message.html, headers=_FRAME)

    async def raw(self, request: Request) -> Response:
        """What came over the wire, as a file."""
        message = await self._message(request)
        async with self._db.reading() as conn:
            raw = await store.raw_message(conn, message.id)
        media_type, suffix = ("message/rfc822", "eml") if message.channel is Channel.EMAIL else ("text/xml", "xml")
        disposition = f'attachment; filename="{message.id}.{suffix}"'
        return Response(raw, media_type=media_type, headers={**_FRAME, "Content-Disposition": disposition})

    async def clock(self, _: Request) -> Response:
        shift = await self._clock.shift()
        return JSONResponse(
            {
                "now": _instant(self._clock.now()),
                "offset": _DURATION.dump_python(shift.offset, mode="json"),
                "version": shift.version,
            }
        )

    async def advance(self, request: Request) -> Response:
        """Move the clock by an ISO 8601 duration (`{"advance": "P1D"}`); answers when everybody has followed."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise Rejected("clock-advance", "The body is too large.")
        duration = _Advance.model_validate_json(body).advance
        if not duration.startswith("P"):
            raise Rejected("clock-advance", "advance: an ISO 8601 duration such as P1D or PT1H is needed.")
        await self._clock.advance(_DURATION.validate_python(duration))
        return await self.clock(request)

    async def hook_secrets(self, path: str) -> Sequence[bytes]:
        async with self._db.reading() as conn:
            return await store.hook_secrets(conn, path)

    async def _message(self, request: Request) -> Message:
        async with self._db.reading() as conn:
            message = await store.get(conn, request.path_params["id"])
        if message is None:
            raise _NotFound
        return message


class _NotFound(Exception):
    """There is no such message."""


def _answered(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with its errors as problem documents, and closed to other sites' pages."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        if request.method != "GET" and from_elsewhere(request):
            return _problem(HTTPStatus.FORBIDDEN, "Another site's page may not change anything here.")
        try:
            return await endpoint(request)
        except ValidationError as e:
            wrong = "; ".join(f"{'.'.join(map(str, x['loc'])) or 'body'}: {x['msg']}" for x in e.errors())
            return _problem(HTTPStatus.BAD_REQUEST, wrong)
        except Rejected as e:
            conflict = e.code == "clock-conflict"
            return _problem(HTTPStatus.CONFLICT if conflict else HTTPStatus.BAD_REQUEST, str(e))
        except (StillBusy, Unavailable) as e:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(e))
        except _NotFound:
            return _problem(HTTPStatus.NOT_FOUND, "There is no such message.")

    return answer


def _problem(status: HTTPStatus, detail: str) -> Response:
    document: Mapping[str, object] = {"title": status.phrase, "status": status.value, "detail": detail}
    return Response(json.dumps(document), status, media_type="application/problem+json")


def _public(message: Message) -> Mapping[str, object]:
    return {
        "id": str(message.id),
        "channel": message.channel.value,
        "to": message.recipient,
        "from": message.sender,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "parts": message.parts,
        "notificationId": message.notification_id and str(message.notification_id),
        "receivedAt": _instant(message.received_at),
    }


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
